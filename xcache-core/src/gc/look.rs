//! Looking without touching: what administrators ask of a store.

use super::error::Result;
use super::inventory::{EntryId, Inventory};
use super::survey;
pub use super::survey::Tagging;
use crate::monitor::Monitor;
use crate::store::{ErrorKind, Store, Tags};

/// Lists the entries of a store. Tags and footers are not read.
pub async fn list(store: &dyn Store) -> Result<Inventory> {
    survey::entries(store).await
}

/// Reads the tags of `ids`, one request each. Says whether the store knows tags.
pub async fn tags(
    store: &dyn Store,
    monitor: &dyn Monitor,
    inventory: &mut Inventory,
    ids: Vec<EntryId>,
) -> Result<Tagging> {
    survey::read_tags(store, monitor, inventory, Tagging::Known, ids).await
}

/// Reads the footers of `ids`, one request each, and finds out which entries dangle.
pub async fn footers(store: &dyn Store, inventory: &mut Inventory, ids: Vec<EntryId>) -> Result<()> {
    survey::read_footers(store, inventory, ids).await
}

/// All tags of one entry; none if the store knows no tags.
pub async fn tags_of(store: &dyn Store, inventory: &Inventory, id: EntryId) -> Result<Option<Tags>> {
    match store.tags(&inventory.object_name(id)).await {
        Ok(tags) => Ok(Some(tags)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error.into()),
    }
}
