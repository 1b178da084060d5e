//! Trees that change between the scan and the moment when they are packed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::*;
use crate::archive::frame::{Decoder, MAX_RAW_BYTES};
use crate::archive::index::Content;
use crate::archive::reader::Archive;
use crate::archive::writer::{Title, finish};
use crate::chunk::ChunkHash;
use crate::delta::{Assembled, Known, KnownEntries, assemble, compare, select};
use crate::monitor::Counter;
use crate::object::{ArchiveId, Kind, ObjectName, Ref};
use crate::paths::PathList;
use crate::scan::{NodeKind, SkipReason, scan};

const SETTINGS: PackSettings = PackSettings { level: 1, workers: 3 };

fn scanned(dir: &Path) -> Tree {
    let paths = PathList::parse(&[dir.to_str().unwrap()], dir, None).unwrap();
    scan(&paths, 2)
}

/// What came out of packing.
struct Made {
    packed: Packed,
    stored: Vec<u8>,
    archive: Archive,
}

fn title(kind: Kind) -> Title {
    Title { archive_id: ArchiveId([1; 16]), kind, key: "key".to_owned(), created_nanos: 1 }
}

fn make(tree: &Tree, jobs: Vec<Job>, earlier: Option<&KnownEntries<'_>>) -> Made {
    let (mut packed, mut stored) = (Packed::default(), Vec::new());
    let mut sink = |bytes: Bytes, _| {
        stored.extend_from_slice(&bytes);
        Ok(())
    };
    pack(tree, jobs, SETTINGS, &mut packed, &mut sink).unwrap();
    for _ in 0..10 {
        let rest = std::mem::take(&mut packed.rest).into_jobs();
        if !rest.is_empty() {
            pack(tree, rest, SETTINGS, &mut packed, &mut sink).unwrap();
            continue;
        }
        match assemble(tree, &packed, earlier, "test") {
            Ok(assembled) => {
                let Assembled { index, refs, .. } = assembled;
                let kind = if earlier.is_some() { Kind::Delta } else { Kind::Base };
                // As a reader sees it, who checks it.
                let archive = finish(title(kind), index, refs, packed.seeks()).unwrap().read_back().unwrap();
                return Made { packed, stored, archive };
            }
            Err(rest) => packed.rest = rest,
        }
    }
    panic!("packing never ends");
}

fn base(tree: &Tree) -> Made {
    make(tree, jobs_of_members(tree, 0..u32::try_from(tree.nodes.len()).unwrap()), None)
}

impl Made {
    fn raw_frames(&self) -> Vec<Vec<u8>> {
        let frame = |frame: &crate::archive::index::Frame| {
            let mut raw = Vec::new();
            let range = usize::try_from(frame.offset).unwrap()..usize::try_from(frame.range().end).unwrap();
            Decoder::new().unwrap().decode(&self.stored[range], frame.raw_bytes, &mut raw).unwrap();
            raw
        };
        self.packed.frames.iter().map(frame).collect()
    }

    /// What `tar` would find: of each name its content, or what it is a hard link to. A link to what was not there
    /// before it fails.
    fn tar(&self) -> BTreeMap<String, Vec<u8>> {
        let stream = self.raw_frames().concat();
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in tar::Archive::new(&stream[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            match entry.header().entry_type() {
                tar::EntryType::Directory => {}
                tar::EntryType::Link => {
                    let target = entry.link_name().unwrap().unwrap().to_str().unwrap().to_owned();
                    let content = found.get(&target).unwrap_or_else(|| panic!("{name} leads to {target}")).clone();
                    found.insert(name, content);
                }
                _ => {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).unwrap();
                    found.insert(name, content);
                }
            }
        }
        found
    }

    /// What the index says of each file: `=` and the first name for hard links, else the length.
    fn files(&self) -> HashMap<String, String> {
        let name = |number: u32| String::from_utf8(self.archive.index.members[number as usize].path.to_vec()).unwrap();
        let mut files = HashMap::new();
        for (number, member) in (0..).zip(&self.archive.index.members) {
            match &member.content {
                Content::File(file) => files.insert(name(number), file.size.to_string()),
                Content::HardLink(first) => files.insert(name(number), format!("={}", name(*first))),
                _ => None,
            };
        }
        files
    }

