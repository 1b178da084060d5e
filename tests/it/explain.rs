//! `--explain`: the reasons that it prints, and what they cost.

use std::fs;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::{self, Proxy};
use xcache_tests::s3;
use xcache_tests::tree::Rng;

use crate::{RESTORE, SAVE};

/// A job with a tree of two directories.
fn job() -> Job {
    let job = Job::new();
    for (n, name) in (0..).zip(["tree/src/a", "tree/src/b", "tree/out/c"]) {
        fs::create_dir_all(job.path(name).parent().unwrap()).unwrap();
        fs::write(job.path(name), Rng::new(n).bytes(300_000)).unwrap();
    }
    job
}

fn save(job: &Job, place: &Place, key: &str, args: &[&str]) -> String {
    let run = job.command(SAVE).store(place).args(["tree", "--key", key]).args(args);
    explained(&run.run().ok().stderr)
}

fn restore(job: &Job, place: &Place, key: &str, args: &[&str]) -> String {
    let run = job.command(RESTORE).store(place).args(["tree", "--key", key]).args(args);
    explained(&run.run().ok().stderr)
}

/// The lines of an explanation.
fn explained(stderr: &str) -> String {
    stderr.lines().filter_map(|line| line.split_once("explain: ")).map(|(_, line)| format!("{line}\n")).collect()
}

#[track_caller]
fn check(explained: &str, lines: &[&str]) {
    let mut rest = explained;
    for line in lines {
        let at = rest.find(line).unwrap_or_else(|| panic!("no `{line}`, or not in this order, in\n{explained}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn a_miss_names_each_step_and_what_was_almost_found() {
    let (job, place) = (job(), Place::local());
    save(&job, &place, "deps-linux-1", &["--scope", "refs/pull/7/merge"]);
    save(&job, &place, "deps-linux-2", &["--scope", "refs/pull/7/merge"]);
    save(&job, &place, "ccache-linux-1234567", &[]);
    let found = restore(&job, &place, "deps-linux-3", &["--restore-keys", "deps-linux-\nccache-linx-", "--explain"]);
    check(
        &found,
        &[
            "mode `write`",
            "key `deps-linux-3` in no scope: no entry",
            "keys that begin with `deps-linux-3` in no scope: no entry",
            "keys that begin with `deps-linux-` in no scope: no entry",
            "keys that begin with `ccache-linx-` in no scope: no entry",
            "near miss: `deps-linux-` has 2 entries, the newest ",
            "in scope `refs/pull/7/merge`, which this run does not read",
            "near miss: 1 entry of `ccache-linux-*`, the newest ",
            "are like `ccache-linx-`; did you mean the restore key `ccache-linux-`?",
        ],
    );
    // A key without restore keys: entries whose keys differ in what machines make.
    let found = restore(&job, &place, "ccache-linux-7654321", &["--explain"]);
    check(&found, &["did you mean the restore key `ccache-linux-`?"]);
    let found = restore(&job, &place, "nothing-like-it", &["--explain"]);
    check(&found, &["no near miss among the 1 entry that this run reads"]);
    assert_eq!(restore(&job, &place, "deps-linux-3", &[]), "");
}

#[test]
fn a_hit_says_how_it_was_found_and_what_is_passed_over() {
    let (job, place) = (job(), Place::local());
    save(&job, &place, "deps-1", &[]);
    let found = restore(&job, &place, "deps-2", &["--restore-keys", "deps-", "--explain"]);
    check(
        &found,
        &[
            "keys that begin with `deps-` in no scope: 1 entry, first choice `deps-1`",
            "`deps-1-base.tar.zst` is taken: its key begins with a restore key",
            "3 of 3 files were here already",
        ],
    );
    assert!(!found.contains("near miss"), "{found}");
    check(&restore(&job, &place, "deps-1", &["--explain"]), &["is taken: the key itself"]);
    place.put("deps-9-base.tar.zst", b"damaged");
    let found = restore(&job, &place, "deps-9", &["--restore-keys", "deps-", "--explain"]);
    check(&found, &["`deps-9-base.tar.zst` is passed over: ", "`deps-1-base.tar.zst` is taken"]);
}

#[test]
fn a_save_says_what_it_builds_on_and_what_is_new() {
    let (job, place) = (job(), Place::local());
    let found = save(&job, &place, "deps-1", &["--explain"]);
    check(
        &found,
        &["builds on nothing: this job restored nothing", "878.9 KiB of files stored in this entry, from 3 files"],
    );
    check(&found, &["`tree/src`, 2 files", "`tree/out`, 1 file"]);
    fs::write(job.path("tree/out/c"), Rng::new(9).bytes(300_000)).unwrap();
    let found = save(&job, &place, "deps-2", &["--explain"]);
    check(
        &found,
        &[
            "builds on `deps-1`, which this job restored",
            "about 29",
            " KiB would be new",
            "a delta: refers to 1 of 1 objects",
            "293.0 KiB of files stored in this entry, from 1 file",
            "`tree/out`, 1 file",
        ],
    );
    let elsewhere = Job::new();
    fs::create_dir_all(elsewhere.path("tree")).unwrap();
    fs::copy(job.path("tree/src/a"), elsewhere.path("tree/a")).unwrap();
    let found = save(&elsewhere, &place, "deps-3", &["--restore-keys", "deps-", "--explain"]);
    check(
        &found,
        &[
            "keys that begin with `deps-` in no scope: 2 entries, first choice `deps-2`",
            "builds on `deps-2`, which the keys have found",
        ],
    );
    check(&save(&job, &place, "deps-2", &["--explain"]), &["`deps-2-delta.tar.zst` exists since 20"]);
    (20..24).for_each(|n| fs::write(job.path(format!("tree/out/{n}")), Rng::new(n).bytes(300_000)).unwrap());
    check(&save(&job, &place, "deps-5", &["--explain"]), &["would be new", "a base: more than half of it is new"]);
    check(&save(&job, &place, "deps-4", &["--full", "--explain"]), &["builds on nothing: `--full` was given"]);
}

#[test]
fn an_explanation_costs_a_listing_after_a_miss_and_nothing_else() {
    for server in s3::servers() {
        let place = Place::on(server);
        save(&job(), &place, "deps-1", &[]);
        let mut proxy = Proxy::recording(server);
        let behind = place.behind(proxy.endpoint());
        let mut requests = |key: &str, args: &[&str]| {
            restore(&Job::new(), &behind, key, args);
            proxy::count(&proxy.requests())
        };
        let hit = ["--restore-keys", "deps-", "--explain"];
        assert_eq!(requests("deps-2", &hit[..2]), "GetObject 3, ListObjects 2");
        assert_eq!(requests("deps-2", &hit), "GetObject 3, ListObjects 2");
        assert_eq!(requests("none", &[]), "GetObject 2, ListObjects 1");
        assert_eq!(requests("none", &["--explain"]), "GetObject 2, ListObjects 2");
    }
}
