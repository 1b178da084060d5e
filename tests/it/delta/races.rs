//! Saves of one key at the same time, in every order: the first to publish is the entry, and a base is before a delta.
//!
//! A proxy holds one save back right before it publishes, and lets it go when the other one is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;
use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3::{self, S3Server};
use xcache_tests::tree::{self, assert_same_tree};

use super::save_with;
use crate::{restored, save, saved};

/// Starts a program whose output is collected by [`finish`].
pub(crate) fn start(invocation: Invocation) -> Child {
    invocation.into_command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end, which must be a success, and gives its document and what it said.
#[track_caller]
pub(super) fn finish(child: Child) -> (Value, String) {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {stderr}", output.status);
    (serde_json::from_slice(&output.stdout).unwrap(), stderr)
}

/// The names of what savers note for gc.
pub(super) fn intents(place: &Place) -> Vec<String> {
    let mut names = place.objects();
    names.retain(|name| name.contains(".xcache/intents/"));
    names
}

/// Two jobs that have restored `old` and changed it each in its own way.
struct Racers {
    place: Place,
    jobs: [Job; 2],
    trees: [PathBuf; 2],
}

fn racers(server: &S3Server) -> Racers {
    let place = Place::on(server);
    let jobs = [Job::new(), Job::new()];
    let source = jobs[0].dir("source");
    tree::random(&source, 41, 40);
    saved(&Job::new(), &place, "old", &source);
    let trees = jobs.each_ref().map(|job| job.path("tree"));
    for (number, (job, tree)) in jobs.iter().zip(&trees).enumerate() {
        restored(job, &place, "old", tree);
        fs::write(tree.join("own"), format!("of racer {number}")).unwrap();
    }
    Racers { place, jobs, trees }
}

const BASE: &[&str] = &["--full"];
const DELTA: &[&str] = &[];

/// The first racer is held back right before it publishes, the second overtakes it. Gives the documents.
fn overtaken(racers: &Racers, held: &[&str], free: &[&str], server: &S3Server) -> [(Value, String); 2] {
    let Racers { place, jobs, trees } = racers;
    let mut proxy = Proxy::with_rules(server, &["PUT /key-(base|delta).tar.zst hold count=1"]);
    let behind = place.behind(proxy.endpoint());
    let slow = start(save(&jobs[0], &behind, "key").args(["--json", "-v"]).args(held).arg(&trees[0]));
    proxy.wait_until_held();
    let quick = save_with(&jobs[1], place, "key", free, &trees[1]);
    proxy.release();
    [finish(slow), (quick.json(), quick.stderr)]
}

#[track_caller]
fn assert_entry(place: &Place, expected: &Path, names: &[&str]) {
    let target = Job::new();
    let path = target.path("target");
    restored(&target, place, "key", &path);
    assert_same_tree(expected, &path, &[]);
    let mut entries = place.entries();
    entries.retain(|name| name.starts_with("key-"));
    assert_eq!(entries, names);
    assert_eq!(intents(place), Vec::<String>::new());
    assert_eq!(place.uploads(), 0);
}

#[track_caller]
fn assert_lost((document, stderr): &(Value, String)) {
    assert_eq!(document["outcome"], "exists", "{stderr}");
    assert!(stderr.contains("another run saved key `key` first"), "{stderr}");
}

#[test]
fn a_base_overtaken_by_a_base_says_that_it_exists() {
    for server in s3::servers() {
        let racers = racers(server);
        let [slow, quick] = overtaken(&racers, BASE, BASE, server);
        assert_lost(&slow);
        assert_eq!(quick.0["outcome"], "saved");
        assert_entry(&racers.place, &racers.trees[1], &["key-base.tar.zst"]);
    }
}

#[test]
fn a_delta_overtaken_by_a_delta_says_that_it_exists() {
    for server in s3::servers() {
        let racers = racers(server);
        let [slow, quick] = overtaken(&racers, DELTA, DELTA, server);
        assert_lost(&slow);
        assert_eq!(quick.0["kind"], "delta");
        assert_entry(&racers.place, &racers.trees[1], &["key-delta.tar.zst"]);
    }
}

#[test]
fn a_delta_overtaken_by_a_base_withdraws_itself() {
    for server in s3::servers() {
        let racers = racers(server);
        let [slow, quick] = overtaken(&racers, DELTA, BASE, server);
        assert_lost(&slow);
        assert_eq!(quick.0["kind"], "base");
        assert_entry(&racers.place, &racers.trees[1], &["key-base.tar.zst"]);
    }
}

#[test]
fn a_base_overtaken_by_a_delta_is_the_entry_nevertheless() {
    for server in s3::servers() {
        let racers = racers(server);
        let [slow, quick] = overtaken(&racers, BASE, DELTA, server);
        // Neither sees the other: the delta was complete before there was a base, and a base need not look for deltas.
        assert_eq!((&slow.0["kind"], &quick.0["kind"]), (&"base".into(), &"delta".into()));
        assert_entry(&racers.place, &racers.trees[0], &["key-base.tar.zst", "key-delta.tar.zst"]);
        // From now on there is one answer to every question.
        let outcome = save(&racers.jobs[1], &racers.place, "key").arg("--json").arg(&racers.trees[1]).run().ok();
        assert_eq!(outcome.json()["outcome"], "exists");
    }
}

#[test]
fn a_base_that_appears_while_a_delta_looks_for_it_wins() {
    for server in s3::servers() {
        let Racers { place, jobs, trees } = racers(server);
        // The delta is published; its second look for the base is held back.
        let mut proxy = Proxy::with_rules(server, &["HEAD /key-base.tar.zst hold skip=1 count=1"]);
        let behind = place.behind(proxy.endpoint());
        let delta = start(save(&jobs[0], &behind, "key").args(["--json", "-v"]).arg(&trees[0]));
        proxy.wait_until_held();
        // What a base save that began before the delta was published now does.
        place.put("key-base.tar.zst", &{
            let elsewhere = Place::on(server);
            save_with(&jobs[1], &elsewhere, "key", BASE, &trees[1]);
            elsewhere.get("key-base.tar.zst").unwrap()
        });
        proxy.release();
        assert_lost(&finish(delta));
        assert_entry(&place, &trees[1], &["key-base.tar.zst"]);
    }
}

#[test]
fn a_delta_whose_answer_was_lost_is_our_success() {
    for server in s3::servers() {
        let Racers { place, jobs, trees } = racers(server);
        let proxy = Proxy::with_rules(server, &["PUT /key-delta.tar.zst drop-reply count=1"]);
        let document = save_with(&jobs[0], &place.behind(proxy.endpoint()), "key", DELTA, &trees[0]).json();
        assert_eq!(document["kind"], "delta");
        assert_entry(&place, &trees[0], &["key-delta.tar.zst"]);
    }
}

#[test]
fn many_savers_at_once_leave_one_entry_and_one_winner() {
    for place in Place::each() {
        let source = Job::new();
        let tree = source.dir("tree");
        tree::random(&tree, 41, 40);
        saved(&source, &place, "old", &tree);
        let jobs: Vec<_> = (0..8).map(|_| Job::new()).collect();
        let trees: Vec<_> = jobs.iter().map(|job| job.path("tree")).collect();
        for (number, (job, tree)) in jobs.iter().zip(&trees).enumerate() {
            restored(job, &place, "old", tree);
            fs::write(tree.join("own"), format!("of racer {number}")).unwrap();
        }
        let children: Vec<_> = jobs
            .iter()
            .zip(&trees)
            .map(|(job, tree)| start(save(job, &place, "key").arg("--json").arg(tree)))
            .collect();
        let outcomes: Vec<_> = children.into_iter().map(|child| finish(child).0).collect();
        let winners: Vec<_> = outcomes.iter().zip(&trees).filter(|(o, _)| o["outcome"] == "saved").collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome["outcome"] == "exists").count(), 7, "{outcomes:?}");
        assert_entry(&place, winners[0].1, &["key-delta.tar.zst"]);
    }
}
