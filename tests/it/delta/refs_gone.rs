//! Refs that are condemned, deleted or replaced at the worst moments: a saver that cannot prove that its refs stay saves
//! a base, and a restore that loses one takes the next candidate.

use std::fs;
use std::path::PathBuf;

use xcache_core::naming::{MarkId, condemned_name};
use xcache_core::object::ObjectName;
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;
use xcache_tests::tree::{self, Rng, assert_same_tree};

use super::races::{finish, intents, start};
use super::{archive, save_base, save_delta, save_with};
use crate::{restore, restored, save, saved};

/// A job whose tree is entry `two`, a delta on `one`, with something new that would go into `three`.
struct Chain {
    job: Job,
    tree: PathBuf,
}

fn chain(place: &Place) -> Chain {
    let job = Job::new();
    let tree = job.dir("tree");
    tree::random(&tree, 43, 60);
    save_base(&job, place, "one", &tree);
    fs::write(tree.join("second"), Rng::new(2).bytes(20_000)).unwrap();
    save_delta(&job, place, "two", "one", &tree);
    fs::write(tree.join("third"), "new").unwrap();
    Chain { job, tree }
}

/// The marker that a gc puts on an object before it deletes it.
fn marker(place: &Place, name: &str) -> String {
    let id = archive(place, name).footer.archive_id;
    condemned_name(&MarkId::of_archive(&ObjectName::new(name).unwrap(), id)).to_string()
}

fn refs(place: &Place, name: &str) -> Vec<String> {
    archive(place, name).footer.refs.into_iter().map(|r| r.name.to_string()).collect()
}

#[track_caller]
fn assert_exact(place: &Place, key: &str, Chain { tree, .. }: &Chain) {
    let job = Job::new();
    let target = job.path("target");
    restored(&job, place, key, &target);
    assert_same_tree(tree, &target, &[]);
    assert_eq!(intents(place), Vec::<String>::new());
}

#[test]
fn a_base_that_was_deleted_meanwhile_is_not_built_on() {
    for place in Place::each() {
        let chain = chain(&place);
        place.delete("one-base.tar.zst");
        save_base(&chain.job, &place, "three", &chain.tree);
        assert_exact(&place, "three", &chain);
    }
}

#[test]
fn a_delta_that_was_deleted_meanwhile_is_folded_into_the_next() {
    for place in Place::each() {
        let chain = chain(&place);
        place.delete("two-delta.tar.zst");
        save_with(&chain.job, &place, "three", &[], &chain.tree);
        assert_eq!(refs(&place, "three-delta.tar.zst"), ["one-base.tar.zst"]);
        assert_exact(&place, "three", &chain);
    }
}

#[test]
fn a_base_that_was_replaced_meanwhile_is_not_built_on() {
    for place in Place::each() {
        let chain = chain(&place);
        place.delete("one-base.tar.zst");
        save_base(&Job::new(), &place, "one", &chain.tree);
        let outcome = save_with(&chain.job, &place, "three", &[], &chain.tree);
        assert_eq!(outcome.json()["kind"], "base", "{}", outcome.stderr);
        assert_exact(&place, "three", &chain);
    }
}

#[test]
fn a_condemned_ref_is_not_used() {
    for place in Place::each() {
        let chain = chain(&place);
        place.put(&marker(&place, "two-delta.tar.zst"), b"");
        save_with(&chain.job, &place, "three", &[], &chain.tree);
        assert_eq!(refs(&place, "three-delta.tar.zst"), ["one-base.tar.zst"]);
        assert_exact(&place, "three", &chain);

        fs::write(chain.tree.join("fourth"), "newer").unwrap();
        place.put(&marker(&place, "one-base.tar.zst"), b"");
        save_base(&chain.job, &place, "four", &chain.tree);
        assert_exact(&place, "four", &chain);
    }
}

#[test]
fn an_intent_that_expired_while_nothing_was_condemned_lets_the_delta_stand() {
    for server in s3::servers() {
        let place = Place::on(server);
        let chain = chain(&place);
        let mut proxy = Proxy::with_rules(server, &["PUT /three-delta hold count=1"]);
        let behind = place.behind(proxy.endpoint());
        let saving = start(save(&chain.job, &behind, "three").args(["--json", "-v"]).arg(&chain.tree));
        proxy.wait_until_held();
        let [intent] = &intents(&place)[..] else { panic!("one intent") };
        place.delete(intent);
        proxy.release();
        let (document, stderr) = finish(saving);
        assert_eq!(document["kind"], "delta", "{stderr}");
        assert_exact(&place, "three", &chain);
    }
}

/// A gc that the save is hidden from: its intent is gone.
fn expire(place: &Place) {
    for intent in intents(place) {
        place.delete(&intent);
    }
}

type Misfortune = fn(&Place);

const MISFORTUNES: [(&str, Misfortune); 3] = [
    ("condemned", |place| {
        expire(place);
        place.put(&marker(place, "one-base.tar.zst"), b"");
    }),
    ("deleted", |place| {
        expire(place);
        place.delete("one-base.tar.zst");
    }),
    ("replaced", |place| {
        expire(place);
        place.put("one-base.tar.zst", b"something else");
    }),
];

