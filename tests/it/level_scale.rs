//! What the default level makes of a tree, beside levels of zstd. Not a test of a limit: a measurement to be run by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xcache_core::archive::frame::{DEFAULT_LEVEL, Encoder, TARGET_BYTES};
use xcache_core::archive::index::Metadata;
use xcache_core::archive::tar::write::{self, TarEntry};

/// Run by hand, with a tree that fits into memory:
/// `XCACHE_MEASURED_TREE=DIR cargo test --release -p xcache-tests --test it level_scale -- --ignored --nocapture`.
#[test]
#[ignore = "a figure for the release build, and for a tree of your own"]
fn the_default_level_beside_those_of_zstd() {
    let Some(tree) = std::env::var_os("XCACHE_MEASURED_TREE") else { panic!("XCACHE_MEASURED_TREE names no tree") };
    let frames = frames(Path::new(&tree));
    let raw_bytes: usize = frames.iter().map(Vec::len).sum();
    eprintln!("{} frames, {:.1} MB", frames.len(), raw_bytes as f64 / 1e6);
    let mut encoder = Encoder::new(DEFAULT_LEVEL).unwrap();
    let mut compressors = [3, 1].map(|level| (level, zstd::bulk::Compressor::new(level).unwrap()));
    // In turn, as the machine has better and worse moments; the least of three.
    let mut found = [(0, Duration::MAX); 3];
    for _ in 0..3 {
        found[0] = least(found[0], &frames, |frame| encoder.encode(frame).unwrap().len());
        for ((_, compressor), found) in compressors.iter_mut().zip(&mut found[1..]) {
            *found = least(*found, &frames, |frame| compressor.compress(frame).unwrap().len());
        }
    }
    let (of_bytes, of_time) = found[1];
    for (name, (bytes, time)) in ["default", "zstd 3", "zstd 1"].iter().zip(found) {
        let (bytes_ratio, time_ratio) = (bytes as f64 / of_bytes as f64, time.as_secs_f64() / of_time.as_secs_f64());
        eprintln!("{name}: {:.1} MB ({bytes_ratio:.2}) in {time:.2?} ({time_ratio:.2})", bytes as f64 / 1e6);
    }
    assert!(found[0].0 < raw_bytes);
}

/// Compresses all frames. Gives their bytes, and the lesser time of this and the best before.
fn least(best: (usize, Duration), frames: &[Vec<u8>], mut compress: impl FnMut(&[u8]) -> usize) -> (usize, Duration) {
    let begin = Instant::now();
    let bytes = frames.iter().map(|frame| compress(frame)).sum();
    (bytes, begin.elapsed().min(best.1))
}

/// The files of a tree as frames hold them.
fn frames(tree: &Path) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    list(tree, &mut files);
    files.sort();
    let mut frames = vec![Vec::new()];
    for path in files {
        let content = fs::read(&path).unwrap();
        let name = format!("./{}", path.strip_prefix(tree).unwrap().display());
        // Times with fractions, as file systems have them, need a pax header.
        let meta = Metadata { mode: 0o644, mtime_seconds: 1_700_000_000, mtime_nanos: 123_456_789, uid: 0, gid: 0 };
        let size = content.len() as u64;
        let last = frames.last_mut().unwrap();
        write::append(last, name.as_bytes(), &meta, &[], TarEntry::File { size });
        for piece in content.chunks(TARGET_BYTES) {
            frames.last_mut().unwrap().extend_from_slice(piece);
            if frames.last().unwrap().len() >= TARGET_BYTES {
                frames.push(Vec::new());
            }
        }
        xcache_core::archive::tar::pad(frames.last_mut().unwrap());
    }
    frames
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => list(&entry.path(), files),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}
