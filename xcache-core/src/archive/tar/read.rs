//! Reading a tar stream from its first byte to its last: every dialect in use, and nothing that a writer claims is
//! believed before it is checked.
//!
//! Understood are V7, ustar, pax (POSIX.1-2024) with the attributes of GNU tar and libarchive, the long names and
//! numbers of GNU tar, and its four formats of sparse files. What a header costs in memory is bounded by constants
//! here, whatever it says; content is never held.

#[cfg(test)]
mod tests;

use std::io::{self, Read};

use tar::Header;

use super::super::index::{Extent, Metadata, Xattrs};
use super::super::{Error, Result};
use super::number::{PART, damaged, number, signed_number};
use super::pax::Pax;
use super::{BLOCK, sparse};

/// The longest pax header: one attribute may have 64 KiB, and few members have more than one.
const MAX_PAX_BYTES: u64 = 1 << 20;
/// The longest name in a header of its own. No system has longer paths than 4,096 bytes; which of these are too long is
/// for others to say.
const MAX_LONG_NAME_BYTES: u64 = 16 << 10;

/// A tar stream. [`TarStream::next`] goes to the next member, [`TarStream::content`] reads the one it is at.
#[derive(Debug)]
pub(crate) struct TarStream<R> {
    input: R,
    /// What pax headers said of all members to come.
    globals: Pax,
    /// Bytes of the current member that were not read yet.
    left: u64,
    /// Those that fill its last block.
    padding: u64,
    /// Where its content goes; the first extent is the one being read.
    extents: std::vec::IntoIter<Extent>,
    extent: Extent,
    has_ended: bool,
}

