//! Deleting what a plan says, in the order that keeps every entry restorable.
//!
//! 1. Condemn each victim. 2. Read intents and entries again: what a running save has noted, or a new delta builds on,
//!    is spared, with all it builds on itself. 3. Delete, dependents before what they build on, each only if it still is
//!    the same object; whatever the store answers, only what it no longer shows is deleted. 4. Take the marks of the
//!    deleted away, and only those.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::bounds::PARALLEL;
use super::document::MarkDocument;
use super::ends::is_still;
use super::error::{Error, Result};
use super::inventory::{EndState, EntryId, Inventory, at};
use super::pass::{DeleteMode, Pass};
use super::plan::PrunePlan;
use super::survey::{Needed, needed_since, remove_all};
use crate::monitor::Unit;
use crate::naming::{MarkId, condemned_name};
use crate::object::RunId;
use crate::store::{self, Deletion, ETag, ErrorKind, ObjectName, PutMode, Store, Tags};

/// Deletions between two looks at the lease.
const BATCH: usize = 256;

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Deleted by this pass.
    pub deleted: Vec<EntryId>,
    /// Were already gone: another gc, or a removal, came first.
    pub gone: Vec<EntryId>,
    /// Condemned, but still in use: left to the next pass.
    pub left: Vec<(EntryId, Left)>,
    /// Could not be condemned or deleted.
    pub failed: Vec<(EntryId, Error)>,
    /// Those of them that could not even be condemned: the store refused the mark, so nothing was changed.
    pub unmarked: Vec<EntryId>,
    /// Ended the pass early.
    pub stopped: Option<Error>,
}

/// Why a condemned entry is left to the next pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// A running save has noted it, or a delta published meanwhile builds on it.
    InUse,
    /// An entry that builds on it could not be deleted.
    DependentStays,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Victim,
    Done,
}

/// Deletes the victims of `plan`.
pub(super) async fn sweep(pass: &Pass<'_>, inventory: &Inventory, plan: &PrunePlan) -> Swept {
    let mut sweep =
        Sweep { pass, inventory, fates: vec![Fate::Stays; inventory.entry_count()], swept: Swept::default() };
    if let Err(error) = sweep.run(plan).await {
        sweep.swept.stopped = Some(error);
    }
    sweep.swept
}

struct Sweep<'a> {
    pass: &'a Pass<'a>,
    inventory: &'a Inventory,
    fates: Vec<Fate>,
    swept: Swept,
}

