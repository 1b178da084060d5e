//! How an index is written: one column for each property, so that like stands with like and compresses well.
//!
//! postcard inside zstd. For a `node_modules` of 110,011 files this comes to 35 bytes a file, of which 32 are the hash
//! (`bench/RESULTS.md`).

use std::iter::Peekable;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::index::{Chunk, Content, Extent, File, Frame, Index, IndexRoot, Member, Metadata, check_path_length};
use super::limits::{MAX_FRAMES, MAX_INDEX_BYTES};
use super::{Error, Result, at_most};
use crate::chunk::{ChunkHash, Cutter};
use crate::convert;

/// A zip bomb has a better ratio than any index of real trees,
const MAX_RATIO: u64 = 1000;
/// but a small one proves nothing: the rows of a large file of zeros are all the same.
const MIN_LIMIT_BYTES: u64 = 64 << 20;

/// The most of something that an index may hold.
///
/// The limit on raw bytes is not enough: a row of three bytes takes 56 in memory, and two bytes of a path that has all
/// else in common with the one before stand for 4,096. With these an index takes about 3 GiB at the very most.
#[derive(Clone, Copy)]
struct Most {
    what: &'static str,
    limit: u64,
}

/// Each is a path that the user gave.
const ROOTS: Most = Most { what: "the number of paths in the index", limit: 1 << 16 };
const FRAMES: Most = Most { what: "the number of frames in the index", limit: MAX_FRAMES as u64 };
/// As many files as [`MAX_INDEX_BYTES`] are enough for.
const MEMBERS: Most = Most { what: "the number of members in the index", limit: 6 << 20 };
/// At 35 bytes each, [`MAX_INDEX_BYTES`] are not enough for more.
const CHUNKS: Most = Most { what: "the number of chunks in the index", limit: 8 << 20 };
const XATTRS: Most = Most { what: "the number of extended attributes in the index", limit: 2 << 20 };
const EXTENTS: Most = Most { what: "the number of extents in the index", limit: 4 << 20 };
/// 170 bytes for each of the most members; those of real trees have about 80.
const PATH_BYTES: Most = Most { what: "the length of all paths in the index", limit: 1 << 30 };

impl Most {
    fn check(self, found: u64) -> Result<()> {
        at_most(self.what, found, self.limit)
    }
}

#[derive(Default, Serialize)]
struct Columns {
    writer: String,
    cutter: Option<Cutter>,
    roots: Vec<IndexRoot>,
    frame_source: Vec<u16>,
    /// Distance from the end of the frame before, if that is of the same object; else from its beginning.
    frame_gap: Vec<i64>,
    frame_stored: Vec<u32>,
    frame_raw: Vec<u32>,
    /// How many bytes a path has in common with the one before.
    path_shared: Vec<u16>,
    path_rest: Vec<u16>,
    path_bytes: Vec<u8>,
    kind: Vec<u8>,
    mode: Vec<u16>,
    /// Difference from the member before.
    mtime_seconds: Vec<i64>,
    /// Four bytes each, little-endian, as these are noise.
    mtime_nanos: Vec<u8>,
    uid: Vec<u32>,
    gid: Vec<u32>,
    chunk_count: Vec<u32>,
    sparse: Vec<Sparse>,
    target_length: Vec<u16>,
    target_bytes: Vec<u8>,
    hard_link: Vec<u32>,
    xattr: Vec<Attribute>,
    chunk_hash: Vec<u8>,
    chunk_length: Vec<u32>,
    /// Difference from the chunk before.
    chunk_frame: Vec<i32>,
    /// Distance from the end of the chunk before, if that is in the same frame; else from its beginning.
    chunk_gap: Vec<i32>,
}

#[derive(Serialize)]
struct Sparse {
    member: u32,
    size: u64,
    extents: Vec<Extent>,
}

#[derive(Serialize, Deserialize)]
struct Attribute {
    member: u32,
    name: Vec<u8>,
    value: Vec<u8>,
}

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const HARD_LINK: u8 = 3;

/// Serialises and compresses an index. Returns the bytes and their length before compression.
pub fn encode(index: &Index) -> std::io::Result<(Vec<u8>, u64)> {
    let raw = postcard::to_stdvec(&to_columns(index)).map_err(std::io::Error::other)?;
    if raw.len() as u64 > MAX_INDEX_BYTES {
        return Err(std::io::Error::other("the tree has too many members for one index"));
    }
    // Most of it is hashes: a higher level takes long and gains little.
    Ok((zstd::bulk::compress(&raw, 3)?, raw.len() as u64))
}

