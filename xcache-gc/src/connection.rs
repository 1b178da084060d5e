//! The store that a command works on.

use std::sync::Arc;

use anyhow::Context as _;
use xcache_cli::RunContext;
use xcache_cli::report::Reporter;
use xcache_core::gc::Mode;
use xcache_core::store::Store;
use xcache_core::store::open::{Opened, open};
use xcache_core::store::probe::Features;

use crate::args::CommonArgs;

/// An open store.
pub(crate) struct Connection {
    pub(crate) store: Arc<dyn Store>,
    opened: Opened,
}

impl Connection {
    /// Opens the store of the command line.
    pub(crate) async fn open(common: &CommonArgs, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Self> {
        let selection = common.store.resolve(context)?;
        if selection.is_default {
            reporter.notice(format_args!("no store given, using the local one at `{}`", selection.config.url));
        }
        let opened = open(&selection.config).await?;
        Ok(Self { store: Arc::clone(&opened.store), opened })
    }

    /// What the store honours. Commands that only read have no need to know, and a dry run does not try what nobody has
    /// tried before, because that takes writing.
    pub(crate) async fn features(&self, mode: Mode) -> anyhow::Result<Features> {
        let features = match mode {
            Mode::Real => self.opened.features().await,
            Mode::Dry(_) => self.opened.remembered_features().await,
        };
        features.context("cannot find out what the store honours")
    }
}

/// An id that no other run has.
pub(crate) fn unique_id() -> anyhow::Result<[u8; 16]> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).context("the system gives no random numbers")?;
    Ok(id)
}
