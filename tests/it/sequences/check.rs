//! What must hold after each step, whatever came before it.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use xcache_core::delta::plan::Reason;
use xcache_core::gc::plan::Cascade;
use xcache_core::lookup::Match;
use xcache_core::naming::{self, CONDEMNED_PREFIX, INTENTS_PREFIX, MarkId, PASSES_PREFIX, condemned_name};
use xcache_core::store::ObjectName;
use xcache_restore::outcome::{Hit, MissReason};
use xcache_save::outcome::{NotSaved, Outcome as Saved};
use xcache_tests::tree::{Aspect, Snapshot};

use super::step::{Rule, Step};
use super::tree;
use super::world::{Objects, RestoreEnd, Truth, World, key_text};

/// A broken promise, in words.
pub(super) type Broken = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}

impl World {
    /// Takes a step, and looks whether all promises hold.
    pub(super) fn take(&mut self, step: &Step) -> Broken {
        let before = self.objects();
        match step {
            Step::Edit(job, edit) => tree::apply(&self.tree(*job), edit),
            Step::Save { job, key, full, faults } => {
                let key = &self.key(*key);
                let tree = self.snapshot(*job);
                let outcome = self.save(*job, *key, *full, *faults);
                self.count(match &outcome {
                    Saved::Saved(saved) => format!("saved {}", saved.reason.map_or("a delta", Reason::word)),
                    other => format!("save {}", other.reason().unwrap_or(other.word())),
                });
                ensure!(self.snapshot(*job) == tree, "a save has changed the tree");
                self.check_save((*job, *key), &before, tree.as_ref(), &outcome, faults.is_none())?;
            }
            Step::Restore { job, key, by_prefix, clean, faults } => {
                let key = &self.key(*key);
                let tree = self.snapshot(*job);
                let mut flags = if *by_prefix { vec!["--restore-keys", "k-"] } else { Vec::new() };
                flags.extend(clean.then_some("--clean"));
                let end = self.restore(*job, *key, &flags, *faults);
                self.count(match &end {
                    RestoreEnd::Hit(hit) => format!("hit {:?}", hit.matched).replace(|c: char| !c.is_alphabetic(), " "),
                    RestoreEnd::Miss(reason) => format!("miss {}", reason.word()),
                    RestoreEnd::Mixed => "mixed".to_owned(),
                });
                let asked = Asked { job: *job, key: *key, is_clean: *clean, is_by_prefix: *by_prefix };
                self.check_restore(&asked, &before, tree.as_ref(), &end)?;
                if faults.is_none() {
                    self.check_honest_restore(&asked, &before, tree.as_ref(), &end)?;
                }
            }
            Step::NewRunner(job) => self.new_runner(*job),
            Step::Prune { rule, faults } => {
                let is_whole = self.prune(*rule, *faults);
                self.check_closure(&before)?;
                self.check_prune(&before, *rule, is_whole && faults.is_none())?;
                ensure!(is_whole || faults.is_some(), "a clean-up has failed without a fault");
            }
            Step::Remove { key, cascade, faults } => {
                let key = &self.key(*key);
                let cascade = if *cascade { Cascade::Yes } else { Cascade::No };
                let is_whole = self.remove(*key, cascade, *faults);
                self.check_closure(&before)?;
                self.check_removal(&before, *key, cascade, is_whole && faults.is_none())?;
                ensure!(is_whole || faults.is_some(), "a removal has failed without a fault");
            }
            Step::Expire(count) => {
                let mut entries: Vec<_> =
                    self.entries().into_iter().map(|(name, object)| (object.meta.last_modified, name)).collect();
                entries.sort();
                entries.iter().take(*count).for_each(|(_, name)| self.store.expire(name));
            }
            Step::Copy => self.store.copy(),
            Step::Rot { object, at, bit } => {
                let names: Vec<ObjectName> = self.entries().into_keys().collect();
                if let Some(name) = names.get(object % names.len().max(1)) {
                    self.store.rot(name, *at, *bit);
                }
            }
            Step::Clock { job, hours } => self.runners[*job].ahead = TimeDelta::hours(*hours),
            Step::Wait { hours } => self.store.wait(TimeDelta::hours(*hours)),
        }
        if matches!(step, Step::Prune { .. } | Step::Remove { .. }) {
            let deleted = entries(&before).filter(|(name, ..)| !self.objects().contains_key(name)).count();
            self.count(format!("clean-up {}", if deleted > 0 { "deletes" } else { "deletes nothing" }));
        }
        let strangers = self.learn(None);
        ensure!(strangers.is_empty(), "an entry has appeared that nothing has saved");
        Ok(())
    }