impl Sweep<'_> {
    async fn run(&mut self, plan: &PrunePlan) -> Result<()> {
        let condemned = self.condemn(plan.victims().collect()).await;
        if condemned.is_empty() {
            return Ok(());
        }
        for &(id, _) in &condemned {
            self.fates[at(id)] = Fate::Victim;
        }
        // What could not be condemned stays, and what it builds on with it.
        let stay: Vec<EntryId> = self.swept.failed.iter().map(|&(id, _)| id).collect();
        self.spare(stay, Left::DependentStays);
        let Needed { names, unknown } = needed_since(self.pass.store, self.inventory).await?;
        let mut needed: Vec<EntryId> = names.iter().filter_map(|name| self.inventory.find(name)).collect();
        let may_be_needed = |&id: &EntryId| unknown.iter().any(|writer| self.inventory.may_be_ref_of(id, writer));
        needed.extend(condemned.iter().map(|&(id, _)| id).filter(may_be_needed));
        self.spare(needed, Left::InUse);
        self.delete_all(&condemned).await
    }

    /// What must not be deleted before `id`: its refs; if it cannot be read, all victims that may be its refs.
    fn targets(&self, id: EntryId) -> Vec<EntryId> {
        if self.inventory.state(id) != EndState::Sealed {
            return self.inventory.refs(id).to_vec();
        }
        let writer = self.inventory.writer(id);
        let age = |id| (self.inventory.modified_millis(id), id);
        let may_be_ref = |&target: &EntryId| {
            self.fates[at(target)] == Fate::Victim
                && self.inventory.may_be_ref_of(target, &writer)
                // Never a circle.
                && !self.inventory.refs(target).contains(&id)
                && (self.inventory.state(target) != EndState::Sealed || age(target) < age(id))
        };
        self.inventory.ids().filter(may_be_ref).collect()
    }

    /// Puts a mark for each victim. Returns those that are condemned now, with their mark.
    async fn condemn(&mut self, victims: Vec<EntryId>) -> Vec<(EntryId, ObjectName)> {
        let (store, inventory) = (self.pass.store, self.inventory);
        let mut condemned = Vec::with_capacity(victims.len());
        let run = &self.pass.run;
        let mut answers = stream::iter(victims)
            .map(|id| async move { (id, condemn(store, inventory, id, run).await) })
            .buffered(PARALLEL);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(mark) => condemned.push((id, mark)),
                Err(error) => {
                    if is_refused(&error) {
                        self.swept.unmarked.push(id);
                    }
                    self.swept.failed.push((id, error));
                }
            }
        }
        condemned
    }

    /// Takes entries, and all they build on, off the list.
    fn spare(&mut self, mut stack: Vec<EntryId>, why: Left) {
        let mut seen = vec![false; self.inventory.entry_count()];
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[at(id)], true) {
                continue;
            }
            if self.fates[at(id)] == Fate::Victim {
                self.fates[at(id)] = Fate::Stays;
                self.swept.left.push((id, why));
            }
            stack.extend(self.targets(id));
        }
    }

    /// Deletes dependents first: what they build on follows when their deletion has returned.
    async fn delete_all(&mut self, condemned: &[(EntryId, ObjectName)]) -> Result<()> {
        let mut dependents = vec![0_u32; self.inventory.entry_count()];
        let mut targets: HashMap<EntryId, Vec<EntryId>> = HashMap::new();
        for &(id, _) in condemned.iter().filter(|(id, _)| self.fates[at(*id)] == Fate::Victim) {
            targets.insert(id, self.targets(id));
        }
        targets.values().flatten().for_each(|&target| dependents[at(target)] += 1);
        let mut marks: Vec<Option<&ObjectName>> = vec![None; self.inventory.entry_count()];
        let mut ready = Vec::new();
        for (id, mark) in condemned {
            marks[at(*id)] = Some(mark);
            if self.fates[at(*id)] == Fate::Victim && dependents[at(*id)] == 0 {
                ready.push(*id);
            }
        }
        let victims = condemned.iter().filter(|(id, _)| self.fates[at(*id)] == Fate::Victim).count() as u64;
        let progress = self.pass.monitor.progress("deleting", Unit::Items("entry"), Some(victims));
        while !ready.is_empty() {
            let rest = ready.split_off(ready.len().min(BATCH));
            let batch = std::mem::replace(&mut ready, rest);
            self.pass.hold().await?;
            let done = self.delete_batch(batch).await;
            progress.add(done.len() as u64);
            remove_all(self.pass.store, self.pass.monitor, done.iter().filter_map(|&id| marks[at(id)].cloned())).await;
            for target in done.iter().filter_map(|id| targets.get(id)).flatten() {
                dependents[at(*target)] -= 1;
                if dependents[at(*target)] == 0 && self.fates[at(*target)] == Fate::Victim {
                    ready.push(*target);
                }
            }
        }
        let stuck = condemned.iter().map(|&(id, _)| id).filter(|&id| self.fates[at(id)] == Fate::Victim);
        let stuck: Vec<EntryId> = stuck.collect();
        for id in stuck {
            self.swept.left.push((id, Left::DependentStays));
        }
        Ok(())
    }

    /// Deletes entries, and returns those that are gone now.
    async fn delete_batch(&mut self, batch: Vec<EntryId>) -> Vec<EntryId> {
        let (store, mode, inventory) = (self.pass.store, self.pass.mode, self.inventory);
        let mut answers = stream::iter(batch)
            .map(|id| async move { (id, delete(store, mode, inventory.object_name(id), inventory.etag(id)).await) })
            .buffered(PARALLEL);
        let mut done = Vec::new();
        while let Some((id, answer)) = answers.next().await {
            self.fates[at(id)] = Fate::Done;
            match answer {
                Ok(DeletionResult::Deleted) => self.swept.deleted.push(id),
                Ok(DeletionResult::Gone) => self.swept.gone.push(id),
                Err(error) => {
                    self.swept.failed.push((id, error));
                    continue;
                }
            }
            done.push(id);
        }
        done
    }
}

