//! The lock of a store in a directory: held while an object is replaced or deleted, for the time of a few system calls.
//!
//! Waiting for it has a bound, because its holder may be stopped or hang on a file system that does not answer. The holder
//! writes its process number into the file, so that a waiter can say what it waits for: while it waits ([`on_wait`]), and when
//! it gives up. A run that is asked to stop waits no longer ([`hurry`]): it could not end in the time that it is given.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::path::{lock_path, open_private, private_directories};
use super::refused::Refused;

/// A thousand times what a holder needs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Once the run is asked to stop: a holder that works is done by then.
const IN_A_HURRY: Duration = Duration::from_millis(200);

/// A wait this long is worth a line: no holder that works takes so long.
const NOTABLE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// The file that is locked.
    pub lock: PathBuf,
    /// The process that holds it, as far as it has written that down.
    pub holder: Option<u32>,
    /// How long it is waited for at most.
    pub patience: Duration,
}

type Listener = Box<dyn Fn(&LockWait) + Send + Sync>;

/// One for the process, as the user is.
static LISTENER: OnceLock<Listener> = OnceLock::new();
static IS_HURRIED: AtomicBool = AtomicBool::new(false);

/// From now on `listener` is told of each wait for a lock that takes longer than a second. The first call counts.
pub fn on_wait(listener: impl Fn(&LockWait) + Send + Sync + 'static) {
    let _ = LISTENER.set(Box::new(listener));
}

/// From now on no lock is waited for longer than a moment: the run has been asked to stop.
pub fn hurry() {
    IS_HURRIED.store(true, Ordering::Relaxed);
}

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: OwnedFd,
}

/// Holds off other replacers and deleters, in this and other processes, until the result is dropped.
pub(super) fn lock(root: &Path) -> Result<Lock, Refused> {
    lock_within(root, PATIENCE)
}

fn lock_within(root: &Path, patience: Duration) -> Result<Lock, Refused> {
    let private = private_directories("lock");
    let (name, directories) = private.split_last().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
    let directory = open_private(root, directories)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = std::fs::File::from(fs::openat(&directory, name.as_str(), flags, Mode::from_raw_mode(0o666))?);
    let begun = Instant::now();
    let patience = || if IS_HURRIED.load(Ordering::Relaxed) { IN_A_HURRY.min(patience) } else { patience };
    let mut pause = Duration::from_micros(100);
    let mut is_told = false;
    loop {
        match fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if begun.elapsed() < patience() => {
                if begun.elapsed() >= NOTABLE && !std::mem::replace(&mut is_told, true) {
                    tell(root, &file, patience());
                }
                std::thread::sleep(pause);
                pause = MAX_PAUSE.min(pause * 2);
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Refused::Locked { holder: holder(&file), waited: begun.elapsed() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    // For those who wait in vain. On a full disk they are told no number.
    let _ = file.write_all_at(format!("{:<10}\n", std::process::id()).as_bytes(), 0);
    Ok(Lock { _file: file.into() })
}

fn tell(root: &Path, file: &std::fs::File, patience: Duration) {
    if let Some(listener) = LISTENER.get() {
        listener(&LockWait { lock: lock_path(root), holder: holder(file), patience });
    }
}

/// The process that wrote itself down last.
fn holder(file: &std::fs::File) -> Option<u32> {
    let mut text = [0; 10];
    let length = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for_and_not_for_ever() {
        let root = tempfile::tempdir().unwrap();
        let held = lock(root.path()).unwrap();
        match lock_within(root.path(), Duration::from_millis(50)) {
            Err(Refused::Locked { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock(root.path()).map(|_| ()));
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }
}
