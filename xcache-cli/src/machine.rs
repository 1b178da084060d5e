//! What this machine lets the process have, found out before anything relies on it.
//!
//! Containers and batch systems allow fewer threads than there are CPUs (a pids cgroup, `RLIMIT_NPROC`), or little
//! address space (`RLIMIT_AS`). A runtime that cannot have its threads panics or waits for ever, and an allocation
//! that fails ends the process; so both are asked for, and the run is made small enough.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use super::env_vars as var;
use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior};
use xcache_core::convert;

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Threads for requests; none where this one has to do.
    pub async_threads: usize,
    /// Threads for calls that block; each cache needs a few at the same time.
    pub blocking_threads: usize,
    /// Threads that compress, hash and write.
    pub workers: usize,
    /// Requests in flight.
    pub concurrency: usize,
}

/// The fewest threads, besides the first one, with which a run gets to its end: one that waits for files, one that waits
/// for the store or for a name meanwhile, one that works, and one that shows progress.
const FEWEST: usize = 4;
/// Blocking calls of one cache that may be waiting for each other.
const BLOCKING: usize = 6;
/// No less address space is counted on than for so many threads.
const FEWEST_BY_MEMORY: usize = 8;
/// What a thread takes of the address space: its stack, and the arena that the allocator of glibc reserves for it.
const BYTES_PER_THREAD: u64 = 80 << 20;
/// What a request in flight takes: its part, and room to receive the next.
const BYTES_PER_REQUEST: u64 = 16 << 20;

impl Machine {
    /// More workers than this have not made any measured tree faster, and each costs buffers.
    const MOST_WORKERS: usize = 64;
    /// More threads for requests have not helped either.
    const MOST_ASYNC_THREADS: usize = 8;

    /// Everything that can be asked for.
    pub const UNLIMITED: Self = Self {
        async_threads: Self::MOST_ASYNC_THREADS,
        blocking_threads: 512,
        workers: Self::MOST_WORKERS,
        concurrency: usize::MAX,
    };

    /// How many caches may be worked on at the same time: each needs threads that wait for each other.
    pub fn caches(&self) -> usize {
        (self.blocking_threads / BLOCKING).max(1)
    }

    /// Finds out. `None` if there are not even threads for the smallest run.
    pub fn probe(cpus: usize) -> Option<Self> {
        let address_space = getrlimit(Resource::As).current;
        // As many as a run with default options has at its peak.
        let wanted = cpus.min(Self::MOST_ASYNC_THREADS) + cpus.min(16) + BLOCKING;
        let by_memory =
            address_space.map_or(usize::MAX, |bytes| fits(bytes / 2, BYTES_PER_THREAD).max(FEWEST_BY_MEMORY));
        let wanted = wanted.max(FEWEST_BY_MEMORY).min(by_memory);
        let threads = available(wanted);
        let full = Self { async_threads: cpus.clamp(1, Self::MOST_ASYNC_THREADS), ..Self::UNLIMITED };
        let concurrency = address_space.map_or(usize::MAX, |bytes| fits(bytes / 4, BYTES_PER_REQUEST).max(1));
        match threads {
            _ if threads < FEWEST => None,
            _ if threads == wanted && by_memory == usize::MAX => Some(full),
            _ => Some(Self { concurrency, ..Self::small(threads) }),
        }
    }

    /// A run on so many threads, [`FEWEST`] at least. Requests are made on the first one, which waits otherwise.
    fn small(threads: usize) -> Self {
        let blocking_threads = (threads / 2).clamp(2, BLOCKING);
        Self { async_threads: 0, blocking_threads, workers: threads - blocking_threads - 1, ..Self::UNLIMITED }
    }
}

fn fits(bytes: u64, each: u64) -> usize {
    convert::in_memory(bytes / each)
}

/// How many of `wanted` threads can be had at the same time. They end before this returns.
fn available(wanted: usize) -> usize {
    thread::scope(|scope| {
        let mut held = Vec::with_capacity(wanted);
        for _ in 0..wanted {
            // Each waits until the sender is dropped.
            let (sender, receiver) = mpsc::channel::<()>();
            let waiting = thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, move || receiver.recv());
            if waiting.is_err() {
                break;
            }
            held.push(sender);
        }
        held.len()
    })
}

/// Starts the program anew with a single arena of the allocator where the address space is limited (`ulimit -v`), since glibc
/// reserves an arena of 64 MiB for each thread: a handful of threads would take all there is, and what is left, down to the
/// stack of the first thread, could not grow. The allocator reads its variable before `main`. Returns if there is no need, or
/// if it cannot be done.
pub fn ensure_one_arena() {
    let is_limited = getrlimit(Resource::As).current.is_some();
    if !cfg!(target_env = "gnu") || !is_limited || std::env::var_os(var::MALLOC_ARENA_MAX).is_some() {
        return;
    }
    let mut arguments = std::env::args_os();
    if let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) {
        let _ = Command::new(program).arg0(name).args(arguments).env(var::MALLOC_ARENA_MAX, "1").exec();
    }
}

/// Keeps credentials out of core dumps, and away from other processes of the same user.
pub fn harden() {
    // Without it the run is as good, and a dump of it as bad, as of any other program.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_what_a_run_needs() {
        let machine = Machine::probe(2).unwrap();
        assert!(machine.workers >= 1 && machine.blocking_threads >= 2);
        assert_eq!(available(3), 3);
    }

    #[test]
    fn a_small_run_has_a_thread_for_each_of_those_that_wait_for_each_other() {
        for threads in FEWEST..100 {
            let Machine { async_threads, blocking_threads, workers, .. } = Machine::small(threads);
            assert_eq!((async_threads, blocking_threads + workers + 1), (0, threads));
            assert!(blocking_threads >= 2 && workers >= 1, "{threads}");
        }
    }
}
