//! A save that is killed or interrupted at any request leaves no entry, or a complete one, and no upload that it could
//! have aborted.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::{Proxy, Request};
use xcache_tests::s3::{self, S3Server};
use xcache_tests::tree::{self, Rng, assert_same_tree};

use super::races::{intents, start};
use super::save_with;
use crate::{GC, restored, save, saved};

/// A job whose next save is a delta of two parts: 9 MiB of 21 are new.
struct Ready {
    job: Job,
    place: Place,
    tree: PathBuf,
}

fn ready(server: &S3Server) -> Ready {
    let place = Place::on(server);
    let job = Job::new();
    let tree = job.dir("tree");
    tree::random(&tree, 47, 20);
    fs::write(tree.join("old"), Rng::new(1).bytes(12 << 20)).unwrap();
    saved(&job, &place, "old", &tree);
    fs::write(tree.join("new"), Rng::new(2).bytes(9 << 20)).unwrap();
    Ready { job, place, tree }
}

#[track_caller]
fn assert_next_save_works(Ready { job, place, tree }: &Ready) {
    let visible = place.entries().iter().any(|name| name.starts_with("key-"));
    let outcome = save(job, place, "key").arg("--json").arg(tree).run().ok();
    let expected = if visible { "exists" } else { "saved" };
    assert_eq!(outcome.json()["outcome"], expected, "{}", outcome.stderr);
    let other = Job::new();
    let target = other.path("target");
    restored(&other, place, "key", &target);
    assert_same_tree(tree, &target, &[]);
}

/// The requests of one such save that is left alone.
fn requests(server: &S3Server) -> Vec<Request> {
    let Ready { job, place, tree } = ready(server);
    let mut proxy = Proxy::recording(server);
    let document = save_with(&job, &place.behind(proxy.endpoint()), "key", &[], &tree).json();
    assert_eq!(document["kind"], "delta");
    proxy.requests()
}

#[test]
fn a_save_killed_before_any_of_its_requests_leaves_no_half_entry() {
    let server = s3::server();
    let count = requests(server).len();
    assert!(count > 8);
    for step in 0..count {
        let ready = ready(server);
        let mut proxy = Proxy::with_rules(server, &[&format!("* . hold skip={step} count=1")]);
        let behind = ready.place.behind(proxy.endpoint());
        let mut child = start(save(&ready.job, &behind, "key").arg(&ready.tree));
        proxy.wait_until_held();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(proxy);
        eprintln!("killed at request {step} of {count}: {:?}", ready.place.entries());
        assert_next_save_works(&ready);
    }
}

#[test]
fn an_interrupted_save_aborts_its_upload_and_takes_its_intent_back() {
    for server in s3::servers() {
        for signal in [Signal::INT, Signal::TERM] {
            let ready = ready(server);
            let mut proxy = Proxy::with_rules(server, &["PUT partNumber=2 hold count=1"]);
            let behind = ready.place.behind(proxy.endpoint());
            let child = start(save(&ready.job, &behind, "key").arg("--json").arg(&ready.tree));
            proxy.wait_until_held();
            assert_eq!(ready.place.uploads(), 1);
            kill_process(Pid::from_child(&child), signal).unwrap();
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{}: {stderr}", output.status);
            assert_eq!(ready.place.uploads(), 0, "{}, {signal:?}: {stderr}", server.name);
            assert_eq!(intents(&ready.place), Vec::<String>::new(), "{stderr}");
            assert_eq!(ready.place.entries(), ["old-base.tar.zst"]);
            proxy.release();
            assert_next_save_works(&ready);
        }
    }
}

/// A job with `old` restored in it and something new to be saved, in one request.
fn small_change(server: &S3Server) -> Ready {
    let place = Place::on(server);
    let job = Job::new();
    let tree = job.dir("tree");
    tree::random(&tree, 47, 40);
    saved(&job, &place, "old", &tree);
    fs::write(tree.join("new"), "new").unwrap();
    Ready { job, place, tree }
}

/// Whether a clean-up that wants everything gone leaves what a save has noted.
#[track_caller]
fn assert_noted(place: &Place) {
    assert_eq!(intents(place).len(), 1);
    let policy = ["--max-total-size", "0B", "--min-age", "0s"];
    Job::new().command(GC).arg("prune").store(place).args(policy).run().ok();
    assert!(place.entries().contains(&"old-base.tar.zst".to_owned()), "{:?}", place.entries());
}

#[test]
fn a_save_interrupted_while_a_single_request_is_under_way_leaves_its_intent() {
    // The request may arrive long after the save has ended. The delta would then be there without its base, if a clean-up
    // found no intent.
    let server = s3::server();
    let Ready { job, place, tree } = small_change(server);
    let mut proxy = Proxy::with_rules(server, &["PUT /key-delta hold count=1"]);
    let child = start(save(&job, &place.behind(proxy.endpoint()), "key").arg(&tree));
    proxy.wait_until_held();
    let begin = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(!child.wait_with_output().unwrap().status.success());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(place.entries(), ["old-base.tar.zst"]);
    assert_noted(&place);
}

#[test]
fn a_save_that_gets_no_answer_to_its_publication_leaves_its_intent() {
    for server in s3::servers() {
        let Ready { job, place, tree } = small_change(server);
        let proxy = Proxy::with_rules(server, &["PUT /key-delta drop-reply", "GET /key-delta status:403"]);
        let outcome = save(&job, &place.behind(proxy.endpoint()), "key").arg("--json").arg(&tree).run().ok();
        assert_eq!(outcome.json()["outcome"], "not-saved", "{}", outcome.stderr);
        assert_noted(&place);
    }
}

#[test]
fn a_publication_whose_answer_is_lost_is_found_in_the_store() {
    for server in s3::servers() {
        let Ready { job, place, tree } = small_change(server);
        let proxy = Proxy::with_rules(server, &["PUT /key-delta drop-reply"]);
        let outcome = save(&job, &place.behind(proxy.endpoint()), "key").arg("--json").arg(&tree).run().ok();
        assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
        assert_eq!(outcome.json()["sent_bytes"], outcome.json()["stored_bytes"]);
        assert_eq!(intents(&place), Vec::<String>::new());
        let target = job.path("target");
        restored(&Job::new(), &place, "key", &target);
        assert_same_tree(&tree, &target, &[]);
    }
}

#[test]
fn a_save_whose_upload_is_denied_takes_its_intent_back() {
    let server = s3::server();
    let ready = ready(server);
    let proxy = Proxy::with_rules(server, &["PUT partNumber=2 status:403"]);
    let outcome =
        save(&ready.job, &ready.place.behind(proxy.endpoint()), "key").arg("--json").arg(&ready.tree).run().ok();
    assert_eq!(outcome.json()["outcome"], "not-saved", "{}", outcome.stderr);
    assert_eq!(intents(&ready.place), Vec::<String>::new());
    assert_eq!(ready.place.uploads(), 0);
}

#[test]
fn a_save_interrupted_before_it_publishes_takes_its_intent_back() {
    let server = s3::server();
    let Ready { job, place, tree } = small_change(server);
    let mut proxy = Proxy::with_rules(server, &["GET condemned hold count=1"]);
    let child = start(save(&job, &place.behind(proxy.endpoint()), "key").arg(&tree));
    proxy.wait_until_held();
    assert_eq!(intents(&place).len(), 1);
    let begin = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(!child.wait_with_output().unwrap().status.success());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(intents(&place), Vec::<String>::new());
    assert_eq!(place.entries(), ["old-base.tar.zst"]);
}
