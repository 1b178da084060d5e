//! What a store honours of what we ask for. Real stores differ, and silently: some answer 200 to a second create-only
//! write, some drop tags, some ignore `If-Match` on delete.
//!
//! AWS and directories are taken at their word. Another endpoint is tried once per prefix, with objects of one byte
//! below `.xcache/probe/`, and what was found is remembered in `.xcache/store`. One thing a probe cannot find: whether
//! several create-only completions of multipart uploads *at the same time* exclude each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::unique::unique_name;
use super::{ByteRange, Deletion, ETag, Error, ErrorKind, ObjectName, PutMode, Result, Store, Tags, Upload, collect};

/// What a store honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// `If-None-Match: *` on small writes.
    pub create_only_put: bool,
    /// `If-None-Match: *` on the completion of multipart uploads.
    pub create_only_multipart: bool,
    /// `If-Match` on deletes.
    pub conditional_delete: bool,
    /// Tags.
    pub tags: bool,
}

impl Features {
    /// Everything: AWS and directories.
    pub fn all() -> Self {
        Self { create_only_put: true, create_only_multipart: true, conditional_delete: true, tags: true }
    }
}

/// The document in `.xcache/store`.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    version: u32,
    features: Features,
}

/// Raised when more is probed: older findings are then found again.
const VERSION: u32 = 1;

/// Where findings are kept.
const KNOWN: &str = ".xcache/store";

/// Far more than the document has.
const MAX_REMEMBERED_BYTES: usize = 64 * 1024;

/// What the store honours, from memory or by trying. One request if somebody has tried before, else about ten.
/// Findings that cannot be remembered (a role that may not write there) are found again next time.
pub async fn features(store: &dyn Store) -> Result<Features> {
    if let Some(features) = remembered(store).await? {
        return Ok(features);
    }
    let name = known_name(KNOWN)?;
    let features = probe(store).await?;
    let document = serde_json::to_vec_pretty(&Remembered { version: VERSION, features })
        .map_err(|error| Error::new(ErrorKind::Other, "write", &name).source(error))?;
    if let Err(error) = store.put(&name, Bytes::from(document), PutMode::Overwrite, &Tags::new()).await {
        tracing::debug!(%error, "cannot remember what the store honours");
    }
    Ok(features)
}

/// What somebody found before, if anybody did; nothing is written. One request.
pub async fn remembered(store: &dyn Store) -> Result<Option<Features>> {
    let name = known_name(KNOWN)?;
    let download = match store.get(&name, ByteRange::Full, None).await {
        Ok(download) => download,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let document = collect(download, MAX_REMEMBERED_BYTES).await?;
    match serde_json::from_slice::<Remembered>(&document) {
        Ok(Remembered { version: VERSION, features }) => Ok(Some(features)),
        _ => {
            tracing::debug!("`{name}` is of another version");
            Ok(None)
        }
    }
}

/// Tries everything on one object of its own, which is gone afterwards.
pub async fn probe(store: &dyn Store) -> Result<Features> {
    let name = known_name(&format!(".xcache/probe/{}", unique_name()))?;
    let found = probe_object(store, &name).await;
    let [gone] = <[Result<()>; 1]>::try_from(store.delete(&[Deletion { name: name.clone(), if_match: None }]).await)
        .unwrap_or([Ok(())]);
    if let Err(error) = gone {
        tracing::debug!(%error, "the probe is left behind");
    }
    found
}

async fn probe_object(store: &dyn Store, name: &ObjectName) -> Result<Features> {
    let body = || Bytes::from_static(b"?");
    let asked = Tags::from([("probe".to_owned(), "1".to_owned())]);
    let tags = match store.put(name, body(), PutMode::Create, &asked).await {
        Ok(_) => match store.tags(name).await {
            Ok(kept) => kept == asked,
            Err(error) => refuses(&error).then_some(false).ok_or(error)?,
        },
        Err(error) if refuses(&error) => {
            // Either the tags or the condition: without both the write must work.
            store.put(name, body(), PutMode::Overwrite, &Tags::new()).await?;
            false
        }
        Err(error) => return Err(error),
    };
    let create_only_put = honours(store.put(name, body(), PutMode::Create, &Tags::new()).await)?;
    let upload = store.upload(name, &Tags::new()).await?;
    let create_only_multipart = probe_upload(upload.as_ref()).await;
    if !matches!(create_only_multipart, Ok(false)) {
        upload.abort().await?;
    }
    // No object has this identity.
    let other = ETag("00000000000000000000000000000000".to_owned());
    let deletion = Deletion { name: name.clone(), if_match: Some(other) };
    let conditional_delete = match store.delete(&[deletion]).await.pop() {
        Some(deleted) => honours(deleted)?,
        None => false,
    };
    Ok(Features { create_only_put, create_only_multipart: create_only_multipart?, conditional_delete, tags })
}

async fn probe_upload(upload: &dyn Upload) -> Result<bool> {
    upload.part(1, 0, "?".into()).await?;
    honours(upload.complete(PutMode::Create).await)
}

/// Whether a request whose condition cannot hold was refused for that.
fn honours<T>(answer: Result<T>) -> Result<bool> {
    match answer {
        Ok(_) => Ok(false),
        Err(error) => match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::Changed => Ok(true),
            ErrorKind::Unsupported | ErrorKind::Invalid => Ok(false),
            _ => Err(error),
        },
    }
}

fn refuses(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied | ErrorKind::Invalid)
}

fn known_name(name: &str) -> Result<ObjectName> {
    ObjectName::new(name).map_err(|error| Error::new(ErrorKind::Invalid, "probe", name).source(error))
}
