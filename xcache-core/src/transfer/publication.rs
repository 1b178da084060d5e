//! The requests that publish: create-only where the store honours that, with tags where it takes them, and what their
//! failure proves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use super::retry::backoff;
use crate::convert;
use crate::monitor::{Monitor, Quiet};
use crate::object::ArchiveId;
use crate::object_end::find_archive;
use crate::store::bounds;
use crate::store::probe::Features;
use crate::store::{ETag, Error, ErrorKind, ObjectName, PutMode, Result, Store, Tags, Upload};

/// How often a write is sent that met another one of the same name (HTTP 409).
const CONFLICT_ATTEMPTS: u32 = 5;

/// What is told while an upload runs.
#[derive(Debug)]
pub struct Signals {
    /// Bytes that have arrived, for progress.
    pub sent: AtomicU64,
    /// Whether the object may be there, now or later: what publishes it has been sent, and nothing proves that it failed.
    pub may_be_there: AtomicBool,
    /// Whether what publishes had to be sent without its condition.
    pub is_unconditional: AtomicBool,
    /// To give up, also when all pieces have been made: [`Notify::notify_one`].
    pub cancel: Notify,
    /// Hears of what happened that is not an error of the upload.
    pub monitor: Arc<dyn Monitor>,
}

impl Default for Signals {
    fn default() -> Self {
        Self::new(Arc::new(Quiet))
    }
}

impl Signals {
    /// The signals of an upload that reports to `monitor`.
    pub fn new(monitor: Arc<dyn Monitor>) -> Self {
        Self {
            sent: AtomicU64::new(0),
            may_be_there: AtomicBool::new(false),
            is_unconditional: AtomicBool::new(false),
            cancel: Notify::new(),
            monitor,
        }
    }
}

/// What is to be published.
#[derive(Clone, Debug)]
pub struct NewObject<'a> {
    /// Its name.
    pub name: &'a ObjectName,
    /// Its tags.
    pub tags: &'a Tags,
    /// When it may be written.
    pub mode: PutMode,
    /// The archive that it is: tells it from every other object of that name.
    pub archive_id: ArchiveId,
}

/// A published object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which it is.
    pub etag: ETag,
    /// Its length.
    pub bytes: u64,
    /// In how many parts it went; 1 for one plain request.
    pub parts: u32,
    /// The store or the role takes no tags, and the object has none.
    pub tags_dropped: bool,
}

/// What is published, and how.
pub(super) struct Publication<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) object: NewObject<'a>,
    /// Which conditions the store honours.
    pub(super) features: Features,
    /// Is told whether the object may be there.
    pub(super) signals: Arc<Signals>,
}

