//! Stores for the tests of this module: one in memory, and one that fails as told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};

use crate::archive::footer::{Footer, INDEX_FRAME, Seek, encode_end};
use crate::archive::frame::skippable;
use crate::object::{ArchiveId, Kind};
use crate::store::{
    ByteRange, Deletion, Download, ETag, Error, ErrorKind, ListPage, ListedObject, ObjectMeta, ObjectName, Payload,
    PutMode, Result, Store, Tags, Upload,
};

/// Bytes that look the same nowhere.
pub(crate) fn noise(bytes: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(next).collect()
}

/// An object with the end of an archive, after some bytes of noise. Its index is empty.
pub(crate) fn archive(archive_id: u8, noise_bytes: usize) -> Bytes {
    let footer = Footer {
        archive_id: ArchiveId([archive_id; 16]),
        kind: Kind::Base,
        key: "key".to_owned(),
        created_nanos: 0,
        refs: Vec::new(),
        members: 0,
        content_bytes: 0,
        index_offset: noise_bytes as u64,
        index_bytes: 0,
        index_raw_bytes: 0,
        index_hash: *blake3::hash(b"").as_bytes(),
    };
    let mut object = noise(noise_bytes).to_vec();
    object.extend_from_slice(&skippable(INDEX_FRAME, b""));
    let frames = [Seek { stored_bytes: noise_bytes as u32, raw_bytes: 1 }, Seek { stored_bytes: 8, raw_bytes: 0 }];
    object.extend_from_slice(&encode_end(&footer, &frames).unwrap());
    object.into()
}

/// Objects in memory, with the semantics of the contract and a log of requests.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    shared: Arc<Shared>,
    part_time: Duration,
}

#[derive(Default)]
struct Shared {
    objects: Mutex<BTreeMap<ObjectName, Object>>,
    uploads: Mutex<Vec<MemoryUpload>>,
    log: Mutex<Vec<String>>,
    writes: AtomicU32,
    parts_now: AtomicUsize,
    parts_most: AtomicUsize,
}

#[derive(Clone)]
struct Object {
    body: Bytes,
    meta: ObjectMeta,
    tags: Tags,
}

impl MemoryStore {
    /// Parts take so long to arrive.
    pub(crate) fn slow(part_time: Duration) -> Self {
        Self { part_time, ..Self::default() }
    }

