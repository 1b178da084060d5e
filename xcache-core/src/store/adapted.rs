//! A store that is only asked for what it honours.
//!
//! What a store lacks is found out by [`super::probe`] or by a refusal on the way, and is replaced here, in one place for
//! every caller: a condition by a HEAD right before the request, a range that counts from the end by one that counts from
//! the beginning, a batch of deletions by single ones.
//!
//! A failed condition is believed only if a HEAD agrees. Some stores compare an ETag with another one than they give out
//! (Swift with large objects, Ceph 16 and 18 on writes), and "changed" would then be read as "deleted", or as "another run
//! was first".

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};

use super::probe::Features;
use super::{
    ByteRange, Deletion, Download, ETag, Error, ErrorKind, ListPage, ObjectMeta, ObjectName, Payload, PutMode, Result,
    Store, Tags, Upload,
};

/// Requests under way at a time where one would do if the store had batches.
const PARALLEL: usize = 16;

/// A store together with what it honours. Clones share what has been learned.
#[derive(Clone)]
pub struct Adapted {
    inner: Arc<dyn Store>,
    features: Arc<RwLock<Features>>,
}

impl Adapted {
    /// Wraps `inner`, which is taken to honour `features`.
    pub fn new(inner: Arc<dyn Store>, features: Features) -> Self {
        Self { inner, features: Arc::new(RwLock::new(features)) }
    }

