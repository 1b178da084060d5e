//! Whether something new may take the place of what is there.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::Stat;

use super::look::{is_directory, is_mounted, names, stat};
use super::place::{Place, join};
use super::state::Target;
use super::walker::{Walker, open_directory};
use crate::paths::Decision;

/// What is in a directory is not in the entry, so it does not make room for a file or link, unless everything else is to
/// be removed anyway; and what is excluded never does.
pub(super) fn may_replace(
    target: &Target<'_>,
    place: Place<'_>,
    at: BorrowedFd<'_>,
    name: &[u8],
    found: &Stat,
) -> io::Result<()> {
    if !is_directory(found) {
        return Ok(());
    }
    let in_the_way = |reason| Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, reason));
    let device = target.device(place.root).unwrap_or(found.st_dev);
    if is_mounted(at, name, found, device) {
        return in_the_way("a file system is mounted in its place");
    }
    let directory = open_directory(at, name)?;
    if !target.policy.clean {
        return match names(directory.as_fd())?.is_empty() {
            true => Ok(()),
            false => in_the_way("a directory that is not empty is in its place"),
        };
    }
    match holds_excluded(target, place)? {
        false => Ok(()),
        true => in_the_way("a directory is in its place that holds what is excluded"),
    }
}

/// Whether anything below the directory at a place is excluded.
fn holds_excluded(target: &Target<'_>, place: Place<'_>) -> io::Result<bool> {
    let root = target.root(place.root).ok_or(io::ErrorKind::NotFound)?;
    let mut walker = Walker::new(root.directory.clone(), target.levels);
    let mut directories = vec![place.path.to_vec()];
    while let Some(path) = directories.pop() {
        // One that cannot be read is met when it is to be removed.
        let Ok(at) = walker.enter(Some(&path)) else { continue };
        for name in names(at).unwrap_or_default() {
            let below = join(&path, &name);
            let Some(found) = stat(at, &name)? else { continue };
            if target.paths.decide(place.root, &below, is_directory(&found)) == Decision::Exclude {
                return Ok(true);
            }
            if is_directory(&found) {
                directories.push(below);
            }
        }
    }
    Ok(false)
}
