//! What comes after the data frames of an archive: index frame, footer frame, seek table.

use bytes::Bytes;

use super::footer::{Footer, INDEX_FRAME, Seek, encode_end};
use super::frame::skippable;
use super::index::Index;
use super::reader::{Archive, ReadTail, read_tail};
use super::{Error, columns};
use crate::object::{ArchiveId, Kind, Ref};

/// What an archive says about itself.
#[derive(Clone, Debug)]
pub struct Title {
    /// Random.
    pub archive_id: ArchiveId,
    /// Complete or not.
    pub kind: Kind,
    /// The key it is saved under.
    pub key: String,
    /// When it is written, in nanoseconds since 1970.
    pub created_nanos: i64,
}

/// What comes after the data frames of an archive.
#[derive(Clone, Debug)]
pub struct ArchiveEnd {
    /// Its bytes.
    pub bytes: Bytes,
    object_bytes: u64,
}

/// The end of the archive whose data frames are `frames`.
pub fn finish(title: Title, index: Index, refs: Vec<Ref>, mut frames: Vec<Seek>) -> std::io::Result<ArchiveEnd> {
    let data_bytes: u64 = frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
    // What is not written down, such as the size of a file without holes, can be checked only here.
    index.check(&refs, data_bytes).map_err(refused)?;
    let (stored, index_raw_bytes) = columns::encode(&index)?;
    let Title { archive_id, kind, key, created_nanos } = title;
    let footer = Footer {
        archive_id,
        kind,
        key,
        created_nanos,
        refs,
        members: index.members.len() as u64,
        content_bytes: index.content_bytes(),
        index_offset: data_bytes,
        index_bytes: stored.len() as u64,
        index_raw_bytes,
        index_hash: *blake3::hash(&stored).as_bytes(),
    };
    let mut end = skippable(INDEX_FRAME, &stored);
    frames.push(Seek { stored_bytes: u32::try_from(end.len()).map_err(std::io::Error::other)?, raw_bytes: 0 });
    end.extend_from_slice(&encode_end(&footer, &frames)?);
    let object_bytes = data_bytes + end.len() as u64;
    Ok(ArchiveEnd { bytes: end.into(), object_bytes })
}

impl ArchiveEnd {
    /// The archive as a reader sees it. To be called before the object is published, so that none is that a restore would
    /// refuse; its bytes may be on their way meanwhile. Takes less time than [`finish`].
    pub fn read_back(&self) -> std::io::Result<Archive> {
        match read_tail(&self.bytes, self.object_bytes) {
            Ok(ReadTail::Archive(archive)) => Ok(*archive),
            Ok(ReadTail::NeedsMore(_) | ReadTail::Plain) => {
                Err(refused(Error::damaged("archive", "its index is not found")))
            }
            Err(error) => Err(refused(error)),
        }
    }
}

