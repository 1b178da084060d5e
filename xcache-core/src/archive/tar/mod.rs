//! Tar: what a frame holds, so that any other program can read an archive.
//!
//! `write` makes the one dialect that archives of ours are written in. `read` understands every dialect in use, for
//! archives that others have made: `pax` its records, `sparse` its maps of holes, `number` its numbers.

mod number;
mod pax;
pub(crate) mod read;
mod sparse;
pub mod write;

/// Everything in a tar stream is a multiple of this.
pub const BLOCK: usize = 512;
/// The end of a tar stream: two empty blocks.
pub const END_OF_ARCHIVE: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Fills `out` up to a block.
pub fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}
