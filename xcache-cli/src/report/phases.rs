//! How long the phases of a run take.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Reporter;

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
    reporter: Reporter,
    name: &'static str,
    begin: Instant,
}

impl Reporter {
    /// Begins a phase.
    pub fn phase(&self, name: &'static str) -> Phase {
        Phase { reporter: self.clone(), name, begin: Instant::now() }
    }

    /// How long each phase has taken so far.
    pub fn phases(&self) -> BTreeMap<&'static str, Duration> {
        self.shared.phases.all()
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.reporter.shared.phases.add(self.name, self.begin.elapsed());
    }
}
