//! The roots of a target: opened, or made where nothing is.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec};
use rustix::io::Errno;

use super::aside::{Occupant, put_back, swap_in};
use super::journal::{Above, Journal};
use super::look::{may_rename, names};
use super::walker::open_directory;

/// How a directory is opened, also through links.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A root that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Number of its line in the path list.
    pub(crate) line: usize,
    /// The directory that the paths of its members begin at.
    pub(crate) base: PathBuf,
    /// How much of that directory is the root's.
    pub(crate) extent: RootExtent,
}

/// How much of the directory at its base is a root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootExtent {
    /// All of it.
    Whole,
    /// What a pattern matches.
    Matches,
    /// One file or link.
    One,
}

/// A root that was marked.
#[derive(Debug)]
pub(super) struct Mark {
    /// Number of the temporary name; none if the mark could not be made.
    pub(super) number: Option<u64>,
    /// When the directory was last changed before, and right after.
    pub(super) changed: (Timespec, Timespec),
}

/// A root, open.
#[derive(Debug)]
pub(super) struct OpenRoot {
    pub(super) base: PathBuf,
    pub(super) directory: Arc<OwnedFd>,
    /// The file system that it is on.
    pub(super) device: u64,
    pub(super) extent: RootExtent,
    /// Whether nothing was in it before.
    pub(super) is_fresh: bool,
    /// The mark that it bears while this restore is at work.
    pub(super) mark: Mutex<Option<Mark>>,
}

/// Opens a root, or makes it. Its path may lead through links: it is the user's own. What is no directory, in the place of
/// a directory that was asked for, is set aside, as it would be below a root.
pub(super) fn open(wanted: &Wanted, journal: &Journal, next_name: &dyn Fn() -> Vec<u8>) -> io::Result<OpenRoot> {
    let base = &*wanted.base;
    let opened = make(base, journal).and_then(|()| Ok(rustix::fs::open(base, DIRECTORY, Mode::empty())?));
    let directory = match opened {
        Err(error) => match obstacle(base, &error) {
            None => return Err(error),
            Some(found) if found == base && wanted.extent == RootExtent::Whole => replace(base, journal, next_name)?,
            Some(found) => return Err(in_the_way(base, found)),
        },
        opened => opened?,
    };
    let device = rustix::fs::fstat(&directory)?.st_dev;
    Ok(OpenRoot {
        base: wanted.base.clone(),
        directory: Arc::new(directory),
        device,
        extent: wanted.extent,
        is_fresh: false,
        mark: Mutex::new(None),
    })
}

/// Makes the directory at `path` and those above it, as far as they are missing.
fn make(path: &Path, journal: &Journal) -> io::Result<()> {
    let mut missing = Vec::new();
    for directory in path.ancestors() {
        match create(directory, journal) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(directory),
            // `/`, or something mounted: it cannot be made, but it is there.
            Err(_) if directory.is_dir() => break,
            Err(error) => return Err(error),
        }
    }
    for directory in missing.into_iter().rev() {
        match create(directory, journal) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What on the way to a directory, itself included, is no directory, if that is why it could not be opened or made.
fn obstacle<'p>(path: &'p Path, error: &io::Error) -> Option<&'p Path> {
    let errors = [Errno::NOTDIR, Errno::EXIST, Errno::NOENT, Errno::LOOP];
    if !errors.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
        return None;
    }
    let outermost_first = path.ancestors().collect::<Vec<_>>().into_iter().rev();
    outermost_first.into_iter().find(|path| path.symlink_metadata().is_ok() && !path.is_dir())
}

fn in_the_way(base: &Path, found: &Path) -> io::Error {
    let kind = found.symlink_metadata().map(|metadata| metadata.file_type());
    let what = match kind {
        Ok(kind) if kind.is_symlink() && found.metadata().is_err() => "a symbolic link that leads to nothing",
        Ok(kind) if kind.is_file() => "a file",
        Ok(kind) if kind.is_symlink() => "a symbolic link to what is no directory",
        _ => "no directory",
    };
    let text = match found == base {
        true => format!("it is {what}"),
        false => format!("`{}` is {what}", found.display()),
    };
    io::Error::new(io::ErrorKind::NotADirectory, text)
}

/// Makes a directory in the place of what is none. That goes into the directory under a temporary name, where it lies
/// until the restore is done.
fn replace(base: &Path, journal: &Journal, next_name: &dyn Fn() -> Vec<u8>) -> io::Result<OwnedFd> {
    let (Some(above), Some(name)) = (base.parent(), base.file_name()) else {
        return Err(io::ErrorKind::NotADirectory.into());
    };
    let name = name.as_bytes();
    let at = rustix::fs::open(above, DIRECTORY, Mode::empty())?;
    let found = rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    may_rename(at.as_fd(), &found)?;
    let (new, spare, old) = (next_name(), next_name(), next_name());
    rustix::fs::mkdirat(&at, &new[..], Mode::from_raw_mode(0o777))?;
    let swapped = swap_in(at.as_fd(), &new, name, &spare, || Ok(()));
    let set_aside = match swapped {
        Ok(Occupant::Exchanged) => Some(new),
        Ok(Occupant::MovedTo) => Some(spare),
        Ok(Occupant::Nothing) => None,
        Err(error) => {
            let _ = rustix::fs::unlinkat(&at, &new[..], AtFlags::REMOVEDIR);
            return Err(error);
        }
    };
    let directory = open_directory(at.as_fd(), name)?;
    let inode = rustix::fs::fstat(&directory)?.st_ino;
    let Some(set_aside) = set_aside else {
        journal.add_above(Above::Made { path: base.to_owned(), inode });
        return Ok(directory);
    };
    if let Err(error) = rustix::fs::renameat(&at, &set_aside[..], &directory, &old[..]) {
        put_back(at.as_fd(), &set_aside, name, inode)?;
        return Err(error.into());
    }
    journal.add_above(Above::Replaced { path: base.to_owned(), inode, old });
    Ok(directory)
}

/// Undoes [`replace`], provided that nothing else is in the directory by now.
pub(super) fn put_root_back(base: &Path, inode: u64, old: &[u8]) -> io::Result<()> {
    let (Some(above), Some(name)) = (base.parent(), base.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let at = rustix::fs::open(above, DIRECTORY, Mode::empty())?;
    let directory = open_directory(at.as_fd(), name.as_bytes())?;
    let is_alone = names(directory.as_fd())?.iter().all(|name| name == old);
    if !is_alone || rustix::fs::fstat(&directory)?.st_ino != inode {
        return Err(io::ErrorKind::DirectoryNotEmpty.into());
    }
    rustix::fs::renameat(&directory, old, &at, old)?;
    match put_back(at.as_fd(), old, name.as_bytes(), inode)? {
        true => Ok(()),
        false => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

fn create(path: &Path, journal: &Journal) -> io::Result<()> {
    std::fs::create_dir(path)?;
    let inode = std::fs::symlink_metadata(path)?.ino();
    journal.add_above(Above::Made { path: path.to_owned(), inode });
    Ok(())
}
