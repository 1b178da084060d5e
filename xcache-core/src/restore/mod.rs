//! From an index to files: compare with what is there, fetch what is missing, verify, write, or take everything back.
//!
//! ```text
//!   index ─▶ compare ─▶ plan ─▶ fetch (parts, any order) ─▶ workers (decode, verify, write) ─▶ finish (links, times)
//! ```
//!
//! Nothing is written outside the asked-for paths (`walker`), no byte becomes visible under its final name before
//! it is verified (`write`), and a restore that cannot finish leaves nothing new behind (`journal`).

mod clean;
mod compare;
mod fetch;
mod finish;
mod imperfections;
mod interrupt;
mod journal;
mod plain;
mod roots;
mod run;
mod tar_stream;
mod umask;
mod walker;
mod write;

use std::io;
use std::path::PathBuf;

pub use fetch::Frames;
pub use interrupt::Interrupt;
pub use plain::{PlainSource, restore_plain};
pub use roots::{OtherPaths, Roots};
pub use run::{Plan, restore};

use crate::archive::index::Index;
use crate::object_end::Unusable;
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
    /// A random number that no other run has; temporary names are made of it.
    pub run: u64,
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
    /// Requests for them.
    pub fetched_parts: u64,
    /// What was removed by [`Options::clean`].
    pub removed: u64,
    /// What could not be done or set, one line for each reason, for notices.
    pub imperfections: Vec<String>,
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

/// Why a restore did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The entry was saved for other paths.
    #[error("it was saved for other paths")]
    OtherPaths(#[from] OtherPaths),
    /// An object could not be fetched.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The archive holds something that it must not.
    #[error("the entry is damaged")]
    Archive(#[from] crate::archive::Error),
    /// An object that the entry is made of is damaged or gone: two fetches and a HEAD agree.
    #[error(transparent)]
    Unusable(#[from] Box<Unusable>),
    /// An archive without an index is not damaged, but holds something that is not to be restored.
    #[error("the archive is refused")]
    Refused(#[source] crate::archive::Error),
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The next step for the user, where there is one.
    pub fn hint(&self) -> Option<&str> {
        let source = match self {
            Self::Store(error) => return error.hint_text(),
            Self::Write { source, .. } => source,
            Self::OtherPaths(_) | Self::Archive(_) | Self::Unusable(_) | Self::Refused(_) | Self::Interrupted => {
                return None;
            }
        };
        match source.kind() {
            io::ErrorKind::DirectoryNotEmpty => Some("remove it, or restore with `--clean`"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space, or restore to a larger disk")
            }
            io::ErrorKind::PermissionDenied => Some("restore as a user who may write there, or to another path"),
            io::ErrorKind::ReadOnlyFilesystem => Some("restore to a path that can be written to"),
            _ => None,
        }
    }
}

/// A restore that did not finish, after everything was taken back that can be.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why. Its own text is this error's; its sources follow.
    #[source]
    pub error: Error,
    /// How many files that existed before are now the new ones, complete. Zero means that nothing has changed.
    pub replaced_files: u64,
}
