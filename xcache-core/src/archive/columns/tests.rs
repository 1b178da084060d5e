//! Columns that fit and columns that lie. Whatever they say, reading them takes no more memory than the limits allow.

use proptest::prelude::*;

use super::super::index::{MAX_PATH_BYTES, RootKind, Xattrs};
use super::*;
use crate::convert;

fn index() -> Index {
    let meta = Metadata { mode: 0o644, mtime_seconds: -5, mtime_nanos: 7, uid: 1, gid: 2 };
    let member = |path: &str, content| Member { path: path.as_bytes().into(), meta, xattrs: Xattrs::new(), content };
    let chunk = |n: u8, frame, offset| Chunk { hash: ChunkHash::of(&[n]), length: 100, frame, offset };
    let extents = Some([Extent { offset: 4096, length: 100 }].into());
    let mut index = Index {
        writer: "test".into(),
        cutter: Cutter::FORMAT_1,
        roots: vec![IndexRoot { given: "~/x".into(), kind: RootKind::Directory, members: 6 }],
        frames: vec![0, 10]
            .into_iter()
            .map(|n| Frame { source: 0, offset: n, stored_bytes: 10, raw_bytes: 900 })
            .collect(),
        members: vec![
            member("", Content::Directory),
            member("a", Content::Directory),
            member("a/file", Content::File(File { size: 200, chunks: 0..2, extents: None })),
            member("a/hard", Content::HardLink(2)),
            member("a/link", Content::Symlink(b"/nowhere"[..].into())),
            member("sparse", Content::File(File { size: 1 << 30, chunks: 2..3, extents })),
        ],
        chunks: vec![chunk(1, 1, 512), chunk(2, 1, 612), chunk(3, 0, 0)],
    };
    index.members[2].xattrs = vec![(b"user.x"[..].into(), b"\0v"[..].into())];
    index
}

fn bytes(columns: &Columns) -> Vec<u8> {
    postcard::to_stdvec(columns).unwrap()
}

fn read(raw: &[u8]) -> Result<Index> {
    from_columns(Columns::read(&mut &raw[..])?)
}

/// Columns of so many directories, all with the path that `shared` and `rest` make of the one before.
fn directories(count: usize, shared: u16, first: &[u8]) -> Columns {
    let mut c = Columns {
        cutter: Some(Cutter::FORMAT_1),
        path_shared: vec![shared; count],
        path_rest: vec![0; count],
        path_bytes: first.to_vec(),
        kind: vec![DIRECTORY; count],
        mode: vec![0; count],
        mtime_seconds: vec![0; count],
        mtime_nanos: vec![0; 4 * count],
        uid: vec![0; count],
        gid: vec![0; count],
        ..Columns::default()
    };
    (c.path_shared[0], c.path_rest[0]) = (0, convert::small(first.len()));
    c
}

#[track_caller]
fn over(what: &str, columns: &Columns) {
    match read(&bytes(columns)) {
        Err(Error::Limit { what: found, .. }) => assert_eq!(found, what),
        other => panic!("{what}: {:?}", other.map(|index| index.members.len())),
    }
}

#[test]
fn every_column_comes_back() {
    let index = index();
    let (stored, raw_bytes) = encode(&index).unwrap();
    assert_eq!(decode(&stored, raw_bytes).unwrap(), index);
}

#[test]
fn a_path_longer_than_any_is_refused_before_it_is_repeated() {
    let check = |first: &[u8], expected: Option<&str>| {
        let read = read(&bytes(&directories(1000, convert::small(first.len()), first)));
        let reason = read.err().map(|error| error.to_string());
        assert_eq!(reason.as_deref().map(|reason| reason.rsplit("` ").next().unwrap()), expected);
    };
    check(&[b'a'; MAX_PATH_BYTES], None);
    check(&[b'a'; MAX_PATH_BYTES + 1], Some("has a path longer than 4,096 bytes"));
    check(&[b'a'; u16::MAX as usize], Some("has a path longer than 4,096 bytes"));
}

#[test]
fn the_paths_of_all_members_together_have_a_limit() {
    let members = usize::try_from(PATH_BYTES.limit).unwrap() / MAX_PATH_BYTES + 1;
    over(PATH_BYTES.what, &directories(members, convert::small(MAX_PATH_BYTES), &[b'a'; MAX_PATH_BYTES]));
}

