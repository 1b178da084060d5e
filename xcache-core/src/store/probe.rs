//! What a store honours of what we ask for. Real stores differ, and silently: some answer 200 to a second create-only
//! write, some drop tags, some ignore `If-Match` on delete.
//!
//! AWS and directories are taken at their word. Another endpoint is tried once per prefix, with objects of one byte
//! below `.xcache/probe/`, and what was found is remembered in `.xcache/store`. One thing a probe cannot find: whether
//! several create-only completions of multipart uploads *at the same time* exclude each other.
//!
//! A role that may not try something finds out nothing about the store, and remembers nothing for others.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::unique::unique_name;
use super::{ByteRange, Deletion, ETag, Error, ErrorKind, ObjectName, PutMode, Result, Store, Tags, collect};

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
    pub const fn all() -> Self {
        Self { create_only_put: true, create_only_multipart: true, conditional_delete: true, tags: true }
    }
}

/// The document in `.xcache/store`.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    version: u32,
    features: Features,
}

/// Raised when more or better is probed: older findings are then found again.
const VERSION: u32 = 2;

/// Where findings are kept.
const KNOWN: &str = ".xcache/store";

/// Far more than the document has.
const MAX_REMEMBERED_BYTES: usize = 64 * 1024;

/// What the store honours, from memory or by trying. One request if somebody has tried before, else about ten.
///
/// What this role may not try counts as not honoured, but for tags: they count as honoured, so that whoever depends on
/// them asks for them and is told that they are denied.
pub async fn features(store: &dyn Store) -> Result<Features> {
    if let Some(features) = remembered(store).await? {
        return Ok(features);
    }
    let found = probe(store).await?;
    match found.certain() {
        Some(features) => remember(store, features).await?,
        None => tracing::debug!("this role may not try what the store honours: {found:?}"),
    }
    Ok(found.features())
}

/// What somebody found before, if anybody did; nothing is written. One request.
pub async fn remembered(store: &dyn Store) -> Result<Option<Features>> {
    let name = known_name(KNOWN)?;
    let download = match store.get(&name, ByteRange::Full, None).await {
        Ok(download) => download,
        // Who may not list is told "denied" for what is not there.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => return Ok(None),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Findings {
    create_only_put: Finding,
    create_only_multipart: Finding,
    conditional_delete: Finding,
    tags: Finding,
}

impl Findings {
    fn features(self) -> Features {
        let Self { create_only_put, create_only_multipart, conditional_delete, tags } = self;
        Features {
            create_only_put: create_only_put == Finding::Honoured,
            create_only_multipart: create_only_multipart == Finding::Honoured,
            conditional_delete: conditional_delete == Finding::Honoured,
            tags: tags != Finding::Lacking,
        }
    }

    /// The features, if everything could be tried.
    fn certain(self) -> Option<Features> {
        let Self { create_only_put, create_only_multipart, conditional_delete, tags } = self;
        let all = [create_only_put, create_only_multipart, conditional_delete, tags];
        (!all.contains(&Finding::Denied)).then(|| self.features())
    }
}

/// Tries everything on one object of its own, which is gone afterwards if it may be deleted.
async fn probe(store: &dyn Store) -> Result<Findings> {
    let name = known_name(&format!(".xcache/probe/{}", unique_name()))?;
    let found = probe_object(store, &name).await;
    for answer in store.delete(&[Deletion { name, if_match: None }]).await {
        if let Err(error) = answer {
            tracing::debug!(%error, "the probe is left behind");
        }
    }
    found
}

async fn probe_object(store: &dyn Store, name: &ObjectName) -> Result<Findings> {
    let tags = probe_tags(store, name).await?;
    if tags == Finding::Denied {
        // With the tags gone, at least there is something for the conditions to meet.
        match store.put(name, body(), PutMode::Overwrite, &Tags::new()).await {
            Err(error) if error.kind() == ErrorKind::Denied => {
                let denied = Finding::Denied;
                return Ok(Findings {
                    create_only_put: denied,
                    create_only_multipart: denied,
                    conditional_delete: denied,
                    tags,
                });
            }
            written => written?,
        };
    }
    let create_only_put = honours(store.put(name, body(), PutMode::Create, &Tags::new()).await)?;
    let create_only_multipart = probe_upload(store, name).await?;
    // No object has this identity.
    let other = ETag("00000000000000000000000000000000".to_owned());
    let deletion = Deletion { name: name.clone(), if_match: Some(other) };
    let conditional_delete = match store.delete(&[deletion]).await.pop() {
        Some(deleted) => honours(deleted)?,
        None => Finding::Lacking,
    };
    Ok(Findings { create_only_put, create_only_multipart, conditional_delete, tags })
}

/// Writes the object, with tags if there are any. Without a condition: a refusal would not say which of the two it is
/// for.
async fn probe_tags(store: &dyn Store, name: &ObjectName) -> Result<Finding> {
    let asked = Tags::from([("probe".to_owned(), "1".to_owned())]);
    let kept = match store.put(name, body(), PutMode::Overwrite, &asked).await {
        Ok(_) => store.tags(name).await,
        Err(error) if refuses(&error) => {
            store.put(name, body(), PutMode::Overwrite, &Tags::new()).await?;
            Err(error)
        }
        Err(error) => Err(error),
    };
    match kept {
        Ok(kept) if kept == asked => Ok(Finding::Honoured),
        Ok(_) => Ok(Finding::Lacking),
        Err(error) if refuses(&error) => Ok(Finding::Lacking),
        Err(error) if error.kind() == ErrorKind::Denied => Ok(Finding::Denied),
        Err(error) => Err(error),
    }
}

async fn probe_upload(store: &dyn Store, name: &ObjectName) -> Result<Finding> {
    let upload = match store.upload(name, &Tags::new()).await {
        Ok(upload) => upload,
        Err(error) => return honours::<()>(Err(error)),
    };
    let completed = match upload.part(1, 0, "?".into()).await {
        Ok(()) => upload.complete(PutMode::Create).await,
        Err(error) => Err(error),
    };
    // Whatever came of it: a completed one is no error here.
    if let Err(error) = upload.abort().await {
        tracing::debug!(%error, "an upload of the probe is left behind");
    }
    honours(completed)
}

/// Whether a request whose condition cannot hold was refused for that.
fn honours<T>(answer: Result<T>) -> Result<Finding> {
    match answer {
        Ok(_) => Ok(Finding::Lacking),
        Err(error) => match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::Changed => Ok(Finding::Honoured),
            ErrorKind::Unsupported | ErrorKind::Invalid => Ok(Finding::Lacking),
            ErrorKind::Denied => Ok(Finding::Denied),
            _ => Err(error),
        },
    }
}

