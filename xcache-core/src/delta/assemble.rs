//! The index of a new entry, from the tree, what was packed, and what was known.

use std::collections::{HashMap, HashSet};

use super::compare::{FileFacts, TreeFacts};
use super::known::Known;
use crate::archive::index::{Chunk, Content, File, Frame, Index, IndexRoot, Member, RootKind};
use crate::chunk::{ChunkHash, Cutter};
use crate::convert;
use crate::object::Ref;
use crate::pack::{FileRecord, Packed, Rest};
use crate::scan::{Node, NodeKind, Signature, Skipped, Tree, TreeRoot};

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
    facts: &'a TreeFacts,
    keep: &'a [bool],
}

impl<'a> KnownEntries<'a> {
    /// The refs that stay, and the facts about files that were not packed whole.
    pub fn new(known: &'a Known, facts: &'a TreeFacts, keep: &'a [bool]) -> Self {
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
    let mut assembly = Assembly::new(tree, packed, earlier);
    for (number, node) in (0u32..).zip(&tree.nodes) {
        assembly.add(number, node);
    }
    assembly.finish(tree, writer)
}

/// An index that is being put together, node by node in the order of the tree. A node that is gone, or that could not be
/// read, has no member, so the numbers of members are not those of nodes.
struct Assembly<'a> {
    packed: &'a Packed,
    places: Places<'a>,
    /// Nodes that could not be read.
    lost: HashSet<u32>,
    members: Vec<Member>,
    chunks: Vec<Chunk>,
    signatures: Vec<Option<Signature>>,
    /// Of each node so far, the number of its member.
    numbers: Vec<Option<u32>>,
    /// What must be packed before this can be an index. It is all collected first: each round costs one pass over the tree.
    rest: Rest,
    /// Members of each root.
    counts: Vec<u32>,
}

impl<'a> Assembly<'a> {
    fn new(tree: &Tree, packed: &'a Packed, earlier: Option<&'a KnownEntries<'a>>) -> Self {
        Self {
            packed,
            places: Places::new(packed, earlier),
            lost: packed.lost.iter().chain(earlier.iter().flat_map(|e| &e.facts.lost)).copied().collect(),
            members: Vec::with_capacity(tree.nodes.len()),
            chunks: Vec::new(),
            signatures: Vec::new(),
            numbers: Vec::with_capacity(tree.nodes.len()),
            rest: Rest::default(),
            counts: vec![0u32; tree.roots.len()],
        }
    }

    fn add(&mut self, number: u32, node: &Node) {
        let found = if self.lost.contains(&number) { None } else { self.member(number, node) };
        self.numbers.push(found.is_some().then(|| convert::number(self.members.len())));
        if let Some((member, signature)) = found {
            self.counts[node.root as usize] += 1;
            self.members.push(member);
            self.signatures.push(signature);
        }
    }

    /// What the index holds of a node, and of a file how it was when it was read; none if it is gone, or must be packed
    /// first.
    fn member(&mut self, number: u32, node: &Node) -> Option<(Member, Option<Signature>)> {
        let member = |content| Member { path: node.path.clone(), meta: node.meta, xattrs: Vec::new(), content };
        match &node.kind {
            NodeKind::Directory(xattrs) => {
                Some((Member { xattrs: xattrs.clone(), ..member(Content::Directory) }, None))
            }
            NodeKind::Symlink(target) => Some((member(Content::Symlink(target.clone())), None)),
            // A later name that was packed as a file of its own is a file like any other.
            NodeKind::HardLink(first) if !self.packed.files.contains_key(&number) => {
                Some((member(Content::HardLink(self.link_target(number, *first, node)?)), None))
            }
            NodeKind::File | NodeKind::HardLink(_) => {
                let start = convert::number(self.chunks.len());
                let Ok(record) = self.places.file(number, &mut self.chunks) else {
                    self.rest.whole.push(number);
                    return None;
                };
                let FileRecord { meta, xattrs, size, extents, signature } = record?.clone();
                let end = convert::number(self.chunks.len());
                let content = Content::File(File { size, chunks: start..end, extents });
                Some((Member { path: node.path.clone(), meta, xattrs, content }, Some(signature)))
            }
        }
    }

    /// The member that a later name of a file is another name of. The first name may be gone, or mean another file since
    /// the tree was scanned; then this one must bring the content.
    fn link_target(&mut self, number: u32, first: u32, node: &Node) -> Option<u32> {
        let packed = self.packed.links.get(&number).copied();
        let target = packed
            .or_else(|| Some(first).filter(|first| !self.lost.contains(first) && self.places.is_file(*first, node)));
        if target.is_none() {
            self.rest.links.push(number);
        }
        self.numbers[target? as usize]
    }

    fn finish(self, tree: &Tree, writer: &str) -> Result<Assembled, Rest> {
        let Self { places, members, mut chunks, signatures, rest, counts, .. } = self;
        if !rest.whole.is_empty() || !rest.links.is_empty() {
            return Err(rest);
        }
        let root = |(root, members): (&TreeRoot, u32)| {
            // A file that was there but could not be read leaves nothing.
            let kind = match root.kind {
                RootKind::File if members == 0 => RootKind::Nothing,
                kind => kind,
            };
            IndexRoot { given: root.name.clone(), kind, members }
        };
        let roots = tree.roots.iter().zip(counts).map(root).collect();
        let (frames, refs) = places.finish(&mut chunks);
        let index = Index { writer: writer.to_owned(), cutter: Cutter::FORMAT_1, roots, frames, members, chunks };
        Ok(Assembled { index, refs, signatures })
    }
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
                    convert::small(refs.len())
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
