//! Reading a file that is there already: whether it is the one that is wanted, and what pieces it consists of.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::disk::read_full;
use super::interrupt::Interrupt;
use crate::archive::index::{File, Index};
use crate::chunk::{ChunkHash, Ends};
use crate::convert;

/// How many times as much of an old file is read as the new one is long. What it has grown by may stand at its beginning.
pub(super) const MOST_READ: u64 = 2;
/// How much is read and cut at a time.
const PIECE_BYTES: usize = 4 << 20;

/// The data of a file, one piece after the other; holes are passed over.
pub(super) struct Pieces<'f> {
    file: &'f OwnedFd,
    size: u64,
    /// How much may still be read.
    budget: u64,
    /// What was read and not yet used.
    buffer: Vec<u8>,
    /// Where reading goes on, and where the run of data ends that this is in.
    offset: u64,
    run_end: u64,
}

impl<'f> Pieces<'f> {
    pub(super) fn new(file: &'f OwnedFd, size: u64, budget: u64) -> Self {
        Self { file, size, budget, buffer: Vec::new(), offset: 0, run_end: 0 }
    }

    /// The next piece, with what was not used of the one before; and whether a run of data ends with it.
    pub(super) fn next(&mut self) -> io::Result<Option<(&[u8], Ends)>> {
        if self.offset >= self.run_end {
            self.buffer.clear();
            if !self.find_run()? {
                return Ok(None);
            }
        }
        if self.budget == 0 {
            return Ok(None);
        }
        let wanted = convert::in_memory(self.run_end - self.offset).min(PIECE_BYTES);
        let have = self.buffer.len();
        self.buffer.resize(have + wanted, 0);
        let got = read_full(self.file, &mut self.buffer[have..], self.offset)?;
        self.buffer.truncate(have + got);
        self.offset += got as u64;
        self.budget = self.budget.saturating_sub(got as u64);
        if got < wanted {
            self.run_end = self.offset; // it became shorter
        }
        let ends = if self.offset >= self.run_end { Ends::File } else { Ends::Buffer };
        Ok(Some((&self.buffer, ends)))
    }

    /// Notes how much of the piece was used.
    pub(super) fn used(&mut self, bytes: usize) {
        self.buffer.drain(..bytes);
    }

    fn find_run(&mut self) -> io::Result<bool> {
        if self.offset >= self.size {
            return Ok(false);
        }
        let start = match rustix::fs::seek(self.file, SeekFrom::Data(self.offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(false),
            Err(Errno::INVAL | Errno::NOTSUP) => self.offset,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(self.file, SeekFrom::Hole(start)).unwrap_or(self.size);
        (self.offset, self.run_end) = (start, end.min(self.size));
        Ok(start < self.run_end)
    }
}

/// Whether a file holds exactly this content. Interrupted, it does not say so.
pub(super) fn has_content(
    index: &Index,
    file: &File,
    open: &OwnedFd,
    buffer: &mut Vec<u8>,
    interrupted: &Interrupt,
) -> io::Result<bool> {
    let mut start = 0;
    for chunk in index.chunks_of(file) {
        if interrupted.is_raised() {
            return Ok(false);
        }
        buffer.resize(chunk.length as usize, 0);
        let mut filled = 0;
        for (offset, length) in file.place(start, chunk.length.into()) {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            let piece = &mut buffer[filled..filled + length];
            if read_full(open, piece, offset)? < length {
                return Ok(false);
            }
            filled += length;
        }
        if ChunkHash::of(buffer) != chunk.hash {
            return Ok(false);
        }
        start += u64::from(chunk.length);
    }
    // What the entry has as holes must read as zeros, which is so if there is no data.
    Ok(match &file.extents {
        None => true,
        Some(_) => holes_are_empty(file, open, buffer)?,
    })
}

fn holes_are_empty(file: &File, open: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let extents = file.extents.as_deref().unwrap_or_default();
    let ends = extents.iter().map(|e| e.offset + e.length);
    let starts = extents.iter().map(|e| e.offset).chain([file.size]);
    for (mut position, end) in [0].into_iter().chain(ends).zip(starts) {
        while position < end {
            position = match rustix::fs::seek(open, SeekFrom::Data(position)) {
                Ok(data) => data,
                Err(Errno::NXIO) => end,
                Err(error) => return Err(error.into()),
            };
            if position < end {
                let length = convert::in_memory(end - position).min(1 << 20);
                buffer.resize(length, 0);
                let got = read_full(open, buffer, position)?;
                if got == 0 || buffer[..got].iter().any(|&byte| byte != 0) {
                    return Ok(false);
                }
                position += got as u64;
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;
    use crate::archive::index::Chunk;
    use crate::chunk::Cutter;

    #[test]
    fn the_content_of_a_large_file_is_not_compared_to_its_end_once_interrupted() {
        let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, &content).unwrap();
        let chunk = |bytes: &[u8]| Chunk {
            hash: ChunkHash::of(bytes),
            length: u32::try_from(bytes.len()).unwrap(),
            frame: 0,
            offset: 0,
        };
        let index = Index {
            writer: String::new(),
            cutter: Cutter::FORMAT_1,
            roots: Vec::new(),
            frames: Vec::new(),
            members: Vec::new(),
            chunks: content.chunks(30_000).map(chunk).collect(),
        };
        let file = File { size: 100_000, chunks: 0..4, extents: None };
        let open = rustix::fs::open(&path, OFlags::RDONLY, Mode::empty()).unwrap();
        let interrupt = Interrupt::default();
        let is_same = || has_content(&index, &file, &open, &mut Vec::new(), &interrupt).unwrap();
        assert!(is_same());
        interrupt.raise();
        assert!(!is_same());
    }
}
