//! How a save ended. Log lines, outputs, summary, document and exit code are all computed from this one value.

use xcache_cli::Exit;
use xcache_cli::cache_args::OnTrouble;
use xcache_core::entry::Kind;
use xcache_core::key::Key;
use xcache_core::store::ObjectName;

use crate::args::IfExists;
use crate::config::Config;

/// How a save ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new entry is published.
    Saved(Saved),
    /// The key has an entry already.
    AlreadyExists {
        /// Whether it appeared while we were saving.
        when: Existed,
        /// Bytes sent in vain.
        sent_bytes: u64,
    },
    /// None of the paths exists.
    NothingToSave,
    /// The mode of this run does not allow saving.
    ReadOnly,
    /// Cache trouble, already reported as a warning; nothing is saved.
    NotSaved {
        /// Bytes sent in vain.
        sent_bytes: u64,
    },
}

/// Since when a key has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existed {
    /// Since before this run.
    Before,
    /// Another run published it first.
    LostRace,
}

/// A new entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its kind.
    pub kind: Kind,
    /// Its object.
    pub object: ObjectName,
    /// For a delta: the key of the entry that it builds on.
    pub built_on: Option<Key>,
    /// Files in the tree.
    pub files: u64,
    /// Bytes of those files.
    pub tree_bytes: u64,
    /// Size of the object.
    pub stored_bytes: u64,
    /// Bytes sent to the store; more than the object where parts were sent again.
    pub sent_bytes: u64,
    /// Files left out because they cannot be read or are of a kind that is not saved.
    pub skipped: u64,
    /// It was to be pinned with `keep=true`, and the store or the role took no tags. Already reported as a warning.
    pub is_pin_lost: bool,
}

impl Outcome {
    /// One word for outputs, summary and document.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Saved(_) => "saved",
            Self::AlreadyExists { .. } => "exists",
            Self::NothingToSave => "nothing-to-save",
            Self::ReadOnly => "read-only",
            Self::NotSaved { .. } => "not-saved",
        }
    }

    /// How the process ends.
    pub fn exit(&self, config: &Config) -> Exit {
        let is_failure = match self {
            Self::Saved(saved) => saved.is_pin_lost && config.on_trouble == OnTrouble::Fail,
            Self::NothingToSave | Self::ReadOnly => false,
            Self::AlreadyExists { .. } => config.if_exists == IfExists::Fail,
            Self::NotSaved { .. } => config.on_trouble == OnTrouble::Fail,
        };
        if is_failure { Exit::Failed } else { Exit::Done }
    }
}
