//! No false answer: each request of a save and of a restore is answered wrongly, once or always. No entry is lost or spoilt,
//! and nothing is claimed that did not happen. (Clean-ups: `gc_answers`.)
//!
//! The normal run tries a sample. All of it, some minutes: `cargo test -p xcache-tests --test it false_answers -- --ignored`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use xcache_core::archive::reader::{ReadTail, read_tail};
use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::{Proxy, Request};
use xcache_tests::s3;
use xcache_tests::tree::{Aspect, Rng, Snapshot};

use crate::{restore, save, saved};

/// 404, 412, 429, another ETag, a web page, a body that ends early (looking whole, or not), a lost answer.
const ANSWERS: [&str; 8] =
    ["status:404", "status:412", "status:429", "etag:other", "nonsense:200", "short:20", "cut:20", "drop-reply"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A key that is not there, on nothing that is.
    SaveBase,
    /// On what the job has restored.
    SaveDelta,
    /// A key that is there.
    SaveAgain,
    RestoreBase,
    RestoreDelta,
    RestorePrefix,
}

const STEPS: [Step; 6] =
    [Step::SaveBase, Step::SaveDelta, Step::SaveAgain, Step::RestoreBase, Step::RestoreDelta, Step::RestorePrefix];

/// A place with a base and a delta on it, which can be put back, and the trees in them.
struct World {
    job: Job,
    place: Place,
    objects: Vec<(String, Vec<u8>)>,
    old: PathBuf,
    new: PathBuf,
}

impl World {
    fn new() -> Self {
        let (job, place) = (Job::new(), Place::on(s3::server()));
        let (old, new) = (job.dir("old"), job.dir("new"));
        for tree in [&old, &new] {
            for n in 0..8 {
                fs::write(tree.join(format!("{n}")), Rng::new(n).bytes(300_000)).unwrap();
            }
        }
        saved(&job, &place, "old", &old);
        fs::write(new.join("more"), Rng::new(9).bytes(50_000)).unwrap();
        let saving = Job::new();
        crate::restored(&saving, &place, "old", &saving.path("new"));
        fs::write(saving.path("new/more"), Rng::new(9).bytes(50_000)).unwrap();
        let outcome = save(&saving, &place, "old-new").arg("--json").arg(saving.path("new")).run().ok();
        assert_eq!(outcome.json()["kind"], "delta", "{}", outcome.stderr);
        let objects = place.objects().into_iter().map(|name| (name.clone(), place.get(&name).unwrap())).collect();
        Self { job, place, objects, old, new }
    }

    fn put_back(&self) {
        let there: BTreeSet<String> = self.place.objects().into_iter().collect();
        for name in there.iter().filter(|name| !self.objects.iter().any(|(kept, _)| kept == *name)) {
            self.place.delete(name);
        }
        for (name, bytes) in &self.objects {
            if self.place.get(name).as_ref() != Some(bytes) {
                self.place.put(name, bytes);
            }
        }
    }

    /// Runs a step with `rules`. Returns what came of it, the requests, and where it restored to or saved from.
    fn run(&self, step: Step, rules: &[&str]) -> (Outcome, Vec<Request>, Job) {
        let job = Job::github();
        let tree = job.path("tree");
        let copy = |from: &PathBuf| {
            self.job.command("cp").args(["-a", "--no-target-directory"]).args([from, &tree]).run().ok();
        };
        if step == Step::SaveDelta {
            // Without the proxy: what counts is the save.
            crate::restored(&job, &self.place, "old", &tree);
        }
        let mut proxy = Proxy::with_rules(s3::server(), rules);
        let behind = self.place.behind(proxy.endpoint());
        let command = match step {
            Step::SaveBase | Step::SaveAgain => {
                copy(&self.new);
                save(&job, &behind, if step == Step::SaveBase { "fresh" } else { "old" }).arg("--full")
            }
            Step::SaveDelta => {
                fs::write(tree.join("more"), Rng::new(9).bytes(50_000)).unwrap();
                save(&job, &behind, "fresh")
            }
            Step::RestoreBase => restore(&job, &behind, "old"),
            Step::RestoreDelta => restore(&job, &behind, "old-new"),
            Step::RestorePrefix => restore(&job, &behind, "none").args(["--restore-keys", "old"]),
        };
        let outcome = command.arg("--json").arg(&tree).run();
        let requests = proxy.requests();
        (outcome, requests, job)
    }

