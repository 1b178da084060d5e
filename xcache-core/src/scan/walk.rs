//! Reading directories: what is in them, and which of it is asked for.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::attributes::{Signature, metadata, read_xattrs};
use super::tree::{Node, NodeKind, SkipReason, Skipped, join};
use crate::archive::index::{MAX_NAME_BYTES, MAX_PATH_BYTES, RootKind, Xattrs, file_name, parent};
use crate::paths::{PathDecision, PathList};
use crate::temporary;

#[derive(Default)]
pub(super) struct FoundNodes {
    pub(super) nodes: Vec<Node>,
    /// Directories that are members only if something in them is: root and path.
    pub(super) ways: HashSet<(u32, Box<[u8]>)>,
    pub(super) skipped: Vec<Skipped>,
}

impl FoundNodes {
    pub(super) fn skip(&mut self, path: PathBuf, reason: SkipReason) {
        self.skipped.push(Skipped { path, reason });
    }

    pub(super) fn merge(&mut self, mut other: Self) {
        self.nodes.append(&mut other.nodes);
        self.ways.extend(other.ways);
        self.skipped.append(&mut other.skipped);
    }
}

/// A directory to be read.
pub(super) struct DirectoryJob {
    pub(super) root: u32,
    pub(super) path: Box<[u8]>,
    /// The root.
    pub(super) base: Arc<OwnedFd>,
    pub(super) way: DirectoryWay,
    /// Whether it is a member, or only on the way to one.
    pub(super) saved: bool,
}

/// How to come to a directory.
pub(super) enum DirectoryWay {
    /// It is open.
    Here(Arc<OwnedFd>),
    /// From the directory above.
    From(Arc<OwnedFd>),
    /// From the root, step by step: too many directories are open.
    FromRoot,
}

impl DirectoryJob {
    /// Opens the directory, without following a link.
    fn open(&self) -> rustix::io::Result<Arc<OwnedFd>> {
        match &self.way {
            DirectoryWay::Here(directory) => Ok(directory.clone()),
            DirectoryWay::From(above) => open_directory(above, file_name(&self.path)).map(Arc::new),
            DirectoryWay::FromRoot => {
                let mut directory = self.base.clone();
                for name in self.path.split(|&byte| byte == b'/') {
                    directory = Arc::new(open_directory(&directory, name)?);
                }
                Ok(directory)
            }
        }
    }

