//! What goes into one frame, planned from the sizes that the scan found.

use crate::archive::frame::TARGET_BYTES;
use crate::archive::header;
use crate::chunk::ChunkHash;
use crate::scan::{NodeKind, Tree};

/// Content larger than this is read piece by piece and may take several frames.
pub(super) const LARGE_BYTES: u64 = TARGET_BYTES as u64;

/// What becomes one frame, or the frames of one large file.
#[derive(Debug)]
pub enum Job {
    /// These members, whole.
    Members(Vec<u32>),
    /// One large file.
    Large(u32),
    /// These chunks, each as a member of its own.
    Chunks(Vec<ChunkItem>),
    /// The end of the tar stream.
    End,
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

/// Groups members, which become frames in this order.
pub fn jobs_of_members(tree: &Tree, nodes: impl IntoIterator<Item = u32>) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut group = Vec::new();
    let mut group_bytes = 0;
    for number in nodes {
        let node = &tree.nodes[number as usize];
        let content = if node.kind == NodeKind::File { data_bytes_at_most(&node.stat) } else { 0 };
        if content > LARGE_BYTES {
            if !group.is_empty() {
                jobs.push(Job::Members(std::mem::take(&mut group)));
                group_bytes = 0;
            }
            jobs.push(Job::Large(number));
            continue;
        }
        group.push(number);
        group_bytes += header::estimate(node.path.len()) + usize::try_from(content).unwrap_or(usize::MAX);
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
        group_bytes += header::BLOCK + chunk.length as usize;
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

/// How much data a file has at most: its blocks on disk, if it has holes.
fn data_bytes_at_most(stat: &crate::scan::Signature) -> u64 {
    if stat.is_sparse() { stat.blocks.saturating_mul(512) } else { stat.size }
}
