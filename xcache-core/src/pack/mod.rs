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
mod sequence;
mod worker;

use std::io;

use bytes::Bytes;

pub use collect::{FileRecord, Packed, PackedChunk};
pub use file::{ATTEMPTS, Cursor, Opened, open};
pub use job::{ChunkItem, Job, jobs_of_chunks, jobs_of_members};

use crate::scan::Tree;

/// How to pack.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// zstd level.
    pub level: i32,
    /// Threads that read and compress.
    pub workers: usize,
}

/// How many frames may be under way or waiting at a time.
pub fn window(workers: usize) -> u64 {
    4 * workers as u64 + 2
}

/// Packs `jobs` behind what was packed before, and hands the frames to `sink` in order. Stops at the first error of
/// `sink`.
pub fn pack(
    tree: &Tree,
    jobs: Vec<Job>,
    settings: Settings,
    packed: &mut Packed,
    sink: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> io::Result<()> {
    let sequence = sequence::Sequence::new(tree, jobs, window(settings.workers));
    let (sender, receiver) = crossbeam_channel::bounded(settings.workers);
    std::thread::scope(|scope| {
        for _ in 0..settings.workers.max(1) {
            let (sender, sequence) = (sender.clone(), &sequence);
            scope.spawn(move || worker::run(tree, sequence, settings.level, &sender));
        }
        drop(sender);
        let collected = collect::collect(tree, &sequence, &receiver, packed, sink);
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
mod tests {
    use super::*;
    use crate::archive::frame::{Decoder, MAX_RAW_BYTES};
    use crate::chunk::ChunkHash;
    use crate::paths::PathList;
    use crate::scan::{NodeKind, scan};

    /// Directories, because no file system of a test keeps so much for files.
    #[test]
    fn extended_attributes_that_nobody_planned_for_make_more_frames_and_no_larger_ones() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..300 {
            std::fs::create_dir(dir.path().join(format!("{number:03}"))).unwrap();
            std::fs::write(dir.path().join(format!("{number:03}/file")), number.to_string()).unwrap();
        }
        let paths = PathList::parse(&[dir.path().to_str().unwrap()], dir.path(), None).unwrap();
        let mut tree = scan(&paths, 1);
        for node in &mut tree.nodes {
            if let NodeKind::Directory(xattrs) = &mut node.kind {
                *xattrs = vec![(b"user.x"[..].into(), vec![b'x'; 64 << 10].into())];
            }
        }
        let (mut packed, mut frames) = (Packed::default(), Vec::new());
        let jobs = jobs_of_members(&tree, 0..u32::try_from(tree.nodes.len()).unwrap());
        assert_eq!(jobs.len(), 1);
        let mut sink = |frame| {
            frames.push(frame);
            Ok(())
        };
        pack(&tree, jobs, Settings { level: 1, workers: 2 }, &mut packed, &mut sink).unwrap();
        assert!(frames.len() > 1 && packed.skipped.is_empty());
        assert!(packed.frames.iter().all(|frame| frame.raw_bytes <= MAX_RAW_BYTES / 2));
        assert_eq!(packed.files.len(), 300);
        let mut raw = Vec::new();
        for (frame, chunk) in packed.files.values().flat_map(|(_, chunks)| chunks) {
            let raw_bytes = packed.frames[*frame as usize].raw_bytes;
            Decoder::new().unwrap().decode(&frames[*frame as usize], raw_bytes, &mut raw).unwrap();
            let data = &raw[chunk.offset as usize..][..chunk.length as usize];
            assert_eq!(ChunkHash::of(data), chunk.hash);
        }
    }
}
