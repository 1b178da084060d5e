//! How much a run may do at once.

use std::time::Duration;

use clap::Args;

use super::RunContext;
use super::env_vars as var;
use super::values::{parse_duration, parse_number};

/// Limits of a run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct TransferArgs {
    /// Maximum number of concurrent requests
    #[arg(long, env = var::CONCURRENCY, value_name = "N", default_value_t = 8, value_parser = parse_number::<1, 64>)]
    pub concurrency: u32,

    /// Threads that compress, hash and write [default: one for each CPU, at most 16]
    #[arg(long, env = var::WORKERS, value_name = "N", value_parser = parse_number::<1, 64>)]
    pub workers: Option<u32>,

    /// How long the run may take.
    #[command(flatten)]
    pub time: TimeArgs,
}

/// How long a run may take.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub struct TimeArgs {
    /// Give up after this time, for example `10m`; `0` for no limit [default: no limit]
    #[arg(long, env = var::TIMEOUT, value_name = "DURATION", value_parser = parse_limit)]
    pub timeout: Option<Duration>,
}

/// Reads a limit: a duration, or `0` for none.
fn parse_limit(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" { Ok(Duration::ZERO) } else { parse_duration(text) }
}

impl TimeArgs {
    /// The limit, if there is one; zero is none.
    pub fn limit(&self) -> Option<Duration> {
        self.timeout.filter(|timeout| !timeout.is_zero())
    }
}

/// Validated limits; both are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of concurrent requests.
    pub concurrency: usize,
    /// Worker threads.
    pub workers: usize,
}

impl Limits {
    /// The limits of each of `count` runs at the same time, which together keep to these as far as they can: each needs
    /// at least one of everything.
    #[must_use]
    pub fn shared_by(self, count: usize) -> Self {
        let Self { concurrency, workers } = self;
        Self { concurrency: (concurrency / count).max(1), workers: (workers / count).max(1) }
    }
}

impl TransferArgs {
    /// More workers than this have not made any measured tree faster, and each costs buffers.
    const MOST_DEFAULT_WORKERS: usize = 16;

    /// Fills in what depends on the machine.
    pub fn resolve(&self, context: &RunContext) -> Limits {
        let Self { concurrency, workers, time: _ } = self;
        let number = |number: u32| usize::try_from(number).unwrap_or(1);
        let workers = workers.map_or(context.cpus.clamp(1, Self::MOST_DEFAULT_WORKERS), number);
        Limits {
            concurrency: number(*concurrency).min(context.machine.concurrency),
            workers: workers.min(context.machine.workers),
        }
    }
}
