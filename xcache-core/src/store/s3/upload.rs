//! Multipart uploads to S3.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use chrono::{DateTime, Utc};

use super::super::bounds;
use super::super::{ETag, Error, ErrorKind, ObjectName, Payload, PutMode, Result, Upload};
use super::bucket::{Bucket, as_replace, conditions, precondition, required, unquoted};
use crate::convert;

/// One multipart upload.
#[derive(Debug)]
pub(super) struct S3Upload {
    bucket: Bucket,
    name: ObjectName,
    key: String,
    id: String,
    initiated: DateTime<Utc>,
    /// What the store called each part sent.
    etags: Mutex<BTreeMap<u32, String>>,
}

impl S3Upload {
    pub(super) fn new(bucket: Bucket, name: ObjectName, key: String, id: String, initiated: DateTime<Utc>) -> Self {
        Self { bucket, name, key, id, initiated, etags: Mutex::default() }
    }

    fn parts(&self) -> Vec<CompletedPart> {
        let etags = self.etags.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let part = |(number, etag): (&u32, &String)| {
            CompletedPart::builder().part_number(number.cast_signed()).e_tag(etag).build()
        };
        etags.iter().map(part).collect()
    }
}

#[async_trait]
impl Upload for S3Upload {
    fn name(&self) -> &ObjectName {
        &self.name
    }

    fn initiated(&self) -> DateTime<Utc> {
        self.initiated
    }

    async fn part(&self, number: u32, _offset: u64, body: Payload) -> Result<()> {
        let length = convert::signed(body.len());
        let send = |body| {
            self.bucket
                .patient
                .upload_part()
                .bucket(&self.bucket.place.bucket)
                .key(&self.key)
                .upload_id(&self.id)
                .part_number(number.cast_signed())
                .content_length(length)
                .body(body)
                .set_request_payer(self.bucket.payer.clone())
                .send()
        };
        let about = self.bucket.place.request("upload", self.name.as_str(), ErrorKind::Changed);
        let answer = self.bucket.send_watched(&about, body, send).await?;
        let etag = required(answer.e_tag, "ETag", "upload", &self.name)?;
        self.etags.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(number, etag);
        Ok(())
    }

    async fn complete(&self, mode: PutMode) -> Result<ETag> {
        let (if_none_match, if_match) = conditions(&mode);
        let sent = self
            .bucket
            .patient
            .complete_multipart_upload()
            .bucket(&self.bucket.place.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(self.parts())).build())
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .set_request_payer(self.bucket.payer.clone())
            .send();
        let about = self.bucket.place.request("publish", self.name.as_str(), precondition(&mode));
        let answer = match tokio::time::timeout(bounds::COMPLETE, sent).await {
            Ok(answer) => answer.map_err(|failure| as_replace(about.failed(failure), &mode, &self.name))?,
            Err(_) => {
                return Err(Error::new(ErrorKind::Unavailable, "publish", &self.name)
                    .detail(format!("no answer for {} s", bounds::COMPLETE.as_secs())));
            }
        };
        Ok(unquoted(required(answer.e_tag(), "ETag", "publish", &self.name)?))
    }

    async fn abort(&self) -> Result<()> {
        let sent = self
            .bucket
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket.place.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .set_request_payer(self.bucket.payer.clone())
            .send()
            .await;
        let about = self.bucket.place.request("abort the upload of", self.name.as_str(), ErrorKind::Changed);
        match sent.map_err(|failure| about.failed(failure)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
