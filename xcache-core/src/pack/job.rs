//! What goes into one frame, planned from the sizes that the scan found.

use crate::archive::frame::TARGET_BYTES;
use crate::archive::tar;
use crate::chunk::ChunkHash;
use crate::convert;
use crate::scan::{NodeKind, Tree};

/// Content larger than this is read piece by piece and may take several frames.
pub(super) const LARGE_BYTES: u64 = TARGET_BYTES as u64;

/// What becomes one frame, or the frames of one large file.
#[derive(Debug)]
pub enum Job {
    /// These members, whole.
    Members(Vec<u32>),
    /// One file of any size.
    Large(u32),
    /// These chunks, each as a member of its own.
    Chunks(Vec<ChunkItem>),
    /// The end of the tar stream.
    End,
}

impl Job {
    /// About how many bytes of tar it comes to.
    pub fn raw_bytes(&self, tree: &Tree) -> u64 {
        let member = |&number: &u32| {
            let node = &tree.nodes[number as usize];
            let content = if node.kind == NodeKind::File { node.stat.size } else { 0 };
            tar::write::estimate(node.path.len()) as u64 + content
        };
        match self {
            Self::Members(members) => members.iter().map(member).sum(),
            Self::Large(number) => member(number),
            Self::Chunks(chunks) => chunks.iter().map(|chunk| u64::from(chunk.length)).sum(),
            Self::End => 0,
        }
    }
}

/// A chunk of a file that is otherwise known.
#[derive(Clone, Copy, Debug)]
pub struct ChunkItem {
    /// The file that it is part of.
    pub node: u32,
    /// Where it begins in the file's data, holes left out.
    pub offset: u64,
    /// Its length.
    pub length: u32,
    /// What it was when the file was compared.
    pub hash: ChunkHash,
}

/// What could not be stored where it was planned, and is stored behind it.
#[derive(Debug, Default)]
pub struct Rest {
    /// Files, as they are now, whatever their size: they had single chunks to store but changed after they were compared,
    /// or grew beyond a frame.
    pub whole: Vec<u32>,
    /// Later names of files.
    pub links: Vec<u32>,
}

impl Rest {
    /// The files, and behind them the links to them.
    pub fn into_jobs(self) -> Vec<Job> {
        let Self { whole, links } = self;
        let whole = whole.into_iter().map(Job::Large);
        let links = (!links.is_empty()).then_some(Job::Members(links));
        whole.chain(links).collect()
    }
}

/// Groups members, which become frames in this order.
pub fn jobs_of_members(tree: &Tree, nodes: impl IntoIterator<Item = u32>) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut group = Vec::new();
    let mut group_bytes = 0;
    for number in nodes {
        let node = &tree.nodes[number as usize];
        // Blocks on disk do not tell how much data there is: file systems that compress, or have not written it yet, count
        // few or none.
        let content = if node.kind == NodeKind::File { node.stat.size } else { 0 };
        if content > LARGE_BYTES {
            if !group.is_empty() {
                jobs.push(Job::Members(std::mem::take(&mut group)));
                group_bytes = 0;
            }
            jobs.push(Job::Large(number));
            continue;
        }
        group.push(number);
        group_bytes += tar::write::estimate(node.path.len()) + convert::in_memory(content);
        if group_bytes >= TARGET_BYTES {
            jobs.push(Job::Members(std::mem::take(&mut group)));
            group_bytes = 0;
        }
    }
    if !group.is_empty() {
        jobs.push(Job::Members(group));
    }
    jobs
}

/// Groups chunks, which become frames in this order.
pub fn jobs_of_chunks(chunks: impl IntoIterator<Item = ChunkItem>) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut group = Vec::new();
    let mut group_bytes = 0;
    for chunk in chunks {
        group.push(chunk);
        group_bytes += tar::BLOCK + chunk.length as usize;
        if group_bytes >= TARGET_BYTES {
            jobs.push(Job::Chunks(std::mem::take(&mut group)));
            group_bytes = 0;
        }
    }
    if !group.is_empty() {
        jobs.push(Job::Chunks(group));
    }
    jobs
}
