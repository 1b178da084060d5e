//! Which entries a command is about.

use chrono::{DateTime, TimeDelta, Utc};
use xcache_core::entry::Kind;
use xcache_core::gc::inventory::{EntryId, Inventory};
use xcache_core::naming;

use crate::args::FilterArgs;

/// The key of an entry.
pub(crate) fn key(inventory: &Inventory, id: EntryId) -> String {
    // Only names that can be parsed are in an inventory.
    naming::parse(&inventory.object_name(id)).map_or_else(String::new, |(_, key, _)| key.to_string())
}

/// The entries that pass all filters, without the branch, which takes tags to know.
pub(crate) fn select(inventory: &Inventory, filter: &FilterArgs, now: DateTime<Utc>) -> Vec<EntryId> {
    let FilterArgs { prefix, branch: _, kind, older_than, newer_than } = filter;
    let age = |id| now - inventory.modified(id);
    let limit = |limit: &Option<std::time::Duration>| limit.and_then(|limit| TimeDelta::from_std(limit).ok());
    let (older, newer) = (limit(older_than), limit(newer_than));
    inventory
        .ids()
        .filter(|&id| inventory.is_ours(id))
        .filter(|&id| kind.is_none_or(|kind| Kind::from(kind) == inventory.kind(id)))
        .filter(|&id| older.is_none_or(|limit| age(id) > limit) && newer.is_none_or(|limit| age(id) < limit))
        .filter(|&id| prefix.as_deref().is_none_or(|prefix| key(inventory, id).starts_with(prefix)))
        .collect()
}

/// The entries of these keys, in any scope.
pub(crate) fn with_keys(inventory: &Inventory, keys: &[String]) -> Vec<EntryId> {
    inventory.ids().filter(|&id| inventory.is_ours(id)).filter(|&id| keys.contains(&key(inventory, id))).collect()
}
