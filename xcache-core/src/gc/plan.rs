//! What would be deleted and why: pure functions of inventory, policy and time.
//!
//! Every entry gets a decision. A rule *wants* an entry gone; a shield (pin, minimum age, note of a running save) keeps
//! it all the same; and what an entry that stays builds on stays with it. Decisions may depend on tags and footers that
//! have not been read: [`PrunePlan::questions`] names them, and the plan is final when none are left.

use chrono::{DateTime, TimeDelta, Utc};

use super::inventory::{DeltaWriter, EndState, EntryId, Inventory, TagState, at};
use super::policy::Policy;
use crate::object::Kind;
use crate::store::{ETag, ObjectName};

/// A decision for each entry of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunePlan {
    decisions: Vec<Decision>,
}

/// Whether an entry stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It stays.
    Keep(Keep),
    /// It goes.
    Delete(Delete),
}

/// Why an entry stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// No rule asks for it.
    Unasked,
    /// It has the tag `keep=true`.
    Pinned,
    /// It is younger than the minimum age.
    Young,
    /// A running save is about to refer to it.
    Noted,
    /// So many entries that stay build on it.
    Needed(u32),
    /// Its tags could not be read, so nobody knows whether it is pinned.
    TagsUnreadable,
    /// It is not there any more.
    Gone,
    /// It belongs to another store, or was written under another key.
    Foreign,
    /// Its end cannot be read.
    Unreadable,
    /// This entry, whose end cannot be read, may build on it.
    MayBeNeeded(EntryId),
}

/// Why an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// It was asked for by name.
    Asked,
    /// It builds on an entry that was asked for.
    Cascade,
    /// An earlier pass condemned it and was interrupted, or found it still in use.
    Condemned,
    /// An object it builds on is gone.
    Dangling,
    /// Its end cannot be read.
    Damaged,
    /// Its key has a base too.
    Shadowed,
    /// Its branch is not among the live ones.
    DeadBranch,
    /// It is older than the limit.
    TooOld,
    /// It is the n-th newest of its group.
    BeyondNewest(u32),
    /// It is among the oldest beyond the total size.
    OverTotal,
}

/// What has to be read before a plan is final.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Entries whose tags matter.
    pub tags: Vec<EntryId>,
    /// Entries whose ends matter.
    pub ends: Vec<EntryId>,
}

/// Numbers of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries that are there.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that go.
    pub deleted_entries: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
}

/// What `policy` does to `inventory` at the time `now`.
pub fn plan(inventory: &Inventory, policy: &Policy, now: DateTime<Utc>) -> PrunePlan {
    let mut work = PlanWork::new(inventory, &[], |id| shield(inventory, policy, now, id));
    for id in inventory.ids() {
        if let Some(why) = wanted(inventory, policy, now, id) {
            work.want(id, why);
        }
    }
    if let Some(limit) = policy.keep_newest {
        for (id, rank) in beyond_newest(inventory, policy, limit) {
            work.want(id, Delete::BeyondNewest(rank));
        }
    }
    if let Some(limit) = policy.max_total_bytes {
        for id in oldest_first(inventory) {
            if work.kept_bytes <= limit {
                break;
            }
            work.want(id, Delete::OverTotal);
        }
    }
    work.finish()
}

/// What deleting `targets` means; with `cascade`, whatever builds on them goes too. Pins and ages do not count: who
/// names an entry means it.
pub fn plan_removal(inventory: &Inventory, targets: &[RemovalTarget], cascade: Cascade) -> PrunePlan {
    let find = |target: &RemovalTarget| {
        let id = inventory.find(target.name.as_str())?;
        target.etag.as_ref().is_none_or(|etag| inventory.etag_text(id) == etag.0).then_some(id)
    };
    let asked: Vec<EntryId> = targets.iter().filter_map(find).collect();
    let mut work = PlanWork::new(inventory, &asked, |_| None);
    for &id in &asked {
        work.want(id, Delete::Asked);
    }
    if cascade == Cascade::Yes {
        let mut doomed = vec![false; inventory.entry_count()];
        let mut stack = asked;
        let dependents = Dependents::of(inventory);
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut doomed[at(id)], true) {
                stack.extend(dependents.on(id));
            }
        }
        for id in inventory.ids().filter(|&id| doomed[at(id)]) {
            work.want(id, Delete::Cascade);
        }
    }
    work.finish()
}

