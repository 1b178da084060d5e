//! What a delta stores.

use std::collections::HashSet;

use super::compare::Facts;
use super::known::{Known, archived_bytes};
use crate::chunk::ChunkHash;
use crate::pack::{ChunkItem, Job, jobs_of_chunks, jobs_of_members};
use crate::scan::Tree;

/// What is to be stored.
#[derive(Debug)]
pub struct Selection {
    /// As frames.
    pub jobs: Vec<Job>,
    /// Files that are stored whole.
    pub whole_files: u64,
    /// Single chunks of files that are otherwise known.
    pub loose_chunks: u64,
}

/// How much of each ref of `known` the tree uses, and what it would have to store anew; in stored bytes, the latter
/// estimated with the compression of what is known. Also the stored bytes of the whole tree.
pub fn usage(known: &Known, facts: &Facts) -> (Vec<u64>, u64, u64) {
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
                live_raw += archived_bytes(length);
            }
            None => new_raw += archived_bytes(length),
        }
    }
    for (live, r) in live.iter_mut().zip(&known.refs) {
        *live = live.min(r.data_bytes as f64).ceil();
    }
    let live_all: f64 = live.iter().sum();
    let ratio = if live_raw == 0 { 1.0 } else { (live_all / live_raw as f64).min(1.0) };
    let new = (new_raw as f64 * ratio) as u64;
    (live.into_iter().map(|bytes| bytes as u64).collect(), new, live_all as u64 + new)
}

/// Selects what is in none of the refs that stay. Each chunk is stored once; a file of which all is new is stored
/// whole.
pub fn select(tree: &Tree, known: &Known, facts: &Facts, keep: &[bool]) -> Selection {
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
    let (whole_files, loose_chunks) = (whole.len() as u64, loose.len() as u64);
    let mut jobs = jobs_of_members(tree, whole);
    jobs.extend(jobs_of_chunks(loose));
    Selection { jobs, whole_files, loose_chunks }
}