    fn check_save(
        &mut self,
        (job, key): (usize, usize),
        before: &Objects,
        tree: Option<&Snapshot>,
        outcome: &Saved,
        is_honest: bool,
    ) -> Broken {
        let new = self.learn(tree);
        let now = self.objects();
        for name in before.keys().filter(|name| naming::parse(name).is_some()) {
            let is_same = now.get(name) == before.get(name);
            // What cannot be restored may be made good.
            ensure!(is_same || !self.is_intact(before, name), "`{name}` was fine, and a save has changed it");
        }
        let is_mixed = self.runners[job].is_mixed;
        let is_refused = matches!(outcome, Saved::NotSaved { reason: NotSaved::Unfinished, .. });
        ensure!(
            is_refused == is_mixed,
            "a tree that is mixed: {is_mixed}; a save that is refused for it: {is_refused}"
        );
        ensure!(!is_mixed || new.is_empty(), "a mixed tree was saved");
        for id in &new {
            let truth = &self.truths[id];
            let names = self.names_of(key);
            ensure!(names.contains(&truth.name), "`{}` was saved in the place of {names:?}", truth.name);
            if truth.refs.is_empty() {
                let tar = self.extracted_by_tar(&truth.bytes);
                let differences = truth.tree.differences(&tar, &[]);
                ensure!(differences.is_empty(), "tar extracts something else from `{}`: {differences:#?}", truth.name);
            }
            for r in &truth.refs {
                let name = r.name.clone();
                ensure!(!self.known_bad.contains(&r.archive_id.0), "`{}` builds on damaged `{name}`", truth.name);
                let mark = condemned_name(&MarkId::of_archive(&r.name, r.archive_id));
                ensure!(!before.contains_key(&mark), "`{}` builds on condemned `{name}`", truth.name);
                ensure!(now.contains_key(&name), "`{}` builds on `{name}`, which is gone", truth.name);
            }
        }
        if let Saved::Saved(saved) = outcome {
            ensure!(new.iter().any(|id| self.truths[id].name == saved.object), "`{}` is not there", saved.object);
        }
        if is_honest && !is_mixed {
            self.check_honest_save(key, before, &now, tree, outcome)?;
            let noted = self.runners[job].unusable.remove(&key);
            if tree.is_some() && noted.is_some_and(|noted| noted == self.objects_of(before, key)) {
                let is_good = self.objects_of(&now, key).keys().any(|name| self.is_intact(&now, name));
                ensure!(is_good, "the job found key {key} unusable, and its save has not made that good: {outcome:?}");
            }
        }
        Ok(())
    }

    /// What a save must come to when the store has answered each request.
    fn check_honest_save(
        &self,
        key: usize,
        before: &Objects,
        now: &Objects,
        tree: Option<&Snapshot>,
        outcome: &Saved,
    ) -> Broken {
        let names = self.names_of(key);
        let is_taken = names.iter().any(|name| before.contains_key(name));
        match outcome {
            Saved::Saved(_) => ensure!(
                !is_taken || !names.iter().any(|name| self.is_intact(before, name)),
                "saved a key that has a good entry"
            ),
            Saved::AlreadyExists { .. } => ensure!(is_taken, "nothing is there: {outcome:?}"),
            Saved::NothingToSave { .. } => ensure!(tree.is_none(), "there is a tree: {outcome:?}"),
            Saved::ReadOnly | Saved::NotSaved { .. } => return Err(format!("nothing was in the way: {outcome:?}")),
        }
        let left = |objects: &Objects| objects.keys().filter(|name| name.as_str().starts_with(INTENTS_PREFIX)).count();
        ensure!(left(now) <= left(before), "a save has left its note of refs");
        ensure!(self.store.uploads_under_way() == 0, "a save has left an upload");
        Ok(())
    }

