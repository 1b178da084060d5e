//! `ls`: lists entries.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use xcache_cli::output::v1::{FORMAT, ListDocument, ListedEntry, Time};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::report::table::{AlignedTable, Cell, Column};
use xcache_cli::{Exit, RunContext, print_document};
use xcache_core::gc::inventory::{EndState, EntryId, Inventory, TagState};
use xcache_core::gc::look;

use crate::args::{ListArgs, Sort};
use crate::cells::{ago, at, size};
use crate::connection::Connection;
use crate::filter::{OnHidden, with_keys};
use crate::notices::{tell_foreign, tell_tagging, tell_unreadable};

const COLUMNS: [Column; 5] = [
    Column::number("SIZE"),
    Column::number("MODIFIED"),
    Column::text("KIND"),
    Column::text("SCOPE"),
    Column::text("KEY"),
];
const LONG_COLUMNS: [Column; 8] = [
    Column::number("SIZE"),
    Column::number("LOGICAL"),
    Column::number("MODIFIED"),
    Column::text("KIND"),
    Column::number("REFS"),
    Column::text("BRANCH"),
    Column::text("SCOPE"),
    Column::text("KEY"),
];

/// Runs the command.
pub(crate) async fn run(
    args: &ListArgs,
    connection: &Connection,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Exit> {
    let store = &*connection.store;
    let mut inventory = look::list(store).await?;
    let ids = with_keys(&inventory, &[]);
    let mut ids = args.filter.select(store, &mut inventory, ids, context.now, (OnHidden::Notice, reporter)).await?;
    sort(&mut ids, &inventory, args.sort);
    if args.reverse {
        ids.reverse();
    }
    if let Some(limit) = args.limit {
        ids.truncate(limit as usize);
    }
    if args.long && !args.filter.needs_tags() {
        let tagging = look::tags(store, reporter, &mut inventory, ids.clone()).await?;
        tell_tagging(&tagging, reporter);
    }
    if args.long {
        look::ends(store, reporter, &mut inventory, ids.clone()).await?;
        ids.retain(|&id| inventory.is_ours(id));
        tell_unreadable(&inventory, reporter);
    }
    tell_foreign(&inventory, reporter);
    if reporter.settings().is_json {
        let entries = ids.iter().map(|&id| row(&inventory, id, args.long)).collect();
        print_document(
            reporter,
            &ListDocument { format: FORMAT, command: "ls".to_owned(), store: store.to_string(), entries },
        );
    }
    let columns: &[Column] = if args.long { &LONG_COLUMNS } else { &COLUMNS };
    let mut table = AlignedTable::new(columns);
    for &id in &ids {
        table.row(cells(&inventory, id, args.long, context.now));
    }
    reporter.table(&table);
    let bytes = ids.iter().map(|&id| inventory.size(id)).sum();
    reporter.line(format_args!("{}, {}", Count(ids.len() as u64, "entry"), Bytes(bytes)));
    Ok(Exit::Done)
}

fn sort(ids: &mut [EntryId], inventory: &Inventory, sort: Sort) {
    match sort {
        Sort::Key => ids.sort_by_cached_key(|&id| (inventory.key(id), inventory.name(id).to_owned())),
        Sort::Age => ids.sort_by_key(|&id| Reverse(inventory.modified_millis(id))),
        Sort::Size => ids.sort_by_key(|&id| Reverse(inventory.size(id))),
    }
}

/// One row of the table.
fn cells(inventory: &Inventory, id: EntryId, is_long: bool, now: DateTime<Utc>) -> Vec<Cell> {
    let scope = inventory.scope(id).unwrap_or_default();
    let key = inventory.key(id);
    let kind = inventory.kind(id).to_string();
    if !is_long {
        let modified = ago(inventory.modified(id), now);
        return vec![size(inventory.size(id)), modified, kind.into(), scope.into(), key.into()];
    }
    let content = match inventory.facts(id) {
        Some(facts) => size(facts.content_bytes),
        None => unknown(inventory, id).into(),
    };
    let refs = match unknown(inventory, id) {
        "?" => "?".to_owned(),
        _ => inventory.refs(id).len().to_string(),
    };
    let is_hidden = inventory.tag_state(id) == TagState::Unreadable;
    let branch = inventory.branch(id).unwrap_or(if is_hidden { "?" } else { "-" });
    let modified = at(inventory.modified(id));
    vec![size(inventory.size(id)), content, modified, kind.into(), refs.into(), branch.into(), scope.into(), key.into()]
}

/// What stands for a number of which nothing is known: `?` if the entry could not be read.
fn unknown(inventory: &Inventory, id: EntryId) -> &'static str {
    if matches!(inventory.state(id), EndState::Sealed | EndState::Unknown | EndState::Newer) { "?" } else { "-" }
}

fn row(inventory: &Inventory, id: EntryId, is_long: bool) -> ListedEntry {
    let refs = || inventory.refs(id).iter().map(|&id| inventory.name(id).to_owned()).collect();
    ListedEntry {
        name: inventory.name(id).to_owned(),
        key: inventory.key(id),
        scope: inventory.scope(id).map(str::to_owned),
        kind: inventory.kind(id).to_string(),
        bytes: inventory.size(id),
        modified: Time(inventory.modified(id)),
        etag: inventory.etag_text(id).to_owned(),
        branch: inventory.branch(id).map(str::to_owned),
        content_bytes: inventory.facts(id).map(|facts| facts.content_bytes),
        refs: is_long.then(refs),
    }
}
