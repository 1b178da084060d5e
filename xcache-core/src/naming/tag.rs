//! Object tags: what gc and people can tell of an entry without opening it.
//!
//! S3 takes ten tags of at most 128 and 256 characters. What all stores agree on is the alphabet of letters, digits,
//! space, and `+ - = . _ : / @`. In a value, everything else, and `=` itself, is written as `=HH` for each UTF-8 byte,
//! which undoes without doubt. A value that gets too long ends in `==` and a digest of the whole, so that two long
//! branch names stay two.

use std::collections::BTreeSet;

use super::escape::{push_escaped, unescape};
use crate::object::Kind;
use crate::object::Tags;

/// The most tags of an object (S3).
const MAX_TAGS: usize = 10;
/// The longest name of a tag, in characters (S3).
const MAX_NAME_CHARS: usize = 128;
/// The longest value of a tag, in characters (S3).
const MAX_VALUE_CHARS: usize = 256;
/// Ends a shortened value, together with [`DIGEST_DIGITS`] hex digits. No encoded value contains it otherwise.
const SHORTENED: &str = "==";
/// 64 bits tell apart the branches of any repository.
const DIGEST_DIGITS: usize = 16;

/// What the tags of a new entry are made from; absent or empty texts give no tag.
#[derive(Clone, Copy, Debug)]
pub struct TagInput<'a> {
    /// Becomes `type`.
    pub kind: Kind,
    /// Becomes `branch`: the ref that the entry is written for.
    pub branch: Option<&'a str>,
    /// Becomes `commit`.
    pub commit: Option<&'a str>,
    /// Becomes `repo`.
    pub repo: Option<&'a str>,
    /// The user's own, as name and value.
    pub extra: &'a [(String, String)],
}

/// Why there are no such tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// More than ten with ours.
    #[error("{count} tags, ours included; the limit of S3 is {MAX_TAGS}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A name that S3 does not take.
    #[error(
        "tag name `{0}` must have 1 to {MAX_NAME_CHARS} letters, digits, spaces and `+ - = . _ : / @`, and must not begin with `aws:`"
    )]
    Name(String),
    /// Neither yes nor no: it would depend on the reader whether the entry is protected.
    #[error("tag `keep` must be `true` or `false`, not `{0}`")]
    Keep(String),
    /// A name that has a meaning, but for the case of its letters.
    #[error("tag `{name}` has no meaning: write `{meant}`")]
    Case {
        /// As given.
        name: String,
        /// The tag with a meaning.
        meant: &'static str,
    },
    /// A name that is given twice or is ours.
    #[error("tag `{0}` is given twice, or is one that xcache sets itself")]
    Duplicate(String),
}

/// The tags that xcache sets itself.
const OURS: [&str; 4] = ["type", "branch", "commit", "repo"];
/// The tag that protects an entry from clean-up.
const KEEP: &str = "keep";

/// Makes the tags of a new entry, ready for the store.
pub fn tags(input: TagInput<'_>) -> Result<Tags, TagError> {
    let TagInput { kind, branch, commit, repo, extra } = input;
    let kind = kind.to_string();
    let mut tags: Tags = OURS
        .into_iter()
        .zip([Some(kind.as_str()), branch, commit, repo])
        .filter_map(|(name, value)| Some((name.to_owned(), encode_tag_value(value?))))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let mut given = BTreeSet::new();
    for (name, value) in extra {
        if !is_name(name) {
            return Err(TagError::Name(name.clone()));
        }
        let meant = OURS.into_iter().chain([KEEP]).find(|meant| meant.eq_ignore_ascii_case(name) && meant != name);
        if let Some(meant) = meant {
            return Err(TagError::Case { name: name.clone(), meant });
        }
        if OURS.contains(&name.as_str()) || !given.insert(name) {
            return Err(TagError::Duplicate(name.clone()));
        }
        match (name.as_str(), parse_keep(value)) {
            (KEEP, Some(true)) => drop(tags.insert(name.clone(), "true".to_owned())),
            (KEEP, Some(false)) => {}
            (KEEP, None) => return Err(TagError::Keep(value.clone())),
            _ => drop(tags.insert(name.clone(), encode_tag_value(value))),
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(TagError::TooMany { count: tags.len() });
    }
    Ok(tags)
}

/// Whether the tags of an entry protect it from clean-up. Tags can be set by other tools too, so anything but a clear no
/// protects.
pub fn is_pin(tags: &Tags) -> bool {
    tags.iter().any(|(name, value)| name.eq_ignore_ascii_case(KEEP) && parse_keep(value) != Some(false))
}

fn parse_keep(value: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(value.trim()));
    match () {
        () if is_one_of(["true", "yes", "on", "1"]) => Some(true),
        () if is_one_of(["false", "no", "off", "0"]) => Some(false),
        () => None,
    }
}

