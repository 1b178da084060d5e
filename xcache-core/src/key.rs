//! What users call their caches: keys, and the restore keys that stand for many of them.

use std::fmt;
use std::str::FromStr;

/// The full name that a user gives a cache: 1 to 512 characters, no comma, no control characters, and not beginning
/// with `.xcache/`, where the store keeps what is not an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// A prefix of keys, tried in the order given when the primary key has no exact match. The same characters as a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestoreKey(String);

/// The keys of one lookup: the primary key, and the restore keys in the order of preference. At most ten in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    primary: Key,
    restore: Vec<RestoreKey>,
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing there.
    #[error("a key must not be empty")]
    Empty,
    /// Longer than 512 characters.
    #[error("key `{start}…` is {chars} characters long; the limit is {}", Key::MAX_CHARS)]
    TooLong {
        /// Its first characters.
        start: String,
        /// Its length.
        chars: usize,
    },
    /// Contains a comma.
    #[error("key `{0}` contains a comma")]
    Comma(String),
    /// Contains a control character.
    #[error("key {0:?} contains a control character")]
    Control(String),
    /// Begins with `.xcache/`.
    #[error("key `{0}` begins with `.xcache/`, which is reserved")]
    Reserved(String),
}

/// Why texts are no [`Keys`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// One of them is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// More than ten.
    #[error("{count} keys given; the limit is {} (the key and its restore keys together)", Keys::MAX)]
    TooMany {
        /// How many.
        count: usize,
    },
}

impl Key {
    /// The longest key, in characters (`checkKey` in `@actions/cache`, which counts UTF-16 units and so allows a
    /// little less outside the basic plane).
    pub const MAX_CHARS: usize = 512;

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RestoreKey {
    /// The restore key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Keys {
    /// The most keys of one lookup (`restoreCache` in `@actions/cache`).
    pub const MAX: usize = 10;

    /// Checks their number.
    pub fn new(primary: Key, restore: Vec<RestoreKey>) -> Result<Self, KeysError> {
        let count = 1 + restore.len();
        if count > Self::MAX {
            return Err(KeysError::TooMany { count });
        }
        Ok(Self { primary, restore })
    }

    /// Checks texts as the user gave them. Too many keys are reported before a bad one, as `actions/cache` does.
    pub fn parse<T: AsRef<str>>(primary: &str, restore: &[T]) -> Result<Self, KeysError> {
        let count = 1 + restore.len();
        if count > Self::MAX {
            return Err(KeysError::TooMany { count });
        }
        let restore = restore.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>();
        Self::new(primary.parse()?, restore?)
    }

    /// The key that is asked for.
    pub fn primary(&self) -> &Key {
        &self.primary
    }

    /// What may stand in for it, best first.
    pub fn restore(&self) -> &[RestoreKey] {
        &self.restore
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        check(text).map(Self)
    }
}

impl FromStr for RestoreKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        check(text).map(Self)
    }
}

/// A restore key that is taken for the full key: the characters are the same.
impl From<&RestoreKey> for Key {
    fn from(restore: &RestoreKey) -> Self {
        Self(restore.0.clone())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RestoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str) -> Result<String, KeyError> {
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    let chars = text.chars().count();
    if chars > Key::MAX_CHARS {
        return Err(KeyError::TooLong { start: text.chars().take(40).collect(), chars });
    }
    if text.contains(',') {
        return Err(KeyError::Comma(text.to_owned()));
    }
    if text.chars().any(char::is_control) {
        return Err(KeyError::Control(text.to_owned()));
    }
    if text.starts_with(".xcache/") {
        return Err(KeyError::Reserved(text.to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys of all kinds: mostly of characters that mean something to names, to stores, or to file systems.
    pub(crate) fn any_key() -> impl Strategy<Value = Key> {
        let odd = r"[a-c/./%#?+\\ *:@~&'-]{1,40}";
        let long = r"[a-z/.é😀 ]{200,260}";
        let all = r"\PC{1,30}";
        prop_oneof![4 => odd, 1 => long, 2 => all].prop_filter_map("no key", |text: String| text.parse().ok())
    }

    #[track_caller]
    fn check(text: &str, expected: Result<(), KeyError>) {
        assert_eq!(text.parse::<Key>().map(|key| assert_eq!(key.as_str(), text)), expected);
        assert_eq!(text.parse::<RestoreKey>().map(|key| assert_eq!(key.as_str(), text)), expected);
    }

    #[test]
    fn keys_have_the_limits_of_actions_cache() {
        check("Linux-node-8f2c", Ok(()));
        check("a b#c?d%e", Ok(()));
        check("schlüssel-😀", Ok(()));
        check(" ", Ok(()));
        check("", Err(KeyError::Empty));
        check(&"ä".repeat(512), Ok(()));
        check(&"ä".repeat(513), Err(KeyError::TooLong { start: "ä".repeat(40), chars: 513 }));
        check("a,b", Err(KeyError::Comma("a,b".into())));
        check("a\nb", Err(KeyError::Control("a\nb".into())));
        check("a\u{7f}", Err(KeyError::Control("a\u{7f}".into())));
        check("a\u{85}", Err(KeyError::Control("a\u{85}".into())));
    }

    #[test]
    fn the_folder_of_the_store_is_reserved() {
        check(".xcache/x", Err(KeyError::Reserved(".xcache/x".into())));
        check(".xcache", Ok(()));
        check("a/.xcache/x", Ok(()));
    }

    #[test]
    fn a_lookup_has_at_most_ten_keys() {
        assert!(Keys::parse("k", &["r"; 9]).is_ok());
        assert_eq!(Keys::parse("k", &["r"; 10]), Err(KeysError::TooMany { count: 11 }));
        assert_eq!(Keys::parse("k", &["a,b"; 10]), Err(KeysError::TooMany { count: 11 }));
        assert_eq!(Keys::parse("k", &["r", ""]), Err(KeysError::Key(KeyError::Empty)));
        assert_eq!(Keys::parse("", &["r"]), Err(KeysError::Key(KeyError::Empty)));
        let keys = Keys::parse("k", &["r", "q"]).unwrap();
        assert_eq!(keys.primary().as_str(), "k");
        assert_eq!(keys.restore().iter().map(RestoreKey::as_str).collect::<Vec<_>>(), ["r", "q"]);
    }

    proptest! {
        #[test]
        fn display_undoes_parse(key in any_key()) {
            prop_assert_eq!(key.to_string().parse::<Key>(), Ok(key.clone()));
            let restore = RestoreKey(key.0);
            prop_assert_eq!(restore.to_string().parse::<RestoreKey>(), Ok(restore));
        }

        #[test]
        fn whatever_parses_keeps_the_rules(text in "\\PC*|[\u{0}-\u{a0}]{0,9}") {
            let good = !text.is_empty() && !text.contains(',') && !text.chars().any(char::is_control)
                && text.chars().count() <= 512 && !text.starts_with(".xcache/");
            prop_assert_eq!(text.parse::<Key>().is_ok(), good);
        }
    }
}
