//! From the members of a tar stream to files: each is complete before it gets its name, and all are taken back on
//! failure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

use crate::archive;
use crate::archive::index::{Content, MAX_PATH_BYTES, Member, check_path, file_name, parent};
use crate::paths::PathList;
use crate::restore::clean::{Remover, below, names};
use crate::restore::compare::write_at;
use crate::restore::imperfections::Imperfections;
use crate::restore::roots::full_path;
use crate::restore::tar_stream::{Entry, Kind, TarStream};
use crate::restore::walker::Walker;
use crate::restore::write::{set_attributes, times};
use crate::restore::{Error, Options, OtherPaths, Restored};

/// What is written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes members below a root.
pub(super) struct Extractor<'a> {
    walker: Walker,
    base: &'a Path,
    paths: &'a PathList,
    options: &'a Options,
    /// What was made where nothing was, in order.
    created: Vec<(Box<[u8]>, Made)>,
    /// The files and links of this archive: a later member may replace them, and hard links may lead to them.
    written: HashSet<Box<[u8]>>,
    /// Modes and times of directories, which are set last.
    directories: BTreeMap<Box<[u8]>, Member>,
    /// Directories that were there and let nobody write, with the modes that they had.
    opened_up: Vec<(Box<[u8]>, u32)>,
    replaced: u64,
    /// What every member is called until it is complete, and the directory that has one now.
    temporary: Vec<u8>,
    temporary_in: Option<Option<Box<[u8]>>>,
    buffer: Vec<u8>,
    restored: Restored,
    imperfections: Imperfections,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Directory,
    /// A file or link.
    File,
}

impl<'a> Extractor<'a> {
    /// `root` is the directory that the one line of `paths` names.
    pub(super) fn new(root: Arc<OwnedFd>, paths: &'a PathList, options: &'a Options) -> Self {
        Self {
            walker: Walker::new(root),
            base: &paths.roots()[0].base,
            paths,
            options,
            created: Vec::new(),
            written: HashSet::new(),
            directories: BTreeMap::new(),
            opened_up: Vec::new(),
            replaced: 0,
            temporary: format!(".xcache-{:016x}", options.run).into_bytes(),
            temporary_in: None,
            buffer: vec![0; BUFFER_BYTES],
            restored: Restored::default(),
            imperfections: Imperfections::default(),
        }
    }

    /// Writes all members. Modes and times of directories are left to [`Extractor::finish_directories`].
    pub(super) fn extract<R: Read>(&mut self, mut stream: TarStream<R>) -> Result<(), Error> {
        while let Some(Entry { path, meta, xattrs, kind }) = stream.next()? {
            let path = relative(&path);
            if !path.is_empty() {
                check_path(&path)?;
                OtherPaths::check_member(self.paths, 0, &path, matches!(kind, Kind::Directory))?;
            }
            let member = Member { path: path.into(), meta, xattrs, content: Content::Directory };
            match kind {
                Kind::Directory => self.directory(member)?,
                Kind::Other => {
                    let path = full_path(self.base, &member.path);
                    self.imperfections.add("restore", path, "it is no file, directory or link");
                }
                _ if member.path.is_empty() => return Err(bad(b".", "is the root, and no directory")),
                Kind::File { size, is_sparse } => self.file(&mut stream, &member, size, is_sparse)?,
                Kind::Symlink(target) => self.symlink(&member, &target)?,
                Kind::HardLink(target) => self.hard_link(&member, &target)?,
            }
        }
        Ok(())
    }

    /// Removes everything below the root that is neither a member nor above one.
    pub(super) fn clean(&mut self) {
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
        let (paths, base, imperfections) = (self.paths, self.base, &mut self.imperfections);
        let mut remover = Remover { paths, root: 0, base, imperfections };
        for directory in directories {
            let listed = self.walker.enter((!directory.is_empty()).then_some(directory));
            let (at, names) = match listed.and_then(|at| Ok((at, names(at)?))) {
                Ok(listed) => listed,
                Err(error) => {
                    remover.failed("clean", directory, error);
                    continue;
                }
            };
            for name in names {
                let path = below(directory, &name);
                if !kept.contains(&path[..]) && remover.remove(at, &name, &path) {
                    self.restored.removed += 1;
                }
            }
        }
    }

