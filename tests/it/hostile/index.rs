//! The same for objects with an index, in which every checksum is right and something else is a lie.

use std::fs::{self, File as OsFile};
use std::os::unix::fs::FileExt as _;

use xcache_core::archive::columns;
use xcache_core::archive::footer::{FOOTER_MAGIC, FORMAT, Footer, INDEX_FRAME, Seek, encode_end};
use xcache_core::archive::frame::{Encoder, skippable};
use xcache_core::archive::index::{
    Chunk, Content, Extent, File, Frame, Index, IndexRoot, Member, Metadata, RootKind, path_order,
};
use xcache_core::archive::reader::{ReadTail, read_tail};
use xcache_core::chunk::{ChunkHash, Cutter};
use xcache_core::object::{ArchiveId, Kind, ObjectName, Ref};
use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::tree::Rng;

use super::{assert_clean_miss, attack, attack_at};
use crate::{save, saved};

/// An archive that is honest until a test changes it.
struct Lie {
    /// The data frames.
    data: Vec<u8>,
    index: Index,
    footer: Footer,
}

/// Members in the index of [`Lie::base`].
const FILE: usize = 1;
const LINK: usize = 4;

fn member(path: &[u8], content: Content) -> Member {
    let meta = Metadata { mode: 0o755, mtime_seconds: 1_000_000_000, mtime_nanos: 0, uid: 0, gid: 0 };
    Member { path: path.into(), meta, xattrs: Vec::new(), content }
}

fn link_to(target: &str) -> Content {
    Content::Symlink(target.as_bytes().into())
}

fn file_of(chunks: std::ops::Range<u32>, size: u64) -> Content {
    Content::File(File { size, chunks, extents: None })
}

impl Lie {
    /// `file` and `dir/file`, both in one frame, and `link`, which leads to what must not be touched.
    fn base() -> Self {
        let raw = Rng::new(3).bytes(1000);
        let data = Encoder::new(1).unwrap().encode(&raw).unwrap();
        let chunk = |from: usize, to: usize| Chunk {
            hash: ChunkHash::of(&raw[from..to]),
            length: u32::try_from(to - from).unwrap(),
            frame: 0,
            offset: u32::try_from(from).unwrap(),
        };
        let stored_bytes = u32::try_from(data.len()).unwrap();
        let index = Index {
            writer: "test".into(),
            cutter: Cutter::FORMAT_1,
            roots: vec![IndexRoot { given: "target".into(), kind: RootKind::Directory, members: 5 }],
            frames: vec![Frame { source: 0, offset: 0, stored_bytes, raw_bytes: 1000 }],
            members: vec![
                member(b"", Content::Directory),
                member(b"file", file_of(0..1, 600)),
                member(b"folder", Content::Directory),
                member(b"folder/file", file_of(1..2, 400)),
                member(b"link", link_to("../outside")),
            ],
            chunks: vec![chunk(0, 600), chunk(600, 1000)],
        };
        let footer = Footer {
            archive_id: ArchiveId([7; 16]),
            kind: Kind::Base,
            key: "key".into(),
            created_nanos: 0,
            refs: Vec::new(),
            members: 5,
            content_bytes: 1000,
            index_offset: 0,
            index_bytes: 0,
            index_raw_bytes: 0,
            index_hash: [0; 32],
        };
        Self { data: data.to_vec(), index, footer }
    }

    /// One more member, in its place.
    fn add(&mut self, path: &[u8], content: Content) {
        self.index.members.push(member(path, content));
        self.index.members.sort_by(|a, b| path_order(&a.path, &b.path));
        self.index.roots[0].members += 1;
    }

    /// The object, with all its checksums right.
    fn object(self) -> Vec<u8> {
        let (stored, index_raw_bytes) = columns::encode(&self.index).unwrap();
        let mut footer = self.footer;
        footer.index_offset = self.data.len() as u64;
        footer.index_bytes = stored.len() as u64;
        footer.index_raw_bytes = index_raw_bytes;
        footer.index_hash = *blake3::hash(&stored).as_bytes();
        [&self.data[..], &skippable(INDEX_FRAME, &stored), &end(&footer)].concat()
    }
}

