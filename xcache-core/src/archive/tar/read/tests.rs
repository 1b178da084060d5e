//! Archives of every dialect, built block by block.

mod mutations;
mod sparse_formats;

use super::*;
use crate::archive::tar::{END_OF_ARCHIVE, pad};

/// A member as it is read: the entry, and the content as the file has it.
type Read = (TarMember, Vec<u8>);

/// Damaged archives may tell of larger files than anybody wants to hold.
const KEPT_BYTES: u64 = 1 << 20;

/// Reads an archive to its end.
fn read(archive: &[u8]) -> Result<Vec<Read>> {
    let mut stream = TarStream::new(archive);
    let mut members = Vec::new();
    while let Some(entry) = stream.next()? {
        let (mut file, mut end) = (Vec::new(), 0);
        let mut buffer = [0; 700];
        while let Some((offset, length)) = stream.content(&mut buffer)? {
            assert!(offset >= end && length > 0);
            end = offset + length as u64;
            if end <= KEPT_BYTES {
                file.resize(usize::try_from(offset).unwrap(), 0);
                file.extend_from_slice(&buffer[..length]);
            }
        }
        if let TarKind::File { size, .. } = entry.kind {
            assert!(end <= size);
            if size <= KEPT_BYTES {
                file.resize(usize::try_from(size).unwrap(), 0);
            }
        }
        members.push((entry, file));
    }
    assert_eq!(stream.next()?, None);
    Ok(members)
}

#[track_caller]
fn one(archive: Tar) -> Read {
    let mut members = read(&archive.end()).unwrap();
    assert_eq!(members.len(), 1);
    members.remove(0)
}

#[track_caller]
fn refused(archive: Tar, reason: &str) {
    let error = read(&archive.end()).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

/// An archive being written.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn block(mut self, kind: u8, name: &str, content: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkflag = [kind];
        header.set_mode(0o644);
        header.set_uid(1);
        header.set_gid(2);
        header.set_mtime(3);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.data(content)
    }

    fn data(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        pad(&mut self.0);
        self
    }

    fn member(self, kind: u8, name: &str, content: &[u8]) -> Self {
        self.block(kind, name, content, |_| ())
    }

    fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (keyword, value) in records {
            let rest = keyword.len() + value.len() + 3;
            let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
            content.extend_from_slice(format!("{length} {keyword}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.member(kind, "pax", &content)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&END_OF_ARCHIVE);
        self.0
    }
}

fn path(read: &Read) -> &str {
    std::str::from_utf8(&read.0.path).unwrap()
}

#[test]
fn headers_and_content_come_back() {
    let archive = Tar::default().member(b'5', "d/", b"").member(b'0', "d/f", &[7; 1000]).member(b'2', "l", b"");
    let members = read(&archive.end()).unwrap();
    assert_eq!(members.iter().map(path).collect::<Vec<_>>(), ["d/", "d/f", "l"]);
    let meta = Metadata { mode: 0o644, mtime_seconds: 3, mtime_nanos: 0, uid: 1, gid: 2 };
    let kind = TarKind::File { size: 1000, is_sparse: false };
    let file = TarMember { path: b"d/f".to_vec(), meta, xattrs: Vec::new(), has_acl: false, kind };
    assert_eq!(members[1], (file, vec![7; 1000]));
    assert_eq!(members[0].0.kind, TarKind::Directory);
}

#[test]
fn what_is_not_read_is_passed_over() {
    let archive = Tar::default().member(b'0', "a", &[1; 5000]).member(b'0', "b", b"b").end();
    let mut stream = TarStream::new(&archive[..]);
    assert_eq!(stream.next().unwrap().unwrap().path, b"a");
    let mut buffer = [0; 600];
    assert_eq!(stream.content(&mut buffer).unwrap(), Some((0, 600)));
    assert_eq!(stream.next().unwrap().unwrap().path, b"b");
    assert_eq!(stream.content(&mut buffer).unwrap(), Some((0, 1)));
    assert_eq!(stream.content(&mut buffer).unwrap(), None);
}

#[test]
fn an_archive_that_ends_before_its_end_mark_is_refused() {
    let whole = Tar::default().member(b'0', "a", &[1; 600]).member(b'0', "b", b"").end();
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} bytes");
    }
    // Blocks are written in tens; what follows does not matter, but is read.
    let mut input = [&whole[..], &[0; 5 * BLOCK], &b"rest"[..]].concat();
    let mut stream = TarStream::new(io::Cursor::new(&mut input));
    while stream.next().unwrap().is_some() {}
    assert_eq!(stream.input.position(), stream.input.get_ref().len() as u64);
    let lone = [&whole[..BLOCK * 4], &[0; BLOCK], &whole[..]].concat();
    assert!(read(&lone).unwrap_err().to_string().contains("empty block"));
}

