//! One run of a gc in the store: its mark, the server's clock, and the lease where one is needed.
//!
//! Every pass writes a small object of its own. The time that the store gives it is the time of all decisions; and on a
//! store without conditional deletion it is a lease: a pass that sees the fresh mark of another gives way. Two that
//! begin together may both give way, but never both go on, because each writes before it lists.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;

use super::error::{Error, Result};
use crate::monitor::Monitor;
use crate::naming::{PASSES_PREFIX, PROBES_PREFIX, pass_name};
use crate::object::RunId;
use crate::store::probe::Features;
use crate::store::{self, Deletion, ListedObject, ObjectName, PutMode, Store, Tags};

/// What the store does with `If-Match` on a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// It honours it: any number of gcs may run.
    Conditional,
    /// It ignores it: gc is single, and looks right before each deletion.
    Unconditional,
}

impl DeleteMode {
    /// What this store allows.
    pub fn of(features: &Features) -> Self {
        if features.conditional_delete { Self::Conditional } else { Self::Unconditional }
    }
}

/// A lease without a sign of life for so long is taken over.
const LEASE: TimeDelta = TimeDelta::hours(1);
/// How often a sign of life is given.
const RENEW_AFTER: Duration = Duration::from_secs(300);

/// A gc at work. [`Pass::end`] it; a killed one leaves a mark that later passes remove.
#[derive(Debug)]
pub struct Pass<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) mode: DeleteMode,
    /// Unique to this run.
    pub(super) run: RunId,
    name: ObjectName,
    now: DateTime<Utc>,
    renewed: Mutex<Instant>,
}

impl<'a> Pass<'a> {
    /// Begins a pass under `run`, which is unique to this run.
    pub async fn begin(store: &'a dyn Store, monitor: &'a dyn Monitor, mode: DeleteMode, run: &RunId) -> Result<Self> {
        let name = pass_name(run);
        let now = match Self::mark(store, &name).await {
            Ok(now) => now,
            Err(error) => {
                // The mark may be there all the same, and would then keep other passes away for an hour.
                take_away(store, name).await;
                return Err(error.into());
            }
        };
        let renewed = Mutex::new(Instant::now());
        let pass = Self { store, monitor, mode, run: *run, name, now, renewed };
        match pass.look_around().await {
            Ok(()) => Ok(pass),
            Err(error) => {
                pass.end().await;
                Err(error)
            }
        }
    }

    /// Writes the mark, and returns the time that the store gives it.
    async fn mark(store: &dyn Store, name: &ObjectName) -> store::Result<DateTime<Utc>> {
        store.put(name, Bytes::new(), PutMode::Overwrite, &Tags::new()).await?;
        Ok(store.head(name).await?.last_modified)
    }

    /// When the pass began, by the store's clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Makes sure, before something is deleted, that this pass may still do so: others count on seeing it.
    pub(super) async fn hold(&self) -> Result<()> {
        let mut renewed = self.renewed.lock().await;
        if self.mode == DeleteMode::Conditional && renewed.elapsed() < RENEW_AFTER {
            return Ok(());
        }
        match self.store.head(&self.name).await {
            Ok(_) if renewed.elapsed() < RENEW_AFTER => Ok(()),
            Ok(_) => {
                self.store.put(&self.name, Bytes::new(), PutMode::Overwrite, &Tags::new()).await?;
                *renewed = Instant::now();
                Ok(())
            }
            Err(error) if error.kind() == crate::store::ErrorKind::NotFound => Err(Error::LeaseLost),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes sure that no other pass is at work.
    pub(super) async fn is_alone(&self) -> Result<()> {
        let others = crate::store::list_all(self.store, PASSES_PREFIX).await?;
        let others = others.iter().filter(|object| object.name != self.name);
        match others.map(|object| object.meta.last_modified).max() {
            Some(since) => Err(Error::Busy { since }),
            None => Ok(()),
        }
    }

    /// Takes the mark away.
    pub async fn end(self) {
        take_away(self.store, self.name).await;
    }

    /// Removes marks of passes and objects of probes long dead, and gives way where only one may run.
    async fn look_around(&self) -> Result<()> {
        let others = crate::store::list_all(self.store, PASSES_PREFIX).await?;
        let (fresh, dead): (Vec<ListedObject>, Vec<_>) = others
            .into_iter()
            .filter(|object| object.name != self.name)
            .partition(|object| self.now - object.meta.last_modified < LEASE);
        if let Some(since) = fresh.iter().map(|object| object.meta.last_modified).max()
            && self.mode == DeleteMode::Unconditional
        {
            return Err(Error::Busy { since });
        }
        let probes = crate::store::list_all(self.store, PROBES_PREFIX).await?;
        let probes = probes.into_iter().filter(|object| self.now - object.meta.last_modified >= LEASE);
        let dead: Vec<_> = dead.into_iter().chain(probes).collect();
        if !dead.is_empty() {
            let deletions: Vec<Deletion> =
                dead.into_iter().map(|object| Deletion { name: object.name, if_match: None }).collect();
            // One that fails stays for the next pass.
            self.store.delete(&deletions).await;
        }
        Ok(())
    }
}

async fn take_away(store: &dyn Store, name: ObjectName) {
    let deletion = Deletion { name, if_match: None };
    for error in store.delete(&[deletion]).await.into_iter().filter_map(std::result::Result::err) {
        tracing::debug!(%error, "the mark of this pass stays until a later one removes it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Quiet;
    use crate::store::ErrorKind;
    use crate::transfer::doubles::{Faulty, MemoryStore};

    #[tokio::test]
    async fn a_pass_that_does_not_begin_leaves_no_mark() {
        let faults: [fn(Faulty) -> Faulty; 3] = [
            |store| store.fail("head", ErrorKind::Unavailable, 1),
            |store| store.lose_answer("put", ErrorKind::Unavailable),
            |store| store.fail("put", ErrorKind::Denied, 1),
        ];
        for fault in faults {
            let inner = MemoryStore::default();
            let store = fault(Faulty::new(inner.clone()));
            Pass::begin(&store, &Quiet, DeleteMode::Unconditional, &RunId([1; 16])).await.unwrap_err();
            assert_eq!(store::list_all(&inner, "").await.unwrap(), []);
        }
    }
}
