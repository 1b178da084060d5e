//! A clean-up that falls short of what it was asked for says so, and ends with exit code 1.

use std::fs;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;

use crate::gc_cases::{base_and_delta, gc};
use crate::{GC, saved};

/// What makes a store refuse tags, and one that has none.
const TAGS_DENIED: &[&str] = &["GET tagging status:403"];
const NO_TAGS: &[&str] =
    &["PUT . status:501 if=x-amz-tagging", "POST uploads status:501 if=x-amz-tagging", "* tagging status:501"];

#[test]
fn what_cannot_be_selected_for_want_of_tags_is_a_failure() {
    for (rules, why) in [(TAGS_DENIED, "s3:GetObjectTagging"), (NO_TAGS, "the store has no tags")] {
        let server = s3::ministack();
        let (job, place) = (Job::new(), Place::on(server));
        let proxy = Proxy::with_rules(server, rules);
        let behind = place.behind(proxy.endpoint());
        base_and_delta(&job, &behind);
        let before = place.entries();
        for selection in [&["--branch", "main"][..], &["--tag", "a=b"], &["--repo", "o/n"], &["--all"]] {
            let commands = match selection {
                ["--all"] => continue,
                _ => [&["rm", "--yes"][..], &["rm", "--yes", "--cascade"], &["rm", "--dry-run"], &["verify"]],
            };
            for command in commands {
                let outcome = gc(&job, &behind, command[0]).args(&command[1..]).args(selection).run();
                assert_eq!(outcome.code, Some(1), "{command:?} {selection:?}: {outcome:?}");
                outcome.says(&["2 entries left out that may have the tags asked for", why]);
                assert_eq!(place.entries(), before, "{command:?} {selection:?}");
            }
        }
        // Of what another filter leaves out, nothing is hidden.
        gc(&job, &behind, "rm").args(["--prefix", "other", "--branch", "main", "--yes"]).run().ok();
        gc(&job, &behind, "ls").args(["--branch", "main"]).run().ok();
    }
}

#[test]
fn a_rule_of_branches_that_can_do_nothing_is_a_failure() {
    let server = s3::ministack();
    let (job, place) = (Job::new(), Place::on(server));
    let proxy = Proxy::with_rules(server, NO_TAGS);
    let behind = place.behind(proxy.endpoint());
    base_and_delta(&job, &behind);
    fs::write(job.path("live"), "main\n").unwrap();
    let prune = |arguments: &[&str]| gc(&job, &behind, "prune").args(arguments).args(["--min-age", "0s"]).run();
    let outcome = prune(&["--live-branches", "live"]).expect_code(1);
    outcome.says(&["the rule of live branches deleted nothing", "--max-age"]);
    prune(&["--max-age", "30d"]).ok();
    assert_eq!(place.entries().len(), 2);
}

#[test]
fn what_is_named_and_not_there_or_not_ours_is_a_failure() {
    for place in Place::each() {
        let job = Job::new();
        base_and_delta(&job, &place.below("ci"));
        let source = job.path("source");
        saved(&Job::new(), &place, "own", &source);
        let outcome = gc(&job, &place, "verify").args(["own", "missing"]).run().expect_code(1);
        outcome.clone().says(&["no entry has the key `missing`"]);
        assert!(outcome.stderr.contains("verified 1 entry"), "{}", outcome.stderr);
        let outcome = gc(&job, &place, "rm").args(["ci/old", "--yes"]).run().expect_code(1);
        outcome.says(&["`ci/old-base.tar.zst` was kept: it belongs to another store"]);
        assert_eq!(place.below("ci").entries().len(), 2);
        gc(&job, &place, "rm").args(["own", "--yes"]).run().ok();
        // What is gone already needs no deletion.
        gc(&job, &place, "rm").args(["own", "--yes"]).run().ok().says(&["no entry has the key `own`"]);
    }
}

#[test]
fn a_removal_of_what_a_save_is_about_to_use_is_a_failure() {
    let (job, place) = (Job::new(), Place::local());
    base_and_delta(&job, &place);
    let intent = br#"{"format":9,"refs":[{"name":"old-base.tar.zst"}]}"#;
    place.put(&format!(".xcache/intents/{:032x}", 5), intent);
    let outcome = gc(&job, &place, "rm").args(["old", "--cascade", "--yes"]).run().expect_code(1);
    outcome.says(&["a running save is about to use", "the next `prune` deletes them"]);
    assert_eq!(place.entries(), ["old-base.tar.zst"]);
    // A rule is no wish of one moment: the next pass deletes it.
    gc(&job, &place, "prune").args(["--max-total-size", "0B", "--min-age", "0s"]).run().ok();
}

const COMMANDS: [&[&str]; 8] = [
    &["ls"],
    &["ls", "--long"],
    &["du"],
    &["verify"],
    &["show", "old"],
    &["rm", "old", "--yes"],
    &["keep", "old"],
    &["prune", "--max-total-size", "0B", "--min-age", "0s"],
];

#[test]
fn every_command_gives_the_hint_that_restores_give() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    base_and_delta(&job, &place);
    let wrong_secret = place.as_user((server.access_key, "wrong"));
    let stranger = place.as_user(("stranger", "wrong"));
    let proxy = Proxy::with_rules(server, &["GET . status:403"]);
    let denied = place.behind(proxy.endpoint());
    let missing = Place::on(&s3::S3Server { bucket: "no-such-bucket", ..server.clone() });
    for (place, hint) in [
        (&wrong_secret, "check the secret access key"),
        (&stranger, "check the access key id"),
        (&denied, "check the permissions"),
        (&missing, "check the bucket's name"),
    ] {
        for command in COMMANDS {
            let outcome = gc(&job, place, command[0]).args(&command[1..]).run();
            assert_eq!(outcome.code, Some(1), "{command:?}: {outcome:?}");
            assert!(outcome.stderr.contains(&format!("hint: {hint}")), "{command:?}, not `{hint}`: {}", outcome.stderr);
        }
    }
    assert_eq!(place.entries().len(), 2);
}

#[test]
fn a_directory_that_is_no_store_stays_as_it_is() {
    let job = Job::new();
    let (empty, other) = (job.dir("empty"), job.dir("other"));
    fs::create_dir(other.join("src")).unwrap();
    fs::write(other.join("src/main.rs"), "fn main() {}").unwrap();
    let names = |dir: &std::path::Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for dir in [empty, other] {
        let before = names(&dir);
        let url = format!("file://{}", dir.display());
        for command in COMMANDS.into_iter().chain([&["prune", "--max-age", "1d", "--dry-run"][..]]) {
            let outcome = job.command(GC).args(command).args(["--store", &url]).run();
            assert_eq!(outcome.code, Some(1), "{command:?}: {}", outcome.stderr);
            assert!(outcome.stderr.contains("there is no store"), "{command:?}: {}", outcome.stderr);
            assert_eq!(names(&dir), before, "{command:?}");
        }
    }
    // Entries that were copied by themselves make a store, and so does what a save has left.
    let (place, copy) = (Place::local(), job.dir("copy"));
    base_and_delta(&job, &place);
    fs::copy(place.dir().join("old-base.tar.zst"), copy.join("old-base.tar.zst")).unwrap();
    gc(&job, &Place::at(&copy), "ls").run().ok();
    gc(&job, &place, "rm").args(["--all", "--yes"]).run().ok();
    gc(&job, &place, "ls").run().ok();
}