#[test]
fn checksums_are_verified() {
    let whole = Tar::default().member(b'0', "name", b"").end();
    for at in 0..BLOCK {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        // Blanks and digits around the checksum do not always count.
        assert!(read(&damaged).is_err() || (148..156).contains(&at), "byte {at}");
    }
    let mut signed = Tar::default().block(b'0', "n", b"", |header| header.as_old_mut().name[1] = 0xff).end();
    assert_eq!(read(&signed).unwrap().len(), 1);
    let sum = tar::Header::from_byte_slice(&signed[..BLOCK]).cksum().unwrap() - 256;
    signed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(read(&signed).unwrap().len(), 1);
}

#[test]
fn numbers_have_two_forms() {
    for (field, number) in [
        (&b"0000644\0"[..], 0o644),
        (b"   644 \0", 0o644),
        (b"\0\0\0\0", 0),
        (b"        ", 0),
        (b"77777777777 ", 0o77_777_777_777),
        (b"777777777777", 0o777_777_777_777),
        (&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1], (2 << 32) + 1),
        (&[0xff; 12], -1),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], -2),
    ] {
        assert_eq!(signed_number(field).unwrap(), number, "{field:x?}");
    }
    for field in [&b"12x"[..], b"8", b"-1", b"1 2", &[0x80, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], &[0xbf; 12]] {
        assert!(signed_number(field).is_err(), "{field:x?}");
    }
    let old = Tar::default().block(b'0', "old", b"", |header| header.as_old_mut().mtime = [0xff; 12]);
    assert_eq!(one(old).0.meta.mtime_seconds, -1);
}

#[test]
fn long_names_of_gnu_and_of_pax_are_read() {
    let long = "directory/".repeat(40);
    let gnu = Tar::default().member(b'K', "././@LongLink", format!("{long}target\0").as_bytes()).member(
        b'L',
        "././@LongLink",
        format!("{long}name\0").as_bytes(),
    );
    let (entry, _) = one(gnu.clone().member(b'2', "short", b""));
    assert_eq!(entry.path, format!("{long}name").as_bytes());
    assert_eq!(entry.kind, TarKind::Symlink(format!("{long}target").into_bytes()));
    let pax = gnu.pax(b'x', &[("path", b"new\nline"), ("linkpath", b"of\0pax")]);
    let (entry, _) = one(pax.member(b'1', "short", b""));
    assert_eq!((entry.path, entry.kind), (b"new\nline".to_vec(), TarKind::HardLink(b"of\0pax".to_vec())));
    let prefixed = Tar::default().block(b'0', "name", b"", |header| {
        header.as_ustar_mut().unwrap().prefix[..3].copy_from_slice(b"a/b");
    });
    assert_eq!(path(&one(prefixed)), "a/b/name");
}