/// An entry to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalTarget {
    /// Its object.
    pub name: ObjectName,
    /// Only this very object; any if none.
    pub etag: Option<ETag>,
}

/// Whether a removal takes along what builds on the removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cascade {
    /// It does.
    Yes,
    /// Entries that others build on stay.
    No,
}

impl PrunePlan {
    /// The decision for an entry.
    pub fn decision(&self, id: EntryId) -> Decision {
        self.decisions[at(id)]
    }

    /// The entries that go.
    pub fn victims(&self) -> impl Iterator<Item = EntryId> {
        (0..).zip(&self.decisions).filter(|(_, decision)| matches!(decision, Decision::Delete(_))).map(|(id, _)| id)
    }

    /// What was there and what goes.
    pub fn totals(&self, inventory: &Inventory) -> Totals {
        let mut totals = Totals::default();
        for id in inventory.ids() {
            match self.decision(id) {
                Decision::Keep(Keep::Gone | Keep::Foreign) => continue,
                Decision::Keep(_) => {}
                Decision::Delete(_) => {
                    totals.deleted_entries += 1;
                    totals.deleted_bytes += inventory.size(id);
                }
            }
            totals.entries += 1;
            totals.bytes += inventory.size(id);
        }
        totals
    }

    /// What must be read before this plan of `policy` can be trusted: first the tags that make groups or pins, then the ends
    /// of entries that might build on a victim, and of the victims themselves.
    pub fn questions(&self, inventory: &Inventory, policy: &Policy, now: DateTime<Utc>) -> Questions {
        let for_rules = tags_for_rules(inventory, policy, now);
        let asked = |&id: &EntryId| {
            for_rules[at(id)] || matches!(self.decision(id), Decision::Delete(_) | Decision::Keep(Keep::Needed(_)))
        };
        let unknown = |&id: &EntryId| inventory.tag_state(id) == TagState::Unknown && inventory.counts(id);
        let tags: Vec<EntryId> = inventory.ids().filter(unknown).filter(asked).collect();
        if !tags.is_empty() {
            return Questions { tags, ends: Vec::new() };
        }
        let deltas = if policy.dangling { unread_deltas(inventory) } else { Vec::new() };
        Questions { tags, ends: if deltas.is_empty() { self.ends(inventory) } else { deltas } }
    }

    /// The ends without which this plan cannot be trusted. If anything is deleted, those of all deltas: times do not tell
    /// what a delta cannot build on, because the clocks of writers differ, and a copied object is as old as its copy. Then
    /// those of the victims: one may belong to another store.
    pub fn ends(&self, inventory: &Inventory) -> Vec<EntryId> {
        let at_stake =
            |&id: &EntryId| matches!(self.decision(id), Decision::Delete(_) | Decision::Keep(Keep::MayBeNeeded(_)));
        let at_stake: Vec<EntryId> = inventory.ids().filter(at_stake).collect();
        if at_stake.is_empty() {
            return at_stake;
        }
        let deltas = unread_deltas(inventory);
        if deltas.is_empty() {
            at_stake.into_iter().filter(|&id| inventory.state(id) == EndState::Unread).collect()
        } else {
            deltas
        }
    }
}

fn unread_deltas(inventory: &Inventory) -> Vec<EntryId> {
    let unread = |&id: &EntryId| inventory.kind(id) == Kind::Delta && inventory.state(id) == EndState::Unread;
    inventory.ids().filter(unread).collect()
}

/// Entries whose branch decides.
fn tags_for_rules(inventory: &Inventory, policy: &Policy, now: DateTime<Utc>) -> Vec<bool> {
    let mut needed: Vec<bool> = inventory
        .ids()
        .map(|id| policy.live_branches.is_some() && now - inventory.modified(id) >= policy.min_age)
        .collect();
    if let Some(limit) = policy.keep_newest.filter(|_| policy.group_by.by_branch()) {
        // A family that is small as a whole has no large group in it.
        let mut by_group: Vec<((u32, u32), EntryId)> = inventory
            .ids()
            .map(|id| {
                let (scope, family, _) = inventory.group_numbers(id);
                ((scope, if policy.group_by.by_family() { family } else { 0 }), id)
            })
            .collect();
        by_group.sort_unstable();
        for group in by_group.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > at(limit)) {
            for (_, id) in group {
                needed[at(*id)] = true;
            }
        }
    }
    needed
}

