//! A tree that a restore has left half written is never saved.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;
use xcache_tests::tree::Rng;

use crate::delta::files_named;
use crate::delta::races::start;
use crate::{restore, restored, save, saved};

/// An entry `k-2` of one large file, which lies before the end that a lookup brings, and a small one, which lies in it;
/// and an older one, `k-1`, of the small one.
fn entries(place: &Place) {
    let job = Job::new();
    let tree = job.dir("tree");
    fs::write(tree.join("small"), "older").unwrap();
    saved(&job, place, "k-1", &tree);
    fs::write(tree.join("small"), "saved").unwrap();
    fs::write(tree.join("large"), Rng::new(1).bytes(9 << 20)).unwrap();
    saved(&Job::new(), place, "k-2", &tree);
}

/// A job in which `small` is another file already.
fn warm() -> Job {
    let job = Job::new();
    fs::write(job.dir("tree").join("small"), "before").unwrap();
    job
}

/// A restore of `k-2` that has replaced `small` and waits for the rest; `more` of its arguments.
fn half_way(job: &Job, place: &Place, more: &[&str]) -> (Child, Proxy) {
    let mut proxy = Proxy::with_rules(s3::server(), &["GET /k-2-base hold skip=1 count=1"]);
    let behind = place.behind(proxy.endpoint());
    let child = start(restore(job, &behind, "k-2").arg("--json").args(more).arg("tree"));
    proxy.wait_until_held();
    let begin = Instant::now();
    while fs::read(job.path("tree/small")).unwrap() == b"before" {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing is replaced");
        std::thread::sleep(Duration::from_millis(5));
    }
    (child, proxy)
}

fn saves(job: &Job, place: &Place, key: &str, arguments: &[&str]) -> Outcome {
    save(job, place, key).arg("--json").args(arguments).run()
}

#[track_caller]
fn assert_refused(job: &Job, place: &Place, path: &str) {
    let outcome = saves(job, place, "mixed", &[path]).ok().reviewed();
    let document = outcome.json();
    assert_eq!((&document["outcome"], &document["reason"]), (&"not-saved".into(), &"unfinished-restore".into()));
    saves(job, place, "mixed", &["--fail-on-error", path]).expect_code(1);
    assert!(!place.entries().iter().any(|name| name.starts_with("mixed")));
}

#[test]
fn what_a_killed_restore_has_left_is_not_saved_until_a_restore_has_finished() {
    let place = Place::on(s3::server());
    entries(&place);
    let job = warm();
    let (child, _proxy) = half_way(&job, &place, &[]);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait_with_output().unwrap();
    // Nor what lies around it, or in it.
    for path in ["tree", "./tree/", ".", "tree/small"] {
        assert_refused(&job, &place, path);
    }
    // Other paths have nothing to do with it.
    fs::write(job.dir("other").join("file"), "other").unwrap();
    assert_eq!(saves(&job, &place, "other", &["other"]).ok().json()["outcome"], "saved");
    // The user may know better.
    let insisting = saves(&job, &place, "insisting", &["--save-unfinished", "tree"]).ok();
    assert_eq!(insisting.json()["outcome"], "saved", "{}", insisting.stderr);

    restored(&job, &place, "k-2", &job.path("tree"));
    assert_eq!(files_named(&job, "unfinished"), Vec::<PathBuf>::new());
    fs::write(job.path("tree/new"), "new").unwrap();
    assert_eq!(saves(&job, &place, "k-3", &["tree"]).ok().json()["outcome"], "saved");
}

#[test]
fn what_a_restore_that_cannot_go_on_has_left_is_not_saved() {
    let place = Place::on(s3::server());
    entries(&place);
    let job = warm();
    let (child, mut proxy) = half_way(&job, &place, &[]);
    place.delete("k-2-base.tar.zst");
    proxy.release();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    match fs::read(job.path("tree/small")).unwrap().as_slice() {
        // Taken back: the tree is what it was, and may be saved.
        b"before" => {
            assert_eq!(output.status.code(), Some(0), "{stderr}");
            assert_eq!(saves(&job, &place, "mixed", &["tree"]).ok().json()["outcome"], "saved");
        }
        _ => {
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains("1 file is that of entry `k-2` now, and the others are not"), "{stderr}");
            assert_refused(&job, &place, "tree");
        }
    }
}

