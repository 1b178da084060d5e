//! Restores the best matching entry.
//!
//! [`main`] goes from the command line to the exit code: arguments → configuration → run → report.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use xcache_cli::caches_report::Report;
use xcache_cli::report::{Reporter, init_log};
use xcache_cli::{self as cli, Exit, RunContext, UsageError};

pub mod args;
mod clear;
pub mod config;
pub mod outcome;
pub mod present;
pub mod restore;
#[cfg(test)]
mod test_support;

use args::Args;
use config::Config;
use outcome::{MissReason, Outcome};
use present::{PRIMARY_KEY_OUTPUT, Presented};

/// Runs the command.
pub fn main() -> ExitCode {
    command(std::env::args_os(), &RunContext::from_process()).into()
}

fn command(argv: impl IntoIterator<Item = OsString>, context: &RunContext) -> Exit {
    let args: Args = match cli::parse(argv) {
        Ok(args) => args,
        Err(stop) => return cli::print_stop(&stop),
    };
    if let Some(exit) = args.other.print::<Args>() {
        return exit;
    }
    let settings = args.output.resolve(context, io::stderr().is_terminal());
    init_log(settings);
    let reporter = Reporter::new(settings);
    for notice in args.compat.notices() {
        reporter.notice(notice);
    }
    let keys: Vec<String> =
        args.each().iter().flatten().filter_map(|args| args.cache.raw_key().map(str::to_owned)).collect();
    if !keys.is_empty() {
        cli::write_outputs(context, &reporter, &[(PRIMARY_KEY_OUTPUT, keys.join("\n"))]);
    }
    let event = cli::read_event(context, &reporter);
    match Config::each(&args, context, &event) {
        Ok(configs) => restore_and_report(&configs, args.cache.is_list(), context, &reporter),
        Err(error) => refuse(&error, context, &reporter),
    }
}

/// Says what is wrong with the input. In GitHub Actions a wrong key or path fails the step, as in `actions/cache`.
fn refuse(error: &UsageError, context: &RunContext, reporter: &Reporter) -> Exit {
    reporter.error_for(error);
    match error {
        UsageError::Input { .. } if context.ci.is_actions() => Exit::Failed,
        UsageError::Input { .. } | UsageError::Options { .. } => Exit::Usage,
    }
}

/// Restores each cache, all at the same time, and tells of them in their order. Trouble is a miss.
fn restore_and_report(configs: &[Config], is_list: bool, context: &RunContext, reporter: &Reporter) -> Exit {
    if let Some(config) = configs.iter().find(|config| config.store.is_default) {
        reporter.notice(format_args!("no store given, using the local one at `{}`", config.store.url()));
    }
    let run = |config| restore::run(config, context, reporter);
    let (done, exit) = cli::run_each(configs, reporter, run, |error| Outcome::Miss(MissReason::of(error)));
    let started = context.now;
    let presented =
        done.iter().map(|(config, outcome, elapsed)| Presented { config, outcome, started, elapsed: *elapsed });
    Report { caches: &presented.collect::<Vec<_>>(), is_list }.tell(context, reporter);
    done.iter().map(|(config, outcome, _)| outcome.exit(config)).fold(exit, Exit::max)
}
