//! The command line of `xcache-gc`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use xcache_cli::env_vars as var;
use xcache_cli::other_args::OtherArgs;
use xcache_cli::output_args::OutputArgs;
use xcache_cli::store_args::StoreArgs;
use xcache_cli::transfer_args::TimeArgs;
use xcache_cli::values::{parse_duration, parse_number, parse_safeguard, parse_switch};
use xcache_core::gc::policy::GroupBy;
use xcache_core::object::Kind;
use xcache_core::redact::GivenAddress;

use crate::values::{parse_file, parse_price, parse_remote, parse_selector, parse_size, parse_tag};

/// Prune, list and verify the entries of a cache
///
/// Deleting is safe while other jobs save and restore: entries that a running save is about to use are kept.
#[derive(Clone, Debug, Parser)]
#[command(name = "xcache-gc", bin_name = "xcache-gc", version, after_help = EXAMPLES, max_term_width = 100,
          arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) other: OtherArgs,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Delete entries by rules
    Prune(PruneArgs),
    /// List entries
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show all details of the entries of a key
    Show(ShowArgs),
    /// Show which files differ between two entries
    Diff(DiffArgs),
    /// Delete entries by name
    #[command(visible_alias = "delete")]
    Rm(RemoveArgs),
    /// Verify that entries can be restored
    Verify(VerifyArgs),
    /// Add up the sizes of entries
    Du(DuArgs),
    /// Remove the marks of entries that could not be deleted
    Keep(KeepArgs),
    /// Report what a store holds: a page to look at, or Markdown
    ///
    /// Stored and logical size over time, by branch, key family and scope; what deltas save; the largest entries and files;
    /// what is new in the newest entries; entries that cannot be restored; and, with the rules of `prune`, what they would
    /// delete. Nothing is changed. Takes two requests for each entry, as `du` does, and one for each entry whose files are
    /// compared.
    Report(ReportArgs),
    /// Try whether a store can be used
    ///
    /// Tries each right that a role needs, with a small object below `.xcache/probe/`, and looks at the clock, at lifecycle
    /// rules that would break deltas, versioning and encryption. Each problem comes with what mends it. Ends with exit code 1
    /// if there is one.
    Doctor(DoctorArgs),
}

impl Command {
    /// Its name, as on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Prune(_) => "prune",
            Self::Ls(_) => "ls",
            Self::Show(_) => "show",
            Self::Diff(_) => "diff",
            Self::Rm(_) => "rm",
            Self::Verify(_) => "verify",
            Self::Du(_) => "du",
            Self::Keep(_) => "keep",
            Self::Doctor(_) => "doctor",
            Self::Report(_) => "report",
        }
    }

    /// What all commands have.
    pub(crate) fn common(&self) -> &CommonArgs {
        match self {
            Self::Prune(args) => &args.common,
            Self::Ls(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::Diff(args) => &args.common,
            Self::Rm(args) => &args.common,
            Self::Verify(args) => &args.common,
            Self::Du(args) => &args.common,
            Self::Keep(args) => &args.common,
            Self::Doctor(args) => &args.common,
            Self::Report(args) => &args.common,
        }
    }
}

/// What all commands have.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    #[command(flatten)]
    pub(crate) time: TimeArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Delete entries by rules
