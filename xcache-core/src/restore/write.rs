//! One worker: verifies the pieces of frames and writes them where they belong.
//!
//! A file that lies in one frame is made with one create and one write. Others grow under a temporary name, written
//! by position from whichever frame comes, and get their name when the last piece is in.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use super::clean::names;
use super::compare::{Have, write_at};
use super::finish::make_missing;
use super::imperfections::{Imperfections, Undone};
use super::journal::Journal;
use super::run::{Piece, Plan};
use super::umask::umask;
use super::walker::{Walker, open_directory};
use super::{Error, Options, Roots};
use crate::archive::frame::Decoder;
use crate::archive::index::{Content, File, Index, Member, Metadata, file_name, parent};
use crate::archive::{self};
use crate::chunk::ChunkHash;
use crate::paths::PathList;
use crate::scan::Signature;

/// What a worker works with.
pub(super) struct Shared<'a> {
    pub(super) index: &'a Index,
    pub(super) roots: &'a Roots,
    pub(super) paths: &'a PathList,
    pub(super) plan: &'a Plan,
    pub(super) journal: &'a Journal,
    pub(super) options: &'a Options,
}

/// Why a frame was not written.
pub(super) enum FrameError {
    /// Its bytes are not what the index says. Nothing of it was written.
    Damaged(archive::Error),
    /// The disk said no.
    Fatal(Error),
}

pub(super) struct Writer<'a> {
    shared: &'a Shared<'a>,
    decoder: Decoder,
    raw: Vec<u8>,
    walker: Option<(usize, Walker)>,
    /// What the files written are now.
    pub(super) signatures: Vec<(u32, Signature)>,
    /// What could not be set.
    pub(super) imperfections: Imperfections,
}

impl<'a> Writer<'a> {
    pub(super) fn new(shared: &'a Shared<'a>) -> io::Result<Self> {
        let decoder = Decoder::new()?;
        Ok(Self {
            shared,
            decoder,
            raw: Vec::new(),
            walker: None,
            signatures: Vec::new(),
            imperfections: Imperfections::default(),
        })
    }

    /// Writes what frame `number`, as it came from the store, holds of missing files.
    pub(super) fn frame(&mut self, number: u32, stored: &[u8]) -> Result<(), FrameError> {
        let Shared { index, plan, .. } = *self.shared;
        let pieces = plan.pieces_of(number);
        let mut raw = std::mem::take(&mut self.raw);
        let raw_bytes = index.frames[number as usize].raw_bytes;
        self.decoder.decode(stored, raw_bytes, &mut raw).map_err(FrameError::Damaged)?;
        // First all is verified, then anything is written: a damaged frame is asked for again.
        for piece in pieces {
            if ChunkHash::of(self.bytes(&raw, piece)) != index.chunks[piece.chunk as usize].hash {
                return Err(FrameError::Damaged(archive::Error::damaged("frame", "the hash of a chunk is wrong")));
            }
        }
        for pieces in pieces.chunk_by(|a, b| a.member == b.member) {
            let member = pieces[0].member;
            let result = match plan.remaining(member) {
                None => self.whole(member, pieces, &raw),
                Some(_) => self.pieces(member, pieces, &raw),
            };
            result.map_err(|source| FrameError::Fatal(self.error(member, source)))?;
        }
        self.raw = raw;
        Ok(())
    }

    pub(super) fn error(&self, member: u32, source: io::Error) -> Error {
        Error::Write { path: self.shared.roots.full_path(self.shared.index, member), source }
    }

