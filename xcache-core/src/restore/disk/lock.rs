//! One restore at a time in one tree.
//!
//! Two restores that write into the same directories would compare what the other has half written, and take each other's
//! files in the making for leftovers. A restore therefore locks the directories that it fills, and shares locks on those
//! above them, so that restores into a directory and into one below it exclude each other as well, and those side by side
//! do not. The locks belong to open descriptors (`flock`), so they end with the process, however it ends.
//!
//! A lock is a courtesy and never a condition: some file systems have none, and a script may hold one of its own around
//! the whole job. What must hold without it, such as whose files are taken back, does.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::super::interrupt::Interrupt;

/// How long another restore is waited for. Longer than almost all restores take, and short enough for a job whose own
/// script holds the lock.
const PATIENCE: Duration = Duration::from_secs(60);
/// No more roots than these are locked: each takes a descriptor.
const MOST_ROOTS: usize = 64;
const STEP: Duration = Duration::from_millis(25);

/// What was locked; unlocked when dropped.
#[derive(Debug, Default)]
pub(super) struct Locks(BTreeMap<DirectoryIdentity, (LockKind, File)>);

/// Device and inode.
type DirectoryIdentity = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LockKind {
    Shared,
    Exclusive,
}

/// Locks `roots`, which are open at these paths: for itself those that are filled (`true`), shared the others.
///
/// # Errors
/// None but that it was interrupted.
pub(super) fn lock(roots: &[(&Path, &OwnedFd, bool)], interrupt: &Interrupt) -> Option<Locks> {
    let mut wanted: BTreeMap<DirectoryIdentity, (LockKind, File)> = BTreeMap::new();
    let mut want = |file: File, kind: LockKind| {
        let Ok(stat) = rustix::fs::fstat(&file) else { return };
        let entry = wanted.entry((stat.st_dev, stat.st_ino)).or_insert((kind, file));
        entry.0 = entry.0.max(kind);
    };
    let mut seen = HashSet::new();
    for (path, directory, is_filled) in roots.iter().take(MOST_ROOTS) {
        if let Ok(copy) = reopen(directory) {
            want(copy, if *is_filled { LockKind::Exclusive } else { LockKind::Shared });
        }
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        for above in whole.ancestors().skip(1) {
            // What we may not read is not locked.
            if seen.insert(above.to_owned())
                && let Ok(file) = File::open(above)
            {
                want(file, LockKind::Shared);
            }
        }
    }
    // Always in the same order, so that two restores of several directories do not wait for each other.
    let deadline = Instant::now() + PATIENCE;
    let mut held = BTreeMap::new();
    for (identity, (kind, file)) in wanted {
        if take(&file, kind, deadline, interrupt)? {
            held.insert(identity, (kind, file));
        }
    }
    Some(Locks(held))
}

impl Locks {
    /// Calls `act` if no other restore is at work in this directory, which must be a root, and none can begin meanwhile.
    pub(super) fn if_alone(&self, directory: &OwnedFd, act: impl FnOnce()) {
        let Ok(stat) = rustix::fs::fstat(directory) else { return };
        match self.0.get(&(stat.st_dev, stat.st_ino)) {
            Some((LockKind::Exclusive, _)) => act(),
            Some((LockKind::Shared, file)) => {
                if rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    act();
                }
                let _ = rustix::fs::flock(file, FlockOperation::NonBlockingLockShared);
            }
            None => {}
        }
    }
}

/// A description of its own: locks of one descriptor that was duplicated are one lock.
fn reopen(directory: &OwnedFd) -> rustix::io::Result<File> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(directory, c".", flags, rustix::fs::Mode::empty())?))
}

/// Waits for one lock. Gives whether it was had; none if interrupted.
fn take(file: &File, kind: LockKind, deadline: Instant, interrupt: &Interrupt) -> Option<bool> {
    let operation = match kind {
        LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
        LockKind::Shared => FlockOperation::NonBlockingLockShared,
    };
    loop {
        if interrupt.is_raised() {
            return None;
        }
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Some(true),
            // Rather look again than wait in the kernel, where no interrupt would end it.
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(STEP),
            Err(Errno::INTR) => {}
            Err(_) => return Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    /// Whether a restore of `other` can begin while one of `first` is at work.
    #[track_caller]
    fn check(dir: &Path, first: (&str, bool), other: (&str, bool), can_begin: bool) {
        let interrupt = Interrupt::default();
        let paths = [first, other].map(|(name, is_filled)| (dir.join(name), open(&dir.join(name)), is_filled));
        let held = lock(&[(&paths[0].0, &paths[0].1, paths[0].2)], &interrupt).unwrap();
        let mut is_alone = false;
        held.if_alone(&paths[0].1, || is_alone = true);
        assert!(is_alone);
        std::thread::scope(|scope| {
            let (done, began) = std::sync::mpsc::channel();
            let (paths, interrupt) = (&paths, &interrupt);
            scope.spawn(move || done.send(lock(&[(&paths[1].0, &paths[1].1, paths[1].2)], interrupt).is_some()));
            if can_begin {
                assert!(began.recv().unwrap(), "{first:?} {other:?}");
            } else {
                assert!(began.try_recv().is_err());
                interrupt.raise();
                assert!(!began.recv().unwrap(), "{first:?} {other:?}");
            }
        });
    }

    #[test]
    fn restores_into_one_tree_exclude_each_other_and_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/b", "c"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        check(dir.path(), ("a", true), ("a", true), false);
        check(dir.path(), ("a", true), ("a/b", true), false);
        check(dir.path(), ("a/b", true), ("a", true), false);
        check(dir.path(), ("a", true), ("a", false), false);
        check(dir.path(), ("a", true), ("c", true), true);
        check(dir.path(), ("a", false), ("a", false), true);
    }

    #[test]
    fn a_restore_does_not_wait_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let (outer, inner) = (dir.path().join("a"), dir.path().join("a/b"));
        let (a, b) = (open(&outer), open(&inner));
        let roots = [(&*outer, &a, true), (&*inner, &b, true), (&*outer, &a, false)];
        let held = lock(&roots, &Interrupt::default()).unwrap();
        let mut is_alone = false;
        held.if_alone(&a, || is_alone = true);
        assert!(is_alone);
    }
}
