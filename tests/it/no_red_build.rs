//! No red build: whatever an input of an action is, the build goes on, unless an input `fail-on-…` asks otherwise.
//!
//! A table over every input of the three actions × {blank, wrong, missing secret} × {push, pull request of a fork, a
//! trigger that anyone can fire}. Each cell is a step of the emulated runner. A wrong input is exactly one annotation;
//! nothing fails unless it is asked to. A clean-up, on which no build depends, fails with one error and deletes nothing.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use xcache_tests::place::Place;
use xcache_tests::runner::file::{self, Action};
use xcache_tests::runner::{Runner, StepResult, checkout};
use xcache_tests::s3;

use crate::actions::PROGRAMS;

/// What a wrong value of an input comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// One annotation, and no cache.
    Refused,
    /// There is no wrong value, or it does not matter to this store: no annotation.
    Accepted,
}
use Wrong::{Accepted, Refused};

/// A wrong value for each input.
const WRONG: &[(&str, &str, Wrong)] = &[
    ("path", "!only/an/exclude", Refused),
    ("key", "a,b", Refused),
    ("restore-keys", "a,b", Refused),
    ("base-key", "a,b", Refused),
    ("caches", "no list", Refused),
    ("lookup-only", "maybe", Accepted),
    ("fail-on-cache-miss", "maybe", Accepted),
    ("fail-on-error", "maybe", Refused),
    ("clean", "maybe", Refused),
    ("clean-protected", "maybe", Refused),
    ("explain", "maybe", Refused),
    ("metrics", "any-file", Accepted),
    ("relocate", "maybe", Refused),
    ("save-unfinished", "maybe", Refused),
    ("s3-anonymous", "maybe", Refused),
    ("same-owner", "maybe", Refused),
    ("full", "maybe", Refused),
    ("clear-token", "anything", Accepted),
    ("store", "nonsense", Refused),
    ("s3-bucket", "as-well-as-store", Refused),
    ("s3-prefix", "as-well-as-store", Refused),
    ("s3-region", "no region", Accepted),
    ("s3-endpoint", "localhost:1", Refused),
    ("s3-path-style", "maybe", Refused),
    ("s3-profile", "of-nobody", Accepted),
    ("s3-sse", "rot13", Refused),
    ("s3-kms-key", "of nobody", Accepted),
    ("s3-storage-class", "LUXURY", Accepted),
    ("s3-requester-pays", "maybe", Refused),
    ("aws-access-key-id", "AKIA", Refused),
    ("aws-secret-access-key", "alone", Refused),
    ("aws-session-token", "alone", Refused),
    ("s3-role", "administrator", Refused),
    ("scope", "a//b", Refused),
    ("mode", "sometimes", Refused),
    ("concurrency", "0", Refused),
    ("workers", "many", Refused),
    ("timeout", "soon", Refused),
    ("upload-chunk-size", "anything", Accepted),
    ("enableCrossOsArchive", "maybe", Accepted),
    ("use-deltas", "maybe", Accepted),
    ("save-always", "maybe", Accepted),
    ("rebase-after", "soon", Refused),
    ("if-exists", "maybe", Refused),
    ("level", "99", Refused),
    ("tag", "without-a-value", Refused),
    ("branch", "any branch", Accepted),
    ("commit", "any commit", Accepted),
    ("repo", "any/repo", Accepted),
    ("keep-newest", "two", Refused),
    ("group-by", "colour", Refused),
    ("max-age", "30", Refused),
    ("max-total-size", "lots", Refused),
    ("live-branches", "/nonexistent/file", Refused),
    ("live-branches-from-git", "/nonexistent/repository", Refused),
    ("shadowed", "maybe", Refused),
    ("dangling", "maybe", Refused),
    ("stale-uploads", "soon", Refused),
    ("min-age", "soon", Refused),
    ("delete-versions", "maybe", Refused),
    // Not a clear no, so a yes.
    ("dry-run", "maybe", Accepted),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Blank,
    Wrong,
    MissingSecret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    Push,
    Fork,
    Anyone,
}

#[derive(Clone, Debug)]
struct Cell {
    action: &'static str,
    input: String,
    value: Value,
    trigger: Trigger,
    to_fail: bool,
}

fn wrong(input: &str) -> (&'static str, Wrong) {
    let found = WRONG.iter().find(|(name, ..)| *name == input);
    let (_, value, what) = found.unwrap_or_else(|| panic!("a wrong value for the new input `{input}` is missing"));
    (value, *what)
}

