//! Reading a file while others may write to it: what is stored is one consistent reading, or it is said that it
//! may not be.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::SeekFrom;

use crate::archive::index::{Extent, Metadata, Xattrs};
use crate::archive::tar::BLOCK;
use crate::convert;
use crate::scan::{Node, Signature, Tree, metadata, read_xattrs};

/// How often a file that changes while it is read is read again.
pub const ATTEMPTS: u32 = 3;

/// The extended attributes of one file take no more bytes: the pax header that holds them stays below the 1 MiB that
/// readers accept. Linux limits one value to 64 KiB.
const MAX_XATTRS_BYTES: usize = 512 << 10;
/// The most extents of one file. The map that names them takes up to 42 bytes for each and must leave room in the frame.
const MAX_EXTENTS: usize = 100_000;

/// An open file and what it is right now.
#[derive(Debug)]
pub struct OpenedFile {
    file: OwnedFd,
    /// Identity and times when it was opened.
    pub signature: Signature,
    /// Mode, times, owner.
    pub meta: Metadata,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Where its data lies, if it has holes.
    pub extents: Option<Box<[Extent]>>,
}

/// Opens the regular file that `node` was when it was scanned.
pub fn open(tree: &Tree, node: &Node) -> io::Result<OpenedFile> {
    let file = tree.open(node)?;
    let stat = rustix::fs::fstat(&file)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(io::Error::other("is no regular file any more"));
    }
    let signature = Signature::of(&stat);
    let xattrs = read_xattrs(&file)?;
    if xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_XATTRS_BYTES {
        return Err(io::Error::other("its extended attributes take more than 512 KiB"));
    }
    let extents = if signature.is_sparse() { find_extents(&file, signature.size)? } else { None };
    Ok(OpenedFile { file, signature, meta: metadata(&stat), xattrs, extents })
}

impl OpenedFile {
    /// Bytes without holes.
    pub fn data_bytes(&self) -> u64 {
        match &self.extents {
            Some(extents) => extents.iter().map(|extent| extent.length).sum(),
            None => self.signature.size,
        }
    }

    /// Whether nobody wrote to it since it was opened.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        let now = Signature::of(&rustix::fs::fstat(&self.file)?);
        let then = self.signature;
        Ok((now.size, now.mtime_nanos, now.ctime_nanos) == (then.size, then.mtime_nanos, then.ctime_nanos))
    }

    /// The beginning of its data.
    pub fn start(&self) -> DataCursor {
        let all = Extent { offset: 0, length: self.signature.size };
        let extents = self.extents.as_deref().map_or_else(|| vec![all], <[Extent]>::to_vec);
        DataCursor { extents: extents.into_iter(), now: Extent { offset: 0, length: 0 } }
    }

    /// Appends up to `length` bytes of the data at `cursor` to `out`; fewer only at its end, or where the file has
    /// become shorter.
    pub fn read(&self, cursor: &mut DataCursor, out: &mut Vec<u8>, length: usize) -> io::Result<usize> {
        let end = out.len() + length;
        let before = out.len();
        out.reserve(length);
        while out.len() < end {
            if cursor.now.length == 0 {
                match cursor.extents.next() {
                    Some(extent) => cursor.now = extent,
                    None => break,
                }
                continue;
            }
            let start = out.len();
            let wanted = convert::in_memory(cursor.now.length).min(end - start);
            let got = self.read_at(cursor.now.offset, wanted, out);
            let got = match got {
                Ok(got) => got,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if got == 0 {
                break; // shorter than it was
            }
            cursor.now.offset += got as u64;
            cursor.now.length -= got as u64;
        }
        Ok(out.len() - before)
    }

    /// One read of up to `wanted` bytes. Where there are no holes behind, the buffer need not be cleared first: the
    /// kernel may fill all its room, up to the end of the file, and what is too much is cut off.
    fn read_at(&self, offset: u64, wanted: usize, out: &mut Vec<u8>) -> rustix::io::Result<usize> {
        let start = out.len();
        if self.extents.is_none() {
            let got = rustix::io::pread(&self.file, rustix::buffer::spare_capacity(out), offset)?;
            out.truncate(start + got.min(wanted));
        } else {
            out.resize(start + wanted, 0);
            let got = rustix::io::pread(&self.file, &mut out[start..], offset);
            out.truncate(start + got.unwrap_or(0));
            got?;
        }
        Ok(out.len() - start)
    }
}

/// A place in the data of a file, holes left out.
#[derive(Debug)]
pub struct DataCursor {
    extents: std::vec::IntoIter<Extent>,
    now: Extent,
}

impl DataCursor {
    /// Goes on by so many bytes of data.
    pub fn skip(&mut self, mut bytes: u64) {
        while bytes > 0 {
            if self.now.length == 0 {
                match self.extents.next() {
                    Some(extent) => self.now = extent,
                    None => return,
                }
            }
            let step = bytes.min(self.now.length);
            self.now.offset += step;
            self.now.length -= step;
            bytes -= step;
        }
    }
}

/// The runs of data in a file with holes; `None` where the file system cannot tell.
fn find_extents(file: &OwnedFd, size: u64) -> io::Result<Option<Box<[Extent]>>> {
    let block = BLOCK as u64;
    let mut extents: Vec<Extent> = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        // Whole blocks, as the sparse format of tar has them; file systems hand out nothing finer.
        let (start, end) = (start / block * block, end.next_multiple_of(block).min(size));
        match extents.last_mut() {
            Some(last) if last.offset + last.length >= start => last.length = end - last.offset,
            _ if end > start => extents.push(Extent { offset: start, length: end - start }),
            _ => {}
        }
        position = end.max(position + 1);
    }
    let extents = join(extents, MAX_EXTENTS);
    let is_whole = extents.len() == 1 && extents[0] == Extent { offset: 0, length: size };
    Ok(if is_whole { None } else { Some(extents.into()) })
}

/// Takes the smallest holes for data, until there are no more than `most` extents.
fn join(mut extents: Vec<Extent>, most: usize) -> Vec<Extent> {
    let mut smallest = BLOCK as u64;
    while extents.len() > most {
        smallest = smallest.saturating_mul(2);
        extents.dedup_by(|next, last| {
            let is_near = next.offset - (last.offset + last.length) < smallest;
            if is_near {
                last.length = next.offset + next.length - last.offset;
            }
            is_near
        });
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_very_many_holes_keeps_the_largest() {
        let at = |&(offset, length): &(u64, u64)| Extent { offset, length };
        let check = |extents: &[(u64, u64)], most, expected: &[(u64, u64)]| {
            let joined = join(extents.iter().map(at).collect(), most);
            assert_eq!(joined, expected.iter().map(at).collect::<Vec<_>>());
        };
        let extents = [(0, 512), (1024, 512), (1 << 20, 512), ((1 << 20) + 2048, 512), (1 << 62, 512)];
        check(&extents, 5, &extents);
        check(&extents, 4, &[(0, 1536), (1 << 20, 512), ((1 << 20) + 2048, 512), (1 << 62, 512)]);
        check(&extents, 3, &[(0, 1536), (1 << 20, 2560), (1 << 62, 512)]);
        check(&extents, 1, &[(0, (1 << 62) + 512)]);
    }
}
