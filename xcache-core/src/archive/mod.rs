//! The archive format: an ordinary `.tar.zst` in independent frames, with an index and a seek table at its end.
//!
//! Plain bytes in, plain bytes out: no store, no runtime, no clock. `docs/format.md` is the law; the pieces are
//!
//! - [`frame`]: one independent zstd frame, and skippable frames;
//! - [`tar`]: the members in a frame, as any other program reads them;
//! - [`index`]: the tree and where each of its chunks lies, and [`columns`]: how that is written;
//! - [`footer`]: ids, refs, where the index lies; and the seek table;
//! - [`writer`]: what comes after the data frames;
//! - [`reader`]: from the tail of an object to its index;
//! - [`churn`]: what changed from one tree to the next.

pub mod churn;
pub mod columns;
pub mod footer;
pub mod frame;
pub mod tar;
pub mod index;
mod limits;
pub mod reader;
pub mod writer;

/// Why bytes of an archive are not what they should be. All of these come from what a store handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Written by a newer version of xcache.
    #[error("written in format {found}, and this version reads formats up to {}", footer::FORMAT)]
    NewerFormat {
        /// The format of the archive.
        found: u16,
    },
    /// A part of the archive has not the shape or the checksum it must have.
    #[error("damaged {part}: {reason}")]
    Damaged {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A member that would not stay inside the root, or is otherwise not to be restored.
    #[error("member `{}` {reason}", String::from_utf8_lossy(.path))]
    BadMember {
        /// Its path as the archive has it.
        path: Vec<u8>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A frame needs more memory to be decompressed than it may have.
    #[error("a frame has a window of more than {limit_mib} MiB, and takes as much memory")]
    Window {
        /// The largest window.
        limit_mib: u32,
    },
    /// A limit on sizes was exceeded.
    #[error("{what} is {found}; the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it claims to be.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

impl Error {
    pub(crate) fn damaged(part: &'static str, reason: impl Into<String>) -> Self {
        Self::Damaged { part, reason: reason.into() }
    }
}

/// Refuses a number that is over its limit.
fn at_most(what: &'static str, found: u64, limit: u64) -> Result<()> {
    if found > limit { Err(Error::Limit { what, found, limit }) } else { Ok(()) }
}

/// The result of reading archive bytes.
pub type Result<T> = std::result::Result<T, Error>;