#[test]
fn pax_records_stand_above_the_header_and_global_ones_below() {
    let archive = Tar::default()
        .pax(b'g', &[("comment", b"any"), ("uid", b"7"), ("mtime", b"9"), ("SCHILY.xattr.user.a", b"not for all")])
        .member(b'0', "global", b"")
        .pax(b'x', &[("mtime", b"-1.5"), ("uid", b""), ("gid", b"4000000000"), ("size", b"600")])
        .block(b'0', "own", &[1; 600], |header| header.set_size(0))
        .member(b'0', "again", b"");
    let members = read(&archive.end()).unwrap();
    let of = |number: usize| {
        let Metadata { mtime_seconds, mtime_nanos, uid, gid, .. } = members[number].0.meta;
        (mtime_seconds, mtime_nanos, uid, gid)
    };
    assert_eq!([of(0), of(1), of(2)], [(9, 0, 7, 2), (-2, 500_000_000, 1, 4_000_000_000), (9, 0, 7, 2)]);
    assert_eq!(members[1].1, [1; 600]);
    assert!(members.iter().all(|(entry, _)| entry.xattrs.is_empty()));
}

#[test]
fn attributes_of_both_writers_are_read() {
    let user = |entry: &TarMember| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        entry.xattrs.iter().map(|(name, value)| (text(name), text(value))).collect::<Vec<_>>()
    };
    let expected = [("user.a=b %", "1\n=\0"), ("user.z", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let gnu = Tar::default().pax(
        b'x',
        &[
            ("SCHILY.xattr.user.z", b""),
            ("SCHILY.xattr.user.a%3Db %25", b"1\n=\0"),
            ("SCHILY.xattr.security.selinux", b"x"),
        ],
    );
    assert_eq!(user(&one(gnu.member(b'0', "f", b"")).0), expected);
    let libarchive = Tar::default().pax(
        b'x',
        &[
            ("LIBARCHIVE.xattr.user.z", b""),
            // It writes this one so, too, which reads as another attribute.
            ("SCHILY.xattr.user.a=b %", b"1\n=\0"),
            ("LIBARCHIVE.xattr.user.a%3Db%20%25", b"MQo9AA"),
        ],
    );
    assert_eq!(user(&one(libarchive.member(b'0', "f", b"")).0), expected);
}

#[test]
fn lengths_that_are_too_large_are_refused_before_anything_is_made() {
    for kind in [b'x', b'g', b'L', b'K'] {
        refused(Tar::default().block(kind, "a", b"", |header| header.set_size(2 << 20)), "the limit is");
    }
    for kind in [b'x', b'L', b'K'] {
        refused(Tar::default().member(kind, "a", b""), "describes no member");
    }
    refused(Tar::default().block(b'0', "a", b"", |header| header.set_size(1 << 60)), "within a member");
    refused(Tar::default().pax(b'x', &[("uid", b"4294967295")]).member(b'0', "a", b""), "owner");
}

#[test]
fn kinds_without_content_have_none() {
    let archive = Tar::default();
    let archive = b"123456"
        .iter()
        .fold(archive, |archive, kind| archive.block(*kind, "without", b"", |header| header.set_size(1000)));
    let archive = b"DVZ".iter().fold(archive, |archive, kind| archive.member(*kind, "with", &[9; 600]));
    let archive = archive.member(b'0', "old directory/", b"").member(b'7', "contiguous", b"").member(0, "v7", b"v7");
    let kinds: Vec<_> = read(&archive.end()).unwrap().into_iter().map(|(entry, _)| entry.kind).collect();
    let file = |size| TarKind::File { size, is_sparse: false };
    let expected = [
        TarKind::HardLink(Vec::new()),
        TarKind::Symlink(Vec::new()),
        TarKind::Other,
        TarKind::Other,
        TarKind::Directory,
        TarKind::Other,
        TarKind::Directory,
        TarKind::Other,
        TarKind::Directory,
        file(0),
        file(2),
    ];
    assert_eq!(kinds, expected);
    refused(Tar::default().member(b'M', "a", b""), "another volume");
}
