//! What a store honours of what we ask for. Real stores differ, and silently: some answer 200 to a second create-only
//! write, some drop tags, some refuse the very ETag that they gave out. `docs/stores.md` has what is known of each.
//!
//! AWS and directories are taken at their word. Another endpoint is tried once per prefix, with three small objects below
//! `.xcache/probe/`, and what was found is remembered in `.xcache/store`. One thing a probe cannot find: whether several
//! create-only completions of multipart uploads *at the same time* exclude each other.
//!
//! An answer that makes no sense counts as lacking. A role that may not try something finds out nothing about the store,
//! and remembers nothing for others.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::unique::unique_name;
use crate::naming::PROBES_PREFIX;

use super::{ByteRange, Deletion, ETag, Error, ErrorKind, ObjectName, PutMode, Result, Store, Tags, collect};

mod parts;
#[cfg(test)]
mod tests;

/// What a store honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// `If-None-Match: *` on PutObject.
    pub create_only_put: bool,
    /// `If-None-Match: *` on CompleteMultipartUpload.
    pub create_only_multipart: bool,
    /// `If-Match` on PutObject.
    pub conditional_put: bool,
    /// `If-Match` on CompleteMultipartUpload.
    pub conditional_multipart: bool,
    /// `If-Match` on GetObject.
    pub conditional_get: bool,
    /// `If-Match` on DeleteObject.
    pub conditional_delete: bool,
    /// Ranges that count from the end.
    pub suffix_range: bool,
    /// Tags on PutObject.
    pub tags: bool,
    /// Tags on CreateMultipartUpload.
    pub multipart_tags: bool,
    /// PutObjectTagging, for objects whose tags were not kept when they were made.
    pub late_tags: bool,
    /// ListMultipartUploads.
    pub list_uploads: bool,
    /// DeleteObjects.
    pub batch_delete: bool,
}

impl Features {
    /// Everything: AWS and directories.
    pub const fn all() -> Self {
        Self {
            create_only_put: true,
            create_only_multipart: true,
            conditional_put: true,
            conditional_multipart: true,
            conditional_get: true,
            conditional_delete: true,
            suffix_range: true,
            tags: true,
            multipart_tags: true,
            late_tags: true,
            list_uploads: true,
            batch_delete: true,
        }
    }

    /// Whether large objects can have tags, given when they are made or afterwards.
    pub fn tags_large_objects(&self) -> bool {
        self.tags && (self.multipart_tags || self.late_tags)
    }

    /// What both have.
    fn and(self, other: Self) -> Self {
        Self {
            create_only_put: self.create_only_put && other.create_only_put,
            create_only_multipart: self.create_only_multipart && other.create_only_multipart,
            conditional_put: self.conditional_put && other.conditional_put,
            conditional_multipart: self.conditional_multipart && other.conditional_multipart,
            conditional_get: self.conditional_get && other.conditional_get,
            conditional_delete: self.conditional_delete && other.conditional_delete,
            suffix_range: self.suffix_range && other.suffix_range,
            tags: self.tags && other.tags,
            multipart_tags: self.multipart_tags && other.multipart_tags,
            late_tags: self.late_tags && other.late_tags,
            list_uploads: self.list_uploads && other.list_uploads,
            batch_delete: self.batch_delete && other.batch_delete,
        }
    }
}

/// The document in `.xcache/store`.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    version: u32,
    features: Features,
}

/// Raised when more or better is probed: older findings are then found again.
const VERSION: u32 = 3;

/// Where findings are kept.
const KNOWN: &str = ".xcache/store";

/// Far more than the document has.
const MAX_REMEMBERED_BYTES: usize = 64 * 1024;

/// What the store honours, from memory or by trying. One request if another run has tried before, else about 25.
///
/// What this role may not try counts as not honoured, but for tags: they count as honoured, so that whoever depends on
/// them asks for them and is told that they are denied.
pub async fn features(store: &dyn Store) -> Result<Features> {
    Ok(find(store).await?.features)
}

/// As [`features`], with whether everything could be tried.
pub async fn find(store: &dyn Store) -> Result<ProbeFindings> {
    if let Some(features) = remembered(store).await? {
        return Ok(ProbeFindings { features, is_certain: true });
    }
    let found = probe(store).await?;
    if found.is_certain {
        remember(store, found.features).await?;
    } else {
        tracing::debug!("this role may not try what the store honours: {found:?}");
    }
    Ok(found)
}

