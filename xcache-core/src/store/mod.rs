//! Where objects live: an S3 bucket or a local directory, plus a prefix.
//!
//! The trait is shaped like an object store, not like a file system. Both stores pass one conformance suite
//! (`tests/it/conformance.rs`), which is the executable form of the contract below.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;

pub mod adapted;
mod error;
pub(crate) mod bounds;
pub mod local;
pub mod open;
pub mod payload;
pub mod probe;
pub mod s3;
pub mod versions;
pub(crate) mod unique;
pub mod url;

pub use crate::object::{ETag, ObjectName, ObjectNameError, Tags};
pub use error::{Error, ErrorKind, Result};
pub use payload::Payload;

/// What HEAD tells of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Length in bytes.
    pub size: u64,
    /// Which object it is.
    pub etag: ETag,
    /// When it was published, by the store's clock (one second exact on S3).
    pub last_modified: DateTime<Utc>,
}

/// Which bytes of an object to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// Everything.
    Full,
    /// From start to before end. An end past the object's end is cut off; a start past it is [`ErrorKind::Invalid`].
    Span(Range<u64>),
    /// At most so many bytes from the end, the whole object if it is shorter. Never empty.
    Last(u64),
}

/// An answer to GET. The body ends early with an error, never silently.
pub struct Download {
    /// Of the whole object.
    pub meta: ObjectMeta,
    /// Where in the object the body begins.
    pub offset: u64,
    /// The bytes, in pieces as they come.
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("meta", &self.meta).field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// When a write may take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Only if no object has the name (`If-None-Match: *`), else [`ErrorKind::AlreadyExists`].
    Create,
    /// In any case.
    Overwrite,
    /// Only in place of this very object (`If-Match`), else [`ErrorKind::Changed`].
    Replace(ETag),
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// At most 1,000 objects, in any order.
    pub objects: Vec<ListedObject>,
    /// Ask again with this for the next page; none on the last page.
    pub next: Option<String>,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name below the store's prefix.
    pub name: ObjectName,
    /// What HEAD would tell.
    pub meta: ObjectMeta,
}

/// What to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The object.
    pub name: ObjectName,
    /// Delete only this very object (`If-Match`), else [`ErrorKind::Changed`]. A store that does not know the
    /// condition ignores it: see [`probe`].
    pub if_match: Option<ETag>,
}

/// A store. Every method may be called from any number of tasks and processes at a time.
///
/// - **Atomic**: an object is there whole or not at all, whoever is killed when.
/// - **Strongly consistent**: what a finished write made is seen by every read and listing that starts after it.
/// - **Cancelling** (dropping the future) a write leaves it done or not done, never half done.
/// - Transient failures of single requests are retried inside, a bounded number of times.
/// - Each method is one request to the store unless it says otherwise.
/// - `Display` prints the URL, without secrets.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + fmt::Display {
    /// Opens an object for reading. With `pin` only if it still is that one, else [`ErrorKind::Changed`].
    /// A missing object is [`ErrorKind::NotFound`].
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download>;

    /// Tells size, identity and age of an object; [`ErrorKind::NotFound`] if there is none.
    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta>;

    /// Writes a small object (at most 5 GiB) in one request. Tags may be dropped by stores without tagging; a store
    /// that refuses them gives [`ErrorKind::Unsupported`] or [`ErrorKind::Denied`].
    async fn put(&self, name: &ObjectName, body: Bytes, mode: PutMode, tags: &Tags) -> Result<ETag>;

    /// Begins a multipart upload. Nothing is visible under the name until it is completed.
    async fn upload(&self, name: &ObjectName, tags: &Tags) -> Result<Box<dyn Upload>>;

    /// Lists the objects whose names begin with `prefix` (a plain text, not a directory), a page at a time, in any
    /// order but each once. `page` is `None` for the first page, then [`ListPage::next`].
    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage>;

    /// Deletes objects; the answers stand in the order of the arguments. A missing object is no error without a
    /// condition, and [`ErrorKind::NotFound`] or [`ErrorKind::Changed`] with one. One request for each thousand
    /// unconditional deletions, one for each conditional one.
    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>>;

    /// The tags of an object; empty if it has none.
    async fn tags(&self, name: &ObjectName) -> Result<Tags>;

    /// Gives an object these tags in place of those that it has.
    async fn set_tags(&self, name: &ObjectName, tags: &Tags) -> Result<()>;

    /// The multipart uploads under way for names that begin with `prefix`, ours and other people's. One request for
    /// each thousand.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Box<dyn Upload>>>;
}

