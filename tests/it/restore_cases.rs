//! Restore: which entry, what it costs, what stays as it was, and what trouble looks like.

use std::fs;

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::{self, Proxy, Request};
use xcache_tests::s3;
use xcache_tests::tree::{self, Aspect, Snapshot, assert_same_tree};

use crate::{RESTORE, restore, restored, save, saved};

/// A tree of one file, saved under `key` by a job of its own.
fn entry(place: &Place, key: &str) {
    let job = Job::new();
    let source = job.dir("target");
    fs::write(source.join("file"), key).unwrap();
    saved(&job, place, key, &source);
}

/// Restores into a new directory and tells the outcome, and the key whose tree is there.
fn look(place: &Place, key: &str, arguments: &[&str]) -> (String, Option<String>) {
    let job = Job::new();
    let target = job.dir("target");
    let outcome = restore(&job, place, key).arg("--json").args(arguments).arg(&target).run().ok().json();
    (outcome["outcome"].as_str().unwrap().to_owned(), fs::read_to_string(target.join("file")).ok())
}

#[track_caller]
fn check(found: (String, Option<String>), outcome: &str, key: Option<&str>) {
    assert_eq!((found.0.as_str(), found.1.as_deref()), (outcome, key));
}

#[test]
fn exact_before_prefix_before_restore_keys_in_order() {
    for place in Place::each() {
        for key in ["linux-a-1", "linux-b-1", "linux-b-12", "mac/x"] {
            entry(&place, key);
        }
        check(look(&place, "linux-b-1", &[]), "exact", Some("linux-b-1"));
        check(look(&place, "linux-a", &[]), "prefix", Some("linux-a-1"));
        check(look(&place, "none", &["--restore-keys", "nor this\nmac/\nlinux-"]), "prefix", Some("mac/x"));
        check(look(&place, "none", &["--restore-keys", "linux-b-1"]), "prefix", Some("linux-b-1"));
        check(look(&place, "none", &["--restore-keys", "linux-c"]), "miss", None);
    }
}

#[test]
fn the_newest_of_many_entries_with_a_prefix_is_restored() {
    for place in Place::each() {
        // Within one second, and not in the order of the alphabet.
        for key in ["k-2", "k-3", "k-1"] {
            entry(&place, key);
        }
        check(look(&place, "k-", &[]), "prefix", Some("k-1"));
    }
}

#[test]
fn lookup_only_writes_nothing() {
    let place = Place::local();
    entry(&place, "key");
    check(look(&place, "key", &["--lookup-only"]), "exact", None);
    check(look(&place, "other", &["--lookup-only"]), "miss", None);
}

#[test]
fn a_miss_fails_only_when_asked_to() {
    let (job, place) = (Job::new(), Place::local());
    let target = job.dir("target");
    restore(&job, &place, "key").arg(&target).run().ok();
    restore(&job, &place, "key").arg("--fail-on-cache-miss").arg(&target).run().expect_code(1).reviewed();
}

#[test]
fn outputs_are_those_of_actions_cache() {
    let place = Place::local();
    entry(&place, "key-1");
    let check = |key: &str, hit: Option<&str>, matched: Option<&str>| {
        let job = Job::github();
        let target = job.dir("target");
        restore(&job, &place, key).arg(&target).run().ok();
        let outputs = job.outputs();
        assert_eq!(outputs.get("cache-hit").map(String::as_str), hit, "{key}");
        assert_eq!(outputs.get("cache-matched-key").map(String::as_str), matched, "{key}");
        assert_eq!(outputs.get("cache-primary-key").map(String::as_str), Some(key));
    };
    check("key-1", Some("true"), Some("key-1"));
    check("key", Some("false"), Some("key-1"));
    check("other", None, None);
}

