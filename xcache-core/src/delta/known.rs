//! The chunks of an earlier entry.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use crate::archive::index::{Chunk, Content, Frame, Index, Member, path_order};
use crate::archive::reader::Archive;
use crate::chunk::{ChunkHash, Cutter};
use crate::convert;
use crate::object::Ref;
use crate::scan::Signature;

/// An earlier entry, as what a new one may refer to.
#[derive(Debug)]
pub struct Known {
    /// The objects that hold its chunks; [`Frame::source`] counts them from 1.
    pub refs: Vec<Ref>,
    /// Its tree. Frames are numbered by `refs`.
    pub index: Index,
    ranges: Vec<Range<usize>>,
    chunks: HashMap<ChunkHash, u32>,
}

/// What a restore in the same job noted about the files, so that they need not be read.
#[derive(Debug)]
pub struct Trust<'a> {
    /// The directory of each root.
    pub roots: &'a [PathBuf],
    /// Of each member.
    pub signatures: &'a [Option<Signature>],
    /// When these were noted, by the clock that gives files their ctime, in nanoseconds since 1970.
    pub noted_nanos: i64,
}

impl Known {
    /// The entry that `own` names, with what it says about itself.
    pub fn new(own: Ref, archive: Archive) -> Self {
        let Archive { footer, mut index } = archive;
        // The entry's own object becomes the last ref.
        let last = convert::small(footer.refs.len() + 1);
        for frame in index.frames.iter_mut().filter(|frame| frame.source == 0) {
            frame.source = last;
        }
        let mut refs = footer.refs;
        refs.push(own);
        let chunks = index.chunks.iter().zip(0u32..).map(|(chunk, number)| (chunk.hash, number)).collect();
        Self { refs, ranges: index.root_ranges(), index, chunks }
    }

    /// Takes over what has been found out of refs: each is the same archive as before.
    pub fn adopt(&mut self, refs: &[Ref]) {
        for found in refs {
            let same = |r: &&mut Ref| r.name == found.name && r.archive_id == found.archive_id;
            self.refs.iter_mut().filter(same).for_each(|r| r.clone_from(found));
        }
    }

    /// The number of the chunk in [`Index::chunks`], if there is one of this hash.
    pub fn chunk(&self, hash: &ChunkHash) -> Option<u32> {
        self.chunks.get(hash).copied()
    }

    /// The frame that a chunk lies in.
    pub fn frame_of(&self, chunk: u32) -> &Frame {
        &self.index.frames[self.index.chunks[chunk as usize].frame as usize]
    }

    /// About how many bytes a chunk takes in the store: its share of its frame.
    pub fn stored_bytes(&self, chunk: u32) -> f64 {
        let frame = self.frame_of(chunk);
        let length = self.index.chunks[chunk as usize].length;
        archived_bytes(length.into()) as f64 * f64::from(frame.stored_bytes) / f64::from(frame.raw_bytes.max(1))
    }

    /// The member at a path of a root, hard links followed; with its number.
    pub fn member(&self, root: usize, path: &[u8]) -> Option<(u32, &Member)> {
        let range = self.ranges.get(root)?.clone();
        let found = self.index.members[range.clone()].binary_search_by(|member| path_order(&member.path, path)).ok()?;
        let mut number = u32::try_from(range.start + found).ok()?;
        if let Content::HardLink(first) = self.index.members[number as usize].content {
            number = first;
        }
        Some((number, &self.index.members[number as usize]))
    }

    /// The chunks of the file at a path of a root, if there was one and it was cut as files are cut now.
    pub fn chunks_at(&self, root: usize, path: &[u8]) -> &[Chunk] {
        match self.member(root, path) {
            Some((_, Member { content: Content::File(file), .. })) if self.index.cutter == Cutter::FORMAT_1 => {
                self.index.chunks_of(file)
            }
            _ => &[],
        }
    }
}

/// About how many bytes of a tar stream a chunk, or a member with all its content, takes. Most chunks are small files,
/// each with a header, a pax header for the nanoseconds of its time, and padding: left out, a frame of small files would
/// look mostly dead when all of it is used.
pub(super) fn archived_bytes(content_bytes: u64) -> u64 {
    const BLOCK: u64 = 512;
    const HEADERS: u64 = 3 * BLOCK;
    content_bytes.next_multiple_of(BLOCK) + HEADERS
}
