//! Which entry a key stands for: the candidates of a restore, best first, and whether a key is taken for a save.
//!
//! For each scope that may be read, in order: the primary key; the newest entry that begins with it; then for each
//! restore key, in order, the entry of that very name, and the newest that begins with it. An exact hit costs two
//! requests, which already bring the ends of the objects; each further prefix costs one listing.
//!
//! A lookup does not fail: what goes wrong is noted, and the next place is asked, so that a scope that we may not
//! read does not hide a hit in the next. Only a store that is unavailable, after all retries, ends the lookup at once:
//! asking on would multiply the wait.
//!
//! An archive whose footer names another key than its object belongs to another store, as where one job saves to
//! `s3://bucket/ci` and another to `s3://bucket`. It is no candidate: that store's gc does not know who builds on it.
//!
//! S3 answers 403 for a missing object to a role that may not list. So "denied" may mean "nothing there", and is
//! reported as what it is: [`LookupFailure::Denied`].

pub mod near;
mod newest;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, join_all, select};

use crate::entry::Entry;
use crate::key::{Key, Keys, RestoreKey};
use crate::naming;
use crate::object::Kind;
use crate::object_end::{self, Expected, Tail, Verdict};
use crate::scope::{Scope, Scopes};
use crate::store::{self, Error, ErrorKind, ObjectName, Store};

use newest::{MAX_CANDIDATES, Newest};

/// How many entries are listed at a time once some belong to another store, which may have any number of newer ones, and how
/// often: an own entry behind more than that is not found. Their ends are read first, a small request each.
const AMONG_FOREIGN: usize = 64;
const MAX_LISTINGS_AMONG_FOREIGN: u32 = 4;

/// How an entry was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Its key is the primary key.
    Exact,
    /// Its key begins with a restore key, or with the primary key if there is none here.
    Prefix {
        /// The restore key.
        restore_key: Option<RestoreKey>,
    },
}

/// A candidate, not yet verified.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The entry.
    pub entry: Entry,
    /// How it was found.
    pub matched: Match,
    /// The end of its object.
    pub tail: Tail,
}

/// Why nothing was restored. Of several reasons, the greater one is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookupFailure {
    /// The store was asked everywhere and has no such entry.
    NothingThere,
    /// Entries exist, but were saved from other paths. (Seen by who reads the candidates.)
    OtherPaths,
    /// Entries exist, but are damaged. (Seen by who reads the candidates.)
    Corrupt,
    /// We may not look, or only not list: then a missing entry looks the same.
    Denied,
    /// The store could not be asked.
    Unreachable,
}

/// A lookup under way.
#[derive(Debug)]
pub struct Lookup {
    store: Arc<dyn Store>,
    tail_bytes: u64,
    created: fn(&Tail) -> Option<i64>,
    steps: VecDeque<LookupStep>,
    /// What the listing of the last step brought, best first.
    listed: VecDeque<Entry>,
    /// Candidates of one second, whose tails had to be fetched to order them.
    ready: VecDeque<Candidate>,
    /// How the candidates of the last step were found.
    matched: Match,
    primary: Key,
    tried: HashSet<ObjectName>,
    candidates: usize,
    errors: Vec<Error>,
    foreign: Vec<ObjectName>,
    asked: Vec<Asked>,
    /// The step to be taken once more if what it has brought so far belongs to another store, with the number of those
    /// before it: its listing had more than was kept.
    more: Option<(LookupStep, usize)>,
    listings_among_foreign: u32,
}

/// What a lookup has asked the store, and what it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where.
    pub scope: Option<Scope>,
    /// What.
    pub question: Question,
    /// How many entries were found there; none if the store gave no answer.
    pub entries: Option<u64>,
    /// The best of them.
    pub best: Option<Key>,
}

/// What a lookup asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The entry of this very key.
    Exact(Key),
    /// The entries whose keys begin with this.
    Prefix(String),
}

