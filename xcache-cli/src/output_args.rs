//! What a run prints and where: the `--json`, `-v`, `-q`, `--color` and `--progress` arguments.

use clap::{ArgAction, Args, ValueEnum};

use super::RunContext;
use super::env_vars as var;
use super::values::{NotASwitch, parse_switch};
use crate::ci::annotation::Commands;
use crate::report::settings::{ProgressMode, Settings, Verbosity};

/// What is printed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print one JSON document to stdout at the end
    #[arg(long, env = var::JSON, value_parser = parse_switch)]
    pub json: bool,

    /// Print more; twice for still more
    #[arg(long, short, env = var::VERBOSE, value_name = "COUNT", action = ArgAction::Count, value_parser = parse_verbosity)]
    pub verbose: u8,

    /// Print only warnings and errors
    #[arg(long, short, env = var::QUIET, value_parser = parse_switch)]
    pub quiet: bool,

    /// Colours on stderr; NO_COLOR is honoured
    #[arg(long, env = var::COLOR, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,

    /// Progress: a bar, a plain line every ten seconds, or none; `auto` is a bar on a terminal and lines elsewhere
    #[arg(long, env = var::PROGRESS, value_name = "FORM", value_enum, default_value_t = ProgressChoice::Auto)]
    pub progress: ProgressChoice,
}

/// Reads how often `-v` is given, by number or as a switch.
fn parse_verbosity(text: &str) -> Result<u8, NotASwitch> {
    text.trim().parse().or_else(|_| parse_switch(text).map(u8::from))
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

/// How to show progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressChoice {
    /// A bar on a terminal, plain lines elsewhere.
    Auto,
    /// A bar, if there is a terminal.
    Bar,
    /// Plain lines.
    Plain,
    /// Nothing.
    None,
}

impl OutputArgs {
    /// Decides on the form of the output. `is_terminal` tells of stderr.
    pub fn resolve(&self, context: &RunContext, is_terminal: bool) -> Settings {
        let Self { json, verbose, quiet, color, progress } = self;
        let verbose = if context.ci.is_debug { (*verbose).max(1) } else { *verbose };
        let verbosity = match (verbose, quiet) {
            (0, true) => Verbosity::Quiet,
            (0, false) => Verbosity::Normal,
            (1, _) => Verbosity::Verbose,
            (2.., _) => Verbosity::Trace,
        };
        // Log lines and a bar would tear each other apart.
        let can_draw = is_terminal && !context.is_dumb_terminal && verbosity <= Verbosity::Normal;
        let progress = match (progress, verbosity) {
            (ProgressChoice::None, _) | (ProgressChoice::Auto, Verbosity::Quiet) => ProgressMode::None,
            (ProgressChoice::Auto | ProgressChoice::Bar, _) if can_draw => ProgressMode::Bar,
            (ProgressChoice::Bar, _) => ProgressMode::None,
            (ProgressChoice::Auto | ProgressChoice::Plain, _) => ProgressMode::Plain,
        };
        Settings {
            verbosity,
            is_json: *json,
            has_color: match color {
                ColorChoice::Auto => is_terminal && !context.is_no_color && !context.is_dumb_terminal,
                ColorChoice::Always => true,
                ColorChoice::Never => false,
            },
            progress,
            commands: Commands::of(context.ci.system),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::context;
    use super::*;

    fn resolve(change: impl FnOnce(&mut OutputArgs), variables: &[(&str, &str)], is_terminal: bool) -> Settings {
        let mut args = OutputArgs {
            json: false,
            verbose: 0,
            quiet: false,
            color: ColorChoice::Auto,
            progress: ProgressChoice::Auto,
        };
        change(&mut args);
        args.resolve(&context(variables), is_terminal)
    }

    #[test]
    fn progress_depends_on_the_terminal() {
        use ProgressMode::{Bar, None, Plain};
        let check = |choice, variables: &[(&str, &str)], on_terminal, elsewhere| {
            for (is_terminal, expected) in [(true, on_terminal), (false, elsewhere)] {
                let found = resolve(|args| args.progress = choice, variables, is_terminal).progress;
                assert_eq!(found, expected, "{choice:?} {variables:?} {is_terminal}");
            }
        };
        check(ProgressChoice::Auto, &[], Bar, Plain);
        check(ProgressChoice::Auto, &[("TERM", "dumb")], Plain, Plain);
        check(ProgressChoice::Auto, &[("RUNNER_DEBUG", "1")], Plain, Plain);
        check(ProgressChoice::Bar, &[], Bar, None);
        check(ProgressChoice::Plain, &[], Plain, Plain);
        check(ProgressChoice::None, &[], None, None);
        assert_eq!(resolve(|args| args.quiet = true, &[], true).progress, None);
    }

    #[test]
    fn colours_need_a_terminal_and_consent() {
        let check = |choice, variables: &[(&str, &str)], is_terminal, expected| {
            assert_eq!(resolve(|args| args.color = choice, variables, is_terminal).has_color, expected);
        };
        check(ColorChoice::Auto, &[], true, true);
        check(ColorChoice::Auto, &[], false, false);
        check(ColorChoice::Auto, &[("NO_COLOR", "1")], true, false);
        check(ColorChoice::Auto, &[("NO_COLOR", "")], true, true);
        check(ColorChoice::Auto, &[("TERM", "dumb")], true, false);
        check(ColorChoice::Always, &[("NO_COLOR", "1")], false, true);
        check(ColorChoice::Never, &[], true, false);
    }

    #[test]
    fn verbosity_is_the_loudest_wish() {
        let check = |verbose, quiet, variables: &[(&str, &str)], expected| {
            let change = |args: &mut OutputArgs| (args.verbose, args.quiet) = (verbose, quiet);
            assert_eq!(resolve(change, variables, false).verbosity, expected);
        };
        check(0, false, &[], Verbosity::Normal);
        check(0, true, &[], Verbosity::Quiet);
        check(1, true, &[], Verbosity::Verbose);
        check(3, false, &[], Verbosity::Trace);
        check(0, true, &[("RUNNER_DEBUG", "1")], Verbosity::Verbose);
    }
}
