//! Trees of files: makers of hard ones, a picture of one that holds all that must survive, and the comparison of two.

mod make;
mod random;
mod snapshot;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub use make::*;
pub use random::{Rng, random};
pub use snapshot::{Aspect, Snapshot, assert_same_tree};

/// A temporary directory that can be removed whatever modes its contents have.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("xcache-test-").tempdir().expect("a temporary directory").keep())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_err() {
            open_up(&self.0);
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Gives every directory below `dir` a mode that lets its contents be removed.
fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
