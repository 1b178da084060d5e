//! The mark that a restore leaves on an object that it has found damaged.
//!
//! It is the mark of a clean-up, and says the same: readable, and never a ref again. Without it the next job that has
//! the files on disk, or reads no more than the end of the object, would build on what cannot be restored. A restore
//! never takes a mark away, since a clean-up may have set it meanwhile and rely on it.

use super::document::MarkDocument;
use crate::naming::{MarkId, condemned_name};
use crate::object::{ArchiveId, Pinned};
use crate::store::{self, PutMode, Store, Tags};

/// Marks `object`, whose archive is `archive` as far as that can be told. One PUT.
pub async fn quarantine(store: &dyn Store, object: &Pinned, archive: Option<ArchiveId>) -> store::Result<()> {
    let Pinned { name, etag } = object;
    let mark = condemned_name(&match archive {
        Some(id) => MarkId::of_archive(name, id),
        None => MarkId::of_object(name, etag),
    });
    let document = MarkDocument::new(name, etag);
    store.put(&mark, document.to_bytes(), PutMode::Overwrite, &Tags::new()).await.map(drop)
}
