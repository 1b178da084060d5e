//! Puts frames in order, and hands them on.

use std::collections::BTreeMap;
use std::io;

use crossbeam_channel::Receiver;

use super::Sink;
use super::job::Rest;
use super::packed::{Finished, Packed};
use super::sequence::Sequence;

/// Receives frames in any order and hands them to `sink` in theirs.
pub(super) fn collect(
    sequence: &Sequence<'_>,
    finished: &Receiver<io::Result<Finished>>,
    packed: &mut Packed,
    sink: &mut Sink<'_>,
) -> io::Result<()> {
    // Bounded by the window of the sequence.
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for frame in finished {
        let frame = frame?;
        waiting.insert(frame.number, frame);
        while let Some(frame) = waiting.remove(&next) {
            next += 1;
            packed.add(frame, sink)?;
            sequence.written();
        }
    }
    for (node, skipped) in sequence.take_skipped() {
        packed.skip(node, skipped);
    }
    let Rest { whole, links } = &mut packed.rest;
    whole.sort_unstable();
    whole.dedup();
    links.sort_unstable();
    Ok(())
}
