//! An object without an index: any `.tar.zst`, and nothing in it says what it should be.

use std::panic::resume_unwind;
use std::sync::Arc;

use super::{Depth, Fault, Findings};
use crate::archive;
use crate::archive::frame::skippable_magic;
use crate::object_end::{self, Gone};
use crate::object_end::{Expected, Tail, Unusable};
use crate::restore::{Error, read_to_end};
use crate::store::{self, ByteRange, ObjectName, Store};
use crate::transfer::limits::DownloadLimits;
use crate::transfer::request::fetch;

/// What a zstd frame begins with (RFC 8878 §3.1.1).
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The smallest frame: its magic, its header, and the head of an empty block.
const MIN_FRAME_BYTES: u64 = 9;

/// Whether the object whose end is `tail` is a `.tar.zst`: by its first bytes, or by reading all of it.
pub(super) async fn check(
    store: &Arc<dyn Store>,
    name: &ObjectName,
    tail: &Tail,
    depth: Depth,
) -> store::Result<Findings> {
    let size = tail.meta.size;
    let mut found = Findings::default();
    if size < MIN_FRAME_BYTES {
        let reason = format!("the object has {size} bytes, and no zstd frame has less than {MIN_FRAME_BYTES}");
        found.faults.push(Fault::Plain(archive::Error::damaged("frame", reason)));
        return Ok(found);
    }
    if !is_magic(head(store, name, tail).await?) {
        let reason = "the object does not begin as a zstd frame does";
        found.faults.push(Fault::Plain(archive::Error::damaged("frame", reason)));
        return Ok(found);
    }
    if depth == Depth::Structure {
        return Ok(found);
    }
    found.read_bytes = size;
    match read_to_end(store, name, (&tail.meta.etag, size)).await {
        Ok(()) => {}
        Err(Error::Archive(error)) => found.faults.push(Fault::Plain(error)),
        Err(Error::Store(error)) => return Err(error),
        Err(Error::Unusable(unusable)) => found.faults.push(of_unusable(name, *unusable)),
        // A panic, which says nothing about the object.
        Err(other) => resume_unwind(Box::new(other.to_string())),
    }
    Ok(found)
}

/// One that is gone is seen as such by the look that follows a fault.
fn of_unusable(name: &ObjectName, unusable: Unusable) -> Fault {
    match unusable.fault {
        object_end::Defect::Damaged(error) => Fault::Plain(error),
        object_end::Defect::Gone(gone @ (Gone::Missing | Gone::Replaced)) => Fault::of_ref(name, gone),
    }
}

/// The first bytes of the object.
async fn head(store: &Arc<dyn Store>, name: &ObjectName, tail: &Tail) -> store::Result<[u8; 4]> {
    let head = if tail.offset == 0 {
        tail.bytes.clone()
    } else {
        let range = ByteRange::Span(0..4);
        let expected = Expected::This(&tail.meta.etag);
        fetch(&**store, (name, expected), range, 4, &DownloadLimits::default()).await?.bytes
    };
    Ok(head.first_chunk().copied().unwrap_or_default())
}

/// Skippable frames may come first: some writers put the sizes of what follows there.
fn is_magic(head: [u8; 4]) -> bool {
    head == MAGIC || u32::from_le_bytes(head) & !0xF == skippable_magic(0)
}
