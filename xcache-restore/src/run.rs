//! What all steps of a restore share.

use std::sync::Arc;

use xcache_cli::explain::Explain;
use xcache_cli::report::Reporter;
use xcache_core::object::RunId;
use xcache_core::store::Store;

use crate::config::Config;
use crate::notes::Notes;

/// One restore: what it was asked for, and where its entries are.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    pub(crate) reporter: &'a Reporter,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) notes: Notes<'a>,
    /// Makes its temporary names its own.
    pub(crate) id: RunId,
}

impl Run<'_> {
    /// Prints why, if that was asked for.
    pub(crate) fn explain(&self) -> Explain<'_> {
        Explain::new(self.config.explains, self.reporter)
    }
}
