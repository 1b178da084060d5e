//! Directories below a root, entered one component at a time and never through a link.
//!
//! This is what keeps a restore inside the asked-for paths (P5): no path of more than one component is ever given to
//! the kernel, and a link in the place of a directory is an error, whichever process put it there and when.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

/// A place below a root that moves from directory to directory. Keeps the descriptors of the deepest levels only: trees
/// may be deeper than a process may have files open.
#[derive(Debug)]
pub(super) struct Walker {
    root: Arc<OwnedFd>,
    /// The deepest of the directories entered, one below the other: end of its path in `path`, and its descriptor.
    entered: VecDeque<(usize, OwnedFd)>,
    path: Vec<u8>,
    /// How many descriptors are kept.
    levels: usize,
}

impl Walker {
    pub(super) fn new(root: Arc<OwnedFd>, levels: usize) -> Self {
        Self { root, entered: VecDeque::new(), path: Vec::new(), levels: levels.max(1) }
    }

    /// Goes to the directory `path` (checked, relative; `None` for the root).
    pub(super) fn enter(&mut self, path: Option<&[u8]>) -> io::Result<BorrowedFd<'_>> {
        let path = path.unwrap_or_default();
        while let Some(&(end, _)) = self.entered.back() {
            let is_above = path.get(..end) == Some(&self.path[..end]) && matches!(path.get(end), None | Some(b'/'));
            if is_above {
                break;
            }
            self.entered.pop_back();
        }
        // Above the levels that are kept there is only the root to start from.
        let mut start = self.entered.back().map_or(0, |&(end, _)| end);
        self.path.truncate(start);
        while start < path.len() {
            let name_start = start + usize::from(start > 0);
            let name_end = path[name_start..].iter().position(|&b| b == b'/').map_or(path.len(), |n| name_start + n);
            let directory = open_directory(self.now(), &path[name_start..name_end])?;
            self.path.extend_from_slice(&path[start..name_end]);
            if self.entered.len() == self.levels {
                self.entered.pop_front();
            }
            self.entered.push_back((name_end, directory));
            start = name_end;
        }
        Ok(self.now())
    }

    fn now(&self) -> BorrowedFd<'_> {
        self.entered.back().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
    }
}

/// Opens the directory `name` in `above`, which must not be a link.
pub(super) fn open_directory(above: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(above, name, flags, Mode::empty()) {
        // Not readable is no reason not to write into it.
        #[cfg(target_os = "linux")]
        Err(rustix::io::Errno::ACCESS) => Ok(rustix::fs::openat(above, name, flags | OFlags::PATH, Mode::empty())?),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(dir: &tempfile::TempDir) -> Arc<OwnedFd> {
        Arc::new(rustix::fs::open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap())
    }

    #[test]
    fn walks_from_directory_to_directory_and_never_through_links() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/bb", "x"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
            std::fs::write(dir.path().join(path).join("name"), path).unwrap();
        }
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        for levels in [1, 2, 8] {
            let mut walker = Walker::new(root(&dir), levels);
            for path in ["a/b/c", "a/bb", "x", "a/b/c", "a/b/c"] {
                let at = walker.enter(Some(path.as_bytes())).unwrap();
                let file = rustix::fs::openat(at, "name", OFlags::RDONLY, Mode::empty()).unwrap();
                let mut text = [0; 16];
                let n = rustix::io::read(&file, &mut text).unwrap();
                assert_eq!(&text[..n], path.as_bytes(), "{levels}");
            }
            assert!(walker.enter(Some(b"link/b")).is_err());
            assert!(walker.enter(Some(b"a/none")).is_err());
            assert!(walker.enter(None).is_ok());
        }
    }

    #[test]
    fn keeps_no_more_descriptors_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(100);
        std::fs::create_dir_all(dir.path().join(&deep)).unwrap();
        let mut walker = Walker::new(root(&dir), 5);
        for length in [199, 1, 99, 199, 197, 3] {
            walker.enter(Some(&deep.as_bytes()[..length])).unwrap();
            assert!(walker.entered.len() <= 5);
            assert_eq!(walker.path, &deep.as_bytes()[..length]);
        }
    }
}
