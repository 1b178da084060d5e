//! The three classes of errors, and the errors that belong to command lines.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::Exit;
use crate::report::human::Elapsed;
use xcache_core::monitor::causes;
use xcache_core::store::{self, ErrorKind};

/// What an error means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Bad input or configuration: an error, exit 2.
    Usage,
    /// The store is down, denies, or holds damaged entries: a warning, and the run goes on without the cache (exit 0)
    /// unless the user asked to fail.
    Trouble,
    /// Going on could do harm: an error, exit 1.
    Unsafe,
}

impl Class {
    /// How the process ends after an error of this class, if the user did not ask for anything else.
    pub fn exit(self) -> Exit {
        match self {
            Self::Usage => Exit::Usage,
            Self::Trouble => Exit::Done,
            Self::Unsafe => Exit::Failed,
        }
    }
}

/// Sorts an error by what is found in its chain.
pub fn classify(error: &(dyn Error + 'static)) -> Class {
    let class = |cause: &(dyn Error + 'static)| {
        if cause.is::<UnsafeToContinue>() {
            return Some(Class::Unsafe);
        }
        let interrupted = cause.downcast_ref::<Interrupted>().map(|why| why.class());
        interrupted.or_else(|| cause.is::<UsageError>().then_some(Class::Usage))
    };
    causes(error).find_map(class).unwrap_or(Class::Trouble)
}

/// The kind of the first store error in the chain.
pub fn store_error_kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<store::Error>()).map(store::Error::kind)
}

/// Bad input or configuration, found before anything was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageError {
    /// The key, the restore keys or the paths. In GitHub Actions these follow the rules of `actions/cache` instead of
    /// ending with exit 2: an error and exit 1 on restore, a warning and exit 0 on save.
    Input {
        /// What is wrong.
        message: String,
    },
    /// Anything else.
    Options {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl UsageError {
    /// A wrong key, restore key or path.
    pub fn input(message: impl fmt::Display) -> Self {
        Self::Input { message: message.to_string() }
    }

    /// A wrong option.
    pub fn options(message: impl fmt::Display) -> Self {
        Self::Options { message: message.to_string(), hint: None }
    }

    /// A wrong option, and what to do about it.
    pub fn with_hint(message: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self::Options { message: message.to_string(), hint: Some(hint.to_string()) }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Input { .. } => None,
            Self::Options { hint, .. } => hint.as_deref(),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { message } | Self::Options { message, .. } => f.write_str(message),
        }
    }
}

impl Error for UsageError {}

/// Marks an error after which the run must not go on as if there were merely no cache: files were already changed,
/// or a plan to delete cannot be proven.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct UnsafeToContinue {
    /// What state things are in.
    pub what: String,
    /// What happened.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Why the run was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    /// The user or the runner wants it to.
    #[error("interrupted")]
    Signal,
    /// It took longer than `--timeout` allows.
    #[error("given up after {}, the limit that `--timeout` sets", Elapsed(*.0))]
    Timeout(Duration),
}

impl Interrupted {
    /// What it means for the run: a cache that takes too long is trouble like any other.
    pub fn class(self) -> Class {
        match self {
            Self::Signal => Class::Unsafe,
            Self::Timeout(_) => Class::Trouble,
        }
    }
}

/// Why a run gave no result of its own.
#[derive(Debug, thiserror::Error)]
pub enum Crash {
    /// The threads for it cannot be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// There are too few threads.
    #[error("cannot start the runtime: the limit of threads or processes is too low")]
    NoThreads,
    /// A bug; the message was printed where it happened.
    #[error("internal error: {0}")]
    Panic(String),
    /// Cleaning up took too long, or was not waited for.
    #[error("{why}, and ended before everything was cleaned up{}", if *.is_asked_again { " because of a second signal" } else { "" })]
    Abandoned {
        /// Why the run was to stop.
        why: Interrupted,
        /// Whether a second signal ended it, and not the time.
        is_asked_again: bool,
    },
}

impl Crash {
    /// The hint for users.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoThreads => Some("allow more: `ulimit -u`, or the pids limit of the container"),
            Self::Runtime(_) => Some("allow more open files and threads: `ulimit -n`, `ulimit -u`"),
            Self::Panic(_) | Self::Abandoned { .. } => None,
        }
    }

    /// What a caught panic says.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Self::Panic(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown").to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_their_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Box<dyn Error + Send + Sync>);

        let denied = || store::Error::new(ErrorKind::Denied, "list", "x");
        let check = |error: Box<dyn Error + Send + Sync>, class, kind| {
            let outer = Outer(error);
            assert_eq!(classify(&outer), class);
            assert_eq!(store_error_kind(&outer), kind);
        };
        check(denied().into(), Class::Trouble, Some(ErrorKind::Denied));
        check(
            UnsafeToContinue { what: "half done".into(), source: denied().into() }.into(),
            Class::Unsafe,
            Some(ErrorKind::Denied),
        );
        check(Interrupted::Signal.into(), Class::Unsafe, None);
        check(Interrupted::Timeout(Duration::ZERO).into(), Class::Trouble, None);
        check(UsageError::options("no").into(), Class::Usage, None);
        check("text".into(), Class::Trouble, None);
    }
}