/// A runner whose job was started by `trigger`.
fn runner(trigger: Trigger) -> Runner {
    let mut runner = Runner::new(&PROGRAMS);
    let (name, git_ref, head) = match trigger {
        Trigger::Push => ("push", "refs/heads/main", None),
        Trigger::Fork => ("pull_request", "refs/pull/7/merge", Some("stranger/repo")),
        Trigger::Anyone => ("pull_request_target", "refs/heads/main", Some("stranger/repo")),
    };
    let mut event = json!({"repository": {"default_branch": "main", "full_name": "owner/repo"}});
    if let Some(head) = head {
        event["pull_request"] = json!({"number": 7, "head": {"repo": {"full_name": head}, "ref": "main"}});
    }
    let path = runner.job().path("event.json");
    fs::write(&path, event.to_string()).unwrap();
    runner.set_env("GITHUB_EVENT_PATH", path.to_str().unwrap());
    runner.set_env("GITHUB_EVENT_NAME", name);
    runner.set_env("GITHUB_REF", git_ref);
    fs::write(runner.job().path("p"), "x").unwrap();
    runner
}

impl Cell {
    fn run(&self, local: &Place, bucket: &Place) -> (StepResult, Vec<String>) {
        let mut runner = runner(self.trigger);
        let mut with: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| {
            with.retain(|(other, _)| other != name);
            with.push((name.to_owned(), value.to_owned()));
        };
        if self.action == "gc" {
            set("dangling", "true");
        } else {
            set("path", "p");
            set("key", "k");
            if self.to_fail {
                set("fail-on-error", "true");
            }
        }
        if self.value == Value::MissingSecret {
            for (name, value) in bucket.env() {
                match name {
                    "AWS_ACCESS_KEY_ID" => set("aws-access-key-id", &value),
                    "AWS_SECRET_ACCESS_KEY" => set("aws-secret-access-key", &value),
                    name => runner.set_env(name, value),
                }
            }
            let (name, prefix) = bucket.url().strip_prefix("s3://").unwrap().split_once('/').unwrap();
            set("s3-bucket", name);
            set("s3-prefix", prefix);
            runner.set_env("AWS_MAX_ATTEMPTS", "1");
        } else {
            set("store", local.url());
        }
        match self.value {
            Value::Blank => set(&self.input, " "),
            Value::MissingSecret => set(&self.input, ""),
            Value::Wrong => set(&self.input, wrong(&self.input).0),
        }
        let with: Vec<(&str, &str)> = with.iter().map(|(name, value)| (&**name, &**value)).collect();
        let step = runner.uses(self.action, &with);
        let is_annotation = |line: &&str| line.starts_with("::warning::") || line.starts_with("::error::");
        let annotations = step.log.lines().filter(is_annotation).map(str::to_owned).collect();
        (step, annotations)
    }

    /// Whether the step may fail, and how many annotations there may be.
    fn expected(&self) -> (bool, std::ops::RangeInclusive<usize>) {
        let what = match (self.value, &*self.input) {
            // Neither `actions/cache` nor we can do anything without these.
            (Value::Blank | Value::MissingSecret, "path" | "key") => Refused,
            (Value::Blank, "store") => Refused,
            (Value::MissingSecret, "s3-bucket" | "aws-access-key-id" | "aws-secret-access-key") => Refused,
            (Value::Blank | Value::MissingSecret, _) => Accepted,
            (Value::Wrong, input) => wrong(input).1,
        };
        match (self.action, what) {
            // No rule is left.
            ("gc", Accepted) if self.input == "dangling" => (true, 1..=1),
            ("gc", Refused) => (true, 1..=1),
            // What asks to fail is what is blank or wrong itself.
            (_, Refused) => (self.to_fail && self.input != "fail-on-error", 1..=1),
            (_, Accepted) => (false, 0..=0),
        }
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for action in ["restore", "save", "gc"] {
        let file: Action = file::read(&checkout().join(action).join("action.yml"));
        for input in file.inputs.keys() {
            for value in [Value::Blank, Value::Wrong, Value::MissingSecret] {
                for trigger in [Trigger::Push, Trigger::Fork, Trigger::Anyone] {
                    for to_fail in [false, true] {
                        if !(to_fail && (action == "gc" || input == "fail-on-error" || trigger != Trigger::Push)) {
                            cells.push(Cell { action, input: input.clone(), value, trigger, to_fail });
                        }
                    }
                }
            }
        }
    }
    cells
}

#[test]
fn no_input_of_an_action_makes_a_build_red() {
    let (local, bucket) = (Place::local(), Place::on(s3::server()));
    for place in [&local, &bucket] {
        place.put("other-base.tar.zst", b"of somebody else");
    }
    let (cells, next) = (cells(), AtomicUsize::new(0));
    let wrong: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (step, annotations) = cell.run(&local, &bucket);
                    let (is_failure, count) = cell.expected();
                    if step.is_failure != is_failure || !count.contains(&annotations.len()) {
                        wrong.lock().unwrap().push(format!("{cell:?}: {annotations:#?}\n{}", step.log));
                    }
                }
            });
        }
    });
    eprintln!("no red build: {} cells", cells.len());
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
    for place in [&local, &bucket] {
        assert!(place.entries().contains(&"other-base.tar.zst".to_owned()), "something was deleted");
    }
}
