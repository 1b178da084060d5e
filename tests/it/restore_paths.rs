//! Entries that were saved for other paths: nothing is written, and nothing removed, that no line asks for.

use std::fs;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::{Aspect, Snapshot};

use crate::{restore, save};

/// Saves the `saved` lines in one job; restoring them as `asked` in a job with other files must be a miss that leaves
/// all of these alone.
#[track_caller]
fn other_paths(saved: &str, asked: &str) {
    let (job, place) = (Job::new(), Place::local());
    fs::create_dir_all(job.path("packages/foo/dist/sub")).unwrap();
    fs::write(job.path("packages/foo/dist/sub/file"), "saved").unwrap();
    fs::write(job.path("build.log"), "saved").unwrap();
    save(&job, &place, "key").arg(saved).run().ok();

    let job = Job::new();
    fs::create_dir_all(job.path("packages/foo/dist/sub")).unwrap();
    fs::create_dir_all(job.path("packages/bar/dist")).unwrap();
    for name in ["source", "packages/lock", "packages/bar/dist/file"] {
        fs::write(job.path(name), "precious").unwrap();
    }
    let before = Snapshot::of(&job.work());
    for more in [&[][..], &["--lookup-only"], &["--clean"]] {
        let command = restore(&job, &place, "key").arg("--json").args(more).arg(asked);
        let document = command.run().ok().reviewed().json();
        assert_eq!((&document["outcome"], &document["reason"]), (&"miss".into(), &"other-paths".into()));
        assert_eq!(Snapshot::of(&job.work()).differences(&before, &[Aspect::Root]), Vec::<String>::new());
    }
}

#[test]
fn a_file_is_not_restored_onto_a_pattern() {
    other_paths("build.log", "build*");
}

#[test]
fn a_directory_is_not_restored_onto_a_pattern() {
    other_paths("packages/foo/dist", "packages/*/dist");
}

#[test]
fn matches_of_a_pattern_are_not_restored_onto_a_directory() {
    other_paths("packages/*/dist", "packages");
}

#[test]
fn matches_of_one_pattern_are_not_restored_onto_another() {
    other_paths("packages/*/dist", "packages/*/lib");
}

#[test]
fn what_is_excluded_now_is_not_restored() {
    other_paths("packages", "packages\n!**/sub");
}

#[test]
fn an_archive_without_an_index_is_not_restored_onto_a_pattern() {
    let (job, place) = (Job::new(), Place::local());
    fs::create_dir_all(job.path("source/foo/dist")).unwrap();
    fs::write(job.path("source/foo/dist/file"), "saved").unwrap();
    let script = "tar -C source -c . | zstd -q";
    let archive =
        std::process::Command::new("sh").args(["-c", script]).current_dir(job.work()).output().unwrap().stdout;
    place.put("key-base.tar.zst", &archive);
    let document = restore(&job, &place, "key").args(["--json", "packages/*/dist"]).run().ok().json();
    assert_eq!((&document["outcome"], &document["reason"]), (&"miss".into(), &"other-paths".into()));
    assert!(!job.path("packages").exists());
    restore(&job, &place, "key").arg("packages").run().ok();
    assert_eq!(fs::read(job.path("packages/foo/dist/file")).unwrap(), b"saved");
}
