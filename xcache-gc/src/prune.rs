//! `prune`: deletes entries by rules.

use std::time::Duration;

use chrono::TimeDelta;
use xcache_cli::report::Reporter;
use xcache_cli::{Exit, RunContext, UsageError};
use xcache_core::gc::policy::Policy;
use xcache_core::gc::{Effect, Operation, prune};
use xcache_core::object::RunId;

use crate::args::{PruneArgs, RuleArgs};
use crate::ask::{confirm, is_interactive};
use crate::branches;
use crate::connection::Connection;
use crate::outcome::Presented;
use crate::versions;

/// The policy of the command line, which must have a rule.
pub(crate) fn policy(args: &PruneArgs, context: &RunContext) -> anyhow::Result<Policy> {
    let policy = args.rules.policy(context)?;
    if policy.is_empty() {
        return Err(UsageError::with_hint(
            "no rule selects entries to delete",
            "give at least one of --keep-newest, --max-age, --max-total-size, --live-branches, \
             --live-branches-from-git, --shadowed, --dangling, --stale-uploads",
        )
        .into());
    }
    Ok(policy)
}

impl RuleArgs {
    /// The policy that these rules make; an empty one if there are none.
    pub(crate) fn policy(&self, context: &RunContext) -> anyhow::Result<Policy> {
        let Self {
            keep_newest,
            group_by,
            max_age,
            max_total_size,
            live_branches,
            live_branches_from_git,
            shadowed,
            dangling,
            stale_uploads,
            min_age,
        } = self;
        let mut live = Vec::new();
        if let Some(file) = live_branches {
            live.push(branches::from_file(&context.base_dir.join(file))?);
        }
        if let Some(remote) = live_branches_from_git {
            live.push(branches::from_git(remote)?);
        }
        let names = || live.iter().flatten().map(String::as_str).collect();
        Ok(Policy {
            keep_newest: *keep_newest,
            group_by: (*group_by).into(),
            max_age: max_age.map(delta),
            max_total_bytes: *max_total_size,
            live_branches: if live.is_empty() { None } else { Some(names()) },
            shadowed: *shadowed,
            dangling: *dangling,
            stale_uploads: stale_uploads.map(delta),
            min_age: delta(*min_age),
        })
    }
}

/// Runs the command.
pub(crate) async fn run(
    args: &PruneArgs,
    policy: Policy,
    connection: &Connection,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Exit> {
    let store = &*connection.store;
    let mode = if args.dry_run { Effect::Dry(context.now) } else { Effect::Real };
    let run = RunId::new()?;
    let operation = Operation { store, run: &run, mode, monitor: reporter };
    let features = connection.features(mode).await?;
    if features.tags && !features.tags_large_objects() {
        reporter.notice("the store keeps no tags on large objects: those have no branch, and none of them is pinned");
    }
    if mode == Effect::Real && !args.yes && is_interactive() {
        let dry = Operation { mode: Effect::Dry(context.now), ..operation };
        let planned = prune(&dry, &features, &policy).await?;
        let totals = planned.plan.totals(&planned.inventory);
        if !confirm(totals.deleted_entries, totals.deleted_bytes)? {
            reporter.line("nothing was deleted");
            return Ok(Exit::Failed);
        }
    }
    let outcome = prune(&operation, &features, &policy).await?;
    let versions = versions::settle(args.delete_versions.into(), connection, &outcome, reporter).await;
    let store = store.to_string();
    let presented = Presented { command: "prune", store, policy: Some(&policy), outcome: &outcome, versions };
    Ok(presented.tell(context, reporter))
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).expect("the command line takes no duration above a thousand years")
}
