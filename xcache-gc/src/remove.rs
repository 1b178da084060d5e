//! `rm`: deletes entries by name.

use xcache_cli::report::Reporter;
use xcache_cli::{Exit, RunContext};
use xcache_core::gc::inventory::EntryId;
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::plan::{Cascade, Decision, Keep, RemovalTarget};
use xcache_core::gc::run::Outcome;
use xcache_core::gc::sweep::Left;
use xcache_core::gc::{Effect, Operation, look, remove};
use xcache_core::object::RunId;

use crate::args::RemoveArgs;
use crate::ask::{confirm, is_interactive};
use crate::connection::Connection;
use crate::filter::{OnHidden, missing_keys, with_keys};
use crate::outcome::Presented;
use crate::versions;

/// Runs the command.
pub(crate) async fn run(
    args: &RemoveArgs,
    connection: &Connection,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Exit> {
    let store = &*connection.store;
    let mut listed = look::list(store).await?;
    let named = with_keys(&listed, &args.keys);
    for missing in missing_keys(&listed, &args.keys) {
        reporter.notice(format_args!("no entry has the key `{missing}`"));
    }
    let is_empty = named.is_empty();
    let ids = args.filter.select(store, &mut listed, named, context.now, (OnHidden::Warn, reporter)).await?;
    if ids.is_empty() && !is_empty {
        reporter.notice("no entry passes all filters");
    }
    // Exactly what was listed: an entry that is saved again meanwhile stays.
    let targets: Vec<RemovalTarget> =
        ids.into_iter().map(|id| RemovalTarget { name: listed.object_name(id), etag: Some(listed.etag(id)) }).collect();
    let mode = if args.dry_run { Effect::Dry(context.now) } else { Effect::Real };
    let cascade = if args.cascade { Cascade::Yes } else { Cascade::No };
    let delete_mode = DeleteMode::of(&connection.features(mode).await?);
    let run = RunId::new()?;
    let operation = Operation { store, run: &run, mode, monitor: reporter };
    if mode == Effect::Real && !args.yes && is_interactive() {
        let dry = Operation { mode: Effect::Dry(context.now), ..operation };
        let planned = remove(&dry, delete_mode, &targets, cascade).await?;
        let totals = planned.plan.totals(&planned.inventory);
        if !confirm(totals.deleted_entries, totals.deleted_bytes)? {
            reporter.line("nothing was deleted");
            return Ok(Exit::Failed);
        }
    }
    let outcome = remove(&operation, delete_mode, &targets, cascade).await?;
    let versions = versions::settle(args.delete_versions.into(), connection, &outcome, reporter).await;
    let store = store.to_string();
    let exit = Presented { command: "rm", store, policy: None, outcome: &outcome, versions }.tell(context, reporter);
    Ok(if tell_kept(args, &outcome, reporter) { Exit::Failed } else { exit })
}

/// Whether something that was asked for was not done, which is reported as an error.
fn tell_kept(args: &RemoveArgs, outcome: &Outcome, reporter: &Reporter) -> bool {
    let Outcome { inventory, plan, swept, .. } = outcome;
    let is_needed = |id| matches!(plan.decision(id), Decision::Keep(Keep::Needed(_) | Keep::MayBeNeeded(_)));
    let needed = inventory.ids().any(is_needed);
    if needed {
        reporter.error("entries that others build on were kept", Some("--cascade deletes what builds on them too"));
    }
    let in_use = swept.as_ref().is_some_and(|swept| swept.left.iter().any(|(_, left)| *left == Left::InUse));
    if in_use {
        let hint = "they are marked, and the next `prune` deletes them as soon as nothing needs them";
        reporter.error("entries that a running save is about to use were kept", Some(hint));
    }
    let is_foreign = |&id: &EntryId| !inventory.is_ours(id) && args.keys.contains(&inventory.key(id));
    let foreign = inventory.ids().find(is_foreign);
    if let Some(id) = foreign {
        let text = format_args!(
            "`{}` was kept: it belongs to another store, or was saved under another key",
            inventory.name(id)
        );
        reporter.error(text, Some("name that store with `--store`"));
    }
    needed || in_use || foreign.is_some()
}
