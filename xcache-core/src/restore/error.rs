//! Why a restore did not finish.

use std::io;
use std::path::PathBuf;

use super::disk::OpenError;
use super::interrupt::Interrupt;
use super::roots::OtherPaths;
use crate::object_end::Unusable;
use crate::{archive, store};

/// Why a restore did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The entry was saved for other paths.
    #[error("it was saved for other paths")]
    OtherPaths(#[from] OtherPaths),
    /// An object could not be fetched.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The archive holds something that it must not.
    #[error("the entry is damaged")]
    Archive(#[from] archive::Error),
    /// An object that the entry is made of is damaged or gone: two fetches and a HEAD agree.
    #[error(transparent)]
    Unusable(#[from] Box<Unusable>),
    /// The entry builds on an object that this run does not trust, or may not read.
    #[error("it builds on `{0}`, which lies in a scope that this run does not read or trust")]
    OtherScope(String),
    /// An archive is not damaged, but holds something that is not to be restored.
    #[error("the archive is refused")]
    Refused(#[source] archive::Error),
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk is too small for the entry. Nothing was written.
    #[error("the entry needs {needed_bytes} bytes in `{}`, and {free_bytes} are free", path.display())]
    NoSpace {
        /// The directory that it was to be restored to.
        path: PathBuf,
        /// Bytes of the files that are missing there.
        needed_bytes: u64,
        /// Bytes that can be written.
        free_bytes: u64,
    },
    /// No thread could be had that writes files.
    #[error("cannot start a thread: the limit of threads or processes is too low")]
    NoThread,
    /// Asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A bug in this program, which says nothing about the entry.
    #[error("xcache has a bug: {message}")]
    Panic {
        /// What the panic reported.
        message: String,
    },
}

impl Error {
    /// The next step for the user, where there is one.
    pub fn hint(&self) -> Option<&str> {
        let kind = match self {
            Self::Store(error) => return error.hint_text(),
            Self::Write { source, .. } => source.kind(),
            Self::NoSpace { .. } => io::ErrorKind::StorageFull,
            Self::Panic { .. } => return Some("report it, with the lines above"),
            Self::NoThread => return Some("allow more: `ulimit -u`, or the pids limit of the container"),
            Self::OtherPaths(_)
            | Self::Archive(_)
            | Self::Unusable(_)
            | Self::OtherScope(_)
            | Self::Refused(_)
            | Self::Interrupted => return None,
        };
        match kind {
            io::ErrorKind::DirectoryNotEmpty => Some("remove it, or restore with `--clean`"),
            io::ErrorKind::NotADirectory => Some("remove what is no directory, or restore to another path"),
            io::ErrorKind::ResourceBusy => Some("unmount what is mounted there, or exclude it with `!`"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space, or restore to a larger disk")
            }
            io::ErrorKind::FileTooLarge => {
                Some("raise the limit on the size of files (`ulimit -f`), or save smaller ones")
            }
            io::ErrorKind::PermissionDenied => Some("restore as a user who may write there, or to another path"),
            io::ErrorKind::ReadOnlyFilesystem => Some("restore to a path that can be written to"),
            io::ErrorKind::CrossesDevices => {
                Some("restore with `--clean`, or remove the directory that is in its place")
            }
            _ => None,
        }
    }

    /// Whether another entry may well be restored where this one cannot be: because of what is in it, and not of the disk
    /// or the program.
    pub fn is_about_the_entry(&self) -> bool {
        match self {
            Self::OtherPaths(_)
            | Self::Store(_)
            | Self::Archive(_)
            | Self::Unusable(_)
            | Self::OtherScope(_)
            | Self::Refused(_)
            | Self::NoSpace { .. } => true,
            Self::Write { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::FileTooLarge
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidFilename
            ),
            Self::Interrupted | Self::NoThread | Self::Panic { .. } => false,
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
    /// How many things that existed before could not be put back, so that the tree is neither the old nor the new one.
    /// Zero means that nothing has changed.
    pub replaced_files: u64,
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Write { path, source } => Self::Write { path, source },
            OpenError::Interrupted => Self::Interrupted,
        }
    }
}

/// An error once the restore was asked to stop.
pub(super) fn check(interrupt: &Interrupt) -> Result<(), Error> {
    if interrupt.is_raised() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Runs something, and makes an error of a panic in it. What was printed of the panic stands above.
pub(super) fn catch<T>(act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Error::Panic { message: text.unwrap_or("a thread panicked").to_owned() })
    })
}
