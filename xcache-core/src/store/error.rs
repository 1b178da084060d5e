//! The errors of every store, sorted into the few kinds that callers branch on.

use std::fmt;

use super::ObjectName;

/// What went wrong, as far as a caller may decide on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such object. (A missing bucket is [`ErrorKind::Invalid`], so that it is not taken for an empty store.)
    NotFound,
    /// A create-only write met an object of that name.
    AlreadyExists,
    /// An `If-Match` condition did not hold: the object is not, or no longer, the one that was meant.
    Changed,
    /// Two conditional writes of one name met; the same request may succeed when sent again.
    Conflict,
    /// The store knows us and says no. Also told of what is not there, where the role may not list.
    Denied,
    /// The store does not accept our credentials, or there are none.
    Unauthenticated,
    /// Throttled, unreachable, timed out, or a failure on the store's side: worth another try later.
    Unavailable,
    /// The store contradicts itself, or answers with something that it must not answer. Says nothing about the object.
    Corrupt,
    /// The store does not implement what was asked for.
    Unsupported,
    /// The request is wrong and will stay wrong.
    Invalid,
    /// What the user or the environment says of credentials, addresses or certificates is wrong: nothing was asked for.
    Configuration,
    /// Anything else.
    Other,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Changed => "is not the expected object any more",
            Self::Conflict => "conflicting request in progress",
            Self::Denied => "denied",
            Self::Unauthenticated => "the credentials are not accepted",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "not supported by this store",
            Self::Invalid => "invalid request",
            Self::Configuration => "the configuration is wrong",
            Self::Other => "failed",
        })
    }
}

/// A failed store operation: what was done, to which object, and why it failed.
///
/// `Display` does not repeat the source; the printer at the top walks the chain.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    action: &'static str,
    object: String,
    detail: Option<String>,
    hint: Option<String>,
    is_answer: bool,
    is_full: bool,
    is_phrase: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` while doing `action` (a verb: "download", "list") to `object`.
    pub fn new(kind: ErrorKind, action: &'static str, object: impl fmt::Display) -> Self {
        Self {
            kind,
            action,
            object: object.to_string(),
            detail: None,
            hint: None,
            is_answer: false,
            is_full: false,
            is_phrase: false,
            source: None,
        }
    }

    /// Something that was configured and cannot be used. `what` is a phrase such as "profile `x`", not a name.
    pub fn configuration(action: &'static str, what: impl fmt::Display) -> Self {
        Self { is_phrase: true, ..Self::new(ErrorKind::Configuration, action, what) }
    }

    /// A missing object.
    pub fn not_found(action: &'static str, name: &ObjectName) -> Self {
        Self::new(ErrorKind::NotFound, action, name)
    }

    /// The same failure, seen as one of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds why, in the store's or our own words.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the next step for the user.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Notes that the store itself has answered so, rather than that no answer came.
    #[must_use]
    pub fn answered(mut self) -> Self {
        self.is_answer = true;
        self
    }

    /// Notes that there is no space left for what was to be written.
    #[must_use]
    pub fn full(mut self) -> Self {
        self.is_full = true;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same failure said of another object of the same request. The cause stays with the first.
    #[must_use]
    pub fn about(&self, object: impl fmt::Display) -> Self {
        Self {
            kind: self.kind,
            action: self.action,
            object: object.to_string(),
            detail: self.detail.clone(),
            hint: self.hint.clone(),
            is_answer: self.is_answer,
            is_full: self.is_full,
            is_phrase: self.is_phrase,
            source: None,
        }
    }

    /// What it is about: the name of an object, or the store itself.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Why it failed, without what was being done: "connection closed".
    pub fn reason(&self) -> String {
        self.detail.clone().unwrap_or_else(|| self.kind.to_string())
    }

    /// What callers branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the store refused what was asked for, or answered with nonsense: asking in another way may help. An
    /// answer about the object, the role or the credentials is no refusal, and neither is silence.
    pub fn is_refusal(&self) -> bool {
        match self.kind {
            ErrorKind::Unsupported | ErrorKind::Invalid | ErrorKind::Corrupt | ErrorKind::Other => true,
            ErrorKind::Unavailable => self.is_answer,
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Changed
            | ErrorKind::Conflict
            | ErrorKind::Denied
            | ErrorKind::Unauthenticated
            | ErrorKind::Configuration => false,
        }
    }

    /// Whether there is no space left for what was to be written.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The next step for the user, where there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_phrase {
            true => write!(f, "cannot {} {}: ", self.action, self.object)?,
            false => write!(f, "cannot {} `{}`: ", self.action, self.object)?,
        }
        match &self.detail {
            Some(detail) => f.write_str(detail),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
