//! A short, repeatable run of the fuzz targets: everything in the corpus, and mutations of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use xcache_tests::fuzz::TARGETS;

/// Mutations of each input of a corpus.
const MUTATIONS: usize = 300;

/// Numbers that are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    /// Changes, inserts, removes or repeats a few bytes.
    fn mutate(&mut self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                bytes.push(0);
            }
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'%', b'!'][self.below(8)],
                2 => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
                3 => drop(bytes.drain(at..(at + 1 + self.below(8)).min(bytes.len()))),
                _ => {
                    let piece = bytes[at..(at + 1 + self.below(16)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }
}

#[test]
fn nothing_in_the_corpora_nor_close_to_it_makes_a_reader_panic() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name);
        let mut inputs: Vec<_> = std::fs::read_dir(&corpus).unwrap().map(|file| file.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for path in inputs {
            let input = std::fs::read(&path).unwrap();
            let mutations = (0..MUTATIONS).map(|_| numbers.mutate(&input));
            for bytes in std::iter::once(input.clone()).chain(mutations.collect::<Vec<_>>()) {
                let outcome = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
                assert!(outcome.is_ok(), "{name}: close to {}: {:?}", path.display(), bytes.escape_ascii().to_string());
            }
        }
    }
}

#[test]
fn every_target_has_a_program_for_the_fuzzer() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let mut found: Vec<_> = std::fs::read_dir(programs)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