/// Footer and seek table.
fn end(footer: &Footer) -> Vec<u8> {
    let short = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let data = Seek { stored_bytes: short(footer.index_offset), raw_bytes: 0 };
    let index = Seek { stored_bytes: short(footer.index_bytes + 8), raw_bytes: 0 };
    encode_end(footer, &[data, index]).unwrap()
}

/// It is refused, for the reason in the golden file.
#[track_caller]
fn assert_refused(outcome: &Outcome, target: &std::path::Path) {
    assert_clean_miss(outcome, target);
    outcome.clone().reviewed();
}

/// A base that is changed in this way is refused.
#[track_caller]
fn refused(change: impl FnOnce(&mut Lie)) {
    let mut lie = Lie::base();
    change(&mut lie);
    attack(&lie.object(), assert_refused);
}

#[test]
fn an_honest_archive_made_in_the_same_way_restores() {
    attack(&Lie::base().object(), |outcome, target| {
        assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
        let expected = Rng::new(3).bytes(1000);
        assert_eq!(fs::read(target.join("file")).unwrap(), expected[..600]);
        assert_eq!(fs::read(target.join("folder/file")).unwrap(), expected[600..]);
    });
}

#[test]
fn frames_that_are_not_where_the_index_says_are_refused() {
    refused(|lie| lie.index.frames[0].offset = 1);
    refused(|lie| lie.index.frames[0].stored_bytes += 1);
    refused(|lie| lie.index.frames[0].stored_bytes = u32::MAX);
    refused(|lie| lie.index.frames[0].offset = 1 << 60);
    refused(|lie| lie.index.frames[0].source = 1);
    refused(|lie| {
        lie.index.frames.push(lie.index.frames[0]);
        lie.index.chunks[1].frame = 1;
    });
    refused(|lie| {
        let Frame { stored_bytes, .. } = lie.index.frames[0];
        lie.data.extend_from_within(..);
        lie.index.frames.insert(0, Frame { offset: stored_bytes.into(), ..lie.index.frames[0] });
    });
    refused(|lie| {
        lie.index.frames[0].offset = 1;
        lie.index.frames[0].stored_bytes -= 1;
    });
}

#[test]
fn frames_of_other_lengths_than_the_index_says_are_refused() {
    refused(|lie| lie.index.frames[0].raw_bytes += 1);
    refused(|lie| {
        lie.index.frames[0].raw_bytes = u32::MAX;
    });
    refused(|lie| {
        lie.data.resize(17_000_000, 0);
        lie.index.frames[0].stored_bytes = 17_000_000;
    });
    // A bomb: 1 GiB in a frame that says 1,000 bytes.
    refused(|lie| {
        let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 1 << 30), &mut bomb).unwrap();
        lie.data = bomb.finish().unwrap();
        lie.index.frames[0].stored_bytes = u32::try_from(lie.data.len()).unwrap();
    });
}

#[test]
fn chunks_that_are_not_where_the_index_says_are_refused() {
    refused(|lie| lie.index.chunks[1].offset += 1);
    refused(|lie| lie.index.chunks[1].offset = u32::MAX - 400);
    refused(|lie| lie.index.chunks[1].frame = 1);
    refused(|lie| lie.index.chunks[1].frame = u32::MAX);
    refused(|lie| lie.index.chunks[1].length = 0);
    refused(|lie| lie.index.chunks[1].offset -= 1);
    refused(|lie| lie.index.chunks.push(lie.index.chunks[0]));
    refused(|lie| lie.index.members[3].content = file_of(1..9, 400));
}

