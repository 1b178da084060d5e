//! Scopes: what a pull request with the narrow rights of `docs/permissions.md` can do to the entries of `main`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3::{self, PULL_REQUEST};
use xcache_tests::tree::Rng;

use crate::delta::races::{finish, start};
use crate::{GC, RESTORE, SAVE};

/// Jobs of `main` and of a pull request on one store, which only `main` may change as it likes.
struct World {
    trusted: Place,
    untrusted: Place,
    /// Begins all keys of this test; others use the same prefix of the store.
    family: String,
}

/// The refs of a job.
#[derive(Clone, Copy)]
enum On {
    Main,
    PullRequest,
}

impl World {
    fn new() -> Self {
        let trusted = Place::shared(s3::server(), "trust");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let world = Self { untrusted: trusted.as_user(PULL_REQUEST), trusted, family: format!("t{now}") };
        // What the store honours is asked for once, by whoever may write beside the entries.
        assert_eq!(world.save(On::Main, &world.trusted, "first", "main").json()["outcome"], "saved");
        world
    }

    fn key(&self, name: &str) -> String {
        format!("{}-{name}", self.family)
    }

    /// A job with what a runner says of its refs. A pull request can say whatever it likes.
    fn job(on: On) -> (Job, [(&'static str, &'static str); 2]) {
        let job = Job::github();
        let event = serde_json::json!({"repository": {"default_branch": "main"}});
        fs::write(job.path("event.json"), event.to_string()).unwrap();
        let refs = match on {
            On::Main => [("GITHUB_REF", "refs/heads/main"), ("GITHUB_BASE_REF", "")],
            On::PullRequest => [("GITHUB_REF", "refs/pull/7/merge"), ("GITHUB_BASE_REF", "main")],
        };
        (job, refs)
    }

    fn command(&self, on: On, place: &Place, program: &str, name: &str) -> (Job, Invocation) {
        let (job, refs) = Self::job(on);
        let command = self.command_in(&job, refs, place, program, name);
        (job, command)
    }

    fn command_in(
        &self,
        job: &Job,
        refs: [(&'static str, &'static str); 2],
        place: &Place,
        program: &str,
        name: &str,
    ) -> Invocation {
        let command = job.command(program).store(place).args(["--scope", "ref", "--key", &self.key(name), "--json"]);
        let command = refs.iter().fold(command, |command, (name, value)| command.env(name, value));
        command.env("GITHUB_EVENT_PATH", job.path("event.json"))
    }

    /// Saves a file that says who wrote it.
    fn save(&self, on: On, place: &Place, name: &str, text: &str) -> Outcome {
        let (job, command) = self.command(on, place, SAVE, name);
        fs::write(job.path("file"), text).unwrap();
        command.arg("file").run().ok()
    }

    /// The key and the text that a restore finds.
    fn restore(&self, on: On, name: &str, restore_keys: &str) -> Option<(String, String)> {
        let place = match on {
            On::Main => &self.trusted,
            On::PullRequest => &self.untrusted,
        };
        let (job, command) = self.command(on, place, RESTORE, name);
        let document = command.args(["--restore-keys", restore_keys]).arg("file").run().ok().json();
        let matched = document["matched_key"].as_str()?.strip_prefix(&self.key("")).unwrap().to_owned();
        Some((matched, fs::read_to_string(job.path("file")).unwrap()))
    }

    /// The same, as texts that are easily compared.
    #[track_caller]
    fn check(&self, on: On, name: &str, restore_keys: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(key, text)| (key.to_owned(), text.to_owned()));
        assert_eq!(self.restore(on, name, restore_keys), expected);
    }
}

#[test]
fn a_pull_request_reads_main_and_writes_for_itself() {
    let world = World::new();
    let prefix = world.key("");
    world.check(On::PullRequest, "first", "", Some(("first", "main")));
    // The key of `main` is no obstacle, and its own entry comes first from now on.
    assert_eq!(world.save(On::PullRequest, &world.untrusted, "first", "pull").json()["outcome"], "saved");
    world.check(On::PullRequest, "first", "", Some(("first", "pull")));
    world.save(On::Main, &world.trusted, "newer", "main");
    world.check(On::PullRequest, "none", &prefix, Some(("first", "pull")));
    world.check(On::PullRequest, "newer", "", Some(("newer", "main")));
}

