//! `du`: adds up what entries take.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use xcache_cli::output::v1::{DuDocument, FORMAT, UsageFields};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::report::table::{AlignedTable, Cell, Column};
use xcache_cli::{Exit, RunContext, print_document};
use xcache_core::gc::inventory::{EntryId, Inventory, TagState};
use xcache_core::gc::look;

use crate::args::{By, DuArgs};
use crate::cells::size;
use crate::connection::Connection;
use crate::filter::{OnHidden, with_keys};
use crate::notices::{tell_foreign, tell_tagging, tell_unreadable};
use crate::versions::tell_kept;

/// Adds an entry to what its group takes.
fn add(usage: &mut UsageFields, inventory: &Inventory, id: EntryId) {
    let bytes = inventory.size(id);
    usage.entries += 1;
    usage.bytes += bytes;
    usage.content_bytes += inventory.facts(id).map_or(0, |facts| facts.content_bytes);
    let refs: u64 = inventory.refs(id).iter().map(|&id| inventory.size(id)).sum();
    usage.without_deltas_bytes += bytes + refs;
}

/// Runs the command.
pub(crate) async fn run(
    args: &DuArgs,
    connection: &Connection,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Exit> {
    let store = &*connection.store;
    let mut inventory = look::list(store).await?;
    let ids = with_keys(&inventory, &[]);
    let ids = args.filter.select(store, &mut inventory, ids, context.now, (OnHidden::Notice, reporter)).await?;
    if !args.filter.needs_tags() {
        let tagging = look::tags(store, reporter, &mut inventory, ids.clone()).await?;
        tell_tagging(&tagging, reporter);
    }
    look::ends(store, reporter, &mut inventory, ids.clone()).await?;
    tell_foreign(&inventory, reporter);
    tell_unreadable(&inventory, reporter);
    if let Some(versioning) = connection.versioning().await {
        tell_kept(&versioning, reporter);
    }
    let ids: Vec<EntryId> = ids.into_iter().filter(|&id| inventory.is_ours(id)).collect();
    let sums = |by: By| sum_by(&inventory, &ids, by);
    let mut total = UsageFields::default();
    ids.iter().for_each(|&id| add(&mut total, &inventory, id));
    let price = args.price.map(|price| price * gibibytes(total.bytes));
    for &by in &args.by {
        print(by, &sums(by), &total, reporter);
    }
    reporter.line(format_args!(
        "{}: {} stored for {} of files; deltas save up to {}",
        Count(total.entries, "entry"),
        Bytes(total.bytes),
        Bytes(total.content_bytes),
        Bytes(total.without_deltas_bytes - total.bytes)
    ));
    if let Some(price) = price {
        reporter.line(format_args!("{price:.2} a month"));
    }
    let document = DuDocument {
        format: FORMAT,
        command: "du".to_owned(),
        store: store.to_string(),
        total,
        by_kind: sums(By::Kind),
        by_branch: sums(By::Branch),
        by_family: args.by.contains(&By::Family).then(|| sums(By::Family)),
        by_scope: args.by.contains(&By::Scope).then(|| sums(By::Scope)),
        by_repo: args.by.contains(&By::Repo).then(|| sums(By::Repo)),
        price_per_month: price,
    };
    print_document(reporter, &document);
    Ok(Exit::Done)
}

/// What each group takes.
fn sum_by(inventory: &Inventory, ids: &[EntryId], by: By) -> BTreeMap<String, UsageFields> {
    let mut sums: BTreeMap<String, UsageFields> = BTreeMap::new();
    for &id in ids {
        let is_hidden = inventory.tag_state(id) == TagState::Unreadable;
        let of_tag = |value: Option<String>| value.unwrap_or_else(|| if is_hidden { "?" } else { "(none)" }.to_owned());
        let group = match by {
            By::Kind => inventory.kind(id).to_string(),
            By::Branch => of_tag(inventory.branch(id).map(str::to_owned)),
            By::Family => inventory.family(id).to_owned(),
            By::Scope => inventory.scope(id).unwrap_or("(none)").to_owned(),
            By::Repo => of_tag(inventory.tag(id, "repo")),
        };
        add(sums.entry(group).or_default(), inventory, id);
    }
    sums
}

/// One table: the largest first, and the total at the end. In a pipe each line begins with what it is a sum of.
fn print(by: By, sums: &BTreeMap<String, UsageFields>, total: &UsageFields, reporter: &Reporter) {
    let (word, heading) = match by {
        By::Kind => ("kind", "KIND"),
        By::Branch => ("branch", "BRANCH"),
        By::Family => ("family", "FAMILY"),
        By::Scope => ("scope", "SCOPE"),
        By::Repo => ("repo", "REPO"),
    };
    let columns = [
        Column::text("BY"),
        Column::number("STORED"),
        Column::number("LOGICAL"),
        Column::number("ENTRIES"),
        Column::text(heading),
    ];
    let mut table = AlignedTable::new(&columns);
    let mut rows: Vec<(&str, &UsageFields)> = sums.iter().map(|(name, usage)| (name.as_str(), usage)).collect();
    rows.sort_by_key(|(_, usage)| Reverse(usage.bytes));
    let mut row = |what: &str, usage: &UsageFields, name: &str| {
        let cells = [size(usage.bytes), size(usage.content_bytes), usage.entries.into(), name.into()];
        table.row([Cell::from(what)].into_iter().chain(cells));
    };
    rows.iter().for_each(|(name, usage)| row(word, usage, name));
    row("total", total, "");
    reporter.table(&table);
}

/// Exact enough for money: 53 bits are eight petabytes to the byte.
#[expect(clippy::cast_precision_loss, reason = "a price has two decimals")]
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
