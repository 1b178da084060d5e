//! Configurations for tests, made as in production but from given arguments and variables.

use std::ffi::OsString;
use std::path::PathBuf;

use chrono::DateTime;
use xcache_cli::ci::event::Event;
use xcache_cli::{RunContext, UsageError, parse};

use crate::args::Args;
use crate::config::Config;

/// The configuration for the key `k` (unless another is given) and the path `p`.
pub(crate) fn config(argv: &[&str], variables: &[(&str, &str)]) -> Result<Config, UsageError> {
    let key: &[&str] = if argv.contains(&"--key") { &[] } else { &["--key", "k"] };
    let argv = ["test", "p"].iter().chain(key).chain(argv).map(OsString::from);
    let args: Args = parse(argv).unwrap();
    let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
    let context = RunContext::new(lookup, DateTime::UNIX_EPOCH, PathBuf::from("/work"), 2);
    Config::new(&args, &context, &Event::default())
}