#[test]
fn a_delta_whose_intent_expired_and_whose_ref_is_lost_is_withdrawn_and_a_base_saved() {
    for server in s3::servers() {
        for (name, misfortune) in MISFORTUNES {
            eprintln!("{}: {name}", server.name);
            let place = Place::on(server);
            let chain = chain(&place);
            let mut proxy = Proxy::with_rules(server, &["PUT /three-delta hold count=1"]);
            let behind = place.behind(proxy.endpoint());
            let saving = start(save(&chain.job, &behind, "three").args(["--json", "-v"]).arg(&chain.tree));
            proxy.wait_until_held();
            misfortune(&place);
            proxy.release();
            let (document, stderr) = finish(saving);
            assert_eq!((&document["outcome"], &document["kind"]), (&"saved".into(), &"base".into()), "{stderr}");
            let names = place.entries();
            assert!(names.contains(&"three-base.tar.zst".to_owned()), "{names:?}");
            assert!(!names.contains(&"three-delta.tar.zst".to_owned()), "{names:?}");
            assert_exact(&place, "three", &chain);
        }
    }
}

#[test]
fn a_delta_that_lost_its_refs_is_never_an_answer_while_it_is_withdrawn() {
    // Between publishing and withdrawing, a restore may meet it: it is passed over, and nothing is written.
    let server = s3::server();
    let place = Place::on(server);
    let chain = chain(&place);
    let mut proxy = Proxy::with_rules(server, &["PUT /three-delta hold count=1", "DELETE /three-delta hold count=1"]);
    let behind = place.behind(proxy.endpoint());
    let saving = start(save(&chain.job, &behind, "three").args(["--json", "-v"]).arg(&chain.tree));
    proxy.wait_until_held();
    expire(&place);
    place.delete("one-base.tar.zst");
    proxy.release();
    let job = Job::new();
    let target = job.dir("target");
    let outcome = restore(&job, &place, "three").arg("--json").arg(&target).run().ok();
    match outcome.json()["outcome"].as_str() {
        Some("exact") => assert_same_tree(&chain.tree, &target, &[]),
        _ => assert_eq!(fs::read_dir(&target).unwrap().count(), 0),
    }
    assert_eq!(finish(saving).0["kind"], "base");
    assert_exact(&place, "three", &chain);
}

#[test]
fn a_ref_that_disappears_during_a_restore_leaves_a_miss_and_nothing_behind() {
    for server in s3::servers() {
        for (keys, found) in [(&[][..], None), (&["--restore-keys", "other"][..], Some("other"))] {
            let place = Place::on(server);
            let _chain = chain(&place);
            let elsewhere = Job::new();
            let other = elsewhere.dir("target");
            tree::random(&other, 5, 10);
            saved(&elsewhere, &place, "other", &other);
            let job = Job::new();
            let target = job.dir("target");
            fs::write(target.join("existed"), "before").unwrap();
            // The tail has come and with it the index; now the base is asked for.
            let mut proxy = Proxy::with_rules(server, &["GET /one-base hold count=1"]);
            let behind = place.behind(proxy.endpoint());
            let restoring = start(restore(&job, &behind, "two").args(["--json"]).args(keys).arg(&target));
            proxy.wait_until_held();
            place.delete("one-base.tar.zst");
            proxy.release();
            let (document, stderr) = finish(restoring);
            assert_eq!(document["matched_key"].as_str(), found, "{stderr}");
            assert!(stderr.contains("entry `two` cannot be used"), "{stderr}");
            assert_eq!(fs::read(target.join("existed")).unwrap(), b"before");
            fs::remove_file(target.join("existed")).unwrap();
            match found {
                Some(_) => assert_same_tree(&other, &target, &[tree::Aspect::Root]),
                None => {
                    assert_eq!(document["reason"], "expired", "{stderr}");
                    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
                }
            }
        }
    }
}

#[test]
fn a_dangling_entry_is_replaced_by_the_save_of_the_job_that_met_it() {
    for place in Place::each() {
        let chain = chain(&place);
        place.delete("one-base.tar.zst");
        let job = Job::new();
        let tree = job.path("tree");
        let outcome = restore(&job, &place, "two").arg("--json").arg(&tree).run().ok();
        assert_eq!(outcome.json()["reason"], "expired", "{}", outcome.stderr);
        // The job makes it anew.
        fs::remove_file(chain.tree.join("third")).unwrap();
        job.command("cp").args(["-a", "--no-target-directory"]).args([&chain.tree, &tree]).run().ok();
        let document = save_with(&job, &place, "two", &[], &tree).json();
        assert_eq!(document["kind"], "base");
        assert_eq!(place.entries(), ["two-base.tar.zst"]);
        let chain = Chain { job, tree };
        assert_exact(&place, "two", &chain);
        // A job that has not met it finds the key taken.
        let outcome = save(&chain.job, &place, "two").arg("--json").arg(&chain.tree).run().ok();
        assert_eq!(outcome.json()["outcome"], "exists");
    }
}

#[test]
fn what_builds_on_a_damaged_delta_outlives_its_replacement() {
    for server in s3::servers() {
        let place = Place::on(server);
        let chain = chain(&place);
        save_delta(&chain.job, &place, "three", "two", &chain.tree);
        // Spoilt on the way of one job only: another has no trouble with it.
        let proxy = Proxy::with_rules(server, &["GET /one-base flip:5000"]);
        let spoilt = place.behind(proxy.endpoint());
        let job = Job::new();
        let tree = job.dir("tree");
        let outcome = restore(&job, &spoilt, "two").arg("--json").arg(&tree).run().ok();
        assert_eq!(outcome.json()["reason"], "corrupt", "{}", outcome.stderr);
        fs::write(tree.join("made"), "anew").unwrap();
        assert_eq!(save_with(&job, &spoilt, "two", &[], &tree).json()["kind"], "base");
        // It shadows the delta, which goes when nothing builds on it any more.
        let names = ["one-base.tar.zst", "three-delta.tar.zst", "two-base.tar.zst", "two-delta.tar.zst"];
        assert_eq!(place.entries(), names);
        assert_exact(&place, "three", &chain);
    }
}