#[test]
fn several_paths_map_by_position() {
    let (job, place) = (Job::new(), Place::local());
    let sources = [job.dir("a"), job.dir("b")];
    tree::random(&sources[0], 1, 10);
    tree::random(&sources[1], 2, 10);
    save(&job, &place, "key").args(&sources).run().ok();
    let targets = [job.path("c"), job.path("d")];
    let outcome = restore(&job, &place, "key").arg("--json").args(&targets).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact");
    for (source, target) in sources.iter().zip(&targets) {
        assert_same_tree(source, target, &[]);
    }
    let one = job.path("e");
    let outcome = restore(&job, &place, "key").arg("--json").arg(&one).run().ok().json();
    assert_eq!((&outcome["outcome"], &outcome["reason"]), (&"miss".into(), &"other-paths".into()));
    assert!(!one.exists());
}

#[test]
fn other_files_stay_unless_they_are_to_be_removed() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::random(&source, 4, 20);
    saved(&job, &place, "key", &source);
    fs::create_dir(target.join("own")).unwrap();
    fs::write(target.join("own/file"), "stays").unwrap();
    restored(&job, &place, "key", &target);
    assert_eq!(fs::read(target.join("own/file")).unwrap(), b"stays");
    restore(&job, &place, "key").arg("--clean").arg(&target).run().ok();
    assert_same_tree(&source, &target, &[Aspect::Root]);
}

#[test]
fn changed_and_missing_files_are_made_good_again() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::everything(&source);
    tree::random(&source.join("random"), 6, 100);
    saved(&job, &place, "key", &source);
    restored(&job, &place, "key", &target);
    fs::write(target.join("hard-links/a/file"), "changed through one of its names").unwrap();
    fs::remove_dir_all(target.join("empties")).unwrap();
    fs::remove_file(target.join("symlinks/relative")).unwrap();
    fs::create_dir(target.join("symlinks/relative")).unwrap();
    tree::set_mode(&target.join("modes/file-0644"), 0o600);
    tree::set_mtime(&target.join("times/file-3"), 5, 5);
    for name in ["", "random", "xattrs/dir", "xattrs/file", "modes/file-0755"] {
        tree::set_xattr(&target.join(name), "user.more", b"not in the entry");
    }
    restored(&job, &place, "key", &target);
    assert_same_tree(&source, &target, &[]);
}

/// What a program asked for, without what belongs to the probe of the store.
fn asked(proxy: &mut Proxy) -> Vec<Request> {
    proxy.requests().into_iter().filter(|request| !request.target.contains("/.xcache/")).collect()
}

#[test]
fn restores_ask_for_what_they_need_and_no_more() {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    let (source, target) = (job.dir("source"), job.dir("target"));
    fs::write(source.join("large"), tree::Rng::new(1).bytes(40 << 20)).unwrap();
    tree::random(&source.join("small"), 8, 100);
    saved(&job, &place, "key", &source);
    let mut proxy = Proxy::recording(s3::server());
    let behind = place.behind(proxy.endpoint());
    let stored = u64::try_from(place.get("key-base.tar.zst").unwrap().len()).unwrap();

    restored(&job, &behind, "key", &target);
    let requests = asked(&mut proxy);
    let found: Vec<_> = requests.iter().filter(|request| request.status == Some(206)).collect();
    assert!(requests.iter().all(|request| request.operation() == "GetObject"), "{requests:?}");
    assert!(requests.len() - found.len() <= 1, "only the delta is not there: {requests:?}");
    // Parts of 8 to 16 MiB, and the tail.
    assert!(found.len() <= 1 + 40_usize.div_ceil(8), "{requests:?}");
    let received: u64 = found.iter().map(|request| request.received).sum();
    assert!(received <= stored + (4 << 20), "{received} of {stored} bytes: {requests:?}");

    restored(&job, &behind, "key", &target);
    proxy::check_at_most(&asked(&mut proxy), "GetObject", 2);

    restore(&job, &behind, "none").args(["--restore-keys", "nor\nthis"]).arg(&target).run().ok();
    assert_eq!(proxy::count(&asked(&mut proxy)), "GetObject 2, ListObjects 3");

    restore(&job, &behind, "key").arg("--lookup-only").arg(&target).run().ok();
    proxy::check_at_most(&asked(&mut proxy), "GetObject", 2);
}

