//! Object files: their identity, their tags, and putting them in place.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::super::{ETag, ObjectMeta, ObjectName, PutMode, Tags};
use super::draft::Draft;
use super::lock::lock;
use super::path::{Missing, ObjectPath, open_chain, remove_empty};
use super::refused::Refused;
use super::tags::{remove_tags, write_tags};
use crate::convert;

/// How often directories are made anew when somebody else removes them as empty at the same time.
const DIRECTORY_ATTEMPTS: u32 = 100;

/// Size, identity and age from a file's status.
pub(super) fn meta(stat: &Stat) -> ObjectMeta {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    ObjectMeta {
        size,
        etag: ETag(format!("{size:x}-{:x}{nanos:08x}", stat.st_mtime)),
        last_modified: DateTime::from_timestamp(stat.st_mtime, nanos).unwrap_or(DateTime::<Utc>::UNIX_EPOCH),
    }
}

impl Draft {
    /// Puts the file in place under `name`, with its tags.
    pub(super) fn publish(&self, root: &Path, name: &ObjectName, mode: &PutMode, tags: &Tags) -> Result<ETag, Refused> {
        let path = match ObjectPath::new("upload", name) {
            Ok(path) => path,
            Err(_) => return Err(Refused::NotAFile),
        };
        stamp(&self.file)?;
        let etag = meta(&fs::fstat(&self.file)?).etag;
        if !tags.is_empty() {
            write_tags(root, &self.file, name, &etag, tags)?;
        }
        let placed = self.place(root, &path, mode);
        match &placed {
            Ok(replaced) => {
                if let Some(old) = replaced {
                    remove_tags(root, name, old);
                }
                Ok(etag)
            }
            Err(_) => {
                remove_tags(root, name, &etag);
                placed.map(|_| etag)
            }
        }
    }

    /// Links or renames; gives back the identity of the object that had the name before.
    fn place(&self, root: &Path, path: &ObjectPath, mode: &PutMode) -> Result<Option<ETag>, Refused> {
        let mut attempt = 1;
        loop {
            let placed = self.place_once(root, path, mode);
            match placed {
                Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound && attempt < DIRECTORY_ATTEMPTS => {
                    // A directory was removed as empty between being made and being used.
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn place_once(&self, root: &Path, path: &ObjectPath, mode: &PutMode) -> Result<Option<ETag>, Refused> {
        let chain = open_chain(root, &path.directories, Missing::Create)?;
        let parent = &chain[chain.len() - 1];
        match mode {
            PutMode::Create => self.create_only(root, parent, &path.file).map(|()| None),
            PutMode::Overwrite => self.replace(root, parent, &path.file, None),
            PutMode::Replace(etag) => self.replace(root, parent, &path.file, Some(etag)),
        }
    }

    fn create_only(&self, root: &Path, parent: &OwnedFd, file: &str) -> Result<(), Refused> {
        match fs::linkat(&self.directory, self.name.as_str(), parent, file, AtFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {
                // Over NFS the answer of a link that was made may be lost, and the second try then says "exists".
                let is_ours = fs::fstat(&self.file)?.st_nlink > 1;
                return if is_ours { Ok(()) } else { Err(exists(parent, file)) };
            }
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        // A file system without hard links.
        match fs::renameat_with(&self.directory, self.name.as_str(), parent, file, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => return Err(exists(parent, file)),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        let _lock = lock(root)?;
        match status(parent, file) {
            Ok(_) => Err(exists(parent, file)),
            Err(Errno::NOENT) => Ok(fs::renameat(&self.directory, self.name.as_str(), parent, file)?),
            Err(error) => Err(error.into()),
        }
    }

    fn replace(
        &self,
        root: &Path,
        parent: &OwnedFd,
        file: &str,
        expected: Option<&ETag>,
    ) -> Result<Option<ETag>, Refused> {
        let _lock = lock(root)?;
        let old = match status(parent, file) {
            Ok(stat) if is_regular(&stat) => Some(meta(&stat).etag),
            Ok(_) => return Err(Refused::NotAFile),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        if expected.is_some() && expected != old.as_ref() {
            return Err(Refused::Changed);
        }
        fs::renameat(&self.directory, self.name.as_str(), parent, file)?;
        Ok(old)
    }
}

fn exists(parent: &OwnedFd, file: &str) -> Refused {
    match status(parent, file) {
        Ok(stat) if !is_regular(&stat) => Refused::NotAFile,
        _ => Refused::Exists,
    }
}

/// Gives the file a time of its own, which is what tells two objects of one size apart.
fn stamp(file: &File) -> io::Result<()> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = convert::shown(now.as_nanos());
    let before = LAST.fetch_max(now, Ordering::Relaxed);
    let nanos = if before < now { now } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 };
    let time =
        Timespec { tv_sec: (nanos / 1_000_000_000).cast_signed(), tv_nsec: (nanos % 1_000_000_000).cast_signed() };
    Ok(fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}

pub(super) fn status(parent: &OwnedFd, file: &str) -> rustix::io::Result<Stat> {
    fs::statat(parent, file, AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Opens an object for reading. A link, a directory or anything else in its place is "not a file".
pub(super) fn open(root: &Path, path: &ObjectPath) -> Result<(File, ObjectMeta), Refused> {
    let chain = open_chain(root, &path.directories, Missing::Fail)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match fs::openat(&chain[chain.len() - 1], path.file.as_str(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP | Errno::NXIO) => return Err(Refused::NotAFile),
        Err(error) => return Err(error.into()),
    };
    let stat = fs::fstat(&file)?;
    if is_regular(&stat) { Ok((File::from(file), meta(&stat))) } else { Err(Refused::NotAFile) }
}

/// Deletes an object, if it is the expected one. A missing one is an error of the file system.
pub(super) fn delete(
    root: &Path,
    name: &ObjectName,
    path: &ObjectPath,
    expected: Option<&ETag>,
) -> Result<(), Refused> {
    // Opened first: deleting from a store that is not there must not make it.
    let chain = open_chain(root, &path.directories, Missing::Fail)?;
    let parent = &chain[chain.len() - 1];
    let _lock = lock(root)?;
    let stat = status(parent, &path.file)?;
    if !is_regular(&stat) {
        return Err(Refused::NotAFile);
    }
    let etag = meta(&stat).etag;
    if expected.is_some_and(|expected| *expected != etag) {
        return Err(Refused::Changed);
    }
    fs::unlinkat(parent, path.file.as_str(), AtFlags::empty())?;
    remove_tags(root, name, &etag);
    remove_empty(&chain, &path.directories);
    Ok(())
}
