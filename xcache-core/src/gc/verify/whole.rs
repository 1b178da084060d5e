//! The whole object of an entry, as any other program would read it (P7): every frame decompresses, the tar stream of a
//! base ends as such streams do, and the seek table says what is there.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::refs::{check_chunks, decode, used_frames};
use super::{Fault, Findings};
use crate::archive;
use crate::archive::footer::{FOOTER_MAGIC, INDEX_FRAME, Seek, encode_seek_table};
use crate::archive::frame::{MAX_RAW_BYTES, MAX_STORED_BYTES, skippable_magic};
use crate::archive::index::{Chunk, Frame};
use crate::archive::reader::Archive;
use crate::convert;
use crate::object::Kind;
use crate::object_end::{Expected, Tail};
use crate::store::{self, ByteRange, ETag, ObjectName, Store};
use crate::transfer::limits::DownloadLimits;
use crate::transfer::request::fetch;

/// The object is read in pieces of this size.
const PIECE_BYTES: u64 = 8 << 20;
/// Pieces on their way at a time.
const PARALLEL: usize = 2;
/// What ends a tar stream: two blocks of zeros.
const END_OF_ARCHIVE_BYTES: usize = 1024;

/// Reads all of the object, whose `tail` reaches back to its index.
pub(super) async fn check(
    store: &dyn Store,
    name: &ObjectName,
    etag: &ETag,
    archive: &Archive,
    tail: &Tail,
) -> store::Result<Findings> {
    let end = archive.footer.index_offset;
    let pieces = (0..end.div_ceil(PIECE_BYTES)).map(|n| n * PIECE_BYTES..((n + 1) * PIECE_BYTES).min(end));
    let limits = DownloadLimits::default();
    let mut pieces = stream::iter(pieces)
        .map(|piece| fetch(store, (name, Expected::This(etag)), ByteRange::Span(piece), PIECE_BYTES, &limits))
        .buffered(PARALLEL);
    let mut walk = FrameWalk::new(name, archive);
    while let Some(piece) = pieces.try_next().await? {
        let next = tokio::task::spawn_blocking(move || {
            walk.take(&piece.bytes);
            walk
        });
        walk = next.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    }
    Ok(walk.finish(archive, tail))
}

/// A walk over the data frames, from the first to the last.
struct FrameWalk {
    name: ObjectName,
    /// Where the index says that frames lie, with the chunks it uses of them.
    expected: HashMap<u64, (Frame, Vec<Chunk>)>,
    /// What is not decompressed yet.
    buffer: BytesMut,
    /// Where that begins in the object.
    offset: u64,
    frames: Vec<Seek>,
    raw: Vec<u8>,
    /// Zeros at the end of what was decompressed so far.
    zeros: usize,
    is_lost: bool,
    found: Findings,
}

impl FrameWalk {
    fn new(name: &ObjectName, archive: &Archive) -> Self {
        let own = used_frames(archive).into_iter().filter(|(frame, _)| frame.source == 0);
        Self {
            name: name.clone(),
            expected: own.map(|(frame, chunks)| (frame.offset, (frame, chunks))).collect(),
            buffer: BytesMut::new(),
            offset: 0,
            frames: Vec::new(),
            raw: Vec::new(),
            zeros: 0,
            is_lost: false,
            found: Findings::default(),
        }
    }

    /// Takes the next bytes of the object, and decompresses what frames are complete.
    fn take(&mut self, piece: &Bytes) {
        self.found.read_bytes += piece.len() as u64;
        if self.is_lost {
            return;
        }
        self.buffer.extend_from_slice(piece);
        while !self.buffer.is_empty() && !self.is_lost {
            // How long a frame is stands in the heads of its blocks, so only a complete one has a length.
            let stored = find_frame_compressed_size(&self.buffer).ok();
            let listed = self.expected.get(&self.offset).map(|(frame, _)| frame.stored_bytes as usize);
            match (stored, listed) {
                (Some(stored), _) if stored <= self.buffer.len() => self.frame(stored),
                _ if self.buffer.len() <= MAX_STORED_BYTES as usize => break,
                // Where the next one begins, only the index can tell.
                (_, Some(listed)) => self.frame(listed),
                (_, None) => self.lose("it has no end"),
            }
        }
    }