    /// The store itself, for a probe.
    pub fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    /// What the store is taken to honour now.
    pub fn features(&self) -> Features {
        *self.features.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what a probe has found.
    pub fn adopt(&self, features: Features) {
        *self.features.write().unwrap_or_else(PoisonError::into_inner) = features;
    }

    fn learn(&self, lacks: impl FnOnce(&mut Features)) {
        lacks(&mut self.features.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The last `bytes` of an object, by a range that counts from its beginning.
    async fn get_end(&self, name: &ObjectName, bytes: u64, pin: Option<&ETag>) -> Result<Download> {
        let meta = self.inner.head(name).await?;
        if pin.is_some_and(|pin| *pin != meta.etag) {
            return Err(Error::new(ErrorKind::Changed, "download", name));
        }
        if meta.size == 0 {
            return Ok(Download { meta, offset: 0, body: stream::empty().boxed() });
        }
        let span = meta.size.saturating_sub(bytes.max(1))..meta.size;
        self.get_pinned(name, ByteRange::Span(span), Some(&meta.etag)).await
    }

    /// A read that fails if the object is another one, whether the store honours the condition or not.
    async fn get_pinned(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        let condition = pin.filter(|_| self.features().conditional_get);
        let download = match self.inner.get(name, range.clone(), condition).await {
            Err(error)
                if condition.is_some() && matches!(error.kind(), ErrorKind::Changed | ErrorKind::Unsupported) =>
            {
                if self.inner.head(name).await.ok().as_ref().map(|meta| &meta.etag) != condition {
                    return Err(error);
                }
                let download = self.inner.get(name, range, None).await?;
                self.learn(|features| features.conditional_get = false);
                download
            }
            answer => answer?,
        };
        match pin {
            Some(pin) if *pin != download.meta.etag => Err(Error::new(ErrorKind::Changed, "download", name)),
            _ => Ok(download),
        }
    }

    /// Makes sure of what a condition would have made sure of: the most that can be done before an unconditional write.
    async fn check(&self, name: &ObjectName, mode: &PutMode) -> Result<()> {
        let there = match self.inner.head(name).await {
            Ok(meta) => Some(meta.etag),
            // A role that may not list gets "denied" for what is not there.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => None,
            Err(error) => return Err(error),
        };
        match mode {
            PutMode::Create if there.is_some() => Err(Error::new(ErrorKind::AlreadyExists, "publish", name)),
            PutMode::Replace(etag) if there.as_ref() != Some(etag) => {
                Err(Error::new(ErrorKind::Changed, "publish", name))
            }
            _ => Ok(()),
        }
    }

    /// Writes under a condition that the store is taken to honour or not.
    async fn write(&self, name: &ObjectName, mode: PutMode, is_honoured: bool, write: Write<'_>) -> Result<ETag> {
        if mode == PutMode::Overwrite {
            return write.send(mode).await;
        }
        if !is_honoured {
            self.check(name, &mode).await?;
            return write.send(PutMode::Overwrite).await;
        }
        let error = match write.send(mode.clone()).await {
            Err(error) => error,
            written => return written,
        };
        match (&mode, error.kind()) {
            // Nothing proves that no other write is on its way, so this one is sent again rather than without its
            // condition: that is what callers do after a conflict.
            (PutMode::Create, ErrorKind::AlreadyExists)
                if self.inner.head(name).await.is_err_and(|error| error.kind() == ErrorKind::NotFound) =>
            {
                Err(Error::new(ErrorKind::Conflict, "publish", name)
                    .detail("the store refuses it as existing, and does not find it either"))
            }
            (PutMode::Replace(_), ErrorKind::Changed | ErrorKind::Unsupported) => {
                // Not the object that was meant: the refusal was right.
                if self.check(name, &mode).await.is_err() {
                    return Err(error);
                }
                write.send(PutMode::Overwrite).await
            }
            _ => Err(error),
        }
    }

    /// Deletes one object under a condition.
    async fn delete_pinned(&self, name: &ObjectName, etag: &ETag) -> Result<()> {
        let is_honoured = self.features().conditional_delete;
        if !is_honoured {
            self.still_there(name, etag).await?;
            return self.delete_once(name, None).await;
        }
        let mut attempt = 1;
        loop {
            match self.delete_once(name, Some(etag)).await {
                Err(error) if is_absence(&error) => self.still_there(name, etag).await?,
                answer => return answer,
            }
            // It is there, and it is the one. Once more, since any single answer may be wrong.
            if attempt == 2 {
                return Err(Error::new(ErrorKind::Corrupt, "delete", name)
                    .detail("the store refuses it as changed, and it is still the same object")
                    .hint("the store does not compare ETags as it gives them out; remove `.xcache/store` to have it tried again"));
            }
            attempt += 1;
        }
    }

    /// Whether the very object is there; [`ErrorKind::NotFound`] or [`ErrorKind::Changed`] if not.
    async fn still_there(&self, name: &ObjectName, etag: &ETag) -> Result<()> {
        match self.inner.head(name).await {
            Ok(meta) if meta.etag == *etag => Ok(()),
            Ok(_) => Err(Error::new(ErrorKind::Changed, "delete", name)),
            Err(error) => Err(error),
        }
    }

    async fn delete_once(&self, name: &ObjectName, if_match: Option<&ETag>) -> Result<()> {
        let deletion = Deletion { name: name.clone(), if_match: if_match.cloned() };
        let no_answer = || Err(Error::new(ErrorKind::Corrupt, "delete", name).detail("the store gave no answer"));
        self.inner.delete(&[deletion]).await.pop().unwrap_or_else(no_answer)
    }

    /// Deletes without conditions, in batches where there are any.
    async fn delete_unpinned(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        if deletions.len() > 1 && self.features().batch_delete {
            let answers = self.inner.delete(deletions).await;
            let is_refused = |answer: &Result<()>| answer.as_ref().is_err_and(Error::is_refusal);
            if answers.len() == deletions.len() && !answers.iter().all(is_refused) {
                return answers;
            }
            self.learn(|features| features.batch_delete = false);
        }
        let names: Vec<ObjectName> = deletions.iter().map(|deletion| deletion.name.clone()).collect();
        let singly = names.into_iter().map(|name| async move { self.delete_once(&name, None).await });
        stream::iter(singly).buffered(PARALLEL).collect().await
    }
}

/// A request that writes, as often as need be.
enum Write<'a> {
    Put { store: &'a dyn Store, name: &'a ObjectName, body: Bytes, tags: &'a Tags },
    Complete(&'a dyn Upload),
}

impl Write<'_> {
    async fn send(&self, mode: PutMode) -> Result<ETag> {
        match self {
            Self::Put { store, name, body, tags } => store.put(name, body.clone(), mode, tags).await,
            Self::Complete(upload) => upload.complete(mode).await,
        }
    }
}

fn is_absence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed)
}

/// Whether an answer to a range that counts from the end is about another one.
fn is_elsewhere(range: &ByteRange, download: &Download) -> bool {
    match range {
        ByteRange::Last(bytes) => download.offset != download.meta.size.saturating_sub((*bytes).max(1)),
        ByteRange::Full | ByteRange::Span(_) => false,
    }
}

#[async_trait]
impl Store for Adapted {
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        let ByteRange::Last(bytes) = range else { return self.get_pinned(name, range, pin).await };
        if !self.features().suffix_range {
            return self.get_end(name, bytes, pin).await;
        }
        match self.get_pinned(name, range.clone(), pin).await {
            Ok(download) if !is_elsewhere(&range, &download) => return Ok(download),
            Err(error) if !error.is_refusal() => return Err(error),
            Ok(_) => {}
            // A store that refuses everything is not asked twice: its first word says more.
            Err(error) => return self.get_end(name, bytes, pin).await.map_err(|_| error),
        }
        let download = self.get_end(name, bytes, pin).await?;
        self.learn(|features| features.suffix_range = false);
        Ok(download)
    }

    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.inner.head(name).await
    }

    async fn put(&self, name: &ObjectName, body: Bytes, mode: PutMode, tags: &Tags) -> Result<ETag> {
        let features = self.features();
        let is_honoured = match mode {
            PutMode::Create => features.create_only_put,
            PutMode::Replace(_) => features.conditional_put,
            PutMode::Overwrite => true,
        };
        let kept = if features.tags { tags } else { &Tags::new() };
        self.write(name, mode, is_honoured, Write::Put { store: &*self.inner, name, body, tags: kept }).await
    }

    async fn upload(&self, name: &ObjectName, tags: &Tags) -> Result<Box<dyn Upload>> {
        let kept = if self.features().multipart_tags { tags } else { &Tags::new() };
        let inner = self.inner.upload(name, kept).await?;
        Ok(Box::new(AdaptedUpload { store: self.clone(), inner }))
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        self.inner.list(prefix, page).await
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let (pinned, unpinned): (Vec<_>, Vec<_>) =
            deletions.iter().cloned().enumerate().partition(|(_, deletion)| deletion.if_match.is_some());
        let (places, unpinned): (Vec<usize>, Vec<Deletion>) = unpinned.into_iter().unzip();
        let mut answers: Vec<(usize, Result<()>)> =
            places.into_iter().zip(self.delete_unpinned(&unpinned).await).collect();
        let singly = pinned.into_iter().map(|(place, deletion)| async move {
            let Deletion { name, if_match } = deletion;
            let deleted = match &if_match {
                Some(etag) => self.delete_pinned(&name, etag).await,
                None => self.delete_once(&name, None).await,
            };
            (place, deleted)
        });
        answers.extend(stream::iter(singly).buffered(PARALLEL).collect::<Vec<_>>().await);
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn tags(&self, name: &ObjectName) -> Result<Tags> {
        if !self.features().tags {
            return Err(Error::new(ErrorKind::Unsupported, "read tags of", name));
        }
        self.inner.tags(name).await
    }

    async fn set_tags(&self, name: &ObjectName, tags: &Tags) -> Result<()> {
        self.inner.set_tags(name, tags).await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Box<dyn Upload>>> {
        if !self.features().list_uploads {
            return Err(Error::new(ErrorKind::Unsupported, "list uploads of", self));
        }
        self.inner.uploads(prefix).await
    }
}

impl fmt::Display for Adapted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Adapted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapted").field("inner", &self.inner).field("features", &self.features()).finish()
    }
}

#[derive(Debug)]
struct AdaptedUpload {
    store: Adapted,
    inner: Box<dyn Upload>,
}

#[async_trait]
impl Upload for AdaptedUpload {
    fn name(&self) -> &ObjectName {
        self.inner.name()
    }

    fn initiated(&self) -> DateTime<Utc> {
        self.inner.initiated()
    }

    async fn part(&self, number: u32, offset: u64, body: Payload) -> Result<()> {
        self.inner.part(number, offset, body).await
    }

    async fn complete(&self, mode: PutMode) -> Result<ETag> {
        let features = self.store.features();
        let is_honoured = match mode {
            PutMode::Create => features.create_only_multipart,
            PutMode::Replace(_) => features.conditional_multipart,
            PutMode::Overwrite => true,
        };
        self.store.write(self.inner.name(), mode, is_honoured, Write::Complete(&*self.inner)).await
    }

    async fn abort(&self) -> Result<()> {
        self.inner.abort().await
    }
}