    fn bytes<'r>(&self, raw: &'r [u8], piece: &Piece) -> &'r [u8] {
        let chunk = &self.shared.index.chunks[piece.chunk as usize];
        let start = chunk.offset as usize;
        &raw[start..start + chunk.length as usize]
    }

    /// Goes to the directory of a member; returns its name there.
    fn enter(&mut self, member: u32) -> io::Result<(BorrowedFd<'_>, Vec<u8>)> {
        let Shared { index, roots, .. } = *self.shared;
        let (path, root) = roots.place(index, member).ok_or(io::ErrorKind::NotFound)?;
        if self.walker.as_ref().is_none_or(|(of, _)| *of != root) {
            let directory = roots.directory(root).ok_or(io::ErrorKind::NotFound)?;
            self.walker = Some((root, Walker::new(directory)));
        }
        let (_, walker) = self.walker.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if let Some(above) = parent(&path)
            && roots.is_fresh(root)
        {
            make_missing(self.shared, root, above, walker)?;
        }
        Ok((walker.enter(parent(&path))?, file_name(&path).to_vec()))
    }

    /// A file that lies in one frame, or has no data at all.
    pub(super) fn whole(&mut self, number: u32, pieces: &[Piece], raw: &[u8]) -> io::Result<()> {
        let shared = self.shared;
        let Shared { index, plan, journal, options, .. } = *shared;
        let member = &index.members[number as usize];
        let Content::File(file) = &member.content else { return Ok(()) };
        let mut contents: Vec<&[u8]> = Vec::with_capacity(pieces.len());
        contents.extend(pieces.iter().map(|piece| self.bytes(raw, piece)));
        let (at, name) = self.enter(number)?;
        let is_new = plan.have(number) == &Have::Missing;
        let open = match is_new {
            true => create(at, &name, member),
            false => journal.open_temporary(at, number).map(Created::Temporary),
        };
        let open = match open {
            // Whatever came in between: it is replaced, as tar would.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                make_room(shared, at, number, &name)?;
                Created::Temporary(journal.open_temporary(at, number)?)
            }
            other => other?,
        };
        if let Created::Final(_) = &open {
            journal.created(number);
        }
        let descriptor = open.descriptor();
        match (&file.extents, &contents[..]) {
            (None, []) => {}
            (None, [content]) => write_at(descriptor, content, 0)?,
            _ => {
                let mut start = 0;
                for content in contents {
                    write_placed(descriptor, file, start, content)?;
                    start += content.len() as u64;
                }
            }
        }
        if file.extents.is_some() {
            rustix::fs::ftruncate(descriptor, file.size)?;
        }
        let had_mode =
            matches!(open, Created::Final(_)) && member.xattrs.is_empty() && u32::from(member.meta.mode) & umask() == 0;
        let unset = set_attributes(descriptor, member, options, had_mode)?;
        if let Created::Temporary(_) = &open {
            publish(shared, at, number, &name)?;
        }
        let signature = Signature::of(&rustix::fs::fstat(descriptor)?);
        self.signatures.push((number, signature));
        self.unset(number, unset);
        Ok(())
    }

    fn unset(&mut self, number: u32, unset: Vec<Undone>) {
        let Shared { index, roots, .. } = *self.shared;
        self.imperfections.extend(unset, || roots.full_path(index, number));
    }

    /// Pieces of a file that lies in several frames.
    fn pieces(&mut self, number: u32, pieces: &[Piece], raw: &[u8]) -> io::Result<()> {
        let Shared { index, plan, journal, .. } = *self.shared;
        let Content::File(file) = &index.members[number as usize].content else { return Ok(()) };
        let contents: Vec<&[u8]> = pieces.iter().map(|piece| self.bytes(raw, piece)).collect();
        let (at, _) = self.enter(number)?;
        let open = journal.open_temporary(at, number)?;
        for (piece, content) in pieces.iter().zip(contents) {
            write_placed(&open, file, piece.start, content)?;
        }
        let done = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        let is_complete = plan
            .remaining(number)
            .is_some_and(|left| left.fetch_sub(done, std::sync::atomic::Ordering::AcqRel) == done);
        if is_complete { self.complete(number, &open) } else { Ok(()) }
    }

    /// The last piece is in.
    pub(super) fn complete(&mut self, number: u32, open: &OwnedFd) -> io::Result<()> {
        let shared = self.shared;
        let Shared { index, options, .. } = *shared;
        let member = &index.members[number as usize];
        let Content::File(file) = &member.content else { return Ok(()) };
        rustix::fs::ftruncate(open, file.size)?;
        let unset = set_attributes(open, member, options, false)?;
        let (at, name) = self.enter(number)?;
        publish(shared, at, number, &name)?;
        self.signatures.push((number, Signature::of(&rustix::fs::fstat(open)?)));
        self.unset(number, unset);
        Ok(())
    }

    /// Opens the temporary file of a member again.
    pub(super) fn reopen(&mut self, number: u32) -> io::Result<OwnedFd> {
        let journal = self.shared.journal;
        let (at, _) = self.enter(number)?;
        journal.open_temporary(at, number)
    }
}

