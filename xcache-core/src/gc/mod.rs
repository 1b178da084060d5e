//! Deleting what nobody needs, while everybody goes on saving: `docs/protocols.md`, "gc".
//!
//! - [`document`]: what the notes of savers and the marks of gc look like;
//! - [`protocol`]: the saver's half of the protocol;
//! - [`quarantine`]: the mark that a restore leaves on what it found damaged;
//! - [`inventory`], [`policy`], [`plan`]: what is there, what is wanted, what follows — pure;
//! - [`pass`], `survey`, [`sweep`]: reading the store and deleting, in the order that is safe;
//! - [`run`]: prune and remove, from beginning to end;
//! - [`look`], [`verify`]: reading only.

pub mod document;
pub mod protocol;
pub mod quarantine;
pub mod family;
pub mod inventory;
pub mod live;
pub mod policy;
pub mod plan;
pub mod error;
pub mod pass;
mod bounds;
mod ends;
pub mod tagging;
mod survey;
pub mod sweep;
mod release;
pub mod run;
pub mod look;
pub mod verify;

pub use error::{Error, Result};
pub use release::release;
pub use run::{Effect, Operation, prune, remove};