#[test]
fn main_never_sees_what_a_pull_request_has_saved() {
    let world = World::new();
    let prefix = world.key("");
    for name in ["first", "second"] {
        assert_eq!(world.save(On::PullRequest, &world.untrusted, name, "pull").json()["outcome"], "saved");
    }
    world.check(On::Main, "first", "", Some(("first", "main")));
    world.check(On::Main, "second", "", None);
    world.check(On::Main, "none", &prefix, Some(("first", "main")));
    // The key is not taken for `main` either.
    assert_eq!(world.save(On::Main, &world.trusted, "second", "main").json()["outcome"], "saved");
    world.check(On::Main, "second", "", Some(("second", "main")));
}

#[test]
fn a_pull_request_that_pretends_to_be_main_cannot_change_what_main_restores() {
    let world = World::new();
    let untrusted = &world.untrusted;
    // By its refs.
    let outcome = world.save(On::Main, untrusted, "forged", "pull");
    assert_eq!(outcome.json()["outcome"], "not-saved", "{}", outcome.stderr);
    outcome.clone().reviewed();
    // By the name of the scope, or without any. One that only looks like a way out is a scope as any other.
    let scopes = [("refs/heads/main", "not-saved"), ("none", "not-saved"), ("refs/pull/../heads/main", "saved")];
    for (scope, expected) in scopes {
        let (job, refs) = World::job(On::PullRequest);
        let command = job.command(SAVE).store(untrusted).args(["--key", &world.key("forged"), "--json"]);
        let command = refs.iter().fold(command, |command, (name, value)| command.env(name, value));
        fs::write(job.path("file"), "pull").unwrap();
        let outcome = command.args(["--scope", scope, "file"]).run().ok();
        assert_eq!(outcome.json()["outcome"], expected, "{scope}: {}", outcome.stderr);
    }
    // By the key.
    for name in ["../refs%2Fheads%2Fmain/forged", "/../../refs/heads/main/forged"] {
        world.save(On::PullRequest, untrusted, name, "pull");
    }
    world.check(On::Main, "forged", &world.key("forged"), None);
    // By deleting.
    let job = Job::new();
    job.command(GC).args(["rm", &world.key("first")]).store(untrusted).run().expect_code(1);
    let (job, command) = world.command(On::Main, untrusted, RESTORE, "first");
    let event = serde_json::json!({"head_commit": {"message": "[ci-clear-cache]"}});
    fs::write(job.path("event.json"), event.to_string()).unwrap();
    command.arg("file").run().ok();
    // By its own hands.
    let name = format!("refs%252Fheads%252Fmain/{}-base.tar.zst", world.key("first"));
    assert!(world.trusted.get(&name).is_some(), "the entry of main has this name");
    assert_eq!(untrusted.try_put(&name, b"pull"), 403);
    assert_eq!(untrusted.try_delete(&name), 403);
    world.check(On::Main, "first", "", Some(("first", "main")));
}

