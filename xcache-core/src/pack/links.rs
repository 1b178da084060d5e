//! Which names of a file become links, and to which other name.
//!
//! Between the scan and the moment when a name is packed it may go, or come to mean another file. A link is therefore
//! written only when its target has been stored, and only if it still is another name of that file. If the first name
//! could not be stored, the next one that can be read is stored in its place, and is what the others are links to.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::collect::Packed;
use super::job::Job;
use crate::scan::{Node, NodeKind, Signature, Tree};

/// What is known of each file that has several names. They are numbered by the node of the first name.
#[derive(Debug)]
pub(super) struct Links {
    targets: Mutex<HashMap<u32, Target>>,
    settled: Condvar,
}

/// What the names of a file can be links to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A name is being packed, and nobody knows yet what comes of it.
    Pending,
    /// This node, which was stored as it was then.
    Stored(u32, Signature),
    /// It is handed back, and stored behind all else.
    Later,
    /// No name could be stored so far.
    Missing,
}

/// How to store a later name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As a link to this node.
    Link(u32),
    /// With its content. Call [`Links::settle`] afterwards.
    File,
    /// Not now, but when its target has been stored.
    Later,
}

impl Links {
    /// What is known before `jobs` are packed behind what was packed before.
    pub(super) fn new(tree: &Tree, jobs: &[Job], packed: &Packed) -> Self {
        let mut targets = HashMap::new();
        for job in jobs {
            let (nodes, is_large) = match job {
                Job::Members(nodes) => (&nodes[..], false),
                Job::Large(node) => (std::slice::from_ref(node), true),
                Job::Chunks(_) | Job::End => continue,
            };
            for &number in nodes {
                let node = &tree.nodes[number as usize];
                let stored = || packed.files.get(&first_name(number, node)).map(|(record, _)| record.signature);
                match (&node.kind, stored()) {
                    (NodeKind::HardLink(first), Some(signature)) => {
                        targets.entry(*first).or_insert(Target::Stored(*first, signature));
                    }
                    (NodeKind::HardLink(first), None) if is_large => {
                        targets.insert(*first, Target::Pending);
                    }
                    (NodeKind::File, _) if node.is_linked => {
                        targets.insert(number, Target::Pending);
                    }
                    _ => {}
                }
            }
        }
        Self { targets: Mutex::new(targets), settled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what has come of a file.
    pub(super) fn settle(&self, tree: &Tree, number: u32, target: Target) {
        let first = first_name(number, &tree.nodes[number as usize]);
        if let Some(pending @ Target::Pending) = self.lock().get_mut(&first) {
            *pending = target;
            self.settled.notify_all();
        }
    }

    /// How to store the node `number`, another name of the file `first`. Waits while that is being packed: by another
    /// worker, in this frame or an earlier one, so that nobody waits for somebody who waits.
    pub(super) fn way(&self, tree: &Tree, number: u32, first: u32) -> Way {
        let mut targets = self.lock();
        loop {
            match targets.get(&first).copied().unwrap_or(Target::Missing) {
                Target::Pending => targets = self.settled.wait(targets).unwrap_or_else(PoisonError::into_inner),
                // Links lead back: neither tar nor the index could follow one to what comes later.
                Target::Stored(target, signature) if target < number => {
                    drop(targets);
                    return if is_still(tree, number, signature) { Way::Link(target) } else { Way::File };
                }
                Target::Stored(..) => return Way::File,
                Target::Later => return Way::Later,
                Target::Missing => {
                    targets.insert(first, Target::Pending);
                    return Way::File;
                }
            }
        }
    }
}

fn first_name(number: u32, node: &Node) -> u32 {
    match node.kind {
        NodeKind::HardLink(first) => first,
        _ => number,
    }
}

/// Whether a name is one of this very file.
fn is_still(tree: &Tree, number: u32, file: Signature) -> bool {
    tree.stat(&tree.nodes[number as usize]).is_ok_and(|now| (now.device, now.inode) == (file.device, file.inode))
}