/// One request to the store, still to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LookupStep {
    /// The primary key's own entry.
    Exact { scope: Option<Scope> },
    /// The entries whose keys begin with the restore key, or with the primary key.
    Prefix { scope: Option<Scope>, restore_key: Option<RestoreKey> },
}

impl Lookup {
    /// Looks for `keys` in the scopes that may be read. `tail_bytes` of each candidate are fetched. `created` reads
    /// the creation time from a tail; it settles the order of entries that the store published in the same second.
    pub fn new(
        store: Arc<dyn Store>,
        scopes: &Scopes,
        keys: &Keys,
        tail_bytes: u64,
        created: fn(&Tail) -> Option<i64>,
    ) -> Self {
        let mut steps = VecDeque::new();
        for scope in &scopes.read {
            steps.push_back(LookupStep::Exact { scope: scope.clone() });
            steps.push_back(LookupStep::Prefix { scope: scope.clone(), restore_key: None });
            for restore_key in keys.restore() {
                let step = LookupStep::Prefix { scope: scope.clone(), restore_key: Some(restore_key.clone()) };
                if restore_key.as_str() != keys.primary().as_str() && !steps.contains(&step) {
                    steps.push_back(step);
                }
            }
        }
        Self {
            store,
            tail_bytes,
            created,
            steps,
            listed: VecDeque::new(),
            ready: VecDeque::new(),
            matched: Match::Exact,
            primary: keys.primary().clone(),
            tried: HashSet::new(),
            candidates: 0,
            errors: Vec::new(),
            foreign: Vec::new(),
            asked: Vec::new(),
            more: None,
            listings_among_foreign: 0,
        }
    }

    /// The next best candidate; none if there is no other, or eight were given already. No object comes twice.
    ///
    /// Cancelling loses the candidates that were being fetched.
    pub async fn next(&mut self) -> Option<Candidate> {
        if self.candidates == MAX_CANDIDATES {
            return None;
        }
        let found = loop {
            if let Some(found) = self.ready.pop_front() {
                break found;
            }
            if !self.listed.is_empty() {
                self.fetch_listed().await;
                continue;
            }
            self.look_behind_foreign();
            match self.steps.pop_front()? {
                LookupStep::Exact { scope } => self.fetch_exact(scope).await,
                LookupStep::Prefix { scope, restore_key } => self.list(scope, restore_key).await,
            }
        };
        self.candidates += 1;
        Some(found)
    }

    /// Why there is no other candidate, as far as the store told.
    pub fn miss_reason(&self) -> LookupFailure {
        self.errors.iter().map(|error| reason(error.kind())).max().unwrap_or(LookupFailure::NothingThere)
    }

