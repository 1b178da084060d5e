//! From an object in a store to its archive: the tail is read, once more if it was too short.

use std::fmt;

use bytes::Bytes;

use crate::archive;
use crate::archive::footer::{ArchiveId, End, Ref, decode_end};
use crate::archive::reader::{self, Archive};
use crate::store::{self, ETag, ObjectMeta, ObjectName, Store};
use crate::transfer::download::DownloadLimits;
use crate::transfer::tail::download_tail;

/// How much of an object's end is asked for first: the index of a tree of 80,000 files, and for small archives all of
/// it. At 1 Gbit/s these are 34 ms, as much as another request would take.
pub const TAIL_BYTES: u64 = 4 << 20;

/// The end of an object; the whole object if that is short.
#[derive(Clone)]
pub struct Tail {
    /// The bytes up to the object's end.
    pub bytes: Bytes,
    /// Where in the object they begin.
    pub offset: u64,
    /// Of the whole object.
    pub meta: ObjectMeta,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, offset, meta } = self;
        let mut tail = f.debug_struct("Tail");
        tail.field("bytes", &bytes.len()).field("offset", offset).field("meta", meta).finish()
    }
}

/// What is at the end of an object.
#[derive(Debug)]
pub enum Found {
    /// An archive of ours.
    Archive(Box<Archive>),
    /// Something without an index.
    Plain,
}

/// Why the end of an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It is damaged, or too new.
    #[error(transparent)]
    Archive(#[from] archive::Error),
}

/// Reads the archive that `tail` is the end of. Afterwards `tail` is long enough for the index.
pub async fn open(store: &dyn Store, name: &ObjectName, tail: &mut Tail) -> Result<Found, Error> {
    loop {
        match reader::read_tail(&tail.bytes, tail.meta.size)? {
            reader::Tail::Archive(archive) => return Ok(Found::Archive(archive)),
            reader::Tail::Plain => return Ok(Found::Plain),
            // Each round asks for more than the one before, and never for more than the object.
            reader::Tail::NeedsMore(bytes) if bytes > tail.bytes.len() as u64 => {
                *tail = fetch(store, name, bytes, Some(&tail.meta.etag)).await?;
            }
            reader::Tail::NeedsMore(_) => {
                return Err(archive::Error::Damaged { part: "footer", reason: "it contradicts itself".into() }.into());
            }
        }
    }
}

/// Fetches the last `bytes` of an object; a body that breaks is resumed.
pub async fn fetch(store: &dyn Store, name: &ObjectName, bytes: u64, pin: Option<&ETag>) -> store::Result<Tail> {
    let (meta, bytes) = download_tail(store, name, bytes, pin, &DownloadLimits::default()).await?;
    Ok(Tail { offset: meta.size - bytes.len() as u64, bytes, meta })
}

/// When the archive that `tail` is the end of was written, if it tells.
pub fn created_nanos(tail: &Tail) -> Option<i64> {
    match decode_end(&tail.bytes, tail.meta.size) {
        Ok(End::Ours { footer, .. }) => Some(footer.created_nanos),
        _ => None,
    }
}

/// The id of the archive that `tail` is the end of, if it tells.
pub fn archive_id(tail: &Tail) -> Option<ArchiveId> {
    match decode_end(&tail.bytes, tail.meta.size) {
        Ok(End::Ours { footer, .. }) => Some(footer.archive_id),
        _ => None,
    }
}

/// An entry's own object as a ref to it.
pub fn own_ref(name: &ObjectName, etag: &ETag, size: u64, archive: &Archive) -> Ref {
    let footer = &archive.footer;
    Ref {
        name: name.to_string(),
        etag: etag.0.clone(),
        size,
        data_bytes: footer.index_offset,
        archive_id: footer.archive_id,
        created_nanos: footer.created_nanos,
    }
}
