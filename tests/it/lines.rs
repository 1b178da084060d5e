//! What an entry holds goes to the path of its name, wherever that stands in the list.

use std::fs;

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;

use crate::delta::{files_read, settle};
use crate::{restore, save};

/// A job with these directories, each with a file that has its name.
fn job_with(names: &[&str]) -> Job {
    let job = Job::new();
    for name in names {
        fs::create_dir_all(job.path(name)).unwrap();
        fs::write(job.path(name).join("file"), name).unwrap();
    }
    job
}

/// Saves `lines` of a job with these directories under `key`.
#[track_caller]
fn entry(place: &Place, key: &str, names: &[&str], lines: &str) {
    save(&job_with(names), place, key).arg(lines).run().ok();
}

/// Restores `key` in a new job onto `lines`, and looks at what is there: each directory with the name that it was saved
/// by.
#[track_caller]
fn check(place: &Place, key: &str, arguments: &[&str], lines: &str, there: &[(&str, &str)]) -> Outcome {
    let job = Job::new();
    let outcome = restore(&job, place, key).arg("--json").args(arguments).arg(lines).run().ok();
    for (name, content) in there {
        let found = fs::read_to_string(job.path(name).join("file")).ok();
        assert_eq!(found.as_deref(), Some(*content), "{name}: {}", outcome.stderr);
    }
    let count = fs::read_dir(job.work()).unwrap().count();
    assert_eq!(count, there.len(), "{}", outcome.stderr);
    outcome
}

#[test]
fn lines_in_another_order_or_spelling_are_the_same_paths() {
    let place = Place::local();
    entry(&place, "key", &["target", "registry", "deps"], "target\nregistry\ndeps");
    let there = [("target", "target"), ("registry", "registry"), ("deps", "deps")];
    for lines in ["registry\ntarget\ndeps", "deps\nregistry\ntarget", "./registry/\n.//deps\ntarget/"] {
        for (key, arguments) in [("key", &[][..]), ("other", &["--restore-keys", "ke"])] {
            let outcome = check(&place, key, arguments, lines, &there);
            assert!(!outcome.stderr.contains("is restored to"), "{}", outcome.stderr);
        }
    }
}

#[test]
fn a_save_after_a_restore_in_another_order_reads_nothing_and_swaps_nothing() {
    let place = Place::local();
    entry(&place, "one", &["a", "b"], "a\nb");
    let job = Job::new();
    for _ in 0..2 {
        restore(&job, &place, "one").arg("b\na").run().ok();
        settle(&job);
    }
    for (key, lines) in [("two", "b\na"), ("three", "a\nb")] {
        let outcome = save(&job, &place, key).args(["--json", "-v"]).arg(lines).run().ok();
        assert_eq!((&outcome.json()["kind"], files_read(&outcome)), (&"delta".into(), 0), "{}", outcome.stderr);
        check(&place, key, &[], "a\nb", &[("a", "a"), ("b", "b")]);
    }
}

#[test]
fn another_directory_is_not_restored_through_a_prefix() {
    let place = Place::local();
    entry(&place, "Linux-node", &["node_modules"], "node_modules");
    let outcome = check(&place, "Linux-cargo", &["--restore-keys", "Linux-"], "target", &[]);
    assert_eq!(outcome.json()["reason"], "other-paths");
    outcome.reviewed();
    check(&place, "Linux-", &[], "target", &[]);
    let relocated = ["--restore-keys", "Linux-", "--relocate"];
    check(&place, "Linux-cargo", &relocated, "target", &[("target", "node_modules")]).reviewed();
    // An older one of the right paths comes next.
    entry(&place, "Linux-a", &["target"], "target");
    entry(&place, "Linux-b", &["node_modules"], "node_modules");
    check(&place, "Linux-cargo", &["--restore-keys", "Linux-"], "target", &[("target", "target")]);
}

