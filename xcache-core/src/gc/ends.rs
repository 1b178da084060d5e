//! The end of an entry's object: what it is, and what it builds on.
//!
//! Much is decided by it: what a delta refers to is kept, and what is gone protects nothing. So no single answer is
//! believed ([`object_end`]), and answers that contradict each other end the pass.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::bounds::PARALLEL;
use super::error::{Error, Result};
use super::inventory::{EndState, EntryId, Inventory};
use crate::archive;
use crate::archive::footer::{Footer, Head};
use crate::monitor::{Monitor, Progress, Unit, chain};
use crate::object::Ref;
use crate::object_end::{self, Verdict};
use crate::store::{self, ETag, ErrorKind, ObjectName, Store};

/// Footers whose names and refs are in memory at a time: all deltas of a large store may have to be read.
const BATCH: usize = 4096;

/// What the end of an entry's object is.
#[derive(Debug)]
pub(super) enum EntryEnd {
    /// Ours.
    Footer(Box<Footer>),
    /// Ours, of a later format.
    Newer(Head),
    /// Ours, of a later format that does not even keep to the rules for later formats.
    Unknown(archive::Error),
    /// Written by something else.
    Plain,
    /// Damaged, as two fetches show.
    Damaged,
    /// No longer there, or no longer the same object.
    Gone,
    /// The object is there, but the store does not hand it out: it is in an archive tier, or encrypted with a key that
    /// this role may not use.
    Sealed(store::Error),
}

/// Reads the end of the object `name` that has this `etag`.
pub(super) async fn read_end(store: &dyn Store, name: &ObjectName, etag: &ETag) -> Result<EntryEnd> {
    let verdict = match object_end::read_footer(store, name, etag).await {
        Ok(verdict) => verdict,
        Err(error) => return refused(error),
    };
    Ok(match verdict {
        Verdict::Readable(Some(footer)) => EntryEnd::Footer(footer),
        Verdict::Readable(None) => EntryEnd::Plain,
        Verdict::Damaged(_) => EntryEnd::Damaged,
        Verdict::Gone(_) => EntryEnd::Gone,
        Verdict::Newer(error) => match object_end::read_newer(store, name, etag).await {
            Ok(Some(head)) => EntryEnd::Newer(head),
            Ok(None) => EntryEnd::Unknown(error),
            Err(error) => return refused(error),
        },
    })
}

/// Whether an error says that this very object is not handed out. Anything else holds for the whole store.
fn refused(error: store::Error) -> Result<EntryEnd> {
    match error.kind() {
        ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Other => {
            Ok(EntryEnd::Sealed(error))
        }
        _ => Err(error.into()),
    }
}

/// Whether the store shows this very object.
pub(super) async fn is_still(store: &dyn Store, name: &ObjectName, etag: &ETag) -> Result<bool> {
    match store.head(name).await {
        Ok(meta) => Ok(meta.etag == *etag),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads the ends of `ids` into `inventory`, and makes sure of every ref that the listing did not show.
pub(super) async fn read_ends(
    store: &dyn Store,
    monitor: &dyn Monitor,
    inventory: &mut Inventory,
    ids: Vec<EntryId>,
) -> Result<()> {
    let progress = monitor.progress("reading entries", Unit::Items("entry"), Some(ids.len() as u64));
    for batch in ids.chunks(BATCH) {
        let unsure = read_batch(store, &*progress, inventory, batch).await?;
        find_refs(store, inventory, unsure).await?;
    }
    Ok(())
}

/// Returns the refs that the listing did not show as they are noted.
async fn read_batch(
    store: &dyn Store,
    progress: &dyn Progress,
    inventory: &mut Inventory,
    ids: &[EntryId],
) -> Result<Vec<(EntryId, Ref)>> {
    let mut unsure: Vec<(EntryId, Ref)> = Vec::new();
    let requests: Vec<_> = ids.iter().map(|&id| (id, inventory.object_name(id), inventory.etag(id))).collect();
    let mut ends = stream::iter(requests)
        .map(|(id, name, etag)| async move { Ok::<_, Error>((id, read_end(store, &name, &etag).await?)) })
        .buffer_unordered(PARALLEL);
    while let Some((id, end)) = ends.try_next().await? {
        progress.add(1);
        match end {
            EntryEnd::Footer(footer) => {
                if inventory.set_footer(id, &footer) {
                    let listed =
                        |r: &Ref| inventory.find(r.name.as_str()).is_some_and(|t| inventory.etag_text(t) == r.etag.0);
                    unsure.extend(footer.refs.into_iter().filter(|r| !listed(r)).map(|r| (id, r)));
                }
            }
            EntryEnd::Newer(head) => inventory.set_head(id, &head),
            EntryEnd::Unknown(why) => inventory.set_unreadable(id, EndState::Unknown, why.to_string()),
            EntryEnd::Plain => inventory.set_state(id, EndState::Plain),
            EntryEnd::Damaged => inventory.set_state(id, EndState::Damaged),
            EntryEnd::Gone => inventory.set_state(id, EndState::Gone),
            EntryEnd::Sealed(why) => inventory.set_unreadable(id, EndState::Sealed, chain(&why)),
        }
    }
    Ok(unsure)
}

/// Finds out which entries dangle. A listing is no snapshot: a ref that came after its page was read is there all the
/// same. And an ETag is no identity: copies of objects have others.
async fn find_refs(store: &dyn Store, inventory: &mut Inventory, unsure: Vec<(EntryId, Ref)>) -> Result<()> {
    let mut answers = stream::iter(unsure)
        .map(|(id, r)| async move { Ok::<_, Error>((id, is_there(store, &r).await?)) })
        .buffer_unordered(PARALLEL);
    while let Some((id, is_there)) = answers.try_next().await? {
        if !is_there {
            inventory.set_state(id, EndState::Dangling);
        }
    }
    Ok(())
}

/// Whether the archive of a ref is there. Not knowing is no reason to call an entry broken.
async fn is_there(store: &dyn Store, r: &Ref) -> Result<bool> {
    match object_end::find_ref(store, r).await {
        Ok(Verdict::Readable(_) | Verdict::Newer(_)) => Ok(true),
        Ok(Verdict::Damaged(_) | Verdict::Gone(_)) => Ok(false),
        Err(error) => refused(error).map(|_| true),
    }
}
