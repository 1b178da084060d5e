//! Cutting a stream of pieces into parts of equal size.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::store::Payload;

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
