//! Who may read and write what: each recorded CI environment, and a table of triggers, modes and scopes, through the
//! programs.

use std::fs;

use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::recorded::{Recorded, SYSTEMS};
use xcache_tests::tree::Rng;

use crate::{RESTORE, SAVE};

/// The object of the entry `key` in a scope as a recorded environment names it.
fn object(scope: &str, key: &str) -> String {
    match scope {
        "shared" => format!("{key}-base.tar.zst"),
        scope => format!("{}/{key}-base.tar.zst", scope.replace('/', "%2F")),
    }
}

/// Saves a file with `text` by hand, into the scope.
fn plant(place: &Place, scope: &str, key: &str, text: &str) {
    let job = Job::new();
    fs::write(job.path("file"), text).unwrap();
    let scope = if scope == "shared" { "none" } else { scope };
    job.command(SAVE).store(place).args(["--key", key, "--scope", scope, "file"]).run().ok();
    assert!(place.entries().contains(&object(if scope == "none" { "shared" } else { scope }, key)));
}

fn save(job: &Job, place: &Place, key: &str) -> Invocation {
    fs::write(job.path("file"), "saved here").unwrap();
    job.command(SAVE).store(place).args(["--key", key, "--json", "file"])
}

fn restore(job: &Job, place: &Place, key: &str) -> Invocation {
    job.command(RESTORE).store(place).args(["--key", key, "--json", "file"])
}

/// What a restore found: the text of the file, or the reason of the miss.
fn found(job: &Job, outcome: &Outcome) -> String {
    let document = outcome.json();
    match document["outcome"].as_str() {
        Some("exact") => fs::read_to_string(job.path("file")).unwrap(),
        _ => document["reason"].as_str().unwrap().to_owned(),
    }
}

