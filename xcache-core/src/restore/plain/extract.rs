//! From the members of a tar stream to files.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use crate::archive;
use crate::archive::index::{Content, MAX_PATH_BYTES, Member, check_path, parent};
use crate::archive::tar::read::{TarKind, TarMember, TarStream};
use crate::restore::destination::attributes;
use crate::restore::disk::{Committed, Cursor, Linked, Notices, Place, Target, is_file, read_full, write_at};
use crate::restore::error::Error;
use crate::restore::options::Restored;
use crate::restore::roots::OtherPaths;

/// What is written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes members below the one root of a target.
pub(super) struct Extractor<'a> {
    cursor: Cursor<'a>,
    /// Moves among the files that hard links lead to.
    first_cursor: Cursor<'a>,
    target: &'a Target<'a>,
    members: Extracted,
    buffer: Vec<u8>,
}

/// What was extracted.
#[derive(Debug, Default)]
pub(super) struct Extracted {
    /// The files and links of this archive: a later member may replace them, and hard links may lead to them.
    written: HashSet<Box<[u8]>>,
    /// Modes and times of directories, which are set last.
    directories: BTreeMap<Box<[u8]>, Member>,
    files: u64,
    bytes: u64,
}

impl<'a> Extractor<'a> {
    pub(super) fn new(target: &'a Target<'a>) -> Self {
        Self {
            cursor: target.cursor(),
            first_cursor: target.cursor(),
            target,
            members: Extracted::default(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// Writes all members. Modes and times of directories are left to [`Extracted::complete`].
    pub(super) fn extract<R: Read>(&mut self, mut stream: TarStream<R>) -> Result<(), Error> {
        while let Some(TarMember { path, meta, xattrs, has_acl, kind }) = stream.next()? {
            let path = relative(&path);
            if !path.is_empty() {
                check_path(&path)?;
                OtherPaths::check_member(self.target.paths(), 0, &path, matches!(kind, TarKind::Directory))?;
            }
            let member = Member { path: path.into(), meta, xattrs, content: Content::Directory };
            if has_acl {
                let path = self.target.full_path(place(&member.path));
                self.cursor.notices.add("restore the access control list of", path, "it is stored as text");
            }
            match kind {
                TarKind::Directory => self.directory(member)?,
                TarKind::Other => {
                    let path = self.target.full_path(place(&member.path));
                    self.cursor.notices.add("restore", path, "it is no file, directory or link");
                }
                _ if member.path.is_empty() => return Err(bad(b".", "is the root, and no directory")),
                TarKind::File { size, is_sparse } => self.file(&mut stream, &member, size, is_sparse)?,
                TarKind::Symlink(target) => self.symlink(&member, &target)?,
                TarKind::HardLink(target) => self.hard_link(&member, &target)?,
            }
        }
        Ok(())
    }

    /// All members are there.
    pub(super) fn finish(mut self, notices: &mut Notices) -> Extracted {
        notices.append(std::mem::take(&mut self.cursor.notices));
        self.members
    }

    fn directory(&mut self, member: Member) -> Result<(), Error> {
        let path = member.path.clone();
        self.make_above(&path)?;
        self.cursor.make_directory(place(&path), 0o755).map_err(|source| self.error(&path, source))?;
        // An earlier member of the same name, if there was one, is no file any more.
        self.members.written.remove(&path);
        self.members.directories.insert(path, member);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        stream: &mut TarStream<R>,
        member: &Member,
        size: u64,
        is_sparse: bool,
    ) -> Result<(), Error> {
        let path = &member.path[..];
        self.make_above(path)?;
        let temporary = self.cursor.begin(place(path));
        let open = match self.cursor.open_temporary(place(path), &temporary) {
            Ok(open) => open,
            // Where no file can be made, one that is there may be the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_sparse => {
                return self.kept_file(stream, path, size, error);
            }
            Err(source) => return Err(self.error(path, source)),
        };
        self.content(stream, path, &open)?;
        // One with holes gets its length, as it may end in one.
        let done =
            self.cursor.finish_file(place(path), &temporary, &open, is_sparse.then_some(size), &attributes(member));
        done.map_err(|source| self.error(path, source))?;
        self.members.add_file(path);
        self.members.bytes += size;
        Ok(())
    }

    /// A file that cannot be written: if it is there with the same content, that is all that was asked for.
    fn kept_file<R: Read>(
        &mut self,
        stream: &mut TarStream<R>,
        path: &[u8],
        size: u64,
        denied: io::Error,
    ) -> Result<(), Error> {
        let found = self.cursor.look(place(path)).ok().flatten();
        let has_size = found.is_some_and(|found| is_file(&found) && u64::try_from(found.st_size) == Ok(size));
        let old = self.cursor.open(place(path)).ok().filter(|_| has_size);
        let Some(old) = old else { return Err(self.error(path, denied)) };
        let mut there = vec![0; self.buffer.len()];
        while let Some((offset, length)) = stream.content(&mut self.buffer)? {
            let read = read_full(&old, &mut there[..length], offset).map_err(|source| self.error(path, source))?;
            if there[..read] != self.buffer[..length] {
                return Err(self.error(path, denied));
            }
        }
        self.cursor.notices.add("set the mode and time of", self.target.full_path(place(path)), denied);
        self.members.add_file(path);
        self.members.bytes += size;
        Ok(())
    }

    fn content<R: Read>(&mut self, stream: &mut TarStream<R>, path: &[u8], open: &OwnedFd) -> Result<(), Error> {
        while let Some((offset, length)) = stream.content(&mut self.buffer)? {
            write_at(open, &self.buffer[..length], offset).map_err(|source| self.error(path, source))?;
        }
        Ok(())
    }

    fn symlink(&mut self, member: &Member, target: &[u8]) -> Result<(), Error> {
        let path = &member.path[..];
        if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains(&0) {
            return Err(bad(path, "is a link without a usable target"));
        }
        self.make_above(path)?;
        let made = self.cursor.make_link(place(path), target, &attributes(member));
        made.map_err(|source| self.error(path, source))?;
        self.members.directories.remove(path);
        self.members.written.insert(path.into());
        Ok(())
    }

    /// Another name of a file or symbolic link that came before.
    fn hard_link(&mut self, member: &Member, target: &[u8]) -> Result<(), Error> {
        let path = &member.path[..];
        let target = relative(target);
        if !self.members.written.contains(&target[..]) {
            return Err(bad(path, "is a hard link to something that is no earlier file"));
        }
        if target == path {
            return Ok(());
        }
        self.make_above(path)?;
        let made = self.cursor.link(place(path), place(&target), &mut self.first_cursor).and_then(|made| match made {
            Linked::Made | Linked::WasThere => Ok(()),
            Linked::Impossible(error) => Err(error),
        });
        made.map_err(|source| self.error(path, source))?;
        self.members.add_file(path);
        Ok(())
    }

    /// Makes the directories above a member, which need not be members themselves.
    fn make_above(&mut self, path: &[u8]) -> Result<(), Error> {
        let Some(above) = parent(path) else { return Ok(()) };
        if self.cursor.is_directory(place(above)) {
            return Ok(());
        }
        let ends = above.iter().zip(0..).filter(|(byte, _)| **byte == b'/').map(|(_, at)| at).chain([above.len()]);
        for end in ends {
            let directory = &above[..end];
            if self.members.written.contains(directory) {
                return Err(bad(path, "lies below something that is no directory"));
            }
            if !self.cursor.is_directory(place(directory)) {
                let made = self.cursor.make_directory(place(directory), 0o755);
                made.map_err(|source| self.error(directory, source))?;
            }
        }
        Ok(())
    }

    fn error(&self, path: &[u8], source: io::Error) -> Error {
        Error::Write { path: self.target.full_path(place(path)), source }
    }
}

impl Extracted {
    /// Removes what is no member, if that is asked for, and sets modes and times of directories.
    pub(super) fn complete(mut self, target: &Target<'_>, committed: &Committed, notices: &mut Notices) -> Restored {
        let mut cursor = target.cursor();
        let removed_files = if target.policy().clean { self.clean(&mut cursor) } else { 0 };
        // What lies in a directory comes before the directory itself.
        for (path, member) in std::mem::take(&mut self.directories).into_iter().rev() {
            cursor.finish_directory(place(&path), &attributes(&member), committed);
        }
        notices.append(std::mem::take(&mut cursor.notices));
        Restored { files: self.files, bytes: self.bytes, removed_files, ..Restored::default() }
    }

    /// Removes everything below the root that is neither a member nor above one. Gives how many files went.
    fn clean(&self, cursor: &mut Cursor<'_>) -> u64 {
        let mut kept: BTreeSet<&[u8]> =
            self.written.iter().chain(self.directories.keys()).map(|path| &path[..]).collect();
        let mut directories: BTreeSet<&[u8]> = self.directories.keys().map(|path| &path[..]).collect();
        directories.insert(b"");
        for mut path in kept.clone() {
            while let Some(above) = parent(path) {
                kept.insert(above);
                directories.insert(above);
                path = above;
            }
        }
        let clean = |directory| cursor.clean_directory(place(directory), |path| kept.contains(path));
        directories.into_iter().map(clean).sum()
    }

    fn add_file(&mut self, path: &[u8]) {
        self.directories.remove(path);
        self.written.insert(path.into());
        self.files += 1;
    }
}

fn place(path: &[u8]) -> Place<'_> {
    Place { root: 0, path }
}

fn bad(path: &[u8], reason: &'static str) -> Error {
    archive::Error::BadMember { path: path.into(), reason }.into()
}

/// The path of a member below the root, without what means nothing. What leads outside is left for the check.
fn relative(raw: &[u8]) -> Vec<u8> {
    if raw.starts_with(b"/") {
        return raw.to_vec();
    }
    let names = raw.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.collect::<Vec<_>>().join(&b'/')
}
