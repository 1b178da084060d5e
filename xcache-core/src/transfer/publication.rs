//! The requests that publish: create-only where the store honours that, with tags where it takes them, and what their
//! failure proves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::part::length;
use super::retry::backoff;
use super::upload::{Published, Signals};
use crate::store::probe::Features;
use crate::store::{ETag, Error, ErrorKind, ObjectName, PutMode, Result, Store, Tags, Upload};

/// How often a write is sent that met another one of the same name (HTTP 409).
const CONFLICT_ATTEMPTS: u32 = 5;

/// What is published, and how.
pub(super) struct Publication<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) name: &'a ObjectName,
    pub(super) tags: &'a Tags,
    pub(super) mode: PutMode,
    /// Which conditions the store honours.
    pub(super) features: Features,
    /// Is told whether the object may be there.
    pub(super) signals: Arc<Signals>,
}

impl Publication<'_> {
    /// The mode to send. A store that does not know conditions is asked what is there, as late as possible: the rest
    /// cannot be closed, and a condition that it does not know might make it refuse the request.
    async fn mode(&self, honoured: Honoured) -> Result<PutMode> {
        if honoured.covers(&self.mode) {
            return Ok(self.mode.clone());
        }
        self.signals.is_unconditional.store(true, Ordering::Relaxed);
        let there = match self.store.head(self.name).await {
            Ok(meta) => Some(meta.etag),
            // Who may not list is told "denied" for what is not there.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => None,
            Err(error) => return Err(error),
        };
        match (&self.mode, there) {
            (PutMode::Create, Some(_)) => Err(Error::new(ErrorKind::AlreadyExists, "publish", self.name)),
            (PutMode::Replace(etag), there) if there.as_ref() != Some(etag) => {
                Err(Error::new(ErrorKind::Changed, "publish", self.name))
            }
            _ => Ok(PutMode::Overwrite),
        }
    }

    /// Whether small objects, too, are better sent as parts: without a condition on PutObject the name is free for others
    /// while the whole body is on its way, and with parts only while they are put together.
    pub(super) fn prefers_parts(&self) -> bool {
        !self.features.create_only_put && self.mode == PutMode::Create
    }

    /// One request for all of it.
    pub(super) async fn put(&self, body: Bytes) -> Result<Published> {
        let bytes = length(body.len());
        let Features { create_only_put, conditional_put, tags: keeps_tags, .. } = self.features;
        let honoured = Honoured { create: create_only_put, replace: conditional_put };
        let mut tags = if keeps_tags { self.tags.clone() } else { Tags::new() };
        let mut tags_dropped = tags != *self.tags;
        let mut attempt = 1;
        let etag = loop {
            let mode = self.mode(honoured).await?;
            self.signals.may_be_there.store(true, Ordering::Relaxed);
            match self.store.put(self.name, body.clone(), mode, &tags).await {
                Ok(etag) => break etag,
                Err(error) if refuses_tags(&error, &tags) => {
                    tags = Tags::new();
                    tags_dropped = true;
                }
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < CONFLICT_ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(backoff(attempt)).await;
                }
                Err(error) => {
                    self.signals.may_be_there.store(!is_lost_race(&error), Ordering::Relaxed);
                    return Err(error);
                }
            }
        };
        self.signals.sent.fetch_add(bytes, Ordering::Relaxed);
        Ok(Published { etag, bytes, parts: 1, tags_dropped })
    }

    /// Begins a multipart upload. Also tells whether the tags had to be left out.
    pub(super) async fn begin(&self) -> Result<(Arc<dyn Upload>, bool)> {
        if !self.features.multipart_tags {
            return Ok((self.store.upload(self.name, &Tags::new()).await?.into(), !self.tags.is_empty()));
        }
        match self.store.upload(self.name, self.tags).await {
            Ok(upload) => Ok((upload.into(), false)),
            Err(error) if refuses_tags(&error, self.tags) => {
                Ok((self.store.upload(self.name, &Tags::new()).await?.into(), true))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the published object the tags that its upload had to leave out. Returns whether it is still without them.
    pub(super) async fn tag(&self) -> bool {
        if !self.features.tags_large_objects() {
            return true;
        }
        match self.store.set_tags(self.name, self.tags).await {
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
            let error = match upload.complete(mode).await {
                Ok(etag) => return Ok(etag),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Conflict if attempt < CONFLICT_ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(backoff(attempt)).await;
                }
                // The upload is over: either our first request was done and its answer lost, or the other one in the
                // conflict won. An object of that name is there in both cases, and the caller finds out whose.
                ErrorKind::NotFound | ErrorKind::Conflict if self.store.head(self.name).await.is_ok() => {
                    return Err(Error::new(ErrorKind::AlreadyExists, "publish", self.name).source(error));
                }
                _ => return Err(error),
            }
        }
    }

    /// Notes what `error`, with which publishing ended, leaves open. `is_aborted`: the upload is over.
    pub(super) async fn settle(&self, error: &Error, is_aborted: bool) {
        if self.signals.may_be_there.load(Ordering::Relaxed) {
            let is_settled = is_lost_race(error) || (is_aborted && self.is_missing().await);
            self.signals.may_be_there.store(!is_settled, Ordering::Relaxed);
        }
    }

    /// Whether no object has the name. An upload that is over without having left one never will.
    async fn is_missing(&self) -> bool {
        self.store.head(self.name).await.is_err_and(|error| error.kind() == ErrorKind::NotFound)
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
