//! Entries that something is wrong with.

use xcache_cli::output::v1::{Time, Trouble};
use xcache_core::gc::inventory::{EndState, EntryId, Inventory};

/// All of them, in the order of the listing.
pub(super) fn troubles(inventory: &Inventory) -> Vec<Trouble> {
    let row = |id| {
        let (trouble, detail) = trouble(inventory, id)?;
        Some(Trouble {
            name: inventory.name(id).to_owned(),
            key: inventory.key(id),
            scope: inventory.scope(id).map(str::to_owned),
            bytes: inventory.size(id),
            modified: Time(inventory.modified(id)),
            trouble: trouble.to_owned(),
            detail: detail.to_owned(),
        })
    };
    inventory.ids().filter_map(row).collect()
}

/// In one word, and in words. An entry may have several; the one that matters most is shown.
fn trouble(inventory: &Inventory, id: EntryId) -> Option<(&'static str, &'static str)> {
    let of_state = match inventory.state(id) {
        EndState::Damaged => Some(("damaged", "its end cannot be read, so it cannot be restored")),
        EndState::Dangling => Some(("dangling", "an entry that it builds on is gone, so it cannot be restored")),
        EndState::Newer | EndState::Unknown => Some(("newer", "written by a newer version of xcache")),
        EndState::Sealed => Some(("unreadable", "the store refuses to return it, as from an archive tier")),
        EndState::Foreign => Some(("foreign", "belongs to another store or key; left alone")),
        EndState::Unread | EndState::Whole | EndState::Plain | EndState::Gone => None,
    };
    let condemned = ("condemned", "marked by a clean-up or a restore: nothing builds on it, and `prune` deletes it");
    let shadowed = ("shadowed", "its key has a base too, so no restore uses it");
    let is_shadowed = inventory.state(id) != EndState::Gone && inventory.base_of_same_key(id).is_some();
    of_state.or(inventory.is_condemned(id).then_some(condemned)).or(is_shadowed.then_some(shadowed))
}