    /// What must hold after any restore.
    fn check_restore(&mut self, asked: &Asked, before: &Objects, old: Option<&Snapshot>, end: &RestoreEnd) -> Broken {
        let new = self.snapshot(asked.job);
        let now: BTreeSet<_> = self.entries().into_keys().collect();
        let then: BTreeSet<_> = before.keys().filter(|name| naming::parse(name).is_some()).cloned().collect();
        ensure!(now == then, "a restore has changed what is in the store");
        match end {
            RestoreEnd::Hit(hit) => {
                let Some(new) = &new else { return Err("a hit without a tree".to_owned()) };
                self.check_tree(asked, hit, before, old, new)?;
                self.runners[asked.job].is_mixed = false;
            }
            RestoreEnd::Miss(_) => {
                let differences = untouched(old, new.as_ref(), &[]);
                ensure!(differences.is_empty(), "a miss has changed the tree: {differences:#?}");
            }
            RestoreEnd::Mixed => self.runners[asked.job].is_mixed = true,
        }
        Ok(())
    }

    /// The tree after a hit is that of the entry.
    fn check_tree(&self, asked: &Asked, hit: &Hit, before: &Objects, old: Option<&Snapshot>, new: &Snapshot) -> Broken {
        let name = &hit.entry.name;
        let truth = self.truths.values().filter(|truth| truth.name == *name);
        // One with a flipped bit may still be good enough; then its id tells which it is.
        let bytes = &before.get(name).ok_or_else(|| format!("`{name}` is not there"))?.body;
        let is_close = |a: &[u8], b: &[u8]| a.len() == b.len() && a.iter().zip(b).filter(|(a, b)| a != b).count() < 16;
        let truth = truth.filter(|truth| is_close(&truth.bytes, bytes)).last();
        let truth = &truth.ok_or_else(|| format!("nothing has saved `{name}`"))?.tree;
        let is_exact = hit.matched == Match::Exact;
        let is_of_key = hit.entry.key.as_str() == key_text(asked.key);
        ensure!(is_exact == is_of_key, "`{name}` for key {}: {:?}", asked.key, hit.matched);
        ensure!(is_of_key || asked.is_by_prefix, "`{name}` for key {}", asked.key);
        let is_extra = |path: &[u8]| {
            !asked.is_clean && truth.kind(path).is_none() && old.is_some_and(|old| old.kind(path).is_some())
        };
        // A file that is kept may have another name that the entry does not know.
        let but: &[Aspect] = if asked.is_clean { &[] } else { &[Aspect::HardLinks] };
        let differences = truth.differences(&new.only(|path| !is_extra(path)), but);
        ensure!(differences.is_empty(), "restored `{name}` wrongly: {differences:#?}");
        if let Some(old) = old {
            let differences = untouched(Some(&old.only(is_extra)), Some(&new.only(is_extra)), &[Aspect::HardLinks]);
            ensure!(differences.is_empty(), "a restore has touched what is not in `{name}`: {differences:#?}");
        }
        Ok(())
    }

    /// What a restore must come to when the store has answered each request.
    fn check_honest_restore(
        &mut self,
        asked: &Asked,
        before: &Objects,
        old: Option<&Snapshot>,
        end: &RestoreEnd,
    ) -> Broken {
        let names = self.names_of(asked.key);
        let good: Vec<_> = before.keys().filter(|name| self.is_intact(before, name)).collect();
        let is_wanted = |name: &&ObjectName| asked.is_by_prefix || names.contains(*name);
        let tree_of = |name: &ObjectName| &self.sound(before, name).expect("it is intact").1.tree;
        let fits = |name: &&ObjectName| asked.is_clean || old.is_none_or(|old| !is_in_the_way(tree_of(name), old));
        let is_exact_good = good.iter().copied().filter(fits).any(|name| names.contains(name));
        let is_any_good = good.iter().copied().filter(fits).any(|name| is_wanted(&name));
        let have_none = !before.keys().any(|name| naming::parse(name).is_some() && is_wanted(&name));
        match end {
            RestoreEnd::Hit(hit) => {
                ensure!(!have_none, "a hit without an entry");
                ensure!(
                    !is_exact_good || hit.matched == Match::Exact,
                    "a good entry of the key was passed over: {hit:?}"
                );
            }
            RestoreEnd::Miss(reason) => {
                // What is in the way of one entry ends the restore.
                let may_be_in_the_way = old.is_some() && !asked.is_clean && *reason == MissReason::CannotWrite;
                ensure!(!is_any_good || may_be_in_the_way, "a good entry was missed: {reason:?}");
                let has_rot = self.has_rot(before);
                let is_calm = matches!(reason, MissReason::NothingThere | MissReason::Expired);
                ensure!(has_rot || is_calm || may_be_in_the_way, "nothing is damaged, but the miss is {reason:?}");
                ensure!(
                    !have_none || *reason == MissReason::NothingThere,
                    "nothing is there, but the miss is {reason:?}"
                );
                if *reason == MissReason::Corrupt && !asked.is_by_prefix {
                    self.note_damage(before, &names);
                }
                if matches!(reason, MissReason::Corrupt | MissReason::Expired) {
                    let objects = self.objects_of(before, asked.key);
                    self.runners[asked.job].unusable.insert(asked.key, objects);
                }
            }
            RestoreEnd::Mixed => ensure!(self.has_rot(before), "mixed, though nothing is damaged"),
        }
        Ok(())
    }

