//! How long the phases of a run take.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time that each phase has taken so far, in all caches of the run together.
#[derive(Debug, Default)]
pub(super) struct Phases(Mutex<BTreeMap<&'static str, Duration>>);

impl Phases {
    pub(super) fn all(&self) -> BTreeMap<&'static str, Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, name: &'static str, elapsed: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += elapsed;
    }
}

/// A phase under way, which ends when this is dropped.
#[derive(Debug)]
#[must_use = "a phase ends when this is dropped"]
pub struct Phase {
    phases: Arc<Phases>,
    name: &'static str,
    begin: Instant,
}

impl Phase {
    pub(super) fn begin(phases: &Arc<Phases>, name: &'static str) -> Self {
        Self { phases: Arc::clone(phases), name, begin: Instant::now() }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.phases.add(self.name, self.begin.elapsed());
    }
}