impl Publication<'_> {
    /// The mode to send. A store that does not know conditions is asked what is there, as late as possible: the rest
    /// cannot be closed, and a condition that it does not know might make it refuse the request.
    async fn mode(&self, honoured: Honoured) -> Result<PutMode> {
        if honoured.covers(&self.object.mode) {
            return Ok(self.object.mode.clone());
        }
        self.signals.is_unconditional.store(true, Ordering::Relaxed);
        let there = match self.store.head(self.object.name).await {
            Ok(meta) => Some(meta.etag),
            // Who may not list is told "denied" for what is not there.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => None,
            Err(error) => return Err(error),
        };
        match (&self.object.mode, there) {
            (PutMode::Create, Some(_)) => Err(Error::new(ErrorKind::AlreadyExists, "publish", self.object.name)),
            (PutMode::Replace(etag), there) if there.as_ref() != Some(etag) => {
                Err(Error::new(ErrorKind::Changed, "publish", self.object.name))
            }
            _ => Ok(PutMode::Overwrite),
        }
    }

    /// Whether small objects, too, are better sent as parts: without a condition on PutObject the name is free for others
    /// while the whole body is on its way, and with parts only while they are put together.
    pub(super) fn prefers_parts(&self) -> bool {
        !self.features.create_only_put && self.object.mode == PutMode::Create
    }

    /// One request for all of it.
    pub(super) async fn put(&self, body: Bytes) -> Result<Published> {
        let bytes = convert::length(body.len());
        let Features { create_only_put, conditional_put, tags: keeps_tags, .. } = self.features;
        let honoured = Honoured { create: create_only_put, replace: conditional_put };
        let mut tags = if keeps_tags { self.object.tags.clone() } else { Tags::new() };
        let mut tags_dropped = tags != *self.object.tags;
        let mut attempt = 1;
        let etag = loop {
            let mode = self.mode(honoured).await?;
            self.signals.may_be_there.store(true, Ordering::Relaxed);
            match self.store.put(self.object.name, body.clone(), mode, &tags).await {
                Ok(etag) => break etag,
                Err(error) if refuses_tags(&error, &tags) => {
                    tags = Tags::new();
                    tags_dropped = true;
                }
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < CONFLICT_ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(backoff(attempt)).await;
                }
                Err(error) => break self.find_ours(error).await?,
            }
        };
        self.signals.sent.fetch_add(bytes, Ordering::Relaxed);
        Ok(Published { etag, bytes, parts: 1, tags_dropped })
    }

    /// Begins a multipart upload. Also tells whether the tags had to be left out.
    pub(super) async fn begin(&self) -> Result<(Arc<dyn Upload>, bool)> {
        if !self.features.multipart_tags {
            return Ok((self.store.upload(self.object.name, &Tags::new()).await?.into(), !self.object.tags.is_empty()));
        }
        match self.store.upload(self.object.name, self.object.tags).await {
            Ok(upload) => Ok((upload.into(), false)),
            Err(error) if refuses_tags(&error, self.object.tags) => {
                Ok((self.store.upload(self.object.name, &Tags::new()).await?.into(), true))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the published object the tags that its upload had to leave out. Returns whether it is still without them.
    pub(super) async fn tag(&self) -> bool {
        if !self.features.tags_large_objects() {
            return true;
        }
        match self.store.set_tags(self.object.name, self.object.tags).await {
            Ok(()) => false,
            Err(error) => {
                tracing::debug!(%error, "the object has no tags");
                true
            }
        }
    }

    /// The request that makes an object of the parts sent.
    pub(super) async fn complete(&self, upload: &dyn Upload) -> Result<ETag> {
        let Features { create_only_multipart, conditional_multipart, .. } = self.features;
        let honoured = Honoured { create: create_only_multipart, replace: conditional_multipart };
        let mut attempt = 1;
        loop {
            let mode = self.mode(honoured).await?;
            self.signals.may_be_there.store(true, Ordering::Relaxed);
            let error = match self.completed(upload, mode).await {
                Ok(etag) => return Ok(etag),
                Err(error) => error,
            };
            if error.kind() == ErrorKind::Conflict && attempt < CONFLICT_ATTEMPTS {
                attempt += 1;
                tokio::time::sleep(backoff(attempt)).await;
                continue;
            }
            return self.find_ours(error).await;
        }
    }

    /// Waits for the answer to a completion, and looks now and then whether it is done: to put 10,000 parts together takes
    /// a store minutes, and the answer may be lost.
    async fn completed(&self, upload: &dyn Upload, mode: PutMode) -> Result<ETag> {
        let mut answer = std::pin::pin!(upload.complete(mode));
        loop {
            if let Ok(answer) = tokio::time::timeout(bounds::COMPLETE_LOOK, &mut answer).await {
                return answer;
            }
            match find_archive(self.store, self.object.name, self.object.archive_id).await {
                Ok(Some(meta)) => return Ok(meta.etag),
                // A store that answers nothing at all is not waited for any longer.
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// What became of a write that ended with `error`: Ok if our object is there all the same, since only the answer was
    /// lost. Notes whether it may still come.
    async fn find_ours(&self, error: Error) -> Result<ETag> {
        let is_doubtful = matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Other | ErrorKind::NotFound | ErrorKind::Conflict
        );
        if !is_doubtful && !is_lost_race(&error) {
            return Err(error);
        }
        match find_archive(self.store, self.object.name, self.object.archive_id).await {
            Ok(Some(meta)) => return Ok(meta.etag),
            // Another object was first, and ours will not come.
            Ok(None) if is_lost_race(&error) => self.signals.may_be_there.store(false, Ordering::Relaxed),
            // The upload is over and has not become our object: the other one in the conflict won.
            Ok(None)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict)
                    && self.store.head(self.object.name).await.is_ok() =>
            {
                self.signals.may_be_there.store(false, Ordering::Relaxed);
                return Err(Error::new(ErrorKind::AlreadyExists, "publish", self.object.name).source(error));
            }
            Ok(None) => {}
            Err(unknown) => tracing::debug!(%unknown, "what was published is not known"),
        }
        Err(error)
    }

    /// Notes what a failed publication leaves open. `is_aborted`: the upload is over.
    pub(super) async fn settle(&self, is_aborted: bool) {
        if self.signals.may_be_there.load(Ordering::Relaxed) {
            let is_settled = is_aborted && self.is_missing().await;
            self.signals.may_be_there.store(!is_settled, Ordering::Relaxed);
        }
    }

    /// Whether no object has the name. An upload that is over without having left one never will.
    async fn is_missing(&self) -> bool {
        self.store.head(self.object.name).await.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }
}

/// Which conditions the request at hand may have.
#[derive(Clone, Copy)]
struct Honoured {
    create: bool,
    replace: bool,
}

impl Honoured {
    fn covers(self, mode: &PutMode) -> bool {
        match mode {
            PutMode::Create => self.create,
            PutMode::Replace(_) => self.replace,
            PutMode::Overwrite => true,
        }
    }
}

/// Whether an error proves that another object was first.
fn is_lost_race(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Changed)
}

fn refuses_tags(error: &Error, tags: &Tags) -> bool {
    !tags.is_empty() && matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Invalid | ErrorKind::Denied)
}
