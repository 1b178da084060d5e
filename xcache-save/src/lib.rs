//! Saves paths as one immutable entry.
//!
//! [`main`] goes from the command line to the exit code: arguments → configuration → run → report.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Instant;

use xcache_core::cli::{self, Class, Exit, RunContext, UsageError};
use xcache_core::report::{Reporter, init_log};

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
    match Config::new(&args, context, &event) {
        Ok(config) => save_and_report(&config, context, &reporter),
        Err(error) => refuse(&error, &args, context, &reporter),
    }
}

/// Says what is wrong with the input. In GitHub Actions a wrong key or path is a warning, as in `actions/cache`.
fn refuse(error: &UsageError, args: &Args, context: &RunContext, reporter: &Reporter) -> Exit {
    match error {
        UsageError::Input { .. } if context.github.is_actions && !args.cache.fail_on_error => {
            reporter.warning_for(error);
            Exit::Done
        }
        UsageError::Input { .. } if context.github.is_actions => {
            reporter.error_for(error);
            Exit::Failed
        }
        UsageError::Input { .. } | UsageError::Options { .. } => {
            reporter.error_for(error);
            Exit::Usage
        }
    }
}

fn save_and_report(config: &Config, context: &RunContext, reporter: &Reporter) -> Exit {
    if config.store.is_default {
        reporter.notice(format_args!("no store given, using the local one at `{}`", config.store.url()));
    }
    let begin = Instant::now();
    let outcome = match cli::block_on(save::run(config, context, reporter)) {
        Ok(outcome) => outcome,
        Err(error) => match cli::classify(error.as_ref()) {
            Class::Trouble => {
                reporter.warning_for(error.as_ref());
                Outcome::NotSaved { sent_bytes: 0 }
            }
            class @ (Class::Unsafe | Class::Usage) => {
                reporter.error_for(error.as_ref());
                return class.exit();
            }
        },
    };
    let presented = Presented { config, outcome: &outcome, started: context.now, elapsed: begin.elapsed() };
    presented.print(reporter);
    cli::write_outputs(context, reporter, &presented.outputs());
    cli::write_summary(context, reporter, &presented.summary());
    cli::print_document(reporter, &presented.document());
    outcome.exit(config)
}
