//! The index of a new entry, from the tree, what was packed, and what was known.

use std::collections::HashMap;

use super::compare::{Facts, FileFacts};
use super::known::Known;
use crate::archive::footer::Ref;
use crate::archive::index::{Chunk, Content, File, Frame, Index, IndexRoot, Member};
use crate::chunk::{ChunkHash, Cutter};
use crate::pack::{FileRecord, Packed, Rest};
use crate::scan::{Node, NodeKind, Signature, Skipped, Tree};

/// An index, what it refers to, and what the files were.
#[derive(Debug)]
pub struct Assembled {
    /// The complete tree.
    pub index: Index,
    /// The objects that it points into.
    pub refs: Vec<Ref>,
    /// Of each member, as it was when it was read.
    pub signatures: Vec<Option<Signature>>,
}

/// What the tree consists of besides what was packed.
pub struct KnownEntries<'a> {
    known: &'a Known,
    facts: &'a Facts,
    keep: &'a [bool],
}

impl<'a> KnownEntries<'a> {
    /// The refs that stay, and the facts about files that were not packed whole.
    pub fn new(known: &'a Known, facts: &'a Facts, keep: &'a [bool]) -> Self {
        Self { known, facts, keep }
    }

    /// What could not be compared.
    pub fn skipped(&self) -> &[Skipped] {
        &self.facts.skipped
    }
}

/// Puts the index together. `earlier` is there for a delta.
///
/// # Errors
/// What must be packed first: files whose chunks are nowhere, because a file that was to bring them changed meanwhile,
/// and later names of files whose first name is gone or means another file.
pub fn assemble(
    tree: &Tree,
    packed: &Packed,
    earlier: Option<&KnownEntries<'_>>,
    writer: &str,
) -> Result<Assembled, Rest> {
    let mut places = Places::new(packed, earlier);
    let lost: std::collections::HashSet<u32> =
        packed.lost.iter().chain(earlier.iter().flat_map(|e| &e.facts.lost)).copied().collect();
    let (mut members, mut chunks, mut signatures) = (Vec::with_capacity(tree.nodes.len()), Vec::new(), Vec::new());
    let mut numbers: Vec<Option<u32>> = Vec::with_capacity(tree.nodes.len());
    let mut rest = Rest::default();
    let mut counts = vec![0u32; tree.roots.len()];
    for (number, node) in (0u32..).zip(&tree.nodes) {
        let mut member =
            Member { path: node.path.clone(), meta: node.meta, xattrs: Vec::new(), content: Content::Directory };
        let mut signature = None;
        let is_there = !lost.contains(&number)
            && match &node.kind {
                NodeKind::Directory(xattrs) => {
                    member.xattrs.clone_from(xattrs);
                    true
                }
                NodeKind::Symlink(target) => {
                    member.content = Content::Symlink(target.clone());
                    true
                }
                NodeKind::HardLink(first) if !packed.files.contains_key(&number) => {
                    let target = match packed.links.get(&number) {
                        Some(target) => Some(*target),
                        None => Some(*first).filter(|_| !lost.contains(first) && places.is_file(*first, node)),
                    };
                    if target.is_none() {
                        rest.links.push(number);
                    }
                    match target.and_then(|target| numbers[target as usize]) {
                        Some(target) => {
                            member.content = Content::HardLink(target);
                            true
                        }
                        None => false,
                    }
                }
                NodeKind::File | NodeKind::HardLink(_) => {
                    let start = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
                    match places.file(number, &mut chunks) {
                        Ok(Some(record)) => {
                            let FileRecord { meta, xattrs, size, extents, signature: found } = record.clone();
                            let end = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
                            (member.meta, member.xattrs, signature) = (meta, xattrs, Some(found));
                            member.content = Content::File(File { size, chunks: start..end, extents });
                            true
                        }
                        Ok(None) => false,
                        Err(Unresolved) => {
                            rest.whole.push(number);
                            false
                        }
                    }
                }
            };
        numbers.push(is_there.then(|| u32::try_from(members.len()).unwrap_or(u32::MAX)));
        if is_there {
            counts[node.root as usize] += 1;
            members.push(member);
            signatures.push(signature);
        }
    }
    if !rest.whole.is_empty() || !rest.links.is_empty() {
        return Err(rest);
    }
    let root = |(root, members): (&crate::scan::TreeRoot, u32)| {
        // A file that was there but could not be read leaves nothing.
        let kind = match root.kind {
            crate::archive::index::RootKind::File if members == 0 => crate::archive::index::RootKind::Nothing,
            kind => kind,
        };
        IndexRoot { given: root.name.clone(), kind, members }
    };
    let roots = tree.roots.iter().zip(counts).map(root).collect();
    let (frames, refs) = places.finish(&mut chunks);
    let index = Index { writer: writer.to_owned(), cutter: Cutter::FORMAT_1, roots, frames, members, chunks };
    Ok(Assembled { index, refs, signatures })
}

