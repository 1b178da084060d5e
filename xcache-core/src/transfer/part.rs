//! Cutting a stream of pieces into parts of equal size.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

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

    /// Takes the first `wanted` bytes, or all if there are fewer: a slice if one piece holds them, else one copy.
    pub(super) fn take(&mut self, wanted: usize) -> Bytes {
        let wanted = wanted.min(self.bytes);
        self.bytes -= wanted;
        let first = self.take_piece(wanted);
        if first.len() == wanted {
            return first;
        }
        let mut part = BytesMut::with_capacity(wanted);
        part.extend_from_slice(&first);
        while part.len() < wanted {
            part.extend_from_slice(&self.take_piece(wanted - part.len()));
        }
        part.freeze()
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
                    joined.extend_from_slice(&taken);
                }
                assert_eq!(joined, all);
            }
        }
        assert!(Gather::default().take(5).is_empty());
    }

    #[test]
    fn a_part_within_one_piece_is_not_copied() {
        let piece = Bytes::from(vec![1; 100]);
        let mut gather = Gather::default();
        gather.push(piece.clone());
        assert_eq!(gather.take(40).as_ptr(), piece.as_ptr());
        assert_eq!(gather.take(60).as_ptr(), piece[40..].as_ptr());
    }
}
