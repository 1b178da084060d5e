//! Saves paths as one immutable entry.
//!
//! [`main`] goes from the command line to the exit code: arguments → configuration → run → report.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use xcache_cli::caches_report::Report;
use xcache_cli::report::{Reporter, init_log};
use xcache_cli::{self as cli, Exit, RunContext, UsageError};

pub mod args;
pub mod config;
mod earlier;
pub mod outcome;
pub mod present;
pub mod save;
mod write;
#[cfg(test)]
mod test_support;

use args::Args;
use config::Config;
use outcome::Outcome;
use present::Presented;

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
    let event = cli::read_event(context, &reporter);
    match Config::each(&args, context, &event) {
        Ok(configs) => save_and_report(&configs, args.cache.is_list(), context, &reporter),
        Err(error) => refuse(&error, &args, context, &reporter),
    }
}

/// Says what is wrong with the input. In GitHub Actions a wrong key or path is a warning, as in `actions/cache`.
fn refuse(error: &UsageError, args: &Args, context: &RunContext, reporter: &Reporter) -> Exit {
    match error {
        UsageError::Input { .. } if context.ci.is_actions() && !args.cache.fail_on_error => {
            reporter.warning_for(error);
            Exit::Done
        }
        UsageError::Input { .. } if context.ci.is_actions() => {
            reporter.error_for(error);
            Exit::Failed
        }
        UsageError::Input { .. } | UsageError::Options { .. } => {
            reporter.error_for(error);
            Exit::Usage
        }
    }
}

/// Saves each cache, all at the same time, and tells of them in their order. Trouble means that nothing is saved.
fn save_and_report(configs: &[Config], is_list: bool, context: &RunContext, reporter: &Reporter) -> Exit {
    if let Some(config) = configs.iter().find(|config| config.store.is_default) {
        reporter.notice(format_args!("no store given, using the local one at `{}`", config.store.url()));
    }
    let run = |config| save::run(config, context, reporter);
    let (done, exit) = cli::run_each(configs, reporter, run, |_| Outcome::NotSaved { sent_bytes: 0 });
    let started = context.now;
    let presented =
        done.iter().map(|(config, outcome, elapsed)| Presented { config, outcome, started, elapsed: *elapsed });
    Report { caches: &presented.collect::<Vec<_>>(), is_list }.tell(context, reporter);
    done.iter().map(|(config, outcome, _)| outcome.exit(config)).fold(exit, Exit::max)
}
