//! A clean-up behind a store that does not tell the truth, once or always: no delta is left without what it builds on, and
//! nothing is reported as deleted that is still there.

use std::fs;

use serde_json::Value;
use xcache_tests::job::{Job, Outcome};
use xcache_tests::messages;
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;

use crate::gc_cases::{base_and_delta, gc, made_by_others};

const BASE: &str = "old-base.tar.zst";
const DELTA: &str = "new-delta.tar.zst";

/// What may be answered falsely, or not at all.
const REQUESTS: [&str; 8] = [
    "GET new-delta",
    "HEAD new-delta",
    "DELETE new-delta",
    "GET old-base",
    "HEAD old-base",
    "DELETE old-base",
    "PUT condemned",
    "GET list-type",
];
const ANSWERS: [&str; 8] =
    ["status:404", "status:412", "status:403", "empty:200", "nonsense:200", "etag:other", "drop-reply", "cut:10"];
const COMMANDS: [&[&str]; 3] =
    [&["rm", "old"], &["rm", "old", "--cascade"], &["prune", "--max-total-size", "0B", "--min-age", "0s"]];

/// A place with a base and a delta on it, which can be put back.
struct Entries {
    place: Place,
    base: Vec<u8>,
    delta: Vec<u8>,
}

impl Entries {
    fn new() -> Self {
        let place = Place::on(s3::ministack());
        base_and_delta(&Job::new(), &place);
        let (base, delta) = (place.get(BASE).unwrap(), place.get(DELTA).unwrap());
        Self { place, base, delta }
    }

    fn put_back(&self) {
        self.place.put(BASE, &self.base);
        self.place.put(DELTA, &self.delta);
        let objects = self.place.objects();
        for mark in objects.iter().filter(|name| name.starts_with(".xcache/") && *name != ".xcache/store") {
            self.place.delete(mark);
        }
    }

    fn run(&self, command: &[&str], rules: &[&str]) -> Outcome {
        let proxy = Proxy::with_rules(s3::ministack(), rules);
        let behind = self.place.behind(proxy.endpoint());
        gc(&Job::new(), &behind, command[0]).args(&command[1..]).arg("--json").run()
    }

    #[track_caller]
    fn check(&self, outcome: &Outcome, cell: &str) {
        let there = self.place.entries();
        let has = |name: &str| there.iter().any(|entry| entry == name);
        assert!(has(BASE) || !has(DELTA), "{cell}: the delta stands alone\n{outcome:?}");
        let claimed = serde_json::from_str::<Value>(&outcome.stdout).unwrap_or_default();
        for name in claimed["deleted"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(!has(name), "{cell}: `{name}` is reported as deleted\n{outcome:?}");
        }
        // Whatever should be gone and is not has a failed run to show for it.
        let should_go = !cell.starts_with("rm old /");
        assert!(!should_go || there.is_empty() || outcome.code == Some(1), "{cell}: {there:?}\n{outcome:?}");
        assert!(should_go || there.len() == 2, "{cell}: {there:?}\n{outcome:?}");
    }
}

#[test]
fn no_false_answer_leaves_a_delta_alone() {
    try_all(&["count=1"]);
}

#[test]
#[ignore = "takes minutes"]
fn no_lasting_or_later_false_answer_leaves_a_delta_alone() {
    try_all(&["count=1 skip=1", "count=2", ""]);
}

