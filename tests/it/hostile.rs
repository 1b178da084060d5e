//! P5 and P6: whatever an object holds, nothing is written outside the asked-for path, nothing half-written stays, and
//! the build goes on.

pub(crate) mod index;

use std::fs;
use std::path::Path;

use tar::{Builder, EntryType, Header};
use xcache_core::archive::reader::{ReadTail, read_tail};
use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;
use xcache_tests::tree::{self, Snapshot};

use crate::{RESTORE, restore, save, saved};

/// More than a restore needs (threads reserve stacks), less than a hostile length asks for.
const MEMORY_KIB: u32 = 4 << 20;

type Archive = Builder<Vec<u8>>;

fn member(archive: &mut Archive, kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) {
    let mut header = Header::new_ustar();
    // The setters refuse what we want to write.
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_mtime(1_000_000_000);
    header.set_uid(0);
    header.set_gid(0);
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
    }
    header.set_size(content.len().try_into().unwrap());
    header.set_cksum();
    archive.append(&header, content).unwrap();
}

fn file(archive: &mut Archive, name: &str, content: &str) {
    member(archive, EntryType::Regular, name.as_bytes(), b"", content.as_bytes());
}

fn link(archive: &mut Archive, kind: EntryType, name: &str, target: &str) {
    member(archive, kind, name.as_bytes(), target.as_bytes(), b"");
}

/// Restores `object` beside a tree that it must not touch. Some of that tree is in reach of the links of the archives.
#[track_caller]
fn attack(object: &[u8], check: impl FnOnce(&Outcome, &Path)) {
    let place = Place::local();
    place.put("key-base.tar.zst", object);
    attack_at(&place, check);
}

/// Restores the entry `key` of `place` in this way.
#[track_caller]
fn attack_at(place: &Place, check: impl FnOnce(&Outcome, &Path)) {
    let job = Job::new();
    let target = job.dir("target");
    let outside = job.dir("outside");
    fs::write(outside.join("file"), "precious").unwrap();
    let before = Snapshot::of(&outside);
    let script = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"");
    let restore = job.command("sh").args(["-c", &script, RESTORE]).store(place).args(["--key", "key", "--json"]);
    let outcome = restore.arg(&target).run();
    for sign in ["panicked", "overflow", "memory allocation"] {
        assert!(!outcome.stderr.contains(sign), "{}", outcome.stderr);
    }
    let outcome = outcome.ok();
    assert_eq!(before.differences(&Snapshot::of(&outside), &[]), Vec::<String>::new());
    let names: Vec<_> = fs::read_dir(job.work()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "something new beside the target: {names:?}");
    check(&outcome, &target);
}

/// The archive is refused as a whole, for the reason in the golden file: a miss with a warning, and nothing in the target.
#[track_caller]
fn refused(make: impl FnOnce(&mut Archive)) {
    attack(&archive(make), |outcome, target| {
        assert_clean_miss(outcome, target);
        outcome.clone().reviewed();
    });
}

/// The archive is restored in a harmless way: this is what is there then, beside the file that all archives have.
#[track_caller]
fn contained(make: impl FnOnce(&mut Archive), expected: &[(&str, Made)]) {
    attack(&archive(make), |outcome, target| {
        assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
        assert_eq!(fs::read(target.join("harmless")).unwrap(), b"harmless");
        assert_eq!(fs::read_dir(target).unwrap().count(), 1 + expected.len());
        for (name, made) in expected {
            let path = target.join(name);
            let kind = path.symlink_metadata().unwrap().file_type();
            match made {
                Made::File(content) => {
                    assert!(kind.is_file() && fs::read(&path).unwrap() == content.as_bytes(), "{name}")
                }
                Made::Directory => assert!(kind.is_dir(), "{name}"),
            }
        }
    });
}

/// What an archive has become.
enum Made {
    File(&'static str),
    Directory,
}

fn archive(make: impl FnOnce(&mut Archive)) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    file(&mut archive, "./harmless", "harmless");
    make(&mut archive);
    zstd::encode_all(archive.into_inner().unwrap().as_slice(), 3).unwrap()
}