/// Marks one entry as condemned.
async fn condemn(store: &dyn Store, inventory: &Inventory, id: EntryId, run: &RunId) -> Result<ObjectName> {
    let name = inventory.object_name(id);
    let etag = inventory.etag(id);
    // The plan has looked at the end of every victim.
    let mark = condemned_name(&match inventory.facts(id) {
        Some(facts) => MarkId::of_archive(&name, facts.archive_id),
        None => MarkId::of_object(&name, &etag),
    });
    let put = async |mark: &ObjectName, body| store.put(mark, body, PutMode::Overwrite, &Tags::new()).await;
    match put(&mark, MarkDocument::of_pass(&name, &etag, run).to_bytes()).await {
        Ok(_) => Ok(mark),
        // A full disk has no block for a document, and often still an inode for a name that says it all: savers look at
        // names only, and passes find the object by its listed ETag.
        Err(error) if error.is_full() => {
            let bare = condemned_name(&MarkId::of_object(&name, &etag));
            put(&bare, Bytes::new()).await.map_err(|_| error)?;
            Ok(bare)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a mark is certainly not there: the store has said no. Of an answer that was lost nothing is known.
fn is_refused(error: &Error) -> bool {
    match error {
        Error::Store(error) => {
            error.is_full() || matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unauthenticated)
        }
        _ => false,
    }
}

/// How an entry went.
#[derive(Clone, Copy)]
enum DeletionResult {
    /// By our deletion.
    Deleted,
    /// Before it.
    Gone,
}

/// Deletes the very object that was listed. What the store answers is not proof in either direction, and entries that this
/// one builds on are deleted next: only an object that a HEAD no longer shows is gone.
async fn delete(store: &dyn Store, mode: DeleteMode, name: ObjectName, etag: ETag) -> Result<DeletionResult> {
    if mode == DeleteMode::Unconditional && !is_still(store, &name, &etag).await? {
        // The listing showed it, so two more answers must agree that it is gone.
        return match is_still(store, &name, &etag).await? {
            true => Err(Error::Contradiction { name: name.to_string(), what: "whether it is there" }),
            false => Ok(DeletionResult::Gone),
        };
    }
    let if_match = (mode == DeleteMode::Conditional).then(|| etag.clone());
    let deletion = Deletion { name: name.clone(), if_match };
    let answer = store.delete(&[deletion]).await.into_iter().next().unwrap_or_else(|| {
        Err(store::Error::new(ErrorKind::Corrupt, "delete", &name).detail("the store gave no answer"))
    });
    let contradiction = || Error::Contradiction { name: name.to_string(), what: "whether it is there" };
    let is_there = match &answer {
        // It said no.
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unauthenticated) => true,
        _ => is_still(store, &name, &etag).await?,
    };
    match answer {
        Ok(()) if is_there => Err(Error::NotDeleted(name.to_string())),
        Ok(()) => Ok(DeletionResult::Deleted),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed) => {
            if is_there {
                Err(contradiction())
            } else {
                Ok(DeletionResult::Gone)
            }
        }
        // The answer was lost, or made no sense: two others must agree that the deletion took place.
        Err(error) if is_there => Err(error.into()),
        Err(_) if is_still(store, &name, &etag).await? => Err(contradiction()),
        Err(_) => Ok(DeletionResult::Deleted),
    }
}
