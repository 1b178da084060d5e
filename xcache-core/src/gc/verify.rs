//! Whether an entry is what it should be: its end, its refs, and every chunk if asked for.

use std::fmt;
use std::sync::Arc;

mod plain;
mod refs;
mod whole;

use super::quarantine::quarantine;
use crate::archive;
use crate::monitor::chain;
use crate::naming;
use crate::object::{ArchiveId, Pinned, Ref};
use crate::object_end::{self, Expected, Gone, ObjectFormat, Verdict};
use crate::store::{self, ETag, ObjectName, Store};

/// How much of an object's end is asked for first.
const TAIL_BYTES: u64 = 256 << 10;
/// How much to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The end of the object, its index, and that its refs are there; of one without an index, that it begins with a
    /// zstd frame.
    Structure,
    /// Also every frame of its object, every frame of others that it uses, and every chunk in them; and that its object is
    /// the ordinary archive that other programs read. One without an index is decompressed and read to its end.
    Chunks,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// What was found by reading.
    pub found: Findings,
    /// Objects that are damaged, with their archives: nothing new should build on them.
    pub damaged: Vec<(Pinned, ArchiveId)>,
    /// There is no index, so there are no hashes to verify.
    pub is_plain: bool,
    /// Its footer names another key or kind than its name does: it belongs to another store, or was put here by other
    /// means. Nothing else was verified.
    pub is_foreign: bool,
}

/// What reading an entry has shown.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong; empty if the entry can be restored.
    pub faults: Vec<Fault>,
    /// Chunks that are as they should be.
    pub chunks: u64,
    /// Bytes of the frames that were read.
    pub read_bytes: u64,
}

impl Findings {
    fn add(&mut self, other: Self) {
        let Self { faults, chunks, read_bytes } = other;
        self.faults.extend(faults);
        self.chunks += chunks;
        self.read_bytes += read_bytes;
    }
}

