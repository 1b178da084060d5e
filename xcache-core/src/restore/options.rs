//! What a restore is asked for, and what it reports.

use crate::archive::index::Index;
use crate::object::RunId;
use crate::scan::Signature;

/// How to restore.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that decode and write.
    pub workers: usize,
    /// Give files the owner they had, where that is permitted.
    pub same_owner: bool,
    /// Remove what lies in the roots but not in the entry.
    pub clean: bool,
    /// With [`Options::clean`], remove repositories as well: what holds `.git`.
    pub clean_repositories: bool,
    /// Which restore this is; temporary names are made of it.
    pub run: RunId,
}

/// What a restore did.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Regular files of the entry.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there already.
    pub kept_files: u64,
    /// Bytes fetched, the tail with the index not counted.
    pub fetched_bytes: u64,
    /// Files and links removed by [`Options::clean`].
    pub removed_files: u64,
    /// What could not be done or set, one line for each reason.
    pub notices: Vec<String>,
    /// What each member is now, for the state; `None` for what is no regular file.
    pub signatures: Vec<Option<Signature>>,
}

/// What was known of the directory before: the entry that was restored here last, and what its files were then.
#[derive(Debug)]
pub struct Before<'a> {
    /// Its tree.
    pub index: &'a Index,
    /// Of each member, if it is a file that can be told to be unchanged by it.
    pub signatures: &'a [Option<Signature>],
    /// When these were noted, by the clock that gives files their ctime, in nanoseconds since 1970.
    pub noted_nanos: i64,
}
