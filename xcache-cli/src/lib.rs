//! What the three command lines share: groups of arguments, exit codes, and the way from `argv` to a configuration.
//!
//! Raw arguments (`*_args`) are turned into validated options once; nothing behind that looks at the command line or
//! the environment again. Each flag is also an environment variable, named in [`env_vars`], because the actions pass
//! their inputs that way.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, CommandFactory, Parser};

mod common_flags;
pub mod ci;
pub mod report;
pub mod output;
pub mod env_vars;
pub mod exit;
pub mod errors;
pub mod context;
pub mod values;
pub mod store_args;
pub mod output_args;
pub mod transfer_args;
pub mod mode_args;
pub mod scope_args;
pub mod cache_args;
pub mod caches;
pub mod caches_report;
pub mod compat_args;
pub mod other_args;
pub mod child;
pub mod machine;
pub mod refusal;
pub mod runtime;
mod streams;
pub mod explain;
pub mod metrics;
pub mod answer;
pub mod front;

pub use answer::{print_document, read_event, write_outputs, write_summary};
pub use context::RunContext;
pub use errors::{Class, Crash, Interrupted, UnsafeToContinue, UsageError, classify, store_error_kind};
pub use exit::Exit;
pub use runtime::{interrupted, unless_interrupted, why_interrupted};

/// Reads the command line. The error is clap's: help, version or a usage error, for [`refusal::Refusal`].
pub fn parse<T: Parser>(argv: impl IntoIterator<Item = OsString>) -> Result<T, clap::Error> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let command = command::<T>();
    let is_short = common_flags::asks_for_short_help(&argv);
    let mut command = if is_short { common_flags::without_variables(command) } else { command };
    let mut matches = command.try_get_matches_from_mut(argv)?;
    T::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The command as [`parse`] uses it: an environment variable that is set but blank counts as not set, because an
/// action passes every input, also those that the user left out.
pub fn command<T: CommandFactory>() -> Command {
    common_flags::with_short_help(common_flags::before_subcommands(ignore_blank_variables(T::command())))
}

fn ignore_blank_variables(command: Command) -> Command {
    command.mut_args(|arg| ignore_blank_variable(take_values(arg))).mut_subcommands(ignore_blank_variables)
}

/// Makes a switch take a value, so that `--full=no` undoes what the environment says, and `--full="$VARIABLE"` works.
fn take_values(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) || arg.get_env().is_none() {
        return arg;
    }
    arg.action(ArgAction::Set)
        .value_name("BOOL")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
}

fn ignore_blank_variable(arg: Arg) -> Arg {
    let is_blank = |name: &std::ffi::OsStr| {
        std::env::var_os(name).is_some_and(|value| value.to_str().is_some_and(|text| text.trim().is_empty()))
    };
    match arg.get_env() {
        Some(name) if is_blank(name) => arg.env(None::<&'static str>),
        _ => arg,
    }
}
