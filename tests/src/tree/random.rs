//! Random trees, the same for the same seed.

use std::fs;
use std::path::Path;

use super::make::set_mtime;

/// A small generator of random numbers (SplitMix64), the same on every machine and for ever.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("usize fits into u64");
        usize::try_from(self.next_u64() % limit).expect("smaller than a usize")
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// Text that compresses about as well as source code.
    pub fn text(&mut self, count: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "let ", "fn ", "self.", "match ", "=> ", "{\n", "}\n", "return ", "entry", "frame", "chunk", "index", "(",
            ")", ";\n", "    ",
        ];
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(WORDS[self.below(WORDS.len())].as_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// Fills `dir` with `files` files in up to three levels of directories: most of them small, a few of some hundred KiB,
/// half of them incompressible, each with a time of its own.
pub fn random(dir: &Path, seed: u64, files: usize) {
    let mut rng = Rng::new(seed);
    fs::create_dir_all(dir).expect("the directory can be made");
    for number in 0..files {
        let mut parent = dir.to_owned();
        for _ in 0..rng.below(4) {
            parent.push(format!("d{}", rng.below(5)));
        }
        fs::create_dir_all(&parent).expect("the directory can be made");
        let size = match rng.below(20) {
            0 => rng.below(600_000),
            1 => 0,
            2..6 => rng.below(40_000),
            _ => rng.below(4_000),
        };
        let content = if rng.below(2) == 0 { rng.bytes(size) } else { rng.text(size) };
        let path = parent.join(format!("f{number}"));
        fs::write(&path, content).expect("the file can be written");
        let seconds = 1_500_000_000 + i64::try_from(rng.below(100_000_000)).expect("a small number");
        set_mtime(&path, seconds, u32::try_from(rng.below(1_000_000_000)).expect("a small number"));
    }
}
