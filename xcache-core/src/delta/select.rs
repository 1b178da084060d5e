//! What a delta stores.

use std::collections::HashSet;

use super::compare::TreeFacts;
use super::known::{Known, archived_bytes};
use crate::chunk::ChunkHash;
use crate::pack::{ChunkItem, Job, jobs_of_chunks, jobs_of_members};
use crate::scan::Tree;

/// What a tree uses of an earlier entry, in stored bytes. What is not stored yet is estimated with the compression of
/// what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredUse {
    /// Of each ref.
    pub(super) live_bytes: Vec<u64>,
    /// What is in none of them.
    pub(super) new_bytes: u64,
    /// The whole tree, each chunk once.
    pub(super) tree_bytes: u64,
    /// The whole tree as a base: every file and every directory, duplicates too.
    pub(super) base_bytes: u64,
}

/// How much of `known` a tree uses, and what it would have to store anew.
pub(super) fn usage(known: &Known, facts: &TreeFacts) -> StoredUse {
    let mut live = vec![0f64; known.refs.len()];
    let mut new_raw = 0u64;
    let (mut live_raw, mut seen) = (0u64, HashSet::new());
    for &(hash, length) in facts.files.iter().flatten().flat_map(|file| &file.chunks) {
        if !seen.insert(hash) {
            continue;
        }
        match known.chunk(&hash) {
            Some(chunk) => {
                let source = usize::from(known.frame_of(chunk).source);
                live[source - 1] += known.stored_bytes(chunk);
                live_raw += archived_bytes(length.into());
            }
            None => new_raw += archived_bytes(length.into()),
        }
    }
    for (live, r) in live.iter_mut().zip(&known.refs) {
        *live = live.min(r.data_bytes as f64).ceil();
    }
    let live_all: f64 = live.iter().sum();
    let ratio = if live_raw == 0 { 1.0 } else { (live_all / live_raw as f64).min(1.0) };
    let new_bytes = (new_raw as f64 * ratio) as u64;
    let members = facts.files.iter().map(|file| {
        let content = file.iter().flat_map(|file| &file.chunks).map(|(_, length)| u64::from(*length)).sum::<u64>();
        archived_bytes(content)
    });
    let base_raw: u64 = members.sum();
    StoredUse {
        live_bytes: live.into_iter().map(|bytes| bytes as u64).collect(),
        new_bytes,
        tree_bytes: live_all as u64 + new_bytes,
        base_bytes: (base_raw as f64 * ratio) as u64,
    }
}

/// Selects what is in none of the refs that stay. Each chunk is stored once; a file of which all is new is stored
/// whole.
pub fn select(tree: &Tree, known: &Known, facts: &TreeFacts, keep: &[bool]) -> Vec<Job> {
    let is_known =
        |hash: &ChunkHash| known.chunk(hash).is_some_and(|chunk| keep[usize::from(known.frame_of(chunk).source) - 1]);
    let mut stored: HashSet<ChunkHash> = HashSet::new();
    let (mut whole, mut loose) = (Vec::new(), Vec::new());
    for (node, file) in (0u32..).zip(&facts.files) {
        let Some(file) = file else { continue };
        let is_new = |hash: &ChunkHash| !is_known(hash) && !stored.contains(hash);
        if !file.chunks.is_empty() && file.chunks.iter().all(|(hash, _)| is_new(hash)) {
            stored.extend(file.chunks.iter().map(|(hash, _)| *hash));
            whole.push(node);
            continue;
        }
        let mut offset = 0;
        for &(hash, length) in &file.chunks {
            if !is_known(&hash) && stored.insert(hash) {
                loose.push(ChunkItem { node, offset, length, hash });
            }
            offset += u64::from(length);
        }
    }
    let mut jobs = jobs_of_members(tree, whole);
    jobs.extend(jobs_of_chunks(loose));
    jobs
}

#[cfg(test)]
mod tests {
    use super::super::compare::FileFacts;
    use super::*;
    use crate::archive::footer::Seek;
    use crate::archive::index::{Chunk, Content, File, Frame, Index, IndexRoot, Member, Metadata, RootKind};
    use crate::archive::reader::Archive;
    use crate::archive::writer::{Title, finish};
    use crate::chunk::Cutter;
    use crate::object::{ArchiveId, Kind, ObjectName, Ref};
    use crate::pack::FileRecord;
    use crate::scan::Signature;

    /// An entry of files of `length` bytes, all in one frame that takes `stored` bytes, and how much of it is live if
    /// `kept` of its files are still there.
    fn check(files: u32, length: u32, kept: u32, expected: std::ops::RangeInclusive<u64>) {
        let on_tape = length.next_multiple_of(512) + 1536;
        let stored = files * on_tape / 4;
        let hash = |number: u32| ChunkHash::of(&number.to_le_bytes());
        let chunk = |number: u32| Chunk { hash: hash(number), length, frame: 0, offset: number * on_tape + 1536 };
        let meta = Metadata { mode: 0o755, mtime_seconds: 0, mtime_nanos: 0, uid: 0, gid: 0 };
        let member = |path: &[u8], content| Member { path: path.into(), meta, xattrs: Vec::new(), content };
        let size = u64::from(files) * u64::from(length);
        let all = Content::File(File { size, chunks: 0..files, extents: None });
        let frame = Frame { source: 0, offset: 0, stored_bytes: stored, raw_bytes: files * on_tape };
        let index = Index {
            writer: "test".into(),
            cutter: Cutter::FORMAT_1,
            roots: vec![IndexRoot { given: "x".into(), kind: RootKind::Directory, members: 2 }],
            frames: vec![frame],
            members: vec![member(b"", Content::Directory), member(b"all", all)],
            chunks: (0..files).map(chunk).collect(),
        };
        let title = Title { archive_id: ArchiveId([1; 16]), kind: Kind::Base, key: "k".into(), created_nanos: 0 };
        let seek = Seek { stored_bytes: stored, raw_bytes: files * on_tape };
        let Archive { footer, .. } = finish(title, index.clone(), Vec::new(), vec![seek]).unwrap().read_back().unwrap();
        let own = Ref {
            name: ObjectName::new("k-base.tar.zst").unwrap(),
            etag: "e".into(),
            size: stored.into(),
            data_bytes: stored.into(),
            archive_id: footer.archive_id,
            created_nanos: 0,
        };
        let known = Known::new(own, Archive { footer, index });
        let record = FileRecord {
            meta,
            xattrs: Vec::new(),
            size: length.into(),
            extents: None,
            signature: Signature::default(),
        };
        let file = |number| Some(FileFacts { record: record.clone(), chunks: vec![(hash(number), length)] });
        let facts = TreeFacts { files: (0..kept).map(file).collect(), ..TreeFacts::default() };
        let StoredUse { live_bytes, new_bytes, tree_bytes, base_bytes } = usage(&known, &facts);
        let percent = live_bytes[0] * 100 / u64::from(stored);
        assert!(expected.contains(&percent), "{percent} % of {files} files of {length} bytes are live");
        assert_eq!((new_bytes, tree_bytes), (0, live_bytes[0]));
        assert!(base_bytes.abs_diff(tree_bytes) <= 1, "{base_bytes} {tree_bytes}");
    }

    #[test]
    fn an_object_of_small_files_is_live_as_far_as_they_are_there() {
        check(1000, 20, 1000, 99..=100);
        check(1000, 20, 400, 39..=41);
        check(1000, 700, 1000, 99..=100);
        check(50, 30_000, 25, 49..=51);
        check(1000, 20, 1, 0..=1);
    }
}