    /// Sets modes and times of directories, what lies in them before themselves.
    pub(super) fn finish_directories(&mut self) {
        for (path, member) in std::mem::take(&mut self.directories).into_iter().rev() {
            let path = (!path.is_empty()).then_some(&path[..]);
            let set = self
                .walker
                .enter(path)
                .and_then(|at| set_attributes(&at.try_clone_to_owned()?, &member, self.options, false));
            let place = || full_path(self.base, &member.path);
            match set {
                Ok(unset) => self.imperfections.extend(unset, place),
                Err(error) => self.imperfections.add("set the mode and time of", place(), error),
            }
        }
    }

    pub(super) fn into_restored(self) -> Restored {
        Restored { imperfections: self.imperfections.notices(), ..self.restored }
    }

    /// Removes everything that was made where nothing was. Gives the number of files that are the new ones now.
    pub(super) fn roll_back(mut self) -> u64 {
        if let Some(directory) = self.temporary_in.take()
            && let Ok(at) = self.walker.enter(directory.as_deref())
        {
            let _ = rustix::fs::unlinkat(at, &self.temporary[..], AtFlags::empty());
        }
        for (path, made) in self.created.iter().rev() {
            let Ok(at) = self.walker.enter(parent(path)) else { continue };
            let flags = if *made == Made::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let _ = rustix::fs::unlinkat(at, file_name(path), flags);
        }
        for (path, mode) in self.opened_up.iter().rev() {
            let Ok(at) = self.walker.enter(parent(path)) else { continue };
            let mode = Mode::from_raw_mode(*mode);
            let _ = match path.is_empty() {
                true => rustix::fs::fchmod(at, mode),
                false => rustix::fs::chmodat(at, file_name(path), mode, AtFlags::empty()),
            };
        }
        self.replaced
    }

