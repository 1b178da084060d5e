//! A store in memory that keeps the contract (the conformance suite holds it to that), with a clock of its own and whatever
//! befalls stores: objects expire, rot, are copied, and requests fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};
use xcache_core::store::{
    ByteRange, Deletion, Download, ETag, Error, ErrorKind, ListPage, ListedObject, ObjectMeta, ObjectName, Payload,
    PutMode, Result, Store, Tags, Upload,
};

/// As many objects as a page of S3 has.
const PAGE: usize = 1_000;
/// A body comes in pieces, as a network brings them.
const PIECE: usize = 48 << 10;

/// What a request meets instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not carried out, and fails.
    Refused,
    /// It is carried out, and its answer is lost.
    AnswerLost,
    /// The object seems not to be there.
    NotFound,
    /// The object seems to be another one.
    Changed,
    /// The body breaks off after this many bytes.
    Cut(usize),
    /// One bit of the body is flipped.
    Flipped(usize),
}

/// Which requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// This many are answered first.
    pub after: u32,
    /// This many fail then.
    pub times: u32,
    /// How.
    pub fault: Fault,
}

/// The store. Clones share the objects.
#[derive(Clone)]
pub struct MemoryStore(Arc<Mutex<Inside>>);

struct Inside {
    objects: BTreeMap<ObjectName, Object>,
    uploads: BTreeMap<u64, Parts>,
    now: DateTime<Utc>,
    /// Numbers ETags and uploads.
    count: u64,
    faults: Option<Faults>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub body: Bytes,
    /// What HEAD tells of it.
    pub meta: ObjectMeta,
    /// Its tags.
    pub tags: Tags,
}

#[derive(Clone)]
struct Parts {
    name: ObjectName,
    initiated: DateTime<Utc>,
    tags: Tags,
    bodies: BTreeMap<u32, Bytes>,
}

impl MemoryStore {
    /// An empty one whose clock shows `now`.
    pub fn new(now: DateTime<Utc>) -> Self {
        let inside = Inside { objects: BTreeMap::new(), uploads: BTreeMap::new(), now, count: 0, faults: None };
        Self(Arc::new(Mutex::new(inside)))
    }

    /// What the clock shows.
    pub fn now(&self) -> DateTime<Utc> {
        self.inside().now
    }

    /// Lets time pass.
    pub fn wait(&self, time: TimeDelta) {
        self.inside().now += time;
    }

    /// From now on these requests fail.
    pub fn fail(&self, faults: Option<Faults>) {
        self.inside().faults = faults;
    }

    /// What is there, past the requests.
    pub fn objects(&self) -> BTreeMap<ObjectName, Object> {
        self.inside().objects.clone()
    }

    /// How many multipart uploads are under way.
    pub fn uploads_under_way(&self) -> usize {
        self.inside().uploads.len()
    }

    /// The store's own rule, or a person, takes an object away.
    pub fn expire(&self, name: &ObjectName) {
        self.inside().objects.remove(name);
    }

    /// Flips a bit of an object on its disk, so many thousandths from its beginning; the ETag is still the same.
    pub fn rot(&self, name: &ObjectName, at: usize, bit: u32) {
        let mut inside = self.inside();
        let object = inside.objects.get_mut(name).expect("an object that is there");
        let mut body = object.body.to_vec();
        let at = body.len() * (at % 1_000) / 1_000;
        body[at] ^= 1 << (bit % 8);
        object.body = body.into();
    }

