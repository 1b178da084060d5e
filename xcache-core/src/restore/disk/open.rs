//! Opening a target: its roots are there, locked, and free of what killed restores left.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::super::interrupt::Interrupt;
use super::journal::Journal;
use super::leftovers;
use super::lock::{self, Locks};
use super::notices::Notices;
use super::root::{self, OpenRoot, RootExtent, Wanted};
use super::state::{Target, TargetPolicy};
use crate::descriptors;
use crate::paths::PathList;

/// Why a target cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
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

/// How often a root is opened again because another restore, which had made it, has taken it away.
const ATTEMPTS: u32 = 5;

impl<'a> Target<'a> {
    /// Opens the roots, makes those that are missing, waits for other restores in the same trees, and removes what killed
    /// ones left. On failure nothing is left.
    pub(crate) fn open(
        wanted: &[Wanted],
        paths: &'a PathList,
        policy: TargetPolicy,
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
                let next_name = || self.temporary_name(self.next_number());
                let opened =
                    root::open(root, &self.journal, &next_name).map_err(|source| write_error(&root.base, source))?;
                self.roots[root.line] = Some(opened);
            }
            let open = self.roots.iter().flatten();
            let open: Vec<_> =
                open.map(|root| (&*root.base, &*root.directory, root.extent == RootExtent::Whole)).collect();
            self.locks = lock::lock(&open, interrupt).ok_or(OpenError::Interrupted)?;
            let is_gone = |root: &OpenRoot| rustix::fs::fstat(&root.directory).is_ok_and(|stat| stat.st_nlink == 0);
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
        let found = leftovers::look(root, self.policy.run).map_err(|source| write_error(&root.base, source))?;
        if found.has_leftovers {
            self.locks.if_alone(&root.directory, || leftovers::remove(self, line, root, notices));
        }
        if let Some(root) = &mut self.roots[line] {
            root.is_fresh = found.is_fresh;
        }
        Ok(())
    }
}

fn write_error(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Write { path: path.to_owned(), source }
}