    #[track_caller]
    fn check(&self, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned())).collect();
        assert_eq!(self.files(), expected);
    }

    fn left_out(&self) -> Vec<&str> {
        let names = self.packed.skipped.iter().map(|skipped| skipped.path.file_name().unwrap().to_str().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }
}

/// Three names of one file in the order in which they are packed, with frames of others between them.
fn linked(dir: &Path) {
    fs::write(dir.join("a"), "linked").unwrap();
    for name in ["b", "c"] {
        fs::hard_link(dir.join("a"), dir.join(name)).unwrap();
    }
    for name in ["a2", "b2"] {
        fs::write(dir.join(name), vec![0; 5 << 20]).unwrap();
    }
}

const BETWEEN: [(&str, &str); 2] = [("a2", "5242880"), ("b2", "5242880")];

#[test]
fn names_of_one_file_are_links_to_its_first() {
    let dir = tempfile::tempdir().unwrap();
    linked(dir.path());
    let made = base(&scanned(dir.path()));
    made.check(&[&BETWEEN[..], &[("a", "6"), ("b", "=a"), ("c", "=a")]].concat());
    assert_eq!(made.tar()["./c"], b"linked");
}

#[test]
fn the_next_name_takes_the_place_of_a_first_one_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    linked(dir.path());
    let tree = scanned(dir.path());
    fs::remove_file(dir.path().join("a")).unwrap();
    let made = base(&tree);
    made.check(&[&BETWEEN[..], &[("b", "6"), ("c", "=b")]].concat());
    assert_eq!(made.left_out(), ["a"]);
    let tar = made.tar();
    assert_eq!((&tar["./b"][..], &tar["./c"][..]), (&b"linked"[..], &b"linked"[..]));

    fs::remove_file(dir.path().join("b")).unwrap();
    fs::remove_file(dir.path().join("c")).unwrap();
    let made = base(&tree);
    made.check(&BETWEEN);
    assert_eq!(made.left_out(), ["a", "b", "c"]);
    assert_eq!(made.tar().len(), 2);
}

#[test]
fn names_that_have_come_to_mean_another_file_are_files_of_their_own() {
    let replace = |dir: &Path, name: &str| {
        fs::write(dir.join("new"), format!("new {name}")).unwrap();
        fs::rename(dir.join("new"), dir.join(name)).unwrap();
    };
    let check = |replaced: &str, expected: &[(&str, &str)], contents: [&str; 3]| {
        let dir = tempfile::tempdir().unwrap();
        linked(dir.path());
        let tree = scanned(dir.path());
        replace(dir.path(), replaced);
        let made = base(&tree);
        made.check(&[&BETWEEN[..], expected].concat());
        let tar = made.tar();
        assert_eq!(["./a", "./b", "./c"].map(|name| str::from_utf8(&tar[name]).unwrap()), contents);
        assert!(made.left_out().is_empty());
    };
    check("b", &[("a", "6"), ("b", "5"), ("c", "=a")], ["linked", "new b", "linked"]);
    check("a", &[("a", "5"), ("b", "6"), ("c", "6")], ["new a", "linked", "linked"]);
}

#[test]
fn nobody_waits_for_what_will_not_be_packed() {
    let dir = tempfile::tempdir().unwrap();
    linked(dir.path());
    let tree = scanned(dir.path());
    let jobs = jobs_of_members(&tree, 0..u32::try_from(tree.nodes.len()).unwrap());
    let links = links::Links::new(&tree, &jobs, &Packed::default());
    let names = (0u32..).zip(&tree.nodes).filter_map(|(number, node)| match node.kind {
        NodeKind::HardLink(first) => Some((number, first)),
        _ => None,
    });
    std::thread::scope(|scope| {
        let waiting: Vec<_> = names
            .map(|(number, first)| {
                scope.spawn({
                    let (tree, links) = (&tree, &links);
                    move || links.way(tree, number, first)
                })
            })
            .collect();
        assert_eq!(waiting.len(), 2);
        links.give_up();
        for way in waiting {
            assert_eq!(way.join().unwrap(), links::LinkWay::Later);
        }
    });
}

