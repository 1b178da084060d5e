//! Why a pass ended without doing its work.

use chrono::{DateTime, Utc};

use crate::store;

/// Why a pass deleted nothing, or nothing more. What it condemned stays condemned, and the next pass goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed while it was being listed or read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Answers of the store that cannot all be true.
    #[error("the store contradicts itself about `{name}`: {what}")]
    Contradiction {
        /// The object.
        name: String,
        /// What it contradicts itself about.
        what: &'static str,
    },
    /// The store confirmed a deletion that did not take place.
    #[error("the store answers that `{0}` is deleted, and shows it all the same")]
    NotDeleted(String),
    /// The store has no conditional deletion, so that only one gc may run at a time.
    #[error("another clean-up has been running here since {}", since.format("%Y-%m-%d %H:%M:%S UTC"))]
    Busy {
        /// When it began or last gave a sign of life.
        since: DateTime<Utc>,
    },
    /// This pass stalled so long that another gc may have taken over.
    #[error("this gc stalled, and another one may have taken over")]
    LeaseLost,
}

/// The result of a part of a pass.
pub type Result<T> = std::result::Result<T, Error>;
