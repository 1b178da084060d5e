//! From a scanned tree to the frames of an archive: a fixed set of workers reads, cuts, hashes and compresses, while
//! what is finished already leaves in order.
//!
//! ```text
//!   jobs ──▶ sequencer ──▶ workers (read, cut, hash, compress) ──▶ collector (puts in order) ──▶ sink
//!               ▲                                                      │
//!               └───────────── window: so many frames ahead ◀──────────┘
//! ```
//!
//! Memory: each worker holds one raw frame, and at most [`window`] finished frames wait for their turn; nothing else
//! grows with the bytes of the tree.

mod collect;
mod file;
mod job;
mod links;
mod packed;
mod sequence;
mod worker;

use std::io;

use bytes::Bytes;

pub use file::{ATTEMPTS, DataCursor, OpenedFile, open};
pub use job::{ChunkItem, Job, Rest, jobs_of_chunks, jobs_of_members};
pub use packed::{FileRecord, Packed, PackedChunk};

use crate::scan::Tree;

/// How to pack.
#[derive(Clone, Copy, Debug)]
pub struct PackSettings {
    /// zstd level.
    pub level: i32,
    /// Threads that read and compress.
    pub workers: usize,
}

/// How many frames may be under way or waiting at a time: one under way and one waiting for each worker, and a little
/// for a frame that takes longer.
pub fn window(workers: usize) -> u64 {
    2 * workers as u64 + 2
}

/// Takes frames, each with the number of bytes that it decompresses to.
pub type Sink<'a> = dyn FnMut(Bytes, u32) -> io::Result<()> + 'a;

/// Packs `jobs` behind what was packed before, and hands the frames to `sink` in order. Stops at the first error of
/// `sink`.
pub fn pack(
    tree: &Tree,
    jobs: Vec<Job>,
    settings: PackSettings,
    packed: &mut Packed,
    sink: &mut Sink<'_>,
) -> io::Result<()> {
    let links = links::Links::new(tree, &jobs, packed);
    let sequence = sequence::Sequence::new(tree, jobs, &links, window(settings.workers));
    let (sender, receiver) = crossbeam_channel::bounded(settings.workers);
    std::thread::scope(|scope| {
        for number in 0..settings.workers.max(1) {
            let (sender, sequence) = (sender.clone(), &sequence);
            match crate::threads::spawn(scope, move || worker::run(tree, sequence, settings.level, &sender)) {
                Ok(_) => {}
                // The others do its work.
                Err(_) if number > 0 => break,
                Err(error) => return Err(error),
            }
        }
        drop(sender);
        let collected = collect::collect(&sequence, &receiver, packed, sink);
        // Whatever happened: nobody may wait for a turn that does not come.
        sequence.stop();
        drop(receiver);
        collected
    })
}

/// The name of a member in the tar stream: `./a/b`, or `1/a/b` in an archive of several roots.
pub fn tar_name(tree: &Tree, root: u32, path: &[u8]) -> Vec<u8> {
    let mut name = if tree.roots.len() == 1 { b".".to_vec() } else { root.to_string().into_bytes() };
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(path);
    }
    name
}

#[cfg(test)]
mod tests;