#[test]
fn links_to_a_file_that_grows_follow_it() {
    let dir = tempfile::tempdir().unwrap();
    linked(dir.path());
    let tree = scanned(dir.path());
    fs::write(dir.path().join("a"), vec![7; 20 << 20]).unwrap();
    let made = base(&tree);
    made.check(&[&BETWEEN[..], &[("a", "20971520"), ("b", "=a"), ("c", "=a")]].concat());
    assert_eq!(made.tar()["./c"].len(), 20 << 20);
    assert!(made.left_out().is_empty());

    // Both at once: the second name is stored in place of the first, and is too large for its frame.
    fs::remove_file(dir.path().join("a")).unwrap();
    let made = base(&tree);
    made.check(&[&BETWEEN[..], &[("b", "20971520"), ("c", "=b")]].concat());
    assert_eq!(made.tar()["./c"].len(), 20 << 20);
}

/// Stores files of these lengths after `change` has been made to what the scan found of them, and checks that each is
/// there as a whole.
#[track_caller]
fn check_whole(lengths: &[usize], change: impl FnOnce(&Path, &mut Tree)) {
    let dir = tempfile::tempdir().unwrap();
    let name = |number: usize| format!("file-{number:02}");
    for (number, &length) in lengths.iter().enumerate() {
        fs::write(dir.path().join(name(number)), noise(number, length)).unwrap();
    }
    let mut tree = scanned(dir.path());
    change(dir.path(), &mut tree);
    let made = base(&tree);
    assert_eq!(made.packed.skipped, []);
    let tar = made.tar();
    for number in 0..lengths.len() {
        let expected = fs::read(dir.path().join(name(number))).unwrap();
        assert!(tar[&format!("./{}", name(number))] == expected, "{}", name(number));
        assert_eq!(made.files()[&name(number)], expected.len().to_string());
    }
}

fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn a_file_of_which_no_blocks_are_told_is_stored_whole() {
    let no_blocks = |_: &Path, tree: &mut Tree| tree.nodes.iter_mut().for_each(|node| node.stat.blocks = 0);
    check_whole(&[13 << 20], no_blocks);
    check_whole(&[0, 1, 13 << 20, 2], no_blocks);
}

#[test]
fn many_files_of_which_few_blocks_are_told_are_stored_whole() {
    check_whole(&[1 << 20; 30], |_, tree| tree.nodes.iter_mut().for_each(|node| node.stat.blocks = 1));
}

#[test]
fn a_file_that_grows_after_the_scan_is_stored_whole() {
    check_whole(&[100, 1 << 10, 100], |dir, _| fs::write(dir.join("file-01"), noise(9, 20 << 20)).unwrap());
    check_whole(&[100, 1 << 10, 100], |dir, _| fs::write(dir.join("file-01"), noise(9, 5 << 20)).unwrap());
    check_whole(&[3 << 20, 1 << 10], |dir, _| fs::write(dir.join("file-00"), "short").unwrap());
}

/// An entry of what `dir` holds, as what another one may build on.
fn known(dir: &Path) -> Known {
    let Made { packed, archive, .. } = base(&scanned(dir));
    let own = Ref {
        name: ObjectName::new("key-base.tar.zst").unwrap(),
        etag: "etag".into(),
        size: packed.stored_bytes,
        data_bytes: packed.stored_bytes,
        archive_id: ArchiveId([1; 16]),
        created_nanos: 1,
    };
    Known::new(own, archive)
}

