//! What the index of a large tree costs: it is part of every delta.

use std::time::Instant;

use xcache_core::archive::index::{Chunk, Content, File, Frame, Index, IndexRoot, Member, Metadata, RootKind};
use xcache_core::archive::writer::{Title, finish};
use xcache_core::chunk::{ChunkHash, Cutter};
use xcache_core::object::{ArchiveId, Kind};
use xcache_tests::tree::Rng;

const FILES: u32 = 60_000;
const FILES_OF_A_DIRECTORY: u32 = 8;
const RAW_FRAME_BYTES: u32 = 2 << 20;

/// A tree like `node_modules`, but with times that have nothing in common: most files are one chunk, one of twenty is
/// four.
fn index() -> Index {
    let mut rng = Rng::new(1);
    let meta = |mode, rng: &mut Rng| Metadata {
        mode,
        mtime_seconds: 1_700_000_000 + i64::try_from(rng.below(100_000)).unwrap(),
        mtime_nanos: u32::try_from(rng.below(1_000_000_000)).unwrap(),
        uid: 1000,
        gid: 1000,
    };
    let member =
        |path: String, meta, content| Member { path: path.into_bytes().into(), meta, xattrs: Vec::new(), content };
    let mut members = vec![member(String::new(), meta(0o755, &mut rng), Content::Directory)];
    let mut chunks: Vec<Chunk> = Vec::new();
    let (mut frames, mut frame_end) = (0, 0);
    for number in 0..FILES {
        let directory = format!("package-{:05}", number / FILES_OF_A_DIRECTORY);
        if number % FILES_OF_A_DIRECTORY == 0 {
            members.push(member(directory.clone(), meta(0o755, &mut rng), Content::Directory));
        }
        let start = u32::try_from(chunks.len()).unwrap();
        let mut size = 0;
        for part in 0..if number % 20 == 0 { 4 } else { 1 } {
            let length = 1 + u32::try_from(rng.below(16_000)).unwrap() + 16_000 * u32::from(number % 20 == 0);
            if frame_end + length + 2048 > RAW_FRAME_BYTES {
                (frames, frame_end) = (frames + 1, 0);
            }
            let hash = ChunkHash::of(&[number.to_le_bytes(), u32::to_le_bytes(part)].concat());
            chunks.push(Chunk { hash, length, frame: frames, offset: frame_end + 1536 });
            frame_end = (frame_end + 1536 + length).next_multiple_of(512);
            size += u64::from(length);
        }
        let file = File { size, chunks: start..u32::try_from(chunks.len()).unwrap(), extents: None };
        let name = format!("{directory}/module-{:04}.d.ts", number % FILES_OF_A_DIRECTORY);
        members.push(member(name, meta(0o644, &mut rng), Content::File(file)));
    }
    let stored_bytes = RAW_FRAME_BYTES / 4;
    let frame = |number| Frame {
        source: 0,
        offset: u64::from(number) * u64::from(stored_bytes),
        stored_bytes,
        raw_bytes: RAW_FRAME_BYTES,
    };
    Index {
        writer: "test".into(),
        cutter: Cutter::FORMAT_1,
        roots: vec![IndexRoot {
            given: "node_modules".into(),
            kind: RootKind::Directory,
            members: u32::try_from(members.len()).unwrap(),
        }],
        frames: (0..=frames).map(frame).collect(),
        members,
        chunks,
    }
}

/// Run by hand: `cargo test --release -p xcache-tests --test it index_scale -- --ignored --nocapture`.
#[test]
#[ignore = "a figure for the release build"]
fn sixty_thousand_files() {
    let index = index();
    let (members, chunks) = (index.members.len(), index.chunks.len());
    let seeks = index
        .frames
        .iter()
        .map(|f| xcache_core::archive::footer::Seek { stored_bytes: f.stored_bytes, raw_bytes: f.raw_bytes });
    let seeks = seeks.collect();
    let title = Title { archive_id: ArchiveId([1; 16]), kind: Kind::Base, key: "key".into(), created_nanos: 0 };
    let written = index.clone();
    let begin = Instant::now();
    let end = finish(title, index, Vec::new(), seeks).unwrap();
    let writing = begin.elapsed();
    let begin = Instant::now();
    let archive = end.read_back().unwrap();
    let reading = begin.elapsed();
    assert_eq!(archive.index, written);
    let index_bytes = archive.footer.index_bytes;
    eprintln!(
        "{FILES} files, {members} members, {chunks} chunks: {index_bytes} bytes, {} a file",
        index_bytes / u64::from(FILES)
    );
    eprintln!(
        "of which hashes {}; written in {writing:.1?}, read and checked in {reading:.1?}",
        chunks * ChunkHash::BYTES
    );
    assert!(index_bytes < u64::from(FILES) * 64);
}
