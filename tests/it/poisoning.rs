//! Cache poisoning, tried as an attacker: the author of a pull request, who decides what its job executes, with the
//! rights that `docs/permissions.md` gives to such jobs, wants to change what `main` restores.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3::{self, PULL_REQUEST};
use xcache_tests::tree::Rng;

use crate::{GC, RESTORE, SAVE};

/// A job of `main`, as GitHub runs it.
fn on_main(command: Invocation) -> Invocation {
    command.env("GITHUB_EVENT_NAME", "push").env("GITHUB_REF", "refs/heads/main").env("GITHUB_BASE_REF", "")
}

/// A job of pull request 7.
fn on_pull(command: Invocation) -> Invocation {
    let command = command.env("GITHUB_EVENT_NAME", "pull_request").env("GITHUB_REF", "refs/pull/7/merge");
    command.env("GITHUB_BASE_REF", "main").env("GITHUB_HEAD_REF", "main")
}

/// A store that both use, one with all rights, the other with those of a pull request.
struct World {
    trusted: Place,
    attacker: Place,
    /// Begins all keys of this test: others use the store as well.
    family: String,
}

impl World {
    fn new() -> Self {
        let trusted = Place::shared(s3::server(), "trust");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let world = Self { attacker: trusted.as_user(PULL_REQUEST), trusted, family: format!("p{now}") };
        let (job, key) = (Job::github(), world.key("deps"));
        fs::write(job.path("file"), "good").unwrap();
        let command = job.command(SAVE).store(&world.trusted).args(["--key", &key, "--json", "file"]);
        assert_eq!(on_main(command).run().ok().json()["outcome"], "saved");
        world
    }

    fn key(&self, name: &str) -> String {
        format!("{}-{name}", self.family)
    }

    /// A save of the attacker, as it likes.
    fn attack(&self, key: &str, change: impl Fn(Invocation) -> Invocation) -> String {
        let job = Job::github();
        fs::write(job.path("file"), "evil").unwrap();
        let command = job.command(SAVE).store(&self.attacker).args(["--key", key, "--json"]);
        told(&change(on_pull(command)).arg("file").run())
    }

    /// A save to another prefix of the bucket.
    fn attack_at(&self, prefix: &str, key: &str) -> String {
        let job = Job::github();
        fs::write(job.path("file"), "evil").unwrap();
        let command =
            job.command(SAVE).args(["--store", &format!("s3://xcache-test/{prefix}"), "--key", key, "--json"]);
        let command = self.attacker.env().into_iter().fold(command, |command, (name, value)| command.env(name, value));
        told(&on_pull(command).args(["--scope", "none", "file"]).run())
    }

    /// What `main` restores for a key and restore keys.
    #[track_caller]
    fn main_restores(&self, key: &str, restore_keys: &str) -> Option<String> {
        let job = Job::github();
        let command = job.command(RESTORE).store(&self.trusted).args(["--key", key, "--restore-keys", restore_keys]);
        let document = on_main(command).args(["--json", "file"]).run().ok().json();
        document["matched_key"].as_str().map(|_| fs::read_to_string(job.path("file")).unwrap())
    }

    /// Nothing of what the attacker did is seen by `main`.
    #[track_caller]
    fn check(&self) {
        let good = Some("good".to_owned());
        assert_eq!(self.main_restores(&self.key("deps"), ""), good);
        assert_eq!(self.main_restores(&self.key("other"), &self.family), good);
        assert_eq!(self.main_restores(&self.key("dep"), &self.key("")), good);
        assert_eq!(self.main_restores(&self.key("forged"), ""), None);
        // Keys that begin like the names of scopes find no scope.
        for prefix in ["refs", "refs/pull", "refs%2Fpull", "refs%2Fpull%2F7%2Fmerge/", "."] {
            let restored = self.main_restores(&self.key("none"), prefix);
            assert_ne!(restored.as_deref(), Some("evil"), "{prefix}");
        }
    }
}

