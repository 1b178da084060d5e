//! Asks the store for everything that a report shows.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use xcache_cli::RunContext;
use xcache_cli::output::v1::{FORMAT, Price, ReportDocument, ReportedEntry, Share, Time};
use xcache_cli::report::Reporter;
use xcache_core::gc::inventory::{EndState, EntryId, Inventory, TagState};
use xcache_core::gc::policy::Policy;
use xcache_core::gc::tagging::Tagging;
use xcache_core::gc::{Effect, Operation, look, prune};
use xcache_core::object::{Kind, RunId};

use super::entry::{branch, entry};
use super::newest::NewestEntries;
use super::{growth, newest, plan, trouble};
use crate::args::ReportArgs;
use crate::connection::Connection;
use crate::notices::{tell_foreign, tell_tagging, tell_unreadable};

/// How many of the largest entries are named.
const LARGEST: usize = 10;

/// Reads tags and footers of all entries, and indexes of the newest. The plan is that of a dry run; with an empty policy
/// it still finds what earlier passes have condemned.
pub(super) async fn collect(
    args: &ReportArgs,
    policy: &Policy,
    connection: &Connection,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<ReportDocument> {
    let store = &*connection.store;
    let mode = Effect::Dry(context.now);
    let (run, features) = (RunId::new()?, connection.features(mode).await?);
    let mut outcome = prune(&Operation { store, run: &run, mode, monitor: reporter }, &features, policy).await?;
    let tags_supported = read_rest(connection, &mut outcome.inventory, outcome.tagging.clone(), reporter).await?;
    let inventory = &outcome.inventory;
    tell_foreign(inventory, reporter);
    tell_unreadable(inventory, reporter);
    let ids: Vec<EntryId> = inventory.ids().filter(|&id| is_counted(inventory, id)).collect();
    let NewestEntries { newest, largest_files } = newest::compare(store, inventory, &ids, args.newest).await?;
    let share = |name: fn(&Inventory, EntryId) -> Option<String>| shares(inventory, &ids, name);
    let total = share(|_, _| None).pop().unwrap_or_default();
    Ok(ReportDocument {
        format: FORMAT,
        command: "report".to_owned(),
        store: store.to_string(),
        now: Time(context.now),
        tags_supported,
        by_branch: share(branch),
        by_family: share(|inventory, id| Some(inventory.family(id).to_owned())),
        by_scope: share(|inventory, id| inventory.scope(id).map(str::to_owned)),
        growth: growth::growth(inventory, &ids, context.now),
        largest_entries: largest(inventory, &ids),
        newest,
        largest_files,
        troubles: trouble::troubles(inventory),
        price: args.price.map(|price| of(price, &total)),
        plan: (!policy.is_empty()).then(|| plan::plan(&outcome, policy, args)),
        total,
    })
}

/// Reads the tags and footers that the plan had no need of. Returns whether the store has tags.
async fn read_rest(
    connection: &Connection,
    inventory: &mut Inventory,
    tagging: Tagging,
    reporter: &Reporter,
) -> anyhow::Result<bool> {
    let store = &*connection.store;
    let ours = |inventory: &Inventory| inventory.ids().filter(|&id| is_counted(inventory, id)).collect::<Vec<_>>();
    let mut tagging = tagging;
    if tagging == Tagging::Known {
        let unknown = ours(inventory).into_iter().filter(|&id| inventory.tag_state(id) == TagState::Unknown).collect();
        tagging = look::tags(store, reporter, inventory, unknown).await?;
    }
    tell_tagging(&tagging, reporter);
    let unread = ours(inventory).into_iter().filter(|&id| inventory.state(id) == EndState::Unread).collect();
    look::ends(store, reporter, inventory, unread).await?;
    Ok(tagging != Tagging::Unsupported)
}

/// Whether an entry belongs to this store and is still there.
fn is_counted(inventory: &Inventory, id: EntryId) -> bool {
    inventory.is_ours(id) && inventory.state(id) != EndState::Gone
}

/// The entries by what `name` gives, the largest group first.
fn shares(inventory: &Inventory, ids: &[EntryId], name: fn(&Inventory, EntryId) -> Option<String>) -> Vec<Share> {
    let mut shares: BTreeMap<Option<String>, Share> = BTreeMap::new();
    for &id in ids {
        let bytes = inventory.size(id);
        let name = name(inventory, id);
        let share = shares.entry(name.clone()).or_insert_with(|| Share { name, ..Share::default() });
        share.entries += 1;
        match inventory.kind(id) {
            Kind::Base => share.base_bytes += bytes,
            Kind::Delta => {
                share.deltas += 1;
                share.delta_bytes += bytes;
            }
        }
        let content_bytes = inventory.facts(id).map_or(0, |facts| facts.content_bytes);
        share.content_bytes += content_bytes;
        let refs: u64 = inventory.refs(id).iter().map(|&id| inventory.size(id)).sum();
        // No complete entry is larger than its files, but for what surrounds them.
        share.without_deltas_bytes += (bytes + refs).min(content_bytes.max(bytes));
    }
    let mut shares: Vec<Share> = shares.into_values().collect();
    shares.sort_by_key(|share| Reverse(share.bytes()));
    shares
}

fn largest(inventory: &Inventory, ids: &[EntryId]) -> Vec<ReportedEntry> {
    let mut ids = ids.to_vec();
    ids.sort_by_key(|&id| (Reverse(inventory.size(id)), Reverse(inventory.modified_millis(id))));
    ids.into_iter().take(LARGEST).map(|id| entry(inventory, id)).collect()
}

fn of(gibibyte: f64, total: &Share) -> Price {
    Price { gibibyte, stored: gibibyte * gibibytes(total.bytes()), saved: gibibyte * gibibytes(total.saved_bytes()) }
}

/// Exact enough for money: 53 bits are eight petabytes to the byte.
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
