//! How a restore ended. Log lines, outputs, summary, document and exit code are all computed from this one value.

use xcache_cli::cache_args::OnTrouble;
use xcache_cli::report::chain::causes;
use xcache_cli::{Exit, Interrupted, store_error_kind};
use xcache_core::entry::Entry;
use xcache_core::lookup::Match;
use xcache_core::restore;
use xcache_core::store::ErrorKind;

use crate::config::{Config, OnMiss};

/// How a restore ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An entry was found.
    Hit(Hit),
    /// None can be used.
    Miss(MissReason),
}

/// A found entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The entry.
    pub entry: Entry,
    /// How it matches.
    pub matched: Match,
    /// What was done; `None` if we only looked.
    pub restored: Option<RestoreFigures>,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreFigures {
    /// Files in the entry.
    pub files: u64,
    /// Bytes of those files.
    pub tree_bytes: u64,
    /// Files that were there already.
    pub kept_files: u64,
    /// Files removed because they are not in the entry.
    pub removed_files: u64,
    /// Bytes fetched from the store.
    pub received_bytes: u64,
}

/// Why there is a miss, from harmless to worst: of several reasons, the worst is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MissReason {
    /// The mode of this run does not allow looking.
    Off,
    /// No entry matches.
    NothingThere,
    /// The directory of the store is not there, as before the first save.
    NoStoreYet,
    /// The entry was saved for other paths.
    OtherPaths,
    /// The entry was written in a format that this version does not know.
    NewerFormat,
    /// The entry builds on an object in a scope that this run does not read or trust.
    OtherScope,
    /// An object that the entry builds on is gone.
    Expired,
    /// The message of the pushed commit asked to delete the entry.
    Cleared,
    /// An input is wrong or missing, so that nothing was looked for.
    Misconfigured,
    /// It took longer than the user allows.
    TimedOut,
    /// The store does not let us read.
    Denied,
    /// The bucket does not exist, or the store refuses what it is asked for.
    NoStore,
    /// The store cannot be reached, or fails.
    Unreachable,
    /// The entry is damaged.
    Corrupt,
    /// The files cannot be written here.
    CannotWrite,
    /// Anything else; it was reported.
    Failed,
}

impl MissReason {
    /// The reason that an error gives.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        match store_error_kind(error) {
            Some(ErrorKind::Denied | ErrorKind::Unauthenticated) => Self::Denied,
            // A store that contradicts itself says nothing about its entries.
            Some(ErrorKind::Unavailable | ErrorKind::Corrupt) => Self::Unreachable,
            Some(ErrorKind::Invalid) => Self::NoStore,
            Some(ErrorKind::Configuration) => Self::Misconfigured,
            Some(_) => Self::Failed,
            None => causes(error).find_map(Self::of_cause).unwrap_or(Self::Failed),
        }
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(restore::Error::Write { .. } | restore::Error::NoSpace { .. }) =
            cause.downcast_ref::<restore::Error>()
        {
            return Some(Self::CannotWrite);
        }
        matches!(cause.downcast_ref::<Interrupted>()?, Interrupted::Timeout(_)).then_some(Self::TimedOut)
    }

    /// Whether something is wrong, as opposed to merely absent.
    pub fn is_trouble(self) -> bool {
        match self {
            Self::Off
            | Self::NothingThere
            | Self::NoStoreYet
            | Self::OtherPaths
            | Self::NewerFormat
            | Self::OtherScope
            | Self::Expired
            | Self::Cleared => false,
            Self::Misconfigured
            | Self::TimedOut
            | Self::Denied
            | Self::NoStore
            | Self::Unreachable
            | Self::Corrupt
            | Self::CannotWrite
            | Self::Failed => true,
        }
    }

    /// One word for outputs, summary and document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NothingThere => "nothing-there",
            Self::OtherPaths => "other-paths",
            Self::NewerFormat => "newer-format",
            Self::OtherScope => "other-scope",
            Self::Expired => "expired",
            Self::Cleared => "cleared",
            Self::Misconfigured => "misconfigured",
            Self::TimedOut => "timed-out",
            Self::Denied => "denied",
            Self::NoStoreYet | Self::NoStore => "no-store",
            Self::Unreachable => "unreachable",
            Self::Corrupt => "corrupt",
            Self::CannotWrite => "cannot-write",
            Self::Failed => "failed",
        }
    }

    /// The reason in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Off => "off: the mode does not allow looking",
            Self::NoStoreYet => "no store: nothing was saved there yet",
            Self::NothingThere => "nothing there: no key of an entry equals or begins with one of these",
            Self::OtherPaths => "other paths: the entry was saved for other paths",
            Self::NewerFormat => "newer format: the entry was written by a newer version of xcache",
            Self::OtherScope => "other scope: the entry builds on one in a scope that this run does not read",
            Self::Expired => "expired: an object that the entry builds on is gone",
            Self::Cleared => "cleared: the message of the commit asked for it",
            Self::Misconfigured => "misconfigured: an input or a variable is wrong or missing",
            Self::TimedOut => "timed out: the restore took longer than `--timeout` allows",
            Self::NoStore => "no store: the bucket does not exist, or the store refuses the request",
            Self::CannotWrite => "cannot write: the files cannot be written here",
            Self::Denied => "denied: the store does not allow reading",
            Self::Unreachable => "unreachable: the store cannot be reached or fails",
            Self::Corrupt => "corrupt: the entry is damaged",
            Self::Failed => "failed: see the warning above",
        }
    }
}