/// The value of the tag `branch` for a git ref: the name of a branch (`main`), `tags/v1`, `pull/7/merge`; any other ref
/// stays as it is, such as `refs/notes/x`. Savers and the clean-up use this one function, so that what was saved for a
/// ref is recognised when the ref is listed.
pub fn branch_tag(ref_name: &str) -> &str {
    let ref_name = ref_name.trim();
    if let Some(branch) = ref_name.strip_prefix("refs/heads/") {
        return branch;
    }
    match ref_name.strip_prefix("refs/") {
        Some(short) if short.starts_with("tags/") || short.starts_with("pull/") => short,
        _ => ref_name,
    }
}

/// Writes any text as a tag value. Equal texts give equal values, and different texts different ones.
pub fn encode_tag_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut cut = 0;
    for c in text.chars() {
        if is_plain(c) && c != '=' {
            value.push(c);
        } else {
            push_escaped(&mut value, '=', c);
        }
        if value.len() + SHORTENED.len() + DIGEST_DIGITS <= MAX_VALUE_CHARS {
            cut = value.len();
        }
    }
    if value.len() > MAX_VALUE_CHARS {
        value.truncate(cut);
        value.push_str(SHORTENED);
        value.push_str(&blake3::hash(text.as_bytes()).to_hex()[..DIGEST_DIGITS]);
    }
    value
}

