//! What of an entry is on disk already, so that it need not be fetched.
//!
//! A file whose attributes are those that the last restore left is known unread; others are read and hashed. Of a
//! large file that has changed, the chunks that are still in it are taken over.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::journal::Journal;
use super::walker::Walker;
use super::{Before, Error, Interrupt, Roots};
use crate::archive::index::{Content, File, Index, Xattrs, file_name, parent, path_order};
use crate::chunk::{ChunkHash, Cutter, Ends};
use crate::scan::{Signature, metadata, read_xattrs};

/// What is at the place of a file member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Have {
    /// Nothing.
    Missing,
    /// The same content.
    Same {
        /// Whether mode and time are right, too.
        is_exact: bool,
        /// What it is now.
        signature: Signature,
    },
    /// Another file, which will be replaced. These chunks of the new one are already in its temporary file.
    Other {
        /// For each chunk of the new file whether it is there; empty if none is.
        taken: Vec<bool>,
    },
}

/// Members are handed to threads so many at a time: neighbours share directories.
const BATCH: usize = 64;

/// Compares the files of all roots that held something before. The answers are by number of member; files of fresh
/// roots and what is no file are [`Have::Missing`].
pub(super) fn compare(
    index: &Index,
    roots: &Roots,
    before: Option<&Before<'_>>,
    journal: &Journal,
    threads: usize,
    interrupted: &Interrupt,
) -> Result<Vec<Have>, Error> {
    let mut have = vec![Have::Missing; index.members.len()];
    let mut batches: Vec<(usize, usize, &mut [Have])> = Vec::new();
    let mut rest = &mut have[..];
    let mut start = 0;
    for (root, range) in roots.members() {
        let (_, after) = rest.split_at_mut(range.start - start);
        let (own, after) = after.split_at_mut(range.len());
        rest = after;
        start = range.end;
        if !roots.is_fresh(root) {
            batches.extend(own.chunks_mut(BATCH).enumerate().map(|(n, slice)| (root, range.start + n * BATCH, slice)));
        }
    }
    if batches.is_empty() {
        return Ok(have);
    }
    let known = before.map(Known::new);
    let batches = Mutex::new(batches.into_iter());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut comparer = Comparer {
                    index,
                    roots,
                    known: known.as_ref(),
                    journal,
                    interrupted,
                    walker: None,
                    buffer: Vec::new(),
                };
                while !interrupted.is_raised() {
                    let next = batches.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((root, first, slots)) = next else { break };
                    if let Err(error) = comparer.batch(root, first, slots) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        break;
                    }
                }
            });
        }
    });
    interrupted.check()?;
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => {
            part(&mut have);
            Ok(have)
        }
    }
}

/// Files that are one on disk and several in the entry: the first keeps it, the others are made anew.
fn part(have: &mut [Have]) {
    let mut seen = HashSet::new();
    for slot in have {
        if let Have::Same { signature: Signature { device, inode, .. }, .. } = slot
            && !seen.insert((*device, *inode))
        {
            *slot = Have::Other { taken: Vec::new() };
        }
    }
}

/// The entry before, by path.
struct Known<'a> {
    index: &'a Index,
    signatures: &'a [Option<Signature>],
    noted_nanos: i64,
    ranges: Vec<std::ops::Range<usize>>,
}

impl<'a> Known<'a> {
    fn new(before: &Before<'a>) -> Self {
        let Before { index, signatures, noted_nanos } = *before;
        Self { index, signatures, noted_nanos, ranges: index.root_ranges() }
    }

    /// The file at this path, if it is certainly still the one that was noted.
    fn unchanged(&self, root: usize, path: &[u8], now: &Signature) -> Option<(&'a File, &'a Xattrs)> {
        let range = self.ranges.get(root)?.clone();
        let members = &self.index.members[range.clone()];
        let found = members.binary_search_by(|member| path_order(&member.path, path)).ok()?;
        let mut number = range.start + found;
        if let Content::HardLink(first) = self.index.members[number].content {
            number = first as usize;
        }
        let Content::File(file) = &self.index.members[number].content else { return None };
        let then = self.signatures.get(number)?.as_ref()?;
        (then == now && then.is_settled(self.noted_nanos)).then_some((file, &self.index.members[number].xattrs))
    }
}

struct Comparer<'a> {
    index: &'a Index,
    roots: &'a Roots,
    known: Option<&'a Known<'a>>,
    journal: &'a Journal,
    interrupted: &'a Interrupt,
    walker: Option<(usize, Walker)>,
    buffer: Vec<u8>,
}

