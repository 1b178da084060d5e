//! What the files of a tree consist of. Only those that may have changed are read.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::known::{Known, Trust};
use crate::archive::index::{Chunk, Content};
use crate::chunk::{ChunkHash, Cutter, Ends};
use crate::convert;
use crate::monitor::Progress;
use crate::pack::{ATTEMPTS, FileRecord, OpenedFile, open};
use crate::scan::{Node, NodeKind, SkipReason, Skipped, Tree};

/// What is known of all files of a tree.
#[derive(Debug, Default)]
pub struct TreeFacts {
    /// By number of node; `None` for what is no file, or could not be read.
    pub files: Vec<Option<FileFacts>>,
    /// Nodes that could not be read.
    pub lost: Vec<u32>,
    /// What is to be told about them.
    pub skipped: Vec<Skipped>,
    /// Bytes that had to be read.
    pub read_bytes: u64,
    /// Files that had to be read.
    pub read_files: u64,
}

/// A file as it was when it was compared.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// Attributes, length, holes.
    pub record: FileRecord,
    /// Its chunks: hash and length.
    pub chunks: Vec<(ChunkHash, u32)>,
}

/// Nodes are handed to threads so many at a time.
const BATCH: usize = 64;
/// Files are read so many bytes at a time. A full buffer holds a whole chunk, so there is always one to take out.
const BUFFER_BYTES: usize = 2 << 20;
const _: () = assert!(BUFFER_BYTES > Cutter::FORMAT_1.max_bytes as usize);