///
/// Each rule is an independent limit: an entry is deleted if any rule matches it. It is kept if it has the tag
/// `keep=true`, is younger than --min-age, is about to be used by a running save, or if a kept entry builds on it.
/// Entries that an earlier or interrupted run has condemned are deleted as soon as no entry needs them.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) rules: RuleArgs,

    /// In a bucket with versioning, also delete the old versions of what is deleted
    #[arg(long, env = var::DELETE_VERSIONS, value_parser = parse_switch)]
    pub(crate) delete_versions: bool,

    /// Only report what would be deleted
    #[arg(long, env = var::DRY_RUN, value_parser = parse_safeguard)]
    pub(crate) dry_run: bool,

    /// Delete without asking on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What to delete. All of it can come from variables, because an action passes its inputs so.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RuleArgs {
    /// Keep at most this many entries of each group, the newest
    #[arg(long, env = var::KEEP_NEWEST, value_name = "COUNT", value_parser = parse_number::<1, { u32::MAX }>)]
    pub(crate) keep_newest: Option<u32>,

    /// What defines a group: the branch tag, the key family (the key without hashes, dates and run ids), or both
    #[arg(long, env = var::GROUP_BY, value_name = "WHAT", value_enum, default_value_t = GroupByArg::BranchFamily)]
    pub(crate) group_by: GroupByArg,

    /// Delete entries older than this, for example `30d`
    #[arg(long, env = var::MAX_AGE, value_name = "AGE", value_parser = parse_duration)]
    pub(crate) max_age: Option<Duration>,

    /// Delete the oldest entries until the total is no larger than this, for example `50GiB`
    #[arg(long, env = var::MAX_TOTAL_SIZE, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_total_size: Option<u64>,

    /// Delete entries of branches, tags and pull requests that are not in this file, one ref per line
    #[arg(long, env = var::LIVE_BRANCHES, value_name = "FILE")]
    pub(crate) live_branches: Option<PathBuf>,

    /// Delete entries of branches, tags and pull requests that this git remote (a URL or path) no longer has
    #[arg(long, env = var::LIVE_BRANCHES_FROM_GIT, value_name = "REMOTE", hide_env_values = true,
          value_parser = parse_remote)]
    pub(crate) live_branches_from_git: Option<GivenAddress>,

    /// Delete deltas whose key has a base too; no restore looks at them
    #[arg(long, env = var::SHADOWED, value_parser = parse_switch)]
    pub(crate) shadowed: bool,

    /// Delete deltas that cannot be restored, because an object that they build on is gone or their end is damaged
    #[arg(long, env = var::DANGLING, value_parser = parse_switch)]
    pub(crate) dangling: bool,

    /// Abort multipart uploads of entries that began longer ago than this
    #[arg(long, env = var::STALE_UPLOADS, value_name = "AGE", value_parser = parse_duration)]
    pub(crate) stale_uploads: Option<Duration>,

    /// Keep entries younger than this, whatever the rules say
    #[arg(long, env = var::MIN_AGE, value_name = "AGE", value_parser = parse_duration, default_value = "24h")]
    pub(crate) min_age: Duration,
}

/// List entries
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Order
    #[arg(long, value_name = "BY", value_enum, default_value_t = Sort::Age)]
    pub(crate) sort: Sort,

    /// List at most this many entries, the first in that order
    #[arg(long, value_name = "COUNT", value_parser = parse_number::<1, { u32::MAX }>)]
    pub(crate) limit: Option<u32>,

    /// Reverse the order
    #[arg(long, short)]
    pub(crate) reverse: bool,

    /// Also show branches, refs and logical sizes; this takes two more requests per entry
    #[arg(long, short)]
    pub(crate) long: bool,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Which entries. None of these is taken from the environment: a variable that is set for saves must not select what is
/// deleted or hide what is there.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct FilterArgs {
    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", value_parser = parse_selector)]
    pub(crate) prefix: Option<String>,

    /// Only entries in this scope; `none` for those in no scope
    #[arg(long, value_name = "SCOPE", value_parser = parse_selector)]
    pub(crate) scope: Option<String>,

    /// Only entries with this branch tag: a branch, or a ref
    #[arg(long, value_name = "BRANCH", value_parser = parse_selector)]
    pub(crate) branch: Option<String>,

    /// Only entries of this repository, by their tag
    #[arg(long, value_name = "OWNER/NAME", value_parser = parse_selector)]
    pub(crate) repo: Option<String>,

    /// Only entries with this tag. May be repeated
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    pub(crate) tags: Vec<(String, String)>,

    /// Only bases or deltas
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) kind: Option<KindArg>,

    /// Only entries older than this
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub(crate) older_than: Option<Duration>,

    /// Only entries younger than this
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub(crate) newer_than: Option<Duration>,
}