/// A multipart upload. Dropping it leaves the parts in the store until [`Upload::abort`] or a lifecycle rule.
#[async_trait]
pub trait Upload: Send + Sync + fmt::Debug {
    /// The name that it will have.
    fn name(&self) -> &ObjectName;

    /// When it began, by the store's clock.
    fn initiated(&self) -> DateTime<Utc>;

    /// Sends part `number` (from 1), which begins at `offset` of the object. Every part but the last has at least
    /// 5 MiB and none is smaller than the one before. Sending a number again replaces it.
    async fn part(&self, number: u32, offset: u64, body: Payload) -> Result<()>;

    /// Publishes the object: parts 1 to n, all sent. `mode` as in [`Store::put`]; after an error the upload is
    /// still there and must be completed again or aborted.
    async fn complete(&self, mode: PutMode) -> Result<ETag>;

    /// Throws the parts away. Doing it twice is no error.
    async fn abort(&self) -> Result<()>;
}

/// Reads the body of a small object to its end, at most `limit` bytes. One that comes a byte at a time is given up.
pub async fn collect(download: Download, limit: usize) -> Result<Bytes> {
    use futures_util::StreamExt as _;
    let mut body = download.body;
    let mut all = bytes::BytesMut::new();
    let read = async {
        while let Some(piece) = body.next().await {
            let piece = piece?;
            if all.len() + piece.len() > limit {
                return Err(Error::new(ErrorKind::Corrupt, "read", "body").detail(format!("longer than {limit} bytes")));
            }
            all.extend_from_slice(&piece);
        }
        Ok(())
    };
    match tokio::time::timeout(bounds::FLOOR, read).await {
        Ok(read) => read.map(|()| all.freeze()),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, "read", "body")
            .detail(format!("it did not come within {} s", bounds::FLOOR.as_secs()))),
    }
}

/// The most pages of a listing, of 1,000 names each: ten times the largest store that we have in mind.
const MAX_PAGES: usize = 10_000;

/// Hands over the objects whose names begin with `prefix`, a page at a time. The one place that follows pages: a listing
/// that repeats itself, or has no end, is an error.
pub async fn each_page(store: &dyn Store, prefix: &str, mut take: impl FnMut(Vec<ListedObject>)) -> Result<()> {
    let mut page: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let answer = store.list(prefix, page.as_deref()).await?;
        take(answer.objects);
        match answer.next {
            Some(next) if Some(&next) == page.as_ref() => break,
            Some(next) => page = Some(next),
            None => return Ok(()),
        }
    }
    Err(Error::new(ErrorKind::Corrupt, "list", prefix).detail("the store does not come to an end"))
}

/// Lists every object below `prefix`. Memory grows with the listing: [`each_page`] does not keep it.
pub async fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<ListedObject>> {
    let mut all = Vec::new();
    each_page(store, prefix, |objects| all.extend(objects)).await?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream::{self, StreamExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_small_body_that_comes_a_byte_at_a_time_is_given_up() {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Bytes::from_static(b"x")), ()))
        });
        let meta = ObjectMeta { size: 1_000, etag: ETag("e".into()), last_modified: DateTime::UNIX_EPOCH };
        let error = collect(Download { meta, offset: 0, body: trickle.boxed() }, 1_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}
