//! Removing what an entry does not hold.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType};

use super::Roots;
use super::walker::{Walker, open_directory};
use crate::archive::index::{Content, Index, RootKind, path_order};

/// Removes everything below the roots that is no member. Returns how many things directly went.
pub(super) fn clean(index: &Index, roots: &Roots) -> io::Result<u64> {
    let mut removed = 0;
    for (root, range) in roots.members() {
        // Of a pattern or a file only the matches are ours; what lies beside them is somebody else's.
        if index.roots[root].kind != RootKind::Directory {
            continue;
        }
        let Some(directory) = roots.directory(root) else { continue };
        let members = &index.members[range];
        let mut walker = Walker::new(directory);
        for member in members.iter().filter(|member| matches!(member.content, Content::Directory)) {
            let path = &member.path[..];
            let at = walker.enter((!path.is_empty()).then_some(path))?;
            for name in names(at)? {
                let full = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
                if members.binary_search_by(|member| path_order(&member.path, &full)).is_err() {
                    remove_tree(at, &name)?;
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
}

/// Removes `name` in `at`, with all that is in it; no link is followed.
pub(super) fn remove_tree(at: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Ok(rustix::fs::unlinkat(at, name, AtFlags::empty())?);
    }
    let directory = open_directory(at, name)?;
    for child in names(directory.as_fd())? {
        remove_tree(directory.as_fd(), &child)?;
    }
    Ok(rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)?)
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
