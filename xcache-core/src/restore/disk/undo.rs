//! The two ends of a restore: all of it stays, or all of it is taken back.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Mode};

use super::aside::{put_back, unlink};
use super::attributes::DirectoryAt;
use super::clean::Remover;
use super::cursor::Cursor;
use super::journal::{Above, Committed, Deed, DoneDeed};
use super::leftovers;
use super::look::{is_directory, stat};
use super::notices::Notices;
use super::place::{Place, join};
use super::root::put_root_back;
use super::state::Target;
use crate::archive::index::parent;

impl Target<'_> {
    /// Takes everything back: what was made goes, what was set aside returns, what was opened up closes. Only what this
    /// restore has made is removed: if another process has put something else in its place since, that stays. Gives how
    /// many things that were there before could not be put back.
    pub(crate) fn roll_back(&self) -> u64 {
        let mut cursor = self.cursor();
        // After the point of no return the tree is the new one, but not finished.
        let mut not_back = u64::from(self.is_committed.load(Ordering::Relaxed));
        let (closing, deeds): (Vec<_>, Vec<_>) =
            self.journal.take().into_iter().partition(|done| matches!(done.deed, Deed::OpenedUp { .. }));
        // One worker makes a temporary file and another one puts it in the place of the old, which has its name from then on:
        // that name is free to be removed only when the old file is back.
        let mut names: HashSet<u64> = HashSet::new();
        names.extend(deeds.iter().filter_map(|done| match done.deed {
            Deed::Replaced { old, .. } => Some(old),
            _ => None,
        }));
        for done in deeds {
            if matches!(done.deed, Deed::Temporary { number } if names.contains(&number)) {
                continue;
            }
            if cursor.undo(&done).is_err() && matches!(done.deed, Deed::Replaced { .. }) {
                not_back += 1;
            }
        }
        // What lies in a directory comes before the directory itself; nothing is to be done in any of them any more.
        for done in closing {
            let Deed::OpenedUp { mode } = done.deed else { continue };
            let _ = cursor.close(done.place(), mode); // it was ours to open up a moment ago
        }
        self.unmark();
        for above in self.journal.take_above() {
            not_back += u64::from(!undo_above(&above));
        }
        not_back
    }

    /// Keeps everything: removes for good what was set aside. From here on nothing is taken back. What cannot be removed
    /// stays under the name that it has.
    pub(crate) fn commit(&self, notices: &mut Notices) -> Committed {
        self.is_committed.store(true, Ordering::Relaxed);
        let mut cursor = self.cursor();
        let mut committed = Committed::default();
        for DoneDeed { root, path, deed } in self.journal.take_for_commit() {
            match deed {
                Deed::Temporary { .. } | Deed::File { .. } => {}
                Deed::Directory => {
                    committed.directories.insert((root, path));
                }
                Deed::OpenedUp { mode } => {
                    committed.opened_up.insert((root, path), mode);
                }
                Deed::Replaced { old, .. } => {
                    if let Err(error) = cursor.remove_old(Place { root, path: &path }, old, notices) {
                        notices.add("remove", self.full_path(Place { root, path: &path }), error);
                    }
                }
            }
        }
        for above in self.journal.take_above() {
            if let Above::Replaced { path, old, .. } = above
                && let Err(error) = std::fs::remove_file(path.join(OsStr::from_bytes(&old)))
            {
                notices.add("remove", path, error);
            }
        }
        self.unmark();
        committed
    }

    fn unmark(&self) {
        for root in self.roots.iter().flatten() {
            leftovers::unmark(root, |number| self.temporary_name(number));
        }
    }
}

/// Gives whether everything that was there before is back.
fn undo_above(above: &Above) -> bool {
    match above {
        Above::Made { path, inode } => {
            if std::fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode) {
                let _ = std::fs::remove_dir(path); // not if something else is in it
            }
            true
        }
        Above::Replaced { path, inode, old } => put_root_back(path, *inode, old).is_ok(),
    }
}

impl Cursor<'_> {
    fn undo(&mut self, done: &DoneDeed) -> io::Result<()> {
        let target = self.target();
        let (at, name) = self.enter(done.place())?;
        match done.deed {
            Deed::Temporary { number } => {
                match rustix::fs::unlinkat(at, &target.temporary_name(number)[..], AtFlags::empty()) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => {
                        // A directory in the making.
                        let name = target.temporary_name(number);
                        if rustix::fs::unlinkat(at, &name[..], AtFlags::REMOVEDIR).is_err() {
                            return Err(error.into());
                        }
                    }
                }
            }
            Deed::File { inode } => {
                if let Some(found) = stat(at, name)?.filter(|found| found.st_ino == inode) {
                    unlink(at, name, &found)?;
                }
            }
            // One that another process has put something into stays.
            Deed::Directory => rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)?,
            Deed::Replaced { old, inode } => {
                if !put_back(at, &target.temporary_name(old), name, inode)? {
                    // Replaced once more, by another process: what was there first would not have survived that either.
                    self.remove_old(done.place(), old, &mut Notices::default())?;
                }
            }
            Deed::OpenedUp { .. } => {}
        }
        Ok(())
    }

    /// Gives a directory that was opened up the mode that it had.
    pub(super) fn close(&mut self, place: Place<'_>, mode: u32) -> io::Result<()> {
        let (at, name) = self.enter(place)?;
        Ok(DirectoryAt { at, name }.set_mode(Mode::from_raw_mode(mode))?)
    }

    /// Removes what was in a place before.
    fn remove_old(&mut self, place: Place<'_>, old: u64, notices: &mut Notices) -> io::Result<()> {
        let target = self.target();
        let (at, _) = self.enter(place)?;
        let name = target.temporary_name(old);
        let Some(found) = stat(at, &name)? else { return Ok(()) };
        if !is_directory(&found) {
            return Ok(rustix::fs::unlinkat(at, &name[..], AtFlags::empty())?);
        }
        let Some(root) = target.root(place.root) else { return Ok(()) };
        let path = join(parent(place.path).unwrap_or_default(), &name);
        Remover::new(target, place.root, root, notices).remove_own(&path);
        Ok(())
    }
}
