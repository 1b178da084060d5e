//! What a restore leaves for the save of the same job: which entry is on disk, and what its files were then.
//!
//! A hint, and nothing more: missing, stale, foreign or damaged state costs time, never correctness. What it says about
//! files is believed only together with their ctime ([`Signature`]), and refs are checked in the store before use.
//!
//! Beside it lie two kinds of notes that are no hints: [`unfinished`], a restore that has written and not ended, and
//! [`unusable`], an entry that could not be restored.

mod old_jobs;
pub mod unfinished;
pub mod unusable;

use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::archive::footer::Footer;
use crate::archive::index::{Content, RootKind};
use crate::archive::reader::{Archive, read_index};
use crate::object::Ref;
use crate::paths::PathList;
use crate::restore::{Leftovers, Lines};
use crate::scan::Signature;
use crate::store::unique::unique_name;

/// Another format is no state at all.
const MAGIC: &[u8; 8] = b"xcstate2";
/// No state is larger; an index has its own limit.
const MAX_BYTES: u64 = 1 << 30;

/// What is known of the directories of a job.
#[derive(Debug)]
pub struct State {
    /// The entry on disk, its roots in the order of the lines.
    pub archive: Archive,
    /// Its object, as a ref.
    pub own: Ref,
    /// What each member is, if it is a file.
    pub signatures: Vec<Option<Signature>>,
    /// The directory of each root; blank for a line that the entry contains nothing for.
    pub roots: Vec<PathBuf>,
    /// When the signatures were noted, by the clock of the file system.
    pub noted_nanos: i64,
}

/// The first part of the file. The second is the index as in the archive.
#[derive(Serialize, Deserialize)]
struct StateHead {
    store: String,
    own: Ref,
    footer: Footer,
    roots: Vec<Vec<u8>>,
    signatures: Vec<Option<Signature>>,
    noted_nanos: i64,
}

/// What is to be kept.
#[derive(Debug)]
pub struct Note<'a> {
    /// The URL of the store.
    pub store: &'a str,
    /// The entry.
    pub archive: &'a Archive,
    /// Its index as stored in its object.
    pub stored_index: &'a [u8],
    /// Its object.
    pub own: &'a Ref,
    /// What each member of the index as stored is, if it is a file.
    pub signatures: &'a [Option<Signature>],
    /// The paths it was restored onto.
    pub paths: &'a PathList,
    /// When the signatures were taken, in nanoseconds since 1970, if others may have written to the files since.
    pub noted_nanos: Option<i64>,
}

/// Why there is no state that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoState {
    /// None was left.
    #[error("no restore or save of this job has left state for these paths")]
    Missing,
    /// Its file cannot be read.
    #[error("the state of this job cannot be read")]
    Unreadable,
    /// Something is wrong with it.
    #[error("the state of this job cannot be used: {0}")]
    Unusable(&'static str),
}

/// Where the paths of each root begin, as the scanner has it, in the order of the lines.
fn bases(paths: &PathList, archive: &Archive) -> Vec<PathBuf> {
    let base = |(line, kind): (&crate::paths::Root, RootKind)| match kind {
        RootKind::File => line.base.parent().unwrap_or(&line.base).to_owned(),
        RootKind::Nothing => PathBuf::new(),
        RootKind::Directory | RootKind::Pattern => line.base.clone(),
    };
    paths.roots().iter().zip(archive.index.roots.iter().map(|root| root.kind)).map(base).collect()
}

/// The archive with its roots in the order of the lines, as a restore arranges them, and the signatures with it.
fn arranged(
    archive: Archive,
    signatures: Vec<Option<Signature>>,
    paths: &PathList,
) -> Option<(Archive, Vec<Option<Signature>>)> {
    let lines = Lines::of(&archive.index, paths, Leftovers::ByPosition).ok()?;
    let Some((index, numbers)) = lines.arrange(&archive.index) else { return Some((archive, signatures)) };
    let is_file = |number: usize| matches!(index.members[number].content, Content::File(_));
    let signatures = numbers.iter().enumerate().map(|(new, &old)| signatures[old as usize].filter(|_| is_file(new)));
    let signatures = signatures.collect();
    Some((Archive { index, ..archive }, signatures))
}