/// Show all details of the entries of a key
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The key, in any scope
    #[arg(value_parser = parse_selector)]
    pub(crate) key: String,

    /// Also list the files, with their sizes
    #[arg(long)]
    pub(crate) files: bool,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Show which files differ between two entries
///
/// Compares contents, by the indexes of the entries: no file is fetched. NEW is how much of a file the older entry does not
/// have anywhere, before compression.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The key of the older entry; of several entries, the newest
    #[arg(value_name = "OLDER", value_parser = parse_selector)]
    pub(crate) older: String,

    /// The key of the newer entry; of several entries, the newest
    #[arg(value_name = "NEWER", value_parser = parse_selector)]
    pub(crate) newer: String,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Delete entries by name
///
/// Minimum age and pins do not apply, because the entries are named explicitly. An entry that a running save is about to
/// use is marked and left to the next `prune`.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "which", required = true, multiple = true,
        args = ["keys", "all", "prefix", "scope", "branch", "repo", "tags", "kind", "older_than", "newer_than"])]
pub(crate) struct RemoveArgs {
    /// Only these keys, in any scope
    #[arg(value_name = "KEY", value_parser = parse_selector)]
    pub(crate) keys: Vec<String>,

    /// All entries
    #[arg(long, conflicts_with_all = ["keys", "prefix", "scope", "branch", "repo", "tags", "kind", "older_than", "newer_than"])]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Also delete what builds on them
    #[arg(long)]
    pub(crate) cascade: bool,

    /// In a bucket with versioning, also delete the old versions of what is deleted
    #[arg(long)]
    pub(crate) delete_versions: bool,

    /// Delete without asking on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Only report what would be deleted
    #[arg(long, env = var::DRY_RUN, value_parser = parse_safeguard)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Verify that entries can be restored
///
/// Reads the end of each entry, and checks that the objects that it builds on exist. Lists all faults, and exits with 1 if
/// there are any.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Only entries of these keys [default: all]
    #[arg(value_name = "KEY", value_parser = parse_selector)]
    pub(crate) keys: Vec<String>,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Also read everything and verify every frame and chunk
    #[arg(long)]
    pub(crate) deep: bool,

    /// Mark damaged objects, so that no save builds on them any more and `prune` deletes them when nothing needs them
    #[arg(long, requires = "deep")]
    pub(crate) mark: bool,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Add up the sizes of entries
///
/// Takes two requests for each entry: tags and footer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DuArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// What to add up by; several are separated by commas
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',', default_values_t = [By::Kind, By::Branch])]
    pub(crate) by: Vec<By>,

    /// Price of a GiB for a month, to add up the money too
    #[arg(long, value_name = "PRICE")]
    pub(crate) price: Option<f64>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Remove the marks of entries that could not be deleted
///
/// A removal marks an entry before it deletes it; if it is refused, the mark stays, and the next `prune` deletes the
/// entry as soon as nothing needs it. Refused while another clean-up is at work.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeepArgs {
    /// The keys, in any scope
    #[arg(value_name = "KEY", required = true, value_parser = parse_selector)]
    pub(crate) keys: Vec<String>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Report what a store holds
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Write a self-contained page to this file; `-` for standard output
    #[arg(long, value_name = "FILE", value_parser = parse_file)]
    pub(crate) html: Option<PathBuf>,

    /// Print Markdown; in a job of GitHub Actions, add it to the summary of the step
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Compare the files of this many entries, the newest, with those of the entry before; `0` for none
    #[arg(long, value_name = "COUNT", value_parser = parse_number::<0, 1000>, default_value_t = 8)]
    pub(crate) newest: u32,

    /// Price of a GiB for a month, to report costs as well
    #[arg(long, value_name = "PRICE", value_parser = parse_price)]
    pub(crate) price: Option<f64>,

    #[command(flatten, next_help_heading = "Rules, as for prune --dry-run")]
    pub(crate) rules: RuleArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Try whether a store can be used
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Try only what this takes
    #[arg(long = "for", value_name = "ROLE", value_enum, default_value_t = ForRole::All)]
    pub(crate) role: ForRole,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What a role is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ForRole {
    /// Everything
    All,
    /// Restoring; writes nothing
    Restore,
    /// Saving
    Save,
    /// Cleaning up
    Gc,
}