    /// What went wrong on the way, in order.
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }

    /// What was passed over because it was saved under another key, in another store.
    pub fn foreign(&self) -> &[ObjectName] {
        &self.foreign
    }

    /// What the store was asked so far, in order.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    async fn fetch_exact(&mut self, scope: Option<Scope>) {
        let names = match names(scope.as_ref(), &self.primary) {
            Ok(names) => names,
            Err(error) => return self.note(error),
        };
        let question = Question::Exact(self.primary.clone());
        let mut asked = Asked { scope: scope.clone(), question, entries: Some(0), best: None };
        let tail = |name| object_end::fetch(self.store.as_ref(), name, self.tail_bytes, Expected::Unknown);
        match prefer_base(tail(&names[0]), tail(&names[1])).await {
            Ok(Some((kind, tail))) => {
                let [base, delta] = names;
                let name = if kind == Kind::Base { base } else { delta };
                self.tried.insert(name.clone());
                (asked.entries, asked.best) = (Some(1), Some(self.primary.clone()));
                let entry = Entry { scope, key: self.primary.clone(), kind, name, meta: tail.meta.clone() };
                let found = Candidate { entry, matched: Match::Exact, tail };
                let found = self.unless_foreign(found).await;
                self.ready.extend(found);
            }
            Ok(None) => {}
            Err(error) => {
                asked.entries = None;
                self.note(error);
            }
        }
        self.asked.push(asked);
    }

    async fn list(&mut self, scope: Option<Scope>, restore_key: Option<RestoreKey>) {
        let prefix = restore_key.as_ref().map_or(self.primary.as_str(), RestoreKey::as_str);
        let is_among_foreign = !self.foreign.is_empty();
        let mut newest = Newest::new(prefix, if is_among_foreign { AMONG_FOREIGN } else { MAX_CANDIDATES });
        let listing = naming::list_prefix(scope.as_ref(), prefix);
        let outcome = store::each_page(self.store.as_ref(), &listing, |objects| {
            let entries = objects.into_iter().filter_map(Entry::from_listed);
            let candidates = entries.filter(|entry| entry.scope == scope && !self.tried.contains(&entry.name));
            candidates.for_each(|entry| newest.offer(entry));
        });
        let outcome = outcome.await;
        let entries = outcome.is_ok().then_some(newest.matching());
        let question = Question::Prefix(prefix.to_owned());
        let step = || LookupStep::Prefix { scope: scope.clone(), restore_key: restore_key.clone() };
        self.more = newest.is_full().then(|| (step(), self.foreign.len()));
        self.listed = newest.into_sorted().into();
        let best = self.listed.front().map(|entry| entry.key.clone());
        self.asked.push(Asked { scope, question, entries, best });
        if is_among_foreign {
            self.sort_out_foreign().await;
        }
        self.matched = Match::Prefix { restore_key };
        if let Err(error) = outcome {
            self.note(error);
        }
    }

    /// Where entries of another store took the places of a listing, what lies behind them is looked at too.
    fn look_behind_foreign(&mut self) {
        if let Some((step, foreign_before)) = self.more.take()
            && foreign_before < self.foreign.len()
            && self.listings_among_foreign < MAX_LISTINGS_AMONG_FOREIGN
        {
            self.listings_among_foreign += 1;
            self.steps.push_front(step);
        }
    }

    /// Takes what belongs to another store out of what was listed, by the ends of the objects.
    async fn sort_out_foreign(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let store = self.store.as_ref();
        let ends = listed.iter().map(|entry| object_end::read_footer(store, &entry.name, &entry.meta.etag));
        for (end, entry) in join_all(ends).await.into_iter().zip(listed) {
            match end {
                Ok(Verdict::Readable(Some(footer))) if !naming::is_name_of(&entry.name, &footer.key, footer.kind) => {
                    self.tried.insert(entry.name.clone());
                    self.foreign.push(entry.name);
                }
                // Whatever is wrong with it shows when it is fetched.
                _ => self.listed.push_back(entry),
            }
        }
    }

    /// Fetches the tail of the best listed entry, and of those that were published in the same second.
    async fn fetch_listed(&mut self) {
        let Some(first) = self.listed.pop_front() else { return };
        let mut entries = vec![first];
        if !self.is_exact(&entries[0]) {
            // The delta beside a base is a candidate of its own, after the base.
            let belongs = |next: &Entry, entries: &[Entry]| {
                is_same_age(next, &entries[0]) && entries.last().is_none_or(|last| last.key != next.key)
            };
            while let Some(entry) = self.listed.pop_front_if(|next| belongs(next, &entries)) {
                entries.push(entry);
            }
        }
        self.tried.extend(entries.iter().map(|entry| entry.name.clone()));
        let store = Arc::clone(&self.store);
        let store = store.as_ref();
        let tails =
            entries.iter().map(|entry| object_end::fetch(store, &entry.name, self.tail_bytes, Expected::Present));
        let tails = join_all(tails).await;
        let mut found = Vec::with_capacity(entries.len());
        for (entry, tail) in entries.into_iter().zip(tails) {
            match tail {
                Ok(tail) => {
                    let matched = if entry.key == self.primary { Match::Exact } else { self.matched.clone() };
                    let entry = Entry { meta: tail.meta.clone(), ..entry };
                    found.extend(self.unless_foreign(Candidate { entry, matched, tail }).await);
                }
                // Deleted since it was listed, which a HEAD confirms.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => self.note(error),
            }
        }
        found.sort_by_key(|found| std::cmp::Reverse((self.created)(&found.tail)));
        self.ready.extend(found);
    }

    /// The candidate, if its object is what its name says.
    async fn unless_foreign(&mut self, found: Candidate) -> Option<Candidate> {
        let name = &found.entry.name;
        if !object_end::is_foreign(self.store.as_ref(), name, &found.tail).await {
            return Some(found);
        }
        self.foreign.push(name.clone());
        None
    }

    /// Whether this entry comes before newer ones of the same listing.
    fn is_exact(&self, entry: &Entry) -> bool {
        let restore_key = match &self.matched {
            Match::Prefix { restore_key } => restore_key.as_ref(),
            Match::Exact => None,
        };
        entry.key.as_str() == restore_key.map_or(self.primary.as_str(), RestoreKey::as_str)
    }

    fn note(&mut self, error: Error) {
        if error.kind() == ErrorKind::Unavailable {
            self.steps.clear();
            self.listed.clear();
        }
        self.errors.push(error);
    }
}