/// What another run found before, if any did; nothing is written. One request.
pub async fn remembered(store: &dyn Store) -> Result<Option<Features>> {
    let name = known_name(KNOWN)?;
    let read = async || collect(store.get(&name, ByteRange::Full, None).await?, MAX_REMEMBERED_BYTES).await;
    let document = match read().await {
        // A body that broke on the way.
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt) => read().await,
        document => document,
    };
    let document = match document {
        Ok(document) => document,
        // A role that may not list gets "denied" for what is not there.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => return Ok(None),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice::<Remembered>(&document) {
        Ok(Remembered { version: VERSION, features }) => Ok(Some(features)),
        _ => {
            tracing::debug!("`{name}` is of another version");
            Ok(None)
        }
    }
}

/// A role that may not write there finds the same again next time.
async fn remember(store: &dyn Store, features: Features) -> Result<()> {
    let name = known_name(KNOWN)?;
    let document = serde_json::to_vec_pretty(&Remembered { version: VERSION, features })
        .map_err(|error| Error::new(ErrorKind::Other, "write", &name).source(error))?;
    if let Err(error) = store.put(&name, Bytes::from(document), PutMode::Overwrite, &Tags::new()).await {
        tracing::debug!(%error, "cannot remember what the store honours");
    }
    Ok(())
}

/// What came of trying something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Honoured,
    Lacking,
    /// This role may not try it; another one may.
    Denied,
}

impl Finding {
    /// Of an answer that is right if `is_right` says so; a refusal and nonsense count as lacking, silence as a failure.
    fn of<T>(answer: Result<T>, is_right: impl FnOnce(&T) -> bool) -> Result<Self> {
        match answer {
            Ok(answer) if is_right(&answer) => Ok(Self::Honoured),
            Ok(_) => Ok(Self::Lacking),
            Err(error) if error.kind() == ErrorKind::Denied => Ok(Self::Denied),
            Err(error) if error.is_refusal() || is_condition(&error) || error.kind() == ErrorKind::NotFound => {
                Ok(Self::Lacking)
            }
            Err(error) => Err(error),
        }
    }

    /// Of a request whose condition cannot hold: only its failing is right.
    fn of_failing<T>(answer: Result<T>) -> Result<Self> {
        match answer {
            Err(error) if is_condition(&error) => Ok(Self::Honoured),
            answer => Self::of(answer, |_| false),
        }
    }

    /// Honoured if both are.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Denied, _) | (_, Self::Denied) => Self::Denied,
            (Self::Honoured, Self::Honoured) => Self::Honoured,
            _ => Self::Lacking,
        }
    }
}

fn is_condition(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Changed)
}

/// What came of trying everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeFindings {
    /// What the store honours; what could not be tried counts as lacking.
    pub features: Features,
    /// Whether everything could be tried. If not, this role may not, and nothing is known of the store.
    pub is_certain: bool,
}

impl ProbeFindings {
    fn new() -> Self {
        Self { features: Features::all(), is_certain: true }
    }

    fn note(&mut self, feature: impl FnOnce(&mut Features) -> &mut bool, finding: Finding) {
        if finding != Finding::Honoured {
            *feature(&mut self.features) = false;
        }
        self.is_certain &= finding != Finding::Denied;
    }

    /// The same for what counts as honoured until it is refused to the one who needs it.
    fn note_unless_denied(&mut self, feature: impl FnOnce(&mut Features) -> &mut bool, finding: Finding) {
        if finding == Finding::Lacking {
            *feature(&mut self.features) = false;
        }
        self.is_certain &= finding != Finding::Denied;
    }

    fn and(self, other: Self) -> Self {
        Self { features: self.features.and(other.features), is_certain: self.is_certain && other.is_certain }
    }
}

/// Tries everything on objects of its own, which are gone afterwards if they may be deleted.
async fn probe(store: &dyn Store) -> Result<ProbeFindings> {
    let name = |what| known_name(&format!("{PROBES_PREFIX}{}-{what}", unique_name()));
    let names = [name("put")?, name("tags")?, name("parts")?];
    let [put, tags, parts] = &names;
    let (put, tags, parts) =
        tokio::join!(probe_put(store, put), probe_tags(store, tags), parts::probe_parts(store, parts));
    let has_batches = clean_up(store, &names).await;
    // The plain write comes first: if that fails, its error says most.
    let mut found = put?.and(tags?).and(parts?);
    found.features.batch_delete = has_batches;
    Ok(found)
}

