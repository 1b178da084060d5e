//! Space that is kept for clean-ups.
//!
//! A clean-up writes before it deletes: its own mark, and one for each victim (`docs/protocols.md`, "gc"). On a full disk it
//! could write none, and so free nothing. So a save leaves a file of some size, and a note of a clean-up that finds no space
//! gives it up; what is then deleted makes room for a new one. Notes of saves have no share in it: the archive that follows
//! would take the rest, and no clean-up could begin any more.

use std::path::Path;

use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags};

use super::super::ObjectName;
use super::path::{open_private, private_directories};
use crate::naming::{CONDEMNED_PREFIX, PASSES_PREFIX};

/// Room for some 250 marks, each of which takes a block. When those entries are gone there is room for more.
const BYTES: u64 = 1 << 20;

/// Whether an object is one that the space is kept for.
pub(super) fn is_for(name: &ObjectName) -> bool {
    [CONDEMNED_PREFIX, PASSES_PREFIX].iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// Sees to it that the space is kept, if there is any: a store without it is as good until its disk is full.
pub(super) fn keep(root: &Path) {
    let place = private_directories("reserve");
    let Some((file, directories)) = place.split_last() else { return };
    let Ok(directory) = open_private(root, directories) else { return };
    if fs::accessat(&directory, file.as_str(), fs::Access::EXISTS, AtFlags::empty()).is_ok() {
        return;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(reserve) = fs::openat(&directory, file.as_str(), flags, Mode::from_raw_mode(0o666)) else { return };
    if fs::fallocate(&reserve, FallocateFlags::empty(), 0, BYTES).is_err() {
        let _ = fs::unlinkat(&directory, file.as_str(), AtFlags::empty());
    }
}

/// Gives the space up.
pub(super) fn release(root: &Path) {
    let place = private_directories("reserve").into_iter().fold(root.to_owned(), |path, name| path.join(name));
    let _ = std::fs::remove_file(place);
}