/// Undoes [`encode_tag_value`]. `None` for a shortened value, whose text is lost, and for one that we did not write;
/// compare those with the encoded form of what is looked for.
pub fn decode_tag_value(value: &str) -> Option<String> {
    let text = unescape(value, b'=')?;
    (encode_tag_value(&text) == value).then_some(text)
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with("aws:")
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || " +-=._:/@".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, value: &str) {
        assert_eq!(encode_tag_value(text), value);
        assert_eq!(decode_tag_value(value).as_deref(), Some(text));
    }

    #[test]
    fn values_use_the_alphabet_of_s3() {
        check("", "");
        check("refs/heads/main", "refs/heads/main");
        check("user@host:a+b_c.d-e f", "user@host:a+b_c.d-e f");
        check("a=b", "a=3Db");
        check("#1?", "=231=3F");
        check("fix/ä", "fix/=C3=A4");
        check(&"x".repeat(256), &"x".repeat(256));
    }

    #[test]
    fn long_values_end_in_a_digest_and_stay_different() {
        let [a, b] = ["a", "b"].map(|end| encode_tag_value(&("ä".repeat(200) + end)));
        assert_eq!(a.len(), "=C3=A4".len() * 39 + 18);
        assert!(a.starts_with(&("=C3=A4".repeat(39) + "==")));
        assert_ne!(a, b);
        assert_eq!(decode_tag_value(&a), None);
        assert_eq!(encode_tag_value(&"x".repeat(257)).len(), 256);
    }

    #[test]
    fn values_of_others_do_not_decode() {
        for value in ["a=b", "a=", "=3d", "=41", "#", "=FF"] {
            assert_eq!(decode_tag_value(value), None, "{value}");
        }
    }

    #[track_caller]
    fn check_tags(extra: &[(&str, &str)], expected: Result<&[(&str, &str)], TagError>) {
        let own =
            |pairs: &[(&str, &str)]| -> Vec<_> { pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect() };
        let input = TagInput {
            kind: Kind::Delta,
            branch: Some("refs/heads/a&b"),
            commit: Some("0123"),
            repo: Some(""),
            extra: &own(extra),
        };
        assert_eq!(tags(input).map(|tags| tags.into_iter().collect::<Vec<_>>()), expected.map(own));
    }

    #[test]
    fn entries_are_tagged_with_type_branch_commit_and_what_the_user_adds() {
        let name = |text: &str| Err(TagError::Name(text.into()));
        let ours = [("branch", "refs/heads/a=26b"), ("commit", "0123"), ("type", "delta")];
        check_tags(&[], Ok(&ours));
        check_tags(&[("keep", "true")], Ok(&[ours[0], ours[1], ("keep", "true"), ours[2]]));
        check_tags(&[("note", "")], Ok(&[ours[0], ours[1], ("note", ""), ours[2]]));
        check_tags(&[("", "x")], name(""));
        check_tags(&[("a#b", "x")], name("a#b"));
        check_tags(&[("aws:x", "x")], name("aws:x"));
        let long = "n".repeat(129);
        check_tags(&[(long.as_str(), "x")], name(&long));
        check_tags(&[("a", "1"), ("a", "2")], Err(TagError::Duplicate("a".into())));
        check_tags(&[("type", "base")], Err(TagError::Duplicate("type".into())));
        check_tags(&[("repo", "x")], Err(TagError::Duplicate("repo".into())));
        check_tags(&[("keep", "Yes")], Ok(&[ours[0], ours[1], ("keep", "true"), ours[2]]));
        check_tags(&[("keep", "0")], Ok(&ours));
        for value in ["", "ja", "truee", "keep"] {
            check_tags(&[("keep", value)], Err(TagError::Keep(value.into())));
        }
        let case = |name: &str, meant| Err(TagError::Case { name: name.into(), meant });
        check_tags(&[("Keep", "true")], case("Keep", "keep"));
        check_tags(&[("BRANCH", "x")], case("BRANCH", "branch"));
        check_tags(&[("keep", "no"), ("keep", "yes")], Err(TagError::Duplicate("keep".into())));
        let many = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| (name, "x"));
        check_tags(&many, Err(TagError::TooMany { count: 11 }));
    }

    #[test]
    fn anything_but_a_clear_no_is_a_pin() {
        let pinned = |name: &str, value: &str| is_pin(&Tags::from([(name.to_owned(), value.to_owned())]));
        for value in ["true", "True", "1", "yes", "", "forever"] {
            assert!(pinned("keep", value) && pinned("Keep", value), "{value}");
        }
        assert!(!pinned("keep", "false") && !pinned("keep", "NO") && !pinned("kept", "true"));
        assert!(!is_pin(&Tags::new()));
    }

    #[test]
    fn a_ref_becomes_one_branch_tag() {
        let check = |ref_name, tag| {
            assert_eq!(branch_tag(ref_name), tag);
            assert_eq!(branch_tag(tag), tag, "twice is as good as once");
        };
        check("refs/heads/main", "main");
        check("refs/heads/fix/7", "fix/7");
        check("main", "main");
        check("refs/tags/v1", "tags/v1");
        check("refs/pull/7/merge", "pull/7/merge");
        check("refs/notes/x", "refs/notes/x");
        check("refs/merge-requests/7/head", "refs/merge-requests/7/head");
    }

    proptest! {
        #[test]
        fn values_fit_and_decode(text in "\\PC{0,80}|[a-c=%#ä]{0,300}") {
            let value = encode_tag_value(&text);
            prop_assert!(value.len() <= MAX_VALUE_CHARS && value.chars().all(is_plain));
            let decoded = decode_tag_value(&value);
            prop_assert!(decoded.as_ref() == Some(&text) || decoded.is_none() && value.contains(SHORTENED));
        }
    }
}