#[test]
fn a_restore_that_was_stopped_is_taken_back_or_not_saved() {
    let place = Place::on(s3::server());
    entries(&place);
    for is_warm in [false, true] {
        let job = if is_warm { warm() } else { Job::new() };
        let (child, _proxy) = match is_warm {
            true => half_way(&job, &place, &[]),
            false => {
                let mut proxy = Proxy::with_rules(s3::server(), &["GET /k-2-base hold skip=1 count=1"]);
                let behind = place.behind(proxy.endpoint());
                let child = start(restore(&job, &behind, "k-2").arg("--json").arg("tree"));
                proxy.wait_until_held();
                (child, proxy)
            }
        };
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let notes = files_named(&job, "unfinished");
        match fs::read(job.path("tree/small")).ok().as_deref() {
            None if !is_warm => assert_eq!(notes, Vec::<PathBuf>::new()),
            Some(b"before") => assert_eq!(notes, Vec::<PathBuf>::new()),
            found => {
                assert_eq!(notes.len(), 1, "{found:?}");
                assert_refused(&job, &place, "tree");
            }
        }
    }
}

#[test]
fn a_workspace_with_files_of_a_damaged_entry_is_made_whole_by_the_next_one() {
    let place = Place::on(s3::server());
    entries(&place);
    let job = warm();
    let (child, mut proxy) = half_way(&job, &place, &["--restore-keys", "k-"]);
    place.delete("k-2-base.tar.zst");
    proxy.release();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(fs::read(job.path("tree/small")).unwrap(), b"older", "{stderr}");
    assert_eq!(files_named(&job, "unfinished"), Vec::<PathBuf>::new());
    assert_eq!(saves(&job, &place, "k-3", &["tree"]).ok().json()["outcome"], "saved");
}

#[test]
fn a_damaged_entry_does_not_fail_every_job_with_a_warm_workspace() {
    let place = Place::on(s3::server());
    entries(&place);
    let job = warm();
    let proxy = Proxy::with_rules(s3::server(), &["GET /k-2-base flip:5000 skip=1"]);
    let behind = place.behind(proxy.endpoint());
    restore(&job, &behind, "k-2").args(["--json", "tree"]).run();
    // The job makes the tree anew by other means, and says so.
    fs::write(job.path("tree/large"), Rng::new(1).bytes(9 << 20)).unwrap();
    fs::write(job.path("tree/small"), "saved").unwrap();
    let proxy = Proxy::with_rules(s3::server(), &["GET /k-2-base flip:5000"]);
    let behind = place.behind(proxy.endpoint());
    let outcome = saves(&job, &behind, "k-2", &["--save-unfinished", "tree"]).ok();
    assert_eq!(outcome.json()["reason"], "replacement", "{}", outcome.stderr);
    let next = warm();
    restored(&next, &place, "k-2", &next.path("tree"));
    assert_eq!(fs::read(next.path("tree/small")).unwrap(), b"saved");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_reported_once() {
    let (job, place) = (Job::new(), Place::local());
    fs::write(job.dir("tree").join("file"), "file").unwrap();
    saved(&job, &place, "key", &job.path("tree"));
    for directory in ["/proc/xcache", "/dev/null/xcache"] {
        let outcome = restore(&job, &place, "key").args(["--state-dir", directory, "tree"]).run().ok();
        assert_eq!(outcome.stderr.matches("warning:").count(), 1, "{}", outcome.stderr);
        outcome.reviewed();
    }
    // Also without any place for it.
    let outcome = restore(&job, &place, "key").arg("tree").env("HOME", "").run().ok();
    outcome.reviewed();
}
