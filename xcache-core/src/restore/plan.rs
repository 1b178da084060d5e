//! What is to be fetched and written: pure, from what is there.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::compare::{Have, Kept, Taken};
use super::disk::Temporary;
use crate::archive::index::{Content, Index};
use crate::convert;

/// A chunk to be fetched, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedChunk {
    frame: u32,
    pub(super) member: u32,
    pub(super) chunk: u32,
    /// Where it begins in the data of the file.
    pub(super) start: u64,
}

/// A file whose pieces come from several frames, or from the file that it replaces.
#[derive(Debug)]
pub(super) struct Growing {
    /// Where it grows, as soon as there is anything of it.
    pub(super) temporary: OnceLock<Temporary>,
    /// Pieces still missing.
    missing: AtomicU32,
}

impl Growing {
    /// Notes that some pieces were written. Gives whether they were the last ones.
    pub(super) fn wrote(&self, pieces: usize) -> bool {
        let pieces = convert::number(pieces);
        self.missing.fetch_sub(pieces, Ordering::AcqRel) == pieces
    }
}

/// What is to be fetched and written.
#[derive(Debug)]
pub(super) struct FetchPlan {
    /// Sorted by frame, member, chunk.
    pieces: Vec<WantedChunk>,
    /// The frames needed, in order, and their pieces.
    frames: Vec<(u32, Range<usize>)>,
    growing: HashMap<u32, Growing>,
    /// Files with nothing to fetch, to be made from nothing.
    pub(super) empty: Vec<u32>,
    /// Files that are complete, under a temporary name.
    pub(super) complete: Vec<(u32, Temporary)>,
    /// Files that are there already.
    pub(super) kept: Vec<(u32, Kept)>,
    /// Files that replace another one.
    replacing: Vec<u32>,
}

impl FetchPlan {
    pub(super) fn new(index: &Index, have: Vec<Have>) -> Self {
        let mut plan = Self {
            pieces: Vec::new(),
            frames: Vec::new(),
            growing: HashMap::new(),
            empty: Vec::new(),
            complete: Vec::new(),
            kept: Vec::new(),
            replacing: Vec::new(),
        };
        for ((member, number), have) in index.members.iter().zip(0u32..).zip(have) {
            let Content::File(file) = &member.content else { continue };
            let taken = match have {
                Have::Same(kept) => {
                    plan.kept.push((number, kept));
                    continue;
                }
                Have::Other(taken) => {
                    plan.replacing.push(number);
                    taken
                }
                Have::Missing | Have::Name(_) => None,
            };
            plan.add(index, number, file.chunks.clone(), taken);
        }
        plan.pieces.sort_unstable_by_key(|piece| (piece.frame, piece.member, piece.chunk));
        let mut start = 0;
        for pieces in plan.pieces.chunk_by(|a, b| a.frame == b.frame) {
            plan.frames.push((pieces[0].frame, start..start + pieces.len()));
            start += pieces.len();
        }
        plan
    }

    fn add(&mut self, index: &Index, number: u32, chunks: Range<u32>, taken: Option<Taken>) {
        let before = self.pieces.len();
        let mut start = 0;
        for (i, chunk) in chunks.enumerate() {
            let found = &index.chunks[chunk as usize];
            if !taken.as_ref().is_some_and(|taken| taken.chunks[i]) {
                self.pieces.push(WantedChunk { frame: found.frame, member: number, chunk, start });
            }
            start += u64::from(found.length);
        }
        let pieces = &self.pieces[before..];
        let is_scattered = pieces.windows(2).any(|pair| pair[0].frame != pair[1].frame);
        let missing = AtomicU32::new(convert::number(pieces.len()));
        match (pieces.is_empty(), taken) {
            (true, None) => self.empty.push(number),
            (true, Some(taken)) => self.complete.push((number, taken.temporary)),
            (false, Some(taken)) => {
                self.growing.insert(number, Growing { temporary: taken.temporary.into(), missing });
            }
            (false, None) if is_scattered => {
                self.growing.insert(number, Growing { temporary: OnceLock::new(), missing });
            }
            (false, None) => {}
        }
    }

    /// The frames that are needed.
    pub(super) fn frames(&self) -> impl Iterator<Item = u32> {
        self.frames.iter().map(|(frame, _)| *frame)
    }

    /// What is needed of a frame.
    pub(super) fn pieces_of(&self, frame: u32) -> &[WantedChunk] {
        match self.frames.binary_search_by_key(&frame, |(number, _)| *number) {
            Ok(found) => &self.pieces[self.frames[found].1.clone()],
            Err(_) => &[],
        }
    }

    /// The pieces of all frames.
    pub(super) fn pieces(&self) -> &[WantedChunk] {
        &self.pieces
    }

    /// How a file grows that is not written as a whole.
    pub(super) fn growing(&self, member: u32) -> Option<&Growing> {
        self.growing.get(&member)
    }

    /// Whether nothing was in the place of a file.
    pub(super) fn is_vacant(&self, member: u32) -> bool {
        self.replacing.binary_search(&member).is_err()
    }
}
