//! The store that a command works on.

use std::sync::Arc;

use anyhow::Context as _;
use xcache_cli::report::Reporter;
use xcache_cli::{RunContext, UsageError};
use xcache_core::gc::Effect;
use xcache_core::redact::GivenAddress;
use xcache_core::store::open::{OpenedStore, open};
use xcache_core::store::probe::Features;
use xcache_core::store::versions::{Purged, Versioning};
use xcache_core::store::{self, ETag, ErrorKind, ObjectName, Store};

use crate::args::CommonArgs;

/// An open store.
pub(crate) struct Connection {
    pub(crate) store: Arc<dyn Store>,
    opened: OpenedStore,
}

impl Connection {
    /// Opens the store of the command line.
    pub(crate) async fn open(common: &CommonArgs, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Self> {
        refuse_blanks(common)?;
        let selection = common.store.resolve(context)?;
        if selection.is_default {
            reporter.notice(format_args!("no store given, using the local one at `{}`", selection.config.url));
        }
        let opened = open(&selection.config).await?;
        if !opened.is_store().await? {
            let url = &selection.config.url;
            let detail = if opened.exists() { "there is no store, and no entry" } else { "there is no store" };
            return Err(store::Error::new(ErrorKind::Invalid, "open", url)
                .detail(detail)
                .hint("check the path: only a save creates a store")
                .into());
        }
        Ok(Self { store: Arc::clone(&opened.store), opened })
    }

    /// Whether a deletion frees space; none for a directory.
    pub(crate) async fn versioning(&self) -> Option<Versioning> {
        self.opened.versioning().await
    }

    /// Deletes the old versions of objects that have been deleted.
    pub(crate) async fn purge(&self, objects: Vec<(ObjectName, ETag)>) -> Vec<store::Result<Purged>> {
        self.opened.purge(objects).await
    }

    /// What the store honours. Commands that only read have no need to know, and a dry run does not try what nobody has
    /// tried before, because that takes writing.
    pub(crate) async fn features(&self, mode: Effect) -> anyhow::Result<Features> {
        let features = match mode {
            Effect::Real => self.opened.features().await,
            Effect::Dry(_) => self.opened.remembered_features().await,
        };
        features.context("cannot find out what the store honours")
    }
}

/// A blank flag is a variable that is not set. It must not lead to the default store, nor to the whole of a bucket.
fn refuse_blanks(common: &CommonArgs) -> Result<(), UsageError> {
    let store = &common.store;
    let text = |given: &Option<GivenAddress>| given.as_ref().map(|given| given.expose().to_owned());
    let prefix = store.s3_prefix.clone();
    let given = [("store", text(&store.store)), ("s3-bucket", text(&store.s3_bucket)), ("s3-prefix", prefix)];
    // Blank variables count as absent, so this is from the command line.
    match given.iter().find(|(_, value)| value.as_ref().is_some_and(|value| value.trim().is_empty())) {
        Some((flag, _)) => Err(UsageError::with_hint(
            format_args!("`--{flag}` is blank, as from a variable that is not set"),
            "give its value, or leave it out",
        )),
        None => Ok(()),
    }
}
