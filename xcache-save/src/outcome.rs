//! How a save ended. Log lines, outputs, summary, document and exit code are all computed from this one value.

use xcache_cli::cache_args::OnTrouble;
use xcache_cli::report::chain::causes;
use xcache_cli::{Exit, Interrupted, store_error_kind};
use xcache_core::delta::plan::Reason;
use xcache_core::key::Key;
use xcache_core::object::Kind;
use xcache_core::store::{ErrorKind, ObjectName};

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
    /// Nothing is at the paths that can be saved.
    NothingToSave {
        /// How much is there and cannot be read.
        unreadable: u64,
    },
    /// The mode of this run does not allow saving.
    ReadOnly,
    /// Already reported as a warning; nothing is saved.
    NotSaved {
        /// Why.
        reason: NotSaved,
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

/// Why nothing was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSaved {
    /// A restore onto the paths did not finish.
    Unfinished,
    /// The name of the key's object is taken by an entry of another store.
    OtherStore,
    /// An input is wrong or missing.
    Misconfigured,
    /// It took longer than the user allows.
    TimedOut,
    /// The store does not let us write.
    Denied,
    /// The bucket does not exist, or the store refuses what it is asked for.
    NoStore,
    /// The store cannot be reached, or fails.
    Unreachable,
    /// Anything else.
    Failed,
}

impl NotSaved {
    /// The reason that an error gives.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        match store_error_kind(error) {
            Some(ErrorKind::Denied | ErrorKind::Unauthenticated) => Self::Denied,
            Some(ErrorKind::Unavailable) => Self::Unreachable,
            Some(ErrorKind::Invalid) => Self::NoStore,
            Some(ErrorKind::Configuration) => Self::Misconfigured,
            Some(_) => Self::Failed,
            None => {
                let is_timeout = |cause: &(dyn std::error::Error + 'static)| {
                    matches!(cause.downcast_ref::<Interrupted>(), Some(Interrupted::Timeout(_)))
                };
                if causes(error).any(is_timeout) { Self::TimedOut } else { Self::Failed }
            }
        }
    }

    /// One word for outputs, summary and document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished-restore",
            Self::OtherStore => "other-store",
            Self::Misconfigured => "misconfigured",
            Self::TimedOut => "timed-out",
            Self::Denied => "denied",
            Self::NoStore => "no-store",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
        }
    }
}

/// A new entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its kind.
    pub kind: Kind,
    /// For a complete entry: why it does not build on another.
    pub reason: Option<Reason>,
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
    /// Those of them that should have been saved.
    pub incomplete: u64,
}

impl Saved {
    /// Whether something that was asked for is missing, which was reported as a warning.
    pub fn falls_short(&self) -> bool {
        self.incomplete > 0 || self.is_pin_lost
    }
}

impl Outcome {
    /// Why it is not what one might expect: a complete entry, or none.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Saved(saved) => saved.reason.map(Reason::word),
            Self::NotSaved { reason, .. } => Some(reason.word()),
            Self::AlreadyExists { .. } | Self::NothingToSave { .. } | Self::ReadOnly => None,
        }
    }

    /// One word for outputs, summary and document.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Saved(_) => "saved",
            Self::AlreadyExists { .. } => "exists",
            Self::NothingToSave { .. } => "nothing-to-save",
            Self::ReadOnly => "read-only",
            Self::NotSaved { .. } => "not-saved",
        }
    }

    /// How the process ends.
    pub fn exit(&self, config: &Config) -> Exit {
        let is_failure = match self {
            Self::Saved(saved) => saved.falls_short() && config.on_trouble == OnTrouble::Fail,
            Self::NothingToSave { unreadable } => *unreadable > 0 && config.on_trouble == OnTrouble::Fail,
            Self::ReadOnly => false,
            Self::AlreadyExists { .. } => config.if_exists == IfExists::Fail,
            Self::NotSaved { .. } => config.on_trouble == OnTrouble::Fail,
        };
        if is_failure { Exit::Failed } else { Exit::Done }
    }
}
