//! What was packed, and where it lies.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;

use super::Sink;
use super::file::OpenedFile;
use super::job::Rest;
use crate::archive::footer::Seek;
use crate::archive::index::{Extent, Frame, Metadata, Xattrs};
use crate::chunk::ChunkHash;
use crate::scan::{Signature, SkipReason, Skipped};

/// Everything that was packed.
#[derive(Debug, Default)]
pub struct Packed {
    /// The frames, in order; all of the archive itself.
    pub frames: Vec<Frame>,
    /// What became of each file that was packed whole, by node.
    pub files: HashMap<u32, (FileRecord, Vec<(u32, PackedChunk)>)>,
    /// Where the single chunks are: frame and place in it.
    pub loose: HashMap<ChunkHash, (u32, PackedChunk)>,
    /// What later names of files became links to, by node.
    pub links: HashMap<u32, u32>,
    /// What is still to be stored behind all this.
    pub rest: Rest,
    /// Nodes that could not be stored.
    pub lost: Vec<u32>,
    /// What is to be told about files that were left out or changed.
    pub skipped: Vec<Skipped>,
    /// Length of all frames.
    pub stored_bytes: u64,
}

/// A file as it was when it was read.
#[derive(Clone, Debug)]
pub struct FileRecord {
    /// Mode, times, owner.
    pub meta: Metadata,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Length with holes.
    pub size: u64,
    /// Where data lies, if it has holes.
    pub extents: Option<Box<[Extent]>>,
    /// What tells whether it changed since.
    pub signature: Signature,
}

impl FileRecord {
    /// What an open file is.
    pub fn of(file: &OpenedFile) -> Self {
        Self {
            meta: file.meta,
            xattrs: file.xattrs.clone(),
            size: file.signature.size,
            extents: file.extents.clone(),
            signature: file.signature,
        }
    }
}

/// A chunk and where it begins in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedChunk {
    /// Its hash.
    pub hash: ChunkHash,
    /// Its length.
    pub length: u32,
    /// Where it begins in the decompressed frame.
    pub offset: u32,
}

/// What a worker has made of one piece of work.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) number: u64,
    /// One as a rule; more if the headers of members took more than was planned.
    pub(super) frames: Vec<PackedFrame>,
    /// Later names, and what they are links to.
    pub(super) links: Vec<(u32, u32)>,
    pub(super) stale: Vec<u32>,
    pub(super) unlinked: Vec<u32>,
    pub(super) skipped: Vec<(u32, Skipped)>,
}

/// A frame, and what lies in it.
#[derive(Debug, Default)]
pub(super) struct PackedFrame {
    /// Empty if nothing came of it.
    pub(super) stored: Bytes,
    pub(super) raw_bytes: u32,
    pub(super) files: Vec<PackedFile>,
    pub(super) loose: Vec<PackedChunk>,
}

/// A file, or a piece of a large one.
#[derive(Debug)]
pub(super) struct PackedFile {
    pub(super) node: u32,
    /// With the first piece.
    pub(super) record: Option<FileRecord>,
    pub(super) chunks: Vec<PackedChunk>,
}

impl Packed {
    pub(super) fn add(&mut self, finished: Finished, sink: &mut Sink<'_>) -> io::Result<()> {
        let Finished { number: _, frames, links, stale, unlinked, skipped } = finished;
        for frame in frames {
            self.add_frame(frame, sink)?;
        }
        self.links.extend(links);
        self.rest.whole.extend(stale);
        self.rest.links.extend(unlinked);
        for (node, skipped) in skipped {
            self.skip(node, skipped);
        }
        Ok(())
    }

    fn add_frame(&mut self, frame: PackedFrame, sink: &mut Sink<'_>) -> io::Result<()> {
        let PackedFrame { stored, raw_bytes, files, loose } = frame;
        let number = u32::try_from(self.frames.len()).map_err(io::Error::other)?;
        for PackedFile { node, record, chunks } in files {
            if let Some(record) = record {
                self.files.insert(node, (record, Vec::new()));
            }
            if let Some((_, all)) = self.files.get_mut(&node) {
                all.extend(chunks.into_iter().map(|chunk| (number, chunk)));
            }
        }
        self.loose.extend(loose.into_iter().map(|chunk| (chunk.hash, (number, chunk))));
        if stored.is_empty() {
            return Ok(());
        }
        let stored_bytes = u32::try_from(stored.len()).map_err(io::Error::other)?;
        self.frames.push(Frame { source: 0, offset: self.stored_bytes, stored_bytes, raw_bytes });
        self.stored_bytes += u64::from(stored_bytes);
        sink(stored, raw_bytes)
    }

    pub(super) fn skip(&mut self, node: u32, skipped: Skipped) {
        if skipped.reason != SkipReason::Changing {
            self.files.remove(&node);
            self.lost.push(node);
        }
        self.skipped.push(skipped);
    }

    /// The frames as the seek table lists them.
    pub fn seeks(&self) -> Vec<Seek> {
        self.frames.iter().map(|f| Seek { stored_bytes: f.stored_bytes, raw_bytes: f.raw_bytes }).collect()
    }
}
