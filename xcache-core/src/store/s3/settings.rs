//! What a bucket is set to do by itself: lifecycle rules and encryption. Read by `xcache-gc doctor`, never relied on.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule as SdkRule, TransitionStorageClass};

use super::super::{ErrorKind, Result};
use super::S3Store;

/// A lifecycle rule that is enabled, as far as it matters to a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// The names that it is about begin with this.
    pub prefix: String,
    /// Whether it is about some objects only, by tag or size.
    pub is_conditional: bool,
    /// Current objects are deleted at this age, in days.
    pub expires_after_days: Option<i32>,
    /// Objects are moved to this storage class, from which they cannot be read at once.
    pub archives_to: Option<String>,
    /// Old versions are deleted.
    pub expires_old_versions: bool,
    /// Parts of unfinished uploads are deleted.
    pub aborts_uploads: bool,
}

impl S3Store {
    /// The bucket.
    pub fn bucket_name(&self) -> &str {
        &self.bucket.place.bucket
    }

    /// What all names begin with: empty, or with a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.bucket.place.prefix
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.bucket.place.region
    }

    /// The endpoint, unless it is the default one of AWS.
    pub fn endpoint(&self) -> Option<&str> {
        self.bucket.place.endpoint.as_deref()
    }

    /// The lifecycle rules that are enabled; those for other prefixes are left out.
    pub async fn lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        let place = &self.bucket.place;
        let sent = self.bucket.client.get_bucket_lifecycle_configuration().bucket(&place.bucket).send().await;
        match sent {
            Ok(answer) => {
                let rules = answer.rules().iter().filter(|rule| *rule.status() == ExpirationStatus::Enabled).map(read);
                let is_about_us = |rule: &LifecycleRule| {
                    place.prefix.starts_with(&rule.prefix) || rule.prefix.starts_with(&place.prefix)
                };
                Ok(rules.filter(is_about_us).collect())
            }
            Err(failure) if failure.code() == Some("NoSuchLifecycleConfiguration") => Ok(Vec::new()),
            Err(failure) => {
                let shown = self.to_string();
                Err(place.request("read the lifecycle rules of", &shown, ErrorKind::Changed).failed(failure))
            }
        }
    }

    /// How objects are encrypted that do not say it themselves; none if they are not.
    pub async fn default_encryption(&self) -> Result<Option<String>> {
        let place = &self.bucket.place;
        let sent = self.bucket.client.get_bucket_encryption().bucket(&place.bucket).send().await;
        match sent {
            Ok(answer) => {
                let rules =
                    answer.server_side_encryption_configuration().map(|found| found.rules()).unwrap_or_default();
                let by_default = rules.iter().find_map(|rule| rule.apply_server_side_encryption_by_default());
                Ok(by_default.map(|found| found.sse_algorithm().as_str().to_owned()))
            }
            Err(failure) if failure.code() == Some("ServerSideEncryptionConfigurationNotFoundError") => Ok(None),
            Err(failure) => {
                let shown = self.to_string();
                Err(place.request("read the encryption of", &shown, ErrorKind::Changed).failed(failure))
            }
        }
    }
}

fn read(rule: &SdkRule) -> LifecycleRule {
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    #[expect(deprecated, reason = "rules of before 2018 still have it")]
    let old_prefix = rule.prefix();
    let prefix = filter.and_then(|filter| filter.prefix()).or_else(|| and.and_then(|and| and.prefix())).or(old_prefix);
    let has_sizes = |least: Option<i64>, most: Option<i64>| least.is_some() || most.is_some();
    let is_archive = |class: &&TransitionStorageClass| {
        matches!(class, TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive)
    };
    LifecycleRule {
        id: rule.id().unwrap_or_default().to_owned(),
        prefix: prefix.unwrap_or_default().to_owned(),
        is_conditional: filter.is_some_and(|filter| {
            filter.tag().is_some() || has_sizes(filter.object_size_greater_than(), filter.object_size_less_than())
        }) || and.is_some_and(|and| {
            !and.tags().is_empty() || has_sizes(and.object_size_greater_than(), and.object_size_less_than())
        }),
        expires_after_days: rule.expiration().and_then(|expiration| expiration.days()).filter(|&days| days > 0),
        archives_to: rule
            .transitions()
            .iter()
            .filter_map(|transition| transition.storage_class())
            .find(is_archive)
            .map(|class| class.as_str().to_owned()),
        expires_old_versions: rule.noncurrent_version_expiration().is_some(),
        aborts_uploads: rule.abort_incomplete_multipart_upload().is_some(),
    }
}
