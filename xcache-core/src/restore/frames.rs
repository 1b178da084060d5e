//! One worker: verifies the pieces of frames and writes them where they belong.
//!
//! A file that lies in one frame is made with one create and one write. Others grow under a temporary name, written
//! by position from whichever frame comes, and get their name when the last piece is in.

use std::io;
use std::os::fd::OwnedFd;

use super::destination::{Destination, attributes};
use super::disk::{Cursor, Notices, Place, Temporary, write_at};
use bytes::Bytes;

use super::error::Error;
use super::plan::{FetchPlan, WantedChunk};
use crate::archive::frame::Decoder;
use crate::archive::index::{Content, File, Index, Member};
use crate::archive::{self};
use crate::chunk::ChunkHash;
use crate::scan::Signature;

/// Why a frame was not written.
pub(super) enum FrameError {
    /// Its bytes are not what the index says. Nothing of it was written.
    Damaged(archive::Error),
    /// The disk said no.
    Fatal(Error),
}

/// What a worker has done.
#[derive(Debug, Default)]
pub(super) struct WrittenFrames {
    /// What the files written are now.
    pub(super) signatures: Vec<(u32, Signature)>,
    /// What could not be set.
    pub(super) notices: Notices,
}

impl WrittenFrames {
    /// Adds what another worker has done.
    pub(super) fn append(&mut self, mut other: Self) {
        self.signatures.append(&mut other.signatures);
        self.notices.append(other.notices);
    }
}

/// See the module.
pub(super) struct FrameWriter<'a> {
    index: &'a Index,
    here: &'a Destination<'a>,
    plan: &'a FetchPlan,
    cursor: Cursor<'a>,
    decoder: Decoder,
    raw: Vec<u8>,
    signatures: Vec<(u32, Signature)>,
}

impl<'a> FrameWriter<'a> {
    pub(super) fn new(index: &'a Index, here: &'a Destination<'a>, plan: &'a FetchPlan) -> Result<Self, Error> {
        let no_memory = |source| Error::Write { path: "the decompressor".into(), source };
        let decoder = Decoder::new().map_err(no_memory)?;
        let (cursor, raw, signatures) = (here.target.cursor(), Vec::new(), Vec::new());
        Ok(Self { index, here, plan, cursor, decoder, raw, signatures })
    }

    pub(super) fn finish(mut self) -> WrittenFrames {
        WrittenFrames { signatures: self.signatures, notices: std::mem::take(&mut self.cursor.notices) }
    }

    /// Writes what frame `number`, as it came from the store, holds of missing files.
    pub(super) fn frame(&mut self, number: u32, stored: &[Bytes]) -> Result<(), FrameError> {
        let pieces = self.plan.pieces_of(number);
        let mut raw = std::mem::take(&mut self.raw);
        let raw_bytes = self.index.frames[number as usize].raw_bytes;
        self.decoder.decode_pieces(stored, raw_bytes, &mut raw).map_err(FrameError::Damaged)?;
        // First all is verified, then anything is written: a damaged frame is asked for again.
        for piece in pieces {
            if ChunkHash::of(self.bytes(&raw, piece)) != self.index.chunks[piece.chunk as usize].hash {
                return Err(FrameError::Damaged(archive::Error::damaged("frame", "the hash of a chunk is wrong")));
            }
        }
        for pieces in pieces.chunk_by(|a, b| a.member == b.member) {
            let member = pieces[0].member;
            let result = match self.plan.growing(member) {
                None => self.whole(member, pieces, &raw),
                Some(_) => self.pieces(member, pieces, &raw),
            };
            result.map_err(|source| FrameError::Fatal(self.error(member, source)))?;
        }
        self.raw = raw;
        Ok(())
    }

    /// Makes a file that has no data.
    pub(super) fn empty(&mut self, number: u32) -> Result<(), Error> {
        self.whole(number, &[], &[]).map_err(|source| self.error(number, source))
    }