/// Something wrong with an entry.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The end of the object is not that of an archive.
    #[error("its end cannot be read")]
    End(#[source] archive::Error),
    /// An object that it builds on is not there.
    #[error("`{0}`, which it builds on, is gone")]
    RefMissing(ObjectName),
    /// Another object has the name of one that it builds on.
    #[error("`{0}`, which it builds on, has been replaced")]
    RefReplaced(ObjectName),
    /// An object that it builds on has no readable end, and another ETag than it had.
    #[error("`{name}`, which it builds on, cannot be read")]
    RefDamaged {
        /// The object.
        name: ObjectName,
        /// What is wrong with it.
        source: archive::Error,
    },
    /// A frame cannot be decompressed.
    #[error("the frame at {offset} of `{object}` is damaged: {reason}")]
    Frame {
        /// The object that holds it.
        object: String,
        /// Where it begins there.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Chunks in a frame are not what the index says.
    #[error("{count} chunks in the frame at {offset} of `{object}` do not have their hash")]
    Chunks {
        /// The object that holds them.
        object: String,
        /// Where their frame begins there.
        offset: u64,
        /// How many.
        count: u64,
    },
    /// The tar stream of a base has no end.
    #[error("its tar stream does not end with two blocks of zeros")]
    EndOfArchive,
    /// What comes after the data frames does not fit them.
    #[error("its seek table, or the head of its index, does not fit its frames")]
    SeekTable,
    /// There is no index, and what is there is no `.tar.zst` that can be read.
    #[error("it has no index, and cannot be read as a `.tar.zst`")]
    Plain(#[source] archive::Error),
}

impl Fault {
    /// Whether a restore fails because of it, as opposed to other programs only.
    pub fn prevents_restoring(&self) -> bool {
        !matches!(self, Self::EndOfArchive | Self::SeekTable)
    }

    fn frame(object: &ObjectName, offset: u64, reason: impl fmt::Display) -> Self {
        Self::Frame { object: object.to_string(), offset, reason: reason.to_string() }
    }

    fn of_ref(name: &ObjectName, gone: Gone) -> Self {
        match gone {
            Gone::Missing => Self::RefMissing(name.clone()),
            Gone::Replaced => Self::RefReplaced(name.clone()),
        }
    }

    /// Whether it is the bytes of this object that are wrong.
    fn is_damage_of(&self, object: &ObjectName) -> bool {
        matches!(self, Self::Frame { object: damaged, .. } | Self::Chunks { object: damaged, .. } if damaged == object.as_str())
    }
}

/// Verifies the object `name` that has this `etag`; none if it has been deleted or replaced since it was listed. Trouble
/// with the store is an error, not a fault, and a fault is what two looks find.
pub async fn verify(
    store: &Arc<dyn Store>,
    name: &ObjectName,
    etag: &ETag,
    depth: Depth,
) -> store::Result<Option<Verified>> {
    let Some(first) = look(store, name, etag, depth).await? else { return Ok(None) };
    if first.found.faults.is_empty() {
        return Ok(Some(first));
    }
    let Some(mut second) = look(store, name, etag, depth).await? else { return Ok(None) };
    let first: Vec<String> = first.found.faults.iter().map(|fault| chain(fault)).collect();
    second.found.faults.retain(|fault| first.contains(&chain(fault)));
    // Deleted since the first look, together with what it built on? Then that is no fault.
    let gone = object_end::look_again(&**store, name, etag).await?;
    Ok(gone.is_none().then_some(second))
}

/// One look.
async fn look(store: &Arc<dyn Store>, name: &ObjectName, etag: &ETag, depth: Depth) -> store::Result<Option<Verified>> {
    let mut verified = Verified::default();
    let mut end = match object_end::fetch(&**store, name, TAIL_BYTES, Expected::This(etag)).await {
        Ok(end) => end,
        Err(error) => return Gone::of(&error).map(|_| None).ok_or(error),
    };
    let archive = match object_end::open(&**store, name, &mut end).await? {
        Verdict::Readable(ObjectFormat::Archive(archive)) => archive,
        Verdict::Readable(ObjectFormat::Plain) => {
            verified.is_plain = true;
            return match plain::check(store, name, &end, depth).await {
                Ok(found) => Ok(Some(Verified { found, ..verified })),
                Err(error) => Gone::of(&error).map(|_| None).ok_or(error),
            };
        }
        Verdict::Damaged(error) | Verdict::Newer(error) => {
            verified.found.faults.push(Fault::End(error));
            return Ok(Some(verified));
        }
        Verdict::Gone(_) => return Ok(None),
    };
    let footer = &archive.footer;
    if let Some((_, key, kind)) = naming::parse(name)
        && (key.as_str() != footer.key || kind != footer.kind)
    {
        verified.is_foreign = true;
        return Ok(Some(verified));
    }
    let mut sources = vec![Some(Pinned::new(name, etag))];
    for r in &footer.refs {
        match find(&**store, r).await? {
            Ok(source) => sources.push(Some(source)),
            Err(fault) => {
                verified.found.faults.push(fault);
                sources.push(None);
            }
        }
    }
    if depth == Depth::Chunks {
        let own = match whole::check(&**store, name, etag, &archive, &end).await {
            Ok(own) => own,
            Err(error) => return Gone::of(&error).map(|_| None).ok_or(error),
        };
        verified.found.add(own);
        verified.found.add(refs::check(store, &archive, &sources).await?);
        let ids = std::iter::once(footer.archive_id).chain(footer.refs.iter().map(|r| r.archive_id));
        let damaged = sources.into_iter().zip(ids).filter_map(|(source, id)| source.map(|source| (source, id)));
        let is_damaged = |(object, _): &(Pinned, ArchiveId)| {
            verified.found.faults.iter().any(|fault| fault.is_damage_of(&object.name))
        };
        verified.damaged = damaged.filter(is_damaged).collect();
    }
    Ok(Some(verified))
}

/// Marks damaged objects, as a restore does that finds one: they stay readable, but nothing new builds on them, and a
/// clean-up deletes them as soon as nothing needs them.
pub async fn mark(store: &dyn Store, damaged: &[(Pinned, ArchiveId)]) -> store::Result<()> {
    for (object, id) in damaged {
        quarantine(store, object, Some(*id)).await?;
    }
    Ok(())
}

async fn find(store: &dyn Store, r: &Ref) -> store::Result<Result<Pinned, Fault>> {
    Ok(match object_end::find_ref(store, r).await? {
        Verdict::Readable(found) => Ok(found),
        Verdict::Damaged(error) | Verdict::Newer(error) => {
            Err(Fault::RefDamaged { name: r.name.clone(), source: error })
        }
        Verdict::Gone(Gone::Missing) => Err(Fault::RefMissing(r.name.clone())),
        Verdict::Gone(Gone::Replaced) => Err(Fault::RefReplaced(r.name.clone())),
    })
}