    /// What must hold after any step, however it was answered.
    fn check(&self, step: Step, (outcome, _, job): &(Outcome, Vec<Request>, Job), cell: &str) {
        let what = || format!("{cell}\n{}{}", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.code, Some(0), "trouble with the cache fails no build: {}", what());
        for (name, bytes) in self.objects.iter().filter(|(name, _)| name.ends_with(".tar.zst")) {
            assert!(self.place.get(name).as_ref() == Some(bytes), "`{name}` is lost or spoilt: {}", what());
        }
        // Whatever is there under the new key is whole, and builds on what is there.
        let entries = self.place.entries();
        for name in entries.iter().filter(|name| name.starts_with("fresh")) {
            let object = self.place.get(name).unwrap();
            let Ok(ReadTail::Archive(archive)) = read_tail(&object, object.len() as u64) else {
                panic!("`{name}` cannot be read: {}", what())
            };
            let refs = &archive.footer.refs;
            assert!(
                refs.iter().all(|r| entries.iter().any(|name| name == r.name.as_str())),
                "`{name}` builds on nothing: {}",
                what()
            );
        }
        let document = outcome.json();
        let claimed = document["outcome"].as_str().unwrap();
        let is_there = entries.iter().any(|name| name.starts_with("fresh"));
        match (step, claimed) {
            (Step::SaveBase | Step::SaveDelta, "saved" | "exists") => assert!(is_there, "not saved: {}", what()),
            (Step::SaveAgain, "saved") => panic!("the key was taken: {}", what()),
            (Step::RestoreBase | Step::RestoreDelta | Step::RestorePrefix, "exact" | "prefix" | "partial") => {
                let tree = Snapshot::of(&job.path("tree"));
                let found = [&self.old, &self.new]
                    .map(|tree_of| Snapshot::of(tree_of).differences(&tree, &[Aspect::Root, Aspect::Mtimes]));
                let is_whole = found.iter().any(Vec::is_empty);
                assert!(is_whole, "restored {found:?}: {}", what());
            }
            (Step::RestoreBase | Step::RestoreDelta | Step::RestorePrefix, _) => {
                let left = fs::read_dir(job.path("tree")).map_or(0, Iterator::count);
                assert_eq!(left, 0, "a miss left files: {}", what());
                assert_ne!(document["reason"], "corrupt", "healthy entries are called damaged: {}", what());
            }
            _ => {}
        }
    }
}

/// A rule for each request of a step: its method and target, and which of those with the same target it is.
fn rules(requests: &[Request]) -> Vec<String> {
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut rules = Vec::new();
    for request in requests {
        // Names that are random, and what changes with them, are left out.
        let target = request.target.split("/intents/").next().unwrap_or_default();
        let is_intent = target.len() < request.target.len();
        let pattern = if is_intent { "/intents/".to_owned() } else { escape(&request.target) };
        let skip = seen.iter().filter(|other| **other == (request.method.clone(), pattern.clone())).count();
        seen.push((request.method.clone(), pattern.clone()));
        rules.push(format!("{} {pattern} {{}} skip={skip}", request.method));
    }
    rules
}

fn escape(target: &str) -> String {
    // The prefix is that of one place; upload ids are random.
    let rest = target.split_once("uploadId=").map_or(target, |(before, _)| before);
    let tail = rest.find("/t1").and_then(|at| rest[at + 1..].split_once('/')).map_or(rest, |(_, tail)| tail);
    tail.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { ".".to_owned() }).collect()
}

/// Tries every `sample`-th cell, and gives how many.
fn try_all(sample: usize) -> usize {
    let each_step = |step: Step, number: usize| {
        let world = World::new();
        let (outcome, requests, _) = world.run(step, &[]);
        assert_eq!(outcome.code, Some(0), "{step:?}: {}", outcome.stderr);
        let mut cells = Vec::new();
        for rule in rules(&requests) {
            for answer in ANSWERS {
                for times in [" count=1", ""] {
                    cells.push(rule.replace("{}", answer) + times);
                }
            }
        }
        let chosen = cells.iter().skip(number % sample).step_by(sample);
        chosen
            .map(|rule| {
                world.put_back();
                let done = world.run(step, &[rule]);
                world.check(step, &done, &format!("{step:?} / {rule}"));
            })
            .count()
    };
    let cells: usize = std::thread::scope(|scope| {
        let running: Vec<_> =
            STEPS.iter().enumerate().map(|(number, &step)| scope.spawn(move || each_step(step, number * 7))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    eprintln!("no false answer: {cells} cells");
    cells
}

#[test]
fn a_false_answer_loses_no_entry_and_is_not_repeated_to_the_user() {
    assert!(try_all(13) > 20);
}

#[test]
#[ignore = "takes minutes"]
fn no_false_answer_to_any_request_loses_an_entry() {
    assert!(try_all(1) > 300);
}