    /// Gives a file that is complete its name.
    pub(super) fn complete(&mut self, number: u32, temporary: &Temporary) -> Result<(), Error> {
        let place = self.here.roots.place(self.index, number);
        let open = self.cursor.open_temporary(place, temporary);
        open.and_then(|open| self.finish_file(number, temporary, &open)).map_err(|source| self.error(number, source))
    }

    fn error(&self, member: u32, source: io::Error) -> Error {
        Error::Write { path: self.here.target.full_path(self.here.roots.place(self.index, member)), source }
    }

    fn bytes<'r>(&self, raw: &'r [u8], piece: &WantedChunk) -> &'r [u8] {
        let chunk = &self.index.chunks[piece.chunk as usize];
        let start = chunk.offset as usize;
        &raw[start..start + chunk.length as usize]
    }

    /// The place of a member, whose directory is there now.
    fn place(&mut self, number: u32) -> io::Result<Place<'a>> {
        let place = self.here.roots.place(self.index, number);
        if self.here.target.is_fresh(place.root) {
            self.cursor.make_above(place, &|path| self.here.mode_of(self.index, Place { path, ..place }))?;
        }
        Ok(place)
    }

    fn file(&self, number: u32) -> io::Result<(&'a Member, &'a File)> {
        let member = &self.index.members[number as usize];
        match &member.content {
            Content::File(file) => Ok((member, file)),
            _ => Err(io::Error::other("chunks of what is no file")),
        }
    }

    /// A file that lies in one frame, or has no data at all.
    fn whole(&mut self, number: u32, pieces: &[WantedChunk], raw: &[u8]) -> io::Result<()> {
        let (member, file) = self.file(number)?;
        let contents: Vec<&[u8]> = pieces.iter().map(|piece| self.bytes(raw, piece)).collect();
        let place = self.place(number)?;
        let signature = self.cursor.make_file(place, self.plan.is_vacant(number), &attributes(member), |open| {
            let mut start = 0;
            for content in &contents {
                write_placed(open, file, start, content)?;
                start += content.len() as u64;
            }
            if file.extents.is_some() { Ok(rustix::fs::ftruncate(open, file.size)?) } else { Ok(()) }
        })?;
        self.signatures.push((number, signature));
        Ok(())
    }

    /// Pieces of a file that lies in several frames.
    fn pieces(&mut self, number: u32, pieces: &[WantedChunk], raw: &[u8]) -> io::Result<()> {
        let (_, file) = self.file(number)?;
        let Some(growing) = self.plan.growing(number) else { return Ok(()) };
        let place = self.place(number)?;
        let temporary = growing.temporary.get_or_init(|| self.cursor.begin(place));
        let open = self.cursor.open_temporary(place, temporary)?;
        for piece in pieces {
            write_placed(&open, file, piece.start, self.bytes(raw, piece))?;
        }
        if growing.wrote(pieces.len()) { self.finish_file(number, temporary, &open) } else { Ok(()) }
    }

    /// The last piece is in.
    fn finish_file(&mut self, number: u32, temporary: &Temporary, open: &OwnedFd) -> io::Result<()> {
        let (member, file) = self.file(number)?;
        let place = self.here.roots.place(self.index, number);
        let signature = self.cursor.finish_file(place, temporary, open, Some(file.size), &attributes(member))?;
        self.signatures.push((number, signature));
        Ok(())
    }
}

/// Writes data that begins at `start` of the file's data where it belongs in the file.
fn write_placed(open: &OwnedFd, file: &File, start: u64, content: &[u8]) -> io::Result<()> {
    if file.extents.is_none() {
        return write_at(open, content, start);
    }
    let mut rest = content;
    for (offset, length) in file.place(start, content.len() as u64) {
        let (piece, after) = rest.split_at(usize::try_from(length).unwrap_or(rest.len()).min(rest.len()));
        write_at(open, piece, offset)?;
        rest = after;
    }
    Ok(())
}