#[test]
fn every_recorded_job_saves_and_looks_where_it_should() {
    for recorded in SYSTEMS.iter().flat_map(|system| Recorded::all(system)) {
        let title = &recorded.title;
        let (writes, mode) = (recorded.column("writes").unwrap(), recorded.column("mode").unwrap());
        let place = Place::local();
        let job = Job::new();
        let outcome = recorded.apply(&job, save(&job, &place, "new")).run().ok();
        let (expected, entries) = match mode {
            "write" => ("saved", vec![object(writes, "new")]),
            "read" => ("read-only", Vec::new()),
            mode => panic!("no situation has mode {mode}"),
        };
        assert_eq!(outcome.json()["outcome"], expected, "{title}: {}", outcome.stderr);
        assert_eq!(place.entries(), entries, "{title}");
        assert_eq!(outcome.stderr.contains("not saved: read-only ("), mode == "read", "{title}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("warning"), "{title}: {}", outcome.stderr);

        // The shared entries can be read by all. The own scope comes first; that of others is never looked at.
        plant(&place, "shared", "k", "shared");
        plant(&place, "refs/pull/99/merge", "k", "of another pull request");
        plant(&place, "refs/pull/99/merge", "l", "of another pull request");
        let look = |key| {
            let job = Job::new();
            let outcome = recorded.apply(&job, restore(&job, &place, key)).run().ok();
            found(&job, &outcome)
        };
        assert_eq!((look("k"), look("l")), ("shared".to_owned(), "nothing-there".to_owned()), "{title}");
        if writes != "shared" {
            plant(&place, writes, "k", "own");
            assert_eq!(look("k"), "own", "{title}");
        }
    }
}

#[test]
fn the_state_of_a_job_is_not_that_of_the_next_one_on_the_machine() {
    let ids = [
        ("buildkite", "push", "BUILDKITE_JOB_ID", ["one", "two"]),
        ("jenkins", "push", "BUILD_URL", ["https://ci/job/a/job/b/1/", "https://ci/job/a-b/1/"]),
        ("gitlab", "push", "CI_JOB_ID", ["1", "2"]),
        ("circleci", "push", "CIRCLE_WORKFLOW_JOB_ID", ["1", "2"]),
        ("azure", "push", "SYSTEM_JOBID", ["1", "2"]),
        ("forgejo", "push", "GITHUB_RUN_ID", ["1", "2"]),
        ("gitea", "push", "GITHUB_JOB", ["a", "b"]),
        ("github", "push", "GITHUB_RUN_ATTEMPT", ["1", "2"]),
    ];
    for (system, situation, variable, [first, second]) in ids {
        let recorded = Recorded::one(system, situation);
        let (place, job) = (Place::local(), Job::new());
        let content = Rng::new(1).bytes(300_000);
        fs::write(job.path("file"), &content).unwrap();
        job.command(SAVE).store(&place).args(["--key", "k", "file"]).run().ok();
        let in_job = |id: &str, program: &str, key: &str| {
            let command = job.command(program).store(&place).args(["--key", key, "--json", "file"]);
            recorded.apply(&job, command).env(variable, id).run().ok()
        };
        in_job(first, RESTORE, "k");
        fs::write(job.path("file"), [&content[..], b"more"].concat()).unwrap();
        // Only the job that restored `k` knows that it did, and builds on it.
        for (id, key, built_on) in [(second, "second", None), (first, "first", Some("k"))] {
            let outcome = in_job(id, SAVE, key);
            assert_eq!(outcome.json()["built_on"].as_str(), built_on, "{system} {id}: {}", outcome.stderr);
        }
    }
}

/// One run of the table: where it saves and what it finds.
fn cell(place: &Place, trigger: &str, mode: &str, scope: &str) -> String {
    let refs = match trigger {
        "pull_request" | "pull_request_review" => [("GITHUB_REF", "refs/pull/7/merge"), ("GITHUB_BASE_REF", "main")],
        _ => [("GITHUB_REF", "refs/heads/main"), ("GITHUB_BASE_REF", "")],
    };
    let run = |job: &Job, command: Invocation| {
        let command = command.args(["--mode", mode, "--scope", scope]).env("GITHUB_EVENT_NAME", trigger);
        let command = refs.iter().fold(command, |command, (name, value)| command.env(name, value));
        let event = serde_json::json!({"repository": {"default_branch": "main"}});
        fs::write(job.path("event.json"), event.to_string()).unwrap();
        command.env("GITHUB_EVENT_PATH", job.path("event.json")).run().ok()
    };
    let before = place.entries();
    let key = format!("new-{}", before.len());
    let job = Job::github();
    let outcome = run(&job, save(&job, place, &key));
    let word = outcome.json()["outcome"].as_str().unwrap().to_owned();
    let is_told = outcome.stderr.contains("other branches restore what it saves");
    let new: Vec<_> = place.entries().into_iter().filter(|name| !before.contains(name)).collect();
    let writes = match (&*word, &new[..]) {
        ("read-only", []) => "-".to_owned(),
        ("saved", [name]) => {
            name.strip_suffix(&object("shared", &key)).unwrap().trim_end_matches('/').replace("%2F", "/")
        }
        other => panic!("{other:?}: {}", outcome.stderr),
    };
    let writes = if writes.is_empty() { "shared".to_owned() } else { writes };
    let mut reads = Vec::new();
    for key in ["pull", "mine", "main", "shared"] {
        let job = Job::github();
        let outcome = run(&job, restore(&job, place, key));
        match &*found(&job, &outcome) {
            "off" => return format!("{writes}{}; off", if is_told { "!" } else { "" }),
            "nothing-there" => {}
            text => reads.push(text.to_owned()),
        }
    }
    format!("{writes}{}; {}", if is_told { "!" } else { "" }, reads.join(" "))
}

/// What must come out, from the rules as the documentation gives them.
fn expected(trigger: &str, mode: &str, scope: &str) -> String {
    let is_trusted = ["push", "schedule", "workflow_dispatch", "merge_group", "pull_request"].contains(&trigger);
    let is_pull = trigger.starts_with("pull_request") && trigger != "pull_request_target";
    let own = if is_pull { "refs/pull/7/merge" } else { "refs/heads/main" };
    let place = match scope {
        "none" => "shared",
        "auto" if is_pull => own,
        "auto" => "shared",
        "ref" => own,
        _ => "scope/mine",
    };
    let mode = match mode {
        "auto" if is_trusted => "write",
        "auto" => "read",
        mode => mode,
    };
    let writes = match mode {
        "write" | "write-only" if is_trusted => place.to_owned(),
        "write" | "write-only" => format!("{place}!"),
        _ => "-".to_owned(),
    };
    let reads = match (mode, scope) {
        ("write-only" | "none", _) => "off",
        (_, "none") => "shared",
        (_, "auto") if is_pull => "pull shared",
        (_, "auto") => "shared",
        (_, "ref") if is_pull => "pull main",
        (_, "ref") => "main",
        _ => "mine main",
    };
    format!("{writes}; {reads}")
}

#[test]
fn trigger_mode_and_scope_decide_what_is_read_and_written() {
    let triggers = [
        "push",
        "schedule",
        "merge_group",
        "pull_request",
        "pull_request_target",
        "pull_request_review",
        "issue_comment",
        "workflow_run",
        "discussion_comment",
        "fork",
        "watch",
        "release",
        "of-tomorrow",
    ];
    let place = Place::local();
    for (scope, text) in
        [("shared", "shared"), ("refs/heads/main", "main"), ("refs/pull/7/merge", "pull"), ("scope/mine", "mine")]
    {
        plant(&place, scope, text, text);
    }
    let mut wrong = Vec::new();
    eprintln!("trigger | mode | scope | saves to; finds the entries of (! = with a warning)");
    for trigger in triggers {
        for mode in ["auto", "read", "write", "write-only", "none"] {
            for scope in ["auto", "none", "ref", "mine"] {
                // Each pair of two columns for the triggers that behave alike, and all three for the others.
                let is_special = ["push", "pull_request", "pull_request_target", "of-tomorrow"].contains(&trigger);
                if !is_special && (mode != "auto" || !["auto", "none"].contains(&scope)) {
                    continue;
                }
                let (found, expected) = (cell(&place, trigger, mode, scope), expected(trigger, mode, scope));
                eprintln!("{trigger} | {mode} | {scope} | {found}");
                if found != expected {
                    wrong.push(format!("{trigger} {mode} {scope}: {found}, not {expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_mode_of_the_runner_is_obeyed_and_that_of_the_user_wins() {
    let check = |runner: &str, user: &str, expected: &str, restored: &str| {
        let place = Place::local();
        plant(&place, "shared", "k", "shared");
        let job = Job::github();
        let with = |command: Invocation| command.env("ACTIONS_CACHE_MODE", runner).env("XCACHE_MODE", user).run().ok();
        let outcome = with(save(&job, &place, "new"));
        assert_eq!(outcome.json()["outcome"], expected, "{runner} {user}: {}", outcome.stderr);
        let job = Job::github();
        assert_eq!(found(&job, &with(restore(&job, &place, "k"))), restored, "{runner} {user}");
    };
    check("", "", "saved", "shared");
    check("read", "", "read-only", "shared");
    check("write-only", " ", "saved", "off");
    check("none", "auto", "read-only", "off");
    check("read", "write", "saved", "shared");
    check("write", "read", "read-only", "shared");
    check("of-tomorrow", "", "read-only", "shared");
}

#[test]
fn an_unknown_mode_is_one_warning_in_a_job_and_an_error_elsewhere() {
    let place = Place::local();
    plant(&place, "shared", "k", "shared");
    for (program, expected) in [(SAVE, "not-saved"), (RESTORE, "miss")] {
        let run = |job: &Job, args: &[&str]| {
            fs::write(job.path("file"), "text").unwrap();
            let command = job.command(program).store(&place).args(["--key", "k", "--json", "--mode", "raed"]);
            command.args(args).arg("file").run()
        };
        let outcome = run(&Job::github(), &[]).ok();
        assert_eq!(outcome.json()["outcome"], expected);
        assert_eq!(outcome.stderr.matches("::warning::").count(), 1, "{}", outcome.stderr);
        let outcome = outcome.reviewed();
        assert_eq!(outcome.stderr.matches("::error::").count(), 0, "{}", outcome.stderr);
        let outcome = run(&Job::github(), &["--fail-on-error"]);
        assert_ne!(outcome.code, Some(0));
        assert_eq!((outcome.stdout + &outcome.stderr).matches("::error::").count(), 1);
        run(&Job::new(), &[]).expect_code(2).reviewed();
    }
}

#[test]
fn a_read_only_job_asks_for_nothing_and_clears_nothing() {
    let place = Place::local();
    plant(&place, "shared", "k", "shared");
    let job = Job::github();
    // A store that is not there: it is not even opened.
    let outcome = job
        .command(SAVE)
        .args(["--store", "s3://no-such-bucket/x", "--mode", "read", "--key", "k", "--fail-on-error", "file"])
        .run()
        .ok();
    outcome.clone().reviewed();
    assert_eq!(job.outputs()["outcome"], "read-only");
    let event = serde_json::json!({"head_commit": {"message": "[ci-clear-cache]"}});
    fs::write(job.path("event.json"), event.to_string()).unwrap();
    let command = restore(&job, &place, "k").args(["--mode", "read"]);
    let outcome = command.env("GITHUB_EVENT_PATH", job.path("event.json")).run().ok().reviewed();
    assert_eq!(outcome.json()["outcome"], "exact");
    assert_eq!(place.entries(), ["k-base.tar.zst"]);
}

#[test]
fn the_log_of_gitlab_has_a_section_for_each_program() {
    for (system, has_sections) in [("gitlab", true), ("github", false), ("jenkins", false)] {
        let recorded = Recorded::one(system, "push");
        let (place, job) = (Place::local(), Job::new());
        fs::write(job.path("file"), "text").unwrap();
        for program in [SAVE, RESTORE] {
            let run = |more: &[&str]| {
                let command = job.command(program).store(&place).args(["--key", "k", "file"]).args(more);
                recorded.apply(&job, command).run().ok().stderr
            };
            let log = run(&[]);
            let name = |mark: &str| {
                let rest = log.split(mark).nth(1)?;
                rest.split([':', '\r']).nth(1).map(str::to_owned)
            };
            let (begin, end) = (name("\u{1b}[0Ksection_start:"), name("\u{1b}[0Ksection_end:"));
            assert_eq!(begin.is_some(), has_sections, "{system}: {log:?}");
            assert_eq!(begin, end, "{system}: {log:?}");
            if has_sections {
                assert!(log.starts_with("\u{1b}[0Ksection_start:") && log.ends_with("\r\u{1b}[0K\n"), "{log:?}");
            }
            assert!(!run(&["--quiet"]).contains("section_"), "{system}");
        }
    }
}