/// Decompresses and deserialises an index that claims to have `raw_bytes`. Not yet checked: see [`Index`].
pub(super) fn decode(stored: &[u8], raw_bytes: u64) -> Result<Index> {
    let limit = MAX_INDEX_BYTES.min((stored.len() as u64).saturating_mul(MAX_RATIO).max(MIN_LIMIT_BYTES));
    at_most("the length of the index decompressed", raw_bytes, limit)?;
    let capacity = usize::try_from(raw_bytes).map_err(|e| Error::damaged("index", e.to_string()))?;
    let raw = zstd::bulk::decompress(stored, capacity).map_err(|e| Error::damaged("index", e.to_string()))?;
    let columns = Columns::read(&mut raw.as_slice())?;
    drop(raw);
    from_columns(columns)
}

impl Columns {
    /// Reads one column after the other, as they stand in the struct, each after its length was checked.
    fn read(raw: &mut &[u8]) -> Result<Self> {
        Ok(Self {
            writer: value(raw)?,
            cutter: value(raw)?,
            roots: column(raw, ROOTS)?,
            frame_source: column(raw, FRAMES)?,
            frame_gap: column(raw, FRAMES)?,
            frame_stored: column(raw, FRAMES)?,
            frame_raw: column(raw, FRAMES)?,
            path_shared: column(raw, MEMBERS)?,
            path_rest: column(raw, MEMBERS)?,
            path_bytes: value(raw)?,
            kind: column(raw, MEMBERS)?,
            mode: column(raw, MEMBERS)?,
            mtime_seconds: column(raw, MEMBERS)?,
            mtime_nanos: value(raw)?,
            uid: column(raw, MEMBERS)?,
            gid: column(raw, MEMBERS)?,
            chunk_count: column(raw, MEMBERS)?,
            sparse: Sparse::read_all(raw)?,
            target_length: column(raw, MEMBERS)?,
            target_bytes: value(raw)?,
            hard_link: column(raw, MEMBERS)?,
            xattr: column(raw, XATTRS)?,
            chunk_hash: value(raw)?,
            chunk_length: column(raw, CHUNKS)?,
            chunk_frame: column(raw, CHUNKS)?,
            chunk_gap: column(raw, CHUNKS)?,
        })
    }
}

impl Sparse {
    /// Reads the column of these, whose extents are limited all together.
    fn read_all(raw: &mut &[u8]) -> Result<Vec<Self>> {
        let count: u64 = value(raw)?;
        MEMBERS.check(count)?;
        let (mut all, mut extent_count) = (Vec::new(), 0);
        for _ in 0..count {
            let (member, size) = (value(raw)?, value(raw)?);
            extent_count += length(raw)?;
            EXTENTS.check(extent_count)?;
            all.push(Self { member, size, extents: value(raw)? });
        }
        Ok(all)
    }
}

/// The next value. Bytes and text take no more memory than they take here.
fn value<T: DeserializeOwned>(raw: &mut &[u8]) -> Result<T> {
    let (value, rest) = postcard::take_from_bytes(raw).map_err(|e| Error::damaged("index", e.to_string()))?;
    *raw = rest;
    Ok(value)
}

/// The next column.
fn column<T: DeserializeOwned>(raw: &mut &[u8], most: Most) -> Result<Vec<T>> {
    most.check(length(raw)?)?;
    value(raw)
}

/// How many values the column that comes next says it has.
fn length(mut raw: &[u8]) -> Result<u64> {
    value(&mut raw)
}

