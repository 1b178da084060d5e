//! Parts of an upload: how large they are, and cutting a stream of pieces into them.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::convert;
use crate::store::Payload;

/// The most parts of an upload, by the API.
pub(super) const MAX_PARTS: u32 = 10_000;
/// The most bytes of a part, by the API.
const MAX_PART_BYTES: u64 = 5 << 30;
/// So many parts are of one size, as some stores want all of them to be.
const STEADY_PARTS: u32 = 4_000;
/// After those the size doubles each time that so many have been sent: from 8 MiB, 10,000 parts come to the 5 TiB that an
/// object may have.
const PARTS_OF_A_SIZE: u32 = 667;

/// The size of part `number`, if the first ones have `first` bytes.
pub(super) fn part_bytes(first: usize, number: u32) -> usize {
    let doublings = number.saturating_sub(STEADY_PARTS).div_ceil(PARTS_OF_A_SIZE).min(31);
    let bytes = convert::length(first).saturating_mul(1 << doublings).min(MAX_PART_BYTES);
    usize::try_from(bytes).unwrap_or(first).max(first)
}

/// Pieces waiting to become parts.
#[derive(Debug, Default)]
pub(super) struct Gather {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Gather {
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// How much is waiting.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the first `wanted` bytes, or all if there are fewer; none of them is copied.
    pub(super) fn take(&mut self, wanted: usize) -> Payload {
        let wanted = wanted.min(self.bytes);
        self.bytes -= wanted;
        let mut part = Payload::default();
        while part.len() < wanted {
            part.push(self.take_piece(wanted - part.len()));
        }
        part
    }

    /// The first piece, at most `limit` bytes of it.
    fn take_piece(&mut self, limit: usize) -> Bytes {
        let Some(mut piece) = self.pieces.pop_front() else { return Bytes::new() };
        if piece.len() > limit {
            let rest = piece.split_off(limit);
            self.pieces.push_front(rest);
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_the_largest_object_fits() {
        const MIB: usize = 1 << 20;
        for (number, mib) in [(1, 8), (4_000, 8), (4_001, 16), (4_667, 16), (4_668, 32), (10_000, 4_096)] {
            assert_eq!(part_bytes(8 * MIB, number), mib * MIB, "{number}");
        }
        let sum = |first: usize| (1..=MAX_PARTS).map(|number| convert::length(part_bytes(first, number))).sum::<u64>();
        assert!(sum(8 * MIB) >= 5 << 40);
        // Never more than the API takes, however large the first ones are.
        for first in [8 * MIB, 117 * MIB, 1 << 30, 5 << 30] {
            assert!(convert::length(part_bytes(first, MAX_PARTS)) <= MAX_PART_BYTES, "{first}");
            assert_eq!(part_bytes(first, 1), first);
        }
    }

    #[test]
    fn parts_hold_the_pieces_in_order() {
        let all: Vec<u8> = (0..=255).collect();
        for piece in [1, 7, 100, 256] {
            for part in [1, 10, 99, 256, 300] {
                let mut gather = Gather::default();
                for chunk in all.chunks(piece) {
                    gather.push(Bytes::copy_from_slice(chunk));
                }
                gather.push(Bytes::new());
                let mut joined = Vec::new();
                while gather.bytes() > 0 {
                    let taken = gather.take(part);
                    assert!(taken.len() == part || gather.bytes() == 0);
                    joined.extend_from_slice(&taken.into_bytes());
                }
                assert_eq!(joined, all);
            }
        }
        assert!(Gather::default().take(5).is_empty());
    }

    #[test]
    fn pieces_are_not_copied() {
        let (one, other) = (Bytes::from(vec![1; 100]), Bytes::from(vec![2; 100]));
        let mut gather = Gather::default();
        gather.push(one.clone());
        gather.push(other.clone());
        let starts = |payload: Payload| payload.pieces().iter().map(|piece| piece.as_ptr()).collect::<Vec<_>>();
        assert_eq!(starts(gather.take(40)), [one.as_ptr()]);
        assert_eq!(starts(gather.take(160)), [one[40..].as_ptr(), other.as_ptr()]);
    }
}
