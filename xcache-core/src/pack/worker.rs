//! One worker: makes frames, one after the other.

use std::io;

use crossbeam_channel::Sender;

use super::file::{ATTEMPTS, OpenedFile, open};
use super::job::ChunkItem;
use super::links::{LinkTarget, LinkWay, Links};
use super::packed::{FileRecord, Finished, PackedChunk, PackedFile, PackedFrame};
use super::sequence::{FileSegment, Sequence, Work};
use super::tar_name;
use crate::archive::frame::{Encoder, MAX_RAW_BYTES, TARGET_BYTES};
use crate::archive::index::Metadata;
use crate::archive::tar;
use crate::archive::tar::write::{self, TarEntry};
use crate::chunk::{ChunkHash, Cutter};
use crate::convert;
use crate::scan::{NodeKind, Signature, SkipReason, Skipped, Tree};

/// Where the chunks of otherwise known files stand in the tar stream of a delta.
const CHUNK_DIRECTORY: &[u8] = b".xcache/chunks/";

/// A frame takes no more members when it holds so much: more than is planned for one, and far enough from
/// [`MAX_RAW_BYTES`] for one more of any kind. The plan does not know of extended attributes.
const FULL_BYTES: usize = 2 * TARGET_BYTES;

/// Makes frames until there are none left to make, or nobody wants them.
pub(super) fn run(tree: &Tree, sequence: &Sequence<'_>, level: i32, out: &Sender<io::Result<Finished>>) {
    let mut worker = match Encoder::new(level) {
        Ok(encoder) => Worker { tree, links: sequence.links, encoder, raw: Vec::new() },
        Err(error) => {
            let _ = out.send(Err(error)); // nobody there any more: another worker failed first
            return;
        }
    };
    let _stop_if_panicking = StopIfPanicking(sequence);
    while let Some((number, work)) = sequence.next() {
        if out.send(worker.make(number, work)).is_err() {
            return;
        }
    }
}

/// The frame of a worker that panics never comes, and the others would wait for it.
struct StopIfPanicking<'a>(&'a Sequence<'a>);

impl Drop for StopIfPanicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

struct Worker<'a> {
    tree: &'a Tree,
    links: &'a Links,
    encoder: Encoder,
    /// The tar bytes of the frame in the making.
    raw: Vec<u8>,
}