#[test]
fn chunks_that_no_file_is_cut_into_are_refused() {
    let longer = Cutter::FORMAT_1.max_bytes + 1;
    refused(|lie| {
        let raw = vec![0; longer.try_into().unwrap()];
        lie.data = Encoder::new(1).unwrap().encode(&raw).unwrap().to_vec();
        let stored_bytes = u32::try_from(lie.data.len()).unwrap();
        lie.index.frames[0] = Frame { source: 0, offset: 0, stored_bytes, raw_bytes: longer };
        lie.index.chunks[0] = Chunk { hash: ChunkHash::of(&raw), length: longer, frame: 0, offset: 0 };
    });
    refused(|lie| lie.index.cutter.max_bytes = u32::MAX);
    refused(|lie| lie.index.cutter.max_bytes = 0);
    refused(|lie| lie.index.cutter.min_bytes = 1 << 20);
    refused(|lie| lie.index.cutter.whole_bytes = 1 << 20);
}

#[test]
fn sizes_and_extents_that_do_not_add_up_are_refused() {
    let check = |size, extents: &[(u64, u64)]| {
        refused(|lie| {
            let extents = extents.iter().map(|&(offset, length)| Extent { offset, length });
            lie.index.members[FILE].content =
                Content::File(File { size, chunks: 0..1, extents: Some(extents.collect()) });
        });
    };
    check(1000, &[(0, 599)]);
    check(1000, &[(0, 601)]);
    check(599, &[(0, 600)]);
    check(1000, &[]);
    check(1000, &[(0, 600), (700, 0)]);
    check(1000, &[(0, 300), (299, 300)]);
    check(1000, &[(400, 300), (0, 300)]);
    check(u64::MAX, &[(u64::MAX - 300, 600)]);
    check(u64::MAX, &[(0, 600)]);
}

#[test]
fn hard_links_to_what_is_no_earlier_file_are_refused() {
    let check = |number: usize, first: u32| {
        refused(|lie| {
            lie.index.members[number].content = Content::HardLink(first);
        });
    };
    // Directories, itself, what is not there, a later file.
    for first in [0, 2, 4, 5, u32::MAX] {
        check(LINK, first);
    }
    check(FILE, 1);
    check(FILE, 3);
    refused(|lie| {
        lie.add(b"more", Content::HardLink(LINK.try_into().unwrap()));
    });
}

#[test]
fn members_below_what_is_no_directory_are_refused() {
    for path in ["file/below", "link/below", "link/file", "nowhere/below", "folder/file/below", "a/b/c"] {
        refused(|lie| lie.add(path.as_bytes(), link_to("x")));
    }
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for path in [
        "..",
        "../outside/file",
        "folder/../../outside/file",
        "/tmp/xcache-hostile-absolute",
        "folder//x",
        "folder/",
        "./x",
        "folder/.",
        "folder/x\0y",
        &"n".repeat(256),
        &"n/".repeat(2049),
        &"n".repeat(65_535),
    ] {
        refused(|lie| lie.add(path.as_bytes(), Content::Directory));
    }
}

#[test]
fn members_that_are_there_twice_or_out_of_order_are_refused() {
    for path in ["", "file", "folder", "folder/file", "link"] {
        for content in [Content::Directory, link_to("../outside/file")] {
            refused(|lie| lie.add(path.as_bytes(), content));
        }
    }
    refused(|lie| lie.index.members.swap(2, LINK));
}

#[test]
fn members_that_cannot_be_made_are_refused() {
    let of_file = |change: fn(&mut Member)| {
        refused(|lie| change(&mut lie.index.members[FILE]));
    };
    of_file(|member| member.meta.mode = 0o10_000);
    of_file(|member| member.meta.mtime_nanos = 1_000_000_000);
    of_file(|member| member.xattrs = vec![(b"trusted.overlay.opaque"[..].into(), b"y"[..].into())]);
    of_file(|member| member.xattrs = vec![(b"user.\0"[..].into(), b"x"[..].into())]);
    of_file(|member| member.xattrs = vec![(b"user.x"[..].into(), vec![0; 70_000].into())]);
    for target in ["", "a\0b", &"n".repeat(4097)] {
        refused(|lie| {
            lie.index.members[LINK].content = link_to(target);
        });
    }
}