enum Created {
    Final(OwnedFd),
    Temporary(OwnedFd),
}

impl Created {
    fn descriptor(&self) -> &OwnedFd {
        match self {
            Self::Final(file) | Self::Temporary(file) => file,
        }
    }
}

fn create(at: BorrowedFd<'_>, name: &[u8], member: &Member) -> io::Result<Created> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Extended attributes can be set only on a file that its owner may write.
    let mode = if member.xattrs.is_empty() { member.meta.mode & 0o777 } else { 0o600 };
    Ok(Created::Final(rustix::fs::openat(at, name, flags, Mode::from_raw_mode(mode.into()))?))
}

/// Sets aside what cannot simply be replaced by a rename: a directory.
fn make_room(shared: &Shared<'_>, at: BorrowedFd<'_>, number: u32, name: &[u8]) -> io::Result<()> {
    if is_directory(at, name) { set_aside(shared, at, number, name) } else { Ok(()) }
}

/// Sets aside what stands in the place of a file or link. What is in a directory is not in the entry, and stays unless
/// everything else is to be removed.
pub(super) fn set_aside(shared: &Shared<'_>, at: BorrowedFd<'_>, number: u32, name: &[u8]) -> io::Result<()> {
    if !shared.options.clean && is_directory(at, name) && !names(open_directory(at, name)?.as_fd())?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "a directory that is not empty is in its place"));
    }
    shared.journal.set_aside(at, number, name)
}

fn is_directory(at: BorrowedFd<'_>, name: &[u8]) -> bool {
    let stat = rustix::fs::statat(at, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Gives a finished temporary file its name.
pub(super) fn publish(shared: &Shared<'_>, at: BorrowedFd<'_>, number: u32, name: &[u8]) -> io::Result<()> {
    let journal = shared.journal;
    make_room(shared, at, number, name)?;
    // What was set aside returns on failure, so the file is a new one then.
    let existed = rustix::fs::statat(at, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
    journal.publish_temporary(at, number, name)?;
    match existed {
        true => journal.replaced(),
        false => journal.created(number),
    }
    Ok(())
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

/// Owner, mode, extended attributes and time, in the order in which none undoes another. Gives what is not set.
pub(super) fn set_attributes(
    open: &OwnedFd,
    member: &Member,
    options: &Options,
    has_mode: bool,
) -> io::Result<Vec<Undone>> {
    let meta = &member.meta;
    let mut unset = Vec::new();
    if options.same_owner
        && let Err(error) = rustix::fs::fchown(open, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
    {
        unset.push(("set the owner of", error.into()));
    }
    for (name, value) in &member.xattrs {
        if let Err(error) = rustix::fs::fsetxattr(open, &name[..], value, XattrFlags::empty()) {
            unset.push(("set an extended attribute of", error.into()));
        }
    }
    if !has_mode || options.same_owner || meta.mode > 0o777 {
        rustix::fs::fchmod(open, Mode::from_raw_mode(meta.mode.into()))?;
    }
    rustix::fs::futimens(open, &times(meta))?;
    Ok(unset)
}

/// The modification time for both times.
pub(super) fn times(meta: &Metadata) -> Timestamps {
    let time = Timespec { tv_sec: meta.mtime_seconds, tv_nsec: meta.mtime_nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