fn to_columns(index: &Index) -> Columns {
    let Index { writer, cutter, roots, frames, members, chunks } = index;
    let mut c = Columns { writer: writer.clone(), cutter: Some(*cutter), roots: roots.clone(), ..Columns::default() };
    let mut end = (0, 0);
    for &Frame { source, offset, stored_bytes, raw_bytes } in frames {
        c.frame_source.push(source);
        c.frame_gap.push(offset.wrapping_sub(if end.0 == source { end.1 } else { 0 }).cast_signed());
        c.frame_stored.push(stored_bytes);
        c.frame_raw.push(raw_bytes);
        end = (source, offset + u64::from(stored_bytes));
    }
    let (mut path_before, mut seconds_before): (&[u8], i64) = (&[], 0);
    for (number, Member { path, meta, xattrs, content }) in (0u32..).zip(members) {
        let shared = path_before.iter().zip(path.iter()).take_while(|(a, b)| a == b).count();
        c.path_shared.push(convert::small(shared));
        c.path_rest.push(convert::small(path.len() - shared));
        c.path_bytes.extend_from_slice(&path[shared..]);
        path_before = path;
        let &Metadata { mode, mtime_seconds, mtime_nanos, uid, gid } = meta;
        c.mode.push(mode);
        c.mtime_seconds.push(mtime_seconds.wrapping_sub(seconds_before));
        seconds_before = mtime_seconds;
        c.mtime_nanos.extend_from_slice(&mtime_nanos.to_le_bytes());
        c.uid.push(uid);
        c.gid.push(gid);
        for (name, value) in xattrs {
            c.xattr.push(Attribute { member: number, name: name.to_vec(), value: value.to_vec() });
        }
        c.kind.push(match content {
            Content::Directory => DIRECTORY,
            Content::File(File { size, chunks, extents }) => {
                c.chunk_count.push(chunks.end - chunks.start);
                if let Some(extents) = extents {
                    c.sparse.push(Sparse { member: number, size: *size, extents: extents.to_vec() });
                }
                FILE
            }
            Content::Symlink(target) => {
                c.target_length.push(convert::small(target.len()));
                c.target_bytes.extend_from_slice(target);
                SYMLINK
            }
            Content::HardLink(first) => {
                c.hard_link.push(*first);
                HARD_LINK
            }
        });
    }
    let mut end = (0u32, 0u32);
    for &Chunk { hash, length, frame, offset } in chunks {
        c.chunk_hash.extend_from_slice(hash.as_bytes());
        c.chunk_length.push(length);
        c.chunk_frame.push(frame.wrapping_sub(end.0).cast_signed());
        c.chunk_gap.push(offset.wrapping_sub(if end.0 == frame { end.1 } else { 0 }).cast_signed());
        end = (frame, offset.wrapping_add(length));
    }
    c
}

fn from_columns(mut c: Columns) -> Result<Index> {
    let cutter = c.cutter.ok_or_else(misfit)?;
    let frames = frames(&c).ok_or_else(misfit)?;
    let chunks = chunks(&c).ok_or_else(misfit)?;
    let members = members(&mut c)?;
    Ok(Index { writer: c.writer, cutter, roots: c.roots, frames, members, chunks })
}

fn misfit() -> Error {
    Error::damaged("index", "columns do not fit together")
}

/// `None` if the columns have not the lengths that they must have.
fn frames(c: &Columns) -> Option<Vec<Frame>> {
    let count = c.frame_source.len();
    if c.frame_gap.len() != count || c.frame_stored.len() != count || c.frame_raw.len() != count {
        return None;
    }
    let mut end = (0, 0u64);
    let mut frames = Vec::with_capacity(count);
    for i in 0..count {
        let (source, stored_bytes) = (c.frame_source[i], c.frame_stored[i]);
        let base = if end.0 == source { end.1 } else { 0 };
        let offset = base.wrapping_add(c.frame_gap[i].cast_unsigned());
        frames.push(Frame { source, offset, stored_bytes, raw_bytes: c.frame_raw[i] });
        end = (source, offset.checked_add(stored_bytes.into())?);
    }
    Some(frames)
}

fn chunks(c: &Columns) -> Option<Vec<Chunk>> {
    let count = c.chunk_length.len();
    let (hashes, rest) = c.chunk_hash.as_chunks::<{ ChunkHash::BYTES }>();
    if hashes.len() != count || !rest.is_empty() || c.chunk_frame.len() != count || c.chunk_gap.len() != count {
        return None;
    }
    let mut end = (0u32, 0u32);
    let mut chunks = Vec::with_capacity(count);
    for (((hash, &length), step), gap) in hashes.iter().zip(&c.chunk_length).zip(&c.chunk_frame).zip(&c.chunk_gap) {
        let frame = end.0.wrapping_add(step.cast_unsigned());
        let base = if end.0 == frame { end.1 } else { 0 };
        let offset = base.wrapping_add(gap.cast_unsigned());
        chunks.push(Chunk { hash: ChunkHash::from_bytes(*hash), length, frame, offset });
        end = (frame, offset.checked_add(length)?);
    }
    Some(chunks)
}