#[test]
fn a_delta_has_the_names_that_are_left_of_a_file_whose_first_is_gone() {
    let check = |before: fn(&Path), after: fn(&Path), expected: &[(&str, &str)], left_out: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("old"), noise(1, 3 << 20)).unwrap();
        let known = known(dir.path());
        fs::write(dir.path().join("a"), "linked").unwrap();
        for name in ["b", "c"] {
            fs::hard_link(dir.path().join("a"), dir.path().join(name)).unwrap();
        }
        let tree = scanned(dir.path());
        before(dir.path());
        let facts = compare(&tree, &known, None, 2, &Counter::default());
        after(dir.path());
        let earlier = KnownEntries::new(&known, &facts, &[true]);
        let made = make(&tree, select(&tree, &known, &facts, &[true]), Some(&earlier));
        made.check(&[&[("old", "3145728")], expected].concat());
        let mut told: Vec<_> = facts.skipped.iter().chain(&made.packed.skipped).collect();
        told.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(told.iter().all(|skipped| matches!(skipped.reason, SkipReason::Unreadable(_))));
        assert_eq!(told.iter().map(|skipped| skipped.path.file_name().unwrap()).collect::<Vec<_>>(), left_out);
    };
    let nothing: fn(&Path) = |_| ();
    let remove_a: fn(&Path) = |dir| fs::remove_file(dir.join("a")).unwrap();
    let remove_all: fn(&Path) = |dir| ["a", "b", "c"].iter().for_each(|name| fs::remove_file(dir.join(name)).unwrap());
    let replace_a: fn(&Path) = |dir| {
        fs::write(dir.join("new"), "another").unwrap();
        fs::rename(dir.join("new"), dir.join("a")).unwrap();
    };
    check(nothing, nothing, &[("a", "6"), ("b", "=a"), ("c", "=a")], &[]);
    check(remove_a, nothing, &[("b", "6"), ("c", "=b")], &["a"]);
    check(nothing, remove_a, &[("b", "6"), ("c", "=b")], &["a"]);
    check(remove_all, nothing, &[], &["a", "b", "c"]);
    check(nothing, remove_all, &[], &["a", "b", "c"]);
    check(replace_a, nothing, &[("a", "7"), ("b", "6"), ("c", "6")], &[]);
    check(nothing, replace_a, &[("a", "7"), ("b", "6"), ("c", "6")], &[]);
}

/// Directories, because no file system of a test keeps so much for files.
#[test]
fn extended_attributes_that_nobody_planned_for_make_more_frames_and_no_larger_ones() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..300 {
        std::fs::create_dir(dir.path().join(format!("{number:03}"))).unwrap();
        std::fs::write(dir.path().join(format!("{number:03}/file")), number.to_string()).unwrap();
    }
    let paths = PathList::parse(&[dir.path().to_str().unwrap()], dir.path(), None).unwrap();
    let mut tree = scan(&paths, 1);
    for node in &mut tree.nodes {
        if let NodeKind::Directory(xattrs) = &mut node.kind {
            *xattrs = vec![(b"user.x"[..].into(), vec![b'x'; 64 << 10].into())];
        }
    }
    let (mut packed, mut frames) = (Packed::default(), Vec::new());
    let jobs = jobs_of_members(&tree, 0..u32::try_from(tree.nodes.len()).unwrap());
    assert_eq!(jobs.len(), 1);
    let mut sink = |frame, _| {
        frames.push(frame);
        Ok(())
    };
    pack(&tree, jobs, PackSettings { level: 1, workers: 2 }, &mut packed, &mut sink).unwrap();
    assert!(frames.len() > 1 && packed.skipped.is_empty());
    assert!(packed.frames.iter().all(|frame| frame.raw_bytes <= MAX_RAW_BYTES / 4 * 3));
    assert_eq!(packed.files.len(), 300);
    let mut raw = Vec::new();
    for (frame, chunk) in packed.files.values().flat_map(|(_, chunks)| chunks) {
        let raw_bytes = packed.frames[*frame as usize].raw_bytes;
        Decoder::new().unwrap().decode(&frames[*frame as usize], raw_bytes, &mut raw).unwrap();
        let data = &raw[chunk.offset as usize..][..chunk.length as usize];
        assert_eq!(ChunkHash::of(data), chunk.hash);
    }
}
