//! How many files a save or restore may keep open, so that neither the depth of a tree nor the number of threads uses up
//! what the process may have.

use crate::convert;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for any number of threads; some systems scan all descriptors up to the limit when a process is started.
const ENOUGH: u64 = 65_536;

/// Kept free for connections, objects of a local store, files being written, locks, the log and the program itself.
const RESERVED: u64 = 96;
/// More levels than this save next to nothing: real trees are less deep.
const MOST_LEVELS: u64 = 64;
/// Each thread has a place in the tree; the one that links files has a second, and one more file may be open at each.
const PLACES_OF_A_THREAD: u64 = 2;

/// With fewer the runtime of a program cannot even be started: it panics where it should fail.
const LEAST: u64 = 10;

/// Raises the limit of this process as far as it may: the usual 1,024 are meant for programs that use `select`. Gives
/// whether a runtime can be started with it.
pub fn raise_limit() -> bool {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if current.is_some_and(|current| current < wanted) {
        // What is not permitted is done without.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    limit() >= LEAST
}

/// What no limit counts as.
const UNLIMITED: u64 = u64::MAX;

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED)
}

/// How many levels of a tree each of the places of `threads` threads may keep open.
pub(crate) fn levels(threads: usize) -> usize {
    levels_of(limit(), threads)
}

/// How many directories that are still to be read may be kept open.
pub(crate) fn waiting() -> usize {
    usize::try_from((limit().saturating_sub(RESERVED) / 2).clamp(1, 1024)).unwrap_or(1)
}

fn levels_of(limit: u64, threads: usize) -> usize {
    // The main thread is one more.
    let places = convert::length(threads).saturating_add(1).saturating_mul(PLACES_OF_A_THREAD);
    let levels = (limit.saturating_sub(RESERVED) / places).clamp(1, MOST_LEVELS);
    usize::try_from(levels).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_threads_stay_within_the_limit() {
        for (limit, threads, levels) in [(1024, 16, 27), (1024, 1, 64), (256, 16, 4), (64, 4, 1), (u64::MAX, 128, 64)] {
            assert_eq!(levels_of(limit, threads), levels, "{limit} descriptors, {threads} threads");
        }
    }
}