fn members(c: &mut Columns) -> Result<Vec<Member>> {
    let count = c.kind.len();
    let (nanos, rest) = c.mtime_nanos.as_chunks::<4>();
    let lengths =
        [c.path_shared.len(), c.path_rest.len(), c.mode.len(), c.mtime_seconds.len(), c.uid.len(), c.gid.len()];
    if lengths != [count; 6] || nanos.len() != count || !rest.is_empty() {
        return Err(misfit());
    }
    let mut xattrs = std::mem::take(&mut c.xattr).into_iter().peekable();
    let sparse = std::mem::take(&mut c.sparse);
    let mut contents = Contents::new(c, sparse);
    let mut path_bytes = c.path_bytes.as_slice();
    let (mut path, mut all_path_bytes) = (Vec::new(), 0);
    let mut seconds = 0i64;
    let mut members = Vec::with_capacity(count);
    for (i, number) in (0..count).zip(0u32..) {
        // A path is stored as what it shares with the one before, and the rest. A few bytes can thus stand for a path of
        // any length, and many of them for more memory than there is: both are bounded before anything is kept.
        if usize::from(c.path_shared[i]) > path.len() {
            return Err(misfit());
        }
        path.truncate(c.path_shared[i].into());
        path.extend_from_slice(take(&mut path_bytes, c.path_rest[i]).ok_or_else(misfit)?);
        check_path_length(&path)?;
        all_path_bytes += path.len() as u64;
        PATH_BYTES.check(all_path_bytes)?;
        // The sum of steps may leave the range of an i64 only in a damaged index, and then gives a wrong time, no panic.
        seconds = seconds.wrapping_add(c.mtime_seconds[i]);
        let content = contents.next(c.kind[i], number).ok_or_else(misfit)?;
        let mut attributes = Vec::new();
        while let Some(a) = xattrs.next_if(|a| a.member == number) {
            attributes.push((a.name.into(), a.value.into()));
        }
        let meta = Metadata {
            mode: c.mode[i],
            mtime_seconds: seconds,
            mtime_nanos: u32::from_le_bytes(nanos[i]),
            uid: c.uid[i],
            gid: c.gid[i],
        };
        members.push(Member { path: path.as_slice().into(), meta, xattrs: attributes, content });
    }
    let all_used = contents.are_used() && xattrs.next().is_none() && path_bytes.is_empty();
    if all_used { Ok(members) } else { Err(misfit()) }
}

/// The columns that have a value only for members of some kinds, each at the next of its values.
struct Contents<'a> {
    chunk_lengths: &'a [u32],
    chunk_counts: std::slice::Iter<'a, u32>,
    next_chunk: u32,
    targets: std::slice::Iter<'a, u16>,
    target_bytes: &'a [u8],
    links: std::slice::Iter<'a, u32>,
    sparse: Peekable<std::vec::IntoIter<Sparse>>,
}

impl<'a> Contents<'a> {
    fn new(c: &'a Columns, sparse: Vec<Sparse>) -> Self {
        Self {
            chunk_lengths: &c.chunk_length,
            chunk_counts: c.chunk_count.iter(),
            next_chunk: 0,
            targets: c.target_length.iter(),
            target_bytes: &c.target_bytes,
            links: c.hard_link.iter(),
            sparse: sparse.into_iter().peekable(),
        }
    }

    /// What the member `number` is; `None` if the columns do not fit together.
    fn next(&mut self, kind: u8, number: u32) -> Option<Content> {
        match kind {
            DIRECTORY => Some(Content::Directory),
            SYMLINK => {
                let length = *self.targets.next()?;
                Some(Content::Symlink(take(&mut self.target_bytes, length)?.into()))
            }
            HARD_LINK => Some(Content::HardLink(*self.links.next()?)),
            FILE => {
                let start = self.next_chunk;
                self.next_chunk = start.checked_add(*self.chunk_counts.next()?)?;
                let lengths = self.chunk_lengths.get(start as usize..self.next_chunk as usize)?;
                let data = lengths.iter().map(|&n| u64::from(n)).sum();
                let (size, extents) = match self.sparse.next_if(|s| s.member == number) {
                    Some(s) => (s.size, Some(s.extents.into())),
                    None => (data, None),
                };
                Some(Content::File(File { size, chunks: start..self.next_chunk, extents }))
            }
            _ => None,
        }
    }

    /// Whether nothing is left over of the columns that could hold any amount of it.
    fn are_used(&mut self) -> bool {
        self.sparse.next().is_none() && self.target_bytes.is_empty()
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: u16) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(length.into())?;
    *bytes = tail;
    Some(head)
}

#[cfg(test)]
mod tests;
