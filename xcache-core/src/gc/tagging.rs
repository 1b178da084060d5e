//! Reading tags: branches and pins.

use futures_util::{StreamExt as _, stream};

use super::bounds::PARALLEL;
use super::ends::is_still;
use super::error::{Error, Result};
use super::inventory::{EndState, EntryId, Inventory};
use crate::monitor::{Monitor, Unit};
use crate::store::{self, ErrorKind, Store};

/// Whether a store shows tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tagging {
    /// It does.
    #[default]
    Known,
    /// It has none.
    Unsupported,
    /// It does not show those of some entries, because of this.
    Unreadable(String),
}

/// Reads the tags of `ids` into `inventory`. A store that is known to have none is not asked. Tags that cannot be read
/// are not an error: their entries are kept.
pub(super) async fn read_tags(
    store: &dyn Store,
    monitor: &dyn Monitor,
    inventory: &mut Inventory,
    mut tagging: Tagging,
    ids: Vec<EntryId>,
) -> Result<Tagging> {
    if tagging == Tagging::Unsupported {
        ids.into_iter().for_each(|id| inventory.set_tags(id, Some(&store::Tags::new())));
        return Ok(tagging);
    }
    let progress = monitor.progress("reading tags", Unit::Items("entry"), Some(ids.len() as u64));
    let requests: Vec<_> = ids.into_iter().map(|id| (id, inventory.object_name(id), inventory.etag(id))).collect();
    let mut answers = stream::iter(requests)
        .map(|(id, name, etag)| async move { (id, store.tags(&name).await, name, etag) })
        .buffer_unordered(PARALLEL);
    while let Some((id, answer, name, etag)) = answers.next().await {
        progress.add(1);
        let error = match answer {
            Ok(tags) => {
                inventory.set_tags(id, Some(&tags));
                continue;
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Unsupported => {
                tagging = Tagging::Unsupported;
                inventory.set_tags(id, Some(&store::Tags::new()));
            }
            ErrorKind::Unauthenticated | ErrorKind::Unavailable => return Err(error.into()),
            ErrorKind::NotFound if !is_still(store, &name, &etag).await? => {
                inventory.set_state(id, EndState::Gone);
                inventory.set_tags(id, None);
            }
            ErrorKind::NotFound => {
                return Err(Error::Contradiction { name: name.to_string(), what: "whether it is there" });
            }
            _ => {
                inventory.set_tags(id, None);
                if tagging == Tagging::Known {
                    tagging = Tagging::Unreadable(crate::monitor::chain(&error));
                }
            }
        }
    }
    Ok(tagging)
}
