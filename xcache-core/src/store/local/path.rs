//! Object names as paths below the store's directory, and the only way from one to the other.
//!
//! Every step below the directory goes through `openat` without following links, so that no name and no link in the
//! store leads out of it. Segments longer than a file name may be are cut: a piece that goes on ends in a comma, which
//! no name of ours contains.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::super::{Error, ErrorKind, ObjectName};

/// Longest piece of a segment; with the comma below the 255 bytes of every file system, with room for eCryptfs and
/// the like left to the error of the file system.
const PIECE_BYTES: usize = 240;

/// The folder for everything that is not an object.
pub(super) const PRIVATE: &str = ".xcache/local";

/// The pieces of an object's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectPath {
    /// Directories, from the top.
    pub(super) directories: Vec<String>,
    /// The file.
    pub(super) file: String,
}

impl ObjectPath {
    pub(super) fn new(action: &'static str, name: &ObjectName) -> Result<Self, Error> {
        let refused = |why: &str| Err(Error::new(ErrorKind::Invalid, action, name).detail(why));
        if is_private(name.as_str()) {
            return refused("names below `.xcache/local/` belong to the store itself");
        }
        match pieces(name.as_str()) {
            Some(mut directories) => match directories.pop() {
                Some(file) => Ok(Self { directories, file }),
                None => refused("the name is empty"),
            },
            None => refused(
                "a store in a directory takes no names with an empty segment, with `.` or `..` as a segment, or with a \
                 comma at a segment's end",
            ),
        }
    }
}

/// Whether `name` is in the store's private folder.
pub(super) fn is_private(name: &str) -> bool {
    name.strip_prefix(PRIVATE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where the lock of the store in `root` is.
pub(super) fn lock_path(root: &Path) -> PathBuf {
    root.join(PRIVATE).join("lock")
}

/// Whether `name` is one of xcache's notes, and no entry.
pub(super) fn is_own(name: &ObjectName) -> bool {
    name.as_str().starts_with(".xcache/")
}

/// Cuts a name at slashes and long segments. None for what must not become a path.
pub(super) fn pieces(name: &str) -> Option<Vec<String>> {
    let mut pieces = Vec::new();
    for segment in name.split('/') {
        if matches!(segment, "" | "." | "..") || segment.ends_with(',') || segment.contains('\0') {
            return None;
        }
        let mut rest = segment;
        while rest.len() > PIECE_BYTES {
            let mut cut = rest.floor_char_boundary(PIECE_BYTES);
            // A piece must not end in a comma of its own, or look like a way up.
            while cut > 0 && (rest[..cut].ends_with(',') || rest[cut..].is_empty()) {
                cut = rest.floor_char_boundary(cut - 1);
            }
            if cut == 0 {
                return None;
            }
            pieces.push(format!("{},", &rest[..cut]));
            rest = &rest[cut..];
        }
        if matches!(rest, "." | "..") {
            return None;
        }
        pieces.push(rest.to_owned());
    }
    Some(pieces)
}

/// Appends a piece to the name that a walk has gathered so far (which ends in a slash, or is cut, or empty).
pub(super) fn extend_name(so_far: &str, piece: &str, is_directory: bool) -> String {
    match piece.strip_suffix(',') {
        Some(part) if is_directory => format!("{so_far}{part}"),
        _ if is_directory => format!("{so_far}{piece}/"),
        _ => format!("{so_far}{piece}"),
    }
}

/// Opens the store's own directory; `None` if it is not there.
pub(super) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(fs::open(root, DIRECTORY & !OFlags::NOFOLLOW, Mode::empty())?)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Opens a directory right below another, never through a link.
pub(super) fn open_directory(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    Ok(fs::openat(parent, name, DIRECTORY, Mode::empty())?)
}

/// Whether missing directories are made on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Fail,
    Create,
}

/// Opens the directories from the root down to the parent of an object; the last one is the parent.
pub(super) fn open_chain(root: &Path, directories: &[String], missing: Missing) -> io::Result<Vec<OwnedFd>> {
    let top = match open_root(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && missing == Missing::Create => {
            std::fs::create_dir_all(root)?;
            open_root(root)?
        }
        other => other?,
    };
    let mut chain = Vec::with_capacity(directories.len() + 1);
    chain.push(top);
    for name in directories {
        let parent = &chain[chain.len() - 1];
        let opened = match open_directory(parent, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && missing == Missing::Create => {
                match fs::mkdirat(parent, name.as_str(), Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => open_directory(parent, name)?,
                    Err(error) => return Err(error.into()),
                }
            }
            other => other?,
        };
        chain.push(opened);
    }
    Ok(chain)
}

/// Removes the directories of a chain that are empty now, from the bottom; never the root. A name that is created
/// there at the same time wins: removing fails, or the creator makes its directories again.
pub(super) fn remove_empty(chain: &[OwnedFd], directories: &[String]) {
    for (parent, name) in chain.iter().zip(directories).rev() {
        if fs::unlinkat(parent, name.as_str(), AtFlags::REMOVEDIR).is_err() {
            return;
        }
    }
}

/// The private folder or one below it.
pub(super) fn private_directories(folder: &str) -> Vec<String> {
    PRIVATE.split('/').chain(std::iter::once(folder)).map(str::to_owned).collect()
}

/// Opens a private folder, made if need be.
pub(super) fn open_private(root: &Path, directories: &[String]) -> io::Result<OwnedFd> {
    let mut chain = open_chain(root, directories, Missing::Create)?;
    chain.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) {
        let Some(pieces) = pieces(name) else { panic!("`{name}` refused") };
        let last = pieces.len() - 1;
        let joined = pieces.iter().enumerate().fold(String::new(), |name, (at, piece)| {
            assert!(piece.len() <= 255, "{piece}");
            extend_name(&name, piece, at < last)
        });
        assert_eq!(joined, name);
    }

    #[test]
    fn names_come_back_from_their_paths() {
        check("a");
        check("a/b,c/d");
        check(&"x".repeat(240));
        check(&"x".repeat(241));
        check(&format!("{}/{}", "x".repeat(500), "é".repeat(250)));
        check(&format!("{},{}", "x".repeat(239), "y".repeat(100)));
        check(&"🦀".repeat(250));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let dots = format!("{}..", "x".repeat(240));
        for name in ["", "/", "/a", "a/", "a//b", "../a", "a/../b", "a/.", ".", "a,/b", &",".repeat(300), &dots] {
            assert_eq!(pieces(name), None, "{name}");
        }
        for name in [".xcache/local", ".xcache/local/lock"] {
            let name = ObjectName::new(name).unwrap();
            assert_eq!(ObjectPath::new("upload", &name).unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert!(ObjectPath::new("upload", &ObjectName::new(".xcache/locals").unwrap()).is_ok());
    }
}
