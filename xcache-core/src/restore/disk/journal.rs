//! What a restore has made and replaced so far, so that one that cannot finish takes all of it back (P6).
//!
//! Each place in the tree keeps a log of its own, without a lock and with little memory: a file of the tree takes about
//! fifty bytes. The logs are put together when their places are given up, also by a panic.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::place::{Place, join};
use crate::archive::index::{file_name, parent, path_order};
use crate::convert;

/// Something that was done, and what is needed to undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// A file may be in the making beside this place, under the temporary name of this number.
    Temporary { number: u64 },
    /// A file or link was made where nothing was.
    File { inode: u64 },
    /// A directory was made where nothing was. It is only ever removed when it is empty.
    Directory,
    /// What was here is beside it now, under the temporary name of this number.
    Replaced { old: u64, inode: u64 },
    /// A directory that let nothing be written into it was opened up; this was its mode.
    OpenedUp { mode: u32 },
}

/// The deeds at one place in the tree, in order.
#[derive(Debug, Default)]
pub(super) struct Log {
    bytes: Vec<u8>,
    /// The directory of the last deed, which most deeds share with the one before.
    directory: ByteRun,
    deeds: Vec<Logged>,
}

#[derive(Debug)]
struct Logged {
    root: u32,
    directory: ByteRun,
    name: ByteRun,
    deed: Deed,
}

/// Where bytes lie in a log.
#[derive(Clone, Copy, Debug, Default)]
struct ByteRun {
    start: usize,
    length: u16,
}

impl Log {
    pub(super) fn add(&mut self, place: Place<'_>, deed: Deed) {
        let directory = parent(place.path).unwrap_or_default();
        if self.get(self.directory) != directory {
            self.directory = self.put(directory);
        }
        let name = self.put(file_name(place.path));
        let root = convert::number(place.root);
        self.deeds.push(Logged { root, directory: self.directory, name, deed });
    }

    fn put(&mut self, bytes: &[u8]) -> ByteRun {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        ByteRun { start, length: convert::small(bytes.len()) }
    }

    fn get(&self, ByteRun { start, length }: ByteRun) -> &[u8] {
        &self.bytes[start..start + usize::from(length)]
    }
}

/// A deed and where it was done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DoneDeed {
    pub(super) root: usize,
    pub(super) path: Vec<u8>,
    pub(super) deed: Deed,
}

impl DoneDeed {
    pub(super) fn place(&self) -> Place<'_> {
        Place { root: self.root, path: &self.path }
    }
}

/// All deeds of a restore.
#[derive(Debug, Default)]
pub(super) struct Journal {
    logs: Mutex<Vec<Log>>,
    /// What was done to get at the roots, outermost first.
    above: Mutex<Vec<Above>>,
}

/// Something that was done at a root, or above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Above {
    /// A directory was made where nothing was.
    Made {
        /// Where.
        path: PathBuf,
        /// Which.
        inode: u64,
    },
    /// A directory was made in the place of something else, which is in it now.
    Replaced {
        /// Where.
        path: PathBuf,
        /// Which.
        inode: u64,
        /// The temporary name of what was there.
        old: Vec<u8>,
    },
}

impl Journal {
    pub(super) fn add(&self, log: Log) {
        if !log.deeds.is_empty() {
            self.logs.lock().unwrap_or_else(PoisonError::into_inner).push(log);
        }
    }

    pub(super) fn add_above(&self, above: Above) {
        self.above.lock().unwrap_or_else(PoisonError::into_inner).push(above);
    }

    /// What was done to get at the roots, innermost first; it is noted no longer.
    pub(super) fn take_above(&self) -> Vec<Above> {
        let mut above = std::mem::take(&mut *self.above.lock().unwrap_or_else(PoisonError::into_inner));
        above.reverse();
        above
    }

    /// All deeds in the order in which they are undone: what lies in a directory before the directory itself, and of one
    /// place the last one first. They are noted no longer.
    pub(super) fn take(&self) -> Vec<DoneDeed> {
        self.take_if(|_| true)
    }

    /// Those of them that matter to a restore that has finished, which are few: new files are most of what it does.
    pub(super) fn take_for_commit(&self) -> Vec<DoneDeed> {
        self.take_if(|deed| !matches!(deed, Deed::Temporary { .. } | Deed::File { .. }))
    }

    fn take_if(&self, is_wanted: impl Fn(Deed) -> bool) -> Vec<DoneDeed> {
        let logs = std::mem::take(&mut *self.logs.lock().unwrap_or_else(PoisonError::into_inner));
        let mut all = Vec::new();
        for log in logs {
            let wanted = log.deeds.iter().filter(|logged| is_wanted(logged.deed));
            all.extend(wanted.map(|logged| DoneDeed {
                root: logged.root as usize,
                path: join(log.get(logged.directory), log.get(logged.name)),
                deed: logged.deed,
            }));
        }
        all.reverse();
        all.sort_by(|a, b| (b.root.cmp(&a.root)).then_with(|| path_order(&b.path, &a.path)));
        all
    }
}

/// What the end of a restore needs to know of what was done.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// Directories that were made.
    pub(super) directories: HashSet<(usize, Vec<u8>)>,
    /// The modes that directories had before they were opened up.
    pub(super) opened_up: BTreeMap<(usize, Vec<u8>), u32>,
}

impl Committed {
    /// Whether the directory at a place was made by this restore.
    pub(super) fn is_new(&self, place: Place<'_>) -> bool {
        self.directories.contains(&(place.root, place.path.to_vec()))
    }

    /// The mode that the directory at a place had before it was opened up.
    pub(super) fn mode_before(&self, place: Place<'_>) -> Option<u32> {
        self.opened_up.get(&(place.root, place.path.to_vec())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_are_undone_from_the_inside_out_and_the_last_one_first() {
        let (mut one, mut other, journal) = (Log::default(), Log::default(), Journal::default());
        let file = |inode| Deed::File { inode };
        for (root, path, deed) in [
            (0, "a", Deed::Directory),
            (0, "a/b", Deed::Directory),
            (0, "a/b/f", file(3)),
            (0, "a/b/f", Deed::Replaced { old: 9, inode: 4 }),
            (0, "", Deed::OpenedUp { mode: 0o555 }),
        ] {
            one.add(Place { root, path: path.as_bytes() }, deed);
        }
        other.add(Place { root: 0, path: b"a/b/g" }, file(5));
        other.add(Place { root: 1, path: b"f" }, file(6));
        journal.add(one);
        journal.add(other);
        let taken = journal.take();
        let found: Vec<_> =
            taken.iter().map(|done| (done.root, str::from_utf8(&done.path).unwrap(), done.deed)).collect();
        let expected = [
            (1, "f", file(6)),
            (0, "a/b/g", file(5)),
            (0, "a/b/f", Deed::Replaced { old: 9, inode: 4 }),
            (0, "a/b/f", file(3)),
            (0, "a/b", Deed::Directory),
            (0, "a", Deed::Directory),
            (0, "", Deed::OpenedUp { mode: 0o555 }),
        ];
        assert_eq!(found, expected);
        assert!(journal.take().is_empty());
    }
}
