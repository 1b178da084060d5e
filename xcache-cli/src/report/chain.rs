//! An error with its causes, in one line, and the hint that one of them carries.

use std::error::Error;
use std::io;

use crate::errors::{Crash, UsageError};
use xcache_core::store::ErrorKind;
use xcache_core::{gc, restore, store};

pub use xcache_core::monitor::chain as text;

/// The next step for the user, from the first cause that knows one.
pub fn hint<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    causes(error).find_map(|cause| {
        let from_store = cause.downcast_ref::<store::Error>().and_then(store::Error::hint_text);
        let from_restore = cause.downcast_ref::<restore::Error>().and_then(restore::Error::hint);
        from_store
            .or(from_restore)
            .or_else(|| cause.downcast_ref::<UsageError>().and_then(UsageError::hint))
            .or_else(|| cause.downcast_ref::<Crash>().and_then(Crash::hint))
    })
}

/// What the error comes down to, whatever it was met by: the same for several requests to a store that is down.
pub fn cause(error: &(dyn Error + 'static)) -> String {
    let root = causes(error).last().unwrap_or(error);
    match root.downcast_ref::<store::Error>() {
        // An outage or a refusal is of the store; anything else is of the object.
        Some(error) if is_of_the_store(error.kind()) => format!("{:?}: {}", error.kind(), error.reason()),
        // "No such file or directory" says nothing without what was looked for.
        _ if root.is::<io::Error>() => {
            text(causes(error).take_while(|cause| !cause.is::<io::Error>()).last().unwrap_or(root))
        }
        _ => root.to_string(),
    }
}

fn is_of_the_store(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable
            | ErrorKind::Denied
            | ErrorKind::Unauthenticated
            | ErrorKind::Invalid
            | ErrorKind::Configuration
    )
}

/// The error itself, then each cause. Unlike [`xcache_core::monitor::causes`], this opens wrappers that print as their
/// content does: their `source` is that of the content, so that the content itself, which has the kind and the hint, would
/// never be met.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(bare(error)), |cause| {
        let cause: &'a (dyn Error + 'static) = *cause;
        cause.source().map(bare)
    })
}

fn bare<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    if let Some(gc::Error::Store(inner)) = error.downcast_ref() {
        return inner;
    }
    match error.downcast_ref() {
        Some(restore::Error::Store(inner)) => inner,
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<dyn Error + Send + Sync>>);

    #[test]
    fn the_first_hint_is_found_at_any_depth() {
        let inner = store::Error::new(ErrorKind::Denied, "get", "x").hint("inner");
        let outer = Layer("outer", Some(inner.into()));
        assert_eq!(hint(&outer), Some("inner"));
        assert_eq!(hint(&Layer("alone", None)), None);
        let covering = store::Error::new(ErrorKind::Other, "get", "x").hint("first").source(outer);
        assert_eq!(hint(&covering), Some("first"));
        assert_eq!(hint(&UsageError::with_hint("m", "do this")), Some("do this"));
        let denied = || store::Error::new(ErrorKind::Denied, "list", "x").hint("ask");
        assert_eq!(hint(&gc::Error::from(denied())), Some("ask"));
        assert_eq!(hint(&restore::Error::Store(denied())), Some("ask"));
        let wrapped = anyhow::Error::from(gc::Error::from(denied())).context("cannot verify");
        assert_eq!(hint(&*wrapped), Some("ask"));
        assert_eq!(cause(&*wrapped), "Denied: denied");
        let full = restore::Error::Write { path: "p".into(), source: std::io::ErrorKind::StorageFull.into() };
        assert!(hint(&Layer("outer", Some(full.into()))).is_some_and(|hint| hint.starts_with("free some space")));
    }
}
