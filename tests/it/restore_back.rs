//! P6: what a restore that cannot finish leaves, and what one that can does to what it found.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::{self, Aspect, Snapshot, assert_same_tree};

use crate::{restore, restored, saved};

/// A tree whose last member is a link, so that what stands in its way is met when everything else is there.
fn ends_with_a_link(source: &Path) {
    fs::write(source.join("large"), tree::Rng::new(1).bytes(9 << 20)).unwrap();
    fs::write(source.join("small"), "small").unwrap();
    fs::create_dir(source.join("sub")).unwrap();
    fs::write(source.join("sub/file"), "file").unwrap();
    symlink("small", source.join("z-link")).unwrap();
}

/// Puts what cannot be replaced in the place of that link.
fn block(target: &Path) {
    fs::create_dir(target.join("z-link")).unwrap();
    fs::write(target.join("z-link/precious"), "precious").unwrap();
}

#[test]
fn a_directory_that_was_set_aside_returns() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    ends_with_a_link(&source);
    saved(&job, &place, "key", &source);
    block(&target);
    for name in ["large", "small"] {
        fs::create_dir(target.join(name)).unwrap();
    }
    let before = Snapshot::of(&target);
    let outcome = restore(&job, &place, "key").arg("--json").arg(&target).run().ok().says(&["z-link"]);
    assert_eq!((&outcome.json()["outcome"], &outcome.json()["reason"]), (&"miss".into(), &"failed".into()));
    assert_eq!(Snapshot::of(&target).differences(&before, &[Aspect::Root]), Vec::<String>::new());
}

#[test]
fn a_directory_with_something_in_it_is_not_replaced_by_a_file_or_link() {
    for name in ["large", "small", "z-link"] {
        let (job, place) = (Job::new(), Place::local());
        let (source, target) = (job.dir("source"), job.dir("target"));
        ends_with_a_link(&source);
        saved(&job, &place, "key", &source);
        fs::create_dir(target.join(name)).unwrap();
        fs::write(target.join(name).join("precious"), "precious").unwrap();
        let said =
            ["a directory that is not empty is in its place", name, "hint: remove it, or restore with `--clean`"];
        let outcome = restore(&job, &place, "key").arg("--json").arg(&target).run().ok().says(&said);
        assert_eq!(outcome.json()["outcome"], "miss");
        assert_eq!(fs::read(target.join(name).join("precious")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);

        restore(&job, &place, "key").arg("--clean").arg(&target).run().ok();
        assert_same_tree(&source, &target, &[]);
        fs::remove_file(target.join(name)).unwrap();
        fs::create_dir(target.join(name)).unwrap();
        restored(&job, &place, "key", &target);
        assert_same_tree(&source, &target, &[]);
    }
}
