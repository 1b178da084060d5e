//! Mechanisms of xcache, in the order in which data flows through them.
//!
//! `store` and `archive` know nothing of each other; `transfer` joins them. See `ARCHITECTURE.md` for the map and `docs/format.md` for the law on names and bytes.

pub mod monitor;
pub mod redact;
pub mod object;
pub mod key;
pub mod scope;
pub mod entry;
pub mod naming;
pub mod lookup;
pub mod object_end;
pub mod paths;
mod buffers;
mod threads;
pub mod convert;
pub mod descriptors;
pub mod temporary;
pub mod scan;
pub mod chunk;
pub mod delta;
pub mod archive;
pub mod pack;
pub mod restore;
pub mod store;
pub mod transfer;
pub mod state;
pub mod gc;
