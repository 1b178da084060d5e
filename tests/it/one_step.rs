//! The one-step action as the runner runs it: `main` where it stands, `post` at the end of the job, each a process of
//! its own under node.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use xcache_tests::job::{Job, parse_file};
use xcache_tests::place::Place;
use xcache_tests::runner::{Runner, StepResult, checkout};
use xcache_tests::s3;

use crate::actions::PROGRAMS;

/// A runner whose job keeps its entries in `place`, with a file `saved` that a build has made if there is `content`.
fn runner(place: &Place) -> Runner {
    let mut runner = Runner::new(&PROGRAMS);
    runner.set_env("XCACHE_STORE", place.url());
    for (name, value) in place.env() {
        runner.set_env(name, value);
    }
    runner
}

/// A job with one step: restore, build, and what stands at its end. The build writes `content` into `saved`.
fn job(place: &Place, with: &[(&str, &str)], content: &str, status: &'static str) -> (StepResult, StepResult) {
    let mut runner = runner(place);
    let step = runner.uses("", &[&[("path", "saved")], with].concat());
    fs::write(runner.job().path("saved"), content).unwrap();
    let [post] = &runner.finish(status)[..] else { panic!("one step has one end") };
    (step, post.clone())
}

#[test]
fn a_miss_is_saved_at_the_end_and_a_hit_is_not() {
    for place in Place::each() {
        let with = [("key", "key-1"), ("restore-keys", "key-")];
        let (step, post) = job(&place, &with, "built", "success");
        assert_eq!(
            (step.outputs["outcome"].as_str(), step.outputs["cache-hit"].as_str()),
            ("miss", ""),
            "{}",
            step.log
        );
        assert!(!step.is_failure && !post.is_failure, "{}", post.log);
        assert!(post.log.contains("Cache saved with key: key-1"), "{}", post.log);

        let (step, post) = job(&place, &with, "built again", "success");
        assert_eq!(step.outputs["cache-hit"], "true", "{}", step.log);
        assert_eq!(post.log, "Cache hit occurred on the primary key key-1, not saving cache.\n");
        let (step, post) = job(&place, &[("key", "key-2"), ("restore-keys", "key-")], "newer", "success");
        assert_eq!(step.outputs["cache-matched-key"], "key-1");
        assert!(post.log.contains("Cache saved with key: key-2"), "{}", post.log);
        assert_eq!(place.entries().len(), 2);
    }
}

#[test]
fn what_is_saved_depends_on_how_the_job_ended() {
    for (status, save_if, on_failure, is_saved) in [
        ("success", "", "", true),
        ("success", "true", "", true),
        ("success", "YES", "no", true),
        ("success", "false", "", false),
        ("success", "0", "true", false),
        ("failure", "", "", false),
        ("failure", "true", "false", false),
        ("failure", "", "true", true),
        ("failure", "off", "on", false),
        ("cancelled", "", "", false),
        ("cancelled", "true", "true", false),
        ("", "", "", false),
    ] {
        let place = Place::local();
        let with = [("key", "key"), ("save-if", save_if), ("save-on-failure", on_failure)];
        let (step, post) = job(&place, &with, "built", status);
        let what = format!("{status} {save_if} {on_failure}: {}{}", step.log, post.log);
        assert_eq!(!place.entries().is_empty(), is_saved, "{what}");
        assert!(!step.is_failure && !post.is_failure && !what.contains("::"), "{what}");
        assert!(is_saved || post.log.starts_with("Not saving cache: "), "{what}");
    }
}

#[test]
fn a_switch_that_cannot_be_read_is_one_annotation_and_saves_nothing() {
    for (name, value) in [("save-if", "flase"), ("save-on-failure", "maybe"), ("save-if", "2\n::error::x")] {
        let place = Place::local();
        let (step, post) = job(&place, &[("key", "key"), (name, value)], "built", "success");
        let annotations: Vec<_> = step.log.lines().filter(|line| line.starts_with("::")).collect();
        let [annotation] = annotations[..] else { panic!("{}", step.log) };
        assert!(annotation.starts_with("::error::") && annotation.contains(&format!("`{name}`")), "{annotation}");
        assert!(
            !post.log.contains("::") && post.log.starts_with("Not saving cache: an input is wrong"),
            "{}",
            post.log
        );
        assert!(!step.is_failure && !post.is_failure && place.entries().is_empty());

        let (step, _) = job(&place, &[("key", "key"), (name, value), ("fail-on-error", "true")], "built", "success");
        assert!(step.is_failure, "{}", step.log);
    }
    // One that is evaluated only at the end.
    let place = Place::local();
    let mut runner = runner(&place);
    runner.uses("", &[("path", "saved"), ("key", "key")]);
    fs::write(runner.job().path("saved"), "built").unwrap();
    runner.change_input("save-if", "perhaps");
    let post = &runner.finish("success")[0];
    assert!(post.log.starts_with("::error::nothing is saved: `save-if` is `perhaps`"), "{}", post.log);
    assert!(!post.is_failure && place.entries().is_empty());
}