    /// The requests since the last time.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.log.lock().unwrap())
    }

    pub(crate) fn most_parts_at_once(&self) -> usize {
        self.shared.parts_most.load(Ordering::SeqCst)
    }

    fn log(&self, request: impl Into<String>) {
        self.shared.log.lock().unwrap().push(request.into());
    }

    fn find(&self, name: &ObjectName) -> Result<Object> {
        self.shared.objects.lock().unwrap().get(name).cloned().ok_or_else(|| Error::not_found("find", name))
    }

    fn write(&self, name: &ObjectName, body: Bytes, mode: &PutMode, tags: &Tags) -> Result<ETag> {
        let mut objects = self.shared.objects.lock().unwrap();
        let there = objects.get(name).map(|object| &object.meta.etag);
        match mode {
            PutMode::Create if there.is_some() => return Err(Error::new(ErrorKind::AlreadyExists, "upload", name)),
            PutMode::Replace(etag) if there != Some(etag) => {
                return Err(Error::new(ErrorKind::Changed, "upload", name));
            }
            _ => {}
        }
        let etag = ETag(format!("etag-{}", self.shared.writes.fetch_add(1, Ordering::SeqCst)));
        let meta = ObjectMeta { size: body.len() as u64, etag: etag.clone(), last_modified: Utc::now() };
        objects.insert(name.clone(), Object { body, meta, tags: tags.clone() });
        Ok(etag)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        self.log(format!("get {range:?}"));
        let Object { body, meta, .. } = self.find(name)?;
        if pin.is_some_and(|pin| *pin != meta.etag) {
            return Err(Error::new(ErrorKind::Changed, "download", name));
        }
        let span = match range {
            ByteRange::Full => 0..meta.size,
            ByteRange::Last(bytes) => meta.size.saturating_sub(bytes)..meta.size,
            ByteRange::Span(span) => span.start..span.end.min(meta.size),
        };
        let (start, end) = (span.start as usize, span.end as usize);
        // In small pieces, as a network brings them.
        let pieces: Vec<_> = body[start..end].chunks(7).map(|piece| Ok(body.slice_ref(piece))).collect();
        Ok(Download { meta, offset: span.start, body: stream::iter(pieces).boxed() })
    }

    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.log("head");
        Ok(self.find(name)?.meta)
    }

    async fn put(&self, name: &ObjectName, body: Bytes, mode: PutMode, tags: &Tags) -> Result<ETag> {
        self.log("put");
        self.write(name, body, &mode, tags)
    }

    async fn upload(&self, name: &ObjectName, tags: &Tags) -> Result<Box<dyn Upload>> {
        self.log("upload");
        let upload =
            MemoryUpload { store: self.clone(), name: name.clone(), tags: tags.clone(), parts: Arc::default() };
        self.shared.uploads.lock().unwrap().push(upload.clone());
        Ok(Box::new(upload))
    }

    async fn list(&self, prefix: &str, _page: Option<&str>) -> Result<ListPage> {
        let objects = self.shared.objects.lock().unwrap();
        let listed = objects.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        let listed = listed.map(|(name, object)| ListedObject { name: name.clone(), meta: object.meta.clone() });
        Ok(ListPage { objects: listed.collect(), next: None })
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let mut objects = self.shared.objects.lock().unwrap();
        let mut delete = |Deletion { name, if_match }: &Deletion| {
            let there = objects.get(name).map(|object| &object.meta.etag);
            match if_match {
                Some(_) if there.is_none() => Err(Error::not_found("delete", name)),
                Some(etag) if there != Some(etag) => Err(Error::new(ErrorKind::Changed, "delete", name)),
                _ => {
                    objects.remove(name);
                    Ok(())
                }
            }
        };
        deletions.iter().map(&mut delete).collect()
    }

    async fn tags(&self, name: &ObjectName) -> Result<Tags> {
        self.log("tags");
        Ok(self.find(name)?.tags)
    }

    async fn set_tags(&self, name: &ObjectName, tags: &Tags) -> Result<()> {
        self.log("set tags");
        match self.shared.objects.lock().unwrap().get_mut(name) {
            Some(object) => {
                object.tags = tags.clone();
                Ok(())
            }
            None => Err(Error::not_found("tag", name)),
        }
    }

    async fn uploads(&self, _prefix: &str) -> Result<Vec<Box<dyn Upload>>> {
        let uploads = self.shared.uploads.lock().unwrap();
        Ok(uploads.iter().cloned().map(|upload| Box::new(upload) as Box<dyn Upload>).collect())
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

#[derive(Clone, Debug)]
struct MemoryUpload {
    store: MemoryStore,
    name: ObjectName,
    tags: Tags,
    parts: Arc<Mutex<BTreeMap<u32, (u64, Bytes)>>>,
}

#[async_trait]
impl Upload for MemoryUpload {
    fn name(&self) -> &ObjectName {
        &self.name
    }

    fn initiated(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn part(&self, number: u32, offset: u64, body: Payload) -> Result<()> {
        self.store.log(format!("part {number}"));
        let shared = &self.store.shared;
        let now = shared.parts_now.fetch_add(1, Ordering::SeqCst) + 1;
        shared.parts_most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.store.part_time).await;
        shared.parts_now.fetch_sub(1, Ordering::SeqCst);
        self.parts.lock().unwrap().insert(number, (offset, body.into_bytes()));
        Ok(())
    }

    async fn complete(&self, mode: PutMode) -> Result<ETag> {
        self.store.log("complete");
        let mut body = Vec::new();
        for (offset, part) in self.parts.lock().unwrap().values() {
            assert_eq!(body.len() as u64, *offset);
            body.extend_from_slice(part);
        }
        if !self.store.shared.uploads.lock().unwrap().iter().any(|other| Arc::ptr_eq(&other.parts, &self.parts)) {
            return Err(Error::not_found("publish", &self.name));
        }
        let etag = self.store.write(&self.name, body.into(), &mode, &self.tags)?;
        self.abort().await?;
        Ok(etag)
    }

    async fn abort(&self) -> Result<()> {
        self.store.shared.uploads.lock().unwrap().retain(|other| !Arc::ptr_eq(&other.parts, &self.parts));
        Ok(())
    }
}

/// What a body does after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// The connection breaks.
    Cut,
    /// It ends as if all were there.
    Short,
    /// Nothing more comes.
    Stall,
    /// A byte comes every second, for ever.
    Trickle,
}

/// What a store does with a condition that it does not honour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conditions {
    /// It writes all the same.
    Ignored,
    /// It refuses the request.
    Refused,
}

/// A memory store that fails as told.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    inner: MemoryStore,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Request, how many pass first, kind of failure, and how many times more.
    failures: Mutex<Vec<(String, u32, ErrorKind, u32)>>,
    refuse_tags: Mutex<Option<ErrorKind>>,
    conditions: Mutex<Option<Conditions>>,
    silent_uploads: Mutex<bool>,
    lose_complete: Mutex<bool>,
    /// A request that is done, and answered with this error all the same.
    lost: Mutex<Option<(String, ErrorKind)>>,
    silent_complete: Mutex<bool>,
    overwrite: Mutex<bool>,
    /// For requests that begin at or after an offset: how many bytes come, then what, and how many times more.
    breaks: Mutex<Vec<(u64, usize, Break, u32)>>,
    wrong_offset: Mutex<bool>,
    /// The next body that holds this byte of the object comes with a bit of it flipped.
    flip: Mutex<Option<u64>>,
}