/// The entry of `key` in `scope`, if there is one: two HEADs at once. [`ErrorKind::Denied`] may mean that there is
/// none, where the role may not list; a create-only write tells for sure.
pub async fn exists(store: &dyn Store, scope: Option<&Scope>, key: &Key) -> store::Result<Option<Entry>> {
    let [base, delta] = names(scope, key)?;
    let found = prefer_base(store.head(&base), store.head(&delta)).await?;
    Ok(found.map(|(kind, meta)| {
        let name = if kind == Kind::Base { base } else { delta };
        Entry { scope: scope.cloned(), key: key.clone(), kind, name, meta }
    }))
}

impl fmt::Display for LookupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingThere => "nothing there",
            Self::OtherPaths => "saved from other paths",
            Self::Corrupt => "corrupt",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
        })
    }
}

fn reason(kind: ErrorKind) -> LookupFailure {
    match kind {
        ErrorKind::Denied | ErrorKind::Unauthenticated => LookupFailure::Denied,
        // A missing object is no error here, so "not found" is a missing bucket. A store that contradicts itself says
        // nothing of its entries.
        _ => LookupFailure::Unreachable,
    }
}

/// The names that a key's entry may have, base first.
fn names(scope: Option<&Scope>, key: &Key) -> store::Result<[ObjectName; 2]> {
    let name = |kind| {
        naming::object_name(scope, key, kind)
            .map_err(|error| Error::new(ErrorKind::Invalid, "look up", key).detail(error.to_string()))
    };
    Ok([name(Kind::Base)?, name(Kind::Delta)?])
}

/// Asks for both at once. The base is the entry if both are there, so its answer is enough; an error counts only if
/// neither is.
async fn prefer_base<T>(
    base: impl Future<Output = store::Result<T>>,
    delta: impl Future<Output = store::Result<T>>,
) -> store::Result<Option<(Kind, T)>> {
    let (base, delta) = match select(pin!(base), pin!(delta)).await {
        Either::Left((Ok(base), _)) => return Ok(Some((Kind::Base, base))),
        Either::Left((Err(error), delta)) => (Err(error), delta.await),
        Either::Right((delta, base)) => (base.await, delta),
    };
    match (base, delta) {
        (Ok(base), _) => Ok(Some((Kind::Base, base))),
        (_, Ok(delta)) => Ok(Some((Kind::Delta, delta))),
        (Err(error), _) | (_, Err(error)) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(None),
    }
}

/// The resolution of S3; a store that knows more has no ties.
fn is_same_age(a: &Entry, b: &Entry) -> bool {
    a.meta.last_modified == b.meta.last_modified
}

#[cfg(test)]
mod tests;
