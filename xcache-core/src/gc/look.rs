//! Looking without touching: what administrators ask of a store.

use super::error::Result;
use super::inventory::{EntryId, Inventory};
use super::tagging::Tagging;
use super::{ends, survey, tagging};
use crate::monitor::Monitor;
use crate::store::{ErrorKind, Store, Tags};

/// Lists the entries of a store. Tags and footers are not read.
pub async fn list(store: &dyn Store) -> Result<Inventory> {
    survey::entries(store).await
}

/// Reads the tags of `ids`, one request each. Says whether the store shows tags.
pub async fn tags(
    store: &dyn Store,
    monitor: &dyn Monitor,
    inventory: &mut Inventory,
    ids: Vec<EntryId>,
) -> Result<Tagging> {
    inventory.keep_tags();
    tagging::read_tags(store, monitor, inventory, Tagging::Known, ids).await
}

/// Reads the ends of `ids`, one request each, and finds out which entries dangle.
pub async fn ends(
    store: &dyn Store,
    monitor: &dyn Monitor,
    inventory: &mut Inventory,
    ids: Vec<EntryId>,
) -> Result<()> {
    ends::read_ends(store, monitor, inventory, ids).await
}

/// All tags of one entry; none if the store has no tags or does not show them.
pub async fn tags_of(store: &dyn Store, inventory: &Inventory, id: EntryId) -> Result<Option<Tags>> {
    match store.tags(&inventory.object_name(id)).await {
        Ok(tags) => Ok(Some(tags)),
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unauthenticated) => Err(error.into()),
        Err(_) => Ok(None),
    }
}
