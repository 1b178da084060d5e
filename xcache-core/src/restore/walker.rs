//! Directories below a root, entered one component at a time and never through a link.
//!
//! This is what keeps a restore inside the asked-for paths (P5): no path of more than one component is ever given to
//! the kernel, and a link in the place of a directory is an error, whoever put it there and when.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

/// A place below a root that moves from directory to directory. Keeps one descriptor for each level.
#[derive(Debug)]
pub(super) struct Walker {
    root: Arc<OwnedFd>,
    /// The directories entered: end of its path in `path`, and its descriptor.
    entered: Vec<(usize, OwnedFd)>,
    path: Vec<u8>,
}

impl Walker {
    pub(super) fn new(root: Arc<OwnedFd>) -> Self {
        Self { root, entered: Vec::new(), path: Vec::new() }
    }

    /// Goes to the directory `path` (checked, relative; `None` for the root).
    pub(super) fn enter(&mut self, path: Option<&[u8]>) -> io::Result<BorrowedFd<'_>> {
        let path = path.unwrap_or_default();
        while let Some(&(end, _)) = self.entered.last() {
            let is_above = path.get(..end) == Some(&self.path[..end]) && matches!(path.get(end), None | Some(b'/'));
            if is_above {
                break;
            }
            self.entered.pop();
        }
        let mut start = self.entered.last().map_or(0, |&(end, _)| end);
        self.path.truncate(start);
        while start < path.len() {
            let name_start = start + usize::from(start > 0);
            let name_end = path[name_start..].iter().position(|&b| b == b'/').map_or(path.len(), |n| name_start + n);
            let directory = open_directory(self.now(), &path[name_start..name_end])?;
            self.path.extend_from_slice(&path[start..name_end]);
            self.entered.push((name_end, directory));
            start = name_end;
        }
        Ok(self.now())
    }

    fn now(&self) -> BorrowedFd<'_> {
        self.entered.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
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

    #[test]
    fn walks_from_directory_to_directory_and_never_through_links() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/bb", "x"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
            std::fs::write(dir.path().join(path).join("name"), path).unwrap();
        }
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut walker = Walker::new(Arc::new(root));
        for path in ["a/b/c", "a/bb", "x", "a/b/c", "a/b/c"] {
            let at = walker.enter(Some(path.as_bytes())).unwrap();
            let file = rustix::fs::openat(at, "name", OFlags::RDONLY, Mode::empty()).unwrap();
            let mut text = [0; 16];
            let n = rustix::io::read(&file, &mut text).unwrap();
            assert_eq!(&text[..n], path.as_bytes());
        }
        assert!(walker.enter(Some(b"link/b")).is_err());
        assert!(walker.enter(Some(b"a/none")).is_err());
        assert!(walker.enter(None).is_ok());
    }
}
