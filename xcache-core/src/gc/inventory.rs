//! Everything that a gc knows of a store's entries, in columns: a million entries take about 200 MiB.
//!
//! An entry is known by its number, in the order of the listing. The listing fills names, sizes and times; tags and
//! footers are added for those entries for which a decision depends on them.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::family::family;
use crate::archive::footer::{ArchiveId, Footer};
use crate::entry::Kind;
use crate::naming;
use crate::store::{ETag, ListedObject, ObjectName, Tags};

/// The number of an entry in its inventory.
pub type EntryId = u32;

/// What a store holds, at the time it was listed.
#[derive(Debug, Default)]
pub struct Inventory {
    names: Texts,
    etags: Texts,
    sizes: Vec<u64>,
    modified_millis: Vec<i64>,
    kinds: Vec<Kind>,
    scopes: Vec<u32>,
    families: Vec<u32>,
    branches: Vec<u32>,
    tags: Vec<TagState>,
    states: Vec<State>,
    noted: Vec<bool>,
    condemned: Vec<bool>,
    /// Where in `facts` the footer stands, or [`NONE`].
    facts_at: Vec<u32>,
    facts: Vec<Facts>,
    refs: Vec<EntryId>,
    by_name: Vec<EntryId>,
    /// For each delta the base of the same key, or [`NONE`].
    bases: Vec<EntryId>,
    scope_texts: Interner,
    family_texts: Interner,
    branch_texts: Interner,
    other_objects: u64,
}

/// What is known of an entry's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagState {
    /// Not asked for.
    Unknown,
    /// Read; the entry is not pinned.
    Free,
    /// Read; the entry has the tag `keep=true`.
    Pinned,
    /// The store would not tell.
    Unreadable,
}

/// What became of reading an entry's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not read.
    Unread,
    /// Read, and all refs are there.
    Whole,
    /// Read; a ref is gone, so that the entry cannot be restored.
    Dangling,
    /// Not readable, twice.
    Damaged,
    /// Written by something else than xcache: no archive id, no refs.
    Plain,
    /// No longer there, or no longer the same object.
    Gone,
}

/// What a footer tells.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Which archive it is.
    pub archive_id: ArchiveId,
    /// Bytes of all files.
    pub content_bytes: u64,
    /// Number of members.
    pub members: u64,
    refs_start: u32,
    refs_count: u32,
}

const NONE: u32 = u32::MAX;

/// Names of branches, to be compared with those in tags.
#[derive(Debug)]
pub struct Branches(HashSet<String>);

impl<'a> FromIterator<&'a str> for Branches {
    fn from_iter<T: IntoIterator<Item = &'a str>>(names: T) -> Self {
        // As they are, and as a tag has them that cannot be undone.
        Self(names.into_iter().flat_map(|name| [name.to_owned(), naming::encode_tag_value(name)]).collect())
    }
}

impl Inventory {
    /// Adds a listed object, unless it is no entry. Call [`Self::finish`] after the last.
    pub fn push(&mut self, object: &ListedObject) {
        let Some((scope, key, kind)) = naming::parse(&object.name) else {
            self.other_objects += 1;
            return;
        };
        self.names.push(object.name.as_str());
        self.etags.push(&object.meta.etag.0);
        self.sizes.push(object.meta.size);
        self.modified_millis.push(object.meta.last_modified.timestamp_millis());
        self.kinds.push(kind);
        self.scopes.push(scope.map_or(NONE, |scope| self.scope_texts.intern(scope.as_str())));
        self.families.push(self.family_texts.intern(&family(key.as_str())));
        self.branches.push(NONE);
        self.tags.push(TagState::Unknown);
        self.states.push(State::Unread);
        self.noted.push(false);
        self.condemned.push(false);
        self.facts_at.push(NONE);
    }

