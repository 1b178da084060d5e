//! What a save of the same job need not read, and what need not travel.

use std::fs;
use std::path::{Path, PathBuf};

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::tree::{self, assert_same_tree, set_mode, set_mtime, set_xattr};

use super::{archive, files_read, listed, number, restored_and_settled, save_base, save_delta, settle};
use crate::{restored, saved};

/// A job that has restored an entry of 60 files, known to be unchanged.
struct Warm {
    job: Job,
    place: Place,
    target: PathBuf,
}

fn warm() -> Warm {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.path("target"));
    tree::random(&source, 17, 60);
    saved(&job, &place, "one", &source);
    restored_and_settled(&job, &place, "one", &target);
    Warm { job, place, target }
}

/// A file of `dir` with at least so many bytes.
fn a_file(dir: &Path, bytes: u64) -> PathBuf {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if meta.is_file() && meta.len() >= bytes {
                return entry.path();
            }
        }
    }
    panic!("no file of {bytes} bytes");
}

/// Changes the restored tree, saves it, and checks what the delta carries and how many files had to be read for it.
#[track_caller]
fn check(change: impl FnOnce(&Path), read: u64, carried: usize) -> Outcome {
    let Warm { job, place, target } = warm();
    change(&target);
    let outcome = save_delta(&job, &place, "two", "one", &target);
    assert_eq!(files_read(&outcome), read, "{}", outcome.stderr);
    let carries = listed(&job, &place, "two-delta.tar.zst");
    assert_eq!(carries.len(), carried, "{carries:?}");
    let (elsewhere, again) = (Job::new(), target.with_file_name("again"));
    restored(&elsewhere, &place, "two", &again);
    assert_same_tree(&target, &again, &[]);
    outcome
}

#[test]
fn an_unchanged_tree_is_not_read_and_sends_its_index_only() {
    let outcome = check(|_| (), 0, 0);
    let document = outcome.json();
    let (sent, files) = (number(&document, "sent_bytes"), number(&document, "files"));
    // The hashes, what else is told of a file, and the footer.
    assert!(sent < 64 * files + 2048, "{document}");
}

#[test]
fn touched_files_are_read_and_recognised() {
    check(
        |tree| {
            set_mtime(&a_file(tree, 100_000), 1_700_000_000, 5);
        },
        1,
        0,
    );
}

#[test]
fn a_file_written_again_with_equal_content_travels_not_at_all() {
    check(
        |tree| {
            let path = a_file(tree, 100_000);
            let content = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, content).unwrap();
        },
        1,
        0,
    );
}

#[test]
fn changed_attributes_travel_in_the_index() {
    check(|tree| set_mode(&a_file(tree, 1), 0o4711), 1, 0);
    check(|tree| set_xattr(&a_file(tree, 1), "user.new", b"value"), 1, 0);
    // Of a directory nothing is read.
    check(|tree| set_mtime(tree, 1_000_000_000, 9), 0, 0);
    check(|tree| set_mode(tree, 0o2750), 0, 0);
}

#[test]
fn renamed_copied_and_deleted_files_cost_nothing() {
    check(
        |tree| {
            let path = a_file(tree, 100_000);
            fs::rename(&path, tree.join("renamed")).unwrap();
        },
        1,
        0,
    );
    check(
        |tree| {
            fs::copy(a_file(tree, 100_000), tree.join("copied")).unwrap();
        },
        1,
        0,
    );
    check(|tree| fs::remove_file(a_file(tree, 100_000)).unwrap(), 0, 0);
    check(|tree| fs::hard_link(a_file(tree, 100_000), tree.join("linked")).unwrap(), 1, 0);
}

#[test]
fn a_small_file_that_is_new_travels_whole_and_alone() {
    let outcome = check(|tree| fs::write(tree.join("new"), tree::Rng::new(3).bytes(5000)).unwrap(), 1, 1);
    let sent = number(&outcome.json(), "sent_bytes");
    assert!((5000..5000 + 8192).contains(&sent), "{sent}");
}

#[test]
fn of_a_large_file_only_changed_chunks_travel() {
    let outcome = check(
        |tree| {
            let path = a_file(tree, 400_000);
            let mut content = fs::read(&path).unwrap();
            content[200_000] ^= 1;
            fs::write(&path, content).unwrap();
        },
        1,
        1,
    );
    let sent = number(&outcome.json(), "sent_bytes");
    assert!(sent < 256 * 1024 + 16 * 1024, "{sent}");
}

#[test]
fn a_file_changed_right_after_the_restore_is_seen_though_size_and_mtime_are_equal() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.path("target"));
    for number in 0..20 {
        fs::write(source.join(number.to_string()), format!("content {number:04}")).unwrap();
    }
    saved(&job, &place, "one", &source);
    restored(&job, &place, "one", &target);
    // In place, so that only the ctime can tell, which may be that of the restore still.
    for number in 0..20 {
        let path = target.join(number.to_string());
        let meta = fs::metadata(&path).unwrap();
        fs::write(&path, format!("CONTENT {number:04}")).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        set_mtime(&path, meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap());
    }
    let outcome = super::save_with(&job, &place, "two", &[], &target);
    assert_eq!(files_read(&outcome), 20);
    let again = job.path("again");
    restored(&Job::new(), &place, "two", &again);
    assert_same_tree(&target, &again, &[]);
}

#[test]
fn the_next_save_of_a_job_builds_on_the_last() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    tree::random(&source, 23, 40);
    settle(&job);
    save_base(&job, &place, "one", &source);
    fs::write(source.join("new"), tree::Rng::new(1).bytes(9000)).unwrap();
    settle(&job);
    let outcome = save_delta(&job, &place, "two", "one", &source);
    assert_eq!(files_read(&outcome), 1, "{}", outcome.stderr);
    fs::write(source.join("newer"), tree::Rng::new(2).bytes(7000)).unwrap();
    let outcome = save_delta(&job, &place, "three", "two", &source);
    assert_eq!(files_read(&outcome), 1, "{}", outcome.stderr);
    assert_eq!(listed(&job, &place, "three-delta.tar.zst"), ["./newer"]);
    let refs = archive(&place, "three-delta.tar.zst").footer.refs;
    let names: Vec<_> = refs.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["one-base.tar.zst", "two-delta.tar.zst"]);
    let target = job.path("target");
    restored(&Job::new(), &place, "three", &target);
    assert_same_tree(&source, &target, &[]);
}

#[test]
fn a_ref_that_nothing_is_used_of_is_dropped() {
    let Warm { job, place, target } = warm();
    fs::write(target.join("passing"), tree::Rng::new(1).bytes(9000)).unwrap();
    save_delta(&job, &place, "two", "one", &target);
    fs::remove_file(target.join("passing")).unwrap();
    save_delta(&job, &place, "three", "two", &target);
    let refs = archive(&place, "three-delta.tar.zst").footer.refs;
    assert_eq!(refs.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["one-base.tar.zst"]);
}

#[test]
fn a_tree_that_is_mostly_new_is_saved_as_a_base() {
    let Warm { job, place, target } = warm();
    fs::write(target.join("new"), tree::Rng::new(1).bytes(8 << 20)).unwrap();
    save_base(&job, &place, "two", &target);
}

#[test]
fn an_old_entry_is_not_built_on() {
    let Warm { job, place, target } = warm();
    let outcome = super::save_with(&job, &place, "two", &["--rebase-after", "0s"], &target);
    assert_eq!(outcome.json()["kind"], "base");
}
