//! A store that lies below another one: `s3://bucket/ci` and `s3://bucket`.

use std::fs;
use std::path::PathBuf;

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::tree::{Rng, assert_same_tree};

use crate::gc_cases::gc;
use crate::{restore, restored, save, saved};

fn tree(job: &Job) -> PathBuf {
    let source = job.dir("source");
    for number in 0..6 {
        fs::write(source.join(format!("file-{number}")), Rng::new(number).bytes(300_000)).unwrap();
    }
    source
}

/// A restore of `key` with the restore key `ci/deps-`.
#[track_caller]
fn restore_deps(job: &Job, place: &Place, key: &str) -> Outcome {
    restore(job, place, key).args(["--restore-keys", "ci/deps-", "--json", "source"]).run().ok()
}

/// Deletes all entries of the store.
#[track_caller]
fn prune(place: &Place) {
    let policy = ["--max-total-size", "0B", "--min-age", "0s"];
    let job = Job::new();
    gc(&job, place, "prune").args(policy).run().ok();
}

#[test]
fn entries_of_a_nested_store_are_no_candidates() {
    for outer in Place::each() {
        let (job, inner) = (Job::new(), outer.below("ci"));
        let source = tree(&job);
        saved(&job, &inner, "deps-1", &source);
        let other = Job::new();
        for key in ["ci/deps-2", "ci/deps-1", "ci/deps"] {
            let missed = restore_deps(&other, &outer, key);
            let document = missed.json();
            assert_eq!((&document["outcome"], &document["reason"]), (&"miss".into(), &"nothing-there".into()));
            missed.reviewed();
        }
        assert!(!other.path("source").exists());
        assert!(!outer.objects().iter().any(|name| name.contains("condemned")), "{:?}", outer.objects());
        let target = job.dir("target");
        restored(&Job::new(), &inner, "deps-1", &target);
        assert_same_tree(&source, &target, &[]);
    }
}

#[test]
fn an_entry_of_this_store_is_found_behind_newer_ones_of_a_nested_store() {
    for (outer, scope) in
        Place::each().into_iter().flat_map(|place| [(place.below("1"), None), (place, Some("nightly"))])
    {
        let (job, inner) = (Job::new(), outer.below("ci"));
        let source = tree(&job);
        let scoped = scope.map(|scope| ["--scope", scope]);
        let scoped = || scoped.iter().flatten();
        save(&job, &outer, "ci/deps-0").args(scoped()).arg(&source).run().ok();
        fs::write(source.join("file-0"), "of the nested store").unwrap();
        save(&job, &inner, "deps-1").args(scoped()).arg(&source).run().ok();
        let other = Job::new();
        let command = restore(&other, &outer, "ci/deps-2").args(["--restore-keys", "ci/deps-", "--json", "source"]);
        let found = command.args(scoped()).run().ok().json();
        assert_eq!((&found["outcome"], &found["matched_key"]), (&"prefix".into(), &"ci/deps-0".into()), "{found}");
        assert_ne!(fs::read(other.path("source/file-0")).unwrap(), b"of the nested store");
    }
}

#[test]
fn nothing_is_built_on_a_nested_store() {
    for outer in Place::each() {
        let (job, inner) = (Job::new(), outer.below("ci"));
        let source = tree(&job);
        saved(&job, &inner, "deps-1", &source);
        let keys: [&[&str]; 2] = [&["--restore-keys", "ci/deps-"], &["--base-key", "ci/deps-1"]];
        for (number, keys) in keys.into_iter().enumerate() {
            fs::write(source.join("file-0"), Rng::new(100 + number as u64).bytes(300_000)).unwrap();
            let other = Job::new();
            let command = save(&other, &outer, &format!("top-{number}"));
            let document = command.args(keys).arg("--json").arg(&source).run().ok().json();
            assert_eq!((&document["outcome"], &document["kind"]), (&"saved".into(), &"base".into()), "{document}");
        }
        let other = Job::new();
        restore_deps(&other, &outer, "ci/deps-2");
        let made = tree(&other);
        fs::write(made.join("file-1"), "new").unwrap();
        let command = save(&other, &outer, "top-2").args(["--restore-keys", "ci/deps-", "--json", "source"]);
        assert_eq!(command.run().ok().json()["kind"], "base");

        prune(&inner);
        assert_eq!(inner.entries(), [""; 0]);
        for key in ["top-0", "top-1", "top-2"] {
            restored(&Job::new(), &outer, key, &job.dir(key));
        }
        assert_same_tree(&source, &job.path("top-1"), &[]);
    }
}

