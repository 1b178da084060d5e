//! What is printed, and in which form: decided once for a run.

use crate::RunContext;
use crate::ci::annotation::Commands;

/// How much to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// What was done.
    Normal,
    /// Each decision (`-v`, or a debug run of GitHub Actions).
    Verbose,
    /// Each step (`-vv`).
    Trace,
}

/// How progress is shown in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar.
    Bar,
    /// A plain line at most every ten seconds.
    Plain,
    /// Nothing.
    None,
}

/// The form of the output, decided once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much.
    pub verbosity: Verbosity,
    /// Whether stdout is for one JSON document.
    pub is_json: bool,
    /// Whether stderr may have colours.
    pub has_color: bool,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// How warnings and errors become annotations.
    pub commands: Commands,
}

impl Settings {
    /// Those of a run whose arguments are not known.
    pub fn default_of(context: &RunContext) -> Self {
        Self {
            verbosity: Verbosity::Normal,
            is_json: false,
            has_color: false,
            progress: ProgressMode::None,
            commands: Commands::of(context.ci.system),
        }
    }
}