/// A disk would be full before anybody could say how large the file is: 1.7 million times the same 256 KiB.
#[test]
fn an_index_that_names_one_chunk_without_end_is_refused_before_anything_is_written() {
    let mut lie = Lie::base();
    let length = Cutter::FORMAT_1.max_bytes;
    let raw = vec![7; length.try_into().unwrap()];
    lie.data = Encoder::new(1).unwrap().encode(&raw).unwrap().to_vec();
    let stored_bytes = u32::try_from(lie.data.len()).unwrap();
    lie.index.frames[0] = Frame { source: 0, offset: 0, stored_bytes, raw_bytes: length };
    let chunk = Chunk { hash: ChunkHash::of(&raw), length, frame: 0, offset: 0 };
    lie.index.chunks = vec![chunk; 1_700_000];
    lie.index.members.truncate(FILE + 1);
    lie.index.roots[0].members = 2;
    lie.index.members[FILE].content = file_of(0..1_700_000, 1_700_000 * u64::from(length));
    attack(&lie.object(), |outcome, target| {
        assert_clean_miss(outcome, target);
        outcome.clone().says(&["445644800000", "hint: "]);
    });
}

/// One root of this kind with only these members.
fn only(lie: &mut Lie, kind: RootKind, members: Vec<Member>) {
    lie.index.roots[0] = IndexRoot { given: "x".into(), kind, members: members.len().try_into().unwrap() };
    lie.index.members = members;
    lie.index.chunks.clear();
}

#[test]
fn roots_that_are_not_what_they_say_are_refused() {
    let of_kind = |kind, members: Vec<Member>| {
        refused(|lie| only(lie, kind, members));
    };
    of_kind(RootKind::File, vec![member(b"x", Content::Directory)]);
    of_kind(RootKind::File, vec![member(b"x/y", link_to("y"))]);
    of_kind(RootKind::File, vec![member(b"x", link_to("y")), member(b"y", link_to("y"))]);
    of_kind(RootKind::File, vec![]);
    of_kind(RootKind::File, vec![member(b"", link_to("y"))]);
    of_kind(RootKind::Pattern, vec![member(b"", Content::Directory)]);
    of_kind(RootKind::Nothing, vec![member(b"", Content::Directory)]);
    of_kind(RootKind::Directory, vec![]);
    of_kind(RootKind::Directory, vec![member(b"x", Content::Directory)]);
    of_kind(RootKind::Directory, vec![member(b"", link_to("../outside"))]);
    refused(|lie| {
        only(lie, RootKind::File, vec![member(b"..", link_to("y"))]);
    });
    for members in [0, 4, 6, u32::MAX] {
        refused(|lie| lie.index.roots[0].members = members);
    }
}

#[test]
fn an_index_that_would_not_fit_into_memory_is_refused() {
    refused(|lie| {
        let root = IndexRoot { given: String::new(), kind: RootKind::Nothing, members: 0 };
        lie.index.roots.resize(100_000, root);
    });
    let mut lie = Lie::base();
    let bomb = zstd::encode_all(&vec![0; 80 << 20][..], 1).unwrap();
    lie.footer.index_offset = lie.data.len() as u64;
    lie.footer.index_bytes = bomb.len() as u64;
    lie.footer.index_raw_bytes = 80 << 20;
    lie.footer.index_hash = *blake3::hash(&bomb).as_bytes();
    let object = [&lie.data[..], &skippable(INDEX_FRAME, &bomb), &end(&lie.footer)].concat();
    attack(&object, |outcome, target| {
        assert_refused(outcome, target);
    });
}