fn shield(inventory: &Inventory, policy: &Policy, now: DateTime<Utc>, id: EntryId) -> Option<Keep> {
    match inventory.tag_state(id) {
        TagState::Pinned => return Some(Keep::Pinned),
        TagState::Unreadable => return Some(Keep::TagsUnreadable),
        TagState::Unknown | TagState::Free => {}
    }
    if matches!(inventory.state(id), EndState::Sealed | EndState::Unknown) {
        return Some(Keep::Unreadable);
    }
    if inventory.is_noted(id) {
        return Some(Keep::Noted);
    }
    // What is condemned was old enough when that was decided. `now` has whole seconds on S3, listings may have more: what
    // was written in this second may seem to come from the future, and must not seem younger than no age at all.
    let is_young = now - inventory.modified(id) < policy.min_age && policy.min_age > TimeDelta::zero();
    (is_young && !inventory.is_condemned(id)).then_some(Keep::Young)
}

/// The rules that look at one entry.
fn wanted(inventory: &Inventory, policy: &Policy, now: DateTime<Utc>, id: EntryId) -> Option<Delete> {
    if inventory.is_condemned(id) {
        return Some(Delete::Condemned);
    }
    match inventory.state(id) {
        EndState::Dangling if policy.dangling => return Some(Delete::Dangling),
        EndState::Damaged if policy.dangling => return Some(Delete::Damaged),
        _ => {}
    }
    if policy.shadowed && is_shadowed(inventory, id) {
        return Some(Delete::Shadowed);
    }
    if let (Some(live), Some(branch)) = (&policy.live_branches, inventory.branch(id))
        && live.is_dead(branch)
    {
        return Some(Delete::DeadBranch);
    }
    policy.max_age.is_some_and(|limit| now - inventory.modified(id) > limit).then_some(Delete::TooOld)
}

/// Whether an entry is a delta whose key has a base too. One that builds on nothing is not: no race leaves it, but a save
/// that has met a base which cannot be restored and must stay.
pub fn is_shadowed(inventory: &Inventory, id: EntryId) -> bool {
    let stands_in = inventory.state(id) == EndState::Whole && inventory.refs(id).is_empty();
    !stands_in && inventory.base_of_same_key(id).is_some_and(|base| inventory.counts(base))
}

/// The groups of `policy`, each with its entries, the newest first. Entries that no restore can return take no place.
pub fn groups(inventory: &Inventory, policy: &Policy) -> Vec<Vec<EntryId>> {
    let takes_place = |&id: &EntryId| {
        inventory.counts(id)
            && !matches!(inventory.state(id), EndState::Dangling | EndState::Damaged)
            && !is_shadowed(inventory, id)
    };
    let group = |id: EntryId| {
        let (scope, family, branch) = inventory.group_numbers(id);
        let by = policy.group_by;
        (scope, if by.by_family() { family } else { 0 }, if by.by_branch() { branch } else { 0 })
    };
    let mut ids: Vec<EntryId> = inventory.ids().filter(takes_place).collect();
    ids.sort_unstable_by_key(|&id| (group(id), std::cmp::Reverse((inventory.modified_millis(id), id))));
    ids.chunk_by(|&a, &b| group(a) == group(b)).map(<[EntryId]>::to_vec).collect()
}

/// The entries after the `limit` newest of each group, with their rank from 1.
fn beyond_newest(inventory: &Inventory, policy: &Policy, limit: u32) -> Vec<(EntryId, u32)> {
    let ranked = groups(inventory, policy).into_iter().flat_map(|group| group.into_iter().zip(1..));
    ranked.filter(|&(_, rank)| rank > limit).collect()
}

fn oldest_first(inventory: &Inventory) -> Vec<EntryId> {
    let mut ids: Vec<EntryId> = inventory.ids().filter(|&id| inventory.counts(id)).collect();
    ids.sort_unstable_by_key(|&id| (inventory.modified_millis(id), id));
    ids
}

/// Who builds on whom, the other way round.
pub struct Dependents {
    starts: Vec<u32>,
    ids: Vec<EntryId>,
}

