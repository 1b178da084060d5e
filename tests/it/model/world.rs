//! What is in the store, what the savers were promised, and what must hold after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::task::Waker;

use bytes::Bytes;
use xcache_core::archive::footer::{End, FOOTER_FRAME, Footer, INDEX_FRAME, Seek, decode_end, encode_end};
use xcache_core::archive::frame::skippable;
use xcache_core::naming::{self, CONDEMNED_PREFIX, INTENTS_PREFIX, PASSES_PREFIX};
use xcache_core::object::{ArchiveId, Kind, Ref};
use xcache_core::store::{ETag, ObjectMeta, ObjectName};

use super::store::{Pending, etag, object_name, time};

/// One day, in milliseconds.
pub(super) const DAY: i64 = 86_400_000;

pub(super) struct World {
    pub(super) objects: BTreeMap<String, Object>,
    /// The first object under each name.
    pub(super) first: BTreeMap<String, ObjectMeta>,
    pub(super) clock: i64,
    pub(super) page_size: usize,
    /// The store ignores `If-Match` on deletion.
    pub(super) ignores_if_match: bool,
    /// The marks of passes are leases, or tell a time that changes.
    pub(super) passes_matter: bool,
    pub(super) pending: Vec<Pending>,
    /// What each actor has learned so far.
    pub(super) histories: Vec<u64>,
    /// Actors whose intent somebody else removed: they have stalled for a day.
    pub(super) stalled: BTreeSet<usize>,
    /// Archives whose deletion somebody asked for, or the policy allows.
    pub(super) may_go: BTreeSet<ArchiveId>,
    /// Names of entries that somebody removes, whatever they are.
    pub(super) names_may_go: BTreeSet<String>,
    /// Somebody removes whatever builds on something.
    pub(super) all_may_go: bool,
    /// Archives that savers have reported as saved.
    pub(super) saved: BTreeSet<ArchiveId>,
    /// Archives that a restore has found damaged and marked.
    marked: BTreeSet<ArchiveId>,
    /// What was marked when an actor wrote its intent.
    marked_before: BTreeMap<usize, BTreeSet<ArchiveId>>,
    /// Archives that a lifecycle rule has let expire.
    expired: BTreeSet<ArchiveId>,
    pub(super) violation: Option<Violation>,
    next_request: u64,
}

pub(super) struct Object {
    pub(super) body: Bytes,
    pub(super) meta: ObjectMeta,
    /// Who wrote it.
    pub(super) actor: usize,
    pub(super) footer: Option<Footer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// P4: a lookup can return an entry that cannot be restored.
    Dangles(String),
    /// P3, P4: an entry is gone that nobody asked to delete.
    Lost(String),
    /// P2, P3: an entry was replaced.
    Replaced(String),
    /// A save has built on what a restore had marked before.
    BuiltOnMarked(String),
    /// P4, as a restore saw it.
    NotRestored(String),
}

