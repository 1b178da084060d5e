//! The chunks of an earlier entry.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use crate::archive::footer::Ref;
use crate::archive::index::{Content, Frame, Index, Member, path_order};
use crate::archive::reader::Archive;
use crate::chunk::ChunkHash;
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

/// File systems tell times no finer than a tick of the kernel: a file that was changed within the same tick after it
/// was noted has the ctime that was noted. The slowest tick is 10 ms.
const TICK_NANOS: i64 = 20_000_000;
/// Some file systems and protocols know whole seconds only, and every second one at that.
const COARSE_NANOS: i64 = 2_000_000_000;

impl Trust<'_> {
    /// Whether a file that has this signature now, and had it then, cannot have been written to in between.
    pub(super) fn is_clean(&self, signature: &Signature) -> bool {
        let tick = if signature.ctime_nanos % 1_000_000_000 == 0 { COARSE_NANOS } else { TICK_NANOS };
        signature.ctime_nanos.checked_add(tick).is_some_and(|settled| settled <= self.noted_nanos)
    }
}

impl Known {
    /// The entry that `own` names, with what it says about itself.
    pub fn new(own: Ref, archive: Archive) -> Self {
        let Archive { footer, mut index } = archive;
        // The entry's own object becomes the last ref.
        let last = u16::try_from(footer.refs.len() + 1).unwrap_or(u16::MAX);
        for frame in index.frames.iter_mut().filter(|frame| frame.source == 0) {
            frame.source = last;
        }
        let mut refs = footer.refs;
        refs.push(own);
        let chunks = index.chunks.iter().zip(0u32..).map(|(chunk, number)| (chunk.hash, number)).collect();
        Self { refs, ranges: index.root_ranges(), index, chunks }
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
        f64::from(length) * f64::from(frame.stored_bytes) / f64::from(frame.raw_bytes.max(1))
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
}