    /// What the directory is, if it cannot be opened.
    fn stat(&self) -> rustix::io::Result<Stat> {
        let above = match &self.way {
            DirectoryWay::Here(directory) => return rustix::fs::fstat(directory),
            DirectoryWay::From(above) => above.clone(),
            DirectoryWay::FromRoot => {
                let path = parent(&self.path).unwrap_or_default();
                let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
                names.try_fold(self.base.clone(), |at, name| open_directory(&at, name).map(Arc::new))?
            }
        };
        rustix::fs::statat(&above, file_name(&self.path), AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn open_directory(above: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

/// Opens what a line names. The path itself may lead through links: it is the user's own.
pub(super) fn open_root(
    number: u32,
    root: &crate::paths::Root,
    paths: &PathList,
    found: &mut FoundNodes,
) -> io::Result<(RootKind, Option<Arc<OwnedFd>>)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(&root.base, flags, Mode::empty()) {
        Ok(directory) => match paths.decide(number as usize, b"", true) {
            PathDecision::Include => Ok((RootKind::Directory, Some(Arc::new(directory)))),
            PathDecision::DescendOnly => Ok((RootKind::Pattern, Some(Arc::new(directory)))),
            PathDecision::Exclude => Ok((RootKind::Nothing, None)),
        },
        // A file; or a link that leads nowhere, or into a loop, which is saved as the link that it is.
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::NOENT | rustix::io::Errno::LOOP)
            if root.base.symlink_metadata().is_ok_and(|found| !found.is_dir()) =>
        {
            if paths.decide(number as usize, b"", false) != PathDecision::Include {
                return Ok((RootKind::Nothing, None));
            }
            let (Some(base), Some(name)) = (root.base.parent(), root.base.file_name()) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            let above = Arc::new(rustix::fs::open(base, flags, Mode::empty())?);
            let name = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(name))?;
            let way = DirectoryWay::Here(above.clone());
            let job = DirectoryJob { root: number, path: Box::default(), base: above.clone(), way, saved: true };
            let stat = rustix::fs::statat(&above, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let before = found.nodes.len();
            let listed = ListedName { path: name.as_bytes().into(), name: &name, directory: &above, stat: &stat };
            add_leaf(&job, listed, base, found);
            // What is left out has no directory: the one above it is not asked for.
            Ok(if found.nodes.len() > before { (RootKind::File, Some(above)) } else { (RootKind::Nothing, None) })
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads one directory; returns the directories in it.
pub(super) fn scan_directory(job: &DirectoryJob, paths: &PathList, found: &mut FoundNodes) -> Vec<DirectoryJob> {
    let place = || join(&paths.roots()[job.root as usize].base, &job.path);
    let directory = match job.open() {
        Ok(directory) => directory,
        Err(error) => {
            found.skip(place(), SkipReason::Unreadable(error.to_string()));
            // Its own entry is kept, empty, as tar does.
            if let Ok(stat) = job.stat()
                && job.saved
                && FileType::from_raw_mode(stat.st_mode).is_dir()
            {
                found.nodes.push(node(job, job.path.clone(), &stat, NodeKind::Directory(Xattrs::new())));
            }
            return Vec::new();
        }
    };
    let mut children = Vec::new();
    let read = rustix::fs::Dir::read_from(&directory).and_then(|entries| {
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            // What a restore has not finished, or has left behind, is nobody's content.
            if matches!(name.to_bytes(), b"." | b"..") || temporary::run_of(name.to_bytes()).is_some() {
                continue;
            }
            let path = match job.path.is_empty() {
                true => name.to_bytes().into(),
                false => [&job.path, &b"/"[..], name.to_bytes()].concat().into_boxed_slice(),
            };
            match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let listed = ListedName { path, name, directory: &directory, stat: &stat };
                    children.extend(add(job, listed, paths, found));
                }
                Err(rustix::io::Errno::NOENT) => {} // gone since it was listed
                Err(error) => {
                    found
                        .skip(place().join(name.to_string_lossy().as_ref()), SkipReason::Unreadable(error.to_string()));
                }
            }
        }
        Ok(())
    });
    if let Err(error) = read {
        found.skip(place(), SkipReason::Unreadable(error.to_string()));
    }
    // A directory on the way to a match is a member if the match was found: arrange() drops it otherwise.
    let is_member = job.saved || !job.path.is_empty();
    match rustix::fs::fstat(&directory) {
        Ok(stat) if is_member => {
            let xattrs = read_xattrs(&directory).unwrap_or_default();
            found.nodes.push(node(job, job.path.clone(), &stat, NodeKind::Directory(xattrs)));
            if !job.saved {
                found.ways.insert((job.root, job.path.clone()));
            }
        }
        _ => {}
    }
    children
}

/// An entry of a directory.
struct ListedName<'a> {
    /// Below the root.
    path: Box<[u8]>,
    name: &'a CStr,
    /// The directory that it is in.
    directory: &'a Arc<OwnedFd>,
    stat: &'a Stat,
}

/// Adds what a directory entry is; returns it as a job if it is a directory to be entered.
fn add(job: &DirectoryJob, listed: ListedName<'_>, paths: &PathList, found: &mut FoundNodes) -> Option<DirectoryJob> {
    let base = &paths.roots()[job.root as usize].base;
    let is_directory = FileType::from_raw_mode(listed.stat.st_mode).is_dir();
    let decision = paths.decide(job.root as usize, &listed.path, is_directory);
    if decision == PathDecision::Exclude {
        return None;
    }
    if let Some(reason) = too_long(&listed.path) {
        found.skip(join(base, &listed.path), reason);
        return None;
    }
    if is_directory {
        let saved = decision == PathDecision::Include;
        let (base, way) = (job.base.clone(), DirectoryWay::From(listed.directory.clone()));
        return Some(DirectoryJob { root: job.root, path: listed.path, base, way, saved });
    }
    if decision == PathDecision::DescendOnly {
        return None;
    }
    add_leaf(job, listed, base, found);
    None
}

/// Why a path is longer than an archive can hold, if it is.
fn too_long(path: &[u8]) -> Option<SkipReason> {
    match path.len() > MAX_PATH_BYTES {
        true => Some(SkipReason::PathTooLong),
        false => (file_name(path).len() > MAX_NAME_BYTES).then_some(SkipReason::NameTooLong),
    }
}

/// Adds what is no directory.
fn add_leaf(job: &DirectoryJob, listed: ListedName<'_>, base: &std::path::Path, found: &mut FoundNodes) {
    let ListedName { path, name, directory, stat } = listed;
    let place = || join(base, &path);
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Symlink => match rustix::fs::readlinkat(directory, name, Vec::new()) {
            Ok(target) => NodeKind::Symlink(target.into_bytes().into()),
            Err(error) => return found.skip(place(), SkipReason::Unreadable(error.to_string())),
        },
        FileType::Fifo => return found.skip(place(), SkipReason::Special("FIFO")),
        FileType::Socket => return found.skip(place(), SkipReason::Special("socket")),
        _ => return found.skip(place(), SkipReason::Special("device")),
    };
    found.nodes.push(node(job, path, stat, kind));
}

fn node(job: &DirectoryJob, path: Box<[u8]>, stat: &Stat, kind: NodeKind) -> Node {
    let is_linked = stat.st_nlink > 1;
    Node { root: job.root, path, stat: Signature::of(stat), is_linked, meta: metadata(stat), kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_that_no_archive_can_hold_are_told_apart() {
        let check = |path: Vec<u8>, expected: Option<SkipReason>| assert_eq!(too_long(&path), expected);
        let name = |bytes: usize| vec![b'n'; bytes];
        check(name(255), None);
        check(name(256), Some(SkipReason::NameTooLong));
        check([&b"directory/"[..], &name(255)].concat(), None);
        check([&b"directory/"[..], &name(256)].concat(), Some(SkipReason::NameTooLong));
        check(b"n/".repeat(2048), None);
        check([&b"n/".repeat(2048)[..], b"n"].concat(), Some(SkipReason::PathTooLong));
    }
}
