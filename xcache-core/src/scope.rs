//! Scopes: the optional path segment that keeps the entries of one ref apart from those of others.

use std::fmt;

/// One ref or name whose entries lie together, for example `refs/heads/main`. See [`crate::naming`] for how it
/// becomes the first segment of an object name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

/// Where a run writes and where it reads, in order. `None` stands for "no scope".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    /// Entries are written here only.
    pub write: Option<Scope>,
    /// Entries are looked for here, in order: own, base branch of a pull request, default branch.
    pub read: Vec<Option<Scope>>,
}

impl Scope {
    /// The ref or name as the user knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
