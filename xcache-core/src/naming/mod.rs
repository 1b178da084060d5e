//! The only place that knows object names and tags: `docs/format.md`, "Object names, tags".
//!
//! ```text
//! [<scope>/]<key>-base.tar.zst
//! [<scope>/]<key>-delta.tar.zst
//! .xcache/…                       what is not an entry: see `own`
//! ```
//!
//! A key is encoded character by character, and each step looks only at what stands before it. So a prefix of a key is
//! a prefix of its name, and one listing finds all keys that begin with a restore key. Ordinary keys stand as they
//! are, which makes our names those of the bash actions. Percent-encoded, as UTF-8 bytes with upper-case digits, is:
//!
//! | what | why |
//! | --- | --- |
//! | control characters, non-ASCII | stores and file systems normalise, re-encode or refuse them |
//! | space ``# ? % \ ^ ` " ' < > { } [ ] \| ~ * & $ ; ,`` | proxies, gateways, IAM patterns, shells and file systems give them a meaning; AWS and Google list them as "avoid" or "needs care" |
//! | a slash that begins a segment | `x//y` becomes `x/y` in stores that are file systems inside |
//! | a dot that begins a segment | `.` and `..` are refused or resolved; `.xcache/` is ours |
//!
//! Letters, digits and ``- _ . / + = @ : ( ) !`` stay. Since stores that are file systems inside take at most 255 bytes
//! between slashes, a longer segment is continued in a next one: the mark `%2D/` stands between them, which nothing
//! else makes, because a dash stays a dash. A trailing slash needs no care: a suffix follows.
//!
//! A scope is one segment in which slashes are encoded too. It is known by a `%2F` inside, where a key has one at the
//! beginning of a segment only, so no key is ever taken for a scope or the other way round.

pub(crate) mod escape;
mod own;
mod tag;

use crate::key::Key;
use crate::object::Kind;
use crate::scope::Scope;
use crate::store::{ObjectName, ObjectNameError};

use escape::{MAX_SEGMENT_BYTES, is_plain, push_char, scope_segment, unescape};
pub use own::{
    CONDEMNED_PREFIX, INTENTS_PREFIX, MarkId, PASSES_PREFIX, PROBES_PREFIX, condemned_name, intent_name,
    parse_condemned, parse_intent, pass_name, store_features_name,
};
pub use tag::{TagError, TagInput, branch_tag, decode_tag_value, encode_tag_value, is_pin, tags};

/// A segment of a key that has got this long is continued in the next: one more character (at most 12 bytes when
/// encoded) and the longest suffix (14 bytes) still fit.
const CONTINUE_AT_BYTES: usize = MAX_SEGMENT_BYTES - 12 - 14;

/// Ends a segment that the next one continues.
const CONTINUED: &str = "%2D/";

/// The name of the object that is the entry of `key` in `scope`, if it fits into the 1,024 bytes of S3.
pub fn object_name(scope: Option<&Scope>, key: &Key, kind: Kind) -> Result<ObjectName, ObjectNameError> {
    ObjectName::new(list_prefix(scope, key.as_str()) + suffix(kind))
}

/// What the names of all entries in `scope` begin with whose keys begin with `key_prefix`. Other names do so as well:
/// [`parse`] what is listed and compare the keys.
pub fn list_prefix(scope: Option<&Scope>, key_prefix: &str) -> String {
    let mut name = String::with_capacity(ObjectName::MAX_BYTES / 4);
    if let Some(scope) = scope {
        name.push_str(&scope_segment(scope.as_str()));
        name.push('/');
    }
    push_key(&mut name, key_prefix);
    name
}

/// The inverse of [`object_name`]: `None` for every name that it does not make.
pub fn parse(name: &ObjectName) -> Option<(Option<Scope>, Key, Kind)> {
    let (stem, kind) = [Kind::Base, Kind::Delta]
        .into_iter()
        .find_map(|kind| Some((name.as_str().strip_suffix(suffix(kind))?, kind)))?;
    let (scope, key) = match stem.split_once('/') {
        Some((segment, key)) if is_scope(segment) => (Some(decode(segment)?.parse().ok()?), key),
        _ => (None, stem),
    };
    let key = decode(key)?.parse().ok()?;
    let canonical = object_name(scope.as_ref(), &key, kind).ok()? == *name;
    canonical.then_some((scope, key, kind))
}

/// Whether `name` is the one that an archive of this key and kind is saved under, in whatever scope. If not, it belongs to
/// another store, above or below this one, or was put here by other means.
pub fn is_name_of(name: &ObjectName, key: &str, kind: Kind) -> bool {
    parse(name).is_some_and(|(_, own_key, own_kind)| own_key.as_str() == key && own_kind == kind)
}

/// The name that the entry of the same key and scope has as a `kind`; `None` if `name` is not that of an entry.
pub fn with_kind(name: &str, kind: Kind) -> Option<String> {
    let stem = [Kind::Base, Kind::Delta].into_iter().find_map(|kind| name.strip_suffix(suffix(kind)))?;
    Some(format!("{stem}{}", suffix(kind)))
}

fn suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Base => "-base.tar.zst",
        Kind::Delta => "-delta.tar.zst",
    }
}

fn push_key(name: &mut String, key: &str) {
    let mut segment_start = name.len();
    for c in key.chars() {
        if c == '/' && name.len() > segment_start {
            name.push('/');
            segment_start = name.len();
            continue;
        }
        if name.len() - segment_start >= CONTINUE_AT_BYTES {
            name.push_str(CONTINUED);
            segment_start = name.len();
        }
        let leading_dot = c == '.' && name.len() == segment_start;
        push_char(name, c, is_plain(c) && !leading_dot);
    }
}

fn is_scope(segment: &str) -> bool {
    segment.match_indices("%2F").any(|(at, _)| at > 0)
}

fn decode(text: &str) -> Option<String> {
    unescape(&text.replace(CONTINUED, ""), b'%')
}

#[cfg(test)]
mod tests;
