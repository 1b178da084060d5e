//! What an object is, to every part that handles one.

use std::fmt;

/// Whether an entry is complete in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Complete in itself.
    Base,
    /// Holds only what the objects it refers to do not.
    Delta,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "base",
            Self::Delta => "delta",
        })
    }
}
