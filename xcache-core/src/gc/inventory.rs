//! Everything that a gc knows of a store's entries, in columns: a million entries take about 200 MiB.
//!
//! An entry is known by its number, in the order of the listing. The listing fills names, sizes and times; tags and
//! footers are added for those entries for which a decision depends on them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::family::family;
use crate::archive::footer::{Footer, Head};
use crate::naming;
use crate::object::{ArchiveId, Kind, Ref};
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
    states: Vec<EndState>,
    noted: Vec<bool>,
    condemned: Vec<bool>,
    /// Where in `facts` the footer stands, or [`NONE`].
    facts_at: Vec<u32>,
    facts: Vec<FooterFacts>,
    refs: Vec<EntryId>,
    by_name: Vec<EntryId>,
    /// For each delta the base of the same key, or [`NONE`].
    bases: Vec<EntryId>,
    scope_texts: Interner,
    family_texts: Interner,
    branch_texts: Interner,
    /// Where other stores begin, below this one.
    nested: BTreeSet<String>,
    /// All tags, if they are kept.
    all_tags: Option<HashMap<EntryId, Tags>>,
    /// Why ends could not be read.
    unreadable: BTreeMap<EntryId, String>,
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
pub enum EndState {
    /// Not read.
    Unread,
    /// Read, and all refs are there.
    Whole,
    /// Read; a ref is gone, so that the entry cannot be restored.
    Dangling,
    /// Not readable, twice.
    Damaged,
    /// Read, and of a later format; what it builds on is known.
    Newer,
    /// Written by a later version that does not say what the entry builds on. It protects only itself.
    Unknown,
    /// The store does not hand it out. It protects itself and whatever it may build on.
    Sealed,
    /// It belongs to another store, below this one, or was written under another key. Not ours to delete.
    Foreign,
    /// Written by something else than xcache: no archive id, no refs.
    Plain,
    /// No longer there, or no longer the same object.
    Gone,
}

/// What a footer tells.
#[derive(Clone, Copy, Debug)]
pub struct FooterFacts {
    /// Which archive it is.
    pub archive_id: ArchiveId,
    /// Bytes of all files.
    pub content_bytes: u64,
    refs_start: u32,
    refs_count: u32,
}

const NONE: u32 = u32::MAX;

/// Names of branches, to be compared with those in tags.
#[derive(Debug)]
pub struct Branches(HashSet<String>);

/// Where and when a delta was written, which bounds what it may refer to where its end cannot be read.
#[derive(Clone, Debug)]
pub(super) struct DeltaWriter {
    name: String,
    scope: Option<String>,
    modified_millis: i64,
}

/// What a delta refers to is older than the delta. But a store may have been copied, and then the copies are as old as
/// the copying took.
const COPIED_WITHIN_MILLIS: i64 = 24 * 3_600_000;
/// What pull requests write.
const PULL_REQUESTS: &str = "refs/pull/";
/// What branches write.
const HEADS: &str = "refs/heads/";

impl DeltaWriter {
    /// The writer of a listed entry.
    pub(super) fn of(object: &ListedObject) -> Option<Self> {
        let (scope, ..) = naming::parse(&object.name)?;
        Some(Self {
            name: object.name.to_string(),
            scope: scope.map(|scope| scope.as_str().to_owned()),
            modified_millis: object.meta.last_modified.timestamp_millis(),
        })
    }

