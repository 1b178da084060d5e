//! Threads as far as they can be had: containers and batch systems allow few, and other processes may hold those.

use std::io;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Runs `work` on `most` threads at the same time, or on as many as can be had, and returns when all have ended. Where none
/// can be had, this thread does it all. To be called with work that every thread takes from one queue.
pub(crate) fn share(most: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        if start(scope, most, &work) == 0 {
            work();
        }
    });
}

/// Starts `work` on at most `most` threads, at least one. Gives how many could be had.
pub(crate) fn start<'scope, 'env, F: Fn() + Sync>(
    scope: &'scope Scope<'scope, 'env>,
    most: usize,
    work: &'env F,
) -> usize {
    (0..most.max(1)).take_while(|_| spawn(scope, work).is_ok()).count()
}

/// Starts one thread.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work)
}
