//! Deleting what nobody needs, while everybody goes on saving: `docs/protocols.md`, "gc".
//!
//! - [`document`]: what the notes of savers and the marks of gc look like;
//! - [`protocol`]: the saver's half of the protocol.

pub mod document;
pub mod protocol;