    fn directory(&mut self, member: Member) -> Result<(), Error> {
        let path = member.path.clone();
        if path.is_empty() {
            self.open_root().map_err(|source| self.error(&path, source))?;
        } else {
            self.make_parents(&path)?;
            self.make_directory(&path, Use::Member).map_err(|source| self.error(&path, source))?;
        }
        self.directories.insert(path, member);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        stream: &mut TarStream<R>,
        member: &Member,
        size: u64,
        is_sparse: bool,
    ) -> Result<(), Error> {
        self.make_parents(&member.path)?;
        let path = &member.path[..];
        let open = self.make_temporary(path, |at, name| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)?)
        });
        let open = open.map_err(|source| self.error(path, source))?;
        while let Some((offset, length)) = stream.content(&mut self.buffer)? {
            write_at(&open, &self.buffer[..length], offset).map_err(|source| self.error(path, source))?;
        }
        self.complete(&open, member, is_sparse.then_some(size)).map_err(|source| self.error(path, source))?;
        self.restored.files += 1;
        self.restored.bytes += size;
        Ok(())
    }

    /// The last byte of a file is in. One with holes gets its length, as it may end in one.
    fn complete(&mut self, open: &OwnedFd, member: &Member, sparse_size: Option<u64>) -> io::Result<()> {
        if let Some(size) = sparse_size {
            rustix::fs::ftruncate(open, size)?;
        }
        let unset = set_attributes(open, member, self.options, false)?;
        self.imperfections.extend(unset, || full_path(self.base, &member.path));
        self.publish(&member.path)
    }

    fn symlink(&mut self, member: &Member, target: &[u8]) -> Result<(), Error> {
        let path = &member.path[..];
        if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains(&0) {
            return Err(bad(path, "is a link without a usable target"));
        }
        self.make_parents(path)?;
        let owner = self.options.same_owner.then(|| (Uid::from_raw(member.meta.uid), Gid::from_raw(member.meta.gid)));
        let made = self.make_temporary(path, |at, name| {
            rustix::fs::symlinkat(target, at, name)?;
            if let Some((uid, gid)) = owner {
                // Where it is not permitted, files have said so already.
                let _ = rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
            }
            Ok(rustix::fs::utimensat(at, name, &times(&member.meta), AtFlags::SYMLINK_NOFOLLOW)?)
        });
        made.and_then(|()| self.publish(path)).map_err(|source| self.error(path, source))
    }

    /// Another name of a file or symbolic link that came before.
    fn hard_link(&mut self, member: &Member, target: &[u8]) -> Result<(), Error> {
        let path = &member.path[..];
        let target = relative(target);
        if !self.written.contains(&target[..]) {
            return Err(bad(path, "is a hard link to something that is no earlier file"));
        }
        if target == path {
            return Ok(());
        }
        self.make_parents(path)?;
        let from = self.walker.enter(parent(&target)).and_then(|at| at.try_clone_to_owned());
        let from = from.map_err(|source| self.error(path, source))?;
        let made = self.make_temporary(path, |at, name| {
            Ok(rustix::fs::linkat(&from, file_name(&target), at, name, AtFlags::empty())?)
        });
        made.and_then(|()| self.publish(path)).map_err(|source| self.error(path, source))?;
        self.restored.files += 1;
        Ok(())
    }

    /// Makes the directories above a member, which need not be members themselves.
    fn make_parents(&mut self, path: &[u8]) -> Result<(), Error> {
        let Some(above) = parent(path) else { return Ok(()) };
        if self.walker.enter(Some(above)).is_ok() {
            return Ok(());
        }
        let ends = above.iter().zip(0..).filter(|(byte, _)| **byte == b'/').map(|(_, at)| at).chain([above.len()]);
        for end in ends {
            let directory = &above[..end];
            if self.written.contains(directory) {
                return Err(bad(path, "lies below something that is no directory"));
            }
            self.make_directory(directory, Use::Above).map_err(|source| self.error(directory, source))?;
        }
        Ok(())
    }

    /// Lets us write into the root, which is a member: its mode is set at the end.
    fn open_root(&mut self) -> io::Result<()> {
        let root = self.walker.enter(None)?;
        let mode = rustix::fs::fstat(root)?.st_mode & 0o7777;
        if mode & 0o300 != 0o300 {
            rustix::fs::fchmod(root, Mode::from_raw_mode(mode | 0o700))?;
            self.opened_up.push((Box::default(), mode));
        }
        Ok(())
    }

    /// Makes a directory whose parent is there.
    fn make_directory(&mut self, path: &[u8], of: Use) -> io::Result<()> {
        let (at, name) = (self.walker.enter(parent(path))?, file_name(path));
        let make = || rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755));
        match make() {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode).is_dir() {
                    if of == Use::Member && stat.st_mode & 0o700 != 0o700 {
                        // Ours to write into; its mode is set at the end.
                        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700);
                        rustix::fs::chmodat(at, name, mode, AtFlags::empty())?;
                        self.opened_up.push((path.into(), stat.st_mode & 0o7777));
                    }
                    return Ok(());
                }
                if !self.written.remove(path) {
                    return Err(io::Error::new(io::ErrorKind::NotADirectory, "something else is there"));
                }
                // An earlier member of the same name.
                rustix::fs::unlinkat(at, name, AtFlags::empty())?;
                make()?;
            }
            Err(error) => return Err(error.into()),
        }
        self.created.push((path.into(), Made::Directory));
        Ok(())
    }

    /// Makes what will be `path` under a temporary name beside it, whose directory is there.
    fn make_temporary<T>(
        &mut self,
        path: &[u8],
        make: impl FnOnce(BorrowedFd<'_>, &[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let at = self.walker.enter(parent(path))?;
        self.temporary_in = Some(parent(path).map(Box::from));
        make(at, &self.temporary)
    }

    /// Gives what was made its name, in place of what had it.
    fn publish(&mut self, path: &[u8]) -> io::Result<()> {
        let (at, name) = (self.walker.enter(parent(path))?, file_name(path));
        let existed = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        rustix::fs::renameat(at, &self.temporary[..], at, name)?;
        if existed {
            // Renaming onto another name of the same file does nothing, and leaves both.
            let _ = rustix::fs::unlinkat(at, &self.temporary[..], AtFlags::empty());
        }
        self.temporary_in = None;
        if self.written.insert(path.into()) {
            match existed {
                true => self.replaced += 1,
                false => self.created.push((path.into(), Made::File)),
            }
        }
        Ok(())
    }

    fn error(&self, path: &[u8], source: io::Error) -> Error {
        write_error(self.base, path, source)
    }
}

fn write_error(base: &Path, path: &[u8], source: io::Error) -> Error {
    Error::Write { path: full_path(base, path), source }
}

/// What a directory is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is a member: it gets that member's mode and times.
    Member,
    /// Something lies in it.
    Above,
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