/// The object as the next version may write it: footers differ in their format, which the checksum covers.
pub(crate) fn as_newer(mut object: Vec<u8>) -> Vec<u8> {
    let magic = object.windows(8).rposition(|window| window == FOOTER_MAGIC).unwrap();
    object[magic - 2..magic].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let length = u32::from_le_bytes(object[magic - 6..magic - 2].try_into().unwrap()) as usize;
    let hash = magic - 38;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&object[hash - length..hash]).update(&object[magic - 6..magic]);
    object[hash..magic - 6].copy_from_slice(hasher.finalize().as_bytes());
    object
}

#[test]
fn a_damaged_format_is_damage_and_not_a_newer_version() {
    let mut object = Lie::base().object();
    let magic = object.windows(8).rposition(|window| window == FOOTER_MAGIC).unwrap();
    object[magic - 2..magic].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    attack(&object, assert_refused);
}

#[test]
fn a_newer_format_is_a_miss_with_a_notice() {
    let object = as_newer(Lie::base().object());
    attack(&object, |outcome, target| {
        assert_eq!((&outcome.json()["outcome"], &outcome.json()["reason"]), (&"miss".into(), &"newer-format".into()));
        outcome.clone().reviewed();
        assert_eq!(fs::read_dir(target).unwrap().count(), 0);
    });
}

/// An object of so many bytes, all holes but for its end.
#[track_caller]
fn huge(object_bytes: u64, end: &[u8]) {
    let place = Place::local();
    let object = OsFile::create(place.dir().join("key-base.tar.zst")).unwrap();
    object.write_all_at(end, object_bytes - end.len() as u64).unwrap();
    attack_at(&place, assert_refused);
}

#[test]
fn lengths_in_a_huge_object_are_not_asked_for() {
    let object = |index_bytes: u64| {
        let mut footer = Lie::base().footer;
        footer.index_bytes = index_bytes;
        let end = end(&footer);
        (8 + index_bytes + end.len() as u64, end)
    };
    let (object_bytes, long) = object(2 << 30);
    huge(object_bytes, &long);
    // A footer of 3 GiB, and a seek table of 1.6 GB.
    let magic = long.windows(8).rposition(|window| window == FOOTER_MAGIC).unwrap();
    let mut footer = long.clone();
    footer[magic - 6..magic - 2].copy_from_slice(&(3u32 << 30).to_le_bytes());
    huge(5 << 30, &footer);
    let mut table = long.clone();
    let count = table.len() - 9;
    table[count..count + 4].copy_from_slice(&200_000_000_u32.to_le_bytes());
    huge(5 << 30, &table);
}

/// A delta that the program made, so that its one ref is real; and the place where both lie.
fn delta() -> (Place, Lie) {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    fs::write(source.join("large"), Rng::new(5).bytes(400_000)).unwrap();
    saved(&job, &place, "other", &source);
    fs::write(source.join("new"), "new").unwrap();
    let outcome = save(&job, &place, "key").args(["--base-key", "other", "--json"]).arg(&source).run().ok();
    assert_eq!(outcome.json()["kind"], "delta", "{}", outcome.stderr);
    let object = place.get("key-delta.tar.zst").unwrap();
    let Ok(ReadTail::Archive(archive)) = read_tail(&object, object.len() as u64) else { panic!("no archive") };
    let data = object[..usize::try_from(archive.footer.index_offset).unwrap()].to_vec();
    (place, Lie { data, index: archive.index, footer: archive.footer })
}

#[track_caller]
fn refused_delta(change: impl FnOnce(&mut Lie)) {
    let (place, mut lie) = delta();
    change(&mut lie);
    place.put("key-delta.tar.zst", &lie.object());
    attack_at(&place, assert_refused);
}

