//! The part of a probe that makes an object of parts: conditions and tags there, and conditional deletion.
//!
//! Of an object made of parts, because that is where stores that keep two ETags for one object show it.

use super::{Finding, ProbeFindings, body, no_object, tags};
use crate::store::{Deletion, ETag, Error, ErrorKind, ObjectName, Payload, PutMode, Result, Store, Tags, Upload};

/// Tries it on `name`, which is gone afterwards if it may be deleted.
pub(super) async fn probe_parts(store: &dyn Store, name: &ObjectName) -> Result<ProbeFindings> {
    let mut found = ProbeFindings::new();
    let etag = match store.put(name, body(), PutMode::Overwrite, &Tags::new()).await {
        Ok(etag) => etag,
        Err(error) if error.kind() == ErrorKind::Denied => {
            found.note(|features| &mut features.create_only_multipart, Finding::Denied);
            found.note(|features| &mut features.conditional_multipart, Finding::Denied);
            found.note(|features| &mut features.conditional_delete, Finding::Denied);
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    let mut parts = PartsProbe { store, name, tags: tags(), upload: None, etag };
    let tried = parts.probe(&mut found).await;
    parts.abort().await;
    tried?;
    found.note(|features| &mut features.conditional_delete, probe_deletion(store, name).await?);
    Ok(found)
}

/// An object that is made of parts again and again.
struct PartsProbe<'a> {
    store: &'a dyn Store,
    name: &'a ObjectName,
    /// Those that uploads are begun with.
    tags: Tags,
    /// One that is neither completed nor aborted.
    upload: Option<Box<dyn Upload>>,
    /// Of the object that is there.
    etag: ETag,
}

impl PartsProbe<'_> {
    async fn probe(&mut self, found: &mut ProbeFindings) -> Result<()> {
        if let Err(error) = self.begin().await {
            let without_tags = Finding::of::<()>(Err(error), |()| true)?;
            found.note_unless_denied(|features| &mut features.multipart_tags, without_tags);
            self.tags = Tags::new();
            if let Err(error) = self.begin().await {
                let finding = Finding::of::<()>(Err(error), |()| true)?;
                found.note(|features| &mut features.create_only_multipart, finding);
                found.note(|features| &mut features.conditional_multipart, finding);
                return Ok(());
            }
        }
        self.probe_listing(found).await?;
        let again = self.complete(PutMode::Create).await;
        found.note(|features| &mut features.create_only_multipart, Finding::of_failing(again)?);
        let wrong = Finding::of_failing(self.complete(PutMode::Replace(no_object())).await)?;
        let right = Finding::of(self.complete(PutMode::Replace(self.etag.clone())).await, |()| true)?;
        found.note(|features| &mut features.conditional_multipart, wrong.and(right));
        if right != Finding::Honoured {
            // What comes next is about an object made of parts, whichever way it got there.
            let made = Finding::of(self.complete(PutMode::Overwrite).await, |()| true)?;
            if made != Finding::Honoured {
                return Ok(());
            }
        }
        self.probe_tags(found).await
    }

    /// Whether the upload under way is listed. A role that may not list uploads never needs to.
    async fn probe_listing(&self, found: &mut ProbeFindings) -> Result<()> {
        let listed = self.store.uploads(self.name.as_str()).await;
        let is_listed = |all: &Vec<Box<dyn Upload>>| all.iter().any(|upload| upload.name() == self.name);
        if Finding::of(listed, is_listed)? == Finding::Lacking {
            found.features.list_uploads = false;
        }
        Ok(())
    }

    /// Whether the tags of an upload are those of the object, or can be given to it afterwards.
    async fn probe_tags(&self, found: &mut ProbeFindings) -> Result<()> {
        let are_kept = |kept: &Tags| *kept == tags();
        let mut finding = Finding::Lacking;
        if !self.tags.is_empty() {
            finding = Finding::of(self.store.tags(self.name).await, are_kept)?;
            found.note_unless_denied(|features| &mut features.multipart_tags, finding);
        }
        if finding == Finding::Lacking {
            let kept = match self.store.set_tags(self.name, &tags()).await {
                Ok(()) => self.store.tags(self.name).await,
                Err(error) => Err(error),
            };
            let mut late = Finding::of(kept, are_kept)?;
            // A store that does not know `?tagging` has written the tags over the object, and reads them back from there.
            if late == Finding::Honoured {
                late = Finding::of(self.store.head(self.name).await, |meta| meta.size == body().len() as u64)?;
            }
            found.note_unless_denied(|features| &mut features.late_tags, late);
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<()> {
        let upload = self.store.upload(self.name, &self.tags).await?;
        let sent = upload.part(1, 0, Payload::from(body())).await;
        self.upload = Some(upload);
        sent
    }

    /// Completes an upload. One that has ended with an earlier refusal is begun again.
    async fn complete(&mut self, mode: PutMode) -> Result<()> {
        let mut has_begun = false;
        loop {
            if self.upload.is_none() {
                self.begin().await?;
                has_begun = true;
            }
            let Some(upload) = self.upload.take() else { continue };
            match upload.complete(mode.clone()).await {
                Ok(etag) => {
                    self.etag = etag;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::NotFound && !has_begun => {}
                Err(error) => {
                    self.upload = Some(upload);
                    return Err(error);
                }
            }
        }
    }

    async fn abort(&mut self) {
        if let Some(upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, "an upload of the probe is left behind");
        }
    }
}

/// Whether a deletion is refused for another ETag, and done for the right one.
async fn probe_deletion(store: &dyn Store, name: &ObjectName) -> Result<Finding> {
    let delete = async |etag| {
        let deletion = Deletion { name: name.clone(), if_match: Some(etag) };
        let no_answer = || Err(Error::new(ErrorKind::Corrupt, "delete", name).detail("the store gave no answer"));
        store.delete(&[deletion]).await.pop().unwrap_or_else(no_answer)
    };
    let etag = match store.head(name).await {
        Ok(meta) => meta.etag,
        answer => return Finding::of(answer, |_| true),
    };
    let wrong = Finding::of_failing(delete(no_object()).await)?;
    if wrong != Finding::Honoured {
        return Ok(wrong);
    }
    let right = match delete(etag).await {
        // A role that may not list gets "denied" for what is not there.
        Ok(()) => Ok(store.head(name).await.is_err()),
        Err(error) => Err(error),
    };
    Finding::of(right, |is_gone| *is_gone)
}
