//! Where a store is, as the user writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::redact::GivenAddress;

/// Where a store is: `s3://bucket/prefix` or `file:///directory`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A bucket, and the prefix without slashes at its ends (often empty).
    S3 {
        /// The bucket.
        bucket: String,
        /// What all names begin with.
        prefix: String,
    },
    /// A directory, as an absolute path.
    Local(PathBuf),
}

/// Why a text is no store URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// Neither scheme.
    #[error("store `{0}` is neither `s3://bucket/prefix` nor `file:///directory`")]
    Scheme(GivenAddress),
    /// No or a malformed bucket.
    #[error("store `{0}` names no valid bucket; write `s3://bucket` or `s3://bucket/prefix`")]
    Bucket(GivenAddress),
    /// A prefix that could not be kept apart from other names, or is too long.
    #[error("the prefix of store `{url}` {reason}")]
    Prefix {
        /// The URL.
        url: GivenAddress,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A relative path, or a host.
    #[error("store `{0}` must name an absolute directory, with three slashes: `file:///var/cache/xcache`")]
    Directory(GivenAddress),
}

/// Names have up to about 700 bytes; a longer prefix leaves too little of S3's 1,024.
const MAX_PREFIX_BYTES: usize = 256;

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(url: &str) -> std::result::Result<Self, StoreUrlError> {
        if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_plain) {
                return Err(StoreUrlError::Bucket(url.into()));
            }
            let prefix = prefix.trim_matches('/');
            let wrong = |reason| StoreUrlError::Prefix { url: url.into(), reason };
            if prefix.len() > MAX_PREFIX_BYTES {
                return Err(wrong("is longer than 256 bytes"));
            }
            if prefix.chars().any(char::is_control) {
                return Err(wrong("contains a control character"));
            }
            if !prefix.is_empty() && prefix.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
                return Err(wrong("has an empty segment, or one that is `.` or `..`"));
            }
            Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        } else if let Some(path) = url.strip_prefix("file://") {
            if !path.starts_with('/') || path.contains('\0') {
                return Err(StoreUrlError::Directory(url.into()));
            }
            Ok(Self::Local(PathBuf::from(path)))
        } else {
            Err(StoreUrlError::Scheme(url.into()))
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Local(path) => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_urls_are_read_and_written() {
        for (text, expected) in [
            ("s3://bucket", Some("s3://bucket")),
            ("s3://bucket/", Some("s3://bucket")),
            ("s3://my.bucket/a/b/", Some("s3://my.bucket/a/b")),
            ("file:///var/cache", Some("file:///var/cache")),
            ("file://host/dir", None),
            ("file://", None),
            ("s3://", None),
            ("s3://b", None),
            ("s3://buc ket/x", None),
            ("s3://bucket/a//b", None),
            ("s3://bucket/a/../b", None),
            ("gs://bucket", None),
            ("/var/cache", None),
            ("", None),
        ] {
            let url = text.parse::<StoreUrl>();
            assert_eq!(url.as_ref().ok().map(ToString::to_string).as_deref(), expected, "{text}: {url:?}");
        }
    }
}
