//! Identities: what an object, an archive and a run are called. Each is checked when it is made, here and nowhere else.
//!
//! A leaf: every part handles objects, and this knows none of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of an object below the store's prefix, at most 1,024 bytes together with it (the limit of S3).
///
/// Any UTF-8 without control characters is a name; which names we make is the business of [`crate::naming`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ObjectName(String);

/// Why a text is no object name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectNameError {
    /// Nothing there.
    #[error("an object name must not be empty")]
    Empty,
    /// Longer than S3 allows.
    #[error("object name is {bytes} bytes long; the limit of S3 is {limit} together with the prefix")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What there is room for.
        limit: usize,
    },
    /// A control character.
    #[error("object name contains the control character {0:?}")]
    Control(char),
}

impl ObjectName {
    /// The most bytes of an object name, prefix included.
    pub const MAX_BYTES: usize = 1024;

    /// Checks `name`.
    pub fn new(name: impl Into<String>) -> Result<Self, ObjectNameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(ObjectNameError::Empty);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(ObjectNameError::TooLong { bytes: name.len(), limit: Self::MAX_BYTES });
        }
        match name.chars().find(|c| c.is_control()) {
            Some(c) => Err(ObjectNameError::Control(c)),
            None => Ok(Self(name)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ObjectName {
    type Error = ObjectNameError;

    fn try_from(name: String) -> Result<Self, ObjectNameError> {
        Self::new(name)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a store gives an object to tell its contents apart from any other under the same name. Opaque; without the
/// quotes of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ETag(pub String);

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ETag {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Object tags, already encoded for the store ([`crate::naming`]).
pub type Tags = BTreeMap<String, String>;

/// Whether an entry is complete in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Complete in itself.
    Base,
    /// Holds only what the objects it refers to do not.
    Delta,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "base",
            Self::Delta => "delta",
        })
    }
}

/// What tells an archive from every other, even one of the same name: random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ArchiveId(pub [u8; 16]);

impl fmt::Display for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A run of 16 bytes as people and names show it.
fn write_hex(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// An object that holds some of a delta's chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ref {
    /// Its name below the prefix of the store.
    pub name: ObjectName,
    /// Which object of that name.
    pub etag: ETag,
    /// Its length.
    pub size: u64,
    /// How much of that is frames.
    pub data_bytes: u64,
    /// Its archive.
    pub archive_id: ArchiveId,
    /// When it was written, in nanoseconds since 1970.
    pub created_nanos: i64,
}

/// One object, and which of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Its name below the prefix of the store.
    pub name: ObjectName,
    /// Which object of that name.
    pub etag: ETag,
}

impl Pinned {
    /// This object of that name.
    pub fn new(name: &ObjectName, etag: &ETag) -> Self {
        Self { name: name.clone(), etag: etag.clone() }
    }

    /// Whether it is the object that `r` means. A copied one has another ETag, and is not.
    pub fn is_of(&self, r: &Ref) -> bool {
        self.name == r.name && self.etag == r.etag
    }
}

impl Ref {
    /// The object as it was when the ref was written.
    pub fn pinned(&self) -> Pinned {
        Pinned::new(&self.name, &self.etag)
    }
}

/// What tells a run from every other: random. Its notes, marks and temporary files carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub [u8; 16]);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl RunId {
    /// A new one.
    ///
    /// # Errors
    /// Of a system that gives no random numbers. There is no substitute for them: what is published or deleted under an
    /// id must not be taken for another run's.
    pub fn new() -> Result<Self, NoRandomNumbers> {
        random().map(Self)
    }

    /// For temporary names only: without random numbers the time tells runs on one machine apart well enough.
    pub fn of_time(unix_nanos: i64) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&unix_nanos.to_be_bytes());
        Self(id)
    }

    /// The first half, for names of temporary files: enough to tell apart the runs that write to one directory.
    pub fn short(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl ArchiveId {
    /// A new one.
    ///
    /// # Errors
    /// Of a system that gives no random numbers.
    pub fn new() -> Result<Self, NoRandomNumbers> {
        random().map(Self)
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomNumbers(#[source] getrandom::Error);

fn random() -> Result<[u8; 16], NoRandomNumbers> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(NoRandomNumbers)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_read_is_checked_like_one_that_is_made() {
        let long = format!("\"{}\"", "x".repeat(ObjectName::MAX_BYTES + 1));
        for text in ["\"\"", "\"a\\nb\"", &long] {
            assert!(serde_json::from_str::<ObjectName>(text).is_err(), "{text}");
        }
        // Stored as a text, in JSON as in archives.
        let name = ObjectName::new("k-base.tar.zst").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"k-base.tar.zst\"");
        let bytes = postcard::to_stdvec(&name).unwrap();
        assert_eq!(bytes, postcard::to_stdvec("k-base.tar.zst").unwrap());
        assert_eq!(postcard::from_bytes::<ObjectName>(&bytes).unwrap(), name);
    }

    #[test]
    fn runs_and_archives_are_told_apart() {
        assert_ne!(RunId::new().unwrap(), RunId::new().unwrap());
        assert_ne!(ArchiveId::new().unwrap(), ArchiveId::new().unwrap());
        assert_eq!(RunId([0xa; 16]).to_string(), "0a".repeat(16));
        assert_eq!(RunId::of_time(7).short(), 7);
    }
}
