//! Names of what is not an entry. All of it lies under `.xcache/`, where no key can be.

use crate::object::{ArchiveId, ETag, ObjectName, RunId};

/// Where savers note the refs that they are about to use.
pub const INTENTS_PREFIX: &str = ".xcache/intents/";

/// Where gc marks what it is about to delete.
pub const CONDEMNED_PREFIX: &str = ".xcache/condemned/";

/// The note of the save run `run`.
pub fn intent_name(RunId(id): &RunId) -> ObjectName {
    own(INTENTS_PREFIX.to_owned() + &hex(id))
}

/// Names the mark of one object.
///
/// It is made of the name as well as of the archive id. A pull request can copy an entry of `main` into its own scope, and
/// the copy has the same archive id: a mark by the id alone would condemn the entry of `main` along with the copy. It is
/// not made of the ETag, which changes when an object is encrypted anew or copied to another bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkId([u8; 16]);

impl MarkId {
    /// Of an object with an archive.
    pub fn of_archive(name: &ObjectName, ArchiveId(id): ArchiveId) -> Self {
        Self::hash(name, &id)
    }

    /// Of an object that has no archive id, or none that can be read.
    pub fn of_object(name: &ObjectName, etag: &ETag) -> Self {
        Self::hash(name, etag.0.as_bytes())
    }

    fn hash(name: &ObjectName, rest: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(name.as_str().as_bytes()).update(b"\n").update(rest);
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }
}

/// The mark that an object is condemned.
pub fn condemned_name(MarkId(id): &MarkId) -> ObjectName {
    own(CONDEMNED_PREFIX.to_owned() + &hex(id))
}

/// Remembers what the store was found to honour.
pub fn store_features_name() -> ObjectName {
    own(".xcache/store".to_owned())
}

/// Where every run of gc has its mark: the store's clock, and a lease on a store without conditional deletion.
pub const PASSES_PREFIX: &str = ".xcache/gc/";

/// What a probe writes to find out what a store honours.
pub const PROBES_PREFIX: &str = ".xcache/probe/";

/// The mark of the gc run `run`.
pub fn pass_name(RunId(id): &RunId) -> ObjectName {
    own(PASSES_PREFIX.to_owned() + &hex(id))
}

/// The inverse of [`intent_name`].
pub fn parse_intent(name: &ObjectName) -> Option<RunId> {
    unhex(name.as_str().strip_prefix(INTENTS_PREFIX)?).map(RunId)
}

/// The inverse of [`condemned_name`].
pub fn parse_condemned(name: &ObjectName) -> Option<MarkId> {
    unhex(name.as_str().strip_prefix(CONDEMNED_PREFIX)?).map(MarkId)
}

fn own(name: String) -> ObjectName {
    ObjectName::new(name).expect("a short name of plain ASCII characters")
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.bytes().map(|byte| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    });
    let mut id = [0; 16];
    for byte in &mut id {
        *byte = digits.next()?? << 4 | digits.next()??;
    }
    digits.next().is_none().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_hex() {
        let id = *b"\x00\x01\x9a\xbc\xde\xf0\xffabcdefghi";
        assert_eq!(intent_name(&RunId(id)).as_str(), ".xcache/intents/00019abcdef0ff616263646566676869");
        assert_eq!(condemned_name(&MarkId(id)).as_str(), ".xcache/condemned/00019abcdef0ff616263646566676869");
        assert_eq!(parse_intent(&intent_name(&RunId(id))), Some(RunId(id)));
        assert_eq!(parse_condemned(&condemned_name(&MarkId(id))), Some(MarkId(id)));
    }

    #[test]
    fn a_mark_is_of_one_object() {
        let of_archive = |name: &str, id| MarkId::of_archive(&ObjectName::new(name).unwrap(), ArchiveId([id; 16]));
        let of_object = |name: &str, etag: &str| MarkId::of_object(&ObjectName::new(name).unwrap(), &ETag(etag.into()));
        let mark = of_archive("k-base.tar.zst", 7);
        assert_eq!(mark, of_archive("k-base.tar.zst", 7));
        assert_ne!(mark, of_archive("refs%2Fpull%2F7%2Fmerge/k-base.tar.zst", 7));
        assert_ne!(mark, of_archive("k-base.tar.zst", 8));
        assert_ne!(mark, of_object("k-base.tar.zst", "etag"));
        assert_ne!(of_object("a", "b"), of_object("a", "c"));
    }

    #[test]
    fn other_names_are_not_ours() {
        let id = "00019abcdef0ff616263646566676869";
        let table = [
            id.to_owned(),
            format!(".xcache/condemned/{id}"),
            format!(".xcache/intents/{id}0"),
            format!(".xcache/intents/{}", &id[1..]),
            format!(".xcache/intents/{}", id.to_uppercase()),
            format!(".xcache/intents/{id}/"),
            ".xcache/intents/".to_owned(),
        ];
        for name in table {
            assert_eq!(parse_intent(&ObjectName::new(name.clone()).unwrap()), None, "{name}");
        }
        assert_eq!(parse_condemned(&intent_name(&RunId([7; 16]))), None);
        assert_eq!(crate::naming::parse(&store_features_name()), None);
        assert_eq!(crate::naming::parse(&pass_name(&RunId([7; 16]))), None);
    }
}
