//! Removing what a restore did not make: what an entry does not hold, what was set aside, what killed restores left.
//!
//! Nothing that the path list excludes is removed, no link is followed, and no other file system is entered: what is
//! mounted below a root was put there by another hand. A repository is left as it is, as `git clean` does: the work in it
//! may exist nowhere else.

use std::io;

use rustix::fs::{AtFlags, Mode};

use super::look::{is_directory, is_mounted, names, stat};
use super::notices::Notices;
use super::place::{full_path, join};
use super::root::OpenRoot;
use super::state::Target;
use super::walker::Walker;
use crate::archive::index::{file_name, parent};
use crate::paths::{PathDecision, PathList};

/// Removes things below one root, as far as it can. However deep they lie, only so many descriptors are open.
pub(super) struct Remover<'a> {
    paths: &'a PathList,
    /// Number of the root.
    line: usize,
    root: &'a OpenRoot,
    walker: Walker,
    /// Is told of what cannot be removed.
    notices: &'a mut Notices,
    /// Files and links removed so far.
    pub(super) removed_files: u64,
    is_own: bool,
    /// Whether repositories are removed, too.
    takes_repositories: bool,
}

/// What makes a directory a repository, or a work tree of one.
pub(super) const REPOSITORY: &[u8] = b".git";

/// Why a repository is not removed.
pub(super) fn is_repository() -> io::Error {
    io::Error::other("it is a git repository that the entry does not hold; `--clean-protected` cleans it, too")
}

/// A directory that is being emptied.
struct Emptying {
    path: Vec<u8>,
    /// What is still in it.
    names: Vec<Vec<u8>>,
    /// Its mode, if it let nothing be removed.
    closed: Option<Mode>,
    /// Whether nothing had to stay so far.
    is_empty: bool,
}

impl<'a> Remover<'a> {
    pub(super) fn new(target: &'a Target<'_>, line: usize, root: &'a OpenRoot, notices: &'a mut Notices) -> Self {
        let walker = Walker::new(root.directory.clone(), target.levels);
        let takes_repositories = target.policy.clean_repositories;
        Self { paths: target.paths, line, root, walker, notices, removed_files: 0, is_own: false, takes_repositories }
    }

    /// Removes what a restore has made or set aside, whatever the path list excludes by now.
    pub(super) fn remove_own(&mut self, path: &[u8]) -> bool {
        self.is_own = true;
        let is_gone = self.remove(path);
        self.is_own = false;
        is_gone
    }

    /// Removes what is at `path` below the root, with all that is in it. Gives whether it is gone.
    pub(super) fn remove(&mut self, path: &[u8]) -> bool {
        let mut open = Vec::new();
        let mut is_gone = self.begin(path.to_vec(), &mut open);
        while let Some(mut directory) = open.pop() {
            directory.is_empty &= is_gone;
            is_gone = match directory.names.pop() {
                Some(name) => {
                    let path = join(&directory.path, &name);
                    open.push(directory);
                    self.begin(path, &mut open)
                }
                None => self.end(&directory),
            };
        }
        is_gone
    }

    /// Removes a file or link, or begins with a directory. Gives whether nothing of it stays so far.
    fn begin(&mut self, path: Vec<u8>, open: &mut Vec<Emptying>) -> bool {
        match self.try_begin(&path) {
            Ok(Begun::Gone) => true,
            Ok(Begun::Stays) => false,
            Ok(Begun::Directory { names, closed }) => {
                open.push(Emptying { path, names, closed, is_empty: true });
                true
            }
            Err(error) => {
                self.failed("remove", &path, error);
                false
            }
        }
    }

    fn try_begin(&mut self, path: &[u8]) -> io::Result<Begun> {
        let (at, name) = (self.walker.enter(parent(path))?, file_name(path));
        let Some(found) = stat(at, name)? else { return Ok(Begun::Gone) }; // gone since it was listed
        if !self.is_own && self.paths.decide(self.line, path, is_directory(&found)) == PathDecision::Exclude {
            return Ok(Begun::Stays);
        }
        let is_spared = !self.is_own && !self.takes_repositories;
        if is_spared && name == REPOSITORY {
            return Err(is_repository());
        }
        if !is_directory(&found) {
            rustix::fs::unlinkat(at, name, AtFlags::empty())?;
            self.removed_files += 1;
            return Ok(Begun::Gone);
        }
        if is_mounted(at, name, &found, self.root.device) {
            return Err(io::Error::other("another file system is mounted there"));
        }
        let mode = found.st_mode & 0o7777;
        let closed = (mode & 0o700 != 0o700).then(|| Mode::from_raw_mode(mode));
        if closed.is_some() {
            // Where it is not permitted, the next step reports it.
            let _ = rustix::fs::chmodat(at, name, Mode::from_raw_mode(mode | 0o700), AtFlags::empty());
        }
        let names = names(self.walker.enter(Some(path))?)?;
        if is_spared && names.iter().any(|name| name == REPOSITORY) {
            if let Some(mode) = closed {
                let at = self.walker.enter(parent(path))?;
                let _ = rustix::fs::chmodat(at, file_name(path), mode, AtFlags::empty()); // as it was a moment ago
            }
            return Err(is_repository());
        }
        Ok(Begun::Directory { names, closed })
    }

    /// Removes a directory if nothing has stayed in it. Gives whether it is gone.
    fn end(&mut self, directory: &Emptying) -> bool {
        let Emptying { path, closed, is_empty, names: _ } = directory;
        let ended = self.walker.enter(parent(path)).and_then(|at| {
            if *is_empty {
                rustix::fs::unlinkat(at, file_name(path), AtFlags::REMOVEDIR)?;
            } else if let Some(mode) = closed {
                let _ = rustix::fs::chmodat(at, file_name(path), *mode, AtFlags::empty());
            }
            Ok(())
        });
        if let Err(error) = ended {
            self.failed("remove", path, error);
            return false;
        }
        *is_empty
    }

    pub(super) fn failed(&mut self, what: &'static str, path: &[u8], error: io::Error) {
        self.notices.add(what, full_path(&self.root.base, path), error);
    }
}

/// What came of something that is to be removed.
enum Begun {
    Gone,
    /// It is excluded.
    Stays,
    /// It is to be emptied first.
    Directory {
        names: Vec<Vec<u8>>,
        closed: Option<Mode>,
    },
}