    /// Notes which object a restore has found damaged, if it can only be one.
    fn note_damage(&mut self, before: &Objects, names: &[ObjectName]) {
        let mut bad = BTreeSet::new();
        for name in names.iter().filter(|name| before.contains_key(name)) {
            match self.faults(before, name) {
                Some(faults) => bad.extend(faults),
                None => drop(bad.insert(name.clone())),
            }
        }
        if bad.len() == 1 {
            let ids = self.truths.iter().filter(|(_, truth)| {
                bad.contains(&truth.name) && {
                    let bytes = before.get(&truth.name).map(|object| object.body.len());
                    bytes == Some(truth.bytes.len())
                }
            });
            let ids: Vec<_> = ids.map(|(id, _)| *id).collect();
            if let [id] = ids[..] {
                self.known_bad.insert(id);
            }
        }
    }

    /// No clean-up takes away what an entry that stays is made of.
    fn check_closure(&self, before: &Objects) -> Broken {
        let now = self.objects();
        for (name, object) in before.iter().filter(|(name, _)| naming::parse(name).is_some()) {
            let Some(after) = now.get(name) else { continue };
            ensure!(after == object, "a clean-up has changed `{name}`");
            let broken = self.is_intact(before, name) && !self.is_intact(&now, name);
            ensure!(!broken, "a clean-up has taken away what `{name}` is made of");
        }
        Ok(())
    }

    /// Only what the rule asks for is deleted, and all of that.
    fn check_prune(&self, before: &Objects, rule: Rule, is_whole: bool) -> Broken {
        let (now, clock) = (self.objects(), self.store.now());
        let there: Vec<(&ObjectName, DateTime<Utc>)> = entries(before).map(|(name, time, _)| (name, time)).collect();
        let total: u64 = entries(before).map(|(.., bytes)| bytes).sum();
        let is_asked_for = |name: &ObjectName, time: DateTime<Utc>| match rule {
            Rule::MaxAge { hours, min_hours } => clock - time >= TimeDelta::hours(hours.max(min_hours)),
            // All of a copy are of the same age.
            Rule::KeepNewest(count) => {
                there.iter().filter(|(other, of)| *of >= time && *other != name).count() >= count as usize
            }
            Rule::MaxTotal(bytes) => total > bytes,
            Rule::Dangling => !self.is_intact(before, name),
            Rule::Shadowed => before.contains_key(&base_beside(name)),
        };
        for (name, time) in there.iter().filter(|(name, _)| !now.contains_key(name)) {
            let may_go = is_asked_for(name, *time) || self.is_marked(before, name);
            ensure!(may_go, "`{name}` was deleted, and {rule:?} does not ask for it");
        }
        if !is_whole {
            return Ok(());
        }
        self.check_tidy(before)?;
        // What is unreadable or noted protects itself and others.
        if let (Rule::MaxAge { hours, min_hours }, false, true) =
            (rule, self.has_rot(before), self.notes(INTENTS_PREFIX).is_empty())
        {
            for (name, time, _) in entries(&now) {
                let is_old = clock - time > TimeDelta::hours(hours.max(min_hours) + 1);
                let is_needed = entries(&now).any(|(other, ..)| self.builds_on(&now, other, name));
                ensure!(!is_old || is_needed, "`{name}` is old, and nothing needs it, but it is still there");
            }
        }
        Ok(())
    }