fn refuses(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Invalid)
}

fn body() -> Bytes {
    Bytes::from_static(b"?")
}

fn known_name(name: &str) -> Result<ObjectName> {
    ObjectName::new(name).map_err(|error| Error::new(ErrorKind::Invalid, "probe", name).source(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::doubles::{Conditions, Faulty, MemoryStore};

    async fn names(store: &dyn Store) -> Vec<String> {
        let page = store.list("", None).await.unwrap();
        page.objects.iter().map(|object| object.name.to_string()).collect()
    }

    #[tokio::test]
    async fn what_a_store_lacks_is_found_and_remembered() {
        let lacks_tags = Features { tags: false, ..Features::all() };
        let lacks_conditions = Features { create_only_put: false, create_only_multipart: false, ..Features::all() };
        for (store, expected) in [
            (Faulty::new(MemoryStore::default()), Features::all()),
            (Faulty::new(MemoryStore::default()).refuse_tags(ErrorKind::Unsupported), lacks_tags),
            (Faulty::new(MemoryStore::default()).refuse_tags(ErrorKind::Invalid), lacks_tags),
            (Faulty::new(MemoryStore::default()).fail("tags", ErrorKind::Unsupported, 1), lacks_tags),
            (Faulty::new(MemoryStore::default()).conditions(Conditions::Ignored), lacks_conditions),
            (Faulty::new(MemoryStore::default()).conditions(Conditions::Refused), lacks_conditions),
        ] {
            assert_eq!(features(&store).await.unwrap(), expected);
            assert_eq!(names(&store).await, [".xcache/store"]);
            assert_eq!(features(&store).await.unwrap(), expected);
            assert!(store.uploads("").await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn what_a_role_may_not_try_is_remembered_for_nobody() {
        let check = async |store: Faulty, expected: Features, left: usize| {
            assert_eq!(features(&store).await.unwrap(), expected);
            let names = names(&store).await;
            assert!(!names.contains(&".xcache/store".to_owned()), "{names:?}");
            assert_eq!(names.len(), left, "{names:?}");
            assert!(store.uploads("").await.unwrap().is_empty());
        };
        let denied = ErrorKind::Denied;
        let faulty = || Faulty::new(MemoryStore::default());
        let all = Features::all();
        // Whoever depends on tags must ask for them, and be told.
        check(faulty().refuse_tags(denied), all, 0).await;
        check(faulty().fail("tags", denied, u32::MAX), all, 0).await;
        check(faulty().fail("delete", denied, u32::MAX), Features { conditional_delete: false, ..all }, 1).await;
        check(faulty().fail("upload", denied, u32::MAX), Features { create_only_multipart: false, ..all }, 0).await;
        check(faulty().fail("complete", denied, u32::MAX), Features { create_only_multipart: false, ..all }, 0).await;
        let nothing =
            Features { create_only_put: false, create_only_multipart: false, conditional_delete: false, tags: true };
        check(faulty().fail("put", denied, u32::MAX), nothing, 0).await;
        check(faulty().fail("get", denied, 1).fail("put", denied, u32::MAX), nothing, 0).await;
    }

    #[tokio::test]
    async fn what_may_not_be_deleted_is_left_behind_and_no_failure() {
        // The conditional deletion is answered, the last one is not permitted.
        let store = Faulty::new(MemoryStore::default()).fail_after("delete", 1, ErrorKind::Denied);
        assert_eq!(features(&store).await.unwrap(), Features::all());
        assert_eq!(names(&store).await.len(), 2);
    }

    #[tokio::test]
    async fn a_failing_probe_leaves_no_upload_and_no_findings() {
        for request in ["part 1", "complete"] {
            let store = Faulty::new(MemoryStore::default()).fail(request, ErrorKind::Unavailable, u32::MAX);
            assert_eq!(features(&store).await.unwrap_err().kind(), ErrorKind::Unavailable);
            assert!(store.uploads("").await.unwrap().is_empty(), "{request}");
            assert_eq!(names(&store).await, Vec::<String>::new());
        }
    }
}