#[track_caller]
fn assert_clean_miss(outcome: &Outcome, target: &Path) {
    assert_eq!(outcome.json()["outcome"], "miss", "{}", outcome.stderr);
    assert!(outcome.stderr.contains("warning: "), "{}", outcome.stderr);
    let left: Vec<_> = fs::read_dir(target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Without it, an archive might be refused for how it is made and not for what is hostile in it.
#[test]
fn a_harmless_archive_made_in_the_same_way_restores() {
    let object = archive(|archive| {
        member(archive, EntryType::Directory, b"./dir/", b"", b"");
        file(archive, "./dir/file", "content");
        link(archive, EntryType::Symlink, "./link", "../outside/file");
        link(archive, EntryType::Link, "./hard", "./dir/file");
    });
    attack(&object, |outcome, target| {
        assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
        assert_eq!(fs::read(target.join("harmless")).unwrap(), b"harmless");
        assert_eq!(fs::read(target.join("hard")).unwrap(), b"content");
        assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("../outside/file"));
    });
}

#[test]
fn absolute_names_are_refused() {
    refused(|archive| file(archive, "/tmp/xcache-hostile-absolute", "x"));
    assert!(!Path::new("/tmp/xcache-hostile-absolute").exists());
}

#[test]
fn names_that_lead_up_are_refused() {
    for name in ["../outside/new", "./../outside/file", "a/../../outside/file", ".."] {
        refused(|archive| file(archive, name, "x"));
    }
}

#[test]
fn members_through_a_symlink_of_the_archive_are_refused() {
    refused(|archive| {
        link(archive, EntryType::Symlink, "./link", "../outside");
        file(archive, "./link/new", "x");
    });
    refused(|archive| {
        link(archive, EntryType::Symlink, "./a", ".");
        link(archive, EntryType::Symlink, "./a/b", "../outside");
        file(archive, "./a/b/file", "x");
    });
}

#[test]
fn a_file_never_goes_through_a_symlink_of_its_own_name() {
    let file_for_link = |archive: &mut Archive| {
        link(archive, EntryType::Symlink, "./link", "../outside/file");
        file(archive, "./link", "x");
    };
    contained(file_for_link, &[("link", Made::File("x"))]);
    let directory_for_link = |archive: &mut Archive| {
        link(archive, EntryType::Symlink, "./link", "../outside");
        member(archive, EntryType::Directory, b"./link/", b"", b"");
    };
    contained(directory_for_link, &[("link", Made::Directory)]);
}

#[test]
fn hard_links_to_the_outside_are_refused() {
    for target in ["../outside/file", "/etc/passwd", "./../outside/file", "no such member"] {
        refused(|archive| link(archive, EntryType::Link, "./link", target));
    }
    refused(|archive| {
        link(archive, EntryType::Symlink, "./link", "../outside");
        link(archive, EntryType::Link, "./hard", "./link/file");
    });
}

#[test]
fn devices_are_never_made() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        let object = archive(|archive| member(archive, kind, b"./device", b"", b""));
        attack(&object, |outcome, target| {
            assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
            outcome.clone().reviewed();
            assert!(target.join("device").symlink_metadata().is_err() && target.join("harmless").exists());
        });
    }
}

#[test]
fn duplicate_names_and_case_twins_are_harmless() {
    let twice = |archive: &mut Archive| {
        file(archive, "./twice", "one");
        file(archive, "./twice", "two");
    };
    contained(twice, &[("twice", Made::File("two"))]);
    let twins = |archive: &mut Archive| {
        file(archive, "./Name", "one");
        file(archive, "./name", "two");
    };
    contained(twins, &[("Name", Made::File("one")), ("name", Made::File("two"))]);
}

#[test]
fn names_under_a_file_are_refused() {
    refused(|archive| {
        file(archive, "./file", "x");
        file(archive, "./file/below", "x");
    });
}

#[test]
fn what_is_no_archive_is_refused() {
    attack(b"", assert_clean_miss);
    attack(b"not zstd at all", assert_clean_miss);
    attack(&zstd::encode_all(b"zstd, but not tar".as_slice(), 3).unwrap(), assert_clean_miss);
    attack(&zstd::encode_all([7; 5_000].as_slice(), 3).unwrap(), assert_clean_miss);
}

