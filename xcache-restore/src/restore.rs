//! The restore itself.

use xcache_core::cli::RunContext;
use xcache_core::report::Reporter;

use crate::config::Config;
use crate::outcome::{MissReason, Outcome};

/// Restores what `config` says.
pub async fn run(config: &Config, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let _ = (config, context, reporter);
    Ok(Outcome::Miss(MissReason::NothingThere))
}