#[test]
fn the_save_takes_key_and_paths_as_they_were_at_the_restore() {
    let place = Place::local();
    let mut runner = runner(&place);
    runner.uses("", &[("path", "saved"), ("key", "before")]);
    fs::write(runner.job().path("saved"), "built").unwrap();
    fs::write(runner.job().path("other"), "built").unwrap();
    // As `hashFiles()` gives another value after the build, and `env` another path.
    runner.change_input("key", "after");
    runner.change_input("path", "other");
    runner.finish("success");
    assert_eq!(place.entries(), ["before-base.tar.zst"]);
    let (step, _) = job(&place, &[("key", "before"), ("path", "saved")], "", "success");
    assert_eq!(step.outputs["cache-hit"], "true", "{}", step.log);
}

#[test]
fn variables_of_the_job_stand_for_inputs_and_inputs_come_first() {
    let place = Place::local();
    let mut runner = runner(&place);
    for (name, value) in [("XCACHE_KEY", "from-job"), ("XCACHE_PATH", "saved"), ("XCACHE_TAG", "a=1")] {
        runner.set_env(name, value);
    }
    runner.uses("", &[("key", " "), ("path", "")]);
    fs::write(runner.job().path("saved"), "built").unwrap();
    runner.uses("", &[("key", "from-step")]);
    runner.finish("success");
    // The last one ends first, so that the other one builds on it.
    assert_eq!(place.entries(), ["from-job-delta.tar.zst", "from-step-base.tar.zst"]);
}

#[test]
fn several_steps_and_several_caches_of_a_step_are_each_saved() {
    let place = Place::on(s3::server());
    let caches = "[{path: a, key: a-1}, {path: b, key: b-1, restore-keys: b-}]";
    let job = || {
        let mut runner = runner(&place);
        let steps = [runner.uses("", &[("caches", caches)]), runner.uses("", &[("path", "c"), ("key", "c-1")])];
        for name in ["a", "b", "c"] {
            fs::write(runner.job().path(name), name).unwrap();
        }
        (steps, runner.finish("success"))
    };
    let (steps, posts) = job();
    assert!(steps.iter().all(|step| step.outputs["cache-hit"].is_empty()), "{steps:?}");
    assert!(posts[0].log.contains("key: c-1") && posts[1].log.contains("key: b-1"), "{posts:?}");
    assert_eq!(place.entries(), ["a-1-base.tar.zst", "b-1-base.tar.zst", "c-1-base.tar.zst"]);
    let (steps, posts) = job();
    assert!(steps.iter().all(|step| step.outputs["cache-hit"] == "true"), "{steps:?}");
    assert!(posts.iter().all(|post| post.log.starts_with("Cache hit occurred on the primary key")), "{posts:?}");
}

#[test]
fn a_step_that_failed_or_never_found_its_program_is_not_asked_to_save() {
    let place = Place::local();
    let (step, post) = job(&place, &[("key", "key"), ("fail-on-cache-miss", "true")], "built", "failure");
    assert!(step.is_failure, "{}", step.log);
    assert!(post.log.contains("the job failed"), "{}", post.log);

    let mut runner = runner(&place);
    runner.set_env("RUNNER_OS", "macOS");
    let step = runner.uses("", &[("path", "saved"), ("key", "key")]);
    assert!(!step.is_failure, "{}", step.log);
    assert_eq!(step.log.matches("::warning::").count(), 1, "{}", step.log);
    let post = &runner.finish("success")[0];
    assert_eq!(post.log, "Not saving cache: the restore of this step did not finish.\n");
    assert_eq!(place.entries(), [""; 0]);
}