/// The file for these paths, in whatever order: one for each list of paths, so that several caches of a job do not meet.
fn file(directory: &Path, paths: &PathList) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    let mut bases: Vec<&Path> = paths.roots().iter().map(|root| root.base.as_path()).collect();
    bases.sort_unstable();
    for base in bases {
        hasher.update(base.as_os_str().as_bytes());
        hasher.update(&[0]);
    }
    directory.join(format!("{}.state", &hasher.finalize().to_hex()[..32]))
}

/// Leaves state in `directory`, which is made if need be and readable by its owner only.
pub fn write(directory: &Path, note: &Note<'_>) -> io::Result<()> {
    make_directory(directory)?;
    // A name that no other process takes, also not one of another container with the same process id.
    let temporary = directory.join(format!("{}.tmp", unique_name()));
    let written = create(&temporary).and_then(|mut out| fill(&mut out, note));
    let written = written.and_then(|()| std::fs::rename(&temporary, file(directory, note.paths)));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn create(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn fill(out: &mut std::fs::File, note: &Note<'_>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    // The clock that gives files their times is that of the kernel, which is a tick behind.
    out.write_all(MAGIC)?;
    let clock = out.metadata()?;
    let clock_nanos = clock.mtime().saturating_mul(1_000_000_000).saturating_add(clock.mtime_nsec());
    let noted_nanos = note.noted_nanos.map_or(clock_nanos, |noted| noted.min(clock_nanos));
    let (archive, _) = arranged(note.archive.clone(), note.signatures.to_vec(), note.paths)
        .ok_or_else(|| io::Error::other("the entry is of other paths"))?;
    let roots = bases(note.paths, &archive).into_iter().map(|path| path.into_os_string().into_vec()).collect();
    let (own, footer, signatures) = (note.own.clone(), archive.footer, note.signatures.to_vec());
    let head = StateHead { store: note.store.to_owned(), own, footer, roots, signatures, noted_nanos };
    let head = postcard::to_stdvec(&head).map_err(io::Error::other)?;
    write_body(out, &head, note.stored_index)
}

/// Makes the directory of the state, which only its owner may read. The first time, what jobs of long ago left goes.
fn make_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let is_first = !directory.exists();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    if is_first {
        old_jobs::sweep(directory, std::time::SystemTime::now());
    }
    Ok(())
}

fn write_body(out: &mut std::fs::File, head: &[u8], index: &[u8]) -> io::Result<()> {
    out.write_all(blake3::hash(head).as_bytes())?;
    out.write_all(&(head.len() as u64).to_le_bytes())?;
    out.write_all(head)?;
    out.write_all(index)
}

/// Reads the state for `paths` that was left for the store of this URL.
pub fn read(directory: &Path, store: &str, paths: &PathList) -> Result<State, NoState> {
    let path = file(directory, paths);
    let result = std::fs::metadata(&path).and_then(|found| {
        if found.len() > MAX_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { std::fs::read(&path) }
    });
    match result {
        Ok(bytes) => parse(&bytes, store, paths).map_err(NoState::Unusable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NoState::Missing),
        Err(_) => Err(NoState::Unreadable),
    }
}

/// Removes the state for `paths`, when what is on disk is no longer what it says.
pub fn remove(directory: &Path, paths: &PathList) {
    let _ = std::fs::remove_file(file(directory, paths));
}

fn parse(bytes: &[u8], store: &str, paths: &PathList) -> Result<State, &'static str> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it has another format")?;
    let (hash, rest) = rest.split_first_chunk::<32>().ok_or("it is cut short")?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or("it is cut short")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| "it is damaged")?;
    let (head, index) = rest.split_at_checked(length).ok_or("it is cut short")?;
    if blake3::hash(head).as_bytes() != hash {
        return Err("it is damaged");
    }
    let head: StateHead = postcard::from_bytes(head).map_err(|_| "it is damaged")?;
    let StateHead { store: of, own, footer, roots, signatures, noted_nanos } = head;
    if of != store {
        return Err("it is of another store");
    }
    let index = read_index(&footer, index).map_err(|_| "its index is damaged")?;
    if signatures.len() != index.members.len() {
        return Err("it is damaged");
    }
    let (archive, signatures) = arranged(Archive { footer, index }, signatures, paths).ok_or("it is of other paths")?;
    let roots: Vec<PathBuf> = roots.into_iter().map(|path| std::ffi::OsString::from_vec(path).into()).collect();
    let mut before: Vec<&PathBuf> = roots.iter().collect();
    let now = bases(paths, &archive);
    let mut sorted: Vec<&PathBuf> = now.iter().collect();
    before.sort_unstable();
    sorted.sort_unstable();
    if before != sorted {
        return Err("it is of other paths");
    }
    Ok(State { archive, own, signatures, roots: now, noted_nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::{Content, File, Index, IndexRoot, Member, Metadata};
    use crate::archive::writer::{Title, finish};
    use crate::chunk::Cutter;
    use crate::object::{ArchiveId, Kind, ObjectName};

    const STORE: &str = "s3://bucket/prefix";

    fn paths(path: &str) -> PathList {
        PathList::parse(&[path], Path::new("/work"), None).unwrap()
    }

    /// The end of an archive, and what it tells.
    fn archive() -> (Vec<u8>, Archive) {
        let member = |path: &[u8], content| {
            let meta = Metadata { mode: 0o755, mtime_seconds: 1, mtime_nanos: 2, uid: 0, gid: 0 };
            Member { path: path.into(), meta, xattrs: Vec::new(), content }
        };
        let empty = Content::File(File { size: 0, chunks: 0..0, extents: None });
        let index = Index {
            writer: "test".into(),
            cutter: Cutter::FORMAT_1,
            roots: vec![IndexRoot { given: "dir".into(), kind: RootKind::Directory, members: 2 }],
            frames: Vec::new(),
            members: vec![member(b"", Content::Directory), member(b"file", empty)],
            chunks: Vec::new(),
        };
        let title = Title { archive_id: ArchiveId([7; 16]), kind: Kind::Base, key: "key".into(), created_nanos: 5 };
        let end = finish(title, index, Vec::new(), Vec::new()).unwrap();
        (end.bytes.to_vec(), end.read_back().unwrap())
    }

    /// Writes a state and gives its bytes.
    fn written(directory: &Path) -> Vec<u8> {
        let (end, archive) = archive();
        let own = Ref {
            name: ObjectName::new("key-base.tar.zst").unwrap(),
            etag: "e".into(),
            size: 100,
            data_bytes: 0,
            archive_id: archive.footer.archive_id,
            created_nanos: 5,
        };
        let signatures = [None, Some(Signature { inode: 7, ..Signature::default() })];
        let paths = paths("dir");
        let (archive, own) = (&archive, &own);
        let stored_index = archive.footer.stored_index(&end, archive.footer.index_offset).unwrap();
        let signatures = &signatures;
        let note = Note { store: STORE, archive, stored_index, own, signatures, paths: &paths, noted_nanos: Some(9) };
        write(directory, &note).unwrap();
        std::fs::read(file(directory, &paths)).unwrap()
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path());
        let state = read(directory.path(), STORE, &paths("dir")).unwrap();
        assert_eq!((state.archive, state.noted_nanos), (archive().1, 9));
        assert_eq!(state.signatures[1].unwrap().inode, 7);
        assert_eq!(state.roots, [PathBuf::from("/work/dir")]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        remove(directory.path(), &paths("dir"));
        assert!(read(directory.path(), STORE, &paths("dir")).is_err());
    }

    #[test]
    fn every_damage_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = written(directory.path());
        let read = |bytes: &[u8]| parse(bytes, STORE, &paths("dir")).map(|state| state.own.name);
        assert_eq!(read(&bytes).unwrap().as_str(), "key-base.tar.zst");
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                assert!(read(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(read(&[&bytes[..], b"x"].concat()).is_err());
    }

    #[test]
    fn state_of_another_store_or_of_other_paths_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = written(directory.path());
        let check = |store: &str, path: &str, expected: Option<&str>| {
            assert_eq!(parse(&bytes, store, &paths(path)).err(), expected);
        };
        check(STORE, "dir", None);
        check("s3://bucket/other", "dir", Some("it is of another store"));
        check(STORE, "other", Some("it is of other paths"));
        assert!(read(directory.path(), STORE, &paths("other")).is_err());
    }
}