/// Finds out what each file consists of; those that `trust` vouches for are not read.
pub fn compare(
    tree: &Tree,
    known: &Known,
    trust: Option<&Trust<'_>>,
    threads: usize,
    progress: &dyn Progress,
) -> TreeFacts {
    let bytes = |node: &Node| if node.kind == NodeKind::File { node.stat.size } else { 0 };
    progress.expect(tree.nodes.iter().map(bytes).sum());
    let next = AtomicUsize::new(0);
    let all = Mutex::new(TreeFacts { files: vec![None; tree.nodes.len()], ..TreeFacts::default() });
    let is_trusted = (0..tree.roots.len())
        .map(|root| trust.is_some_and(|trust| trust.roots.get(root).map(AsRef::as_ref) == Some(same_place(tree, root))))
        .collect();
    let comparison = Comparison { tree, known, trust, is_trusted };
    crate::threads::share(threads, || {
        let mut buffer = Vec::new();
        loop {
            // In batches: files of a cache are small, and taking the lock for each would keep the threads waiting
            // for one another.
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = tree.nodes.get(start..(start + BATCH).min(tree.nodes.len())) else { break };
            let found = comparison.batch(batch, &mut buffer);
            progress.add(batch.iter().map(bytes).sum());
            all.lock().unwrap_or_else(PoisonError::into_inner).add(tree, start, batch, found);
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A tree, and what its files are compared with.
struct Comparison<'a> {
    tree: &'a Tree,
    known: &'a Known,
    trust: Option<&'a Trust<'a>>,
    /// Of each root: whether it lies where what is trusted was noted.
    is_trusted: Vec<bool>,
}

/// What some nodes in a row consist of.
struct Batch {
    facts: Vec<io::Result<Option<FileFacts>>>,
    read_bytes: u64,
    read_files: u64,
}

impl Comparison<'_> {
    fn batch(&self, nodes: &[Node], buffer: &mut Vec<u8>) -> Batch {
        let mut batch = Batch { facts: Vec::with_capacity(nodes.len()), read_bytes: 0, read_files: 0 };
        for node in nodes {
            let facts = self.node(node, &mut batch, buffer);
            batch.facts.push(facts);
        }
        batch
    }

    fn node(&self, node: &Node, batch: &mut Batch, buffer: &mut Vec<u8>) -> io::Result<Option<FileFacts>> {
        if node.kind != NodeKind::File {
            return Ok(None);
        }
        let trust = self.trust.filter(|_| self.is_trusted[node.root as usize]);
        if let Some(facts) = trust.and_then(|trust| unchanged(self.known, trust, node)) {
            return Ok(Some(facts));
        }
        batch.read_files += 1;
        let before = self.known.chunks_at(node.root as usize, &node.path);
        let facts = read(self.tree, node, before, buffer)?;
        batch.read_bytes += facts.record.size;
        Ok(Some(facts))
    }
}

impl TreeFacts {
    /// Takes in what was found out about `nodes`, which begin at number `start`.
    fn add(&mut self, tree: &Tree, start: usize, nodes: &[Node], batch: Batch) {
        self.read_bytes += batch.read_bytes;
        self.read_files += batch.read_files;
        for ((number, node), facts) in (start..).zip(nodes).zip(batch.facts) {
            match facts {
                Ok(facts) => self.files[number] = facts,
                Err(error) => {
                    self.lost.push(convert::number(number));
                    let reason = SkipReason::Unreadable(error.to_string());
                    self.skipped.push(Skipped { path: tree.path_of(node), reason });
                }
            }
        }
    }
}

fn same_place(tree: &Tree, root: usize) -> &Path {
    &tree.roots[root].base
}

/// What a file consists of, if it is certainly the one that was restored.
fn unchanged(known: &Known, trust: &Trust<'_>, node: &Node) -> Option<FileFacts> {
    let (number, member) = known.member(node.root as usize, &node.path)?;
    let then = trust.signatures.get(number as usize)?.as_ref()?;
    if *then != node.stat || !then.is_settled(trust.noted_nanos) {
        return None;
    }
    let Content::File(file) = &member.content else { return None };
    let record = FileRecord {
        meta: node.meta,
        xattrs: member.xattrs.clone(),
        size: file.size,
        extents: file.extents.clone(),
        signature: node.stat,
    };
    let chunks = known.index.chunks_of(file).iter().map(|chunk| (chunk.hash, chunk.length)).collect();
    Some(FileFacts { record, chunks })
}

/// Reads and hashes a file; again, if it changes meanwhile. `before` is what was at its path in the earlier entry.
fn read(tree: &Tree, node: &Node, before: &[Chunk], buffer: &mut Vec<u8>) -> io::Result<FileFacts> {
    let mut attempt = 1;
    loop {
        let file = open(tree, node)?;
        let facts = read_once(&file, before, buffer)?;
        let is_whole = facts.record.size == file.signature.size;
        if is_whole && (attempt == ATTEMPTS || file.is_unchanged()?) {
            return Ok(facts);
        }
        if attempt == ATTEMPTS {
            return Err(io::Error::other("it kept changing while it was read"));
        }
        attempt += 1;
    }
}

fn read_once(file: &OpenedFile, before: &[Chunk], buffer: &mut Vec<u8>) -> io::Result<FileFacts> {
    let data_bytes = file.data_bytes();
    let cutter = Cutter::FORMAT_1;
    let mut chunks = Vec::new();
    // As long as a file of the same length has the same content, it has the same cut points: looking for them costs
    // more than hashing.
    let is_same_length = before.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>() == data_bytes;
    let mut expected = if is_same_length { before } else { &[] };
    let mut cursor = file.start();
    let mut unread = data_bytes;
    buffer.clear();
    while unread > 0 || !buffer.is_empty() {
        let room = (BUFFER_BYTES - buffer.len()) as u64;
        let wanted = usize::try_from(unread.min(room)).map_err(io::Error::other)?;
        let got = file.read(&mut cursor, buffer, wanted)?;
        unread = if got < wanted { 0 } else { unread - got as u64 };
        let ends = if unread == 0 { Ends::File } else { Ends::Buffer };
        let mut start = 0;
        while let Some((next, rest)) = expected.split_first() {
            match buffer.get(start..start + next.length as usize) {
                Some(data) if ChunkHash::of(data) == next.hash => {
                    chunks.push((next.hash, next.length));
                    start += data.len();
                    expected = rest;
                }
                // One that no file is cut into would never be in the buffer as a whole.
                None if ends == Ends::Buffer && next.length <= cutter.max_bytes => break,
                _ => expected = &[],
            }
        }
        if expected.is_empty() {
            let is_small = data_bytes <= cutter.whole_bytes.into();
            let data = &buffer[start..];
            let cuts = if is_small { cutter.cut_file(data) } else { cutter.cut_large(data, ends) };
            for length in cuts {
                let hash = ChunkHash::of(&buffer[start..start + length]);
                chunks.push((hash, u32::try_from(length).map_err(io::Error::other)?));
                start += length;
            }
        }
        buffer.drain(..start);
        if ends == Ends::File {
            break;
        }
    }
    // Fewer bytes than there should be are told by a size that is too small.
    let read: u64 = chunks.iter().map(|(_, length)| u64::from(*length)).sum();
    let size = file.signature.size - data_bytes.saturating_sub(read).min(file.signature.size);
    Ok(FileFacts { record: FileRecord { size, ..FileRecord::of(file) }, chunks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::PathList;
    use crate::scan::scan;

    /// The chunks of a file of `content` if `before` stood at its path.
    fn chunks(content: &[u8], before: &[Chunk]) -> Vec<Chunk> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), content).unwrap();
        let paths = PathList::parse(&[dir.path().to_str().unwrap()], dir.path(), None).unwrap();
        let tree = scan(&paths, 1);
        let node = tree.nodes.iter().find(|node| node.kind == NodeKind::File).unwrap();
        let facts = read(&tree, node, before, &mut Vec::new()).unwrap();
        facts.chunks.into_iter().map(|(hash, length)| Chunk { hash, length, frame: 0, offset: 0 }).collect()
    }

    #[test]
    fn what_was_there_before_never_moves_a_cut_point() {
        let mut noise = vec![0; 5 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let before = chunks(&noise, &[]);
        assert!(before.len() > 20);
        let check = |content: &[u8]| {
            assert_eq!(chunks(content, &before), chunks(content, &[]), "{} bytes", content.len());
            chunks(content, &[])
        };
        assert_eq!(check(&noise), before);
        for place in [0, 100_000, 2 << 20, (5 << 20) - 1] {
            let mut changed = noise.clone();
            changed[place] ^= 1;
            let changed = check(&changed);
            let kept = changed.iter().filter(|chunk| before.contains(chunk)).count();
            assert!((1..=3).contains(&(before.len() - kept)), "{place}");
        }
        // Inserted and cut off at the end: of the same length, but moved.
        let moved = [&[1; 1000], &noise[..noise.len() - 1000]].concat();
        check(&moved);
        check(&noise[..noise.len() - 1]);
        check(&[&noise[..], b"more"].concat());
        check(b"");
        check(&noise[..1000]);
    }

    #[test]
    fn an_earlier_chunk_that_no_file_is_cut_into_ends_no_later_than_any_other() {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let content = vec![7; 3 << 20];
            let lie = Chunk { hash: ChunkHash::of(&content), length: 3 << 20, frame: 0, offset: 0 };
            sender.send(chunks(&content, &[lie]) == chunks(&content, &[])).unwrap();
        });
        assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(60)), Ok(true), "it goes on for ever");
    }
}
