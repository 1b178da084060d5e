//! The tree that a restore writes into: the one owner of the disk below the roots.
//!
//! Everything is named by its place, a root and a path below it; what an entry, a frame or a store is, is not known here.
//! What holds for every restore, whatever it restores from:
//!
//! - Nothing outside the roots is touched: no link is followed ([`walker`]), no other name of a file is changed, and no
//!   other file system is entered where something is removed ([`clean`]).
//! - Nothing is visible under its name before it is complete, except a new file in a place where nothing was ([`cursor`]).
//! - Whatever was there can return until [`Target::commit`]: old things are set aside ([`aside`]), everything is noted
//!   ([`journal`]), and only what this restore has made, told by its inode, is taken back ([`undo`]).

mod aside;
mod attributes;
mod clean;
mod content;
mod cursor;
mod journal;
mod leftovers;
mod lock;
mod look;
mod notices;
mod open;
mod place;
mod room;
mod root;
mod state;
#[cfg(test)]
mod tests;
mod undo;
mod walker;

pub(super) use attributes::{Attributes, OwnerPolicy};
pub(super) use content::{read_full, write_at};
pub(super) use cursor::{Cursor, Linked, Temporary, is_file};
pub(super) use journal::Committed;
pub(super) use look::is_directory;
pub(super) use notices::Notices;
pub(super) use open::OpenError;
pub(super) use place::Place;
pub(super) use root::{RootExtent, Wanted};
pub(super) use state::{Target, TargetPolicy};
