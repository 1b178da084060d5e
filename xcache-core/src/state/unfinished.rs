//! Restores that have begun to write and have not ended: one small file for each.
//!
//! A restore that is killed, or that has replaced files and cannot go on, leaves a tree that is neither the old nor the
//! new one. Saved under a key, it would be restored for ever. So a restore leaves a note before its first write and
//! takes it away when the tree is whole, or as it was; and a save of any of its paths looks for it.
//!
//! The file is locked while its process lives. So notes of two restores that run at the same time never meet: one that
//! ends takes away its own, and those of dead ones whose paths it has made whole.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::object::RunId;
use crate::paths::PathList;

pub(super) const EXTENSION: &str = "unfinished";
const FORMAT: u32 = 1;

/// A note of our own, which stays if it is dropped.
#[derive(Debug)]
#[must_use = "take it away when the tree is whole"]
pub struct Unfinished {
    path: PathBuf,
    /// What earlier restores of these paths have left. It is made good by us, once we are done.
    earlier: Vec<PathBuf>,
    /// Holds the lock.
    _file: File,
}

/// A note that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedRestore {
    /// The key of the entry that was being restored.
    pub key: String,
    /// Whether that restore is still at work.
    pub is_running: bool,
    bases: Vec<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct UnfinishedDocument {
    format: u32,
    key: String,
    /// Bytes of paths.
    bases: Vec<Vec<u8>>,
}

impl Unfinished {
    /// Notes that the restore `run` of the entry of `key` is about to write to `paths`.
    pub fn note(directory: &Path, paths: &PathList, key: &str, run: RunId) -> io::Result<Self> {
        super::make_directory(directory)?;
        let bases: Vec<PathBuf> = paths.roots().iter().map(|root| root.base.clone()).collect();
        let is_ours = |found: &UnfinishedRestore| {
            !found.is_running && found.bases.iter().all(|base| bases.iter().any(|ours| base.starts_with(ours)))
        };
        let earlier = all(directory).into_iter().filter(|(_, found)| is_ours(found)).map(|(path, _)| path).collect();
        let path = directory.join(format!("{:016x}.{EXTENSION}", run.short()));
        let bases = bases.into_iter().map(|base| base.into_os_string().into_vec()).collect();
        let mut file = File::create(&path)?;
        // A file system without locks makes a restore at work look like a dead one, which only makes a save careful.
        let _ = file.try_lock();
        file.write_all(&serde_json::to_vec(&UnfinishedDocument { format: FORMAT, key: key.to_owned(), bases })?)?;
        Ok(Self { path, earlier, _file: file })
    }

    /// The tree is the one of the entry: takes the note away, and those of earlier restores.
    pub fn whole(self) {
        for path in self.earlier.iter().chain([&self.path]) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The tree is what it was before: takes only this note away.
    pub fn untouched(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A restore that has written to one of `paths`, or into one, and has not ended.
pub fn find(directory: &Path, paths: &PathList) -> Option<UnfinishedRestore> {
    let meets = |found: &UnfinishedRestore| {
        found
            .bases
            .iter()
            .any(|base| paths.roots().iter().any(|root| base.starts_with(&root.base) || root.base.starts_with(base)))
    };
    all(directory).into_iter().map(|(_, found)| found).find(meets)
}

/// All notes, those that cannot be read left out: a restore writes its note as a whole before it writes anything else.
fn all(directory: &Path) -> Vec<(PathBuf, UnfinishedRestore)> {
    let Ok(files) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension.as_bytes() == EXTENSION.as_bytes()));
    paths.sort();
    paths.into_iter().filter_map(|path| Some((path.clone(), read(&path)?))).collect()
}

fn read(path: &Path) -> Option<UnfinishedRestore> {
    let document: UnfinishedDocument = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let is_running = matches!(File::open(path).ok()?.try_lock_shared(), Err(TryLockError::WouldBlock));
    let bases = document.bases.into_iter().map(|base| OsString::from_vec(base).into()).collect();
    Some(UnfinishedRestore { key: document.key, is_running, bases })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(lines: &str) -> PathList {
        PathList::parse(&[lines], Path::new("/work"), None).unwrap()
    }

    #[test]
    fn a_save_of_the_paths_or_of_what_lies_in_or_around_them_finds_the_note() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let finds = |lines: &str| find(directory, &paths(lines)).map(|found| found.key);
        assert_eq!(finds("target"), None);
        let note = Unfinished::note(directory, &paths("target\n~x/y"), "k", RunId([1; 16])).unwrap();
        for lines in ["target", "./target/", "other\ntarget", "target/debug", ".", "target/*.rlib", "/work/target"] {
            assert_eq!(finds(lines).as_deref(), Some("k"), "{lines}");
        }
        for lines in ["target2", "other", "/elsewhere/target"] {
            assert_eq!(finds(lines), None, "{lines}");
        }
        note.untouched();
        assert_eq!(finds("target"), None);
    }

    #[test]
    fn a_restore_that_ends_makes_good_what_dead_ones_have_left_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let runs = |lines| find(directory, &paths(lines)).is_some();
        drop(Unfinished::note(directory, &paths("a/sub"), "dead", RunId([1; 16])).unwrap());
        drop(Unfinished::note(directory, &paths("a\nb"), "dead, with more paths", RunId([2; 16])).unwrap());
        let alive = Unfinished::note(directory, &paths("a/sub"), "alive", RunId([3; 16])).unwrap();
        assert!(find(directory, &paths("a/sub")).is_some_and(|found| !found.is_running));
        Unfinished::note(directory, &paths("a"), "ours", RunId([4; 16])).unwrap().whole();
        assert!(runs("b"), "the second one has written to `b`, too");
        Unfinished::note(directory, &paths("b\na"), "ours", RunId([5; 16])).unwrap().whole();
        assert!(!runs("b"));
        let found = find(directory, &paths("a")).unwrap();
        assert_eq!((found.key.as_str(), found.is_running), ("alive", true));
        alive.whole();
        assert!(!runs("a"));
    }

    #[test]
    fn a_restore_that_changed_nothing_leaves_the_notes_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        drop(Unfinished::note(directory, &paths("a"), "dead", RunId([1; 16])).unwrap());
        Unfinished::note(directory, &paths("a"), "ours", RunId([2; 16])).unwrap().untouched();
        assert_eq!(find(directory, &paths("a")).unwrap().key, "dead");
    }
}
