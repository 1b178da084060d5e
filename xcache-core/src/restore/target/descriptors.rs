//! How many descriptors a restore may keep open, so that neither depth nor threads use up those of the process.

use rustix::process::{Resource, getrlimit};

/// Kept free for connections, objects of a local store, files being written, locks, the log and the program itself.
const RESERVED: u64 = 96;
/// More levels than this save next to nothing: real trees are less deep.
const MOST_LEVELS: u64 = 64;
/// Each thread has a place in the tree; the one that links files has a second, and one more file may be open at each.
const PLACES_OF_A_THREAD: u64 = 2;

/// How many levels each of the places of `threads` threads may keep open.
pub(super) fn levels(threads: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    of(limit, threads)
}

fn of(limit: u64, threads: usize) -> usize {
    // The main thread is one more.
    let places = (u64::try_from(threads).unwrap_or(u64::MAX)).saturating_add(1).saturating_mul(PLACES_OF_A_THREAD);
    let levels = (limit.saturating_sub(RESERVED) / places).clamp(1, MOST_LEVELS);
    usize::try_from(levels).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_threads_stay_within_the_limit() {
        for (limit, threads, levels) in [(1024, 16, 27), (1024, 1, 64), (256, 16, 4), (64, 4, 1), (u64::MAX, 128, 64)] {
            assert_eq!(of(limit, threads), levels, "{limit} descriptors, {threads} threads");
        }
    }
}
