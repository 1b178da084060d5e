//! An entry in a report.

use xcache_cli::output::v1::{ReportedEntry, Time};
use xcache_core::gc::inventory::{EntryId, Inventory, TagState};

/// An entry as reports show it.
pub(super) fn entry(inventory: &Inventory, id: EntryId) -> ReportedEntry {
    ReportedEntry {
        name: inventory.name(id).to_owned(),
        key: inventory.key(id),
        scope: inventory.scope(id).map(str::to_owned),
        branch: branch(inventory, id),
        kind: inventory.kind(id).to_string(),
        bytes: inventory.size(id),
        content_bytes: inventory.facts(id).map(|facts| facts.content_bytes),
        modified: Time(inventory.modified(id)),
    }
}

/// The branch of an entry; `?` if the store does not show it.
pub(super) fn branch(inventory: &Inventory, id: EntryId) -> Option<String> {
    let hidden = (inventory.tag_state(id) == TagState::Unreadable).then_some("?");
    inventory.branch(id).or(hidden).map(str::to_owned)
}