fn try_all(times: &[&str]) {
    let cells = COMMANDS.map(|command| {
        let times = times.to_owned();
        move || {
            let entries = Entries::new();
            let mut cells = 0;
            for (request, answer) in REQUESTS.iter().flat_map(|request| ANSWERS.map(|answer| (request, answer))) {
                for times in &times {
                    entries.put_back();
                    let rule = format!("{request} {answer} {times}");
                    let outcome = entries.run(command, &[&rule]);
                    entries.check(&outcome, &format!("{} / {rule}", command.join(" ")));
                    cells += 1;
                }
            }
            cells
        }
    });
    let cells: u32 = std::thread::scope(|scope| {
        let running = cells.map(|try_one| scope.spawn(try_one));
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    eprintln!("no false answer: {cells} cells");
}

#[test]
fn what_a_listing_shows_is_not_gone() {
    let entries = Entries::new();
    for answer in ["status:404", "status:412", "etag:other"] {
        entries.put_back();
        let outcome = entries.run(&["rm", "old"], &[&format!("GET new-delta {answer}")]).expect_code(1);
        outcome.reviewed();
        assert_eq!(entries.place.entries().len(), 2, "{answer}");
    }
    for answer in ["status:404", "status:412", "empty:204"] {
        entries.put_back();
        let outcome = entries.run(&["rm", "old", "--cascade"], &[&format!("DELETE new-delta {answer}")]).expect_code(1);
        outcome.reviewed();
        assert_eq!(entries.place.entries().len(), 2, "{answer}");
    }
    // The deletion took place, and only its answer was lost.
    entries.put_back();
    entries.run(&["rm", "old", "--cascade"], &["DELETE new-delta drop-reply count=1"]).ok();
    assert_eq!(entries.place.entries(), [""; 0]);
}

#[test]
fn what_cannot_be_read_protects_itself_and_what_it_may_build_on() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    base_and_delta(&job, &place);
    place.put("plain-base.tar.zst", b"made by others");
    let proxy = Proxy::with_rules(server, &["GET new-delta.*x-id=GetObject status:403"]);
    let behind = place.behind(proxy.endpoint());
    let policy = ["--max-total-size", "0B", "--min-age", "0s"];
    let outcome = gc(&job, &behind, "prune").args(policy).run().ok();
    outcome.clone().reviewed();
    assert!(outcome.stdout.contains("`new`, which cannot be read, may build on it"), "{}", outcome.stdout);
    assert_eq!(place.entries(), [DELTA, BASE]);
    gc(&job, &behind, "rm").arg("old").run();
    assert_eq!(place.entries(), [DELTA, BASE]);
    let listed = gc(&job, &behind, "ls").arg("--long").run().ok();
    assert!(listed.stdout.lines().any(|line| line.contains("\t?\t") && line.contains("new")), "{}", listed.stdout);
    gc(&job, &behind, "du").run().ok().reviewed();
    // It can be removed by name, and then nothing is in the way any more.
    gc(&job, &behind, "rm").arg("new").run().ok();
    gc(&job, &behind, "prune").args(policy).run().ok();
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn tags_that_cannot_be_read_refuse_only_what_needs_them() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    base_and_delta(&job, &place);
    let proxy = Proxy::with_rules(server, &["GET tagging status:403"]);
    let behind = place.behind(proxy.endpoint());
    for command in [&["ls", "--long"][..], &["ls", "--branch", "main"], &["du"], &["show", "new"]] {
        let outcome = gc(&job, &behind, command[0]).args(&command[1..]).run().ok();
        assert!(!outcome.stderr.contains("pin"), "{command:?}: {}", outcome.stderr);
    }
    let outcome = gc(&job, &behind, "prune").args(["--max-total-size", "0B", "--min-age", "0s"]).run().expect_code(1);
    outcome.reviewed();
    assert_eq!(place.entries().len(), 2);
    gc(&job, &behind, "rm").args(["old", "--cascade"]).run().ok();
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn senseless_notes_stop_nothing() {
    for place in Place::each() {
        let job = Job::new();
        base_and_delta(&job, &place);
        let id = |n: u8| format!("{n:032x}");
        place.put(&format!(".xcache/intents/{}", id(1)), b"garbage");
        place.put(&format!(".xcache/intents/{}", id(2)), b"");
        place.put(&format!(".xcache/intents/{}", id(3)), &vec![b'x'; 2 << 20]);
        place.put(&format!(".xcache/condemned/{}", id(4)), b"{\"format\":9}");
        // Of a later version: what it names stays.
        place.put(&format!(".xcache/intents/{}", id(5)), br#"{"format":9,"refs":[{"name":"old-base.tar.zst"}]}"#);
        let outcome = gc(&job, &place, "prune").args(["--max-total-size", "0B", "--min-age", "0s"]).run().ok();
        // They are read at the same time.
        let mut lines: Vec<_> = outcome.stderr.lines().collect();
        lines.sort_unstable();
        messages::review(&lines.join("\n"));
        assert_eq!(outcome.stderr.matches("cannot be read").count(), 4, "{}", outcome.stderr);
        assert!(outcome.stdout.contains("a running save is about to use it"), "{}", outcome.stdout);
        assert_eq!(place.entries(), [BASE]);
        gc(&job, &place, "du").run().ok();
    }
}

#[test]
fn an_entry_of_a_newer_version_stops_nothing_and_keeps_what_it_names() {
    let (job, place) = (Job::new(), Place::local());
    base_and_delta(&job, &place);
    let newer = crate::hostile::index::as_newer(place.get(DELTA).unwrap());
    place.put(DELTA, &newer);
    place.put("other-base.tar.zst", b"made by others");
    let mut broken = newer.clone();
    let at = broken.windows(8).rposition(|window| window == b"XCACHE\x1a\n").unwrap() - 20;
    broken[at] ^= 1;
    place.put("broken-delta.tar.zst", &broken);
    gc(&job, &place, "rm").arg("old").run().expect_code(1);
    let outcome = gc(&job, &place, "prune").args(["--dangling", "--min-age", "0s"]).run().ok();
    assert_eq!(place.entries(), [DELTA, BASE, "other-base.tar.zst"], "{}", outcome.stdout);
    gc(&job, &place, "prune").args(["--max-total-size", "0B", "--min-age", "0s"]).run().ok();
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn a_store_below_this_one_is_left_alone() {
    for place in Place::each() {
        let job = Job::new();
        let below = place.below("ci");
        let source = base_and_delta(&job, &below);
        // An entry of the same store that nothing of xcache has written.
        below.put("plain-base.tar.zst", &made_by_others(100));
        fs::write(source.join("file-1"), "text").unwrap();
        crate::saved(&Job::new(), &place, "own", &source);
        let before = below.objects();
        let policy = ["--max-total-size", "0B", "--max-age", "0s", "--dangling", "--shadowed", "--stale-uploads", "0s"];
        for forget in [false, true] {
            if forget {
                // A store on AWS has nothing below `.xcache/` but while something is under way.
                below.objects().iter().filter(|name| name.starts_with(".xcache/")).for_each(|name| below.delete(name));
                below.delete("plain-base.tar.zst");
            }
            let before = below.entries();
            gc(&job, &place, "verify").run().ok().reviewed();
            gc(&job, &place, "rm").args(["ci/old", "ci/plain"]).run();
            gc(&job, &place, "rm").args(["--prefix", "ci/"]).run();
            let outcome = gc(&job, &place, "prune").args(policy).args(["--min-age", "0s"]).run().ok();
            assert_eq!(below.entries(), before, "{}{}", outcome.stdout, outcome.stderr);
        }
        assert!(before.len() > 3);
        assert!(!place.entries().iter().any(|name| name.starts_with("own")), "its own entry goes");
    }
}