#[test]
fn an_entry_of_a_pull_request_builds_on_one_of_main() {
    let world = World::new();
    let large: Vec<u8> = (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (job, command) = world.command(On::Main, &world.trusted, SAVE, "large");
    fs::write(job.path("file"), &large).unwrap();
    assert_eq!(command.arg("file").run().ok().json()["outcome"], "saved");

    let (job, command) = world.command(On::PullRequest, &world.untrusted, SAVE, "larger");
    let changed = [&large[..], b"more"].concat();
    fs::write(job.path("file"), &changed).unwrap();
    let document = command.args(["--base-key", &world.key("large")]).arg("file").run().ok().json();
    assert_eq!((&document["kind"], &document["built_on"]), (&"delta".into(), &world.key("large").into()));

    let (job, command) = world.command(On::PullRequest, &world.untrusted, RESTORE, "larger");
    assert_eq!(command.arg("file").run().ok().json()["outcome"], "exact");
    assert_eq!(fs::read(job.path("file")).unwrap(), changed);
}

/// An entry `large` of `main`, and a job of a pull request that is about to save `larger`, which builds on it.
fn larger(world: &World, place: &Place) -> (Job, Invocation) {
    let (job, command) = world.command(On::Main, &world.trusted, SAVE, "large");
    fs::write(job.path("file"), Rng::new(1).bytes(300_000)).unwrap();
    assert_eq!(command.arg("file").run().ok().json()["outcome"], "saved");
    let (job, command) = world.command(On::PullRequest, place, SAVE, "larger");
    fs::write(job.path("file"), [&Rng::new(1).bytes(300_000)[..], b"more"].concat()).unwrap();
    (job, command.args(["--base-key", &world.key("large")]).arg("file"))
}

const MAIN: &str = "refs%252Fheads%252Fmain";
const PULL: &str = "refs%252Fpull%252F7%252Fmerge";

impl World {
    /// The name of an object as it stands in a URL.
    fn object(&self, scope: &str, name: &str) -> String {
        format!("{scope}/{}.tar.zst", self.key(name))
    }

    /// Deletes what saves of this test have noted, and nobody else's.
    fn expire(&self) {
        let intents = Place::shared(s3::server(), "trust/.xcache/intents");
        for name in intents.objects() {
            let is_ours = |note: Vec<u8>| String::from_utf8_lossy(&note).contains(&self.family);
            if intents.get(&name).is_some_and(is_ours) {
                intents.delete(&name);
            }
        }
    }
}

/// Checks how a save ended that could not delete a delta: its outcome and kind, and that it says so.
#[track_caller]
fn check_left(document: &Value, stderr: &str, outcome: &str, kind: Option<&str>) {
    assert_eq!((document["outcome"].as_str(), document["kind"].as_str()), (Some(outcome), kind), "{stderr}");
    let warning = stderr.lines().find(|line| line.contains("::warning::"));
    assert!(warning.is_some_and(|line| line.contains("-larger-delta.tar.zst` is left to the clean-up")), "{stderr}");
}

// Deleting an entry begins with the mark of a clean-up, which a pull request may not write.

#[test]
fn a_pull_request_that_is_overtaken_says_so_though_it_cannot_take_its_delta_back() {
    let world = World::new();
    let mut proxy = Proxy::with_rules(s3::server(), &["HEAD larger-base hold skip=1 count=1"]);
    let (_job, command) = larger(&world, &world.untrusted.behind(proxy.endpoint()));
    let saving = start(command);
    proxy.wait_until_held();
    world.trusted.put(&world.object(PULL, "larger-base"), b"of another run");
    proxy.release();
    let (document, stderr) = finish(saving);
    check_left(&document, &stderr, "exists", None);
}

#[test]
fn a_pull_request_whose_ref_is_lost_saves_a_base_though_it_cannot_take_its_delta_back() {
    let world = World::new();
    let mut proxy = Proxy::with_rules(s3::server(), &["PUT larger-delta hold count=1"]);
    let (_job, command) = larger(&world, &world.untrusted.behind(proxy.endpoint()));
    let saving = start(command);
    proxy.wait_until_held();
    world.expire();
    world.trusted.delete(&world.object(MAIN, "large-base"));
    proxy.release();
    let (document, stderr) = finish(saving);
    check_left(&document, &stderr, "saved", Some("base"));
    let (job, command) = world.command(On::PullRequest, &world.untrusted, RESTORE, "larger");
    assert_eq!(command.arg("file").run().ok().json()["outcome"], "exact");
    assert_eq!(fs::read(job.path("file")).unwrap().len(), 300_004);
}

#[test]
fn a_pull_request_replaces_its_damaged_delta_though_it_cannot_delete_it() {
    let world = World::new();
    let (_job, command) = larger(&world, &world.untrusted);
    assert_eq!(command.run().ok().json()["kind"], "delta");
    world.trusted.delete(&world.object(MAIN, "large-base"));
    let (job, refs) = World::job(On::PullRequest);
    let command = |program| world.command_in(&job, refs, &world.untrusted, program, "larger").arg("file");
    let outcome = command(RESTORE).run().ok();
    assert_eq!(outcome.json()["reason"], "expired", "{}", outcome.stderr);
    fs::write(job.path("file"), "anew").unwrap();
    let outcome = command(SAVE).run().ok();
    check_left(&outcome.json(), &outcome.stderr, "saved", Some("base"));
}
