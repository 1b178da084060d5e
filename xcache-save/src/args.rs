//! The command line of `xcache-save`.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use xcache_cli::UsageError;
use xcache_cli::cache_args::CacheArgs;
use xcache_cli::caches::CacheSpec;
use xcache_cli::compat_args::CompatArgs;
use xcache_cli::env_vars as var;
use xcache_cli::mode_args::ModeArgs;
use xcache_cli::other_args::OtherArgs;
use xcache_cli::output_args::OutputArgs;
use xcache_cli::scope_args::ScopeArgs;
use xcache_cli::store_args::StoreArgs;
use xcache_cli::transfer_args::TransferArgs;
use xcache_cli::values::{parse_duration, parse_number, parse_switch};
use xcache_core::archive::frame::DEFAULT_LEVEL;

/// Save paths as one immutable entry of a cache
///
/// Does nothing if the key exists already. What the entry restored before, or the entry found by --base-key or
/// --restore-keys, already holds is not sent again.
#[derive(Clone, Debug, Parser)]
#[command(name = "xcache-save", bin_name = "xcache-save", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// Entry to build on if this job restored none
    #[arg(long, env = var::BASE_KEY, value_name = "KEY")]
    pub(crate) base_key: Option<String>,

    /// Key prefixes of entries to build on if this job restored none, best first, one per line
    #[arg(long, env = var::RESTORE_KEYS, value_name = "KEYS")]
    pub(crate) restore_keys: Vec<String>,

    /// Write a complete entry even if a delta would be smaller
    #[arg(long, env = var::FULL, value_parser = parse_switch)]
    pub(crate) full: bool,

    /// Write a complete entry if the one to build on is older than this
    #[arg(long, env = var::REBASE_AFTER, value_name = "DURATION", default_value = "7d", value_parser = parse_duration)]
    pub(crate) rebase_after: Duration,

    /// What to do if the key exists
    #[arg(long, env = var::IF_EXISTS, value_name = "ACTION", value_enum, default_value_t = IfExists::Skip)]
    pub(crate) if_exists: IfExists,

    /// Save even if a restore onto these paths did not finish
    #[arg(long, env = var::SAVE_UNFINISHED, value_parser = parse_switch)]
    pub(crate) save_unfinished: bool,

    /// Compression level of zstd; the default is tuned for speed
    #[arg(long, env = var::LEVEL, value_name = "1-19", default_value_t = DEFAULT_LEVEL, value_parser = parse_level)]
    pub(crate) level: i32,

    /// Tag of the entry; `keep=true` protects it from clean-up. May be repeated, or one per line
    #[arg(long = "tag", env = var::TAG, value_name = "NAME=VALUE", help_heading = "Tags")]
    pub(crate) tags: Vec<String>,

    /// Branch that the entry is tagged with [default: from the CI job]
    #[arg(long, env = var::BRANCH, value_name = "NAME", help_heading = "Tags")]
    pub(crate) branch: Option<String>,

    /// Commit that the entry is tagged with [default: from the CI job]
    #[arg(long, env = var::COMMIT, value_name = "SHA", help_heading = "Tags")]
    pub(crate) commit: Option<String>,

    /// Repository that the entry is tagged with [default: from the CI job]
    #[arg(long, env = var::REPO, value_name = "OWNER/NAME", help_heading = "Tags")]
    pub(crate) repo: Option<String>,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    #[command(flatten)]
    pub(crate) scope: ScopeArgs,

    #[command(flatten)]
    pub(crate) mode: ModeArgs,

    #[command(flatten)]
    pub(crate) transfer: TransferArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) compat: CompatArgs,

    #[command(flatten)]
    pub(crate) other: OtherArgs,
}

impl Args {
    /// The arguments of each cache: these, or those of each in the list.
    pub(crate) fn each(&self) -> Result<Vec<Self>, UsageError> {
        let Some(list) = self.cache.list(&self.restore_keys)? else { return Ok(vec![self.clone()]) };
        let of = |spec: &CacheSpec| Self {
            cache: self.cache.of(spec),
            restore_keys: vec![spec.restore_keys.clone()],
            ..self.clone()
        };
        Ok(list.iter().map(of).collect())
    }
}

fn parse_level(text: &str) -> Result<i32, String> {
    parse_number::<1, 19>(text).map(u32::cast_signed)
}

/// What to do if the key exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IfExists {
    /// Say so and end with exit code 0.
    Skip,
    /// End with exit code 1.
    Fail,
}

const EXAMPLES: &str = "\
Examples:
  Save two directories to a bucket:
    xcache-save --store s3://my-bucket/ci --key deps-1 ~/.cargo/registry target

  The same without what need not be kept:
    xcache-save --store s3://my-bucket/ci --key deps-1 target '!target/**/incremental'

  Keep entries in a directory of this machine:
    xcache-save --store file:///var/cache/xcache --key deps-1 node_modules

Exit codes:
  0  done; also if the key exists already or there is nothing to save
  1  failed, and --fail-on-error or --if-exists=fail asks to say so
  2  wrong usage";

#[cfg(test)]
mod tests {
    use xcache_cli::command;

    use super::*;

    #[test]
    fn every_flag_is_a_variable_of_the_same_name() {
        for arg in command::<Args>().get_arguments() {
            let Some(flag) = arg.get_long() else { continue };
            let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            let expected = match flag {
                "completions" | "man" => None,
                flag => Some(format!("XCACHE_{}", flag.to_uppercase().replace('-', "_"))),
            };
            assert_eq!(variable, expected, "--{flag}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        command::<Args>().debug_assert();
    }
}
