//! What lies at the asked-for paths: one pass over directories and attributes, in parallel; no content is read.
//!
//! Directories are opened relative to their parent, so paths may be as long as the archive format allows and a
//! directory that is moved while it is scanned cannot lead elsewhere. Links below a root are never followed.

mod arrange;
mod attributes;
mod queue;
mod tree;
mod walk;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub use attributes::{Signature, metadata, read_xattrs};
pub use tree::{Node, NodeKind, SkipReason, Skipped, Tree, TreeRoot};

use crate::archive::index::RootKind;
use crate::descriptors;
use crate::paths::PathList;
use arrange::{arrange, in_order};
use queue::Queue;
use walk::{DirectoryJob, DirectoryWay, FoundNodes, open_root, scan_directory};

/// Scans all roots of `paths` with so many threads.
pub fn scan(paths: &PathList, threads: usize) -> Tree {
    let queue = Queue::new(descriptors::waiting());
    let mut roots = Vec::new();
    let mut found = FoundNodes::default();
    for (number, root) in (0u32..).zip(paths.roots()) {
        let (kind, directory) = match open_root(number, root, paths, &mut found) {
            Ok(opened) => opened,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    found.skip(root.base.clone(), SkipReason::Unreadable(error.to_string()));
                }
                (RootKind::Nothing, None)
            }
        };
        if let Some(directory) = &directory
            && kind != RootKind::File
        {
            let job = DirectoryJob {
                root: number,
                path: Box::default(),
                base: directory.clone(),
                way: DirectoryWay::Here(directory.clone()),
                saved: kind == RootKind::Directory,
            };
            queue.push([job]);
        }
        roots.push(TreeRoot {
            given: root.given.clone(),
            name: root.name.clone(),
            kind,
            base: base_of(root, kind),
            directory,
            nodes: 0..0,
        });
    }
    let found = Mutex::new(found);
    crate::threads::share(threads, || {
        let mut mine = FoundNodes::default();
        while let Some(job) = queue.pop() {
            let children = scan_directory(&job, paths, &mut mine);
            queue.finish(children);
        }
        // Sorted runs are merged in one pass, so most of the sorting is done here, on all threads.
        mine.nodes.sort_unstable_by(in_order);
        found.lock().unwrap_or_else(PoisonError::into_inner).merge(mine);
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    arrange(roots, found)
}

fn base_of(root: &crate::paths::Root, kind: RootKind) -> PathBuf {
    match kind {
        RootKind::File => root.base.parent().map_or_else(|| root.base.clone(), PathBuf::from),
        _ => root.base.clone(),
    }
}
