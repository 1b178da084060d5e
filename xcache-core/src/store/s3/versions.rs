//! The versions of an object that was deleted, in a bucket with versioning.
//!
//! Everything else in xcache knows current versions only, so what is not current is never read, and deleting it changes
//! nothing for anybody. The one danger is a delete marker: what lies below it becomes current again when the marker goes. A
//! victim of a clean-up would rise from the dead, after its mark and maybe what it builds on are gone. So:
//!
//! 1. versions go first, each by its id, and never the current one, which another save may have written meanwhile;
//! 2. markers go only when a second listing shows no version that is not current. The first one must have shown the version
//!    that was deleted: a listing that does not know it is not believed;
//! 3. a HEAD makes sure that nothing has risen.

use aws_sdk_s3::types::{BucketVersioningStatus, EncodingType};
use chrono::{DateTime, Utc};

use super::super::versions::{Purged, Versioning};
use super::super::{ETag, Error, ErrorKind, ObjectName, Result, Store as _};
use super::{S3Store, names, required, time, unquoted};

/// The most pages of a listing of one object's versions, of 1,000 each.
const MAX_PAGES: usize = 100;

/// What a listing shows of one name.
#[derive(Debug, Default)]
struct Versions {
    /// Versions with bytes that are not current.
    old: Vec<Version>,
    /// Delete markers, current or not.
    markers: Vec<String>,
}

#[derive(Debug)]
struct Version {
    id: String,
    etag: ETag,
    bytes: u64,
    modified: DateTime<Utc>,
}

impl S3Store {
    /// Whether a deletion frees space. One request.
    pub async fn versioning(&self) -> Versioning {
        let request = self.bucket.client.get_bucket_versioning().bucket(&self.bucket.place.bucket);
        match request.send().await {
            Ok(answer) => match answer.status() {
                None => Versioning::Off,
                Some(BucketVersioningStatus::Enabled) => Versioning::Enabled,
                Some(BucketVersioningStatus::Suspended) => Versioning::Suspended,
                Some(other) => Versioning::Unknown(format!("the store calls its versioning `{}`", other.as_str())),
            },
            Err(failure) => {
                let shown = self.to_string();
                let place = &self.bucket.place;
                let error = place.request("read the versioning of", &shown, ErrorKind::Changed).failed(failure);
                Versioning::Unknown(error.to_string())
            }
        }
    }

    /// Deletes the versions and delete markers of `name`, an object with this `etag` that has been deleted.
    pub async fn purge(&self, name: &ObjectName, etag: &ETag) -> Result<Purged> {
        let before = self.versions_of(name).await?;
        let Some(deleted_at) = before.old.iter().find(|version| version.etag == *etag).map(|version| version.modified)
        else {
            // Never a version, or another run was first.
            return Ok(Purged::default());
        };
        let mut purged = Purged::default();
        for version in &before.old {
            self.delete_version(name, &version.id).await?;
            purged.versions += 1;
            purged.bytes += version.bytes;
        }
        let after = self.versions_of(name).await?;
        if !after.old.is_empty() {
            return Err(Error::new(ErrorKind::Corrupt, "delete the versions of", name)
                .detail("the store answers that they are deleted, and lists some all the same"));
        }
        for marker in &after.markers {
            self.delete_version(name, marker).await?;
            purged.markers += 1;
        }
        match self.head(name).await {
            // What was saved meanwhile is younger.
            Ok(meta) if meta.last_modified <= deleted_at => {
                Err(Error::new(ErrorKind::Corrupt, "delete the versions of", name)
                    .detail("an old version is current again: the store did not list it")
                    .hint("run the clean-up again"))
            }
            _ => Ok(purged),
        }
    }

    async fn delete_version(&self, name: &ObjectName, id: &str) -> Result<()> {
        let sent = self
            .bucket
            .client
            .delete_object()
            .bucket(&self.bucket.place.bucket)
            .key(self.bucket.place.full("delete", name)?)
            .version_id(id)
            .set_request_payer(self.bucket.payer.clone())
            .send()
            .await;
        let request = self.bucket.place.request("delete a version of", name.as_str(), ErrorKind::Changed);
        match sent.map_err(|failure| request.failed(failure)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    async fn versions_of(&self, name: &ObjectName) -> Result<Versions> {
        let action = "list the versions of";
        let place = &self.bucket.place;
        let full = place.full(action, name)?;
        let mut found = Versions::default();
        let mut marker: (Option<String>, Option<String>) = (None, None);
        for _ in 0..MAX_PAGES {
            let answer = self
                .bucket
                .client
                .list_object_versions()
                .bucket(&place.bucket)
                .prefix(&full)
                .encoding_type(EncodingType::Url)
                .set_key_marker(marker.0.clone())
                .set_version_id_marker(marker.1.clone())
                .set_request_payer(self.bucket.payer.clone())
                .send()
                .await
                .map_err(|failure| place.request(action, name.as_str(), ErrorKind::Changed).failed(failure))?;
            let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
            // Names that merely begin with this one are of other objects.
            let is_it = |key: Option<&str>| {
                let key = key.and_then(|key| names::decode(key, is_encoded));
                required(key, "key", action, name).map(|key| key == full)
            };
            for version in answer.versions() {
                let is_current = required(version.is_latest(), "IsLatest", action, name)?;
                if is_it(version.key())? && !is_current {
                    found.old.push(Version {
                        id: required(version.version_id(), "version id", action, name)?.to_owned(),
                        etag: unquoted(required(version.e_tag(), "ETag", action, name)?),
                        modified: required(version.last_modified().and_then(time), "date", action, name)?,
                        bytes: version.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                    });
                }
            }
            for version in answer.delete_markers() {
                if is_it(version.key())? {
                    found.markers.push(required(version.version_id(), "version id", action, name)?.to_owned());
                }
            }
            if answer.is_truncated() != Some(true) {
                return Ok(found);
            }
            let next = (answer.next_key_marker, answer.next_version_id_marker);
            let next = (next.0.and_then(|key| names::decode(&key, is_encoded)), next.1);
            if next.0.is_none() || next == marker {
                break;
            }
            marker = next;
        }
        Err(Error::new(ErrorKind::Corrupt, action, name).detail("the store does not come to an end"))
    }
}
