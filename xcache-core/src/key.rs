//! What users call their caches: keys, and the restore keys that stand for many of them.

use std::fmt;
use std::str::FromStr;

/// The full name that a user gives a cache: 1 to 512 characters, no comma, no control characters (the rules of
/// `actions/cache`), and not beginning with `.xcache/`, where the store keeps what is not an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// A prefix of keys, tried in the order given when the primary key has no exact match. The same characters as a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestoreKey(String);

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

impl Key {
    /// The longest key, in characters.
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
