//! Drafts: files in the private folder that are not objects yet.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, Mode, OFlags};

use super::super::unique::unique_name;
use super::path::{open_private, private_directories};

/// The drafts of this process, for [`remove_drafts`].
static LIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn live() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the drafts that this process has not put in place. To be called at its end, when what was still writing to them
/// has been left behind; what a killed process leaves is removed by the next one that opens the store.
pub fn remove_drafts() {
    for path in std::mem::take(&mut *live()) {
        let _ = std::fs::remove_file(&path);
        // The note of an upload.
        let mut note = path.into_os_string();
        note.push(".json");
        let _ = std::fs::remove_file(note);
    }
}

/// A new file in the private folder that becomes an object, or vanishes when dropped.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) directory: OwnedFd,
    pub(super) name: String,
    pub(super) file: File,
}

impl Draft {
    /// Makes an empty one in `folder` of the private folder.
    pub(super) fn create(root: &Path, folder: &str) -> io::Result<Self> {
        let name = unique_name();
        let directory = open_private(root, &private_directories(folder))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::openat(&directory, name.as_str(), flags, Mode::from_raw_mode(0o666))?;
        let path = private_directories(folder).iter().fold(root.to_owned(), |path, name| path.join(name)).join(&name);
        live().insert(path);
        Ok(Self { directory, name, file: File::from(file) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives the file another name, in place of whatever has it.
    pub(super) fn rename_to(&self, directory: &OwnedFd, file: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.directory, self.name.as_str(), directory, file)?)
    }
}

impl Drop for Draft {
    /// After a rename the name is gone already; after a link this leaves the object its only name.
    fn drop(&mut self) {
        live().retain(|path| path.file_name().is_none_or(|name| name != self.name.as_str()));
        let _ = fs::unlinkat(&self.directory, self.name.as_str(), AtFlags::empty());
    }
}
