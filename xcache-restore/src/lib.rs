//! Restores the best matching entry.
//!
//! [`main`] goes from the command line to the exit code: arguments → configuration → run → report.

use std::error::Error;
use std::process::ExitCode;

use xcache_cli::ci::event::Event;
use xcache_cli::front::{self, Done, Program, SharedArgs, Warning};
use xcache_cli::report::Reporter;
use xcache_cli::store_args::StoreSelection;
use xcache_cli::{Exit, RunContext, UsageError};

pub mod args;
mod candidate;
mod clear;
pub mod config;
mod job;
mod notes;
pub mod outcome;
pub mod present;
pub mod restore;
mod run;
mod verdict;
#[cfg(test)]
mod test_support;

use args::Args;
use config::Config;
use outcome::{MissReason, Outcome};
use present::{PRIMARY_KEY_OUTPUT, Presented};

/// Runs the command.
pub fn main() -> ExitCode {
    front::main::<Restore>()
}

/// The program.
#[derive(Debug)]
struct Restore;

impl Program for Restore {
    type Args = Args;
    type Config = Config;
    type Outcome = Outcome;
    type Presented<'a> = Presented<'a>;

    const REFUSED: &'static [(&'static str, &'static str)] =
        &[("outcome", "miss"), ("miss-reason", MissReason::Misconfigured.word())];
    /// Files may be half written, and others already replaced.
    const IS_SAFE_TO_ABANDON: bool = false;

    fn shared(args: &Args) -> SharedArgs<'_> {
        let Args { cache, output, compat, other, transfer, .. } = args;
        SharedArgs { cache, output, compat, other, timeout: transfer.time.limit() }
    }

    fn notices(args: &Args, context: &RunContext) -> Vec<String> {
        args.notices(context)
    }

    fn fails_on_miss(args: &Args, context: &RunContext) -> bool {
        args.fail_on_cache_miss.is_on("fail-on-cache-miss", context).unwrap_or(false)
    }

    fn early_outputs(args: &Args) -> Vec<(&'static str, String)> {
        let each = args.each();
        let keys: Vec<_> = each.iter().flatten().filter_map(|args| args.cache.raw_key()).collect();
        if keys.is_empty() { Vec::new() } else { vec![(PRIMARY_KEY_OUTPUT, keys.join("\n"))] }
    }

    fn configure(args: &Args, context: &RunContext, event: &Event) -> Result<Vec<Config>, UsageError> {
        Config::each(args, context, event)
    }

    fn store(config: &Config) -> &StoreSelection {
        &config.store
    }

    async fn run(config: &Config, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Outcome> {
        restore::run(config, context, reporter).await
    }

    fn of_trouble(error: &(dyn Error + 'static)) -> Outcome {
        Outcome::Miss(MissReason::of(error))
    }

    fn exit(outcome: &Outcome, config: &Config) -> Exit {
        outcome.exit(config)
    }

    fn present<'a>(context: &RunContext, done: &'a Done<'a, Config, Outcome>) -> Presented<'a> {
        let Done { config, outcome, elapsed } = done;
        Presented { config, outcome, started: context.now, elapsed: *elapsed }
    }

    fn warnings(config: &Config) -> Vec<Warning> {
        config.access.fault()
    }
}