fn refused(error: Error) -> std::io::Error {
    std::io::Error::other(format!("a restore would refuse what was packed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::index::{Chunk, Content, Extent, File, Frame, IndexRoot, Member, Metadata, RootKind};
    use super::*;
    use crate::chunk::{ChunkHash, Cutter};
    use crate::object::ObjectName;

    fn member(path: &str, content: Content) -> Member {
        let meta = Metadata { mode: 0o644, mtime_seconds: -5, mtime_nanos: 7, uid: 1, gid: 2 };
        let xattrs = if path == "a/f" { vec![(b"user.x"[..].into(), b"\0v"[..].into())] } else { Vec::new() };
        Member { path: path.as_bytes().into(), meta, xattrs, content }
    }

    fn sample() -> (Index, Vec<Ref>) {
        let chunk = |n: u8, frame, offset| Chunk { hash: ChunkHash::of(&[n]), length: 100, frame, offset };
        let extents = Some([Extent { offset: 4096, length: 100 }].into());
        let members = vec![
            member("", Content::Directory),
            member("a", Content::Directory),
            member("a/f", Content::File(File { size: 200, chunks: 0..2, extents: None })),
            member("a/l", Content::Symlink(b"/nowhere"[..].into())),
            member("b", Content::HardLink(2)),
            member("s", Content::File(File { size: 1 << 30, chunks: 2..3, extents })),
            member("one", Content::File(File { size: 0, chunks: 3..3, extents: None })),
        ];
        let roots = vec![
            IndexRoot { given: "~/x".into(), kind: RootKind::Directory, members: 6 },
            IndexRoot { given: "y".into(), kind: RootKind::File, members: 1 },
            IndexRoot { given: "z".into(), kind: RootKind::Nothing, members: 0 },
        ];
        let frame = |source, offset| Frame { source, offset, stored_bytes: 10, raw_bytes: 1000 };
        let index = Index {
            writer: "test".into(),
            cutter: Cutter::FORMAT_1,
            roots,
            frames: vec![frame(0, 0), frame(0, 10), frame(1, 50)],
            members,
            chunks: vec![chunk(1, 1, 512), chunk(2, 2, 7), chunk(3, 0, 0)],
        };
        let archive_id = ArchiveId([3; 16]);
        let r = Ref {
            name: ObjectName::new("k-base.tar.zst").unwrap(),
            etag: "e".into(),
            size: 90,
            data_bytes: 60,
            archive_id,
            created_nanos: 1,
        };
        (index, vec![r])
    }

    fn archive() -> (Vec<u8>, Archive) {
        let (index, refs) = sample();
        let title = Title { archive_id: ArchiveId([9; 16]), kind: Kind::Delta, key: "k".into(), created_nanos: 5 };
        let seek = Seek { stored_bytes: 10, raw_bytes: 1000 };
        let end = finish(title, index, refs, vec![seek; 2]).unwrap();
        let (end, archive) = (end.bytes.to_vec(), end.read_back().unwrap());
        ([vec![0; 20], end].concat(), archive)
    }

    #[test]
    fn a_tail_that_is_long_enough_gives_the_archive_back() {
        let (bytes, archive) = archive();
        let size = bytes.len() as u64;
        let needed = bytes.len() - 20;
        for length in [needed, needed + 1, bytes.len()] {
            let ReadTail::Archive(read) = read_tail(&bytes[bytes.len() - length..], size).unwrap() else {
                panic!("{length}")
            };
            assert_eq!(*read, archive);
        }
    }

    #[test]
    fn a_tail_that_is_too_short_says_how_much_is_needed() {
        let (bytes, _) = archive();
        let size = bytes.len() as u64;
        for length in 41..bytes.len() - 20 {
            let ReadTail::NeedsMore(wanted) = read_tail(&bytes[bytes.len() - length..], size).unwrap() else {
                panic!("{length}")
            };
            assert!(wanted > length as u64 && wanted <= size, "{length}: {wanted}");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let (bytes, archive) = archive();
        let size = bytes.len() as u64;
        for bit in 20 * 8..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match read_tail(&bad, size) {
                Ok(ReadTail::Archive(read)) => assert_eq!(*read, archive, "bit {bit}"),
                Ok(ReadTail::NeedsMore(_) | ReadTail::Plain) => panic!("bit {bit} makes another archive of it"),
                Err(_) => {}
            }
        }
        for length in 21..bytes.len() {
            let cut = &bytes[..length];
            if let Ok(ReadTail::Archive(_)) = read_tail(cut, length as u64) {
                panic!("cut at {length}");
            }
        }
    }

    #[test]
    fn what_a_reader_would_refuse_is_never_finished() {
        let check = |change: fn(&mut Index, &mut Title), expected: &str| {
            let (mut index, refs) = sample();
            let mut title =
                Title { archive_id: ArchiveId([9; 16]), kind: Kind::Delta, key: "k".into(), created_nanos: 5 };
            change(&mut index, &mut title);
            let seek = Seek { stored_bytes: 10, raw_bytes: 1000 };
            let end = finish(title, index, refs, vec![seek; 2]);
            let error = end.and_then(|end| end.read_back()).unwrap_err().to_string();
            assert!(error.starts_with("a restore would refuse") && error.contains(expected), "{error}");
        };
        check(|index, _| index.frames[1].raw_bytes = 17 << 20, "the length of a frame decompressed is 17825792");
        check(|index, _| index.members[1].path = b"a".repeat(70_000).into(), "has a path longer than 4,096 bytes");
        check(|index, _| index.members[4].path = b"a/f"[..].into(), "out of order or there twice");
        check(|index, _| index.chunks[0].length += 1, "a size that its chunks do not come to");
        check(|_, title| title.kind = Kind::Base, "a base that refers to other objects");
    }

    #[test]
    fn bytes_of_any_kind_are_an_error_or_plain() {
        for length in [0, 1, 8, 9, 100] {
            assert!(matches!(read_tail(&vec![0x5a; length], length as u64), Ok(ReadTail::Plain)));
        }
    }
}
