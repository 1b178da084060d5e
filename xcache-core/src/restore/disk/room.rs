//! Whether something new may take the place of what is there.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::Stat;

use super::clean::REPOSITORY;
use super::look::{is_directory, is_mounted, may_rename, names, stat};
use super::place::{Place, join};
use super::state::Target;
use super::walker::{Walker, open_directory};
use crate::paths::PathDecision;

/// What is in a directory is not in the entry, so it does not make room for a file or link, unless everything else is to
/// be removed anyway; and what is excluded never does.
pub(super) fn may_replace(
    target: &Target<'_>,
    place: Place<'_>,
    at: BorrowedFd<'_>,
    name: &[u8],
    found: &Stat,
) -> io::Result<()> {
    may_rename(at, found)?;
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
    match kept_below(target, place)? {
        None => Ok(()),
        Some(reason) => in_the_way(reason),
    }
}

/// Why something below the directory at a place must stay, if anything must.
fn kept_below(target: &Target<'_>, place: Place<'_>) -> io::Result<Option<&'static str>> {
    let root = target.root(place.root).ok_or(io::ErrorKind::NotFound)?;
    let mut walker = Walker::new(root.directory.clone(), target.levels);
    let mut directories = vec![place.path.to_vec()];
    while let Some(path) = directories.pop() {
        // One that cannot be read is met when it is to be removed.
        let Ok(at) = walker.enter(Some(&path)) else { continue };
        for name in names(at).unwrap_or_default() {
            let below = join(&path, &name);
            let Some(found) = stat(at, &name)? else { continue };
            if target.paths.decide(place.root, &below, is_directory(&found)) == PathDecision::Exclude {
                return Ok(Some("a directory is in its place that holds what is excluded"));
            }
            if name == REPOSITORY && !target.policy.clean_repositories {
                return Ok(Some("a directory is in its place that holds a git repository"));
            }
            if is_directory(&found) {
                directories.push(below);
            }
        }
    }
    Ok(None)
}
