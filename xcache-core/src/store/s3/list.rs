//! Listings: page by page, of names that begin with a prefix.
//!
//! Some stores list directories only: the prefix must end in a slash (S3 Express One Zone). There the directory is listed,
//! and what does not begin with the prefix is left out here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::types::EncodingType;

use super::super::{Error, ErrorKind, ListPage, ListedObject, ObjectMeta, ObjectName, Result, Upload};
use super::bucket::{Bucket, required, time, unquoted};
use super::names;
use super::upload::S3Upload;

/// What buckets of S3 Express One Zone end in.
const DIRECTORY_BUCKET: &str = "--x-s3";

/// How a store lists; found out when it refuses to, and kept for the run.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    directories_only: Arc<AtomicBool>,
}

impl Listing {
    /// What is known of a bucket by its name.
    pub(super) fn of(bucket: &str) -> Self {
        Self { directories_only: Arc::new(AtomicBool::new(bucket.ends_with(DIRECTORY_BUCKET))) }
    }

    /// The prefix to ask for, so that what begins with `prefix` is among the answers.
    fn prefix(&self, prefix: &str) -> String {
        match self.directories_only.load(Ordering::Relaxed) {
            true => prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)].to_owned(),
            false => prefix.to_owned(),
        }
    }

    /// Whether to ask once more after `error`: for the directory, since the prefix may be what was refused.
    fn is_worth_another_try(&self, prefix: &str, error: &Error) -> bool {
        let may_be_the_prefix = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported);
        may_be_the_prefix
            && !prefix.is_empty()
            && !prefix.ends_with('/')
            && !self.directories_only.swap(true, Ordering::Relaxed)
    }
}

impl Listing {
    /// One page of the objects whose names begin with `prefix`.
    pub(super) async fn page(&self, bucket: &Bucket, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        let full = format!("{}{prefix}", bucket.place.prefix);
        let refused = match self.ask(bucket, prefix, &full, page).await {
            Err(error) if page.is_none() && self.is_worth_another_try(&full, &error) => error,
            listed => return listed,
        };
        let again = self.ask(bucket, prefix, &full, page).await;
        again.map_err(|_| {
            // It was not the prefix: the first answer is the one to report.
            self.directories_only.store(false, Ordering::Relaxed);
            refused
        })
    }

    async fn ask(&self, bucket: &Bucket, prefix: &str, full: &str, page: Option<&str>) -> Result<ListPage> {
        let shown = format!("{bucket}/{prefix}");
        let asked = self.prefix(full);
        let answer = bucket
            .client
            .list_objects_v2()
            .bucket(&bucket.place.bucket)
            .prefix(&asked)
            .encoding_type(EncodingType::Url)
            .set_continuation_token(page.map(str::to_owned))
            .set_request_payer(bucket.payer.clone())
            .send()
            .await
            .map_err(|failure| bucket.place.request("list", &shown, ErrorKind::Changed).failed(failure))?;
        let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let mut objects = Vec::with_capacity(answer.contents().len());
        for object in answer.contents() {
            let key = names::decode(required(object.key(), "key", "list", &shown)?, is_encoded);
            let key = required(key, "valid key", "list", &shown)?;
            if !key.starts_with(&asked) {
                return Err(Error::new(ErrorKind::Corrupt, "list", &shown)
                    .detail(format!("the store sent `{key}`, which was not asked for")));
            }
            let name = key.strip_prefix(&bucket.place.prefix).filter(|name| name.starts_with(prefix));
            // Place holders of folders and names with control characters are none of ours.
            let Some(Ok(name)) = name.map(ObjectName::new) else { continue };
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let meta = ObjectMeta {
                size: required(size, "size", "list", &shown)?,
                etag: unquoted(
                    object.e_tag().filter(|etag| !etag.is_empty()).ok_or_else(|| without_etag(&shown, &key))?,
                ),
                last_modified: required(object.last_modified().and_then(time), "date", "list", &shown)?,
            };
            objects.push(ListedObject { name, meta });
        }
        let next = match answer.is_truncated() {
            Some(true) => Some(required(answer.next_continuation_token, "continuation token", "list", &shown)?),
            _ => None,
        };
        Ok(ListPage { objects, next })
    }

    /// All uploads under way for names that begin with `prefix`.
    pub(super) async fn uploads(&self, bucket: &Bucket, prefix: &str) -> Result<Vec<Box<dyn Upload>>> {
        let shown = format!("{bucket}/{prefix}");
        let mut uploads: Vec<Box<dyn Upload>> = Vec::new();
        let mut marker: (Option<String>, Option<String>) = (None, None);
        loop {
            let answer = bucket
                .client
                .list_multipart_uploads()
                .bucket(&bucket.place.bucket)
                .prefix(self.prefix(&format!("{}{prefix}", bucket.place.prefix)))
                .encoding_type(EncodingType::Url)
                .set_key_marker(marker.0.clone())
                .set_upload_id_marker(marker.1.clone())
                .set_request_payer(bucket.payer.clone())
                .send()
                .await
                .map_err(|failure| {
                    bucket.place.request("list uploads of", &shown, ErrorKind::Changed).failed(failure)
                })?;
            let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
            for upload in answer.uploads() {
                let key = names::decode(required(upload.key(), "key", "list uploads of", &shown)?, is_encoded);
                let key = required(key, "valid key", "list uploads of", &shown)?;
                let name = key.strip_prefix(&bucket.place.prefix).filter(|name| name.starts_with(prefix));
                let Some(Ok(name)) = name.map(ObjectName::new) else { continue };
                let id = required(upload.upload_id(), "upload id", "list uploads of", &shown)?.to_owned();
                let began = required(upload.initiated().and_then(time), "date", "list uploads of", &shown)?;
                uploads.push(Box::new(S3Upload::new(bucket.clone(), name, key, id, began)));
            }
            if answer.is_truncated() != Some(true) {
                return Ok(uploads);
            }
            let next_key = answer.next_key_marker().and_then(|key| names::decode(key, is_encoded));
            let next = (next_key, answer.next_upload_id_marker().map(str::to_owned));
            if next == marker || next.0.is_none() {
                return Err(Error::new(ErrorKind::Corrupt, "list uploads of", &shown)
                    .detail("the store sent the same page twice"));
            }
            marker = next;
        }
    }
}

/// Objects are told apart by their ETags, in whatever is decided from a listing.
fn without_etag(listing: &str, key: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "list", listing)
        .detail(format!("the store lists `{key}` without an ETag"))
        .hint("xcache needs the ETags in listings to tell objects apart; use a store that lists them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_directories_is_asked_for_the_directory() {
        let listing = Listing::of("bucket");
        assert_eq!(listing.prefix("ci/key"), "ci/key");
        let refused = |kind| Error::new(kind, "list", "x");
        assert!(!listing.is_worth_another_try("ci/key", &refused(ErrorKind::Denied)));
        assert!(!listing.is_worth_another_try("ci/", &refused(ErrorKind::Invalid)));
        assert!(listing.is_worth_another_try("ci/key", &refused(ErrorKind::Invalid)));
        assert!(!listing.is_worth_another_try("ci/key", &refused(ErrorKind::Invalid)), "once");
        for listing in [listing, Listing::of("cache--use1-az4--x-s3")] {
            for (prefix, asked) in [("ci/a/key", "ci/a/"), ("ci/", "ci/"), ("key", ""), ("", "")] {
                assert_eq!(listing.prefix(prefix), asked);
            }
        }
    }
}
