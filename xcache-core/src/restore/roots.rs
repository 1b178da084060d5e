//! Where the roots of an entry go: by position onto the paths asked for.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::Error;
use super::journal::Journal;
use crate::archive::index::{Index, RootKind};
use crate::paths::PathList;

/// The roots of an entry, open.
#[derive(Debug)]
pub struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    members: Range<usize>,
    base: PathBuf,
    directory: Option<Arc<OwnedFd>>,
    /// What the one member of a root that is a file is called here.
    file_name: Option<Box<[u8]>>,
    is_fresh: bool,
}

impl Roots {
    /// Opens the roots, and makes those that are not there.
    pub(super) fn open(index: &Index, paths: &PathList, journal: &Journal) -> Result<Self, Error> {
        Self::check(index, paths)?;
        let mut roots = Vec::new();
        for ((root, members), target) in index.roots.iter().zip(index.root_ranges()).zip(paths.roots()) {
            let (base, file_name) = match root.kind {
                RootKind::File => match (target.base.parent(), target.base.file_name()) {
                    (Some(above), Some(name)) => (above.to_owned(), Some(name.as_bytes().into())),
                    _ => (target.base.clone(), None),
                },
                _ => (target.base.clone(), None),
            };
            let mut opened = Root { members, base, directory: None, file_name, is_fresh: false };
            if root.kind != RootKind::Nothing {
                let made = make_directory(&opened.base, journal);
                let made = made.map_err(|source| Error::Write { path: opened.base.clone(), source })?;
                opened.is_fresh = made.is_fresh;
                opened.directory = Some(made.directory);
            }
            roots.push(opened);
        }
        Ok(Self(roots))
    }

    /// Whether the entry can be restored onto these paths.
    pub fn check(index: &Index, paths: &PathList) -> Result<(), Error> {
        let (entry, asked) = (index.roots.len(), paths.roots().len());
        if entry == asked { Ok(()) } else { Err(Error::OtherPaths { entry, asked }) }
    }

    /// The root of a member, and the member's path below it, as it is called here.
    pub(super) fn place<'a>(&'a self, index: &'a Index, member: u32) -> Option<(Cow<'a, [u8]>, usize)> {
        let number = member as usize;
        let root = self.0.partition_point(|root| root.members.end <= number);
        let path = match &self.0.get(root)?.file_name {
            Some(name) => Cow::Borrowed(&name[..]),
            None => Cow::Borrowed(&index.members[number].path[..]),
        };
        Some((path, root))
    }

    pub(super) fn directory(&self, root: usize) -> Option<Arc<OwnedFd>> {
        self.0.get(root)?.directory.clone()
    }

    /// Whether nothing was in a root before.
    pub(super) fn is_fresh(&self, root: usize) -> bool {
        self.0[root].is_fresh
    }

    /// The members of each root that is there.
    pub(super) fn members(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, root)| root.directory.is_some())
            .map(|(n, root)| (n, root.members.clone()))
    }

    /// Where a member is, for messages.
    pub(super) fn full_path(&self, index: &Index, member: u32) -> PathBuf {
        match self.place(index, member) {
            Some((path, root)) if path.is_empty() => self.0[root].base.clone(),
            Some((path, root)) => self.0[root].base.join(std::ffi::OsStr::from_bytes(&path)),
            None => PathBuf::new(),
        }
    }
}

/// A root that is there now.
pub(super) struct Made {
    pub(super) directory: Arc<OwnedFd>,
    /// Whether nothing was in it before.
    pub(super) is_fresh: bool,
}

/// Opens the directory at `path`, which may lead through links as it is the user's own, or makes it.
pub(super) fn make_directory(path: &Path, journal: &Journal) -> io::Result<Made> {
    let mut missing = Vec::new();
    let mut above = Some(path);
    while let Some(directory) = above {
        match std::fs::create_dir(directory) {
            Ok(()) => {
                journal.created_above(directory);
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.push(directory);
                above = directory.parent();
            }
            Err(error) if directory == path => {
                // `/` or a mount point: create_dir says no, but it is there.
                if directory.is_dir() { break } else { return Err(error) }
            }
            Err(error) => return Err(error),
        }
    }
    for directory in missing.into_iter().rev() {
        match std::fs::create_dir(directory) {
            Ok(()) => journal.created_above(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let is_fresh = std::fs::read_dir(path)?.next().is_none();
    Ok(Made { directory: Arc::new(directory), is_fresh })
}