/// Conditions on small writes and on reads, and ranges.
async fn probe_put(store: &dyn Store, name: &ObjectName) -> Result<ProbeFindings> {
    let mut found = ProbeFindings::new();
    let put = async |mode| store.put(name, body(), mode, &Tags::new()).await;
    let mut etag = match put(PutMode::Create).await {
        Ok(etag) => etag,
        Err(error) if error.kind() == ErrorKind::Denied => {
            found.note(|features| &mut features.create_only_put, Finding::Denied);
            found.note(|features| &mut features.conditional_put, Finding::Denied);
            return Ok(found);
        }
        Err(error) if error.is_refusal() || is_condition(&error) => {
            found.note(|features| &mut features.create_only_put, Finding::Lacking);
            put(PutMode::Overwrite).await?
        }
        Err(error) => return Err(error),
    };
    if found.features.create_only_put {
        let again = written(put(PutMode::Create).await, &mut etag);
        found.note(|features| &mut features.create_only_put, Finding::of_failing(again)?);
    }
    let wrong = written(put(PutMode::Replace(no_object())).await, &mut etag);
    let right = written(put(PutMode::Replace(etag.clone())).await, &mut etag);
    let finding = Finding::of_failing(wrong)?.and(Finding::of(right, |()| true)?);
    found.note(|features| &mut features.conditional_put, finding);

    let end = async |bytes: usize| {
        let whole = BODY.len();
        let download = store.get(name, ByteRange::Last(bytes as u64), None).await?;
        let start = whole.saturating_sub(bytes);
        let is_in_place = download.offset == start as u64 && download.meta.size == whole as u64;
        Ok(is_in_place && collect(download, MAX_REMEMBERED_BYTES).await? == BODY[start..])
    };
    let short = Finding::of(end(BODY.len() / 2).await, |is_right| *is_right)?;
    let long = Finding::of(end(BODY.len() * 100).await, |is_right| *is_right)?;
    found.note(|features| &mut features.suffix_range, short.and(long));
    let pinned = store.get(name, ByteRange::Full, Some(&etag)).await;
    found.note(|features| &mut features.conditional_get, Finding::of(pinned, |_| true)?);
    Ok(found)
}

/// Tags on small writes. Without a condition: a refusal would not say which of the two it is for.
async fn probe_tags(store: &dyn Store, name: &ObjectName) -> Result<ProbeFindings> {
    let mut found = ProbeFindings::new();
    let kept = match store.put(name, body(), PutMode::Overwrite, &tags()).await {
        Ok(_) => store.tags(name).await,
        Err(error) => Err(error),
    };
    found.note_unless_denied(|features| &mut features.tags, Finding::of(kept, |kept| *kept == tags())?);
    Ok(found)
}

/// Removes what a probe has written, all at once. Returns whether that is how it went.
async fn clean_up(store: &dyn Store, names: &[ObjectName]) -> bool {
    let deletions: Vec<Deletion> = names.iter().map(|name| Deletion { name: name.clone(), if_match: None }).collect();
    let answers = store.delete(&deletions).await;
    let is_refused =
        answers.len() != names.len() || answers.iter().flat_map(|a| a.as_ref().err()).any(Error::is_refusal);
    let is_there = !is_refused && store.head(&names[0]).await.is_ok() && answers[0].is_ok();
    if is_refused || is_there {
        for deletion in &deletions {
            for error in store.delete(std::slice::from_ref(deletion)).await.into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "the probe is left behind");
            }
        }
    }
    !(is_refused || is_there)
}

/// Notes which object is there now.
fn written(answer: Result<ETag>, etag: &mut ETag) -> Result<()> {
    answer.map(|new| *etag = new)
}

/// What the objects of a probe hold: enough to have a beginning and an end.
const BODY: &[u8] = b"xcache tries what this store honours";

fn body() -> Bytes {
    Bytes::from_static(BODY)
}

fn tags() -> Tags {
    Tags::from([("probe".to_owned(), "1".to_owned())])
}

/// No object has this identity.
fn no_object() -> ETag {
    ETag("00000000000000000000000000000000".to_owned())
}

fn known_name(name: &str) -> Result<ObjectName> {
    ObjectName::new(name).map_err(|error| Error::new(ErrorKind::Invalid, "probe", name).source(error))
}