impl Comparer<'_> {
    fn batch(&mut self, root: usize, first: usize, slots: &mut [Have]) -> Result<(), Error> {
        let Some(directory) = self.roots.directory(root) else { return Ok(()) };
        if self.walker.as_ref().is_none_or(|(of, _)| *of != root) {
            self.walker = Some((root, Walker::new(directory)));
        }
        for (number, slot) in (first..).zip(slots) {
            if self.interrupted.is_raised() {
                break;
            }
            let Content::File(file) = &self.index.members[number].content else { continue };
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            *slot = self
                .file(root, number, file)
                .map_err(|source| Error::Write { path: self.roots.full_path(self.index, number), source })?;
        }
        Ok(())
    }

    fn file(&mut self, root: usize, number: u32, file: &File) -> io::Result<Have> {
        let Some((path, _)) = self.roots.place(self.index, number) else { return Ok(Have::Missing) };
        let Some((_, walker)) = &mut self.walker else { return Ok(Have::Missing) };
        let at = match walker.enter(parent(&path)) {
            Ok(at) => at,
            // Something else stands where the directory will be.
            Err(_) => return Ok(Have::Missing),
        };
        let name = file_name(&path);
        let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Not there; or its directory cannot be entered before it is opened up.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::ACCESS) => return Ok(Have::Missing),
            Err(error) => return Err(error.into()),
        };
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Ok(Have::Missing);
        }
        let signature = Signature::of(&stat);
        let wanted = &self.index.members[number as usize].meta;
        let found = metadata(&stat);
        let has_meta = (found.mode, found.mtime_seconds, found.mtime_nanos)
            == (wanted.mode, wanted.mtime_seconds, wanted.mtime_nanos);
        let wanted_xattrs = &self.index.members[number as usize].xattrs;
        let same = |xattrs: &Xattrs| Have::Same { is_exact: has_meta && xattrs == wanted_xattrs, signature };
        let before = self.known.and_then(|known| {
            let path = &self.index.members[number as usize].path;
            known.unchanged(root, path, &signature).map(|(file, xattrs)| (known, file, xattrs))
        });
        if let Some((known, before, xattrs)) = before
            && (file.size, &file.extents) == (before.size, &before.extents)
        {
            let pairs = self.index.chunks_of(file).iter().zip(known.index.chunks_of(before));
            let is_same = file.chunks.len() == before.chunks.len() && pairs.into_iter().all(|(a, b)| a.hash == b.hash);
            if is_same {
                return Ok(same(xattrs));
            }
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(open) = rustix::fs::openat(at, name, flags, Mode::empty()) else {
            return Ok(Have::Other { taken: Vec::new() });
        };
        let is_candidate = before.is_none() && signature.size == file.size;
        if is_candidate && has_content(self.index, file, &open, &mut self.buffer, self.interrupted)? {
            return Ok(same(&read_xattrs(&open)?));
        }
        let is_large = |size: u64| size > u64::from(Cutter::FORMAT_1.whole_bytes);
        if !is_large(file.size) || !is_large(signature.size) || file.extents.is_some() {
            return Ok(Have::Other { taken: Vec::new() });
        }
        match take_chunks(self.index, self.journal, at, number, file, &open, self.interrupted) {
            // The directory takes no temporary file before it is opened up.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Have::Other { taken: Vec::new() }),
            taken => Ok(Have::Other { taken: taken? }),
        }
    }
}

/// Copies what the old file has of the new one into the temporary file of the new one.
fn take_chunks(
    index: &Index,
    journal: &Journal,
    at: BorrowedFd<'_>,
    number: u32,
    file: &File,
    old: &OwnedFd,
    interrupted: &Interrupt,
) -> io::Result<Vec<bool>> {
    let chunks = index.chunks_of(file);
    let mut places: HashMap<ChunkHash, Vec<(usize, u64)>> = HashMap::with_capacity(chunks.len());
    let mut start = 0;
    for (i, chunk) in chunks.iter().enumerate() {
        places.entry(chunk.hash).or_default().push((i, start));
        start += u64::from(chunk.length);
    }
    let mut taken = vec![false; chunks.len()];
    let mut new: Option<OwnedFd> = None;
    let mut offset = 0;
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let have = rest.len();
        rest.resize(have + (4 << 20), 0);
        let got = read_full(old, &mut rest[have..], offset)?;
        rest.truncate(have + got);
        offset += got as u64;
        let ends = if got < 4 << 20 { Ends::File } else { Ends::Buffer };
        let mut used = 0;
        for length in Cutter::FORMAT_1.cut_large(&rest, ends) {
            let chunk = &rest[used..used + length];
            used += length;
            let Some(wanted) = places.get(&ChunkHash::of(chunk)) else { continue };
            for &(i, place) in wanted.iter().filter(|&&(i, _)| chunks[i].length as usize == length) {
                let new = match &mut new {
                    Some(new) => new,
                    none => none.insert(journal.open_temporary(at, number)?),
                };
                write_at(new, chunk, place)?;
                taken[i] = true;
            }
        }
        rest.drain(..used);
        if ends == Ends::File || interrupted.is_raised() {
            break;
        }
    }
    Ok(if new.is_some() { taken } else { Vec::new() })
}

/// Whether a file holds exactly this content. Interrupted, it does not say so.
fn has_content(
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
            position = match rustix::fs::seek(open, rustix::fs::SeekFrom::Data(position)) {
                Ok(data) => data,
                Err(rustix::io::Errno::NXIO) => end,
                Err(error) => return Err(error.into()),
            };
            if position < end {
                let length = usize::try_from(end - position).unwrap_or(usize::MAX).min(1 << 20);
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

fn read_full(file: &OwnedFd, buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], offset) {
            Ok(0) => break,
            Ok(got) => {
                filled += got;
                offset += got as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

/// Writes all of `data` at `offset`.
pub(super) fn write_at(file: &OwnedFd, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::pwrite(file, data, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                data = &data[written..];
                offset += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::Chunk;

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