/// How a save ended, and whether it was told why.
fn told(outcome: &Outcome) -> String {
    let text = format!("{}{}", outcome.stdout, outcome.stderr);
    let word = serde_json::from_str::<serde_json::Value>(&outcome.stdout).ok();
    let word = word.as_ref().and_then(|document| document["outcome"].as_str()).unwrap_or("refused").to_owned();
    let is_told = text.contains("::warning::") || text.contains("::error::");
    format!("{word}{}", if is_told { ", told why" } else { "" })
}

#[test]
fn nothing_that_a_pull_request_tries_reaches_main() {
    let world = World::new();
    let same = |command| command;
    let args = |args: &'static [&'static str]| move |command: Invocation| command.args(args);
    let lie = |name: &'static str, value: &'static str| move |command: Invocation| command.env(name, value);
    let (deps, forged) = (world.key("deps"), world.key("forged"));
    let object = |scope: &str, name: &str| format!("{scope}{}-base.tar.zst", world.key(name));
    let put = |name: &str| world.attacker.try_put(name, b"evil").to_string();
    let id = "0".repeat(32);
    let rows: Vec<(&str, String, &str)> = vec![
        ("the key of main, in its own scope", world.attack(&deps, same), "saved"),
        ("the key of main, shared", world.attack(&forged, args(&["--scope", "none"])), "not-saved, told why"),
        (
            "mode write and scope none",
            world.attack(&forged, args(&["--scope", "none", "--mode", "write"])),
            "not-saved, told why",
        ),
        ("pretends to be a push", world.attack(&forged, on_main), "not-saved, told why"),
        (
            "pretends to be pull request heads/main",
            world.attack(&forged, lie("GITHUB_REF", "refs/pull/../heads/main")),
            "saved",
        ),
        ("scope refs/heads/main", world.attack(&forged, args(&["--scope", "refs/heads/main"])), "not-saved, told why"),
        (
            "scope ref, as main",
            world.attack(&forged, |command| on_main(command).args(["--scope", "ref"])),
            "not-saved, told why",
        ),
        ("key with ../", world.attack(&format!("../../{forged}"), same), "saved"),
        ("key with %2F", world.attack(&format!("..%2F..%2F{forged}"), same), "saved"),
        ("key like a scope", world.attack(&format!("refs%2Fheads%2Fmain/{forged}"), same), "saved"),
        ("key below .xcache", world.attack(&format!(".xcache/condemned/{id}"), same), "not-saved, told why"),
        ("prefix below .xcache/condemned", world.attack_at("trust/.xcache/condemned", &forged), "not-saved, told why"),
        ("prefix of main's scope", world.attack_at("trust/refs%2Fheads%2Fmain", &forged), "not-saved, told why"),
        ("prefix with ..", world.attack_at("trust/refs%2Fpull%2F7/..", &forged), "not-saved, told why"),
        ("shared entry by hand", put(&object("", "forged")), "403"),
        ("entry of main by hand", put(&object("", "deps")), "403"),
        ("entry of a ref by hand", put(&object("refs%252Fheads%252Fmain/", "forged")), "403"),
        ("scope in lower case by hand", put(&object("refs%252fpull%252f7%252fmerge/", "forged")), "403"),
        ("mark by hand", put(&format!(".xcache/condemned/{id}")), "403"),
        ("clean-up by hand", put(&format!(".xcache/gc/{id}")), "403"),
        ("features by hand", put(".xcache/store"), "403"),
        ("deletes by hand", world.attacker.try_delete(&object("", "deps")).to_string(), "403"),
        ("garbage intent", put(&format!(".xcache/intents/{id}")), "200"),
    ];
    eprintln!("attack | how it ended");
    let mut wrong = Vec::new();
    for (attack, found, expected) in &rows {
        eprintln!("{attack} | {found}");
        if found != expected {
            wrong.push(format!("{attack}: {found}, not {expected}"));
        }
    }
    world.attacker.try_delete(&format!(".xcache/intents/{id}"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.check();
}

#[test]
fn a_pull_request_cannot_clear_what_main_restores() {
    let world = World::new();
    let job = Job::github();
    let event = serde_json::json!({"head_commit": {"message": "[ci-clear-cache]"}, "pull_request": {"number": 7}});
    fs::write(job.path("event.json"), event.to_string()).unwrap();
    for change in [on_pull, on_main] {
        let command = job.command(RESTORE).store(&world.attacker).args(["--key", &world.key("deps"), "file"]);
        change(command).env("GITHUB_EVENT_PATH", job.path("event.json")).run().ok();
    }
    Job::new().command(GC).args(["rm", &world.key("deps")]).store(&world.attacker).run().expect_code(1);
    world.check();
}

/// Jobs that share a machine, a home and, if that is wanted, the directory for the state.
#[test]
fn the_state_that_a_pull_request_leaves_is_not_built_on_by_main() {
    let place = Place::local();
    let machine = Job::github();
    let content = Rng::new(1).bytes(300_000);
    let state = machine.path("state");
    let save = |key: &str| {
        let command = machine.command(SAVE).store(&place).args(["--key", key, "--json", "file"]);
        command.args(["--state-dir", state.to_str().unwrap()])
    };
    fs::write(machine.path("file"), &content).unwrap();
    assert_eq!(on_pull(save("evil")).run().ok().json()["outcome"], "saved");
    fs::write(machine.path("file"), [&content[..], b"more"].concat()).unwrap();
    // The state says what is on disk, and the save of `main` does not believe it: it may not refer to that scope.
    let document = on_main(save("good")).run().ok().json();
    assert_eq!((&document["kind"], &document["built_on"]), (&"base".into(), &serde_json::Value::Null));
    // The pull request itself builds on both.
    fs::write(machine.path("file"), [&content[..], b"still more"].concat()).unwrap();
    assert_eq!(on_pull(save("next")).run().ok().json()["kind"], "delta");
}

/// A copy of an entry of `main` in the scope of a pull request has the archive id of that entry. A clean-up that
/// condemns the copy, and is kept from deleting it, must not condemn the entry with it.
#[test]
fn a_copy_of_an_entry_of_main_does_not_turn_off_deltas() {
    let server = s3::ministack();
    let place = Place::on(server);
    let content = Rng::new(1).bytes(300_000);
    let save = |key: &str, more: &[&str], bytes: &[u8]| {
        let job = Job::github();
        fs::write(job.path("file"), bytes).unwrap();
        let command = job.command(SAVE).store(&place).args(["--key", key, "--json"]).args(more);
        on_main(command).arg("file").run().ok().json()
    };
    save("deps", &[], &content);
    // Something builds on the entry, so that a clean-up keeps it and deletes the copy only.
    let changed = [&content[..], b"more"].concat();
    assert_eq!(save("next", &["--base-key", "deps"], &changed)["kind"], "delta");
    let copy = "refs%252Fpull%252F7%252Fmerge/deps-base.tar.zst";
    place.put(copy, &place.get("deps-base.tar.zst").unwrap());

    let proxy = Proxy::with_rules(server, &["DELETE refs.*deps-base status:403"]);
    let behind = place.behind(proxy.endpoint());
    let removed = Job::new().command(GC).args(["rm", "deps"]).store(&behind).run().expect_code(1);
    let names: Vec<_> = place.objects().into_iter().filter(|name| name.starts_with(".xcache/condemned/")).collect();
    assert_eq!(names.len(), 1, "only the copy is condemned: {removed:?}");

    let document = save("last", &["--base-key", "deps"], &[&changed[..], b"more"].concat());
    assert_eq!((&document["kind"], &document["built_on"]), (&"delta".into(), &"deps".into()));
}