impl Outcome {
    /// One word for outputs, summary and document.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Hit(Hit { matched: Match::Exact, .. }) => "exact",
            Self::Hit(Hit { matched: Match::Prefix { .. }, .. }) => "prefix",
            Self::Miss(_) => "miss",
        }
    }

    /// How the process ends.
    pub fn exit(&self, config: &Config) -> Exit {
        let is_failure = match self {
            Self::Hit(_) => false,
            Self::Miss(reason) => {
                config.on_miss == OnMiss::Fail || (reason.is_trouble() && config.on_trouble == OnTrouble::Fail)
            }
        };
        if is_failure { Exit::Failed } else { Exit::Done }
    }
}

#[cfg(test)]
mod tests {
    use xcache_core::store;

    use super::*;

    #[test]
    fn trouble_is_worse_than_absence() {
        use MissReason::{
            CannotWrite, Cleared, Corrupt, Denied, Expired, Failed, Misconfigured, NewerFormat, NoStore, NoStoreYet,
            NothingThere, Off, OtherPaths, OtherScope, TimedOut, Unreachable,
        };
        let absent = [Off, NothingThere, NoStoreYet, OtherPaths, NewerFormat, OtherScope, Expired, Cleared];
        let trouble = [Misconfigured, TimedOut, Denied, NoStore, Unreachable, Corrupt, CannotWrite, Failed];
        let order: Vec<_> = absent.into_iter().chain(trouble).collect();
        assert!(order.is_sorted());
        assert!(order.iter().map(|reason| reason.is_trouble()).is_sorted());
    }

    #[test]
    fn store_errors_give_reasons() {
        let check = |kind, expected: MissReason| {
            let error = anyhow::Error::new(store::Error::new(kind, "list", "x")).context("cannot look up");
            assert_eq!(MissReason::of(error.as_ref()), expected);
            assert!(expected.is_trouble());
        };
        check(ErrorKind::Denied, MissReason::Denied);
        check(ErrorKind::Unauthenticated, MissReason::Denied);
        check(ErrorKind::Unavailable, MissReason::Unreachable);
        check(ErrorKind::Corrupt, MissReason::Unreachable);
        check(ErrorKind::NotFound, MissReason::Failed);
        check(ErrorKind::Invalid, MissReason::NoStore);
        check(ErrorKind::Configuration, MissReason::Misconfigured);
        let full = restore::Error::Write { path: "p".into(), source: std::io::ErrorKind::StorageFull.into() };
        assert_eq!(MissReason::of(&full), MissReason::CannotWrite);
        assert_eq!(MissReason::of(&Interrupted::Timeout(std::time::Duration::ZERO)), MissReason::TimedOut);
        assert_eq!(MissReason::of(anyhow::anyhow!("x").as_ref()), MissReason::Failed);
    }
}