impl ForRole {
    /// As on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Gc => "gc",
        }
    }
}

/// [`GroupBy`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupByArg {
    /// The same branch tag and the same key family
    BranchFamily,
    /// The same branch tag
    Branch,
    /// The same key family
    Family,
    /// All entries of a scope together
    Scope,
}

impl From<GroupByArg> for GroupBy {
    fn from(arg: GroupByArg) -> Self {
        match arg {
            GroupByArg::BranchFamily => Self::BranchAndFamily,
            GroupByArg::Branch => Self::Branch,
            GroupByArg::Family => Self::Family,
            GroupByArg::Scope => Self::Scope,
        }
    }
}

/// [`Kind`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    /// Complete entries
    Base,
    /// Entries that build on others
    Delta,
}

impl From<KindArg> for Kind {
    fn from(arg: KindArg) -> Self {
        match arg {
            KindArg::Base => Self::Base,
            KindArg::Delta => Self::Delta,
        }
    }
}

/// What entries are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum By {
    /// Bases and deltas
    Kind,
    /// The branch tag
    Branch,
    /// The key without hashes, dates and run ids
    Family,
    /// The scope
    Scope,
    /// The repository, by its tag
    Repo,
}

/// Order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// By key, then scope
    Key,
    /// Newest first
    Age,
    /// Largest first
    Size,
}

const EXAMPLES: &str = "\
Examples:
  Show what a policy would delete:
    xcache-gc prune --store s3://my-bucket/ci --keep-newest 3 --max-age 30d --dry-run

  Delete old, dead and unusable entries:
    xcache-gc prune --store s3://my-bucket/ci --max-age 30d --live-branches-from-git origin \\
      --shadowed --dangling --stale-uploads 2d

  The largest entries of a branch:
    xcache-gc ls --store s3://my-bucket/ci --branch main --sort size

Exit codes:
  0  done; also if there was nothing to do
  1  something could not be read or deleted, or verify found something wrong
  2  wrong usage, or a prune without any rule";

#[cfg(test)]
mod tests {
    use xcache_cli::command;

    use super::*;

    /// The rules of a prune are variables, because an action passes its inputs so, and a report shows what they would
    /// do. What selects entries is not: a
    /// variable that is set for another command must not select victims, nor hide entries.
    #[test]
    fn only_rules_and_the_surroundings_are_variables() {
        let mut variables = std::collections::BTreeSet::new();
        for subcommand in command::<Args>().get_subcommands() {
            for arg in subcommand.get_arguments() {
                let (Some(flag), Some(variable)) = (arg.get_long(), arg.get_env()) else { continue };
                let expected = format!("XCACHE_{}", flag.to_uppercase().replace('-', "_"));
                assert_eq!(variable.to_string_lossy(), expected, "--{flag}");
                let own = ["Store", "Output", "Time", "Transfer"]
                    .iter()
                    .all(|heading| arg.get_help_heading() != Some(heading));
                if own && !matches!(subcommand.get_name(), "prune" | "report") {
                    variables.insert(format!("{} --{flag}", subcommand.get_name()));
                }
            }
        }
        assert!(variables.iter().all(|name| name == "rm --dry-run" || name.ends_with("--timeout")), "{variables:?}");
    }

    #[test]
    fn the_definition_is_consistent() {
        command::<Args>().debug_assert();
    }
}