#[test]
fn what_is_left_over_goes_by_position_for_the_exact_key() {
    let place = Place::local();
    entry(&place, "key", &["target", "pip"], "target\npip");
    let outcome = check(&place, "key", &[], "uv\ntarget", &[("uv", "pip"), ("target", "target")]);
    outcome.reviewed();
    let outcome = check(&place, "ke", &[], "uv\ntarget", &[]);
    assert_eq!(outcome.json()["reason"], "other-paths");
}

#[test]
fn a_line_that_was_added_is_missing_and_the_job_knows() {
    let place = Place::local();
    entry(&place, "key", &["a", "b"], "a\nb");
    let outcome = check(&place, "key", &[], "new\nb\na", &[("a", "a"), ("b", "b")]);
    // Not what was asked for: a job that goes by the exact key must make what is missing.
    assert_eq!((&outcome.json()["outcome"], &outcome.json()["matched_key"]), (&"prefix".into(), &"key".into()));
    outcome.reviewed();
}

#[test]
fn a_line_that_was_removed_is_not_restored() {
    let place = Place::local();
    entry(&place, "key", &["a", "b", "c"], "a\nb\nc");
    let outcome = check(&place, "key", &[], "c\na", &[("a", "a"), ("c", "c")]);
    assert_eq!(outcome.json()["outcome"], "exact");
    outcome.reviewed();
}

#[test]
fn names_do_not_depend_on_where_the_runner_works() {
    let place = Place::local();
    let save_on = |job: &Job| {
        fs::write(job.dir("target").join("file"), "target").unwrap();
        let temp = job.work().with_file_name("runner-temp");
        fs::create_dir_all(temp.join("tool")).unwrap();
        fs::write(temp.join("tool/file"), "tool").unwrap();
        fs::create_dir_all(job.home().join(".cache")).unwrap();
        fs::write(job.home().join(".cache/file"), "home").unwrap();
    };
    let lines = |job: &Job| {
        let temp = job.work().with_file_name("runner-temp");
        format!("{}\n{}/tool\n~/.cache", job.path("target").display(), temp.display())
    };
    let first = Job::github();
    save_on(&first);
    save(&first, &place, "key-1").arg(lines(&first)).run().ok();
    let second = Job::github();
    let outcome =
        restore(&second, &place, "key-2").args(["--restore-keys", "key-", "--json"]).arg(lines(&second)).run();
    assert_eq!(outcome.ok().json()["outcome"], "prefix");
    assert_eq!(fs::read_to_string(second.path("target/file")).unwrap(), "target");
    assert_eq!(fs::read_to_string(second.home().join(".cache/file")).unwrap(), "home");
    let temp = second.work().with_file_name("runner-temp");
    assert_eq!(fs::read_to_string(temp.join("tool/file")).unwrap(), "tool");
}

#[test]
fn an_archive_without_names_goes_onto_the_one_path() {
    let (job, place) = (job_with(&["source"]), Place::local());
    let script = "tar -C source -c . | zstd -q > archive";
    job.command("sh").args(["-c", script]).run().ok();
    place.put("key-1-base.tar.zst", &fs::read(job.path("archive")).unwrap());
    check(&place, "key-2", &["--restore-keys", "key-"], "anywhere", &[("anywhere", "source")]);
}

#[test]
fn a_file_of_two_names_is_whole_under_the_one_that_is_asked_for() {
    let place = Place::local();
    let job = job_with(&["a", "b"]);
    fs::write(job.path("a/linked"), vec![7; 100_000]).unwrap();
    fs::hard_link(job.path("a/linked"), job.path("b/linked")).unwrap();
    save(&job, &place, "key").arg("a\nb").run().ok();
    let other = Job::new();
    restore(&other, &place, "key").arg("b").run().ok();
    assert_eq!(fs::read(other.path("b/linked")).unwrap(), vec![7; 100_000]);
    let both = Job::new();
    restore(&both, &place, "key").arg("b\na").run().ok();
    fs::write(both.path("a/linked"), "changed").unwrap();
    assert_eq!(fs::read_to_string(both.path("b/linked")).unwrap(), "changed", "one file, as it was");
}
