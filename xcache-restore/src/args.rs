//! The command line of `xcache-restore`.

use clap::Parser;
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
use xcache_cli::values::{ActionsSwitch, parse_switch};
use xcache_cli::{RunContext, UsageError};

/// Restore the best matching entry of a cache
///
/// Looks for the key itself, then for the newest entry that begins with it, then for each of the restore keys. Files
/// that are the same already are kept and not fetched.
#[derive(Clone, Debug, Parser)]
#[command(name = "xcache-restore", bin_name = "xcache-restore", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// Prefixes of keys to restore if there is no exact match, best first, one per line
    #[arg(long, env = var::RESTORE_KEYS, value_name = "KEYS")]
    pub(crate) restore_keys: Vec<String>,

    /// Look for an entry without restoring it
    #[arg(long, env = var::LOOKUP_ONLY, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "", hide_default_value = true, value_parser = ActionsSwitch::parse)]
    pub(crate) lookup_only: ActionsSwitch,

    /// End with exit code 1 if there is no entry
    #[arg(long, env = var::FAIL_ON_CACHE_MISS, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "", hide_default_value = true, value_parser = ActionsSwitch::parse)]
    pub(crate) fail_on_cache_miss: ActionsSwitch,

    /// Remove files that are not in the entry, except git repositories
    #[arg(long, env = var::CLEAN, value_parser = parse_switch)]
    pub(crate) clean: bool,

    /// With `--clean`, also clean git repositories, and `/`, the home or working directory
    #[arg(long, env = var::CLEAN_PROTECTED, value_parser = parse_switch)]
    pub(crate) clean_protected: bool,

    /// Restore owners and groups where permitted
    #[arg(long, env = var::SAME_OWNER, value_parser = parse_switch)]
    pub(crate) same_owner: bool,

    /// Match paths with different names by position, even if the key is not an exact match
    #[arg(long, env = var::RELOCATE, value_parser = parse_switch)]
    pub(crate) relocate: bool,

    /// Text in the message of the pushed commit that deletes the entry of the key instead; `none` for no such text
    #[arg(long, env = var::CLEAR_TOKEN, value_name = "TEXT", default_value = "[ci-clear-cache]")]
    pub(crate) clear_token: String,

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
    /// What to say of values that are accepted and mean something else than they seem to.
    pub(crate) fn notices(&self, context: &RunContext) -> Vec<String> {
        let switches = [(&self.lookup_only, "lookup-only"), (&self.fail_on_cache_miss, "fail-on-cache-miss")];
        switches.into_iter().filter_map(|(switch, input)| switch.notice(input, context)).collect()
    }

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

const EXAMPLES: &str = "\
Examples:
  Restore a directory, or else the newest entry that begins with `deps-`:
    xcache-restore --store s3://my-bucket/ci --key deps-1 --restore-keys deps- target

  Only look:
    xcache-restore --store s3://my-bucket/ci --key deps-1 --lookup-only --json target

  Restore into another directory than the one that was saved (through a prefix, add `--relocate`):
    xcache-restore --store file:///var/cache/xcache --key deps-1 ./elsewhere

Exit codes:
  0  done; also if there is no entry, or the cache cannot be used
  1  no entry with --fail-on-cache-miss, trouble with --fail-on-error, or a restore that changed
     files and could not finish
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