#[test]
fn cut_slow_and_failing_answers_are_overcome() {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    let source = job.dir("source");
    fs::write(source.join("large"), tree::Rng::new(2).bytes(20 << 20)).unwrap();
    saved(&job, &place, "key", &source);
    for (number, rule) in [
        "GET base reset:3000000 count=1",
        "GET base cut:100000 count=2",
        "GET .* status:503 count=2",
        "GET .* status:500 count=1",
        "GET base connect-reset count=1",
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::with_rules(s3::server(), &[rule]);
        let target = job.path(format!("target-{number}"));
        eprintln!("{rule}");
        restored(&job, &place.behind(proxy.endpoint()), "key", &target);
        assert_same_tree(&source, &target, &[]);
    }
}

#[test]
fn a_flipped_bit_on_the_way_never_reaches_a_file() {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    let (source, target) = (job.dir("source"), job.dir("target"));
    fs::write(source.join("large"), tree::Rng::new(3).bytes(9 << 20)).unwrap();
    saved(&job, &place, "key", &source);
    let mut proxy = Proxy::with_rules(s3::server(), &["GET base flip:1000000 count=1"]);
    restored(&job, &place.behind(proxy.endpoint()), "key", &target);
    assert_same_tree(&source, &target, &[]);
    let flipped = proxy.requests().into_iter().filter(|request| request.fault.as_deref() == Some("flip"));
    assert_eq!(flipped.count(), 1);
    // Again and again it is damage: a miss, and nothing is left.
    let proxy = Proxy::with_rules(s3::server(), &["GET base flip:1000000"]);
    let elsewhere = job.dir("elsewhere");
    let outcome = restore(&job, &place.behind(proxy.endpoint()), "key").arg("--json").arg(&elsewhere).run().ok();
    assert_eq!((&outcome.json()["outcome"], &outcome.json()["reason"]), (&"miss".into(), &"corrupt".into()));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_restore_that_cannot_write_leaves_everything_as_it_was() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::random(&source, 31, 40);
    fs::write(source.join("large"), tree::Rng::new(4).bytes(6 << 20)).unwrap();
    saved(&job, &place, "key", &source);
    fs::write(target.join("f1"), "existed before").unwrap();
    fs::write(target.join("large"), "existed before").unwrap();
    let before = Snapshot::of(&target);
    // No file may grow beyond 4 MiB (8,192 blocks): stands for a full disk.
    let script = "ulimit -f 8192; exec \"$0\" \"$@\"";
    let command = job.command("sh").args(["-c", script, RESTORE]).store(&place).args(["--key", "key", "--json"]);
    let outcome = command.arg(&target).run().ok().reviewed();
    assert_eq!(outcome.json()["reason"], "cannot-write", "{}", outcome.stderr);
    assert_eq!(Snapshot::of(&target).differences(&before, &[Aspect::Root]), Vec::<String>::new());
}

#[test]
fn the_next_candidate_is_taken_when_the_best_is_damaged() {
    let place = Place::local();
    entry(&place, "k-1");
    entry(&place, "k-2");
    let mut object = place.get("k-2-base.tar.zst").unwrap();
    let middle = object.len() / 2;
    object.truncate(middle);
    place.put("k-2-base.tar.zst", &object);
    let (outcome, found) = look(&place, "k-2", &["--restore-keys", "k-"]);
    assert_eq!((outcome.as_str(), found.as_deref()), ("prefix", Some("k-1")));
}

/// Runs a restore that must be a miss with a warning, and gives what it said.
#[track_caller]
fn trouble(place: &Place, change: &[(&str, &str)], reasons: &[&str]) -> Outcome {
    let job = Job::new();
    let target = job.dir("target");
    let run = |arguments: &[&str]| {
        let command = restore(&job, place, "key").arg("--json").args(arguments).arg(&target);
        change.iter().fold(command, |command, (name, value)| command.env(name, value)).run()
    };
    let outcome = run(&[]).ok().reviewed();
    let document = outcome.json();
    assert_eq!(document["outcome"], "miss");
    let reason = document["reason"].as_str().unwrap();
    assert!(reasons.contains(&reason), "{reason}: {}", outcome.stderr);
    run(&["--fail-on-error"]).expect_code(1);
    outcome
}