#[test]
fn an_archive_without_a_footer_is_found_wherever_it_lies() {
    let (job, outer) = (Job::new(), Place::local());
    fs::write(job.dir("plain").join("file"), "text").unwrap();
    let archive = job.path("plain.tar.zst");
    job.command("tar").args(["--zstd", "-cf"]).arg(&archive).arg("plain").run().ok();
    outer.below("ci").put("deps-1-base.tar.zst", &fs::read(&archive).unwrap());
    let command = restore(&job, &outer, "ci/deps-2").args(["--restore-keys", "ci/deps-", "--json", "plain"]);
    let document = command.run().ok().json();
    assert_eq!(document["outcome"], "prefix", "{document}");
}

/// A nested store as it is on AWS: nothing below its `.xcache/`.
fn nested(outer: &Place, entries: u64) -> Place {
    let (job, inner) = (Job::new(), outer.below("ci"));
    let source = job.dir("source");
    for number in 0..entries {
        fs::write(source.join("file"), format!("{number}")).unwrap();
        save(&job, &inner, &format!("deps-{number}")).arg("--full").arg(&source).run().ok();
    }
    inner.objects().iter().filter(|name| name.starts_with(".xcache/")).for_each(|name| inner.delete(name));
    inner
}

#[test]
fn a_nested_store_without_notes_is_neither_shown_nor_deleted() {
    for outer in Place::each() {
        let job = Job::new();
        fs::write(job.dir("source").join("file"), "x").unwrap();
        for key in ["own", "group/own"] {
            saved(&job, &outer, key, &job.path("source"));
        }
        let inner = nested(&outer, 3);
        let before = inner.entries();
        for arguments in [&["ls"][..], &["ls", "-l"], &["ls", "--prefix", "ci/"], &["du"], &["verify"]] {
            let outcome = gc(&job, &outer, arguments[0]).args(&arguments[1..]).run().ok();
            assert!(!outcome.stdout.contains("ci/deps"), "{arguments:?}: {}", outcome.stdout);
            assert_eq!(outcome.stdout.contains("group/own"), arguments == ["ls"] || arguments == ["ls", "-l"]);
            outcome.says(&["ignored: another store begins there"]);
        }
        gc(&job, &outer, "show").arg("ci/deps-1").run().expect_code(1);
        gc(&job, &outer, "rm").args(["--prefix", "ci/", "--yes"]).run().ok();
        gc(&job, &outer, "rm").args(["--all", "--yes"]).run().ok();
        assert_eq!(inner.entries(), before);
        assert_eq!(outer.entries().len(), 3);
        prune(&inner);
    }
}

#[test]
fn a_name_that_a_nested_store_holds_is_not_taken_for_saved() {
    for outer in Place::each() {
        let inner = nested(&outer, 1);
        let job = Job::new();
        fs::write(job.dir("source").join("file"), "of the outer one").unwrap();
        for (arguments, code) in [(&[][..], 0), (&["--fail-on-error"], 1)] {
            let command = save(&job, &outer, "ci/deps-0").arg("--json").args(arguments).arg(job.path("source"));
            let outcome = command.run().expect_code(code);
            let document = outcome.json();
            assert_eq!((&document["outcome"], &document["reason"]), (&"not-saved".into(), &"other-store".into()));
            outcome.says(&["`ci/deps-0-base.tar.zst` is an entry of another store", "key `deps-0`"]);
        }
        restored(&Job::new(), &inner, "deps-0", &job.dir("target"));
        assert_eq!(fs::read_to_string(job.path("target/file")).unwrap(), "0");
        // Its own entries still count as there.
        saved(&job, &outer, "group/own", &job.path("source"));
        let again = save(&job, &outer, "group/own").arg("--json").arg(job.path("source")).run().ok();
        assert_eq!(again.json()["outcome"], "exists");
    }
}

#[test]
fn an_own_entry_is_found_behind_many_newer_ones_of_a_nested_store() {
    let outer = Place::local();
    let job = Job::new();
    let source = tree(&job);
    for number in 0..2 {
        save(&job, &outer, &format!("ci/deps-own-{number}")).arg("--full").arg(&source).run().ok();
    }
    nested(&outer, 20);
    let other = Job::new();
    let found = restore_deps(&other, &outer, "ci/deps-x");
    let document = found.json();
    assert_eq!((&document["outcome"], &document["matched_key"]), (&"prefix".into(), &"ci/deps-own-1".into()));
    assert_same_tree(&source, &other.path("source"), &[]);
    // A miss names a few of them only.
    let other = Job::new();
    let missed = restore(&other, &outer, "ci/deps-1").args(["--json", "source"]).run().ok();
    assert_eq!(missed.json()["outcome"], "miss", "{}", missed.stderr);
    assert_eq!(missed.stderr.matches("is skipped").count(), 3, "{}", missed.stderr);
    missed.says(&["more passed over"]);
}