    fn check_removal(&self, before: &Objects, key: usize, cascade: Cascade, is_whole: bool) -> Broken {
        let now = self.objects();
        let mut may_go: BTreeSet<ObjectName> = self.names_of(key).into_iter().collect();
        if cascade == Cascade::Yes {
            // A delta names everything that it needs.
            let on_it =
                |name: &ObjectName| self.names_of(key).iter().any(|target| self.builds_on(before, name, target));
            may_go.extend(entries(before).map(|(name, ..)| name.clone()).filter(on_it));
        }
        for (name, ..) in entries(before).filter(|(name, ..)| !now.contains_key(name)) {
            ensure!(may_go.contains(name), "`{name}` was deleted, though it was not named");
        }
        let is_needed = |name: &ObjectName| {
            entries(before).any(|(other, ..)| !may_go.contains(other) && self.builds_on(before, other, name))
        };
        if is_whole && !self.has_rot(before) && self.notes(INTENTS_PREFIX).is_empty() {
            for name in self.names_of(key) {
                ensure!(is_needed(&name) || !now.contains_key(&name), "`{name}` was named, and is still there");
            }
        }
        Ok(())
    }

    /// A clean-up leaves nothing of its own behind, and nothing old of others.
    fn check_tidy(&self, before: &Objects) -> Broken {
        let now = self.objects();
        let passes = self.notes(PASSES_PREFIX);
        ensure!(passes.iter().all(|(name, _)| before.contains_key(name)), "a clean-up has left its mark");
        let old = |(_, time): &&(ObjectName, DateTime<Utc>)| self.store.now() - *time > TimeDelta::hours(25);
        let notes = [passes, self.notes(INTENTS_PREFIX)].concat();
        ensure!(!notes.iter().any(|note| old(&note)), "a clean-up has left old notes");
        let marked = entries(&now).filter(|(name, ..)| self.is_marked(&now, name)).count();
        let marks = self.notes(CONDEMNED_PREFIX).len();
        // The mark of a reader who could not tell the archive is another one. It goes with the next pass.
        let deleted = entries(before).filter(|(name, ..)| !now.contains_key(name)).count();
        ensure!(marks <= marked + deleted, "{marks} marks for {marked} entries and {deleted} deleted ones");
        Ok(())
    }

    /// Whether one entry names another. A flipped bit in its data changes nothing of that.
    fn builds_on(&self, objects: &Objects, name: &ObjectName, on: &ObjectName) -> bool {
        let Some(object) = objects.get(name) else { return false };
        let is_it = |truth: &&Truth| truth.name == *name && truth.bytes.len() == object.body.len();
        self.truths.values().filter(is_it).any(|truth| truth.refs.iter().any(|r| r.name == *on))
    }
}

/// What a restore was asked for.
struct Asked {
    job: usize,
    key: usize,
    is_clean: bool,
    is_by_prefix: bool,
}

/// Names, times and sizes of entries.
fn entries(objects: &Objects) -> impl Iterator<Item = (&ObjectName, DateTime<Utc>, u64)> {
    let entries = objects.iter().filter(|(name, _)| naming::parse(name).is_some());
    entries.map(|(name, object)| (name, object.meta.last_modified, object.meta.size))
}

/// The name of the base of the same key.
fn base_beside(delta: &ObjectName) -> ObjectName {
    ObjectName::new(delta.as_str().replace("-delta.tar", "-base.tar")).unwrap()
}

/// Whether a directory with something in it is where the entry has something else.
fn is_in_the_way(tree: &Snapshot, old: &Snapshot) -> bool {
    let has_children = |dir: &[u8]| old.paths().any(|path| path.starts_with(dir) && path.get(dir.len()) == Some(&b'/'));
    let conflicts = |path: &[u8]| old.kind(path) == Some("directory") && tree.kind(path) != Some("directory");
    tree.paths().any(|path| !path.is_empty() && conflicts(path) && has_children(path))
}

/// How a tree differs from what it was, in all but `but`. The times of directories change when something in them comes and
/// goes, as it does when a first candidate cannot be restored.
fn untouched(old: Option<&Snapshot>, new: Option<&Snapshot>, but: &[Aspect]) -> Vec<String> {
    match (old, new) {
        (None, None) => Vec::new(),
        (Some(old), Some(new)) => {
            let is_dir = |path: &[u8]| old.kind(path) == Some("directory");
            let mut all = old.only(is_dir).differences(&new.only(is_dir), &[Aspect::Mtimes]);
            all.extend(old.only(|path| !is_dir(path)).differences(&new.only(|path| !is_dir(path)), but));
            all
        }
        (old, _) => vec![format!("there was a tree: {}", old.is_some())],
    }
}
