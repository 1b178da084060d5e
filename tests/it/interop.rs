//! P7: our objects are plain `.tar.zst`, and plain `.tar.zst` objects are entries.

use std::fs;
use std::path::{Path, PathBuf};

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::{self, Aspect, assert_same_tree};

use crate::{restored, saved};

/// Runs a shell script in `job` with `arguments` as `$1`, `$2`, …
#[track_caller]
fn shell(job: &Job, script: &str, arguments: &[&Path]) -> String {
    job.command("bash").args(["-euo", "pipefail", "-c", script, "bash"]).args(arguments).run().ok().stdout
}

/// A tree whose times any tar keeps: whole seconds.
fn plain_tree(dir: &Path) {
    tree::hard_links(dir);
    fs::create_dir(dir.join("links")).unwrap();
    tree::symlinks(&dir.join("links"));
    fs::create_dir(dir.join("empty")).unwrap();
    tree::random(&dir.join("random"), 11, 100);
}

#[test]
fn objects_made_by_tar_and_zstd_restore() {
    for place in Place::each() {
        let job = Job::new();
        let (source, target) = (job.dir("source"), job.dir("target"));
        plain_tree(&source);
        let object = job.path("object");
        shell(&job, "tar -cf - -C \"$1\" . | zstd -q -3 -T0 -o \"$2\"", &[&source, &object]);
        place.put("key-base.tar.zst", &fs::read(&object).unwrap());
        restored(&job, &place, "key", &target);
        // This format of tar keeps no parts of a second.
        assert_same_tree(&source, &target, &[Aspect::Mtimes]);
        assert_eq!(newest(&source).0, newest(&target).0);
    }
}

/// The newest file, to tell that times were restored at all.
fn newest(dir: &Path) -> (u64, PathBuf) {
    let files = fs::read_dir(dir.join("random")).unwrap().map(|entry| entry.unwrap());
    let time = |path: PathBuf| {
        let modified = fs::symlink_metadata(&path).unwrap().modified().unwrap();
        (modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), path)
    };
    files.filter(|entry| entry.file_type().unwrap().is_file()).map(|entry| time(entry.path())).max().unwrap()
}

#[test]
fn every_dialect_of_tar_restores() {
    // The holes of a sparse file stay, if its writer was told to look for them.
    let dialects = [
        ("tar --format=posix --xattrs --sparse -cf - -C \"$1\" .", [].as_slice()),
        ("tar --format=posix --xattrs --sparse --sparse-version=0.1 -cf - -C \"$1\" .", &[]),
        ("tar --format=posix --xattrs --sparse --sparse-version=0.0 -cf - -C \"$1\" .", &[]),
        ("tar --format=posix --xattrs -cf - -C \"$1\" .", &[Aspect::Holes]),
        ("tar --format=gnu --sparse -cf - -C \"$1\" .", &[Aspect::Mtimes, Aspect::Xattrs]),
        // It writes times before 1970 wrongly.
        ("rm -r \"$1\"/times && bsdtar --format=pax --xattrs -cf - -C \"$1\" .", &[]),
        ("rm -r \"$1\"/times && bsdtar --format=pax --xattrs --no-read-sparse -cf - -C \"$1\" .", &[Aspect::Holes]),
    ];
    for (number, (command, but)) in dialects.into_iter().enumerate() {
        let (job, place) = (Job::new(), Place::local());
        let (source, target) = (job.dir("source"), job.dir("target"));
        tree::everything(&source);
        let object = job.path("object");
        shell(&job, &format!("{command} | zstd -q -o \"$2\""), &[&source, &object]);
        place.put("key-base.tar.zst", &fs::read(&object).unwrap());
        eprintln!("dialect {number}: {command}");
        restored(&job, &place, "key", &target);
        assert_same_tree(&source, &target, but);
    }
}

#[test]
fn an_object_of_several_frames_and_without_checksums_restores() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::random(&source, 5, 80);
    let object = job.path("object");
    let script = "tar -cf tar -C \"$1\" . && split -b 100000 tar part. && for part in part.*; do
        zstd -q --no-check -c \"$part\" >>\"$2\"; done";
    shell(&job, script, &[&source, &object]);
    place.put("key-base.tar.zst", &fs::read(&object).unwrap());
    restored(&job, &place, "key", &target);
    assert_same_tree(&source, &target, &[Aspect::Mtimes]);
}

/// Saves `everything` and some random files, and gives the object as a file.
fn object(job: &Job, source: &Path) -> PathBuf {
    let place = Place::local();
    tree::everything(source);
    tree::random(&source.join("random"), 9, 150);
    saved(job, &place, "key", source);
    let path = job.path("object.tar.zst");
    fs::write(&path, place.get("key-base.tar.zst").unwrap()).unwrap();
    path
}

#[test]
fn our_objects_pass_the_test_of_zstd() {
    let job = Job::new();
    let object = object(&job, &job.dir("source"));
    shell(&job, "zstd -q -t \"$1\"", &[&object]);
}

#[test]
fn our_objects_are_listed_and_extracted_by_gnu_tar() {
    let job = Job::new();
    let (source, target) = (job.dir("source"), job.dir("target"));
    let object = object(&job, &source);
    let list = shell(&job, "tar --zstd -tf \"$1\"", &[&object]);
    assert!(list.lines().any(|line| line == "./empties/file"), "{list}");
    shell(&job, "tar --zstd --xattrs --numeric-owner -xpf \"$1\" -C \"$2\"", &[&object, &target]);
    assert_same_tree(&source, &target, &[]);
}

#[test]
fn our_objects_are_listed_and_extracted_by_bsdtar() {
    let job = Job::new();
    let (source, target) = (job.dir("source"), job.dir("target"));
    let object = object(&job, &source);
    let list = shell(&job, "bsdtar -tf \"$1\"", &[&object]);
    assert!(list.lines().any(|line| line == "./empties/file"), "{list}");
    shell(&job, "bsdtar --numeric-owner -xpf \"$1\" -C \"$2\"", &[&object, &target]);
    // It reads times before 1970 wrongly and does not set those of the root, and knows no `=` in names of attributes.
    for dir in [&source, &target] {
        fs::remove_dir_all(dir.join("times")).unwrap();
        fs::remove_dir_all(dir.join("xattrs")).unwrap();
    }
    assert_same_tree(&source, &target, &[Aspect::Holes, Aspect::Root]);
}

#[test]
fn another_reader_of_the_seekable_format_reads_a_range() {
    let job = Job::new();
    let object = fs::read(object(&job, &job.dir("source"))).unwrap();
    let all = zstd::decode_all(object.as_slice()).unwrap();
    let table = zeekstd::SeekTable::from_seekable(&mut zeekstd::BytesWrapper::new(&object)).unwrap();
    assert!(table.num_frames() > 1);
    let (start, length) = (all.len() / 2 + 3, 70_000);
    let mut decoder = zeekstd::DecodeOptions::new(zeekstd::BytesWrapper::new(&object)).into_decoder().unwrap();
    decoder.set_offset(start.try_into().unwrap()).unwrap();
    let mut range = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let count = decoder.decompress(&mut range[filled..]).unwrap();
        assert!(count > 0, "the range ends early");
        filled += count;
    }
    assert!(range == all[start..start + length]);
}
