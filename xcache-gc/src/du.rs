//! `du`: adds up what entries take.

use std::collections::BTreeMap;

use xcache_cli::output::v1::{DuDocument, FORMAT, Usage};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::{Exit, RunContext, print_document};
use xcache_core::gc::inventory::{EntryId, Inventory, TagState};
use xcache_core::gc::look;

use crate::args::DuArgs;
use crate::connection::Connection;
use crate::filter::{OnHidden, with_keys};
use crate::notices::{tell_foreign, tell_tagging, tell_unreadable};
use crate::versions::tell_kept;

/// Adds an entry to what its group takes.
fn add(usage: &mut Usage, inventory: &Inventory, id: EntryId) {
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
    let mut total = Usage::default();
    let mut by_kind: BTreeMap<String, Usage> = BTreeMap::new();
    let mut by_branch: BTreeMap<String, Usage> = BTreeMap::new();
    for id in ids.into_iter().filter(|&id| inventory.is_ours(id)).collect::<Vec<_>>() {
        let is_hidden = inventory.tag_state(id) == TagState::Unreadable;
        let branch = inventory.branch(id).unwrap_or(if is_hidden { "?" } else { "(none)" }).to_owned();
        add(&mut total, &inventory, id);
        add(by_kind.entry(inventory.kind(id).to_string()).or_default(), &inventory, id);
        add(by_branch.entry(branch).or_default(), &inventory, id);
    }
    let price = args.price.map(|price| price * gibibytes(total.bytes));
    for (title, sums) in [("kind", &by_kind), ("branch", &by_branch)] {
        reporter.data(format_args!("{:>10}  {:>10}  {:>7}  by {title}", "stored", "logical", "entries"));
        for (name, sum) in sums {
            let (stored, logical) = (Bytes(sum.bytes).to_string(), Bytes(sum.content_bytes).to_string());
            reporter.data(format_args!("{stored:>10}  {logical:>10}  {:>7}  {name}", sum.entries));
        }
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
        by_kind,
        by_branch,
        price_per_month: price,
    };
    print_document(reporter, &document);
    Ok(Exit::Done)
}

/// Exact enough for money: 53 bits are eight petabytes to the byte.
#[expect(clippy::cast_precision_loss, reason = "a price has two decimals")]
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
