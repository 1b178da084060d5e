//! Chunks: how file contents are cut into the pieces that are hashed, compared and stored once.
//!
//! Cut points are part of the archive format (`docs/format.md`): two versions of xcache that cut differently find
//! nothing in common. The golden tests below pin them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The BLAKE3-256 of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash([u8; 32]);

impl ChunkHash {
    /// Bytes of a hash.
    pub const BYTES: usize = 32;

    /// Hashes a chunk.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A hash that was computed before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash as bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How files are cut: small ones not at all, larger ones by content (FastCDC 2020, normalisation level 1).
///
/// The numbers stand in every index for the record; there is one set of them so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutter {
    /// Files up to this length are one chunk.
    pub whole_bytes: u32,
    /// No chunk of a larger file is shorter, but for its last one.
    pub min_bytes: u32,
    /// What chunks of larger files come to on average.
    pub avg_bytes: u32,
    /// No chunk is longer.
    pub max_bytes: u32,
}

/// Whether a buffer ends where the file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The last byte of the buffer is the last of the file.
    File,
    /// More bytes follow, so the last chunk of the buffer may not be complete.
    Buffer,
}

impl Cutter {
    /// The parameters of format 1. Measured on `target/` and ccache trees: smaller chunks find little more and cost
    /// index, larger ones lose most of what a small edit of a large file leaves alone.
    pub const FORMAT_1: Self =
        Self { whole_bytes: 32 << 10, min_bytes: 16 << 10, avg_bytes: 64 << 10, max_bytes: 256 << 10 };

    /// The lengths of the chunks at the start of `data`, which begins at a cut point of a file larger than
    /// [`Cutter::whole_bytes`]. If only the buffer ends, what is left over after the last certain cut has no length
    /// here and must be at the start of the next buffer.
    pub fn cut_large(&self, data: &[u8], ends: Ends) -> Vec<usize> {
        let (min, avg, max) = (self.min_bytes as usize, self.avg_bytes as usize, self.max_bytes as usize);
        let mut lengths = Vec::with_capacity(data.len() / avg + 1);
        for chunk in fastcdc::v2020::FastCDC::new(data, min, avg, max) {
            let reaches_end = chunk.offset + chunk.length == data.len();
            // A cut is certain if its reason lies before the end of the buffer.
            if reaches_end && ends == Ends::Buffer && chunk.length < max {
                break;
            }
            lengths.push(chunk.length);
        }
        lengths
    }

    /// The lengths of all chunks of a file whose whole content is at hand.
    pub fn cut_file(&self, data: &[u8]) -> Vec<usize> {
        match data.len() {
            0 => Vec::new(),
            n if n <= self.whole_bytes as usize => vec![n],
            _ => self.cut_large(data, Ends::File),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long, fixed, incompressible byte sequence.
    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(b"xcache").finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn cut_points_never_change() {
        let data = noise(2_000_000);
        let lengths = Cutter::FORMAT_1.cut_file(&data);
        assert_eq!(lengths.iter().sum::<usize>(), data.len());
        assert_eq!(lengths, GOLDEN, "cut points are part of the format");
    }

    const GOLDEN: &[usize] = &[
        66956, 77325, 83350, 141113, 75177, 59387, 114276, 66289, 82833, 92652, 70887, 45293, 46692, 66326, 92336,
        82559, 57852, 192841, 112708, 35636, 23118, 82029, 70961, 153747, 7657,
    ];

    #[test]
    fn small_files_are_one_chunk() {
        assert!(Cutter::FORMAT_1.cut_file(b"").is_empty());
        assert_eq!(Cutter::FORMAT_1.cut_file(&noise(32 << 10)), [32 << 10]);
        assert!(Cutter::FORMAT_1.cut_file(&vec![0; 3 << 20]).iter().all(|&n| n <= 256 << 10));
    }

    #[test]
    fn cutting_buffer_by_buffer_gives_the_same_chunks() {
        let data = noise(3_000_000);
        let whole = Cutter::FORMAT_1.cut_file(&data);
        for step in [300_000, 700_001, 1 << 20] {
            let (mut start, mut end, mut lengths) = (0, 0, Vec::new());
            while start < data.len() {
                end = (end + step).min(data.len());
                let ends = if end == data.len() { Ends::File } else { Ends::Buffer };
                let cut = Cutter::FORMAT_1.cut_large(&data[start..end], ends);
                start += cut.iter().sum::<usize>();
                lengths.extend(cut);
            }
            assert_eq!(lengths, whole, "with buffers of {step}");
        }
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let old = noise(4_000_000);
        let mut new = old.clone();
        new.splice(2_000_000..2_000_000, std::iter::repeat_n(7, 1000));
        let hashes = |data: &[u8]| {
            let mut rest = data;
            let cut = Cutter::FORMAT_1.cut_file(data);
            cut.iter()
                .map(|&n| {
                    let (chunk, tail) = rest.split_at(n);
                    rest = tail;
                    ChunkHash::of(chunk)
                })
                .collect::<std::collections::HashSet<_>>()
        };
        let (a, b) = (hashes(&old), hashes(&new));
        assert!(b.difference(&a).count() <= 3);
    }
}