/// A delta that is changed in this way cannot be restored, but is not damaged.
#[track_caller]
fn expired_delta(said: &str, change: impl FnOnce(&mut Lie)) {
    let (place, mut lie) = delta();
    change(&mut lie);
    place.put("key-delta.tar.zst", &lie.object());
    attack_at(&place, |outcome, target| {
        assert_eq!(outcome.json()["reason"], "expired", "{}", outcome.stderr);
        assert!(outcome.stderr.contains(said) && !outcome.stderr.contains("warning: "), "{}", outcome.stderr);
        assert_eq!(fs::read_dir(target).map_or(0, |files| files.count()), 0);
    });
}

#[test]
fn an_honest_delta_made_in_the_same_way_restores() {
    let (place, lie) = delta();
    place.put("key-delta.tar.zst", &lie.object());
    attack_at(&place, |outcome, target| {
        assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
        assert_eq!(fs::read(target.join("new")).unwrap(), b"new");
    });
}

#[test]
fn refs_to_what_an_entry_may_not_build_on_are_refused() {
    for name in ["../other-base.tar.zst", "/other-base.tar.zst", ".xcache/condemned/0", "other"] {
        refused_delta(|lie| lie.footer.refs[0].name = ObjectName::new(name).unwrap());
    }
    // No damage: another job may be allowed to.
    let (place, mut lie) = delta();
    lie.footer.refs[0].name = ObjectName::new("refs%2Fheads%2Fevil/other-base.tar.zst").unwrap();
    place.put("key-delta.tar.zst", &lie.object());
    attack_at(&place, |outcome, target| {
        let document = outcome.json();
        assert_eq!((&document["outcome"], &document["reason"]), (&"miss".into(), &"other-scope".into()));
        assert_eq!(fs::read_dir(target).map_or(0, |files| files.count()), 0);
    });
}

#[test]
fn refs_that_are_not_there_or_another_object_are_refused() {
    // No damage: what it builds on is gone.
    expired_delta("`none-base.tar.zst` is gone", |lie| {
        lie.footer.refs[0].name = ObjectName::new("none-base.tar.zst").unwrap()
    });
    expired_delta("`other-base.tar.zst` has been replaced", |lie| {
        // Another ETag alone is what a copied store has; the archive is told by its id.
        lie.footer.refs[0].etag = "another".into();
        lie.footer.refs[0].archive_id.0[0] ^= 1;
    });
    // To itself: no object can name its own ETag.
    expired_delta("`key-delta.tar.zst` has been replaced", |lie| {
        lie.footer.refs[0].name = ObjectName::new("key-delta.tar.zst").unwrap();
    });
    // Under the name of a base: under that of a delta it would not be an entry of this store.
    let (place, mut lie) = delta();
    lie.footer.kind = Kind::Base;
    place.delete("key-delta.tar.zst");
    place.put("key-base.tar.zst", &lie.object());
    attack_at(&place, |outcome, target| {
        assert_refused(outcome, target);
    });
    refused_delta(|lie| {
        lie.footer.refs.resize(257, lie.footer.refs[0].clone());
    });
}

#[test]
fn frames_that_are_not_in_their_ref_are_refused() {
    let of_ref = |lie: &mut Lie, change: fn(&mut Frame, &mut Ref)| {
        let frame = lie.index.frames.iter_mut().find(|frame| frame.source == 1).unwrap();
        change(frame, &mut lie.footer.refs[0]);
    };
    refused_delta(|lie| of_ref(lie, |frame, r| frame.offset = r.data_bytes));
    refused_delta(|lie| of_ref(lie, |frame, r| (frame.offset, r.data_bytes) = (r.size, u64::MAX)));
    refused_delta(|lie| of_ref(lie, |frame, _| frame.source = 2));
    // A ref that says it is longer than it is.
    refused_delta(|lie| {
        of_ref(lie, |frame, r| {
            (r.data_bytes, r.size) = (1 << 40, 1 << 40);
            frame.offset = 1 << 39;
        });
    });
    refused_delta(|lie| of_ref(lie, |frame, _| frame.offset += 1));
}
