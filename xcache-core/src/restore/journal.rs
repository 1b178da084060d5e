//! What a restore has made so far, so that one that cannot finish leaves nothing new behind (P6).

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::Roots;
use super::clean::{Remover, below};
use super::imperfections::Imperfections;
use super::roots::full_path;
use super::walker::Walker;
use crate::archive::index::{Index, file_name, parent};
use crate::paths::PathList;

/// Notes of everything made, kept by number of member.
#[derive(Debug)]
pub(super) struct Journal {
    created: Vec<AtomicU64>,
    /// Existing files that are now the new ones.
    replaced: AtomicU64,
    /// Directories above roots, outermost first.
    above: Mutex<Vec<PathBuf>>,
    /// What stood in the way: member, and the name it was set aside under in the same directory.
    aside: Mutex<Vec<(u32, Vec<u8>)>>,
    /// Directories that were there and let nobody write, with the modes that they had.
    opened_up: Mutex<BTreeMap<u32, u32>>,
    /// Members that have a temporary file.
    temporaries: Mutex<HashSet<u32>>,
    /// What the names of temporary files begin with.
    prefix: Vec<u8>,
}

impl Journal {
    /// `run` is a random number that no other run has.
    pub(super) fn new(members: usize, run: u64) -> Self {
        Self {
            created: (0..members.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            replaced: AtomicU64::new(0),
            above: Mutex::default(),
            aside: Mutex::default(),
            opened_up: Mutex::default(),
            temporaries: Mutex::default(),
            prefix: format!(".xcache-{run:016x}-").into_bytes(),
        }
    }

    /// A name for the member's temporary file, in its own directory.
    fn temporary_name(&self, member: u32) -> Vec<u8> {
        [&self.prefix, member.to_string().as_bytes()].concat()
    }

    /// Opens the member's temporary file for writing; makes it the first time.
    pub(super) fn open_temporary(&self, at: BorrowedFd<'_>, member: u32) -> io::Result<OwnedFd> {
        self.temporaries.lock().unwrap_or_else(PoisonError::into_inner).insert(member);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(at, &self.temporary_name(member)[..], flags, Mode::RUSR | Mode::WUSR)?)
    }

    /// Gives the member's temporary file its final name.
    pub(super) fn publish_temporary(&self, at: BorrowedFd<'_>, member: u32, name: &[u8]) -> io::Result<()> {
        rustix::fs::renameat(at, &self.temporary_name(member)[..], at, name)?;
        self.temporaries.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
        Ok(())
    }

    /// Notes that a member was made where nothing was.
    pub(super) fn created(&self, member: u32) {
        self.created[member as usize / 64].fetch_or(1 << (member % 64), Ordering::Relaxed);
    }

    pub(super) fn is_created(&self, member: u32) -> bool {
        self.created[member as usize / 64].load(Ordering::Relaxed) & (1 << (member % 64)) != 0
    }

    /// Notes that an existing file became the new one.
    pub(super) fn replaced(&self) {
        self.replaced.fetch_add(1, Ordering::Relaxed);
    }

