//! Which entries a run may see: the `--scope` argument.

use clap::Args;

use super::env_vars as var;
use super::{RunContext, UsageError};
use crate::ci::event::Event;
use xcache_core::scope::{RunRefs, ScopeMode, Scopes};

/// Keeping the entries of one ref apart from those of others.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct ScopeArgs {
    /// Keep entries apart: `none`, `ref` (by git ref, as GitHub does), or a name of your own
    ///
    /// Entries are written to the scope of the run only, and looked for there, then in the base branch of a pull
    /// request, then in the default branch.
    #[arg(long, env = var::SCOPE, value_name = "SCOPE", default_value = "none")]
    pub scope: ScopeMode,
}

impl ScopeArgs {
    /// Works out where this run writes and reads.
    pub fn resolve(&self, context: &RunContext, event: &Event) -> Result<Scopes, UsageError> {
        let job = context.ci.with(event);
        let refs = RunRefs {
            own: job.own_ref.as_deref(),
            base_branch: job.base_branch.as_deref(),
            default_branch: job.default_branch.as_deref(),
        };
        Scopes::new(&self.scope, &refs).map_err(UsageError::options)
    }
}