impl Faulty {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self { inner, faults: Arc::default() }
    }

    /// `request` (as in the log of the inner store) fails so many times.
    pub(crate) fn fail(self, request: &str, kind: ErrorKind, times: u32) -> Self {
        self.faults.failures.lock().unwrap().push((request.to_owned(), 0, kind, times));
        self
    }

    /// `request` is answered so many times and then fails for ever.
    pub(crate) fn fail_after(self, request: &str, passes: u32, kind: ErrorKind) -> Self {
        self.faults.failures.lock().unwrap().push((request.to_owned(), passes, kind, u32::MAX));
        self
    }

    pub(crate) fn refuse_tags(self, kind: ErrorKind) -> Self {
        *self.faults.refuse_tags.lock().unwrap() = Some(kind);
        self
    }

    /// The question for a new upload is never answered.
    pub(crate) fn never_begin_uploads(self) -> Self {
        *self.faults.silent_uploads.lock().unwrap() = true;
        self
    }

    /// Conditions on writes are not honoured.
    pub(crate) fn conditions(self, how: Conditions) -> Self {
        *self.faults.conditions.lock().unwrap() = Some(how);
        self
    }

    fn mode(&self, name: &ObjectName, mode: PutMode) -> Result<PutMode> {
        match *self.faults.conditions.lock().unwrap() {
            Some(Conditions::Ignored) => Ok(PutMode::Overwrite),
            Some(Conditions::Refused) if mode != PutMode::Overwrite => {
                Err(Error::new(ErrorKind::Unsupported, "do", name).detail("no conditions here"))
            }
            _ => Ok(mode),
        }
    }

    /// The first completion is done, but answered as one of an unknown upload, as a second try would be.
    pub(crate) fn lose_answer_of_complete(self) -> Self {
        *self.faults.lose_complete.lock().unwrap() = true;
        self
    }

    /// The first such request is done, but its answer is this error.
    pub(crate) fn lose_answer(self, request: &str, kind: ErrorKind) -> Self {
        *self.faults.lost.lock().unwrap() = Some((request.to_owned(), kind));
        self
    }

    /// Completions are done, and never answered.
    pub(crate) fn never_answer_complete(self) -> Self {
        *self.faults.silent_complete.lock().unwrap() = true;
        self
    }

    /// Fails if the answer to `request`, which has been done, is to be lost.
    fn answer(&self, request: &str, name: &ObjectName) -> Result<()> {
        match self.faults.lost.lock().unwrap().take_if(|(lost, _)| lost == request) {
            Some((_, kind)) => Err(Error::new(kind, "do", name).detail("the answer was lost")),
            None => Ok(()),
        }
    }

    pub(crate) fn overwrite_after_publishing(self) -> Self {
        *self.faults.overwrite.lock().unwrap() = true;
        self
    }

    /// The next `times` bodies that begin at or after `from` break after `bytes` bytes.
    pub(crate) fn break_body(self, from: u64, bytes: usize, how: Break, times: u32) -> Self {
        self.faults.breaks.lock().unwrap().push((from, bytes, how, times));
        self
    }

    pub(crate) fn answer_from_wrong_offset(self) -> Self {
        *self.faults.wrong_offset.lock().unwrap() = true;
        self
    }

    pub(crate) fn flip_once(self, at: u64) -> Self {
        *self.faults.flip.lock().unwrap() = Some(at);
        self
    }

    fn check(&self, request: &str, name: &ObjectName) -> Result<()> {
        let mut failures = self.faults.failures.lock().unwrap();
        match failures.iter_mut().find(|(which, _, _, times)| which == request && *times > 0) {
            Some((_, passes, ..)) if *passes > 0 => {
                *passes -= 1;
                Ok(())
            }
            Some((_, _, kind, times)) => {
                *times -= 1;
                Err(Error::new(*kind, "do", name).detail("told to fail"))
            }
            None => Ok(()),
        }
    }

    fn check_tags(&self, name: &ObjectName, tags: &Tags) -> Result<()> {
        match *self.faults.refuse_tags.lock().unwrap() {
            Some(kind) if !tags.is_empty() => Err(Error::new(kind, "do", name).detail("no tags here")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        self.check("get", name)?;
        let mut download = self.inner.get(name, range, pin).await?;
        if *self.faults.wrong_offset.lock().unwrap() {
            download.offset += 1;
        }
        if let Some(at) = self.faults.flip.lock().unwrap().take_if(|at| *at >= download.offset) {
            let body = std::mem::replace(&mut download.body, stream::empty().boxed());
            let mut position = download.offset;
            let flipped = body.map(move |piece| {
                let mut piece = piece?.to_vec();
                if let Some(byte) = at.checked_sub(position).and_then(|at| piece.get_mut(at as usize)) {
                    *byte ^= 1;
                }
                position += piece.len() as u64;
                Ok(piece.into())
            });
            download.body = flipped.boxed();
        }
        let mut breaks = self.faults.breaks.lock().unwrap();
        let due = breaks.iter_mut().find(|(from, _, _, times)| download.offset >= *from && *times > 0);
        if let Some((_, bytes, how, times)) = due {
            *times -= 1;
            let pieces = bytes.div_ceil(7);
            let (how, name) = (*how, name.clone());
            let end = match how {
                Break::Cut => {
                    let cut = Error::new(ErrorKind::Unavailable, "download", &name).detail("connection closed");
                    stream::iter([Err(cut)]).boxed()
                }
                Break::Short => stream::empty().boxed(),
                Break::Stall => stream::pending().boxed(),
                Break::Trickle => {
                    let pieces = std::mem::replace(&mut download.body, stream::empty().boxed());
                    let bytes = pieces.flat_map(|piece| {
                        let piece = piece.unwrap_or_default();
                        stream::iter((0..piece.len()).map(move |at| Ok(piece.slice(at..=at))).collect::<Vec<_>>())
                    });
                    let slowly = bytes.then(|byte| async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        byte
                    });
                    slowly.boxed()
                }
            };
            download.body = download.body.take(pieces).chain(end).boxed();
        }
        Ok(download)
    }

    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.check("head", name)?;
        self.inner.head(name).await
    }

    async fn put(&self, name: &ObjectName, body: Bytes, mode: PutMode, tags: &Tags) -> Result<ETag> {
        self.check("put", name)?;
        self.check_tags(name, tags)?;
        let mode = self.mode(name, mode)?;
        let etag = self.inner.put(name, body, mode, tags).await?;
        self.answer("put", name)?;
        if *self.faults.overwrite.lock().unwrap() {
            self.inner.put(name, Bytes::from_static(b"other"), PutMode::Overwrite, tags).await?;
        }
        Ok(etag)
    }

    async fn upload(&self, name: &ObjectName, tags: &Tags) -> Result<Box<dyn Upload>> {
        self.check("upload", name)?;
        if *self.faults.silent_uploads.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        self.check_tags(name, tags)?;
        let inner = self.inner.upload(name, tags).await?;
        Ok(Box::new(FaultyUpload { store: self.clone(), inner }))
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        self.inner.list(prefix, page).await
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let mut answers = Vec::new();
        for deletion in deletions {
            answers.push(match self.check("delete", &deletion.name) {
                Ok(()) => self.inner.delete(std::slice::from_ref(deletion)).await.remove(0),
                Err(error) => Err(error),
            });
        }
        answers
    }

    async fn tags(&self, name: &ObjectName) -> Result<Tags> {
        self.check("tags", name)?;
        self.inner.tags(name).await
    }

    async fn set_tags(&self, name: &ObjectName, tags: &Tags) -> Result<()> {
        self.check("set tags", name)?;
        self.check_tags(name, tags)?;
        self.inner.set_tags(name, tags).await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Box<dyn Upload>>> {
        self.inner.uploads(prefix).await
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[derive(Debug)]
struct FaultyUpload {
    store: Faulty,
    inner: Box<dyn Upload>,
}

#[async_trait]
impl Upload for FaultyUpload {
    fn name(&self) -> &ObjectName {
        self.inner.name()
    }

    fn initiated(&self) -> DateTime<Utc> {
        self.inner.initiated()
    }

    async fn part(&self, number: u32, offset: u64, body: Payload) -> Result<()> {
        self.store.check(&format!("part {number}"), self.name())?;
        self.inner.part(number, offset, body).await
    }

    async fn complete(&self, mode: PutMode) -> Result<ETag> {
        self.store.check("complete", self.name())?;
        let mode = self.store.mode(self.name(), mode)?;
        let completed = self.inner.complete(mode).await;
        if *self.store.faults.silent_complete.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        self.store.answer("complete", self.name())?;
        if *self.store.faults.lose_complete.lock().unwrap() {
            return Err(Error::not_found("publish", self.name()));
        }
        completed
    }

    async fn abort(&self) -> Result<()> {
        self.store.check("abort", self.name())?;
        self.inner.abort().await
    }
}
