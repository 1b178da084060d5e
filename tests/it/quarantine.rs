//! What a restore found unusable: nothing is built on it, other jobs know, and the next job hits. And no single answer of
//! a store makes a healthy entry unusable.

use std::fs;
use std::path::{Path, PathBuf};

use xcache_core::archive::footer::FOOTER_MAGIC;
use xcache_core::naming::{MarkId, condemned_name};
use xcache_core::object::ObjectName;
use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;
use xcache_tests::tree::{Rng, assert_same_tree};

use crate::delta::{archive, files_named};
use crate::{GC, restore, restored, save, saved};

/// More than the end that a lookup brings, so that a restore has to ask for the rest.
const LARGE: usize = 9 << 20;

/// A proxy that spoils the data of an object on each way: fetches agree on it, and a HEAD says that all is well.
fn spoiling(object: &str) -> Proxy {
    Proxy::with_rules(s3::server(), &[&format!("GET /{object} flip:5000")])
}

/// A tree with one large file in it, saved as `one`.
fn base(place: &Place) -> (Job, PathBuf) {
    let job = Job::new();
    let tree = job.dir("tree");
    fs::write(tree.join("large"), Rng::new(1).bytes(LARGE)).unwrap();
    fs::write(tree.join("small"), "small").unwrap();
    saved(&job, place, "one", &tree);
    (job, tree)
}

/// Restores `key` into a new job's `tree`, which must be a miss for this reason.
#[track_caller]
fn misses(place: &Place, key: &str, arguments: &[&str], reason: &str) -> Job {
    let job = Job::new();
    let outcome = restore(&job, place, key).arg("--json").args(arguments).arg("tree").run().ok();
    assert_eq!(outcome.json()["reason"], reason, "{}", outcome.stderr);
    assert!(!job.path("tree").exists(), "{}", outcome.stderr);
    job
}

/// What a job whose restore has missed does: it makes the tree anew, and saves it.
#[track_caller]
fn made_anew(job: &Job, place: &Place, key: &str, tree: &Path) -> Outcome {
    job.command("cp").args(["-a", "--no-target-directory"]).arg(tree).arg(job.path("tree")).run().ok();
    let outcome = save(job, place, key).args(["--json", "-v", "--restore-keys", "one"]).arg("tree").run().ok();
    assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
    outcome
}

/// Restores `key` in a new job, which must be an exact hit.
#[track_caller]
fn next_job_hits(place: &Place, key: &str, tree: &Path) {
    let job = Job::new();
    restored(&job, place, key, Path::new("tree"));
    assert_same_tree(tree, &job.path("tree"), &[]);
}

fn marks(place: &Place) -> Vec<String> {
    place.objects().into_iter().filter(|name| name.starts_with(".xcache/condemned/")).collect()
}

fn mark_of(place: &Place, object: &str) -> String {
    let id = archive(place, object).footer.archive_id;
    condemned_name(&MarkId::of_archive(&ObjectName::new(object).unwrap(), id)).to_string()
}

#[test]
fn nothing_is_built_on_a_damaged_base_and_the_next_job_hits() {
    for place in Place::each() {
        let (_job, tree) = base(&place);
        let mut object = place.get("one-base.tar.zst").unwrap();
        object[5000..5016].fill(0);
        place.put("one-base.tar.zst", &object);
        let job = misses(&place, "two", &["--restore-keys", "one"], "corrupt");
        assert_eq!(marks(&place), [mark_of(&place, "one-base.tar.zst")]);
        let document = made_anew(&job, &place, "two", &tree).json();
        assert_eq!((&document["kind"], &document["reason"]), (&"base".into(), &"found-unusable".into()));
        next_job_hits(&place, "two", &tree);
        // A job that has restored nothing reads no more of it than its end, which is sound.
        let other = Job::new();
        let outcome = made_anew(&other, &place, "three", &tree);
        assert_ne!(outcome.json()["built_on"], "one", "{}", outcome.stderr);
        next_job_hits(&place, "three", &tree);
    }
}

#[test]
fn a_job_that_has_the_files_on_disk_does_not_build_on_what_another_found_damaged() {
    let place = Place::on(s3::server());
    let (warm, tree) = base(&place);
    let spoiling = spoiling("one-base");
    misses(&place.behind(spoiling.endpoint()), "two", &["--restore-keys", "one"], "corrupt");
    fs::write(tree.join("new"), "new").unwrap();
    let outcome = save(&warm, &place, "two").args(["--json", "-v"]).arg(&tree).run().ok();
    let document = outcome.json();
    assert_eq!((&document["kind"], &document["reason"]), (&"base".into(), &"refs-gone".into()), "{}", outcome.stderr);
    next_job_hits(&place, "two", &tree);
}

