//! The saver's half of the protocol that keeps gc from taking a ref away: `docs/protocols.md`, "gc".
//!
//! ```text
//! saver                                     gc
//! write the intent                          mark the victim as condemned
//! read the marks, then HEAD the refs        read intents, then entries
//! publish the delta                         delete what is still unneeded
//! look whether the intent is still there    remove the mark
//! ```
//!
//! Each side writes before it reads, so a strongly consistent store shows at least one of them to the other. The order
//! inside [`Intent::note`] matters: a ref that is asked for before the marks have been read may be deleted, and its
//! mark removed, between the two.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::document::IntentDocument;
use crate::naming::{CONDEMNED_PREFIX, MarkId, condemned_name, intent_name, parse_condemned};
use crate::object::{Ref, RunId};
use crate::object_end;
use crate::store::{self, Deletion, ErrorKind, ObjectName, PutMode, Store, Tags};

/// Requests under way at a time: all refs of a delta at once.
const PARALLEL: usize = 32;

/// A saver's note, standing in the store, of the refs that it is about to use.
///
/// Dropping it without [`Intent::settle`] or [`Intent::withdraw`] leaves the note to the next gc, which removes it when
/// it is a day old.
#[derive(Debug)]
#[must_use = "settle it after publishing, or withdraw it"]
pub struct Intent {
    /// None if the note could not be written; then there are no usable refs either.
    name: Option<ObjectName>,
    usable: Vec<Ref>,
    refused: Vec<RefusedRef>,
}

/// A ref that must not be used, or not any more.
#[derive(Clone, Debug)]
pub struct RefusedRef {
    /// Its object.
    pub name: ObjectName,
    /// Why.
    pub why: RefRefusal,
}

/// Why a ref must not be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RefRefusal {
    /// A gc is about to delete it.
    #[error("is condemned")]
    Condemned,
    /// It has been deleted.
    #[error("is gone")]
    Missing,
    /// There is another object under its name.
    #[error("has been replaced")]
    Replaced,
    /// The store did not tell. Not using it is always safe.
    #[error("cannot be checked")]
    Unproven(#[source] Arc<store::Error>),
}

/// Whether a published delta may stay.
#[derive(Clone, Debug)]
#[must_use = "a delta that does not stand must be removed"]
pub enum DeltaVerdict {
    /// Its refs stay as long as it does.
    Stands,
    /// The intent expired while this save stalled, and these refs may be gone: remove the delta
    /// ([`super::remove`]) and save a base.
    Withdraw(Vec<RefusedRef>),
}

impl Intent {
    /// Notes `refs` under `run`, which is unique to this run, and tells which of them may be used: those that are not
    /// condemned, and still the same object. Trouble with the store makes refs unusable; it is never an error.
    ///
    /// One PUT, one LIST, one HEAD for each ref, in this order. While a gc condemns more than one page of objects,
    /// one more HEAD for each ref stands in for the other pages.
    pub async fn note(store: &dyn Store, run: &RunId, refs: Vec<Ref>) -> Self {
        if refs.is_empty() {
            return Self { name: None, usable: refs, refused: Vec::new() };
        }
        let name = intent_name(run);
        let body = IntentDocument::new(&refs).to_bytes();
        match store.put(&name, body, PutMode::Overwrite, &Tags::new()).await {
            Ok(_) => {
                let (usable, refused) = check(store, refs).await;
                Self { name: Some(name), usable, refused }
            }
            Err(error) => {
                let why = RefRefusal::Unproven(Arc::new(error));
                let refused = refs.into_iter().map(|r| RefusedRef { name: r.name, why: why.clone() }).collect();
                Self { name: None, usable: Vec::new(), refused }
            }
        }
    }

    /// The refs that the delta may use, in the order given.
    pub fn usable(&self) -> &[Ref] {
        &self.usable
    }

    /// The others.
    pub fn refused(&self) -> &[RefusedRef] {
        &self.refused
    }

