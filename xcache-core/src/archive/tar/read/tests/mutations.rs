//! Damaged archives, of which none may do harm.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::sparse_formats::{MAP_1_0, sparse_0_0, sparse_0_1, sparse_1_0, sparse_old};
use super::*;

/// Something of everything.
fn every_dialect() -> Vec<u8> {
    let mut all = Tar::default().pax(b'g', &[("uid", b"7"), ("comment", b"x")]);
    for tar in [sparse_0_0(), sparse_0_1(b"1000,700,3000,5"), sparse_1_0(MAP_1_0), sparse_old(22)] {
        all.0.extend_from_slice(&tar.0);
    }
    let mut long = String::new();
    for number in 0..100 {
        write!(long, "{number}/").unwrap();
    }
    all.member(b'L', "long", long.as_bytes())
        .member(b'5', "short", b"")
        .pax(b'x', &[("SCHILY.xattr.user.a", b"\n"), ("LIBARCHIVE.xattr.user.b", b"Cg"), ("mtime", b"-1.5")])
        .member(b'0', "file", &[5; 2000])
        .member(b'2', "link", b"")
        .end()
}

/// Sets the checksum of the header that byte `at` lies in, so that what is behind it is reached.
fn mend(archive: &mut [u8], at: usize) {
    let block = &mut archive[at / BLOCK * BLOCK..][..BLOCK];
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    header.set_cksum();
    block.copy_from_slice(header.as_bytes());
}

/// Those that are read.
const KEYWORDS: &[&str] = &[
    "GNU.sparse.major",
    "GNU.sparse.map",
    "GNU.sparse.name",
    "GNU.sparse.numblocks",
    "GNU.sparse.numbytes",
    "GNU.sparse.offset",
    "GNU.sparse.size",
    "LIBARCHIVE.xattr.user.a",
    "SCHILY.xattr.user.a",
    "linkpath",
    "mtime",
    "path",
    "size",
    "uid",
];

proptest! {
    #[test]
    fn damaged_archives_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut: Option<prop::sample::Index>,
    ) {
        let mut archive = every_dialect();
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
            mend(&mut archive, at);
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len()));
        }
        let _ = read(&archive);
    }

    #[test]
    fn changed_fields_do_no_harm(block in any::<prop::sample::Index>(), field in 0..12_usize, value: [u8; 12]) {
        let mut archive = every_dialect();
        let start = block.index(archive.len() / BLOCK) * BLOCK;
        let at = start + [0, 100, 108, 116, 124, 136, 156, 157, 257, 386, 398, 482][field];
        let length = [12, 8, 8, 8, 12, 12, 1, 12, 8, 12, 12, 12][field];
        archive[at..at + length].copy_from_slice(&value[..length]);
        mend(&mut archive, at);
        let _ = read(&archive);
    }

    #[test]
    fn noise_is_no_archive(noise in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(read(&noise).is_err());
    }

    #[test]
    fn pax_records_of_any_value_do_no_harm(
        records in prop::collection::vec((prop::sample::select(KEYWORDS), "[-0-9,.%=\n]{0,9}"), 0..6),
    ) {
        let records: Vec<_> = records.iter().map(|(keyword, value)| (*keyword, value.as_bytes())).collect();
        let _ = read(&Tar::default().pax(b'x', &records).member(b'0', "file", b"content").end());
    }
}