/// The file without the emulated runner: `main`, or `post` with what is in `POST`.
struct Node {
    job: Job,
    bin: PathBuf,
}

impl Node {
    /// The programs are scripts that note how they were called, and then do what `script` says.
    fn with(script: &str) -> Self {
        let job = Job::github();
        let bin = job.dir("bin");
        for name in ["xcache-restore", "xcache-save"] {
            let work = job.work();
            let notes = format!("env >'{0}/{name}.env'; echo \"$@\" >'{0}/{name}.args'", work.display());
            program(&bin.join(name), &format!("[ \"$1\" != --version ] || exit 0\n{notes}\n{script}"));
        }
        Self { job, bin }
    }

    fn command(&self, env: &[(&str, &str)]) -> Command {
        let command = self.job.command("node").arg(checkout().join("action/main.js")).env("XCACHE_BIN_DIR", &self.bin);
        env.iter().fold(command, |command, (name, value)| command.env(name, value)).into_command()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.job.path(name)
    }
}

fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

const POST: [(&str, &str); 3] = [("STATE_post", "true"), ("STATE_outcome", "miss"), ("INPUT_JOB-STATUS", "success")];

/// Starts `command`, whose output is read line by line.
fn start(mut command: Command) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[test]
fn signals_are_passed_on_and_the_end_of_the_program_is_waited_for() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        for env in [&[][..], &POST[..]] {
            // It takes its time to end, in which it puts files back: until there is something to read.
            // After twenty seconds it gives up, so that a failing test does not hang.
            let node = Node::with(
                "trap 'echo stopping; timeout 20 cat fifo >/dev/null; exit 1' INT TERM HUP\n\
                 echo ready; sleep 20 >/dev/null 2>&1 & wait; echo expired",
            );
            assert!(Command::new("mkfifo").arg(node.file("fifo")).status().unwrap().success());
            let (mut child, mut lines) = start(node.command(env));
            assert_eq!(lines.next().unwrap().unwrap(), "ready");
            kill_process(Pid::from_child(&child), signal).unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "stopping", "{signal:?}");
            assert!(child.try_wait().unwrap().is_none(), "the program was left behind");
            fs::write(node.file("fifo"), "go\n").unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(1), "{signal:?}");
        }
    }
}