    /// Decompresses the frame that the buffer begins with.
    fn frame(&mut self, stored_bytes: usize) {
        let stored = self.buffer.split_to(stored_bytes);
        let (offset, expected) = (self.offset, self.expected.remove(&self.offset));
        self.offset += stored_bytes as u64;
        let raw_bytes = get_frame_content_size(&stored).ok().flatten().and_then(|bytes| u32::try_from(bytes).ok());
        let raw_bytes = raw_bytes.filter(|&bytes| bytes <= MAX_RAW_BYTES);
        let decoded = match raw_bytes {
            Some(raw_bytes) => decode(&stored, raw_bytes, &mut self.raw),
            None => Err(archive::Error::damaged("frame", "it does not tell its length")),
        };
        if let Err(error) = decoded {
            self.found.faults.push(Fault::frame(&self.name, offset, error));
            return;
        }
        let seek = Seek { stored_bytes: stored_bytes as u32, raw_bytes: raw_bytes.unwrap_or(0) };
        self.frames.push(seek);
        let zeros = self.raw.iter().rev().take_while(|&&byte| byte == 0).count();
        self.zeros = if zeros == self.raw.len() { self.zeros + zeros } else { zeros };
        if let Some((frame, chunks)) = expected {
            if (frame.stored_bytes, frame.raw_bytes) != (seek.stored_bytes, seek.raw_bytes) {
                self.found.faults.push(Fault::frame(&self.name, offset, "it has another length than the index says"));
            }
            check_chunks(&self.name, offset, &self.raw, &chunks, &mut self.found);
        }
    }

    fn lose(&mut self, reason: &str) {
        self.found.faults.push(Fault::frame(&self.name, self.offset, reason));
        self.is_lost = true;
    }

    /// After the last data frame: what was not there, the end of the stream, and the seek table.
    fn finish(mut self, archive: &Archive, tail: &Tail) -> Findings {
        if !self.buffer.is_empty() && !self.is_lost {
            self.lose("it is cut off, or the index begins inside of it");
        }
        if !self.found.faults.is_empty() {
            return self.found;
        }
        for offset in self.expected.keys() {
            self.found.faults.push(Fault::frame(&self.name, *offset, "no frame begins there"));
        }
        if archive.footer.kind == Kind::Base && self.zeros < END_OF_ARCHIVE_BYTES {
            self.found.faults.push(Fault::EndOfArchive);
        }
        if !self.has_right_end(archive, tail) {
            self.found.faults.push(Fault::SeekTable);
        }
        self.found
    }

    /// Whether what comes after the data frames is what a writer makes of them. The footer has its own checksum.
    fn has_right_end(&self, archive: &Archive, tail: &Tail) -> bool {
        let index = archive.footer.index_range();
        let Some(start) = index.start.checked_sub(tail.offset).and_then(|at| usize::try_from(at).ok()) else {
            return false;
        };
        let head = tail.bytes.get(start..start + 8).unwrap_or_default();
        let length = convert::stored(archive.footer.index_bytes);
        if head != [skippable_magic(INDEX_FRAME).to_le_bytes(), length.to_le_bytes()].concat() {
            return false;
        }
        // Behind the index and the head of its own frame, the footer begins with its magic.
        let footer = start.saturating_add(16).saturating_add(length as usize);
        if !tail.bytes.get(footer..).is_some_and(|footer| footer.starts_with(&FOOTER_MAGIC)) {
            return false;
        }
        let mut frames = self.frames.clone();
        frames.push(Seek { stored_bytes: convert::stored(index.end - index.start), raw_bytes: 0 });
        // The footer fills what the table leaves.
        frames.push(Seek { stored_bytes: 0, raw_bytes: 0 });
        let Ok(table) = encode_seek_table(&frames) else { return false };
        let Some(footer_bytes) = tail.meta.size.checked_sub(index.end + table.len() as u64) else { return false };
        frames.last_mut().expect("pushed above").stored_bytes = convert::stored(footer_bytes);
        encode_seek_table(&frames).is_ok_and(|table| tail.bytes.ends_with(&table))
    }
}