#[test]
fn of_several_reasons_for_a_miss_the_worst_is_told() {
    let (job, place) = (Job::new(), Place::local());
    entry(&place, "key");
    let mut object = place.get("key-base.tar.zst").unwrap();
    let middle = object.len() / 2;
    object.truncate(middle);
    place.put("key-base.tar.zst", &object);
    for name in ["a", "b"] {
        fs::write(job.dir(name).join("file"), name).unwrap();
    }
    save(&job, &place, "other").args(["a", "b"]).run().ok();
    let run =
        |arguments: &[&str]| restore(&job, &place, "key").args(["--restore-keys", "other"]).args(arguments).arg("c");
    let document = run(&["--json"]).run().ok().reviewed().json();
    assert_eq!(document["reason"], "corrupt");
    run(&["--fail-on-error"]).run().expect_code(1);
}

#[test]
fn an_entry_of_which_a_part_is_denied_is_a_miss_with_a_hint() {
    let (job, place) = (Job::new(), Place::on(s3::server()));
    let source = job.dir("source");
    fs::write(source.join("large"), tree::Rng::new(5).bytes(9 << 20)).unwrap();
    saved(&job, &place, "key", &source);
    let proxy = Proxy::with_rules(s3::server(), &["GET key-base status:403 skip=1"]);
    let outcome = restore(&job, &place.behind(proxy.endpoint()), "key").arg("--json").arg("target").run().ok();
    let outcome = outcome.reviewed();
    assert_eq!(outcome.json()["reason"], "denied");
}

#[test]
fn wrong_credentials_are_a_miss_that_says_denied() {
    let place = Place::on(s3::server());
    let wrong = [("AWS_SECRET_ACCESS_KEY", "wrong")];
    trouble(&place, &wrong, &["denied"]).reviewed();
    trouble(&place, &[("AWS_ACCESS_KEY_ID", "unknown")], &["denied"]).reviewed();
}

#[test]
fn an_endpoint_that_does_not_answer_is_a_miss_that_says_unreachable() {
    let place = Place::on(s3::server()).behind("http://127.0.0.1:9");
    trouble(&place, &[], &["unreachable"]).reviewed();
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    for server in s3::servers() {
        let job = Job::new();
        let target = job.dir("target");
        let command = job.command(RESTORE).args(["--store", "s3://no-such-bucket-xcache/p", "--key", "key", "--json"]);
        let outcome = server.env().into_iter().fold(command, |c, (name, value)| c.env(name, value)).arg(&target).run();
        let outcome = outcome.ok().reviewed();
        assert_eq!(outcome.json()["outcome"], "miss");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_thing() {
    let place = Place::local();
    let check = |arguments: &[&str]| {
        let job = Job::new();
        job.command(RESTORE).args(arguments).run().expect_code(2).reviewed();
    };
    let (url, long) = (place.url(), "k".repeat(513));
    check(&["--store", url, "--key", "a,b", "path"]);
    check(&["--store", url, "--key", &long, "path"]);
    check(&["--store", url, "--key", "", "path"]);
    check(&["--store", url, "--key", "key"]);
    check(&["--store", "http://example", "--key", "key", "path"]);
    check(&["--store", "s3://", "--key", "key", "path"]);
    check(&["--store", url, "--key", "key", "--no-such-flag", "path"]);
}

#[test]
fn a_target_below_a_file_is_a_clear_failure() {
    let (job, place) = (Job::new(), Place::local());
    entry(&place, "key");
    let target = job.path("target");
    fs::write(&target, "a file").unwrap();
    let outcome = restore(&job, &place, "key")
        .arg("--json")
        .arg(target.join("below"))
        .run()
        .ok()
        .says(&["target/below", "target` is a file"]);
    assert_eq!((&outcome.json()["outcome"], &outcome.json()["reason"]), (&"miss".into(), &"cannot-write".into()));
    assert_eq!(fs::read(&target).unwrap(), b"a file");
}