impl Worker<'_> {
    fn make(&mut self, number: u64, work: Work) -> io::Result<Finished> {
        self.raw.clear();
        let mut finished = Finished { number, ..Finished::default() };
        let mut frame = PackedFrame::default();
        match work {
            Work::Members(nodes) => {
                for node in nodes {
                    self.member(node, &mut frame, &mut finished);
                    if self.raw.len() >= FULL_BYTES {
                        finished.frames.push(self.close(std::mem::take(&mut frame))?);
                    }
                }
            }
            Work::Segment(segment) => self.segment(&segment, &mut frame),
            Work::Chunks(chunks) => self.chunks(&chunks, &mut frame, &mut finished),
            Work::End => self.raw.extend_from_slice(&tar::END_OF_ARCHIVE),
        }
        finished.frames.push(self.close(frame)?);
        Ok(finished)
    }

    /// Compresses what the frame in the making holds.
    fn close(&mut self, mut frame: PackedFrame) -> io::Result<PackedFrame> {
        frame.raw_bytes = u32::try_from(self.raw.len()).map_err(io::Error::other)?;
        if !self.raw.is_empty() {
            frame.stored = self.encoder.encode(&self.raw)?;
        }
        self.raw.clear();
        Ok(frame)
    }

    fn member(&mut self, number: u32, frame: &mut PackedFrame, finished: &mut Finished) {
        let node = &self.tree.nodes[number as usize];
        let name = tar_name(self.tree, node.root, &node.path);
        match &node.kind {
            NodeKind::Directory(xattrs) => {
                write::append(&mut self.raw, &name, &node.meta, xattrs, TarEntry::Directory);
            }
            NodeKind::Symlink(target) => {
                write::append(&mut self.raw, &name, &node.meta, &[], TarEntry::Symlink(target));
            }
            NodeKind::HardLink(first) => match self.links.way(self.tree, number, *first) {
                LinkWay::Link(target) => {
                    let first = &self.tree.nodes[target as usize];
                    let first = tar_name(self.tree, first.root, &first.path);
                    write::append(&mut self.raw, &name, &node.meta, &[], TarEntry::HardLink(&first));
                    finished.links.push((number, target));
                }
                LinkWay::File => self.whole(number, &name, frame, finished),
                LinkWay::Later => finished.unlinked.push(number),
            },
            NodeKind::File => self.whole(number, &name, frame, finished),
        }
    }

    /// Appends a file with its content, or hands it back if it does not fit into a frame.
    fn whole(&mut self, number: u32, name: &[u8], frame: &mut PackedFrame, finished: &mut Finished) {
        let target = match self.file(number, name) {
            Ok(Some((file, signature, is_steady))) => {
                frame.files.push(file);
                if !is_steady {
                    self.skip(number, SkipReason::Changing, finished);
                }
                LinkTarget::Stored(number, signature)
            }
            Ok(None) => {
                finished.stale.push(number);
                LinkTarget::Later
            }
            Err(error) => {
                self.skip(number, SkipReason::Unreadable(error.to_string()), finished);
                LinkTarget::Missing
            }
        };
        self.links.settle(self.tree, number, target);
    }

    fn skip(&self, number: u32, reason: SkipReason, finished: &mut Finished) {
        let path = self.tree.path_of(&self.tree.nodes[number as usize]);
        finished.skipped.push((number, Skipped { path, reason }));
    }

    /// Appends a file, unless it has grown so much since it was scanned that it does not fit into the frame. Also tells
    /// what it was, and whether it held still.
    fn file(&mut self, number: u32, name: &[u8]) -> io::Result<Option<(PackedFile, Signature, bool)>> {
        let node = &self.tree.nodes[number as usize];
        let start = self.raw.len();
        let room = (u64::from(MAX_RAW_BYTES) / 4 * 3).saturating_sub(start as u64);
        let mut attempt = 1;
        loop {
            self.raw.truncate(start);
            let file = open(self.tree, node)?;
            let data_bytes = file.data_bytes();
            if data_bytes > room {
                return Ok(None);
            }
            let wanted = usize::try_from(data_bytes).map_err(io::Error::other)?;
            append_header(&mut self.raw, name, &file);
            let data_start = self.raw.len();
            let result = file.read(&mut file.start(), &mut self.raw, wanted);
            let got = match result {
                Ok(got) => got,
                Err(error) => {
                    self.raw.truncate(start);
                    return Err(error);
                }
            };
            let is_steady = got == wanted && file.is_unchanged()?;
            if !is_steady && attempt < ATTEMPTS {
                attempt += 1;
                continue;
            }
            // Shorter than its header says: zeros, as tar does.
            self.raw.resize(data_start + wanted, 0);
            let chunks = chunks_of(&self.raw[data_start..], data_start);
            tar::pad(&mut self.raw);
            let packed = PackedFile { node: number, record: Some(FileRecord::of(&file)), chunks };
            return Ok(Some((packed, file.signature, is_steady)));
        }
    }

    fn segment(&mut self, segment: &FileSegment, frame: &mut PackedFrame) {
        let FileSegment { node, file, is_first, is_last, data, cuts } = segment;
        if *is_first {
            let of = &self.tree.nodes[*node as usize];
            append_header(&mut self.raw, &tar_name(self.tree, of.root, &of.path), file);
        }
        let mut start = self.raw.len();
        self.raw.extend_from_slice(data);
        let mut chunks = Vec::with_capacity(cuts.len());
        for &length in cuts {
            chunks.push(packed_chunk(&self.raw[start..start + length], start));
            start += length;
        }
        if *is_last {
            // Frames of one member are not blocks long each: what counts is the whole.
            let past = usize::try_from(file.data_bytes() % tar::BLOCK as u64).unwrap_or(0);
            let padding = (tar::BLOCK - past) % tar::BLOCK;
            self.raw.resize(self.raw.len() + padding, 0);
        }
        let record = is_first.then(|| FileRecord::of(file));
        frame.files.push(PackedFile { node: *node, record, chunks });
    }

    /// Chunks of files that have not changed since they were compared; the others are named.
    fn chunks(&mut self, items: &[ChunkItem], frame: &mut PackedFrame, finished: &mut Finished) {
        let mut opened: Option<(u32, io::Result<OpenedFile>)> = None;
        for item in items {
            if opened.as_ref().is_none_or(|(node, _)| *node != item.node) {
                opened = Some((item.node, open(self.tree, &self.tree.nodes[item.node as usize])));
            }
            let start = self.raw.len();
            let Some((_, Ok(file))) = &opened else {
                finished.stale.push(item.node);
                continue;
            };
            let meta = Metadata { mode: 0o644, ..Metadata::default() };
            let name = [CHUNK_DIRECTORY, item.hash.to_string().as_bytes()].concat();
            write::append(&mut self.raw, &name, &meta, &[], TarEntry::File { size: item.length.into() });
            let data_start = self.raw.len();
            let mut cursor = file.start();
            cursor.skip(item.offset);
            let read = file.read(&mut cursor, &mut self.raw, item.length as usize);
            let is_same = read.is_ok() && ChunkHash::of(&self.raw[data_start..]) == item.hash;
            if !is_same {
                self.raw.truncate(start);
                finished.stale.push(item.node);
                continue;
            }
            let offset = convert::number(data_start);
            frame.loose.push(PackedChunk { hash: item.hash, length: item.length, offset });
            tar::pad(&mut self.raw);
        }
    }
}

fn append_header(raw: &mut Vec<u8>, name: &[u8], file: &OpenedFile) {
    let size = file.signature.size;
    let entry = match &file.extents {
        Some(extents) => TarEntry::Sparse { size, extents },
        None => TarEntry::File { size },
    };
    write::append(raw, name, &file.meta, &file.xattrs, entry);
}

fn chunks_of(data: &[u8], mut start: usize) -> Vec<PackedChunk> {
    let mut rest = data;
    let lengths = Cutter::FORMAT_1.cut_file(data);
    lengths
        .into_iter()
        .map(|length| {
            let (chunk, tail) = rest.split_at(length);
            let packed = packed_chunk(chunk, start);
            rest = tail;
            start += length;
            packed
        })
        .collect()
}

fn packed_chunk(chunk: &[u8], offset: usize) -> PackedChunk {
    // A frame is far smaller than 4 GiB, which make() checks.
    PackedChunk { hash: ChunkHash::of(chunk), length: convert::number(chunk.len()), offset: convert::number(offset) }
}
