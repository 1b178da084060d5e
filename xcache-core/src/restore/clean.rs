//! Removing what an entry does not hold, as far as it can be removed.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode};

use super::imperfections::Imperfections;
use super::roots::full_path;
use super::walker::{Walker, open_directory};
use super::write::Shared;
use crate::archive::index::{Content, RootKind, path_order};
use crate::paths::{Decision, PathList};

/// Removes everything below the roots that is no member. Returns how many things directly went.
pub(super) fn clean(shared: &Shared<'_>, imperfections: &mut Imperfections) -> u64 {
    let Shared { index, roots, paths, journal, .. } = *shared;
    let mut removed = 0;
    for (root, range) in roots.members() {
        // Of a pattern or a file only the matches are ours; what lies beside them is somebody else's.
        if index.roots[root].kind != RootKind::Directory {
            continue;
        }
        let Some(directory) = roots.directory(root) else { continue };
        let members = &index.members[range];
        let mut walker = Walker::new(directory);
        let mut remover = Remover { paths, root, base: roots.base(root), imperfections: &mut *imperfections };
        for member in members.iter().filter(|member| matches!(member.content, Content::Directory)) {
            let path = &member.path[..];
            let listed = walker.enter((!path.is_empty()).then_some(path)).and_then(|at| Ok((at, names(at)?)));
            let (at, names) = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    remover.failed("clean", path, error);
                    continue;
                }
            };
            for name in names.into_iter().filter(|name| !journal.is_own_name(name)) {
                let full = below(path, &name);
                let is_member = members.binary_search_by(|member| path_order(&member.path, &full)).is_ok();
                if !is_member && remover.remove(at, &name, &full) {
                    removed += 1;
                }
            }
        }
    }
    removed
}

/// Removes things below one root, as far as it can. What the path list excludes is somebody else's: it stays, with the
/// directories that it is in.
pub(super) struct Remover<'a> {
    pub(super) paths: &'a PathList,
    /// Number of the root.
    pub(super) root: usize,
    /// Where it is, for messages.
    pub(super) base: &'a Path,
    /// Is told of what cannot be removed.
    pub(super) imperfections: &'a mut Imperfections,
}

impl Remover<'_> {
    /// Removes `name` in `at`, which is `path` below the root, with all that is in it; no link is followed. Tells
    /// whether it is gone.
    pub(super) fn remove(&mut self, at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> bool {
        self.try_remove(at, name, path).unwrap_or_else(|error| {
            self.failed("remove", path, error);
            false
        })
    }

    fn try_remove(&mut self, at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> io::Result<bool> {
        let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(true), // gone since it was listed
            Err(error) => return Err(error.into()),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        if self.paths.decide(self.root, path, is_directory) == Decision::Exclude {
            return Ok(false);
        }
        if !is_directory {
            rustix::fs::unlinkat(at, name, AtFlags::empty())?;
            return Ok(true);
        }
        let mode = stat.st_mode & 0o7777;
        let is_closed = mode & 0o700 != 0o700;
        let set_mode = |mode| rustix::fs::chmodat(at, name, Mode::from_raw_mode(mode), AtFlags::empty());
        if is_closed {
            // Where it is not permitted, the next step says so.
            let _ = set_mode(mode | 0o700);
        }
        let directory = open_directory(at, name)?;
        let mut is_empty = true;
        for child in names(directory.as_fd())? {
            is_empty &= self.remove(directory.as_fd(), &child, &below(path, &child));
        }
        if is_empty {
            rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)?;
        } else if is_closed {
            let _ = set_mode(mode);
        }
        Ok(is_empty)
    }

    pub(super) fn failed(&mut self, what: &'static str, path: &[u8], error: io::Error) {
        self.imperfections.add(what, full_path(self.base, path), error);
    }
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

/// The path of `name` in the directory `path`.
pub(super) fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
