//! What is to be believed of an entry that could not be restored.
//!
//! That an object is damaged or gone is proven when it gets here. What a store does not hand out, though a HEAD says that it
//! is there, may be in an archive tier, under a key that this role may not use, or lost on a disk: nothing is to be built on
//! it either, or each later job would miss.

use futures_util::{StreamExt as _, stream};
use xcache_core::entry::Entry;
use xcache_core::object::{ArchiveId, Pinned, Ref};
use xcache_core::object_end::Defect;
use xcache_core::restore::Error;
use xcache_core::state::unusable::Why;
use xcache_core::store::{ErrorKind, ObjectName, Store};

/// HEADs at a time: all that a delta of ours refers to.
const PARALLEL: usize = 32;

/// What became of an entry that could not be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryVerdict {
    /// It is not there any more, or it is another one: as if the listing had never shown it.
    Gone,
    /// This object is why, and the entry needs it.
    Unusable { object: Pinned, archive: Option<ArchiveId>, why: Why },
    /// The store does not tell, or nothing is wrong with the entry.
    Open,
}

/// Finds out what `error` says of `entry`. `refs` are the objects that it builds on, if its end could be read, and `own` is
/// its archive.
pub(crate) async fn examine(
    store: &dyn Store,
    entry: &Entry,
    own: Option<ArchiveId>,
    refs: &[Ref],
    error: &Error,
) -> EntryVerdict {
    let itself = || Pinned::new(&entry.name, &entry.meta.etag);
    match error {
        Error::Unusable(found) => {
            let object = Pinned::new(&found.name, &found.etag);
            match (&found.fault, found.archive_id) {
                (Defect::Gone(_), None) => EntryVerdict::Gone,
                (Defect::Gone(_), archive) => EntryVerdict::Unusable { object, archive, why: Why::Gone },
                (Defect::Damaged(_), archive) => {
                    EntryVerdict::Unusable { object, archive: archive.or(own), why: Why::Damaged }
                }
            }
        }
        Error::Archive(xcache_core::archive::Error::NewerFormat { .. }) => EntryVerdict::Open,
        Error::Archive(_) => EntryVerdict::Unusable { object: itself(), archive: own, why: Why::Damaged },
        Error::Store(error) => {
            let named = refs.iter().find(|r| r.name.as_str() == error.object());
            let objects = std::iter::once((itself(), own)).chain(refs.iter().map(|r| (r.pinned(), Some(r.archive_id))));
            let are_there = stream::iter(objects.clone())
                .map(|(object, _)| async move { is_there(store, &object.name).await })
                .buffered(PARALLEL)
                .all(std::future::ready);
            if !are_there.await {
                return EntryVerdict::Open;
            }
            let at_fault = named.map_or(&entry.name, |r| &r.name);
            let found = objects.into_iter().find(|(object, _)| object.name == *at_fault);
            let (object, archive) = found.unwrap_or_else(|| (itself(), own));
            EntryVerdict::Unusable { object, archive, why: Why::Refused }
        }
        _ => EntryVerdict::Open,
    }
}

/// Whether a HEAD shows an object of that name.
async fn is_there(store: &dyn Store, name: &ObjectName) -> bool {
    match store.head(name).await {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::Unsupported,
    }
}