#[test]
fn huge_lengths_do_not_allocate() {
    // An extended header of 8 GiB, all zeros once decompressed; its content is cut off after 64 MiB.
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_size(8 << 30);
    header.set_cksum();
    let mut bomb = header.as_bytes().to_vec();
    bomb.resize(64 << 20, 0);
    attack(&zstd::encode_all(bomb.as_slice(), 1).unwrap(), assert_clean_miss);
    // A frame that wants a window of 1 TiB: magic number, descriptor, window, and a raw block of one byte.
    attack(&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF0, 0x09, 0x00, 0x00, b'x'], assert_clean_miss);
    // A file that says it is larger than any disk.
    refused(|archive| {
        let mut header = Header::new_gnu();
        header.set_path("./huge").unwrap();
        header.set_size(1 << 60);
        header.set_cksum();
        archive.get_mut().extend_from_slice(header.as_bytes());
    });
}

/// Files of real trees never shrink so much: 1.3 GiB in 40 KiB. They are passed over, so that no disk is filled.
#[test]
fn an_archive_without_an_index_that_never_ends_is_refused() {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(b'Z'));
    header.set_size(4 << 30);
    header.set_cksum();
    let zeros = zstd::encode_all(vec![0; 64 << 20].as_slice(), 1).unwrap();
    let object = [zstd::encode_all(header.as_bytes().as_slice(), 1).unwrap(), zeros.repeat(20)].concat();
    attack(&object, |outcome, target| {
        assert_clean_miss(outcome, target);
        outcome.clone().reviewed();
        outcome.clone().reviewed();
    });
}

/// An archive without an index, with checksums as `zstd` makes them, and what is in its one file.
fn noise_object() -> (Vec<u8>, Vec<u8>) {
    let content = tree::Rng::new(8).bytes(9 << 20);
    let mut archive = Builder::new(Vec::new());
    member(&mut archive, EntryType::Regular, b"./noise", b"", &content);
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    std::io::copy(&mut archive.into_inner().unwrap().as_slice(), &mut encoder).unwrap();
    (encoder.finish().unwrap(), content)
}

#[test]
fn an_archive_without_an_index_that_was_spoilt_on_the_way_is_fetched_again() {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    let (object, content) = noise_object();
    place.put("key-base.tar.zst", &object);
    // The first request is for the end of the object.
    let mut proxy = Proxy::with_rules(s3::server(), &["GET key-base flip:1000000 skip=1 count=1"]);
    let target = job.dir("target");
    fs::write(target.join("noise"), "existed before").unwrap();
    let outcome = restore(&job, &place.behind(proxy.endpoint()), "key").arg("--json").arg(&target).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
    assert!(fs::read(target.join("noise")).unwrap() == content);
    let requests = proxy.requests();
    assert_eq!(requests.iter().filter(|request| request.fault.as_deref() == Some("flip")).count(), 1);
}

#[test]
fn only_a_damaged_archive_without_an_index_is_replaced_by_the_save_of_the_job_that_met_it() {
    let check = |object: &[u8], reason: &str, saved: &str| {
        let (job, place) = (Job::new(), Place::local());
        place.put("key-base.tar.zst", object);
        let target = job.dir("target");
        let outcome = restore(&job, &place, "key").arg("--json").arg(&target).run().ok();
        assert_eq!(outcome.json()["reason"], reason, "{}", outcome.stderr);
        fs::write(target.join("file"), "new").unwrap();
        let outcome = save(&job, &place, "key").arg("--json").arg(&target).run().ok();
        assert_eq!(outcome.json()["outcome"], saved, "{}", outcome.stderr);
    };
    let (mut damaged, _) = noise_object();
    damaged[1_000_000] ^= 1;
    check(&damaged, "corrupt", "saved");
    check(&archive(|archive| file(archive, "/tmp/xcache-hostile-absolute", "x")), "failed", "exists");
    let too_long = |archive: &mut Archive| member(archive, EntryType::XHeader, b"x", b"", &vec![0; 2 << 20]);
    check(&archive(too_long), "failed", "exists");
}

