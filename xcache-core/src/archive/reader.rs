//! From the tail of an object to its footer and index.

use super::footer::{End, Footer, INDEX_FRAME, decode_end};
use super::frame::skippable_payload;
use super::index::Index;
use super::{Error, Result, columns};
use crate::convert;
use crate::object::Kind;

/// An archive as far as its end tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Ids, refs, places.
    pub footer: Footer,
    /// The tree, checked.
    pub index: Index,
}

/// What the tail of an object gave.
#[derive(Debug)]
pub enum ReadTail {
    /// An archive with an index.
    Archive(Box<Archive>),
    /// The tail is too short: so many bytes from the object's end are needed.
    NeedsMore(u64),
    /// An archive without an index, or no archive.
    Plain,
}

/// Reads footer and index from `tail`, the last bytes of an object of `object_bytes`.
pub fn read_tail(tail: &[u8], object_bytes: u64) -> Result<ReadTail> {
    let (footer, end_bytes) = match decode_end(tail, object_bytes)? {
        End::Ours { footer, end_bytes } => (footer, end_bytes),
        End::NeedsMore(bytes) => return Ok(ReadTail::NeedsMore(bytes)),
        End::Plain => return Ok(ReadTail::Plain),
    };
    let range = footer.index_range();
    let wanted = object_bytes - range.start;
    if (tail.len() as u64) < wanted {
        return Ok(ReadTail::NeedsMore(wanted));
    }
    let start = tail.len() - convert::in_memory(wanted);
    let end = tail.len() - convert::in_memory(end_bytes);
    let stored = skippable_payload(INDEX_FRAME, &tail[start..end], "index")?;
    let index = read_index(&footer, stored)?;
    Ok(ReadTail::Archive(Box::new(Archive { footer: *footer, index })))
}

/// Reads the index that `footer` speaks of from its stored bytes.
pub fn read_index(footer: &Footer, stored: &[u8]) -> Result<Index> {
    if *blake3::hash(stored).as_bytes() != footer.index_hash {
        return Err(Error::damaged("index", "its checksum is wrong"));
    }
    let index = columns::decode(stored, footer.index_raw_bytes)?;
    index.check(&footer.refs, footer.index_offset)?;
    if footer.kind == Kind::Base && !footer.refs.is_empty() {
        return Err(Error::damaged("footer", "a base that refers to other objects"));
    }
    Ok(index)
}
