//! Which names of a file become links, and to which other name.
//!
//! Between the scan and the moment when a name is packed it may go, or come to mean another file. A link is therefore
//! written only when its target has been stored, and only if it still is another name of that file. If the first name
//! could not be stored, the next one that can be read is stored in its place, and is what the others are links to.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::job::Job;
use super::packed::Packed;
use crate::scan::{Node, NodeKind, Signature, Tree};

/// What is known of each file that has several names. They are numbered by the node of the first name.
#[derive(Debug)]
pub(super) struct Links {
    files: Mutex<HashMap<u32, Names>>,
    settled: Condvar,
    /// Nobody is waited for any more.
    is_given_up: AtomicBool,
}

/// The names of one file.
#[derive(Debug)]
struct Names {
    target: LinkTarget,
    /// The later names that are still to be decided on, in the order of frames.
    waiting: VecDeque<u32>,
}

/// What the names of a file can be links to.
#[derive(Clone, Copy, Debug)]
pub(super) enum LinkTarget {
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
pub(super) enum LinkWay {
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
        let mut files: HashMap<u32, Names> = HashMap::new();
        let names = |target| Names { target, waiting: VecDeque::new() };
        for job in jobs {
            let (nodes, is_large) = match job {
                Job::Members(nodes) => (&nodes[..], false),
                Job::Large(node) => (std::slice::from_ref(node), true),
                Job::Chunks(_) | Job::End => continue,
            };
            for &number in nodes {
                let node = &tree.nodes[number as usize];
                match &node.kind {
                    NodeKind::HardLink(first) => {
                        let stored = packed.files.get(first).map(|(record, _)| record.signature);
                        let target = match stored {
                            Some(signature) => LinkTarget::Stored(*first, signature),
                            None if is_large => LinkTarget::Pending,
                            None => LinkTarget::Missing,
                        };
                        let file = files.entry(*first).or_insert_with(|| names(target));
                        if !is_large {
                            file.waiting.push_back(number);
                        }
                    }
                    NodeKind::File if node.is_linked => {
                        files.insert(number, names(LinkTarget::Pending));
                    }
                    _ => {}
                }
            }
        }
        Self { files: Mutex::new(files), settled: Condvar::new(), is_given_up: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Names>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what has come of a file.
    pub(super) fn settle(&self, tree: &Tree, number: u32, target: LinkTarget) {
        let first = first_name(number, &tree.nodes[number as usize]);
        if let Some(Names { target: pending @ LinkTarget::Pending, .. }) = self.lock().get_mut(&first) {
            *pending = target;
            self.settled.notify_all();
        }
    }

    /// Nothing more comes of what is being packed: who waits for it need not.
    pub(super) fn give_up(&self) {
        // Under the lock, so that nobody is between having looked and beginning to wait.
        let files = self.lock();
        self.is_given_up.store(true, Ordering::Relaxed);
        drop(files);
        self.settled.notify_all();
    }

    /// How to store the node `number`, another name of the file `first`. Waits while that, or an earlier name that would
    /// take its place, is being packed: by another worker, in this frame or an earlier one, so that nobody waits for
    /// somebody who waits.
    pub(super) fn way(&self, tree: &Tree, number: u32, first: u32) -> LinkWay {
        let mut files = self.lock();
        let (way, target) = loop {
            let Some(names) = files.get_mut(&first) else { return LinkWay::File };
            match names.target {
                LinkTarget::Stored(target, signature) => break (LinkWay::Link(target), Some(signature)),
                LinkTarget::Later => break (LinkWay::Later, None),
                LinkTarget::Missing if names.waiting.front() == Some(&number) => {
                    names.target = LinkTarget::Pending;
                    break (LinkWay::File, None);
                }
                LinkTarget::Missing | LinkTarget::Pending if self.is_given_up.load(Ordering::Relaxed) => {
                    return LinkWay::Later;
                }
                LinkTarget::Missing | LinkTarget::Pending => {
                    files = self.settled.wait(files).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        if let Some(names) = files.get_mut(&first)
            && let Some(at) = names.waiting.iter().position(|waiting| *waiting == number)
        {
            names.waiting.remove(at);
        }
        drop(files);
        match (way, target) {
            // Links lead back: neither tar nor the index could follow one to what comes later.
            (LinkWay::Link(target), Some(file)) if target >= number || !is_still(tree, number, file) => LinkWay::File,
            (way, _) => way,
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
