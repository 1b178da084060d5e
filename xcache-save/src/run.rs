//! What all steps of a save share.

use std::sync::Arc;

use xcache_cli::RunContext;
use xcache_cli::explain::Explain;
use xcache_cli::report::Reporter;
use xcache_core::state::unusable::UnusableNote;
use xcache_core::store::Store;
use xcache_core::store::open::OpenedStore;
use xcache_core::store::probe::Features;

use crate::config::Config;

/// One save: what it was asked for, and what was found out before anything is written.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    pub(crate) context: &'a RunContext,
    pub(crate) reporter: &'a Reporter,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) opened: OpenedStore,
    pub(crate) features: Features,
    /// Whether the store is believed when it says that we have published.
    pub(crate) is_trusted: bool,
    /// What restores of this job could not use.
    pub(crate) unusable: Vec<UnusableNote>,
}

impl Run<'_> {
    /// Prints why, if that was asked for.
    pub(crate) fn explain(&self) -> Explain<'_> {
        Explain::new(self.config.explains, self.reporter)
    }
}
