//! Entries that a restore of this job could not use: one small file for each.
//!
//! The save of the same job must not build on such an entry, nor on anything that builds on it: HEAD says that all is
//! well, and each later job would miss. It may also make good what the restore found, under rules that
//! `docs/protocols.md` gives. A note is evidence, not proof: before anything is deleted because of it, the store is
//! asked once more.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::object::{ArchiveId, Pinned, Ref};

/// What a restore found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusableNote {
    /// The URL of the store.
    pub store: String,
    /// The entry that could not be restored.
    pub entry: Pinned,
    /// The object at fault: that of the entry, or one that it builds on.
    pub object: Pinned,
    /// Its archive, as far as that is known: its ETag may have changed since a ref to it was written.
    pub archive: Option<ArchiveId>,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Its bytes are not what they were: two fetches agree, and a HEAD says that it still is the same object.
    Damaged,
    /// It is not there any more: a GET and a HEAD agree. Only said of an object that the entry builds on.
    Gone,
    /// It is there and is not handed out: in an archive tier, under a key that we may not use, or lost on a disk.
    Refused,
}

impl UnusableNote {
    /// Whether nothing must be built on `r`.
    pub fn rules_out(&self, r: &Ref) -> bool {
        self.entry.is_of(r) || self.object.is_of(r) || self.archive == Some(r.archive_id)
    }
}

/// Leaves a note in `directory`, which is made if need be.
pub fn note(directory: &Path, found: &UnusableNote) -> io::Result<()> {
    super::make_directory(directory)?;
    std::fs::write(file(directory, found), serde_json::to_vec(found)?)
}

/// All notes for the store of this URL. Files that cannot be read are no notes.
pub fn read(directory: &Path, store: &str) -> Vec<UnusableNote> {
    let Ok(files) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = files
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    let notes = paths.filter_map(|path| serde_json::from_slice::<UnusableNote>(&std::fs::read(path).ok()?).ok());
    notes.filter(|note| note.store == store).collect()
}

/// Takes a note away.
pub fn forget(directory: &Path, found: &UnusableNote) {
    let _ = std::fs::remove_file(file(directory, found));
}

pub(super) const EXTENSION: &str = "unusable";

fn file(directory: &Path, found: &UnusableNote) -> PathBuf {
    let UnusableNote { store, entry: Pinned { name, etag }, .. } = found;
    let hash = blake3::hash(format!("{store}\n{name}\n{etag}").as_bytes()).to_hex();
    directory.join(format!("{}.{EXTENSION}", &hash[..32]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectName;

    fn pinned(name: &str, etag: &str) -> Pinned {
        Pinned { name: ObjectName::new(name).unwrap(), etag: etag.into() }
    }

    fn found(name: &str, etag: &str) -> UnusableNote {
        let entry = pinned(name, etag);
        let object = pinned("base", "b");
        UnusableNote { store: "s3://b".to_owned(), entry, object, archive: Some(ArchiveId([7; 16])), why: Why::Damaged }
    }

    fn object(name: &str, etag: &str) -> Ref {
        let Pinned { name, etag } = pinned(name, etag);
        Ref { name, etag, size: 1, data_bytes: 1, archive_id: ArchiveId([1; 16]), created_nanos: 0 }
    }

    #[test]
    fn notes_are_read_for_their_store_until_they_are_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let directory = &directory.path().join("state");
        assert_eq!(read(directory, "s3://b"), []);
        let (one, two) = (found("a", "1"), found("a", "2"));
        note(directory, &one).unwrap();
        note(directory, &two).unwrap();
        note(directory, &one).unwrap();
        std::fs::write(directory.join("x.unusable"), "{").unwrap();
        assert_eq!(read(directory, "s3://b").len(), 2);
        assert_eq!(read(directory, "s3://c"), []);
        forget(directory, &one);
        assert_eq!(read(directory, "s3://b"), [two]);
    }

    #[test]
    fn an_entry_and_the_object_at_fault_are_both_ruled_out_and_no_other_of_the_name() {
        let note = found("delta", "d");
        assert!(note.rules_out(&object("delta", "d")) && note.rules_out(&object("base", "b")));
        let copied = Ref { archive_id: ArchiveId([7; 16]), ..object("base", "copied") };
        assert!(note.rules_out(&copied));
        assert!(!note.rules_out(&object("delta", "newer")) && !note.rules_out(&object("other", "b")));
    }
}
