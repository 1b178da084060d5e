//! The directories still to be read.

use std::sync::{Condvar, Mutex, PoisonError};

use super::walk::{DirectoryJob, DirectoryWay};

/// Directories still to be read, deepest first, which keeps few of them open; and never more than a limit.
pub(super) struct Queue {
    limit: usize,
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: Vec<DirectoryJob>,
    running: usize,
}

impl Queue {
    /// A queue of which at most `limit` directories keep the one above them open.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn push(&self, jobs: impl IntoIterator<Item = DirectoryJob>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.extend(jobs);
    }

    /// The next directory; `None` when all have been read.
    pub(super) fn pop(&self) -> Option<DirectoryJob> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.jobs.pop() {
                state.running += 1;
                return Some(job);
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn finish(&self, children: Vec<DirectoryJob>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running -= 1;
        for mut job in children {
            if state.jobs.len() >= self.limit {
                job.way = DirectoryWay::FromRoot;
            }
            state.jobs.push(job);
        }
        drop(state);
        self.changed.notify_all();
    }
}