    /// How many existing files have become new ones.
    pub(super) fn replaced_count(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    pub(super) fn created_above(&self, path: &Path) {
        self.above.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    }

    /// Moves what stands in a member's place out of the way, until the end.
    pub(super) fn set_aside(&self, at: BorrowedFd<'_>, member: u32, name: &[u8]) -> io::Result<()> {
        let aside = [&self.temporary_name(member), &b".old"[..]].concat();
        rustix::fs::renameat(at, name, at, &aside[..])?;
        self.aside.lock().unwrap_or_else(PoisonError::into_inner).push((member, aside));
        Ok(())
    }

    /// Notes that a directory was opened up, and the mode that it had.
    pub(super) fn opened_up(&self, member: u32, mode: u32) {
        self.opened_up.lock().unwrap_or_else(PoisonError::into_inner).insert(member, mode);
    }

    /// Gives the directory of a member, if it was opened up, the mode that it had.
    pub(super) fn close_again(&self, walker: &mut Walker, member: u32, path: &[u8]) {
        let Some(mode) = self.opened_up.lock().unwrap_or_else(PoisonError::into_inner).remove(&member) else { return };
        // It was ours to open up a moment ago.
        let Ok(at) = walker.enter(parent(path)) else { return };
        let mode = Mode::from_raw_mode(mode);
        let _ = match path.is_empty() {
            true => rustix::fs::fchmod(at, mode),
            false => rustix::fs::chmodat(at, file_name(path), mode, AtFlags::empty()),
        };
    }

    /// Takes everything back that can be: what was created goes, what was set aside returns, what was opened up closes.
    pub(super) fn roll_back(&self, index: &Index, roots: &Roots) {
        let mut walker = None;
        let temporaries = std::mem::take(&mut *self.temporaries.lock().unwrap_or_else(PoisonError::into_inner));
        for member in temporaries {
            let Some((path, root)) = roots.place(index, member) else { continue };
            if let Some(Ok(at)) = walker_for(&mut walker, roots, root).map(|walker| walker.enter(parent(&path))) {
                let _ = rustix::fs::unlinkat(at, &self.temporary_name(member)[..], AtFlags::empty());
            }
        }
        for number in (0..index.members.len()).rev() {
            let Ok(number) = u32::try_from(number) else { continue };
            let Some((path, root)) = roots.place(index, number) else { continue };
            if !self.is_created(number) || path.is_empty() {
                continue;
            }
            let walker = walker_for(&mut walker, roots, root);
            let Some(Ok(at)) = walker.map(|walker| walker.enter(parent(&path))) else { continue };
            let name = file_name(&path);
            let is_directory =
                matches!(index.members[number as usize].content, crate::archive::index::Content::Directory);
            // A directory that somebody else has put something into stays.
            let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let _ = rustix::fs::unlinkat(at, name, flags);
        }
        for (member, aside) in self.take_aside() {
            let Some((path, root)) = roots.place(index, member) else { continue };
            if let Some(Ok(at)) = walker_for(&mut walker, roots, root).map(|walker| walker.enter(parent(&path))) {
                let _ = rustix::fs::renameat(at, &aside[..], at, file_name(&path));
            }
        }
        let opened_up = self.opened_up.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // What lies in a directory before the directory itself.
        for (member, _) in opened_up.into_iter().rev() {
            let Some((path, root)) = roots.place(index, member) else { continue };
            if let Some(walker) = walker_for(&mut walker, roots, root) {
                self.close_again(walker, member, &path);
            }
        }
        self.roll_back_above();
    }

    /// Removes the directories that were made above roots.
    pub(super) fn roll_back_above(&self) {
        for path in self.above.lock().unwrap_or_else(PoisonError::into_inner).drain(..).rev() {
            let _ = std::fs::remove_dir(path);
        }
    }

    /// Removes for good what was set aside. What cannot be removed, or is excluded from the root, stays beside the
    /// restored file under the name that it has now.
    pub(super) fn commit(&self, index: &Index, roots: &Roots, paths: &PathList, imperfections: &mut Imperfections) {
        let mut walker = None;
        for (member, aside) in self.take_aside() {
            let Some((path, root)) = roots.place(index, member) else { continue };
            let Some(walker) = walker_for(&mut walker, roots, root) else { continue };
            let base = roots.base(root);
            let now = full_path(base, &parent(&path).map_or_else(|| aside.clone(), |above| below(above, &aside)));
            let removed = walker
                .enter(parent(&path))
                .map(|at| Remover { paths, root, base, imperfections: &mut *imperfections }.remove(at, &aside, &path));
            match removed {
                Ok(true) => {}
                Ok(false) => imperfections.add("remove", now, "it was set aside for a file of the entry and stays"),
                Err(error) => imperfections.add("remove", now, error),
            }
        }
    }

    /// Whether this is a name that this run gives to temporary files and to what it sets aside.
    pub(super) fn is_own_name(&self, name: &[u8]) -> bool {
        name.starts_with(&self.prefix)
    }

    fn take_aside(&self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut *self.aside.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The walker of `root`, made anew when the root changes.
fn walker_for<'a>(walker: &'a mut Option<(usize, Walker)>, roots: &Roots, root: usize) -> Option<&'a mut Walker> {
    if walker.as_ref().is_none_or(|(of, _)| *of != root) {
        *walker = Some((root, Walker::new(roots.directory(root)?)));
    }
    walker.as_mut().map(|(_, walker)| walker)
}
