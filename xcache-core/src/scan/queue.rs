//! The directories still to be read.

use std::sync::{Condvar, Mutex, PoisonError};

use super::walk::Job;

/// Directories still to be read, deepest first, which bounds how many are open.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: Vec<Job>,
    running: usize,
}

impl Queue {
    pub(super) fn push(&self, jobs: impl IntoIterator<Item = Job>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.extend(jobs);
    }

    /// The next directory; `None` when all have been read.
    pub(super) fn pop(&self) -> Option<Job> {
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

    pub(super) fn finish(&self, children: Vec<Job>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running -= 1;
        state.jobs.extend(children);
        drop(state);
        self.changed.notify_all();
    }
}