/// A member as its headers describe it. Neither paths nor targets are checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TarMember {
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Metadata,
    /// Those that are kept, sorted by name.
    pub(crate) xattrs: Xattrs,
    /// Whether it has an access control list in a form that is not restored.
    pub(crate) has_acl: bool,
    pub(crate) kind: TarKind,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TarKind {
    /// A regular file.
    File {
        /// Its length, holes included.
        size: u64,
        /// Whether it has holes.
        is_sparse: bool,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// Another name of this member.
    HardLink(Vec<u8>),
    /// A device, FIFO, or something that only the writer knows.
    Other,
}

/// What headers before a member say of it.
#[derive(Default)]
struct Preceding {
    pax: Option<Pax>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(input: R) -> Self {
        let extents = Vec::new().into_iter();
        let extent = Extent { offset: 0, length: 0 };
        Self { input, globals: Pax::default(), left: 0, padding: 0, extents, extent, has_ended: false }
    }

    /// Goes to the next member; what was not read of this one is passed over. None after the last one, when the input
    /// was read to its end.
    pub(crate) fn next(&mut self) -> Result<Option<TarMember>> {
        if self.has_ended {
            return Ok(None);
        }
        self.pass_over()?;
        let mut before = Preceding::default();
        loop {
            let Some(header) = self.header()? else {
                if before.pax.is_some() || before.path.is_some() || before.link.is_some() {
                    return Err(damaged("its last header describes no member"));
                }
                // What follows the end mark is read as well: the checksum of the last frame comes after it.
                io::copy(&mut self.input, &mut io::sink()).map_err(broken)?;
                self.has_ended = true;
                return Ok(None);
            };
            match header.as_old().linkflag[0] {
                b'x' | b'X' => {
                    let mut pax = self.globals.clone();
                    pax.read(&self.extension(&header, MAX_PAX_BYTES)?)?;
                    before.pax = Some(pax);
                }
                b'g' => {
                    let records = self.extension(&header, MAX_PAX_BYTES)?;
                    self.globals.read(&records)?;
                    self.globals.keep_what_all_may_share();
                }
                b'L' => before.path = Some(self.long_name(&header)?),
                b'K' => before.link = Some(self.long_name(&header)?),
                // The name of the archive.
                b'V' => {
                    self.begin(number(&header.as_old().size)?);
                    self.pass_over()?;
                }
                _ => return self.member(&header, before).map(Some),
            }
        }
    }

    /// Reads on in the content of the member: how many bytes of `buffer` were filled, and where in the file they
    /// belong. None at the end.
    pub(crate) fn content(&mut self, buffer: &mut [u8]) -> Result<Option<(u64, usize)>> {
        while self.extent.length == 0 {
            match self.extents.next() {
                Some(extent) => self.extent = extent,
                None => return Ok(None),
            }
        }
        let wanted = usize::try_from(self.extent.length).map_or(buffer.len(), |length| length.min(buffer.len()));
        let length = loop {
            match self.input.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(damaged("it ends within a member")),
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        };
        let offset = self.extent.offset;
        self.extent.offset += length as u64;
        self.extent.length -= length as u64;
        self.left -= length as u64;
        Ok(Some((offset, length)))
    }

    fn member(&mut self, header: &Header, before: Preceding) -> Result<TarMember> {
        let Preceding { pax, path, link } = before;
        let Pax { path: pax_path, link: pax_link, size, mtime, uid, gid, xattrs, has_acl, sparse } =
            pax.unwrap_or_else(|| self.globals.clone());
        let old = header.as_old();
        let path = sparse.name.clone().or(pax_path).or(path).unwrap_or_else(|| header.path_bytes().into_owned());
        let bad = |reason| Err(Error::BadMember { path: path[..path.len().min(200)].to_vec(), reason });
        let (mtime_seconds, mtime_nanos) = match mtime {
            Some(time) => time,
            None => (signed_number(&old.mtime)?, 0),
        };
        let id = |record: Option<u64>, field| {
            // The highest number means "no id" to the system.
            let id = record.map_or_else(|| number(field), Ok)?;
            u32::try_from(id)
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or_else(|| damaged("the id of an owner is too large"))
        };
        let meta = Metadata {
            mode: u16::try_from(number(&old.mode)? & 0o7777).map_err(|_| damaged("a mode is too large"))?,
            mtime_seconds,
            mtime_nanos,
            uid: id(uid, &old.uid)?,
            gid: id(gid, &old.gid)?,
        };
        let stored_bytes = || size.map_or_else(|| number(&old.size), Ok);
        let link = || {
            let link = pax_link.or(link);
            link.unwrap_or_else(|| header.link_name_bytes().map_or_else(Vec::new, |link| link.into_owned()))
        };
        let kind = match old.linkflag[0] {
            // Links, devices and directories have no content, whatever their size says: some writers put there the
            // size of what a link leads to.
            b'1' => TarKind::HardLink(link()),
            b'2' => TarKind::Symlink(link()),
            b'3' | b'4' | b'6' => TarKind::Other,
            b'5' => TarKind::Directory,
            // Preceding there was a type for directories, a slash told them apart.
            b'0' | b'\0' if path.ends_with(b"/") => {
                self.begin(stored_bytes()?);
                TarKind::Directory
            }
            b'0' | b'\0' | b'7' | b'S' => {
                self.begin(stored_bytes()?);
                self.file(header, &sparse).map_err(|error| match error {
                    Error::BadMember { reason, .. } => Error::BadMember { path: path.clone(), reason },
                    other => other,
                })?
            }
            b'M' => return bad("begins in another volume of its archive"),
            // With a list of names, which an incremental restore would need.
            b'D' => {
                self.begin(stored_bytes()?);
                TarKind::Directory
            }
            _ => {
                self.begin(stored_bytes()?);
                TarKind::Other
            }
        };
        if !matches!(kind, TarKind::File { .. }) {
            self.extents = Vec::new().into_iter();
            self.extent = Extent { offset: 0, length: 0 };
        }
        Ok(TarMember { path, meta, xattrs: xattrs.into_xattrs(), has_acl, kind })
    }

    /// The shape of a file whose bytes come next.
    fn file(&mut self, header: &Header, records: &sparse::Records) -> Result<TarKind> {
        let stored_bytes = self.left;
        let found = match header.as_old().linkflag[0] {
            b'S' => Some(self.old_sparse(header)?),
            _ => match records.format()? {
                sparse::Format::None => None,
                sparse::Format::InRecords { size, extents } => Some((size, extents)),
                sparse::Format::InContent { size } => Some((size, sparse::read_map(|| self.content_block())?)),
            },
        };
        let (size, is_sparse) = match found {
            None => {
                self.extent = Extent { offset: 0, length: stored_bytes };
                (stored_bytes, false)
            }
            Some((size, extents)) => {
                sparse::check(&extents, size, self.left)?;
                self.extents = extents.into_iter();
                self.extent = Extent { offset: 0, length: 0 };
                (size, true)
            }
        };
        Ok(TarKind::File { size, is_sparse })
    }

    /// The map in a header of type `S`, and in those that continue it.
    fn old_sparse(&mut self, header: &Header) -> Result<(u64, Vec<Extent>)> {
        let Some(gnu) = header.as_gnu() else {
            return Err(sparse::bad("is sparse in an unknown format"));
        };
        let mut map = sparse::OldMap::default();
        for field in &gnu.sparse {
            map.push(&field.offset, &field.numbytes)?;
        }
        let mut is_extended = gnu.isextended[0] != 0;
        while is_extended {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            is_extended = map.push_block(&block)?;
        }
        Ok((number(&gnu.realsize)?, map.finish()))
    }

    /// The next block of the member's content.
    fn content_block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.left = self.left.checked_sub(BLOCK as u64).ok_or_else(|| sparse::bad("has an incomplete sparse map"))?;
        self.fill(&mut block)?;
        Ok(block)
    }

    /// From here on come so many bytes, and what fills their last block.
    fn begin(&mut self, bytes: u64) {
        self.left = bytes;
        self.padding = bytes.wrapping_neg() % BLOCK as u64;
        self.extents = Vec::new().into_iter();
        self.extent = Extent { offset: 0, length: 0 };
    }

    fn pass_over(&mut self) -> Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let passed = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink()).map_err(broken)?;
        self.begin(0);
        if passed == rest { Ok(()) } else { Err(damaged("it ends within a member")) }
    }

    /// The next header, its checksum verified. None at the end mark.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        self.fill(header.as_mut_bytes())?;
        if header.as_bytes() == &[0; BLOCK] {
            self.fill(header.as_mut_bytes())?;
            return match header.as_bytes() == &[0; BLOCK] {
                true => Ok(None),
                false => Err(damaged("an empty block stands where a header should")),
            };
        }
        let old = header.as_old();
        let field: u32 = old.cksum.iter().map(|&byte| u32::from(byte)).sum();
        let blanks = u32::from(b' ') * 8;
        let unsigned = header.as_bytes().iter().map(|&byte| u32::from(byte)).sum::<u32>() - field + blanks;
        // Writers whose characters had a sign summed them so.
        let negatives =
            header.as_bytes().iter().zip(0..).filter(|(byte, at)| **byte >= 128 && !(148..156).contains(at));
        let signed = i64::from(unsigned) - 256 * i64::try_from(negatives.count()).unwrap_or(0);
        match signed_number(&old.cksum) {
            Ok(sum) if sum == i64::from(unsigned) || sum == signed => Ok(Some(header)),
            _ => Err(damaged("a header has a wrong checksum")),
        }
    }

    /// The content of a header that extends another.
    fn extension(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>> {
        let size = number(&header.as_old().size)?;
        let length = usize::try_from(size).ok().filter(|_| size <= limit);
        let length = length.ok_or(Error::Limit { what: "an extended header", found: size, limit })?;
        self.begin(size);
        let mut content = vec![0; length];
        self.fill(&mut content)?;
        self.left = 0;
        self.pass_over()?;
        Ok(content)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.extension(header, MAX_LONG_NAME_BYTES)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it ends before its end mark"),
            _ => broken(error),
        })
    }
}

fn broken(error: io::Error) -> Error {
    Error::damaged(PART, error.to_string())
}