#[test]
fn a_signal_during_a_download_leaves_nothing_running_and_nothing_behind() {
    let node = Node::with("");
    let action = node.job.dir("release").join("action");
    fs::create_dir(&action).unwrap();
    for name in ["main.js", "run.sh"] {
        fs::copy(checkout().join("action").join(name), action.join(name)).unwrap();
    }
    let sum = "0".repeat(64);
    fs::write(action.join("SHA256SUMS"), format!("{sum}  xcache-restore-1.2.3-x86_64-unknown-linux-musl\n")).unwrap();
    // A download that takes longer than anybody waits for, and says how it ends.
    let curl = "trap 'echo interrupted; exit 1' INT; echo started; sleep 20 >/dev/null 2>&1 & wait; echo expired";
    program(&node.bin.join("curl"), curl);
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([node.bin.clone()].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let command = node.job.command("node").arg(action.join("main.js")).env("PATH", path);
    let command = command.env("RUNNER_ARCH", "X64").env("RUNNER_TOOL_CACHE", node.file("tools"));
    let (mut child, mut lines) = start(command.into_command());
    assert_eq!(lines.next().unwrap().unwrap(), "started");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "interrupted", "the download was left behind");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let left: Vec<_> = fs::read_dir(node.file("tools/xcache/1.2.3/x86_64-unknown-linux-musl")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_program_that_is_killed_fails_a_restore_but_not_a_save() {
    let node = Node::with("kill -KILL $$");
    let output = node.command(&[]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("::error::xcache-restore was ended by SIGKILL"), "{text}");
    let output = node.command(&POST).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.starts_with("::warning::nothing was saved: xcache-save was ended by SIGKILL"), "{text}");
    let env = [&POST[..], &[("INPUT_FAIL-ON-ERROR", "true")]].concat();
    assert_eq!(node.command(&env).output().unwrap().status.code(), Some(1));
}

#[test]
fn the_exit_code_of_a_program_is_that_of_the_step() {
    for code in [0, 1, 2] {
        let node = Node::with(&format!("exit {code}"));
        assert_eq!(node.command(&[]).output().unwrap().status.code(), Some(code));
        assert_eq!(node.command(&POST).output().unwrap().status.code(), Some(code));
    }
}

#[test]
fn inputs_become_variables_and_secrets_appear_nowhere_else() {
    let node = Node::with("");
    let env = [
        ("INPUT_PATH", "a b\n!c"),
        ("INPUT_RESTORE-KEYS", " x-\n"),
        ("INPUT_ENABLECROSSOSARCHIVE", "true"),
        ("INPUT_AWS-SECRET-ACCESS-KEY", "hunter2"),
        ("INPUT_ANYTHING-NEW", "new"),
        ("INPUT_LEVEL", "  "),
        ("INPUT_SAVE-IF", "true"),
        ("XCACHE_LEVEL", "7"),
        ("XCACHE_PATH", "replaced"),
    ];
    let output = node.command(&env).output().unwrap();
    let seen = fs::read_to_string(node.file("xcache-restore.env")).unwrap();
    for line in [
        "XCACHE_PATH=a b\n!c\n",
        "XCACHE_RESTORE_KEYS= x-\n\n",
        "XCACHE_ENABLE_CROSS_OS_ARCHIVE=true\n",
        "XCACHE_AWS_SECRET_ACCESS_KEY=hunter2\n",
        "XCACHE_ANYTHING_NEW=new\n",
        "XCACHE_LEVEL=7\n",
    ] {
        assert!(seen.contains(line), "`{line}` is missing:\n{seen}");
    }
    assert!(!seen.contains("INPUT_") && !seen.contains("SAVE_IF"), "{seen}");
    assert_eq!(fs::read_to_string(node.file("xcache-restore.args")).unwrap(), "\n");
    let state = fs::read_to_string(node.job.github_file("GITHUB_STATE")).unwrap();
    assert_eq!(parse_file(&node.job.github_file("GITHUB_STATE"))["XCACHE_PATH"], "a b\n!c");
    for text in [state, String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn without_a_shell_or_the_runners_files_the_step_goes_on_without_the_cache() {
    let node = Node::with("");
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join("node")).find(|path| path.exists());
    let no_shell = node.job.command(found.unwrap()).arg(checkout().join("action/main.js")).env("PATH", "/nonexistent");
    let outcome = no_shell.run().ok();
    let said = "::warning::continuing without the cache: xcache-restore needs Linux and a POSIX shell: ";
    assert!(outcome.stdout.starts_with(said), "{outcome:?}");
    assert_eq!(outcome.stdout.lines().count(), 1);
    for file in ["GITHUB_STATE", "GITHUB_OUTPUT"] {
        let output = node.command(&[(file, "/nonexistent/file")]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("::warning::continuing without the cache: ") && output.status.success(), "{text}");
        let env = [(file, "/nonexistent/file"), ("XCACHE_FAIL_ON_ERROR", "true")];
        assert_eq!(node.command(&env).output().unwrap().status.code(), Some(1));
    }
}

#[test]
fn wrong_input_is_one_annotation_for_the_whole_job() {
    for with in [
        &[("key", " ")][..],
        &[("key", "a,b")],
        &[("key", "key"), ("restore-keys", "a,b")],
        &[("key", "key"), ("path", "!!")],
        &[("key", "key"), ("level", "99")],
        &[("key", "key"), ("mode", "everything")],
        &[("key", "key"), ("store", "s3://")],
        &[("key", "key"), ("store", "ftp://host")],
        &[("key", "key"), ("clean", "maybe")],
        &[("key", "key"), ("concurrency", "none")],
    ] {
        let place = Place::local();
        let (step, post) = job(&place, with, "built", "success");
        let log = format!("{}{}", step.log, post.log);
        let annotations = log.lines().filter(|line| line.starts_with("::")).count();
        assert_eq!(annotations, 1, "{with:?}: {log}");
        assert!(!step.is_failure && !post.is_failure, "{with:?}: {log}");
        assert_eq!(place.entries(), [""; 0], "{with:?}");
        // An input of the save alone is read at the end.
        let (step, post) = job(&place, &[with, &[("fail-on-error", "true")]].concat(), "built", "success");
        assert!(step.is_failure || post.is_failure, "{with:?}: {}{}", step.log, post.log);
    }
}
