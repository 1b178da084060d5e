//! The roots of a target: opened, or made where nothing is.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, Timespec};

use super::journal::Journal;

/// A root that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Number of its line in the path list.
    pub(crate) line: usize,
    /// The directory that the paths of its members begin at.
    pub(crate) base: PathBuf,
    /// How much of that directory is the root's.
    pub(crate) extent: Extent,
}

/// How much of the directory at its base is a root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
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
pub(super) struct Root {
    pub(super) base: PathBuf,
    pub(super) directory: Arc<OwnedFd>,
    /// The file system that it is on.
    pub(super) device: u64,
    pub(super) extent: Extent,
    /// Whether nothing was in it before.
    pub(super) is_fresh: bool,
    /// The mark that it bears while this restore is at work.
    pub(super) mark: Mutex<Option<Mark>>,
}

/// Opens a root, or makes it. Its path may lead through links: it is the user's own.
pub(super) fn open(wanted: &Wanted, journal: &Journal) -> io::Result<Root> {
    make(&wanted.base, journal)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(&wanted.base, flags, Mode::empty())?;
    let device = rustix::fs::fstat(&directory)?.st_dev;
    Ok(Root {
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

fn create(path: &Path, journal: &Journal) -> io::Result<()> {
    std::fs::create_dir(path)?;
    journal.made_above(path.to_owned(), std::fs::symlink_metadata(path)?.ino());
    Ok(())
}