#[test]
fn a_delta_on_a_damaged_base_is_not_built_on_and_the_base_is_marked() {
    let place = Place::on(s3::server());
    let (job, tree) = base(&place);
    fs::write(tree.join("second"), "second").unwrap();
    let outcome = save(&job, &place, "two").args(["--json"]).arg(&tree).run().ok();
    assert_eq!(outcome.json()["kind"], "delta", "{}", outcome.stderr);
    let proxy = spoiling("one-base");
    let spoilt = place.behind(proxy.endpoint());
    let job = misses(&spoilt, "three", &["--restore-keys", "two"], "corrupt");
    assert_eq!(marks(&place), [mark_of(&place, "one-base.tar.zst")], "not the delta, which is sound");
    job.command("cp").args(["-a", "--no-target-directory"]).arg(&tree).arg(job.path("tree")).run().ok();
    let outcome = save(&job, &spoilt, "three").args(["--json", "--restore-keys", "two"]).arg("tree").run().ok();
    assert_eq!(outcome.json()["kind"], "base", "{}", outcome.stderr);
    next_job_hits(&spoilt, "three", &tree);
}

#[test]
fn what_is_refused_by_itself_is_not_built_on() {
    let place = Place::on(s3::server());
    let (_job, tree) = base(&place);
    // In an archive tier, under a key that we may not use, or lost on a disk: a HEAD says that it is there.
    for (number, (action, reason)) in
        [("status:403", "denied"), ("status:404", "unreachable"), ("status:500", "unreachable")].into_iter().enumerate()
    {
        let key = format!("two-{number}");
        let proxy = Proxy::with_rules(s3::server(), &[&format!("GET /one-base {action} skip=1")]);
        let spoilt = place.behind(proxy.endpoint());
        let job = misses(&spoilt, &key, &["--restore-keys", "one"], reason);
        let document = made_anew(&job, &place, &key, &tree).json();
        assert_eq!((&document["kind"], &document["reason"]), (&"base".into(), &"found-unusable".into()), "{action}");
        assert_eq!(marks(&place), Vec::<String>::new(), "nothing says that it is damaged");
        place.delete(&format!("{key}-base.tar.zst"));
    }
}

#[test]
fn one_false_answer_makes_no_entry_unusable() {
    let place = Place::on(s3::server());
    let (_job, tree) = base(&place);
    let actions = ["status:404", "status:412", "status:500", "flip:5000", "cut:100000", "reset:100000"];
    for action in actions {
        let proxy = Proxy::with_rules(s3::server(), &[&format!("GET /one-base {action} skip=1 count=1")]);
        let job = Job::new();
        let outcome = restore(&job, &place.behind(proxy.endpoint()), "one").args(["--json", "tree"]).run().ok();
        assert_eq!(outcome.json()["outcome"], "exact", "{action}: {}", outcome.stderr);
        assert_same_tree(&tree, &job.path("tree"), &[]);
        assert_eq!(files_named(&job, "unusable"), Vec::<PathBuf>::new(), "{action}");
    }
    assert_eq!(marks(&place), Vec::<String>::new());
}

#[test]
fn a_damaged_base_that_nothing_builds_on_is_replaced() {
    let place = Place::on(s3::server());
    let (_job, tree) = base(&place);
    let proxy = spoiling("one-base");
    let spoilt = place.behind(proxy.endpoint());
    let job = misses(&spoilt, "one", &[], "corrupt");
    let document = made_anew(&job, &spoilt, "one", &tree).json();
    assert_eq!((&document["kind"], &document["reason"]), (&"base".into(), &"replacement".into()));
    assert_eq!(place.entries(), ["one-base.tar.zst"]);
    assert_eq!(marks(&place), Vec::<String>::new());
    next_job_hits(&place, "one", &tree);
}