/// A chunk of a file is nowhere.
struct Unresolved;

/// Where chunks are: in the frames just packed, or in those of refs that stay.
struct Places<'a> {
    packed: &'a Packed,
    earlier: Option<&'a KnownEntries<'a>>,
    own: HashMap<ChunkHash, Chunk>,
    /// The frames of refs that are used, and their numbers behind the own ones.
    used: HashMap<u32, u32>,
    used_frames: Vec<u32>,
}

impl<'a> Places<'a> {
    fn new(packed: &'a Packed, earlier: Option<&'a KnownEntries<'a>>) -> Self {
        let mut own = HashMap::new();
        // A base has all its files in itself; nothing is looked up.
        if earlier.is_some() {
            let files = packed.files.values().flat_map(|(_, chunks)| chunks);
            for &(frame, chunk) in files.chain(packed.loose.values()) {
                own.insert(chunk.hash, Chunk { hash: chunk.hash, length: chunk.length, frame, offset: chunk.offset });
            }
        }
        Self { packed, earlier, own, used: HashMap::new(), used_frames: Vec::new() }
    }

    /// What is known of a file that was not packed whole.
    fn facts(&self, number: u32) -> Option<&'a FileFacts> {
        self.earlier.and_then(|e| e.facts.files.get(number as usize)?.as_ref())
    }

    /// Whether `number` was read as the file that `node` was another name of.
    fn is_file(&self, number: u32, node: &Node) -> bool {
        let packed = self.packed.files.get(&number).map(|(record, _)| record);
        let record = packed.or_else(|| self.facts(number).map(|facts| &facts.record));
        record.is_some_and(|record| record.signature.version() == node.stat.version())
    }

    /// Appends the chunks of a file. `None` if there is no such file any more.
    fn file(&mut self, number: u32, chunks: &mut Vec<Chunk>) -> Result<Option<&'a FileRecord>, Unresolved> {
        if let Some((record, own)) = self.packed.files.get(&number) {
            chunks.extend(own.iter().map(|&(frame, c)| Chunk {
                hash: c.hash,
                length: c.length,
                frame,
                offset: c.offset,
            }));
            return Ok(Some(record));
        }
        let Some(facts) = self.facts(number) else {
            return Ok(None);
        };
        for (hash, _) in &facts.chunks {
            let chunk = match self.own.get(hash) {
                Some(chunk) => *chunk,
                None => self.known(hash).ok_or(Unresolved)?,
            };
            chunks.push(chunk);
        }
        Ok(Some(&facts.record))
    }

    fn known(&mut self, hash: &ChunkHash) -> Option<Chunk> {
        let KnownEntries { known, keep, .. } = self.earlier?;
        let number = known.chunk(hash)?;
        if !keep[usize::from(known.frame_of(number).source) - 1] {
            return None;
        }
        let chunk = known.index.chunks[number as usize];
        let own_frames = self.packed.frames.len();
        let next = u32::try_from(own_frames + self.used_frames.len()).ok()?;
        let used_frames = &mut self.used_frames;
        let frame = *self.used.entry(chunk.frame).or_insert_with(|| {
            used_frames.push(chunk.frame);
            next
        });
        Some(Chunk { frame, ..chunk })
    }

    /// The frames that chunks point into, in the order of their objects, and the refs that are left. Own frames
    /// without chunks of the index (the end of the tar stream) go.
    fn finish(self, chunks: &mut [Chunk]) -> (Vec<Frame>, Vec<Ref>) {
        let own = self.packed.frames.len();
        let mut frames: Vec<Frame> = self.packed.frames.clone();
        let mut refs = Vec::new();
        if let Some(KnownEntries { known, .. }) = self.earlier {
            frames.extend(self.used_frames.iter().map(|&number| known.index.frames[number as usize]));
            let mut renumbered: HashMap<u16, u16> = HashMap::new();
            for frame in &mut frames[own..] {
                let source = frame.source;
                frame.source = *renumbered.entry(source).or_insert_with(|| {
                    refs.push(known.refs[usize::from(source) - 1].clone());
                    u16::try_from(refs.len()).unwrap_or(u16::MAX)
                });
            }
        }
        let mut is_used = vec![false; frames.len()];
        for chunk in chunks.iter() {
            is_used[chunk.frame as usize] = true;
        }
        let mut order: Vec<usize> = (0..frames.len()).filter(|&number| is_used[number]).collect();
        order.sort_by_key(|&number| (frames[number].source, frames[number].offset));
        let mut numbers = vec![0; frames.len()];
        for (new, &old) in (0u32..).zip(&order) {
            numbers[old] = new;
        }
        for chunk in chunks {
            chunk.frame = numbers[chunk.frame as usize];
        }
        (order.into_iter().map(|number| frames[number]).collect(), refs)
    }
}