#[test]
fn no_column_is_longer_than_it_may_be() {
    // One byte for each column: its length.
    let empty = bytes(&Columns::default());
    let check = |column: usize, most: Most| {
        let read = |length: u64| read(&[&empty[..column], &postcard::to_stdvec(&length).unwrap()].concat());
        let Err(Error::Limit { what, .. }) = read(most.limit + 1) else { panic!("column {column}") };
        assert_eq!(what, most.what, "column {column}");
        assert!(matches!(read(most.limit), Err(Error::Damaged { .. })), "column {column}");
    };
    check(2, ROOTS);
    (3..7).for_each(|column| check(column, FRAMES));
    [7, 8, 10, 11, 12, 14, 15, 16, 17, 18, 20].into_iter().for_each(|column| check(column, MEMBERS));
    check(21, XATTRS);
    (23..26).for_each(|column| check(column, CHUNKS));
    assert_eq!(empty.len(), 26);
    let sparse = |count: u64| Sparse {
        member: 0,
        size: 0,
        extents: vec![Extent { offset: 0, length: 0 }; usize::try_from(count).unwrap()],
    };
    let halves = vec![sparse(EXTENTS.limit / 2), sparse(EXTENTS.limit / 2 + 1)];
    over(EXTENTS.what, &Columns { sparse: halves, ..Columns::default() });
}

/// The length of a column is believed only as far as there are bytes.
#[test]
fn lengths_without_bytes_are_damage() {
    for length in [1u64, 1 << 20, u64::MAX] {
        let raw = [&bytes(&Columns::default())[..2], &postcard::to_stdvec(&length).unwrap()].concat();
        assert!(read(&raw).is_err(), "{length}");
    }
}

#[test]
fn an_index_that_shrinks_too_much_is_refused_before_it_is_decompressed() {
    let check = |raw_bytes: u64, is_refused: bool| {
        let stored = zstd::bulk::compress(&vec![0; usize::try_from(raw_bytes).unwrap()], 3).unwrap();
        assert!(raw_bytes > stored.len() as u64 * MAX_RATIO);
        let error = decode(&stored, raw_bytes).unwrap_err();
        assert_eq!(matches!(error, Error::Limit { .. }), is_refused, "{error}");
    };
    check(MIN_LIMIT_BYTES, false);
    check(MIN_LIMIT_BYTES + 1, true);
    check(MAX_INDEX_BYTES + 1, true);
}

/// A file of 50 GiB of zeros.
#[test]
fn many_equal_rows_are_no_bomb() {
    let mut index = index();
    let (rows, length) = (200_000, Cutter::FORMAT_1.max_bytes);
    let (first, before) = (Chunk { length, ..index.chunks[2] }, 2);
    index.chunks.truncate(before as usize);
    index.chunks.extend(vec![first; rows as usize]);
    let size = u64::from(rows) * u64::from(length);
    index.members[5].content = Content::File(File { size, chunks: before..before + rows, extents: None });
    let (stored, raw_bytes) = encode(&index).unwrap();
    assert!(raw_bytes > stored.len() as u64 * MAX_RATIO, "{raw_bytes} in {}", stored.len());
    assert_eq!(decode(&stored, raw_bytes).unwrap(), index);
}

/// Whatever was read may be checked, and keeps to the limits.
fn read_and_check(raw: &[u8]) {
    let Ok(index) = read(raw) else { return };
    let paths: u64 = index.members.iter().map(|member| member.path.len() as u64).sum();
    assert!(index.members.iter().all(|member| member.path.len() <= MAX_PATH_BYTES));
    assert!(paths <= PATH_BYTES.limit && index.members.len() as u64 <= MEMBERS.limit);
    let _ = index.check(&[], 20);
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_an_error_or_an_index(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_and_check(&raw);
    }

    #[test]
    fn an_index_changed_anywhere_is_an_error_or_an_index(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut raw = bytes(&to_columns(&index()));
        for (place, byte) in changes {
            let place = place.index(raw.len());
            raw[place] = byte;
        }
        if is_cut {
            raw.truncate(cut.index(raw.len()));
        }
        read_and_check(&raw);
    }
}
