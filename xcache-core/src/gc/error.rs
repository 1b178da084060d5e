//! Why a pass ended without doing its work.

use chrono::{DateTime, Utc};

use super::document::DocumentError;
use crate::{archive, store};

/// Why a pass deleted nothing, or nothing more. What it condemned stays condemned, and the next pass goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed while it was being listed or read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Nobody knows what a saver is about to use.
    #[error("cannot tell what the intent `{name}` protects")]
    Intent {
        /// The intent.
        name: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// Nobody knows what an entry builds on.
    #[error("cannot tell what `{name}` builds on")]
    NewerEntry {
        /// The entry.
        name: String,
        /// What is wrong with it.
        source: archive::Error,
    },
    /// The store has no conditional deletion, so that only one gc may run at a time.
    #[error("another gc has been at work here since {}", since.format("%Y-%m-%d %H:%M:%S UTC"))]
    Busy {
        /// When it began or last gave a sign of life.
        since: DateTime<Utc>,
    },
    /// This pass stalled so long that another gc took over.
    #[error("this gc stalled, and another one may have taken over")]
    LeaseLost,
    /// Pins cannot be seen.
    #[error("cannot read tags, so nobody knows which entries are pinned")]
    TagsDenied(#[source] store::Error),
}

/// The result of a part of a pass.
pub type Result<T> = std::result::Result<T, Error>;
