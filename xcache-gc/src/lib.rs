//! Prunes, lists and verifies entries.
//!
//! [`main`] goes from the command line to the exit code: arguments → configuration → one command → report. Unlike a
//! save or a restore, a run that could not do what it was asked for ends with exit code 1: nobody's build depends on
//! it, and a clean-up that silently does nothing is found out by the bill.

use std::process::ExitCode;

use xcache_cli::front::Host;
use xcache_cli::output::v1::{FORMAT, FailedDocument};
use xcache_cli::report::Reporter;
use xcache_cli::report::settings::Settings;
use xcache_cli::{self as cli, Class, Exit, RunContext, UsageError};

pub mod args;
mod ask;
mod branches;
mod cells;
mod connection;
mod diff;
mod doctor;
mod du;
mod filter;
mod keep;
mod list;
mod notices;
mod outcome;
mod prune;
mod reason;
mod ref_list;
mod remove;
mod report;
mod show;
mod values;
mod verify;
mod versions;

use args::{Args, Command};
use connection::Connection;

/// Runs the command.
pub fn main() -> ExitCode {
    let host = Host::start();
    // Nothing is deleted that was not clearly asked for, and no build depends on a clean-up: wrong input is an error
    // here, in a job as elsewhere.
    let refuse = |error: &UsageError, _, reporter: &Reporter| {
        reporter.error_for(error);
        Exit::Usage
    };
    let args: Args = match host.parse(refuse) {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    if let Some(exit) = args.other.print::<Args>() {
        return exit.into();
    }
    let Some(command) = args.command else {
        let reporter = Reporter::new(Settings::default_of(&host.context));
        reporter.error("no command given", Some("`xcache-gc --help` lists the commands"));
        return Exit::Usage.into();
    };
    let reporter = host.reporter(&command.common().output);
    let exit = run_and_report(host, &command, &reporter);
    reporter.finish(exit, true).into()
}

fn run_and_report(host: Host, command: &Command, reporter: &Reporter) -> Exit {
    let Host { context, runtime, .. } = host;
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let timeout = command.common().time.limit();
        runtime.run(timeout, run(command, &context, reporter))
    });
    let exit = match result {
        // A warning is something that was asked for and not done.
        Ok(exit) if reporter.warnings() > 0 => exit.max(Exit::Failed),
        Ok(exit) => exit,
        Err(error) => {
            if outcome::is_full(error.as_ref()) {
                reporter.error(cli::report::chain::text(error.as_ref()), Some(outcome::FULL_HINT));
            } else {
                reporter.error_for(error.as_ref());
            }
            match cli::classify(error.as_ref()) {
                Class::Usage => Exit::Usage,
                Class::Trouble | Class::Unsafe => Exit::Failed,
            }
        }
    };
    if let (Some(error), false) = (reporter.last_error(), reporter.has_document()) {
        let (command, outcome) = (command.name().to_owned(), "failed".to_owned());
        cli::print_document(reporter, &FailedDocument { format: FORMAT, command, outcome, reason: None, error });
    }
    exit
}

async fn run(command: &Command, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Exit> {
    tokio::select! {
        result = dispatch(command, context, reporter) => result,
        interrupted = cli::interrupted() => Err(interrupted.into()),
    }
}

async fn dispatch(command: &Command, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Exit> {
    match command {
        Command::Prune(args) => {
            // A policy that cannot be right is refused before anything is opened.
            let policy = prune::policy(args, context)?;
            let connection = Connection::open(&args.common, context, reporter).await?;
            prune::run(args, policy, &connection, context, reporter).await
        }
        Command::Rm(args) => {
            let connection = Connection::open(&args.common, context, reporter).await?;
            remove::run(args, &connection, context, reporter).await
        }
        Command::Ls(args) => {
            let connection = Connection::open(&args.common, context, reporter).await?;
            list::run(args, &connection, context, reporter).await
        }
        Command::Show(args) => {
            let connection = Connection::open(&args.common, context, reporter).await?;
            show::run(args, &connection, reporter).await
        }
        Command::Diff(args) => {
            let connection = Connection::open(&args.common, context, reporter).await?;
            diff::run(args, &connection, reporter).await
        }
        Command::Verify(args) => {
            let connection = Connection::open(&args.common, context, reporter).await?;
            verify::run(args, &connection, context, reporter).await
        }
        Command::Du(args) => {
            let connection = Connection::open(&args.common, context, reporter).await?;
            du::run(args, &connection, context, reporter).await
        }
        Command::Keep(args) => {
            let connection = Connection::open(&args.common, context, reporter).await?;
            keep::run(args, &connection, reporter).await
        }
        Command::Doctor(args) => doctor::run(args, context, reporter).await,
        Command::Report(args) => {
            let policy = args.rules.policy(context)?;
            let connection = Connection::open(&args.common, context, reporter).await?;
            report::run(args, policy, &connection, context, reporter).await
        }
    }
}
