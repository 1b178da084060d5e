//! Removing what a restore did not make: what an entry does not hold, what was set aside, what killed restores left.
//!
//! Nothing that the path list excludes is removed, no link is followed, and no other file system is entered: what is
//! mounted below a root was put there by another hand.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, Stat};

use super::aside::{is_directory, stat};
use super::notices::Notices;
use super::place::{full_path, join};
use super::root::Root;
use super::walker::open_directory;
use crate::paths::{Decision, PathList};

/// Removes things below one root, as far as it can.
pub(super) struct Remover<'a> {
    pub(super) paths: &'a PathList,
    /// Number of the root.
    pub(super) root: usize,
    /// Where it is, for messages.
    base: &'a Path,
    /// The file system that it is on.
    pub(super) device: u64,
    /// Is told of what cannot be removed.
    notices: &'a mut Notices,
    /// Files and links removed so far.
    pub(super) removed_files: u64,
    is_own: bool,
}

impl<'a> Remover<'a> {
    pub(super) fn new(root: &'a Root, line: usize, paths: &'a PathList, notices: &'a mut Notices) -> Self {
        Self { paths, root: line, base: &root.base, device: root.device, notices, removed_files: 0, is_own: false }
    }

    /// Removes what a restore has made or set aside, whatever the path list excludes by now.
    pub(super) fn remove_own(&mut self, at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> bool {
        self.is_own = true;
        let is_gone = self.remove(at, name, path);
        self.is_own = false;
        is_gone
    }

    /// Removes `name` in `at`, which is `path` below the root, with all that is in it. Gives whether it is gone.
    pub(super) fn remove(&mut self, at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> bool {
        self.try_remove(at, name, path).unwrap_or_else(|error| {
            self.failed("remove", path, error);
            false
        })
    }

    fn try_remove(&mut self, at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> io::Result<bool> {
        let Some(found) = stat(at, name)? else { return Ok(true) }; // gone since it was listed
        if !self.is_own && self.paths.decide(self.root, path, is_directory(&found)) == Decision::Exclude {
            return Ok(false);
        }
        if !is_directory(&found) {
            rustix::fs::unlinkat(at, name, AtFlags::empty())?;
            self.removed_files += 1;
            return Ok(true);
        }
        if is_mounted(at, name, &found, self.device) {
            return Err(io::Error::other("another file system is mounted there"));
        }
        let mode = found.st_mode & 0o7777;
        let is_closed = mode & 0o700 != 0o700;
        let set_mode = |mode| rustix::fs::chmodat(at, name, Mode::from_raw_mode(mode), AtFlags::empty());
        if is_closed {
            // Where it is not permitted, the next step reports it.
            let _ = set_mode(mode | 0o700);
        }
        let directory = open_directory(at, name)?;
        let mut is_empty = true;
        for child in names(directory.as_fd())? {
            is_empty &= self.remove(directory.as_fd(), &child, &join(path, &child));
        }
        if is_empty {
            rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)?;
        } else if is_closed {
            let _ = set_mode(mode);
        }
        Ok(is_empty)
    }

    pub(super) fn failed(&mut self, what: &'static str, path: &[u8], error: io::Error) {
        self.notices.add(what, full_path(self.base, path), error);
    }
}

/// Whether a directory is where another file system, or another part of this one, is mounted.
pub(super) fn is_mounted(at: BorrowedFd<'_>, name: &[u8], found: &Stat, device: u64) -> bool {
    found.st_dev != device || is_mount_root(at, name)
}

/// A bind mount of the same file system has the same device number; only the kernel tells.
#[cfg(target_os = "linux")]
fn is_mount_root(at: BorrowedFd<'_>, name: &[u8]) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags, statx};
    let attributes = statx(at, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::empty());
    attributes
        .is_ok_and(|found| (found.stx_attributes & found.stx_attributes_mask).contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
fn is_mount_root(_: BorrowedFd<'_>, _: &[u8]) -> bool {
    false
}

/// What is in a directory.
pub(super) fn names(at: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