impl Dependents {
    /// Of every entry, as far as footers have been read.
    pub fn of(inventory: &Inventory) -> Self {
        let mut starts = vec![0; inventory.entry_count() + 1];
        for target in inventory.ids().flat_map(|id| inventory.refs(id)) {
            starts[at(*target) + 1] += 1;
        }
        for n in 1..starts.len() {
            starts[n] += starts[n - 1];
        }
        let mut next = starts.clone();
        let mut ids = vec![0; at(*starts.last().unwrap_or(&0))];
        for id in inventory.ids() {
            for &target in inventory.refs(id) {
                let place = &mut next[at(target)];
                ids[at(*place)] = id;
                *place += 1;
            }
        }
        Self { starts, ids }
    }

    /// The entries that build on `id` directly.
    pub fn on(&self, id: EntryId) -> &[EntryId] {
        &self.ids[at(self.starts[at(id)])..at(self.starts[at(id) + 1])]
    }
}

/// A plan in the making: an entry goes when it is wanted gone, nothing shields it, and nothing that stays builds on it.
struct PlanWork<'a, S> {
    inventory: &'a Inventory,
    shield: S,
    /// Deltas that stay, and of which it cannot be told what they build on.
    sealed: Vec<(EntryId, DeltaWriter)>,
    decisions: Vec<Decision>,
    wanted: Vec<Option<Delete>>,
    /// Number of entries that stay in this plan and build on this one.
    dependents: Vec<u32>,
    kept_bytes: u64,
}

impl<'a, S: Fn(EntryId) -> Option<Keep>> PlanWork<'a, S> {
    fn new(inventory: &'a Inventory, asked: &[EntryId], shield: S) -> Self {
        let mut dependents = vec![0; inventory.entry_count()];
        for target in inventory.ids().filter(|&id| inventory.counts(id)).flat_map(|id| inventory.refs(id)) {
            dependents[at(*target)] += 1;
        }
        let first = |id: EntryId| match inventory.state(id) {
            EndState::Gone => Keep::Gone,
            EndState::Foreign => Keep::Foreign,
            _ => Keep::Unasked,
        };
        let is_sealed = |&id: &EntryId| {
            inventory.state(id) == EndState::Sealed && inventory.kind(id) == Kind::Delta && !asked.contains(&id)
        };
        Self {
            inventory,
            shield,
            sealed: inventory.ids().filter(is_sealed).map(|id| (id, inventory.writer(id))).collect(),
            decisions: inventory.ids().map(|id| Decision::Keep(first(id))).collect(),
            wanted: vec![None; inventory.entry_count()],
            dependents,
            kept_bytes: inventory.ids().filter(|&id| inventory.counts(id)).map(|id| inventory.size(id)).sum(),
        }
    }

    fn want(&mut self, id: EntryId, why: Delete) {
        if self.decisions[at(id)] != Decision::Keep(Keep::Unasked) || self.wanted[at(id)].is_some() {
            return;
        }
        let by_sealed = || {
            let (writer, _) = self.sealed.iter().find(|(_, writer)| self.inventory.may_be_ref_of(id, writer))?;
            Some(Keep::MayBeNeeded(*writer))
        };
        match (self.shield)(id).or_else(by_sealed) {
            Some(keep) => self.decisions[at(id)] = Decision::Keep(keep),
            None => {
                self.wanted[at(id)] = Some(why);
                self.release(id);
            }
        }
    }

    /// Lets a wanted entry go if nothing builds on it, and then what only it built on.
    fn release(&mut self, id: EntryId) {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            let Some(why) = self.wanted[at(id)].filter(|_| self.dependents[at(id)] == 0) else { continue };
            self.decisions[at(id)] = Decision::Delete(why);
            self.kept_bytes -= self.inventory.size(id);
            for &target in self.inventory.refs(id) {
                self.dependents[at(target)] -= 1;
                if self.dependents[at(target)] == 0 {
                    stack.push(target);
                }
            }
        }
    }

    fn finish(mut self) -> PrunePlan {
        for id in self.inventory.ids() {
            if self.wanted[at(id)].is_some() && self.dependents[at(id)] > 0 {
                self.decisions[at(id)] = Decision::Keep(Keep::Needed(self.dependents[at(id)]));
            }
        }
        PrunePlan { decisions: self.decisions }
    }
}

#[cfg(test)]
mod tests;