#[test]
fn a_damaged_base_that_others_build_on_stays_and_the_next_job_hits_all_the_same() {
    let place = Place::on(s3::server());
    let (job, tree) = base(&place);
    let first = job.dir("first");
    job.command("cp").args(["-a", "--no-target-directory"]).arg(&tree).arg(&first).run().ok();
    fs::write(tree.join("second"), "second").unwrap();
    let outcome = save(&job, &place, "two").args(["--json"]).arg(&tree).run().ok();
    assert_eq!(outcome.json()["kind"], "delta", "{}", outcome.stderr);

    let proxy = spoiling("one-base");
    let spoilt = place.behind(proxy.endpoint());
    let job = misses(&spoilt, "one", &[], "corrupt");
    let outcome = made_anew(&job, &spoilt, "one", &first);
    let document = outcome.json();
    assert_eq!(
        (&document["kind"], &document["reason"]),
        (&"delta".into(), &"replacement".into()),
        "{}",
        outcome.stderr
    );
    assert_eq!(place.entries(), ["one-base.tar.zst", "one-delta.tar.zst", "two-delta.tar.zst"]);
    assert_eq!(archive(&place, "one-delta.tar.zst").footer.refs, []);
    next_job_hits(&spoilt, "one", &first);
    // What was sound all the time, and only spoilt on the way of one job, is as it was.
    next_job_hits(&place, "two", &tree);
    next_job_hits(&place, "one", &first);
}

#[test]
fn what_can_be_read_again_is_not_replaced() {
    let place = Place::on(s3::server());
    let (_job, tree) = base(&place);
    let before = place.get("one-base.tar.zst").unwrap();
    let proxy = spoiling("one-base");
    let job = misses(&place.behind(proxy.endpoint()), "one", &[], "corrupt");
    job.command("cp").args(["-a", "--no-target-directory"]).arg(&tree).arg(job.path("tree")).run().ok();
    let outcome = save(&job, &place, "one").args(["--json", "tree"]).run().ok().reviewed();
    assert_eq!(outcome.json()["outcome"], "exists");
    assert!(place.get("one-base.tar.zst").unwrap() == before, "it was replaced");
    assert_eq!(files_named(&job, "unusable"), Vec::<PathBuf>::new());
}

#[test]
fn a_restore_that_succeeds_takes_the_note_away() {
    let place = Place::on(s3::server());
    let (_job, tree) = base(&place);
    let proxy = spoiling("one-base");
    let job = misses(&place.behind(proxy.endpoint()), "one", &[], "corrupt");
    assert_eq!(files_named(&job, "unusable").len(), 1);
    restored(&job, &place, "one", Path::new("tree"));
    assert_eq!(files_named(&job, "unusable"), Vec::<PathBuf>::new());
    assert_same_tree(&tree, &job.path("tree"), &[]);
}

#[test]
fn files_that_were_here_prove_nothing_about_what_is_in_the_store() {
    let place = Place::on(s3::server());
    let (_job, tree) = base(&place);
    let proxy = spoiling("one-base");
    let spoilt = place.behind(proxy.endpoint());
    let job = misses(&spoilt, "one", &[], "corrupt");
    job.command("cp").args(["-a", "--no-target-directory"]).arg(&tree).arg(job.path("tree")).run().ok();
    restored(&job, &spoilt, "one", Path::new("tree"));
    assert_eq!(files_named(&job, "unusable").len(), 1, "nothing was fetched, so nothing is known");
    fs::write(job.path("tree/new"), "new").unwrap();
    let outcome = save(&job, &spoilt, "two").args(["--json", "tree"]).run().ok();
    assert_eq!(outcome.json()["kind"], "base", "{}", outcome.stderr);
}

#[test]
fn a_complete_entry_beside_a_base_is_no_leftover_for_the_clean_up() {
    let place = Place::on(s3::server());
    let (_job, tree) = base(&place);
    let proxy = Proxy::with_rules(s3::server(), &["GET /one-base status:403 skip=1"]);
    let refused = place.behind(proxy.endpoint());
    let job = misses(&refused, "one", &[], "denied");
    let proxy = Proxy::with_rules(s3::server(), &["GET /one-base status:403"]);
    let refused = place.behind(proxy.endpoint());
    assert_eq!(made_anew(&job, &refused, "one", &tree).json()["kind"], "delta");
    let prune = job.command(GC).arg("prune").store(&place).args(["--shadowed", "--min-age", "0s"]);
    prune.run().ok();
    assert_eq!(place.entries(), ["one-base.tar.zst", "one-delta.tar.zst"]);
}

#[test]
fn an_end_that_is_damaged_is_found_as_well() {
    for place in Place::each() {
        let (_job, tree) = base(&place);
        let mut object = place.get("one-base.tar.zst").unwrap();
        let at = object.windows(8).rposition(|window| window == FOOTER_MAGIC).unwrap();
        object[at - 60] ^= 1;
        place.put("one-base.tar.zst", &object);
        let job = misses(&place, "one", &[], "corrupt");
        assert_eq!(marks(&place).len(), 1);
        assert_eq!(made_anew(&job, &place, "one", &tree).json()["kind"], "base");
        assert_eq!(place.entries(), ["one-base.tar.zst"]);
        next_job_hits(&place, "one", &tree);
    }
}
