//! The two small documents through which savers and gc see each other: the intent and the mark.
//!
//! JSON, because an administrator may have to read them. Intents of every later format keep `refs[].name`, so that every
//! version knows what they protect.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::object::{Ref, RunId};
use crate::store::{ETag, ObjectName};

/// The format that this version writes and the only one that it reads.
const FORMAT: u32 = 1;

/// The most bytes of a document: 256 refs with names of 1,024 bytes each take a third of it.
pub const MAX_BYTES: u64 = 1 << 20;

/// A saver's note of the refs that it is about to use: `.xcache/intents/<sid>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentDocument {
    format: u32,
    /// The objects that must stay.
    pub refs: Vec<Noted>,
}

/// One object that a saver has noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Its name below the store's prefix.
    pub name: String,
    /// Which object of that name.
    pub etag: String,
    /// Its archive, in hex.
    pub archive_id: String,
}

/// What gc says of an object that it is about to delete: `.xcache/condemned/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkDocument {
    format: u32,
    /// Its name below the store's prefix.
    pub name: String,
    /// Which object of that name.
    pub etag: String,
    /// The pass that has put the mark, in hex; none if a restore or `verify` has found the object damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
}

/// Why a document cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or fields are missing.
    #[error("the document is damaged")]
    Damaged(#[from] serde_json::Error),
    /// Written by a newer version.
    #[error("the document has format {0}, and this version reads {FORMAT}")]
    Format(u32),
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl IntentDocument {
    /// The note of `refs`.
    pub fn new(refs: &[Ref]) -> Self {
        let refs = refs.iter().map(|r| Noted {
            name: r.name.to_string(),
            etag: r.etag.0.clone(),
            archive_id: r.archive_id.to_string(),
        });
        Self { format: FORMAT, refs: refs.collect() }
    }

    /// As stored.
    pub fn to_bytes(&self) -> Bytes {
        to_bytes(self)
    }

    /// Reads what [`Self::to_bytes`] made.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        check_format(bytes)?;
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The names that an intent of any format protects: `refs[].name` is the same in all of them.
    pub fn protected(bytes: &[u8]) -> Result<Vec<String>, DocumentError> {
        let AnyIntent { format: _, refs } = serde_json::from_slice(bytes)?;
        Ok(refs.into_iter().map(|r| r.name).collect())
    }
}

/// What intents of all formats have.
#[derive(Deserialize)]
struct AnyIntent {
    #[expect(dead_code, reason = "without it, it is no document of ours")]
    format: u32,
    refs: Vec<AnyNoted>,
}

#[derive(Deserialize)]
struct AnyNoted {
    name: String,
}

impl MarkDocument {
    /// The mark of the object `name` with this `etag`.
    pub fn new(name: &ObjectName, etag: &ETag) -> Self {
        Self { format: FORMAT, name: name.to_string(), etag: etag.0.clone(), pass: None }
    }

    /// The same, put by the pass of `run`.
    pub(super) fn of_pass(name: &ObjectName, etag: &ETag, run: &RunId) -> Self {
        Self { pass: Some(run.to_string()), ..Self::new(name, etag) }
    }

    /// As stored.
    pub fn to_bytes(&self) -> Bytes {
        to_bytes(self)
    }

    /// Reads what [`Self::to_bytes`] made.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        check_format(bytes)?;
        Ok(serde_json::from_slice(bytes)?)
    }
}

fn to_bytes(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).expect("texts and numbers always serialise").into()
}

fn check_format(bytes: &[u8]) -> Result<(), DocumentError> {
    let Versioned { format } = serde_json::from_slice(bytes)?;
    if format == FORMAT { Ok(()) } else { Err(DocumentError::Format(format)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ArchiveId;

    #[test]
    fn documents_read_back_and_refuse_what_they_do_not_know() {
        let r = Ref {
            name: ObjectName::new("a-base.tar.zst").unwrap(),
            etag: "e".into(),
            size: 1,
            data_bytes: 1,
            archive_id: ArchiveId([0xab; 16]),
            created_nanos: 0,
        };
        let intent = IntentDocument::new(&[r]);
        assert_eq!(IntentDocument::parse(&intent.to_bytes()).unwrap(), intent);
        assert_eq!(intent.refs[0].archive_id, "ab".repeat(16));
        let newer = br#"{"format":2,"refs":"elsewhere"}"#;
        assert!(matches!(IntentDocument::parse(newer), Err(DocumentError::Format(2))));
        assert!(IntentDocument::protected(newer).is_err());
        let newer = br#"{"format":2,"refs":[{"name":"a-base.tar.zst","much":"more"}],"until":7}"#;
        assert_eq!(IntentDocument::protected(newer).unwrap(), ["a-base.tar.zst"]);
        assert_eq!(IntentDocument::protected(&intent.to_bytes()).unwrap(), ["a-base.tar.zst"]);
        for damaged in [&b""[..], b"{}", b"{\"format\":1}", b"[1]"] {
            assert!(matches!(IntentDocument::parse(damaged), Err(DocumentError::Damaged(_))), "{damaged:?}");
        }
    }
}