    /// Whether an entry in `scope` may be referred to: one in the same scope, or from the scope of a branch one of another
    /// branch or of no scope. A pull request must not stop the clean-up of what others share by an entry that cannot be
    /// read, so it protects its own scope only.
    fn may_refer_to(&self, scope: Option<&str>) -> bool {
        let own = self.scope.as_deref();
        own == scope
            || own.is_some_and(|own| !own.starts_with(PULL_REQUESTS))
                && scope.is_none_or(|scope| scope.starts_with(HEADS))
    }
}

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
            if let Some((nested, _)) = object.name.as_str().split_once("/.xcache/") {
                self.nested.insert(format!("{nested}/"));
            }
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
        self.states.push(EndState::Unread);
        self.noted.push(false);
        self.condemned.push(false);
        self.facts_at.push(NONE);
    }

    /// Makes entries findable by name, and finds those of other stores and the deltas whose key has a base too.
    pub fn finish(&mut self) {
        let mut by_name: Vec<EntryId> = self.ids().collect();
        by_name.sort_unstable_by(|&a, &b| self.name(a).cmp(self.name(b)));
        self.by_name = by_name;
        let base = |id| match self.kind(id) {
            Kind::Base => None,
            Kind::Delta => self.find(&naming::with_kind(self.name(id), Kind::Base)?),
        };
        self.bases = self.ids().map(|id| base(id).unwrap_or(NONE)).collect();
        for nested in self.nested.clone() {
            self.disown(&nested);
        }
    }

    /// What lies below `prefix` is not ours.
    fn disown(&mut self, prefix: &str) {
        let start = self.by_name.partition_point(|&id| self.name(id) < prefix);
        let below: Vec<EntryId> =
            self.by_name[start..].iter().copied().take_while(|&id| self.name(id).starts_with(prefix)).collect();
        below.into_iter().for_each(|id| self.set_state(id, EndState::Foreign));
    }

    /// Entries that tell whether another store begins below this one: the newest and the oldest of each directory in the
    /// names of entries without a scope.
    pub(super) fn samples(&self) -> Vec<EntryId> {
        let directory = |id: EntryId| self.name(id).rsplit_once('/').map(|(directory, _)| directory);
        let mut below: Vec<EntryId> =
            self.ids().filter(|&id| self.is_ours(id) && self.scope(id).is_none() && directory(id).is_some()).collect();
        let age = |id| (directory(id), self.modified_millis(id));
        below.sort_unstable_by(|&a, &b| age(a).cmp(&age(b)));
        let ends = |same: &[EntryId]| match same {
            [] => Vec::new(),
            [one] => vec![*one],
            [oldest, .., newest] => vec![*oldest, *newest],
        };
        below.chunk_by(|&a, &b| directory(a) == directory(b)).flat_map(ends).collect()
    }

    /// Where other stores begin, below this one: names that end with a slash.
    pub fn nested(&self) -> impl Iterator<Item = &str> {
        self.nested.iter().map(String::as_str)
    }

    /// Whether an entry belongs to this store, as far as that is known.
    pub fn is_ours(&self, id: EntryId) -> bool {
        self.state(id) != EndState::Foreign
    }

    /// Whether an entry counts: it is ours, and there.
    pub(super) fn counts(&self, id: EntryId) -> bool {
        !matches!(self.state(id), EndState::Foreign | EndState::Gone)
    }

    /// Whether `target` may be something that a delta builds on which cannot be read.
    pub(super) fn may_be_ref_of(&self, target: EntryId, writer: &DeltaWriter) -> bool {
        self.state(target) != EndState::Plain
            && self.name(target) != writer.name
            && self.modified_millis(target) <= writer.modified_millis + COPIED_WITHIN_MILLIS
            && writer.may_refer_to(self.scope(target))
    }

    /// An entry as the writer of a delta.
    pub(super) fn writer(&self, id: EntryId) -> DeltaWriter {
        DeltaWriter {
            name: self.name(id).to_owned(),
            scope: self.scope(id).map(str::to_owned),
            modified_millis: self.modified_millis(id),
        }
    }

    /// Number of entries.
    pub fn entry_count(&self) -> usize {
        self.sizes.len()
    }

    /// All entries, in the order of the listing.
    pub fn ids(&self) -> std::ops::Range<EntryId> {
        0..EntryId::try_from(self.entry_count()).expect("a listing of four billion entries does not fit into memory")
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

    /// The key of an entry.
    pub fn key(&self, id: EntryId) -> String {
        // Only names that can be parsed are in an inventory.
        naming::parse(&self.object_name(id)).map_or_else(String::new, |(_, key, _)| key.to_string())
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

    /// The entries whose ends cannot be read, and why.
    pub fn unreadable(&self) -> impl Iterator<Item = (EntryId, &str)> {
        self.unreadable.iter().map(|(&id, why)| (id, why.as_str()))
    }

    pub(super) fn set_unreadable(&mut self, id: EntryId, state: EndState, why: String) {
        self.set_state(id, state);
        self.unreadable.insert(id, why);
    }

    /// What is known of its tags.
    pub fn tag_state(&self, id: EntryId) -> TagState {
        self.tags[at(id)]
    }

    /// What became of reading its end.
    pub fn state(&self, id: EntryId) -> EndState {
        self.states[at(id)]
    }

    /// What its footer tells, if it has been read.
    pub fn facts(&self, id: EntryId) -> Option<&FooterFacts> {
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

    /// There is a mark for this object.
    pub fn condemn(&mut self, name: &str) {
        if let Some(id) = self.find(name) {
            self.condemned[at(id)] = true;
        }
    }

    /// From here on tags are kept for [`Self::has_tag`], which takes memory for each entry.
    pub(super) fn keep_tags(&mut self) {
        self.all_tags.get_or_insert_default();
    }

    /// Whether an entry has a tag with this value, as far as tags have been read by [`super::look::tags`].
    pub fn has_tag(&self, id: EntryId, name: &str, value: &str) -> bool {
        let found = self.all_tags.as_ref().and_then(|all| all.get(&id)?.get(name));
        found.is_some_and(|found| found == value || *found == naming::encode_tag_value(value))
    }

    /// The value of a tag, as far as tags have been read by [`super::look::tags`].
    pub fn tag(&self, id: EntryId, name: &str) -> Option<String> {
        let value = self.all_tags.as_ref()?.get(&id)?.get(name)?;
        Some(naming::decode_tag_value(value).unwrap_or_else(|| value.clone()))
    }

    /// Its tags, or that they cannot be read.
    pub fn set_tags(&mut self, id: EntryId, tags: Option<&Tags>) {
        if let (Some(all), Some(tags)) = (&mut self.all_tags, tags) {
            all.insert(id, tags.clone());
        }
        self.tags[at(id)] = match tags {
            Some(tags) => {
                if let Some(value) = tags.get("branch") {
                    let branch = naming::decode_tag_value(value);
                    let branch = branch.as_deref().map_or(value.as_str(), naming::branch_tag);
                    self.branches[at(id)] = self.branch_texts.intern(branch);
                }
                if naming::is_pin(tags) { TagState::Pinned } else { TagState::Free }
            }
            None => TagState::Unreadable,
        };
    }

    #[cfg(test)]
    pub(super) fn forget_tags(&mut self, id: EntryId) {
        self.tags[at(id)] = TagState::Unknown;
    }

    /// Its footer; false if that says that the entry is not ours. Refs to objects that are not in this inventory are not
    /// kept; say [`EndState::Dangling`] if one of them does not exist.
    pub fn set_footer(&mut self, id: EntryId, footer: &Footer) -> bool {
        let Footer { archive_id, kind, key, refs, content_bytes, .. } = footer;
        if !self.is_named(id, key, *kind) {
            return false;
        }
        self.set_facts(id, *archive_id, *content_bytes, refs);
        self.states[at(id)] = EndState::Whole;
        true
    }

    /// The head of the footer of a later format.
    pub(super) fn set_head(&mut self, id: EntryId, head: &Head) {
        let Head { archive_id, kind, key, created_nanos: _, refs } = head;
        if self.is_named(id, key, *kind) {
            self.set_facts(id, *archive_id, 0, refs);
            self.states[at(id)] = EndState::Newer;
        }
    }

    /// Whether an entry was written under the name that it has. If not, it belongs to a store below this one, as
    /// everything beside it does, or was put here by other means.
    fn is_named(&mut self, id: EntryId, key: &str, kind: Kind) -> bool {
        let name = self.name(id).to_owned();
        let object_name = self.object_name(id);
        if naming::is_name_of(&object_name, key, kind) {
            return true;
        }
        let Some((scope, ..)) = naming::parse(&object_name) else { return false };
        self.states[at(id)] = EndState::Foreign;
        let below = key.parse().ok().and_then(|key| naming::object_name(None, &key, kind).ok());
        let nested = below.and_then(|below| name.strip_suffix(below.as_str()).map(str::to_owned));
        if let Some(nested) = nested.filter(|nested| nested.ends_with('/') && scope.is_none()) {
            self.disown(&nested);
            self.nested.insert(nested);
        }
        false
    }

    fn set_facts(&mut self, id: EntryId, archive_id: ArchiveId, content_bytes: u64, refs: &[Ref]) {
        let refs_start = self.refs.len();
        for r in refs {
            if let Some(target) = self.find(r.name.as_str()).filter(|&target| target != id) {
                self.refs.push(target);
            }
        }
        let number = |n: usize| u32::try_from(n).expect("four billion refs do not fit into memory");
        self.facts_at[at(id)] = number(self.facts.len());
        self.facts.push(FooterFacts {
            archive_id,
            content_bytes,
            refs_start: number(refs_start),
            refs_count: number(self.refs.len() - refs_start),
        });
    }

    /// What became of reading its end. An entry that cannot be restored builds on nothing any more.
    pub fn set_state(&mut self, id: EntryId, state: EndState) {
        self.states[at(id)] = state;
        if state == EndState::Dangling
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
