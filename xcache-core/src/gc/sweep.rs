//! Deleting what a plan says, in the order that keeps every entry restorable.
//!
//! 1. Condemn each victim. 2. Read intents and entries again: what a running save has noted, or a new delta builds on,
//!    is spared, with all it builds on itself. 3. Delete, dependents before what they build on, each only if it still is
//!    the same object. 4. Take the marks of the deleted away, and only those.

use futures_util::{StreamExt as _, stream};

use super::document::{MarkDocument, substitute_id};
use super::error::Result;
use super::inventory::{EntryId, Inventory, State, at};
use super::pass::{DeleteMode, Pass};
use super::plan::Plan;
use super::survey::{EntryEnd, PARALLEL, is_gone, needed_since, read_end, remove_all};
use crate::archive::footer::ArchiveId;
use crate::naming::condemned_name;
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
    pub failed: Vec<(EntryId, super::error::Error)>,
    /// Ended the pass early.
    pub stopped: Option<super::error::Error>,
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
pub(super) async fn sweep(pass: &Pass<'_>, inventory: &Inventory, plan: &Plan) -> Swept {
    let mut sweep = Sweep { pass, inventory, fates: vec![Fate::Stays; inventory.len()], swept: Swept::default() };
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
    async fn run(&mut self, plan: &Plan) -> Result<()> {
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
        let needed = needed_since(self.pass.store, self.inventory).await?;
        self.spare(needed.iter().filter_map(|name| self.inventory.find(name)).collect(), Left::InUse);
        self.delete_all(&condemned).await
    }

    /// Puts a mark for each victim. Returns those that are condemned now, with their mark.
    async fn condemn(&mut self, victims: Vec<EntryId>) -> Vec<(EntryId, ObjectName)> {
        let (store, inventory) = (self.pass.store, self.inventory);
        let mut condemned = Vec::with_capacity(victims.len());
        let mut answers =
            stream::iter(victims).map(|id| async move { (id, condemn(store, inventory, id).await) }).buffered(PARALLEL);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(Some(mark)) => condemned.push((id, mark)),
                Ok(None) => self.swept.gone.push(id),
                Err(error) => self.swept.failed.push((id, error)),
            }
        }
        condemned
    }

    /// Takes entries, and all they build on, off the list.
    fn spare(&mut self, mut stack: Vec<EntryId>, why: Left) {
        let mut seen = vec![false; self.inventory.len()];
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[at(id)], true) {
                continue;
            }
            if self.fates[at(id)] == Fate::Victim {
                self.fates[at(id)] = Fate::Stays;
                self.swept.left.push((id, why));
            }
            stack.extend(self.inventory.refs(id));
        }
    }

    /// Deletes dependents first: what they build on follows when their deletion has returned.
    async fn delete_all(&mut self, condemned: &[(EntryId, ObjectName)]) -> Result<()> {
        let mut dependents = vec![0_u32; self.inventory.len()];
        for &(id, _) in condemned.iter().filter(|(id, _)| self.fates[at(*id)] == Fate::Victim) {
            for &target in self.inventory.refs(id) {
                dependents[at(target)] += 1;
            }
        }
        let mut marks: Vec<Option<&ObjectName>> = vec![None; self.inventory.len()];
        let mut ready = Vec::new();
        for (id, mark) in condemned {
            marks[at(*id)] = Some(mark);
            if self.fates[at(*id)] == Fate::Victim && dependents[at(*id)] == 0 {
                ready.push(*id);
            }
        }
        while !ready.is_empty() {
            let rest = ready.split_off(ready.len().min(BATCH));
            let batch = std::mem::replace(&mut ready, rest);
            self.pass.hold().await?;
            let done = self.delete_batch(batch).await;
            remove_all(self.pass.store, self.pass.monitor, done.iter().filter_map(|&id| marks[at(id)].cloned())).await;
            for target in done.iter().flat_map(|&id| self.inventory.refs(id)) {
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
                Ok(()) => self.swept.deleted.push(id),
                Err(error) if is_gone(&error) => self.swept.gone.push(id),
                Err(error) => {
                    self.swept.failed.push((id, error.into()));
                    continue;
                }
            }
            done.push(id);
        }
        done
    }
}

/// Marks one entry as condemned; none if it is gone.
async fn condemn(store: &dyn Store, inventory: &Inventory, id: EntryId) -> Result<Option<ObjectName>> {
    let name = inventory.object_name(id);
    let etag = inventory.etag(id);
    let archive_id = match (inventory.facts(id), inventory.state(id)) {
        (Some(facts), _) => Some(facts.archive_id),
        (None, State::Unread) => match read_end(store, &name, &etag).await? {
            EntryEnd::Footer(footer) => Some(footer.archive_id),
            EntryEnd::Plain | EntryEnd::Damaged => None,
            EntryEnd::Gone => return Ok(None),
        },
        (None, _) => None,
    };
    let ArchiveId(mark_id) = archive_id.unwrap_or_else(|| substitute_id(name.as_str(), &etag.0));
    let mark = condemned_name(&mark_id);
    store.put(&mark, MarkDocument::new(&name, &etag).to_bytes(), PutMode::Overwrite, &Tags::new()).await?;
    Ok(Some(mark))
}

/// Deletes the very object that was listed.
async fn delete(store: &dyn Store, mode: DeleteMode, name: ObjectName, etag: ETag) -> store::Result<()> {
    if mode == DeleteMode::Unconditional && store.head(&name).await?.etag != etag {
        return Err(store::Error::new(ErrorKind::Changed, "delete", &name));
    }
    let deletion = Deletion { name, if_match: Some(etag) };
    store.delete(&[deletion]).await.into_iter().next().unwrap_or_else(|| {
        Err(store::Error::new(ErrorKind::Corrupt, "delete", store).detail("the store gave no answer"))
    })
}
