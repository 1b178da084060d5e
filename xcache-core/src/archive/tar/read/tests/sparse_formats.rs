//! One sparse file in each of its formats, and maps that lie.

use super::*;
use crate::archive::tar::write::{TarEntry as Written, append};

/// A file of 5,000 bytes with data at 1,000 and 3,000.
fn assert_sparse((entry, content): Read) {
    assert_eq!(entry.path, b"dir/sparse");
    assert_eq!(entry.kind, TarKind::File { size: 5000, is_sparse: true });
    let mut expected = vec![0; 5000];
    expected[1000..1700].fill(1);
    expected[3000..3005].fill(2);
    assert!(content == expected);
}

fn sparse_data() -> Vec<u8> {
    [&[1; 700][..], &[2; 5]].concat()
}

pub(super) const SPARSE_NAME: &str = "dir/GNUSparseFile.7/sparse";

pub(super) fn sparse_0_0() -> Tar {
    let of = |offset: &'static [u8], length| [("GNU.sparse.offset", offset), ("GNU.sparse.numbytes", length)];
    let head = [("GNU.sparse.size", &b"5000"[..]), ("GNU.sparse.numblocks", b"3")];
    let records = [&head[..], &of(b"1000", b"700"), &of(b"3000", b"5"), &of(b"5000", b"0")].concat();
    Tar::default().pax(b'x', &records).member(b'0', "dir/sparse", &sparse_data())
}

pub(super) fn sparse_0_1(map: &[u8]) -> Tar {
    let records = [("GNU.sparse.size", &b"5000"[..]), ("GNU.sparse.name", b"dir/sparse"), ("GNU.sparse.map", map)];
    Tar::default().pax(b'x', &records).member(b'0', SPARSE_NAME, &sparse_data())
}

pub(super) fn sparse_1_0(map: &str) -> Tar {
    let records = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"dir/sparse"),
        ("GNU.sparse.realsize", b"5000"),
    ];
    let mut content = map.as_bytes().to_vec();
    pad(&mut content);
    content.extend_from_slice(&sparse_data());
    Tar::default().pax(b'x', &records).member(b'0', SPARSE_NAME, &content)
}

/// With so many empty extents after the fourth that other headers are needed.
pub(super) fn sparse_old(more: usize) -> Tar {
    let field = |number: u64| -> [u8; 12] { format!("{number:011o}\0").into_bytes().try_into().unwrap() };
    let mut blocks = Vec::new();
    for rest in (0..more).step_by(21).map(|start| more - start) {
        let mut block = [0; BLOCK];
        for place in block.chunks_exact_mut(24).take(rest.min(21)) {
            place[..12].copy_from_slice(&field(5000));
            place[12..].copy_from_slice(&field(0));
        }
        block[504] = u8::from(rest > 21);
        blocks.extend_from_slice(&block);
    }
    let data = sparse_data();
    let archive = Tar::default().block(b'S', "dir/sparse", b"", |header| {
        header.set_size(data.len() as u64);
        let ustar = header.as_ustar_mut().unwrap();
        (ustar.magic, ustar.version) = (*b"ustar ", *b" \0");
        let gnu = header.as_gnu_mut().unwrap();
        for (place, (offset, length)) in gnu.sparse.iter_mut().zip([(1000, 700), (3000, 5), (5000, 0), (5000, 0)]) {
            (place.offset, place.numbytes) = (field(offset), field(length));
        }
        gnu.isextended = [u8::from(more > 0)];
        gnu.realsize = field(5000);
    });
    archive.data(&blocks).data(&data)
}

pub(super) const MAP_1_0: &str = "3\n1000\n700\n3000\n5\n5000\n0\n";

#[test]
fn every_format_of_sparse_files_is_read() {
    assert_sparse(one(sparse_0_0()));
    assert_sparse(one(sparse_0_1(b"1000,700,3000,5")));
    assert_sparse(one(sparse_1_0(MAP_1_0)));
    // A map of more than a block, with a number across its border.
    let mut long = "203\n1000\n700\n3000\n5\n".to_owned();
    for _ in 0..201 {
        long.push_str("5000\n0\n");
    }
    assert_sparse(one(sparse_1_0(&long)));
    for more in [0, 1, 21, 22, 50] {
        assert_sparse(one(sparse_old(more)));
    }
    let hole = [("GNU.sparse.size", &b"5000"[..]), ("GNU.sparse.numblocks", b"0")];
    let (entry, content) = one(Tar::default().pax(b'x', &hole).member(b'0', "hole", b""));
    assert_eq!((entry.kind, content), (TarKind::File { size: 5000, is_sparse: true }, vec![0; 5000]));
}

#[test]
fn ours_are_read() {
    let extents = [Extent { offset: 1000, length: 700 }, Extent { offset: 3000, length: 5 }];
    let mut tar = Tar::default();
    append(&mut tar.0, b"dir/sparse", &Metadata::default(), &[], Written::Sparse { size: 5000, extents: &extents });
    assert_sparse(one(tar.data(&sparse_data())));
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    for (map, reason) in [
        ("1000,700", "does not fit"),
        ("3000,700,1000,5", "backwards"),
        ("1000,700,1699,5", "backwards"),
        ("1000,700,4996,5", "beyond its end"),
        ("1000,700,3000,9223372036854775807", "beyond its end"),
        ("1000,700,3000", "sparse map is wrong"),
        ("1000,700,3000,-5", "sparse map is wrong"),
        ("1000,700,3000,99999999999999999999", "sparse map is wrong"),
    ] {
        refused(sparse_0_1(map.as_bytes()), reason);
    }
    for (map, reason) in [
        ("", "sparse map"),
        ("1\n1000\n700\n", "does not fit"),
        ("2\n1000\n700\n3000\n", "sparse map"),
        ("1048577\n", "the limit is 1048576"),
        ("9223372036854775807\n", "the limit is 1048576"),
        ("18446744073709551617\n", "sparse map"),
        ("x\n", "sparse map"),
    ] {
        refused(sparse_1_0(map), reason);
    }
    let records = [("GNU.sparse.major", &b"2"[..]), ("GNU.sparse.minor", b"0")];
    refused(Tar::default().pax(b'x', &records).member(b'0', "a", b""), "unknown format");
    refused(Tar::default().member(b'S', "a", b""), "unknown format");
}
