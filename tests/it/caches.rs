//! Several caches in one step.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::runner::Runner;
use xcache_tests::s3;
use xcache_tests::tree::{self, Rng};

use crate::actions::PROGRAMS;
use crate::delta::races::start;
use crate::{RESTORE, SAVE};

const LIST: &str = "
- path: |
    one
    !one/*.log
  key: k1
- path: [two, three]
  key: k2
  restore-keys: k
";

/// A runner whose workspace has the directories of [`LIST`].
fn runner(place: &Place) -> Runner {
    let mut runner = Runner::new(&PROGRAMS);
    runner.set_env("XCACHE_STORE", place.url());
    for name in ["one", "two", "three"] {
        fs::write(runner.job().dir(name).join("file"), name).unwrap();
    }
    fs::write(runner.job().path("one/x.log"), "left out").unwrap();
    runner
}

fn wipe(runner: &Runner) {
    for name in ["one", "two", "three"] {
        fs::remove_dir_all(runner.job().path(name)).unwrap();
    }
}

#[test]
fn each_of_several_caches_is_saved_and_restored() {
    for place in Place::each() {
        let mut runner = runner(&place);
        for (name, value) in place.env() {
            runner.set_env(name, value);
        }
        let saved = runner.uses("save", &[("caches", LIST)]);
        let outputs = &saved.outputs;
        assert_eq!(
            (&*outputs["outcome"], &*outputs["kind"], &*outputs["files"]),
            ("saved", "base\nbase", "3"),
            "{}",
            saved.log
        );
        assert_eq!(place.entries(), ["k1-base.tar.zst", "k2-base.tar.zst"]);
        wipe(&runner);
        let restored = runner.uses("restore", &[("caches", LIST)]);
        assert_eq!(
            (&*restored.outputs["cache-hit"], &*restored.outputs["outcome"]),
            ("true", "exact"),
            "{}",
            restored.log
        );
        assert_eq!(restored.outputs["cache-primary-key"], "k1\nk2");
        assert_eq!(restored.outputs["cache-matched-key"], "k1\nk2");
        for name in ["one", "two", "three"] {
            assert_eq!(fs::read_to_string(runner.job().path(name).join("file")).unwrap(), name);
        }
        assert!(!runner.job().path("one/x.log").exists());
        let rows = runner.summary().lines().filter(|line| line.starts_with("| k")).count();
        assert_eq!(rows, 4, "{}", runner.summary());
    }
}

#[test]
fn each_cache_builds_on_what_was_restored_for_it() {
    let place = Place::local();
    let mut runner = runner(&place);
    let content: Vec<u8> = (0..500_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for name in ["one", "two"] {
        fs::write(runner.job().path(name).join("large"), [&content[..], name.as_bytes()].concat()).unwrap();
    }
    runner.uses("save", &[("caches", LIST)]);
    wipe(&runner);
    runner.uses("restore", &[("caches", LIST)]);
    for name in ["one", "two"] {
        fs::write(runner.job().path(name).join("more"), "more").unwrap();
    }
    let next = LIST.replace("key: k1", "key: n1").replace("key: k2", "key: n2");
    let saved = runner.uses("save", &[("caches", &next)]);
    assert_eq!(saved.outputs["kind"], "delta\ndelta", "{}", saved.log);
}

#[test]
fn one_that_is_missing_makes_the_step_a_miss_and_keeps_the_others() {
    let place = Place::local();
    let mut runner = runner(&place);
    runner.uses("save", &[("path", "one"), ("key", "k1")]);
    runner.uses("save", &[("path", "three"), ("key", "t1")]);
    wipe(&runner);
    let json = r#"[{"path": "one", "key": "k1"}, {"path": "two", "key": "other"}, {"path": "three", "key": "none", "restore-keys": ["t"]}]"#;
    let step = runner.uses("restore", &[("caches", json)]);
    assert!(!step.is_failure, "{}", step.log);
    let outputs = &step.outputs;
    assert_eq!((&*outputs["cache-hit"], &*outputs["cache-matched-key"], &*outputs["outcome"]), ("", "k1\nt1", "miss"));
    assert_eq!(runner.job().outputs().get("cache-hit"), None);
    let caches: serde_json::Value = serde_json::from_str(&outputs["caches"]).unwrap();
    let outcomes: Vec<_> = caches.as_array().unwrap().iter().map(|cache| cache["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["exact", "miss", "prefix"]);
    assert_eq!(fs::read_to_string(runner.job().path("one/file")).unwrap(), "one");
    let step = runner.uses("restore", &[("caches", json), ("fail-on-cache-miss", "true")]);
    assert!(step.is_failure);
}

#[test]
fn a_list_stands_in_place_of_path_and_key_and_must_be_one() {
    let job = Job::new();
    let check = |args: &[&str]| {
        for program in [RESTORE, SAVE] {
            let place = Place::local();
            job.command(program).store(&place).args(args).run().expect_code(2).reviewed();
        }
    };
    check(&["--caches", LIST, "--key", "k"]);
    check(&["--caches", LIST, "path"]);
    check(&["--caches", "[{key: k}]"]);
    check(&["--caches", "[{\"path\": \"p\", \"key\": \"a,b\"}]"]);
    check(&["--caches", "nonsense"]);
}

#[test]
fn no_two_caches_of_a_run_write_to_one_path() {
    let (job, place) = (Job::new(), Place::local());
    fs::create_dir_all(job.path("a/b")).unwrap();
    fs::write(job.path("a/b/file"), "text").unwrap();
    for (one, two) in [("a", "a"), ("a", "./a/"), ("a", "a/b"), ("a/b", "a"), (".", "a/*")] {
        let list = format!("[{{path: {one:?}, key: k1}}, {{path: {two:?}, key: k2}}]");
        for program in [RESTORE, SAVE] {
            job.command(program).store(&place).args(["--caches", &list]).run().expect_code(2).reviewed();
        }
    }
    let list = r#"[{path: "a\n!a/b", key: k1}, {path: "a/b", key: k2}]"#;
    job.command(SAVE).store(&place).args(["--caches", list]).run().ok();
    assert_eq!(place.entries(), ["k1-base.tar.zst", "k2-base.tar.zst"]);
}

#[test]
fn one_place_by_two_paths_is_one_path() {
    let (job, place) = (Job::new(), Place::local());
    fs::create_dir_all(job.path("a/b")).unwrap();
    fs::create_dir_all(job.path("deep/er")).unwrap();
    fs::write(job.path("a/b/file"), "text").unwrap();
    symlink("a", job.path("link")).unwrap();
    symlink("../../link/b", job.path("deep/er/far")).unwrap();
    symlink("not-yet", job.path("dangling")).unwrap();
    let absolute = job.path("a").to_str().unwrap().to_owned();
    let check = |one: &str, two: &str| {
        for (one, two) in [(one, two), (two, one)] {
            let list = format!("[{{path: {one:?}, key: k1}}, {{path: {two:?}, key: k2}}]");
            for program in [RESTORE, SAVE] {
                let refused = job.command(program).store(&place).args(["--caches", &list]).run().expect_code(2);
                refused.reviewed();
            }
        }
    };
    check("a", "a/../a");
    check("a", &absolute);
    check("a", "link");
    check("a", "link/b");
    check("link", "a/b");
    check(&absolute, "link/x");
    check("a", "deep/er/far");
    check("a/*.o", "link/*.o");
    check("link/*", "a/b");
    check("dangling", "not-yet");
    check("dangling/x", "not-yet");
    assert_eq!(place.entries(), [""; 0]);
    for list in [
        r#"[{path: a/b, key: k1}, {path: link/c, key: k2}]"#,
        r#"[{path: "a\n!a/b", key: k3}, {path: link/b, key: k4}]"#,
    ] {
        job.command(RESTORE).store(&place).args(["--caches", list]).run().ok();
    }
}

#[test]
fn one_key_is_saved_once_and_may_be_restored_twice() {
    let (job, place) = (Job::new(), Place::local());
    for name in ["one", "two"] {
        fs::write(job.dir(name).join("file"), name).unwrap();
    }
    let list = "[{path: one, key: k}, {path: two, key: k}]";
    let refused = job.command(SAVE).store(&place).args(["--caches", list]).run().expect_code(2);
    refused.reviewed();
    assert_eq!(place.entries(), [""; 0]);
    job.command(SAVE).store(&place).args(["--key", "k", "one"]).run().ok();
    fs::remove_dir_all(job.path("two")).unwrap();
    job.command(RESTORE).store(&place).args(["--caches", list]).run().ok();
    assert_eq!(fs::read_to_string(job.path("two/file")).unwrap(), "one");
}

#[test]
fn caches_that_meet_do_not_fail_a_job() {
    let place = Place::local();
    let mut runner = runner(&place);
    symlink("one", runner.job().path("link")).unwrap();
    for list in ["[{path: one, key: k}, {path: two, key: k}]", "[{path: one, key: k1}, {path: link, key: k2}]"] {
        let saved = runner.uses("save", &[("caches", list)]);
        assert_eq!((&*saved.outputs["outcome"], &*saved.outputs["reason"]), ("not-saved", "misconfigured"));
        assert_eq!(saved.log.matches("::warning").count() + saved.log.matches("::error").count(), 1, "{}", saved.log);
    }
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn the_document_of_a_list_is_a_list() {
    let (job, place) = (Job::new(), Place::local());
    let document = job.command(RESTORE).store(&place).args(["--json", "--caches", LIST.trim_start()]).run().ok().json();
    assert_eq!((&document["format"], &document["command"]), (&1.into(), &"restore".into()));
    assert_eq!((&document["caches"][0]["key"], &document["caches"][1]["key"]), (&"k1".into(), &"k2".into()));
}

#[test]
fn one_slow_cache_does_not_hold_up_the_others() {
    let place = Place::on(s3::server());
    let job = Job::new();
    for name in ["one", "two"] {
        fs::write(job.dir(name).join("file"), name).unwrap();
    }
    let list = "[{path: one, key: k1}, {path: two, key: k2}]";
    job.command(SAVE).store(&place).args(["--caches", list]).run().ok();
    fs::remove_dir_all(job.path("one")).unwrap();
    fs::remove_dir_all(job.path("two")).unwrap();

    let mut proxy = Proxy::with_rules(s3::server(), &["GET k1-base hold"]);
    let behind = place.behind(proxy.endpoint());
    let mut command = job.command(RESTORE).store(&behind).args(["--quiet", "--caches", list]).into_command();
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    // The file is there a moment before its content is.
    let is_there = || fs::read(job.path("two/file")).is_ok_and(|content| !content.is_empty());
    while !is_there() && begin.elapsed() < Duration::from_secs(30) {
        assert_eq!(child.try_wait().unwrap(), None, "the first is not there yet");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(fs::read_to_string(job.path("two/file")).unwrap(), "two");
    assert!(!job.path("one/file").exists());
    proxy.release();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(job.path("one/file")).unwrap(), "one");
}

#[test]
fn modes_do_not_depend_on_the_umask_nor_on_what_the_other_caches_do() {
    const MODES: [u32; 3] = [0o666, 0o664, 0o777];
    const CACHES: [(&str, u32); 4] = [("a", 50), ("b", 150), ("c", 400), ("d", 1000)];
    let (job, place) = (Job::new(), Place::local());
    let mut expected = Vec::new();
    for (name, count) in CACHES {
        let dir = job.dir(name);
        for (number, mode) in (0..count).flat_map(|number| MODES.map(|mode| (number, mode))) {
            let file = dir.join(format!("{number}-{mode:o}"));
            fs::write(&file, "x").unwrap();
            tree::set_mode(&file, mode);
            expected.push((file, mode));
        }
    }
    let list = CACHES.map(|(name, _)| format!("\n- {{path: {name}, key: {name}}}")).concat();
    job.command(SAVE).store(&place).args(["--caches", &list]).run().ok();
    for (name, _) in CACHES {
        fs::remove_dir_all(job.path(name)).unwrap();
    }
    let script = r#"umask 022; exec "$0" "$@""#;
    job.command("sh").args(["-c", script, RESTORE]).store(&place).args(["--caches", &list]).run().ok();
    for (file, mode) in expected {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, mode, "{}", file.display());
    }
}

/// Asks the program to stop, as a runner does, and tells how it ended. It must not wait for what is held back.
fn stop(child: Child) -> Output {
    let begin = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn an_interrupted_save_of_several_caches_ends_at_once_and_leaves_no_upload() {
    let place = Place::on(s3::server());
    let job = Job::new();
    fs::write(job.dir("one").join("file"), Rng::new(1).bytes(20 << 20)).unwrap();
    fs::write(job.dir("two").join("file"), "two").unwrap();
    // What the store honours is known.
    job.command(SAVE).store(&place).args(["--key", "first", "two"]).run().ok();
    let rules = ["PUT partNumber=2 hold", "HEAD /k2-base hold"];
    let mut proxy = Proxy::with_rules(s3::server(), &rules);
    let list = "[{path: one, key: k1}, {path: two, key: k2}]";
    let behind = place.behind(proxy.endpoint());
    let child = start(job.command(SAVE).store(&behind).args(["--caches", list]));
    proxy.wait_until_held();
    proxy.wait_until_held();
    assert_eq!(place.uploads(), 1);
    stop(child);
    assert_eq!(place.uploads(), 0);
    assert_eq!(place.entries(), ["first-base.tar.zst"]);
}

#[test]
fn an_interrupted_restore_of_several_caches_ends_at_once_and_takes_back_what_it_wrote() {
    let place = Place::on(s3::server());
    let job = Job::new();
    fs::write(job.dir("one").join("file"), Rng::new(1).bytes(20 << 20)).unwrap();
    fs::write(job.dir("two").join("file"), "two").unwrap();
    let list = "[{path: one, key: k1}, {path: two, key: k2}]";
    job.command(SAVE).store(&place).args(["--caches", list]).run().ok();
    for path in ["one", "two"] {
        fs::remove_dir_all(job.path(path)).unwrap();
    }
    // The end of the first comes, its data does not; of the second nothing comes.
    let mut proxy = Proxy::with_rules(s3::server(), &["GET /k1-base hold skip=1", "GET /k2- hold"]);
    let behind = place.behind(proxy.endpoint());
    let child = start(job.command(RESTORE).store(&behind).args(["--caches", list]));
    (0..3).for_each(|_| proxy.wait_until_held());
    stop(child);
    assert!(!job.path("one").exists() && !job.path("two").exists());
}