    /// All objects are copied to another bucket: each is a new object with the same content and tags.
    pub fn copy(&self) {
        let mut inside = self.inside();
        let names: Vec<ObjectName> = inside.objects.keys().cloned().collect();
        for name in names {
            let Object { body, tags, .. } = inside.objects[&name].clone();
            inside.write(&name, body, tags);
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that this request meets, if any.
    fn fault(&self) -> Option<Fault> {
        let mut inside = self.inside();
        let faults = inside.faults.as_mut()?;
        if faults.after > 0 {
            faults.after -= 1;
            return None;
        }
        faults.times = faults.times.checked_sub(1)?;
        Some(faults.fault)
    }

    /// A request that changes something.
    fn change<T>(
        &self,
        what: &'static str,
        name: &ObjectName,
        act: impl FnOnce(&mut Inside) -> Result<T>,
    ) -> Result<T> {
        let fail = || Error::new(ErrorKind::Unavailable, what, name).detail("the test lets it fail");
        match self.fault() {
            Some(Fault::AnswerLost) => act(&mut self.inside()).and_then(|_| Err(fail())),
            Some(Fault::NotFound) => Err(Error::not_found(what, name)),
            Some(Fault::Changed) => Err(Error::new(ErrorKind::Changed, what, name)),
            Some(Fault::Refused | Fault::Cut(_) | Fault::Flipped(_)) => Err(fail()),
            None => act(&mut self.inside()),
        }
    }

    /// A request that only looks: there is no difference between a lost answer and none.
    fn look<T>(&self, what: &'static str, name: &ObjectName, look: impl FnOnce(&Inside) -> Result<T>) -> Result<T> {
        self.change(what, name, |inside| look(inside))
    }
}

impl Inside {
    fn find(&self, what: &'static str, name: &ObjectName) -> Result<&Object> {
        self.objects.get(name).ok_or_else(|| Error::not_found(what, name))
    }

    fn write(&mut self, name: &ObjectName, body: Bytes, tags: Tags) -> ETag {
        self.count += 1;
        let etag = ETag(format!("etag-{}", self.count));
        let meta = ObjectMeta { size: body.len() as u64, etag: etag.clone(), last_modified: self.now.trunc_subsecs(0) };
        self.objects.insert(name.clone(), Object { body, meta, tags });
        etag
    }

    fn publish(&mut self, name: &ObjectName, body: Bytes, mode: &PutMode, tags: &Tags) -> Result<ETag> {
        let there = self.objects.get(name).map(|object| &object.meta.etag);
        match mode {
            PutMode::Create if there.is_some() => Err(Error::new(ErrorKind::AlreadyExists, "publish", name)),
            PutMode::Replace(etag) if there != Some(etag) => Err(Error::new(ErrorKind::Changed, "publish", name)),
            _ => Ok(self.write(name, body, tags.clone())),
        }
    }

    fn delete(&mut self, Deletion { name, if_match }: &Deletion) -> Result<()> {
        let there = self.objects.get(name).map(|object| &object.meta.etag);
        match if_match {
            Some(_) if there.is_none() => Err(Error::not_found("delete", name)),
            Some(etag) if there != Some(etag) => Err(Error::new(ErrorKind::Changed, "delete", name)),
            _ => {
                self.objects.remove(name);
                Ok(())
            }
        }
    }
}

/// The bytes of `range` in an object of `size`.
fn span(name: &ObjectName, range: ByteRange, size: u64) -> Result<std::ops::Range<usize>> {
    let span = match range {
        ByteRange::Full => 0..size,
        ByteRange::Last(bytes) => size.saturating_sub(bytes)..size,
        ByteRange::Span(span) if span.start >= size => {
            return Err(Error::new(ErrorKind::Invalid, "download", name).detail("the range begins past the end"));
        }
        ByteRange::Span(span) => span.start..span.end.min(size),
    };
    let index = |at| usize::try_from(at).expect("an object in memory");
    Ok(index(span.start)..index(span.end))
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        let fault = self.fault();
        let Object { body, meta, .. } = match fault {
            Some(Fault::NotFound) => return Err(Error::not_found("download", name)),
            Some(Fault::Changed) => return Err(Error::new(ErrorKind::Changed, "download", name)),
            Some(Fault::Refused | Fault::AnswerLost) => {
                return Err(Error::new(ErrorKind::Unavailable, "download", name));
            }
            Some(Fault::Cut(_) | Fault::Flipped(_)) | None => self.inside().find("download", name)?.clone(),
        };
        if pin.is_some_and(|pin| *pin != meta.etag) {
            return Err(Error::new(ErrorKind::Changed, "download", name));
        }
        let span = span(name, range, meta.size)?;
        let offset = span.start as u64;
        let mut body = body.slice(span);
        if let (Some(Fault::Flipped(at)), false) = (fault, body.is_empty()) {
            let mut flipped = body.to_vec();
            flipped[at % body.len()] ^= 1;
            body = flipped.into();
        }
        let mut pieces: Vec<_> = Vec::new();
        if let (Some(Fault::Cut(at)), false) = (fault, body.is_empty()) {
            body.truncate(at % body.len());
            pieces.push(Err(Error::new(ErrorKind::Unavailable, "download", name).detail("the connection broke")));
        }
        pieces.extend(body.chunks(PIECE).rev().map(|piece| Ok(body.slice_ref(piece))));
        pieces.reverse();
        Ok(Download { meta, offset, body: stream::iter(pieces).boxed() })
    }

    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.look("look at", name, |inside| Ok(inside.find("look at", name)?.meta.clone()))
    }

