//! What a save has to store if an earlier entry is known: everything else is referred to.
//!
//! - `known`: the chunks of the earlier entry and where they are;
//! - `compare`: what the files of the tree consist of, read only where they may have changed;
//! - [`plan`]: base or delta, and on what;
//! - `select`: what is to be stored, as jobs for [`crate::pack`];
//! - `assemble`: the index of the new entry.

mod assemble;
mod compare;
mod known;
pub mod plan;
mod select;

pub use assemble::{Assembled, KnownEntries, assemble};
pub use compare::{FileFacts, TreeFacts, compare};
pub use known::{Known, Trust};
pub use select::select;
