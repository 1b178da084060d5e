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
pub mod report;
pub mod save;
mod write;
#[cfg(test)]
mod test_support;

use args::Args;
use config::Config;
use outcome::Outcome;
use present::Presented;
use report::Report;

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

/// Saves each cache, all at the same time, and tells of them in their order.
fn save_and_report(configs: &[Config], is_list: bool, context: &RunContext, reporter: &Reporter) -> Exit {
    if let Some(config) = configs.iter().find(|config| config.store.is_default) {
        reporter.notice(format_args!("no store given, using the local one at `{}`", config.store.url()));
    }
    let begin = Instant::now();
    let runs = configs.iter().map(|config| save::run(config, context, reporter));
    let results = cli::block_on_all(runs).unwrap_or_else(|crash| {
        reporter.warning_for(&crash);
        configs.iter().map(|_| (Ok(Outcome::NotSaved { sent_bytes: 0 }), begin.elapsed())).collect()
    });
    let mut exit = Exit::Done;
    let mut outcomes = Vec::new();
    for (config, (result, elapsed)) in configs.iter().zip(results) {
        match outcome(result, reporter) {
            Ok(outcome) => {
                exit = exit.max(outcome.exit(config));
                outcomes.push((config, outcome, elapsed));
            }
            Err(class) => exit = exit.max(class.exit()),
        }
    }
    let started = context.now;
    let caches: Vec<_> = outcomes
        .iter()
        .map(|(config, outcome, elapsed)| Presented { config, outcome, started, elapsed: *elapsed })
        .collect();
    for presented in &caches {
        presented.print(reporter);
    }
    if !caches.is_empty() {
        let report = Report { caches: &caches, is_list };
        cli::write_outputs(context, reporter, &report.outputs());
        cli::write_summary(context, reporter, &report.summary());
        cli::print_document(reporter, &report.document());
    }
    exit
}

/// The outcome of a run. Trouble means that nothing is saved; any other error is reported, and its class says how to end.
fn outcome(result: anyhow::Result<Outcome>, reporter: &Reporter) -> Result<Outcome, Class> {
    result.or_else(|error| match cli::classify(error.as_ref()) {
        Class::Trouble => {
            reporter.warning_for(error.as_ref());
            Ok(Outcome::NotSaved { sent_bytes: 0 })
        }
        class @ (Class::Unsafe | Class::Usage) => {
            reporter.error_for(error.as_ref());
            Err(class)
        }
    })
}
