//! The actions in an executor of workflows that is not ours: nektos/act, on this machine and without containers.
//!
//! It runs `main` and `post` of JavaScript actions with the saved state, evaluates inputs again for `post`, and expands
//! matrices. It cannot show what only GitHub's runner has: `$/` in `uses`, ACTIONS_CACHE_MODE, identity tokens, the
//! signals of a cancelled job, and containers. The emulated runner and `one_step.rs` stand for those.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::runner::checkout;

use crate::actions::PROGRAMS;
use crate::{restored, saved};

/// A repository with the workflows of `tests/act`, and what act needs beside it.
struct Act {
    job: Job,
    program: PathBuf,
}

impl Act {
    fn new() -> Self {
        let job = Job::new();
        let output = Command::new(checkout().join("tests/support/act")).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "act cannot be installed: {error}");
        let program = String::from_utf8(output.stdout).unwrap().trim().into();

        // What `uses: OWNER/xcache@v1` would download.
        let action = job.home().join("action");
        fs::create_dir(&action).unwrap();
        fs::copy(checkout().join("action.yml"), action.join("action.yml")).unwrap();
        for dir in ["action", "restore", "save", "gc"] {
            fs::create_dir(action.join(dir)).unwrap();
            for entry in fs::read_dir(checkout().join(dir)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), action.join(dir).join(entry.file_name())).unwrap();
            }
        }
        let bin = job.home().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, program) in PROGRAMS {
            std::os::unix::fs::symlink(program, bin.join(name)).unwrap();
        }

        let workflows = job.work().join(".github/workflows");
        fs::create_dir_all(&workflows).unwrap();
        for entry in fs::read_dir(checkout().join("tests/act")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), workflows.join(entry.file_name())).unwrap();
        }
        fs::write(job.path("seed"), "1").unwrap();
        let script = "git init --quiet --initial-branch=main && git add --all &&
            git -c user.name=test -c user.email=test@localhost commit --quiet --message=test";
        job.command("sh").args(["-c", script]).run().ok();
        Self { job, program }
    }

    /// Runs the workflow `name` on `event`, whose file holds `body`.
    fn run(&self, place: &Place, name: &str, event: &str, body: serde_json::Value) -> Outcome {
        let file = self.job.home().join("event.json");
        fs::write(&file, body.to_string()).unwrap();
        let home = self.job.home();
        let replaced = format!("OWNER/xcache@v1={}", home.join("action").display());
        let command = self.job.command(&self.program).arg(event).arg("--workflows");
        let command = command.arg(self.job.work().join(".github/workflows").join(name)).arg("--eventpath").arg(file);
        let command = command.args(["--platform", "ubuntu-24.04=-self-hosted", "--no-cache-server"]);
        let command = command.args(["--local-repository", &replaced, "--defaultbranch", "main"]);
        let bin = format!("XCACHE_BIN_DIR={}", home.join("bin").display());
        command.args(["--env", &bin, "--env", &format!("XCACHE_STORE={}", place.url())]).run()
    }
}

/// Saves a file `out` with `text` under `key`, as an earlier run of `main` did.
fn save_out(place: &Place, key: &str, text: &str) {
    let job = Job::github();
    fs::write(job.path("out"), text).unwrap();
    saved(&job, place, key, Path::new("out"));
}

/// What the entry with this key holds.
fn out(place: &Place, key: &str) -> String {
    let job = Job::github();
    restored(&job, place, key, Path::new("out"));
    fs::read_to_string(job.path("out")).unwrap().trim().to_owned()
}

#[test]
fn a_push_with_one_step_the_pair_several_caches_a_matrix_and_a_clean_up() {
    let (act, place) = (Act::new(), Place::local());
    let outcome = act.run(&place, "push.yml", "push", serde_json::json!({}));
    let log = outcome.ok().stdout;
    assert_eq!(log.matches("Job succeeded").count(), 8, "{log}");
    let entries = place.entries();
    let mut keys: Vec<&str> = entries.iter().map(|name| name.rsplit_once('-').unwrap().0).collect();
    assert_eq!(keys.extract_if(.., |key| key.starts_with("one-")).count(), 1, "{entries:?}");
    assert_eq!(keys, ["matrix-x", "matrix-y", "matrix-z", "pair-1", "several-a", "several-b"]);
    // The save of one step stands at the end of its job, after its other steps.
    let built = log.find("echo built >out/file").unwrap();
    let saved = log.find("Cache saved with key: one-").unwrap();
    assert!(built < saved, "{log}");
    assert!(log.contains("Cache hit occurred on the primary key one-"), "{log}");
    assert!(log.contains("Not saving cache: `save-if` is false."), "{log}");
}

#[test]
fn a_failed_build_is_saved_only_on_demand() {
    let (act, place) = (Act::new(), Place::local());
    let log = act.run(&place, "failure.yml", "push", serde_json::json!({})).expect_code(1).stdout;
    assert_eq!(place.entries(), ["kept-base.tar.zst"], "{log}");
    assert!(log.contains("Not saving cache: the job failed."), "{log}");
}

#[test]
fn the_pull_request_of_a_fork_reads_what_main_saved_and_cannot_change_what_it_restores() {
    let (act, place) = (Act::new(), Place::local());
    save_out(&place, "main-1", "trusted");
    let repo = |name| serde_json::json!({"full_name": name, "default_branch": "main", "fork": name != "owner/repo"});
    let body = serde_json::json!({
        "action": "opened",
        "number": 7,
        "repository": repo("owner/repo"),
        "pull_request": {
            "number": 7,
            "head": {"ref": "main", "repo": repo("stranger/repo")},
            "base": {"ref": "main", "repo": repo("owner/repo")},
        },
    });
    let log = act.run(&place, "pull_request.yml", "pull_request", body).ok().stdout;
    assert!(log.contains("Cache restored from key: main-1"), "{log}");
    assert_eq!(out(&place, "main-1"), "trusted");
    // What it saved under any key lies in a scope of its own, where `main` never looks.
    let (own, shared): (Vec<_>, Vec<_>) = place.entries().into_iter().partition(|name| name.contains('/'));
    assert_eq!(shared, ["main-1-base.tar.zst"]);
    assert_eq!(own.len(), 3, "{own:?}");
    assert!(own.iter().all(|name| name.starts_with("refs%2Fpull%2F7%2Fmerge/")), "{own:?}");
}

#[test]
fn the_message_of_a_push_clears_the_entry_and_its_job_saves_anew() {
    let (act, place) = (Act::new(), Place::local());
    save_out(&place, "main-1", "old");
    let body = serde_json::json!({"head_commit": {"message": "Fix [ci-clear-cache]"}});
    act.run(&place, "clear.yml", "push", body).ok();
    assert_eq!(out(&place, "main-1"), "new");
}
