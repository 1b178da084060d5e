//! The body of a request to write.

use bytes::{Bytes, BytesMut};

/// Bytes to be sent, in pieces that need not be put together: the frames of a part lie where they were compressed.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Payload {
    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push(piece);
        }
    }

    /// The pieces, in order; none is empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// All of it as one: a copy, unless it is one piece.
    pub fn into_bytes(mut self) -> Bytes {
        match &mut self.pieces[..] {
            [] => Bytes::new(),
            [one] => std::mem::take(one),
            pieces => {
                let mut all = BytesMut::with_capacity(self.bytes);
                pieces.iter().for_each(|piece| all.extend_from_slice(piece));
                all.freeze()
            }
        }
    }
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(bytes: T) -> Self {
        let mut payload = Self::default();
        payload.push(bytes.into());
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_to_the_whole() {
        let mut payload = Payload::from("ab");
        payload.push(Bytes::new());
        payload.push(Bytes::from_static(b"c"));
        assert_eq!((payload.len(), payload.is_empty(), payload.pieces().len()), (3, false, 2));
        assert_eq!(payload.into_bytes(), "abc");
        assert!(Payload::from("").is_empty() && Payload::default().into_bytes().is_empty());
        let one = Bytes::from(vec![1; 10]);
        assert_eq!(Payload::from(one.clone()).into_bytes().as_ptr(), one.as_ptr());
    }
}