    /// Says, after a delta that uses the refs `used` has been published, whether it may stay. One HEAD and one DELETE
    /// as a rule.
    pub async fn settle(self, store: &dyn Store, used: &[Ref]) -> DeltaVerdict {
        let Some(name) = &self.name else { return DeltaVerdict::Stands };
        if store.head(name).await.is_ok() {
            self.withdraw(store).await;
            return DeltaVerdict::Stands;
        }
        // Expired, or not to be told: whoever looked since then did not count on the intent, but sees the delta.
        let (_, refused) = check(store, used.to_vec()).await;
        self.withdraw(store).await;
        if refused.is_empty() { DeltaVerdict::Stands } else { DeltaVerdict::Withdraw(refused) }
    }

    /// Takes the note away, when no delta is made or when it has served. A failure only leaves it to the next gc.
    pub async fn withdraw(self, store: &dyn Store) {
        if let Some(name) = self.name {
            take_away(store, name).await;
        }
    }

    /// Takes away what a dropped [`Intent::note`] may have left.
    pub async fn forget(store: &dyn Store, run: &RunId) {
        take_away(store, intent_name(run)).await;
    }
}

async fn take_away(store: &dyn Store, name: ObjectName) {
    let deletion = Deletion { name, if_match: None };
    for error in store.delete(&[deletion]).await.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "the intent stays until a gc finds it a day old");
    }
}

/// Sorts refs into those that are neither condemned nor gone, and the others with the reason.
async fn check(store: &dyn Store, refs: Vec<Ref>) -> (Vec<Ref>, Vec<RefusedRef>) {
    let marks = Marks::read(store).await.map_err(Arc::new);
    let answers: Vec<Result<Ref, RefusedRef>> = stream::iter(refs)
        .map(|r| {
            let marks = marks.as_ref();
            async move {
                let checked = match marks {
                    Ok(marks) => usable(store, marks, &r).await,
                    Err(error) => Err(RefRefusal::Unproven(Arc::clone(error))),
                };
                checked.map_err(|why| RefusedRef { name: r.name, why })
            }
        })
        .buffered(PARALLEL)
        .collect()
        .await;
    let mut usable = Vec::new();
    let mut refused = Vec::new();
    for answer in answers {
        match answer {
            Ok(r) => usable.push(r),
            Err(r) => refused.push(r),
        }
    }
    (usable, refused)
}

/// The ref, if it may be used, with the ETag that the object has now.
async fn usable(store: &dyn Store, marks: &Marks, r: &Ref) -> Result<Ref, RefRefusal> {
    let unproven = |error| RefRefusal::Unproven(Arc::new(error));
    if marks.condemn(store, r).await.map_err(unproven)? {
        return Err(RefRefusal::Condemned);
    }
    let there = match store.head(&r.name).await {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(RefRefusal::Missing),
        Err(error) => return Err(unproven(error)),
    };
    match object_end::is_ref(store, r, &there).await {
        Ok(object_end::Verdict::Readable(())) => {}
        Ok(_) => return Err(RefRefusal::Replaced),
        Err(error) => return Err(unproven(error)),
    }
    // A copied store has the same archive under another ETag. What is written now has that one: the old one would cost every
    // reader a second request, for as long as entries are built on this. A mark may be named after it, too; what stands on a
    // page that was not listed cannot be asked for now, after the object, so the ref is not used then.
    let now = Ref { etag: there.etag, ..r.clone() };
    if now.etag != r.etag {
        if !marks.complete {
            return Err(RefRefusal::Replaced);
        }
        if marks.condemn(store, &now).await.map_err(unproven)? {
            return Err(RefRefusal::Condemned);
        }
    }
    Ok(now)
}

/// What is condemned, as far as one request tells.
struct Marks {
    ids: BTreeSet<MarkId>,
    complete: bool,
}

impl Marks {
    async fn read(store: &dyn Store) -> store::Result<Self> {
        let page = store.list(CONDEMNED_PREFIX, None).await?;
        let ids = page.objects.iter().filter_map(|object| parse_condemned(&object.name)).collect();
        Ok(Self { ids, complete: page.next.is_none() })
    }

    /// Whether `r` is condemned; asks the store if the listing did not tell.
    async fn condemn(&self, store: &dyn Store, r: &Ref) -> store::Result<bool> {
        for id in [MarkId::of_archive(&r.name, r.archive_id), MarkId::of_object(&r.name, &r.etag)] {
            if self.ids.contains(&id) {
                return Ok(true);
            }
            if self.complete {
                continue;
            }
            match store.head(&condemned_name(&id)).await {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
