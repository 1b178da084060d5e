//! Command lines that people type: flags of all subcommands also before the subcommand, and `-h` on one screen.

use std::ffi::OsString;

use clap::{Arg, Command};

/// The flags that `-h` shows, of those that there are. `--help` shows all of them.
const ESSENTIAL: [&str; 37] = [
    "all",
    "branch",
    "by",
    "cascade",
    "clean",
    "dangling",
    "deep",
    "dry-run",
    "fail-on-cache-miss",
    "fail-on-error",
    "files",
    "for",
    "html",
    "json",
    "keep-newest",
    "key",
    "limit",
    "live-branches-from-git",
    "long",
    "lookup-only",
    "markdown",
    "max-age",
    "max-total-size",
    "min-age",
    "older-than",
    "prefix",
    "price",
    "quiet",
    "restore-keys",
    "s3-endpoint",
    "s3-region",
    "scope",
    "sort",
    "store",
    "tag",
    "verbose",
    "yes",
];

/// Accepts the flags that all subcommands have before the subcommand, too. They are shown only after it.
pub(crate) fn before_subcommands(command: Command) -> Command {
    let named = |arg: &&Arg| arg.get_long().is_some();
    let mut subcommands = command.get_subcommands();
    let first = subcommands.next().into_iter().flat_map(Command::get_arguments);
    let mut common: Vec<Arg> = first.filter(named).cloned().collect();
    for subcommand in subcommands {
        common.retain(|arg| subcommand.get_arguments().any(|other| other.get_id() == arg.get_id()));
    }
    common.retain(|arg| command.get_arguments().all(|own| own.get_id() != arg.get_id()));
    // Conflicts are those of the subcommand, which gets the values.
    command.args(common.into_iter().map(|arg| arg.global(true).hide(true)))
}

/// Shows only what most people need in `-h`.
pub(crate) fn with_short_help(command: Command) -> Command {
    let is_essential = |arg: &Arg| arg.get_long().is_none_or(|long| ESSENTIAL.contains(&long));
    command
        .mut_args(|arg| if is_essential(&arg) { arg } else { arg.hide_short_help(true) })
        .mut_subcommands(with_short_help)
}

/// Leaves out the variables, which take half of the screen.
pub(crate) fn without_variables(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env(true)).mut_subcommands(without_variables)
}

/// Whether `-h` is asked for.
pub(crate) fn asks_for_short_help(argv: &[OsString]) -> bool {
    argv.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "-h")
}
