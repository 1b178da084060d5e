//! What is known of a target while a restore is at work on it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::attributes::OwnerPolicy;
use super::journal::Journal;
use super::lock::Locks;
use super::place::{Place, full_path};
use super::root::OpenRoot;
use crate::paths::PathList;
use crate::temporary;

/// How a target is treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetPolicy {
    /// Whether owners are restored.
    pub(crate) owners: OwnerPolicy,
    /// Whether what the entry does not hold is to be removed, so that it may be removed to make room as well.
    pub(crate) clean: bool,
    /// Whether that goes for repositories, too.
    pub(crate) clean_repositories: bool,
    /// A random number that no other run has.
    pub(crate) run: u64,
    /// How many places in the tree there will be at a time.
    pub(crate) threads: usize,
}

/// The roots of a restore, open and locked, and what was done to them so far.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(super) paths: &'a PathList,
    /// By line of the path list; none for lines that nothing is restored to.
    pub(super) roots: Vec<Option<OpenRoot>>,
    pub(super) policy: TargetPolicy,
    /// How many levels each place in the tree keeps open.
    pub(super) levels: usize,
    pub(super) journal: Journal,
    pub(super) locks: Locks,
    /// Of the next temporary name.
    pub(super) number: AtomicU64,
    /// Whether nothing is taken back any more.
    pub(super) is_committed: AtomicBool,
}

impl<'a> Target<'a> {
    /// Whether nothing was in a root before.
    pub(crate) fn is_fresh(&self, root: usize) -> bool {
        self.root(root).is_some_and(|root| root.is_fresh)
    }

    /// Bytes that can still be written to the file system of a root, if it tells.
    pub(crate) fn free_bytes(&self, root: usize) -> Option<u64> {
        let root = self.root(root)?;
        let found = rustix::fs::fstatvfs(&root.directory).ok().filter(|found| found.f_blocks > 0)?;
        found.f_bavail.checked_mul(found.f_frsize)
    }

    /// The file system that a root is on.
    pub(crate) fn device(&self, root: usize) -> Option<u64> {
        self.root(root).map(|root| root.device)
    }

    /// Where a place is, for messages.
    pub(crate) fn full_path(&self, place: Place<'_>) -> PathBuf {
        self.root(place.root).map_or_else(PathBuf::new, |root| full_path(&root.base, place.path))
    }

    /// The lines that ask for it.
    pub(crate) fn paths(&self) -> &'a PathList {
        self.paths
    }

    /// How the target is treated.
    pub(crate) fn policy(&self) -> TargetPolicy {
        self.policy
    }

    pub(super) fn root(&self, root: usize) -> Option<&OpenRoot> {
        self.roots.get(root)?.as_ref()
    }

    /// A number for a temporary name.
    pub(super) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn temporary_name(&self, number: u64) -> Vec<u8> {
        temporary::name(self.policy.run, number)
    }

    pub(super) fn is_own_name(&self, name: &[u8]) -> bool {
        temporary::run_of(name) == Some(self.policy.run)
    }
}