impl World {
    pub(super) fn new(actors: usize, page_size: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            first: BTreeMap::new(),
            clock: 0,
            page_size,
            ignores_if_match: false,
            passes_matter: false,
            pending: Vec::new(),
            histories: vec![0; actors],
            stalled: BTreeSet::new(),
            may_go: BTreeSet::new(),
            names_may_go: BTreeSet::new(),
            all_may_go: false,
            saved: BTreeSet::new(),
            marked: BTreeSet::new(),
            marked_before: BTreeMap::new(),
            expired: BTreeSet::new(),
            violation: None,
            next_request: 0,
        }
    }

    pub(super) fn meta(&self, body: &[u8]) -> ObjectMeta {
        ObjectMeta { size: body.len() as u64, etag: etag(body), last_modified: time(self.clock) }
    }

    pub(super) fn metas(&self) -> BTreeMap<String, ObjectMeta> {
        self.objects.iter().map(|(name, object)| (name.clone(), object.meta.clone())).collect()
    }

    pub(super) fn put(&mut self, actor: usize, name: &str, body: Bytes) -> ETag {
        let meta = self.meta(&body);
        let footer = footer_of(&body);
        if footer.is_some() && self.objects.contains_key(name) {
            self.violation = Some(Violation::Replaced(name.to_owned()));
        }
        self.note_marks(actor, name, &body, footer.as_ref());
        self.first.entry(name.to_owned()).or_insert_with(|| meta.clone());
        let etag = meta.etag.clone();
        self.objects.insert(name.to_owned(), Object { body, meta, actor, footer });
        etag
    }

    /// What was marked before an intent was written must not be a ref of the delta.
    fn note_marks(&mut self, actor: usize, name: &str, body: &[u8], footer: Option<&Footer>) {
        if name.starts_with(INTENTS_PREFIX) {
            self.marked_before.insert(actor, self.marked.clone());
        }
        let is_by_reader = |body: &[u8]| !String::from_utf8_lossy(body).contains("\"pass\"");
        if name.starts_with(CONDEMNED_PREFIX) && is_by_reader(body) {
            self.marked.insert(ArchiveId([200; 16]));
        }
        let (Some(footer), Some(marked)) = (footer, self.marked_before.get(&actor)) else { return };
        if footer.refs.iter().any(|r| marked.contains(&r.archive_id)) {
            self.violation = Some(Violation::BuiltOnMarked(name.to_owned()));
        }
    }

    pub(super) fn expire(&mut self, name: &str) {
        if let Some(object) = self.objects.remove(name) {
            self.expired.extend(object.footer.map(|footer| footer.archive_id));
        }
    }

    pub(super) fn copy(&mut self, name: &str) {
        if let Some(object) = self.objects.get_mut(name) {
            object.meta.etag = ETag(format!("{}-copy", object.meta.etag));
        }
    }

    pub(super) fn delete(&mut self, actor: usize, name: &str) {
        let object = self.objects.remove(name).unwrap();
        if name.starts_with(INTENTS_PREFIX) && object.actor != actor {
            self.stalled.insert(object.actor);
        }
        if let Some(footer) = object.footer
            && !self.all_may_go
            && !self.names_may_go.contains(name)
            && !self.may_go.contains(&footer.archive_id)
            && (self.saved.contains(&footer.archive_id) || object.actor != actor)
        {
            self.violation = Some(Violation::Lost(name.to_owned()));
        }
    }

    pub(super) fn wait(&mut self, actor: usize, what: String, waker: Waker) -> u64 {
        self.next_request += 1;
        let id = self.next_request;
        self.pending.push(Pending { actor, id, what, granted: false, waker: Some(waker) });
        id
    }

    pub(super) fn learn(&mut self, actor: usize, what: &str, learned: &str) {
        let mut hasher = DefaultHasher::new();
        (self.histories[actor], what, learned).hash(&mut hasher);
        self.histories[actor] = hasher.finish();
    }

    /// Every entry that a lookup can return can be restored.
    pub(super) fn check(&mut self) {
        if self.violation.is_some() {
            return;
        }
        for (name, object) in &self.objects {
            let Some(footer) = &object.footer else { continue };
            if !self.stands(footer) && !self.is_excused(name, object, footer) {
                self.violation = Some(Violation::Dangles(name.clone()));
                return;
            }
        }
    }

    fn stands(&self, footer: &Footer) -> bool {
        // The archive counts: copies have other ETags. What has expired is nobody's fault: a miss says so.
        footer.refs.iter().all(|r| {
            let archive = self.objects.get(r.name.as_str()).and_then(|object| object.footer.as_ref());
            archive.is_some_and(|archive| archive.archive_id == r.archive_id) || self.expired.contains(&r.archive_id)
        })
    }

    /// A delta that a base hides is not looked at; and a saver that stalled for a day has not yet reported success.
    fn is_excused(&self, name: &str, object: &Object, footer: &Footer) -> bool {
        let base = base_of(&object_name(name));
        let hidden = footer.kind == Kind::Delta && self.objects.contains_key(base.as_str());
        hidden || (self.stalled.contains(&object.actor) && !self.saved.contains(&footer.archive_id))
    }

    /// Everything that the future depends on, as a number.
    pub(super) fn state(&self, alive: &[bool]) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, object) in &self.objects {
            if self.passes_matter || !name.starts_with(PASSES_PREFIX) {
                (name, &object.meta.etag, object.meta.last_modified).hash(&mut hasher);
            }
        }
        (&self.marked, &self.marked_before, &self.expired).hash(&mut hasher);
        (self.clock, &self.histories, alive, &self.stalled, &self.may_go, &self.saved).hash(&mut hasher);
        hasher.finish()
    }
}

/// The object of an archive that has nothing but an end.
pub(super) fn archive(footer: Footer) -> Bytes {
    let index = skippable(INDEX_FRAME, &[]);
    let mut body = index.clone();
    let seek = Seek { stored_bytes: index.len() as u32, raw_bytes: 0 };
    body.extend(encode_end(&footer, &[seek]).unwrap());
    assert_ne!(INDEX_FRAME, FOOTER_FRAME);
    body.into()
}

pub(crate) fn footer(kind: Kind, key: &str, archive_id: ArchiveId, refs: Vec<Ref>) -> Footer {
    Footer {
        archive_id,
        kind,
        key: key.to_owned(),
        created_nanos: 0,
        refs,
        members: 0,
        content_bytes: 0,
        index_offset: 0,
        index_bytes: 0,
        index_raw_bytes: 0,
        index_hash: [0; 32],
    }
}

pub(super) fn footer_of(body: &[u8]) -> Option<Footer> {
    match decode_end(body, body.len() as u64) {
        Ok(End::Ours { footer, .. }) => Some(*footer),
        _ => None,
    }
}

pub(super) fn entry_name(key: &str, kind: Kind) -> ObjectName {
    naming::object_name(None, &key.parse().unwrap(), kind).unwrap()
}

fn base_of(name: &ObjectName) -> ObjectName {
    let (scope, key, _) = naming::parse(name).unwrap();
    naming::object_name(scope.as_ref(), &key, Kind::Base).unwrap()
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dangles(name) => write!(f, "`{name}` is visible and cannot be restored"),
            Self::Lost(name) => write!(f, "`{name}` was deleted though nobody asked for it"),
            Self::Replaced(name) => write!(f, "`{name}` was replaced"),
            Self::BuiltOnMarked(name) => write!(f, "`{name}` builds on what was marked as damaged before"),
            Self::NotRestored(name) => write!(f, "a restore of `{name}` failed though it is still there"),
        }
    }
}