    /// Makes entries findable by name, and finds the deltas whose key has a base too.
    pub fn finish(&mut self) {
        let mut by_name: Vec<EntryId> = self.ids().collect();
        by_name.sort_unstable_by(|&a, &b| self.name(a).cmp(self.name(b)));
        self.by_name = by_name;
        let base = |id| match self.kind(id) {
            Kind::Base => None,
            Kind::Delta => self.find(&naming::with_kind(self.name(id), Kind::Base)?),
        };
        self.bases = self.ids().map(|id| base(id).unwrap_or(NONE)).collect();
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Objects that are no entries: notes and marks of ours, and what others put there.
    pub fn other_objects(&self) -> u64 {
        self.other_objects
    }

    /// All entries, in the order of the listing.
    pub fn ids(&self) -> std::ops::Range<EntryId> {
        0..EntryId::try_from(self.len()).expect("a listing of four billion entries does not fit into memory")
    }

    /// The entry with this name.
    pub fn find(&self, name: &str) -> Option<EntryId> {
        let at = self.by_name.binary_search_by(|&id| self.name(id).cmp(name)).ok()?;
        Some(self.by_name[at])
    }

    /// The base of the key of a delta.
    pub fn base_of_same_key(&self, delta: EntryId) -> Option<EntryId> {
        Some(self.bases[at(delta)]).filter(|&base| base != NONE)
    }

    /// Its name.
    pub fn name(&self, id: EntryId) -> &str {
        self.names.get(at(id))
    }

    /// Its name, as the store wants it.
    pub fn object_name(&self, id: EntryId) -> ObjectName {
        ObjectName::new(self.name(id)).expect("it came from an object name")
    }

    /// Which object it is.
    pub fn etag(&self, id: EntryId) -> ETag {
        ETag(self.etag_text(id).to_owned())
    }

    /// Which object it is, as text.
    pub fn etag_text(&self, id: EntryId) -> &str {
        self.etags.get(at(id))
    }

    /// Its length in bytes.
    pub fn size(&self, id: EntryId) -> u64 {
        self.sizes[at(id)]
    }

    /// When it was published, by the store's clock, in milliseconds since 1970.
    pub fn modified_millis(&self, id: EntryId) -> i64 {
        self.modified_millis[at(id)]
    }

    /// When it was published, by the store's clock.
    pub fn modified(&self, id: EntryId) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.modified_millis(id)).expect("it came from a time")
    }

    /// Complete or not.
    pub fn kind(&self, id: EntryId) -> Kind {
        self.kinds[at(id)]
    }

    /// The scope it lies in.
    pub fn scope(&self, id: EntryId) -> Option<&str> {
        self.scope_texts.get(self.scopes[at(id)])
    }

    /// Its key, without what changes from save to save.
    pub fn family(&self, id: EntryId) -> &str {
        self.family_texts.get(self.families[at(id)]).unwrap_or_default()
    }

    /// The branch in its tags, as the tag has it if that cannot be undone, as when it was too long; none while the tags
    /// have not been read. Compare with [`Inventory::is_on`].
    pub fn branch(&self, id: EntryId) -> Option<&str> {
        self.branch_texts.get(self.branches[at(id)])
    }

    /// Whether its tags say that it was written for one of `branches`.
    pub fn is_on(&self, id: EntryId, branches: &Branches) -> bool {
        self.branch(id).is_some_and(|branch| branches.0.contains(branch))
    }

    /// Scope, family and branch as numbers that are equal for equal texts.
    pub(super) fn group_numbers(&self, id: EntryId) -> (u32, u32, u32) {
        (self.scopes[at(id)], self.families[at(id)], self.branches[at(id)])
    }

    /// What is known of its tags.
    pub fn tag_state(&self, id: EntryId) -> TagState {
        self.tags[at(id)]
    }

    /// What became of reading its end.
    pub fn state(&self, id: EntryId) -> State {
        self.states[at(id)]
    }

    /// What its footer tells, if it has been read.
    pub fn facts(&self, id: EntryId) -> Option<&Facts> {
        self.facts.get(usize::try_from(self.facts_at[at(id)]).ok()?)
    }

    /// The entries that it builds on, as far as they are in this inventory; empty while its end has not been read.
    pub fn refs(&self, id: EntryId) -> &[EntryId] {
        self.facts(id).map_or(&[], |facts| &self.refs[at(facts.refs_start)..][..at(facts.refs_count)])
    }

    /// Whether a save in progress has noted it.
    pub fn is_noted(&self, id: EntryId) -> bool {
        self.noted[at(id)]
    }

    /// Whether a gc has condemned it.
    pub fn is_condemned(&self, id: EntryId) -> bool {
        self.condemned[at(id)]
    }

    /// A save in progress has noted this name.
    pub fn note(&mut self, name: &str) {
        if let Some(id) = self.find(name) {
            self.noted[at(id)] = true;
        }
    }

    /// A gc has condemned this object. Says whether it is here.
    pub fn condemn(&mut self, name: &str, etag: &str) -> bool {
        match self.find(name).filter(|&id| self.etag_text(id) == etag) {
            Some(id) => {
                self.condemned[at(id)] = true;
                true
            }
            None => false,
        }
    }

    /// Its tags, or that they cannot be read.
    pub fn set_tags(&mut self, id: EntryId, tags: Option<&Tags>) {
        self.tags[at(id)] = match tags {
            Some(tags) => {
                if let Some(value) = tags.get("branch") {
                    let branch = naming::decode_tag_value(value);
                    self.branches[at(id)] = self.branch_texts.intern(branch.as_deref().unwrap_or(value));
                }
                if naming::is_pin(tags) { TagState::Pinned } else { TagState::Free }
            }
            None => TagState::Unreadable,
        };
    }

    /// Its footer. Refs to objects that are not in this inventory are not kept; say [`State::Dangling`] if one of them
    /// does not exist.
    pub fn set_footer(&mut self, id: EntryId, footer: &Footer) {
        let refs_start = self.refs.len();
        for r in &footer.refs {
            if let Some(target) = self.find(&r.name).filter(|&target| target != id) {
                self.refs.push(target);
            }
        }
        let number = |n: usize| u32::try_from(n).expect("four billion refs do not fit into memory");
        self.facts_at[at(id)] = number(self.facts.len());
        self.facts.push(Facts {
            archive_id: footer.archive_id,
            content_bytes: footer.content_bytes,
            members: footer.members,
            refs_start: number(refs_start),
            refs_count: number(self.refs.len() - refs_start),
        });
        self.states[at(id)] = State::Whole;
    }

    /// What became of reading its end. An entry that cannot be restored builds on nothing any more.
    pub fn set_state(&mut self, id: EntryId, state: State) {
        self.states[at(id)] = state;
        if state == State::Dangling
            && let Some(facts) = self.facts.get_mut(at(self.facts_at[at(id)]))
        {
            facts.refs_count = 0;
        }
    }
}

/// Numbers index columns.
pub(super) fn at(id: u32) -> usize {
    id as usize
}

/// Many texts in one allocation.
#[derive(Debug, Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    fn get(&self, n: usize) -> &str {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[n]]
    }
}

/// Numbers for texts that occur often.
#[derive(Debug, Default)]
struct Interner {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Interner {
    fn intern(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = u32::try_from(self.texts.len()).expect("four billion texts do not fit into memory");
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    fn get(&self, number: u32) -> Option<&str> {
        self.texts.get(at(number)).map(|text| &**text)
    }
}
