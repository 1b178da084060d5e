//! What restores that were killed left behind.
//!
//! A restore that makes anything under a temporary name first marks the root with such a name, and takes the mark away at
//! its end. So one listing of the root tells whether to look through the tree, which almost always need not be done.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::PoisonError;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

use super::clean::Remover;
use super::look::{is_directory, is_mounted, names, stat};
use super::notices::Notices;
use super::place::join;
use super::root::{Mark, OpenRoot, RootExtent};
use super::state::Target;
use super::walker::Walker;
use crate::paths::PathDecision;
use crate::temporary;

/// What is in a root.
pub(super) struct Around {
    /// Nothing but leftovers.
    pub(super) is_fresh: bool,
    pub(super) has_leftovers: bool,
}

/// Looks at what is in a root. What `run`, this restore, has set aside is no leftover yet.
pub(super) fn look(root: &OpenRoot, run: u64) -> io::Result<Around> {
    // One that may be entered but not listed holds whatever it holds.
    let names = match names(root.directory.as_fd()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(Around { is_fresh: false, has_leftovers: false });
        }
        names => names?,
    };
    let mut runs = names.iter().map(|name| temporary::run_of(name));
    let has_leftovers = runs.clone().flatten().any(|of| of != run);
    Ok(Around { is_fresh: runs.all(|of| of.is_some()), has_leftovers })
}

/// Removes the leftovers below a root. No other restore is at work there.
pub(super) fn remove(target: &Target<'_>, line: usize, root: &OpenRoot, notices: &mut Notices) {
    let mut remover = Remover::new(target, line, root, notices);
    let mut walker = Walker::new(root.directory.clone(), target.levels);
    let mut directories = vec![Vec::new()];
    while let Some(path) = directories.pop() {
        // What cannot be read now is met again by the restore itself.
        let Ok(at) = walker.enter((!path.is_empty()).then_some(&path)) else { continue };
        for name in names(at).unwrap_or_default() {
            let below = join(&path, &name);
            if let Some(run) = temporary::run_of(&name) {
                if run == target.policy.run {
                    continue;
                }
                remover.remove_own(&below);
            } else if root.extent != RootExtent::One
                && let Ok(Some(found)) = stat(at, &name)
                && is_directory(&found)
                && target.paths.decide(line, &below, true) != PathDecision::Exclude
                && !is_mounted(at, &name, &found, root.device)
            {
                directories.push(below);
            }
        }
    }
}

/// Marks a root, once, before anything is made in it under a temporary name.
pub(super) fn mark(root: &OpenRoot, next_name: impl FnOnce() -> (u64, Vec<u8>)) {
    // Of a single file the leftovers are seen as the mark would be.
    if root.extent == RootExtent::One {
        return;
    }
    let mut mark = root.mark.lock().unwrap_or_else(PoisonError::into_inner);
    if mark.is_some() {
        return;
    }
    let before = changed(root);
    let (number, name) = next_name();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&root.directory, &name[..], flags, Mode::RUSR | Mode::WUSR);
    // Where no mark can be made, files in directories below may be. They are not missed if they are left behind.
    *mark = Some(Mark { number: made.is_ok().then_some(number), changed: (before, changed(root)) });
}

/// Takes the mark away. If nothing else has changed the directory meanwhile, it is as it was.
pub(super) fn unmark(root: &OpenRoot, name: impl FnOnce(u64) -> Vec<u8>) {
    let mark = root.mark.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Mark { number: Some(number), changed: (before, after) }) = mark else { return };
    let is_unchanged = changed(root) == after;
    let _ = rustix::fs::unlinkat(&root.directory, &name(number)[..], AtFlags::empty());
    if is_unchanged {
        let keep = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access: keep, last_modification: before };
        let _ = rustix::fs::futimens(&root.directory, &times);
    }
}

fn changed(root: &OpenRoot) -> Timespec {
    let stat = rustix::fs::fstat(&root.directory);
    stat.map_or(Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }, |stat| Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(rustix::fs::UTIME_OMIT),
    })
}
