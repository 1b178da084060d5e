//! The programs from end to end on the server of `XCACHE_TEST_S3=url,key,secret,region,bucket`: what a user of it may rely on.
//! With `--nocapture` it prints what the server lacks.
//!
//! ```sh
//! XCACHE_TEST_S3=… cargo test -p xcache-tests --test it given -- --nocapture
//! ```

use std::fs;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::s3;
use xcache_tests::tree::{Rng, assert_same_tree, random};

use crate::gc_cases::gc;
use crate::{restore, restored, save};

#[test]
fn saves_restores_and_clean_ups_work_on_the_given_server() {
    let Some(server) = s3::given() else { return };
    let (job, place) = (Job::github(), Place::on(server));
    let tree = job.dir("tree");
    random(&tree, 1, 60);
    let first = save(&job, &place, "app-1").args(["--json", "-v"]).arg(&tree).run().ok();
    assert_eq!(first.json()["outcome"], "saved", "{}", first.stderr);
    // Of several parts, where the server has them.
    fs::write(job.dir("big").join("large"), Rng::new(2).bytes(20 << 20)).unwrap();
    let large = save(&job, &place, "large-1").args(["--full", "--json"]).arg(job.path("big")).run().ok();
    eprintln!("an entry of 20 MiB: {} {}", large.json()["outcome"], large.stderr.trim());

    // The same again is no entry; a change is a delta on the first.
    let again = save(&job, &place, "app-1").arg("--json").arg(&tree).run().ok();
    assert_eq!(again.json()["outcome"], "exists", "{}", again.stderr);
    let next = Job::github();
    let target = next.path("tree");
    restored(&next, &place, "app-1", &target);
    assert_same_tree(&tree, &target, &[]);
    fs::write(target.join("new"), Rng::new(3).bytes(9_000)).unwrap();
    let delta = save(&next, &place, "app-2").args(["--json", "-v"]).arg(&target).run().ok();
    assert_eq!(
        (&delta.json()["outcome"], &delta.json()["kind"]),
        (&"saved".into(), &"delta".into()),
        "{}",
        delta.stderr
    );

    let third = Job::github();
    let by_prefix = restore(&third, &place, "app-3").args(["--restore-keys", "app-", "--json"]);
    let by_prefix = by_prefix.arg(third.path("tree")).run().ok();
    assert_eq!(by_prefix.json()["matched_key"], "app-2", "{}", by_prefix.stderr);
    assert_same_tree(&target, &third.path("tree"), &[]);
    if large.json()["outcome"] == "saved" {
        let fourth = Job::github();
        restored(&fourth, &place, "large-1", &fourth.path("big"));
        assert_eq!(fs::read(fourth.path("big/large")).unwrap(), Rng::new(2).bytes(20 << 20));
    }

    let pinned =
        save(&Job::github(), &place, "pin-1").args(["--full", "--tag", "keep=true", "--json"]).arg(&tree).run();
    assert_eq!(pinned.clone().ok().json()["outcome"], "saved", "{}", pinned.stderr);
    let is_pin_kept = !pinned.stderr.contains("not pinned");
    let verified = gc(&job, &place, "verify").arg("--deep").run().ok();
    verified.says(&["0 faults"]);
    // What others build on is kept, the pinned entry too, and the rest is deleted.
    gc(&job, &place, "rm").args(["app-1", "--yes"]).run().expect_code(1);
    let pruned = gc(&job, &place, "prune").args(["--max-total-size", "0B", "--min-age", "0s", "--json"]).run().ok();
    eprintln!("clean-up: {}", pruned.stderr.trim());
    let left = place.entries();
    assert_eq!(left.is_empty(), !is_pin_kept, "pinned: {is_pin_kept}; left: {left:?}\n{}", pruned.stderr);
    gc(&job, &place, "rm").args(["--all", "--yes"]).run().ok();
    let left: Vec<String> = place.objects().into_iter().filter(|name| name != ".xcache/store").collect();
    assert_eq!(left, [""; 0]);
    let known = place.get(".xcache/store").map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    eprintln!("the server honours: {}", known.unwrap_or_default());
}
