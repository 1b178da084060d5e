//! The store on S3 and on what speaks its language.

use std::fmt;

use async_trait::async_trait;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{RequestPayer, Tag, Tagging};
use bytes::Bytes;
use chrono::Utc;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::bounds;
use super::{
    ByteRange, Deletion, Download, ETag, Error, ErrorKind, ListPage, ObjectMeta, ObjectName, PutMode, Result, Store,
    Tags, Upload,
};

mod answer;
mod body;
mod bucket;
mod connect;
mod credentials;
mod defaults;
mod delete;
mod failure;
mod health;
mod http;
pub mod identity;
mod list;
mod names;
pub mod options;
mod profiles;
mod role;
pub mod settings;
mod upload;
mod versions;
mod write_options;

use crate::convert;
use bucket::{Bucket, Location, as_replace, conditions, precondition, quoted, required, status, time, unquoted};
use connect::S3Clients;
use delete::PAGE_NAMES;
use list::Listing;
use options::S3Options;
use upload::S3Upload;
use write_options::WriteOptions;

/// Objects below a prefix of a bucket.
#[derive(Clone, Debug)]
pub struct S3Store {
    bucket: Bucket,
    options: WriteOptions,
    listing: Listing,
    is_aws: bool,
}

impl S3Store {
    /// Prepares the client for a bucket. Sends nothing to the store.
    pub async fn open(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self> {
        let S3Clients { client, patient, endpoint, is_aws, region, health, lacks_credentials } =
            connect::connect(options).await?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let blank = failure::aside(&options.environment.blank);
        let place = Location { bucket: bucket.to_owned(), prefix, endpoint, region, lacks_credentials, blank };
        let payer = options.requester_pays.then_some(RequestPayer::Requester);
        Ok(Self {
            bucket: Bucket { client, patient, place, payer, health },
            options: WriteOptions::new(options),
            listing: Listing::of(bucket),
            is_aws,
        })
    }

    /// Whether the endpoint is AWS's own.
    pub fn is_aws(&self) -> bool {
        self.is_aws
    }

    /// The storage class that was asked for, if the store has refused it and objects are written without one.
    pub fn refused_storage_class(&self) -> Option<&str> {
        self.options.refused_class()
    }

    /// One write, however often it must be sent.
    async fn put_once(&self, name: &ObjectName, body: Bytes, mode: &PutMode, tags: &Tags) -> Result<ETag> {
        let key = self.bucket.place.full("upload", name)?;
        let (encryption, kms_key) = self.options.encryption();
        let length = convert::signed(body.len());
        let send = |body| {
            let (if_none_match, if_match) = conditions(mode);
            self.bucket
                .patient
                .put_object()
                .bucket(&self.bucket.place.bucket)
                .key(&key)
                .content_length(length)
                .body(body)
                .set_if_none_match(if_none_match)
                .set_if_match(if_match)
                .set_tagging(tagging(tags))
                .set_server_side_encryption(encryption.clone())
                .set_ssekms_key_id(kms_key.clone())
                .set_storage_class(self.options.storage_class())
                .set_request_payer(self.bucket.payer.clone())
                .send()
        };
        let about = self.bucket.place.request("upload", name.as_str(), precondition(mode));
        let answer = self.bucket.send_watched(&about, body.into(), send).await;
        let answer = answer.map_err(|error| as_replace(error, mode, name))?;
        Ok(unquoted(required(answer.e_tag(), "ETag", "upload", name)?))
    }

    async fn begin_upload(&self, name: &ObjectName, tags: &Tags) -> Result<Box<dyn Upload>> {
        let key = self.bucket.place.full("upload", name)?;
        let (encryption, kms_key) = self.options.encryption();
        let answer = self
            .bucket
            .client
            .create_multipart_upload()
            .bucket(&self.bucket.place.bucket)
            .key(&key)
            .set_tagging(tagging(tags))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .set_storage_class(self.options.storage_class())
            .set_request_payer(self.bucket.payer.clone())
            .send()
            .await
            .map_err(|failure| {
                self.bucket.place.request("upload", name.as_str(), ErrorKind::Changed).failed(failure)
            })?;
        let id = required(answer.upload_id, "upload id", "upload", name)?;
        Ok(Box::new(S3Upload::new(self.bucket.clone(), name.clone(), key, id, Utc::now())))
    }

    /// A HEAD was refused, and its answer has no body that says why: credentials, clock, region and rights look the same.
    /// The same question as a GET of one byte brings the code.
    async fn explain(&self, name: &ObjectName, refused: Error) -> Error {
        let Ok(key) = self.bucket.place.full("look at", name) else { return refused };
        let sent = self
            .bucket
            .client
            .get_object()
            .bucket(&self.bucket.place.bucket)
            .key(key)
            .range("bytes=0-0")
            .set_request_payer(self.bucket.payer.clone())
            .send()
            .await;
        match sent {
            Err(failure) if matches!(status(&failure), Some(400 | 403)) => {
                self.bucket.place.request("look at", name.as_str(), ErrorKind::Changed).failed(failure)
            }
            _ => refused,
        }
    }
}

fn past_the_end(name: &ObjectName, size: u64) -> Error {
    Error::new(ErrorKind::Invalid, "download", name)
        .detail(format!("the range begins past the end of its {size} bytes"))
}

#[async_trait]
impl Store for S3Store {
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        let header = match &range {
            ByteRange::Full => None,
            ByteRange::Span(span) if span.is_empty() => {
                return Err(Error::new(ErrorKind::Invalid, "download", name).detail("the range is empty"));
            }
            ByteRange::Span(span) => Some(format!("bytes={}-{}", span.start, span.end - 1)),
            ByteRange::Last(bytes) => Some(format!("bytes=-{}", (*bytes).max(1))),
        };
        let sent = self
            .bucket
            .client
            .get_object()
            .bucket(&self.bucket.place.bucket)
            .key(self.bucket.place.full("download", name)?)
            .set_range(header)
            .set_if_match(pin.map(quoted))
            .set_request_payer(self.bucket.payer.clone())
            .send()
            .await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(failure) if status(&failure) == Some(416) => {
                let meta = self.head(name).await?;
                if matches!(range, ByteRange::Last(_)) && meta.size == 0 {
                    return Ok(Download { meta, offset: 0, body: stream::empty().boxed() });
                }
                return Err(past_the_end(name, meta.size));
            }
            Err(failure) => {
                return Err(self.bucket.place.request("download", name.as_str(), ErrorKind::Changed).failed(failure));
            }
        };
        let length = required(answer.content_length(), "length", "download", name)?;
        let length = required(u64::try_from(length).ok(), "valid length", "download", name)?;
        let (offset, size) = match answer.content_range() {
            // An empty object: 416 on AWS, an empty answer with a range that makes no sense elsewhere.
            _ if length == 0 && matches!(range, ByteRange::Span(_)) => return Err(past_the_end(name, 0)),
            _ if length == 0 => (0, 0),
            // The SDK does not tell 206 from 200: a part without its place looks like a whole object.
            None if range != ByteRange::Full && self.head(name).await?.size != length => {
                return Err(Error::new(ErrorKind::Corrupt, "download", name)
                    .detail("the answer does not say which part of the object it is"));
            }
            None => (0, length),
            Some(text) => required(names::content_range(text), "valid Content-Range", "download", name)?,
        };
        let meta = ObjectMeta {
            size,
            etag: unquoted(required(answer.e_tag(), "ETag", "download", name)?),
            last_modified: required(answer.last_modified().and_then(time), "date", "download", name)?,
        };
        if pin.is_some_and(|pin| *pin != meta.etag) {
            // A store that ignores the condition.
            return Err(Error::new(ErrorKind::Changed, "download", name));
        }
        Ok(Download { meta, offset, body: watch(answer.body, length, name.clone()) })
    }

    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta> {
        let sent = self
            .bucket
            .client
            .head_object()
            .bucket(&self.bucket.place.bucket)
            .key(self.bucket.place.full("look at", name)?)
            .set_request_payer(self.bucket.payer.clone())
            .send()
            .await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(failure) => {
                let is_mute = matches!(status(&failure), Some(400 | 403)) && failure.code().is_none();
                let error = self.bucket.place.request("look at", name.as_str(), ErrorKind::Changed).failed(failure);
                return Err(if is_mute { self.explain(name, error).await } else { error });
            }
        };
        let size = answer.content_length().and_then(|length| u64::try_from(length).ok());
        Ok(ObjectMeta {
            size: required(size, "length", "look at", name)?,
            etag: unquoted(required(answer.e_tag(), "ETag", "look at", name)?),
            last_modified: required(answer.last_modified().and_then(time), "date", "look at", name)?,
        })
    }

    async fn put(&self, name: &ObjectName, body: Bytes, mode: PutMode, tags: &Tags) -> Result<ETag> {
        let class = self.options.storage_class();
        match self.put_once(name, body.clone(), &mode, tags).await {
            Err(error) if !tags.is_empty() => Err(error),
            Err(error) if self.options.drop_class(&error, class.as_ref()) => {
                let again = self.put_once(name, body, &mode, tags).await;
                again.map_err(|error| self.options.not_the_class(error, &self.bucket))
            }
            written => written.map_err(|error| self.options.blame(error, &self.bucket)),
        }
    }

    async fn upload(&self, name: &ObjectName, tags: &Tags) -> Result<Box<dyn Upload>> {
        let class = self.options.storage_class();
        match self.begin_upload(name, tags).await {
            Err(error) if !tags.is_empty() => Err(error),
            Err(error) if self.options.drop_class(&error, class.as_ref()) => {
                let again = self.begin_upload(name, tags).await;
                again.map_err(|error| self.options.not_the_class(error, &self.bucket))
            }
            begun => begun.map_err(|error| self.options.blame(error, &self.bucket)),
        }
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        self.listing.page(&self.bucket, prefix, page).await
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let (bound, free): (Vec<(usize, &Deletion)>, Vec<_>) =
            deletions.iter().enumerate().partition(|(_, deletion)| deletion.if_match.is_some());
        let mut answers: Vec<(usize, Result<()>)> = Vec::with_capacity(deletions.len());
        for page in free.chunks(PAGE_NAMES) {
            let (places, page): (Vec<usize>, Vec<&Deletion>) = page.iter().copied().unzip();
            let deleted = match page.as_slice() {
                [one] => vec![self.bucket.delete_one((*one).clone()).await],
                _ => self.bucket.delete_page(&page).await,
            };
            answers.extend(places.into_iter().zip(deleted));
        }
        let (places, bound): (Vec<usize>, Vec<&Deletion>) = bound.into_iter().unzip();
        answers.extend(places.into_iter().zip(self.bucket.delete_singly(&bound).await));
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn tags(&self, name: &ObjectName) -> Result<Tags> {
        let sent = self
            .bucket
            .client
            .get_object_tagging()
            .bucket(&self.bucket.place.bucket)
            .key(self.bucket.place.full("read tags of", name)?)
            .set_request_payer(self.bucket.payer.clone())
            .send()
            .await;
        match sent {
            Ok(answer) => {
                Ok(answer.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
            }
            Err(failure) if failure.code() == Some("NoSuchTagSet") || is_empty_success(&failure) => Ok(Tags::new()),
            Err(failure) => {
                Err(self.bucket.place.request("read tags of", name.as_str(), ErrorKind::Changed).failed(failure))
            }
        }
    }

    async fn set_tags(&self, name: &ObjectName, tags: &Tags) -> Result<()> {
        let invalid = |error| Error::new(ErrorKind::Invalid, "tag", name).source(error);
        let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
        let tags = tags.iter().map(tag).collect::<std::result::Result<Vec<_>, _>>().map_err(invalid)?;
        let tagging = Tagging::builder().set_tag_set(Some(tags)).build().map_err(invalid)?;
        let sent = self
            .bucket
            .client
            .put_object_tagging()
            .bucket(&self.bucket.place.bucket)
            .key(self.bucket.place.full("tag", name)?)
            .tagging(tagging)
            .set_request_payer(self.bucket.payer.clone())
            .send()
            .await;
        let request = self.bucket.place.request("tag", name.as_str(), ErrorKind::Changed);
        sent.map(|_| ()).map_err(|failure| request.failed(failure))
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Box<dyn Upload>>> {
        self.listing.uploads(&self.bucket, prefix).await
    }
}

fn tagging(tags: &Tags) -> Option<String> {
    let pairs: Vec<String> =
        tags.iter().map(|(key, value)| format!("{}={}", names::encode(key), names::encode(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// Whether an answer says "done" with nothing in it: what Ceph says of an object without tags.
fn is_empty_success<E>(failure: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> bool {
    let is_empty = |body: &aws_sdk_s3::primitives::SdkBody| body.bytes().is_some_and(<[u8]>::is_empty);
    failure.raw_response().is_some_and(|raw| raw.status().is_success() && is_empty(raw.body()))
}

/// A body that fails when it stands still and when it ends early.
fn watch(body: ByteStream, length: u64, name: ObjectName) -> BoxStream<'static, Result<Bytes>> {
    let broken = move |detail: String| Error::new(ErrorKind::Unavailable, "download", &name).detail(detail);
    stream::try_unfold((body, 0_u64, broken), move |(mut body, mut done, broken)| async move {
        match tokio::time::timeout(bounds::SEND_STALL, body.next()).await {
            Err(_) => Err(broken(format!("no data for {} s", bounds::SEND_STALL.as_secs()))),
            Ok(Some(Err(error))) => Err(broken("the connection broke".to_owned()).source(error)),
            Ok(Some(Ok(piece))) => {
                done += convert::length(piece.len());
                Ok(Some((piece, (body, done, broken))))
            }
            Ok(None) if done != length => Err(broken(format!("the answer ended after {done} of {length} bytes"))),
            Ok(None) => Ok(None),
        }
    })
    .boxed()
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(f)
    }
}