/// A real object, and the tree in it.
fn real_object(job: &Job) -> Vec<u8> {
    let (place, source) = (Place::local(), job.dir("source"));
    tree::random(&source, 21, 60);
    saved(job, &place, "key", &source);
    place.get("key-base.tar.zst").unwrap()
}

/// How an object is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is restored, as if nothing were wrong.
    Exact,
    /// It is a miss, and nothing is left.
    Nothing,
    /// Either, as it comes: the damage may be where nothing is read.
    ExactOrNothing,
}

/// Restores an object that was tampered with. Gives whether it could be restored.
#[track_caller]
fn tampered(source: &Path, object: &[u8], expected: End, what: &str) -> bool {
    let mut is_exact = false;
    attack(object, |outcome, target| {
        let document = outcome.json();
        is_exact = document["outcome"] == "exact";
        match expected {
            End::Exact => assert!(is_exact, "{what}: {}", outcome.stderr),
            End::Nothing => assert!(!is_exact, "{what}: {}", outcome.stderr),
            End::ExactOrNothing => {}
        }
        if is_exact {
            tree::assert_same_tree(source, target, &[]);
        } else {
            assert_clean_miss(outcome, target);
        }
    });
    is_exact
}

/// Where the frames end, and the end of the object begins.
fn data_bytes(object: &[u8]) -> usize {
    let Ok(ReadTail::Archive(archive)) = read_tail(object, object.len() as u64) else { panic!("no archive") };
    archive.footer.index_offset.try_into().unwrap()
}

#[test]
fn an_object_that_was_not_tampered_with_restores() {
    let job = Job::new();
    let object = real_object(&job);
    tampered(&job.path("source"), &object, End::Exact, "as it was saved");
}

#[test]
fn truncated_objects_do_not_restore() {
    let job = Job::new();
    let object = real_object(&job);
    let end = object.len();
    let lengths =
        [1, 3, 4, 18, end / 4, end / 2, end * 3 / 4, end - 2_000, end - 500, end - 60, end - 17, end - 9, end - 1];
    for length in lengths {
        tampered(&job.path("source"), &object[..length], End::Nothing, &format!("{length} of {end} bytes"));
    }
}

#[test]
fn objects_with_a_flipped_bit_do_not_restore_unless_nothing_depends_on_it() {
    let job = Job::new();
    let object = real_object(&job);
    let (data, end) = (data_bytes(&object), object.len());
    let flipped = |place: usize, expected| {
        let mut damaged = object.clone();
        damaged[place] ^= 0x10;
        tampered(&job.path("source"), &damaged, expected, &format!("bit in byte {place} of {end}"))
    };
    // Everywhere in the frames but the last, which ends the tar stream and is not read; and densely over the rest.
    let last = data - END_FRAME_BYTES;
    for place in (0..last).step_by(last / 24 + 1) {
        flipped(place, End::Nothing);
    }
    let places: Vec<usize> = (data..end).step_by((end - data) / 40 + 1).chain(end - 12..end).collect();
    let exact = places.iter().filter(|&&place| flipped(place, End::ExactOrNothing)).count();
    // Only the seek table has bytes that nothing depends on.
    assert!(exact < places.len() / 2, "{exact} of {} restored", places.len());
}

/// The frame of the end-of-archive blocks: 1,024 zeros.
const END_FRAME_BYTES: usize = 64;

#[test]
fn swapped_and_doubled_pieces_restore_exactly_or_not_at_all() {
    let job = Job::new();
    let object = real_object(&job);
    let source = job.path("source");
    let (left, right) = object.split_at(object.len() / 2);
    tampered(&source, &[right, left].concat(), End::Nothing, "halves swapped");
    // Its end describes the second copy, by offsets that are those of the first.
    tampered(&source, &[&object[..], &object[..]].concat(), End::ExactOrNothing, "object twice");
    tampered(&source, &[&object[..], &[0; 512]].concat(), End::Nothing, "zeros at the end");
    tampered(&source, &[&[0; 512], &object[..]].concat(), End::Nothing, "zeros at the start");
}