    async fn put(&self, name: &ObjectName, body: Bytes, mode: PutMode, tags: &Tags) -> Result<ETag> {
        self.change("publish", name, |inside| inside.publish(name, body, &mode, tags))
    }

    async fn upload(&self, name: &ObjectName, tags: &Tags) -> Result<Box<dyn Upload>> {
        let begun = self.change("upload", name, |inside| {
            inside.count += 1;
            let (number, initiated) = (inside.count, inside.now);
            let parts = Parts { name: name.clone(), initiated, tags: tags.clone(), bodies: BTreeMap::new() };
            inside.uploads.insert(number, parts);
            Ok(MemoryUpload { store: self.clone(), number, name: name.clone(), initiated })
        })?;
        Ok(Box::new(begun))
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        if let Some(Fault::Refused | Fault::AnswerLost | Fault::NotFound | Fault::Cut(_)) = self.fault() {
            return Err(Error::new(ErrorKind::Unavailable, "list", prefix));
        }
        let inside = self.inside();
        let after = |name: &ObjectName| page.is_none_or(|last| name.as_str() > last);
        let listed = inside.objects.iter().filter(|(name, _)| name.as_str().starts_with(prefix) && after(name));
        let listed = listed.map(|(name, object)| ListedObject { name: name.clone(), meta: object.meta.clone() });
        let mut objects: Vec<_> = listed.take(PAGE + 1).collect();
        let next = (objects.len() > PAGE).then(|| {
            objects.truncate(PAGE);
            objects[PAGE - 1].name.to_string()
        });
        Ok(ListPage { objects, next })
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let delete = |d: &Deletion| self.change("delete", &d.name, |inside| inside.delete(d));
        deletions.iter().map(delete).collect()
    }

    async fn tags(&self, name: &ObjectName) -> Result<Tags> {
        self.look("read the tags of", name, |inside| Ok(inside.find("read the tags of", name)?.tags.clone()))
    }

    async fn set_tags(&self, name: &ObjectName, tags: &Tags) -> Result<()> {
        self.change("tag", name, |inside| match inside.objects.get_mut(name) {
            Some(object) => {
                object.tags = tags.clone();
                Ok(())
            }
            None => Err(Error::not_found("tag", name)),
        })
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Box<dyn Upload>>> {
        let inside = self.inside();
        let found = inside.uploads.iter().filter(|(_, parts)| parts.name.as_str().starts_with(prefix));
        let found = found.map(|(&number, Parts { name, initiated, .. })| {
            let upload = MemoryUpload { store: self.clone(), number, name: name.clone(), initiated: *initiated };
            Box::new(upload) as Box<dyn Upload>
        });
        Ok(found.collect())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory:")
    }
}

#[derive(Debug)]
struct MemoryUpload {
    store: MemoryStore,
    number: u64,
    name: ObjectName,
    initiated: DateTime<Utc>,
}

#[async_trait]
impl Upload for MemoryUpload {
    fn name(&self) -> &ObjectName {
        &self.name
    }

    fn initiated(&self) -> DateTime<Utc> {
        self.initiated
    }

    async fn part(&self, number: u32, _offset: u64, body: Payload) -> Result<()> {
        let body = body.into_bytes();
        self.store.change("upload a part of", &self.name, |inside| match inside.uploads.get_mut(&self.number) {
            Some(parts) => {
                parts.bodies.insert(number, body);
                Ok(())
            }
            None => Err(Error::not_found("upload a part of", &self.name)),
        })
    }

    async fn complete(&self, mode: PutMode) -> Result<ETag> {
        self.store.change("publish", &self.name, |inside| {
            let Some(Parts { tags, bodies, .. }) = inside.uploads.get(&self.number).cloned() else {
                return Err(Error::not_found("publish", &self.name));
            };
            let body: Vec<u8> = bodies.values().flat_map(|part| part.iter().copied()).collect();
            let etag = inside.publish(&self.name, body.into(), &mode, &tags)?;
            inside.uploads.remove(&self.number);
            Ok(etag)
        })
    }

    async fn abort(&self) -> Result<()> {
        self.store.change("abort the upload of", &self.name, |inside| {
            inside.uploads.remove(&self.number);
            Ok(())
        })
    }
}
