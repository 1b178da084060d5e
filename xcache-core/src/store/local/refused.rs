//! What stands in the way of an act on the files of a store, and how that is reported.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::super::{Error, ErrorKind};
use super::path::lock_path;

/// What stands in the way of an act on an object, where it is not the file system.
#[derive(Debug)]
pub(super) enum Refused {
    Exists,
    Changed,
    /// The path is taken by something that is not a regular file.
    NotAFile,
    /// Another process holds the lock, as long as was waited for it.
    Locked {
        holder: Option<u32>,
        waited: Duration,
    },
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl Refused {
    /// Says what the file system said, with the next step.
    pub(super) fn into_error(self, root: &Path, action: &'static str, object: impl fmt::Display) -> Error {
        let lock = lock_path(root);
        let root = root.display();
        let new = |kind| Error::new(kind, action, &object);
        let error = match self {
            Self::Exists => return new(ErrorKind::AlreadyExists),
            Self::Changed => return new(ErrorKind::Changed),
            Self::NotAFile => {
                return new(ErrorKind::Invalid).detail("something that is not a plain file has its name").hint(
                    format!(
                        "look at it in `{root}`; in a directory no object can have the name of another one's folder"
                    ),
                );
            }
            Self::Locked { holder, waited } => {
                let who = holder.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"));
                return new(ErrorKind::Unavailable)
                    .detail(format!(
                        "{who} holds the lock `{}`, which was waited for for {:.1} s",
                        lock.display(),
                        waited.as_secs_f64()
                    ))
                    .hint("if that process hangs, end it; the lock goes with it");
            }
            Self::Io(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotFound => new(ErrorKind::NotFound),
            io::ErrorKind::PermissionDenied => new(ErrorKind::Denied)
                .detail(format!("no permission in `{root}`"))
                .hint("check owner and mode of the directory and what is in it"),
            io::ErrorKind::ReadOnlyFilesystem => new(ErrorKind::Denied)
                .detail(format!("`{root}` is on a read-only file system"))
                .hint("name another directory, or mount it writable"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => new(ErrorKind::Unavailable)
                .detail(format!("no space left for `{root}`"))
                .full()
                .hint("free some space, or delete old entries with `xcache-gc prune`, which works on a full disk"),
            io::ErrorKind::NotADirectory => new(ErrorKind::Invalid)
                .detail(format!("`{root}`, or a part of the object's path below it, is not a directory"))
                .hint("name a directory as the store"),
            _ if Errno::from_io_error(&error) == Some(Errno::LOOP) => new(ErrorKind::Invalid)
                .detail(format!("a symbolic link stands in its path below `{root}`"))
                .hint("the store follows no links; replace it by what it points to"),
            io::ErrorKind::InvalidFilename => {
                new(ErrorKind::Invalid).detail("the file system takes no such name").source(error)
            }
            io::ErrorKind::StaleNetworkFileHandle | io::ErrorKind::TimedOut => {
                new(ErrorKind::Unavailable).detail(error.to_string())
            }
            _ => new(ErrorKind::Other).detail(error.to_string()),
        }
    }
}
