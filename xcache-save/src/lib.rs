//! Saves paths as one immutable entry.
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
mod complete;
pub mod config;
mod delta;
mod earlier;
mod make;
mod make_good;
pub mod outcome;
pub mod present;
mod run;
pub mod save;
mod write;
#[cfg(test)]
mod test_support;

use args::Args;
use config::Config;
use outcome::{NotSaved, Outcome};
use present::Presented;

/// Runs the command.
pub fn main() -> ExitCode {
    front::main::<Save>()
}

/// The program.
#[derive(Debug)]
struct Save;

impl Program for Save {
    type Args = Args;
    type Config = Config;
    type Outcome = Outcome;
    type Presented<'a> = Presented<'a>;

    const REFUSED: &'static [(&'static str, &'static str)] =
        &[("outcome", "not-saved"), ("reason", NotSaved::Misconfigured.word())];
    /// Parts of an upload are left behind, which are no entry.
    const IS_SAFE_TO_ABANDON: bool = true;

    fn shared(args: &Args) -> SharedArgs<'_> {
        let Args { cache, output, compat, other, transfer, .. } = args;
        SharedArgs { cache, output, compat, other, timeout: transfer.time.limit() }
    }

    fn notices(_: &Args, _: &RunContext) -> Vec<String> {
        Vec::new()
    }

    fn fails_on_miss(_: &Args, _: &RunContext) -> bool {
        false
    }

    fn early_outputs(_: &Args) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn configure(args: &Args, context: &RunContext, event: &Event) -> Result<Vec<Config>, UsageError> {
        Config::each(args, context, event)
    }

    fn store(config: &Config) -> &StoreSelection {
        &config.store
    }

    async fn run(config: &Config, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Outcome> {
        save::run(config, context, reporter).await
    }

    fn of_trouble(error: &(dyn Error + 'static)) -> Outcome {
        Outcome::NotSaved { reason: NotSaved::of(error), sent_bytes: 0 }
    }

    fn exit(outcome: &Outcome, config: &Config) -> Exit {
        outcome.exit(config)
    }

    fn present<'a>(context: &RunContext, done: &'a Done<'a, Config, Outcome>) -> Presented<'a> {
        let Done { config, outcome, elapsed } = done;
        Presented { config, outcome, started: context.now, elapsed: *elapsed }
    }

    fn warnings(config: &Config) -> Vec<Warning> {
        config.access.warnings()
    }
}
