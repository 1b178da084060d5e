//! The tree that a restore writes into: the one owner of the disk below the roots.
//!
//! Everything is named by its place, a root and a path below it; what an entry, a frame or a store is, is not known here.
//! What holds for every restore, whatever it restores from:
//!
//! - Nothing outside the roots is touched: no link is followed ([`walker`]), no other name of a file is changed, and no
//!   other file system is entered where something is removed ([`clean`]).
//! - Nothing is visible under its name before it is complete, except a new file in a place where nothing was ([`cursor`]).
//! - Whatever was there can return until [`Target::commit`]: old things are set aside ([`aside`]), everything is noted
//!   ([`journal`]), and only what this restore has made, told by its inode, is taken back ([`undo`]).

mod aside;
mod attributes;
mod clean;
mod content;
mod cursor;
mod journal;
mod leftovers;
mod lock;
mod notices;
mod place;
mod root;
mod undo;
mod walker;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(super) use attributes::{Attributes, Owners};
pub(super) use content::{read_full, write_at};
pub(super) use cursor::{Cursor, Linked, Temporary, is_file};
pub(super) use notices::Notices;
pub(super) use place::{Place, full_path};
pub(super) use root::{Extent, Wanted};
pub(super) use undo::Committed;

use super::interrupt::Interrupt;
use crate::paths::PathList;
use crate::{descriptors, temporary};
use journal::Journal;
use lock::Locks;
use root::Root;

/// Why a target cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// A root cannot be opened or made.
    Write {
        /// The root.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The restore was asked to stop.
    Interrupted,
}

/// How a target is treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// Whether owners are restored.
    pub(super) owners: Owners,
    /// Whether what the entry does not hold is to be removed, so that it may be removed to make room as well.
    pub(super) clean: bool,
    /// A random number that no other run has.
    pub(super) run: u64,
    /// How many places in the tree there will be at a time.
    pub(super) threads: usize,
}

/// The roots of a restore, open and locked, and what was done to them so far.
#[derive(Debug)]
pub(super) struct Target<'a> {
    paths: &'a PathList,
    /// By line of the path list; none for lines that nothing is restored to.
    roots: Vec<Option<Root>>,
    policy: Policy,
    /// How many levels each place in the tree keeps open.
    levels: usize,
    journal: Journal,
    locks: Locks,
    /// Of the next temporary name.
    number: AtomicU64,
    /// Whether nothing is taken back any more.
    is_committed: AtomicBool,
}

/// How often a root is opened again because another restore, which had made it, has taken it away.
const ATTEMPTS: u32 = 5;

impl<'a> Target<'a> {
    /// Opens the roots, makes those that are missing, waits for other restores in the same trees, and removes what killed
    /// ones left. On failure nothing is left.
    pub(super) fn open(
        wanted: &[Wanted],
        paths: &'a PathList,
        policy: Policy,
        interrupt: &Interrupt,
        notices: &mut Notices,
    ) -> Result<Self, OpenError> {
        let mut target = Self {
            paths,
            roots: Vec::new(),
            policy,
            levels: descriptors::levels(policy.threads),
            journal: Journal::default(),
            locks: Locks::default(),
            number: AtomicU64::new(0),
            is_committed: AtomicBool::new(false),
        };
        match target.prepare(wanted, interrupt, notices) {
            Ok(()) => Ok(target),
            Err(error) => {
                target.roll_back();
                Err(error)
            }
        }
    }

    fn prepare(&mut self, wanted: &[Wanted], interrupt: &Interrupt, notices: &mut Notices) -> Result<(), OpenError> {
        for _ in 0..ATTEMPTS {
            self.roots = (0..self.paths.roots().len()).map(|_| None).collect();
            for root in wanted {
                let opened = root::open(root, &self.journal).map_err(|source| write_error(&root.base, source))?;
                self.roots[root.line] = Some(opened);
            }
            let open = self.roots.iter().flatten();
            let open: Vec<_> = open.map(|root| (&*root.base, &*root.directory, root.extent == Extent::Whole)).collect();
            self.locks = lock::lock(&open, interrupt).ok_or(OpenError::Interrupted)?;
            let is_gone = |root: &Root| rustix::fs::fstat(&root.directory).is_ok_and(|stat| stat.st_nlink == 0);
            if !self.roots.iter().flatten().any(is_gone) {
                break;
            }
        }
        for line in 0..self.roots.len() {
            self.look_around(line, notices)?;
        }
        Ok(())
    }

    /// Finds out whether a root is empty. What killed restores left does not count, and is removed.
    fn look_around(&mut self, line: usize, notices: &mut Notices) -> Result<(), OpenError> {
        let Some(root) = &self.roots[line] else { return Ok(()) };
        let found = leftovers::look(root).map_err(|source| write_error(&root.base, source))?;
        if found.has_leftovers {
            self.locks.if_alone(&root.directory, || leftovers::remove(self, line, root, notices));
        }
        if let Some(root) = &mut self.roots[line] {
            root.is_fresh = found.is_fresh;
        }
        Ok(())
    }

    /// A place in the tree that moves, for one thread.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor::new(self)
    }

    /// Whether nothing was in a root before.
    pub(super) fn is_fresh(&self, root: usize) -> bool {
        self.root(root).is_some_and(|root| root.is_fresh)
    }

    /// Bytes that can still be written to the file system of a root, if it tells.
    pub(super) fn free_bytes(&self, root: usize) -> Option<u64> {
        let root = self.root(root)?;
        let found = rustix::fs::fstatvfs(&root.directory).ok().filter(|found| found.f_blocks > 0)?;
        found.f_bavail.checked_mul(found.f_frsize)
    }

    /// The file system that a root is on.
    pub(super) fn device(&self, root: usize) -> Option<u64> {
        self.root(root).map(|root| root.device)
    }

    /// Where a place is, for messages.
    pub(super) fn full_path(&self, place: Place<'_>) -> PathBuf {
        self.root(place.root).map_or_else(PathBuf::new, |root| full_path(&root.base, place.path))
    }

    /// The lines that ask for it.
    pub(super) fn paths(&self) -> &'a PathList {
        self.paths
    }

    /// How the target is treated.
    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    fn root(&self, root: usize) -> Option<&Root> {
        self.roots.get(root)?.as_ref()
    }

    /// A number for a temporary name.
    fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    fn temporary_name(&self, number: u64) -> Vec<u8> {
        temporary::name(self.policy.run, number)
    }

    fn is_own_name(&self, name: &[u8]) -> bool {
        temporary::run_of(name) == Some(self.policy.run)
    }
}

fn write_error(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Write { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
