//! The surroundings of a run: streams that are closed or full, limits on threads, files and memory, variables of other
//! programs, signals, and a time that is up. Whatever they are, a program ends, and no build fails for them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::tree::{Rng, assert_same_tree};
use xcache_tests::{s3, skip};

use crate::delta::races::start;
use crate::{GC, RESTORE, SAVE, save, saved};

/// The command, run by a shell after `before`, and with `after` behind it.
fn in_shell(job: &Job, before: &str, exe: &str, after: &str) -> Invocation {
    job.command("bash").arg("-c").arg(format!("{before} exec \"$0\" \"$@\" {after}")).arg(exe)
}

/// A job that has saved a file of a megabyte as `key` into a local store.
fn with_entry() -> (Job, Place) {
    let (job, place) = (Job::new(), Place::local());
    fs::write(job.dir("tree").join("file"), Rng::new(7).bytes(1 << 20)).unwrap();
    saved(&job, &place, "key", &job.path("tree"));
    (job, place)
}

#[test]
fn data_that_cannot_be_written_is_a_failure() {
    let (job, place) = with_entry();
    let commands: [(&str, &[&str]); 9] = [
        (GC, &["rm", "key", "--dry-run"]),
        (GC, &["ls"]),
        (GC, &["ls", "--json"]),
        (GC, &["du"]),
        (GC, &["verify", "--json"]),
        (RESTORE, &["--key", "key", "tree", "--json"]),
        (SAVE, &["--key", "key", "tree", "--json"]),
        (GC, &["show", "key"]),
        (GC, &["prune", "--max-age", "1d", "--min-age", "0s", "--dry-run", "--json"]),
    ];
    for (exe, args) in commands {
        let run = |to| in_shell(&job, "", exe, to).args(args).store(&place).run();
        run("").ok();
        run(">/dev/full").expect_code(1).says(&["error: cannot write to the standard output: "]);
        // Rust opens `/dev/null` there, for reading and writing. What is redirected to it on purpose is no loss.
        let closed = run(">&-");
        match args[0] {
            "rm" => closed.ok(),
            _ => closed.expect_code(1).says(&["error: cannot write to the standard output: "]),
        };
        run(">/dev/null").ok();
        // The reader has gone before the first byte.
        let mut child = start(job.command(exe).args(args).store(&place));
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(1), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["--man"], &["--completions", "bash"]] {
        in_shell(&job, "", SAVE, ">/dev/full").args(args).run().expect_code(1);
        in_shell(&job, "", SAVE, ">/dev/null").args(args).run().ok();
    }
}

#[test]
fn a_log_that_cannot_be_written_is_no_failure() {
    let (job, place) = with_entry();
    for after in ["2>/dev/full", "2>&-", "<&- >&- 2>&-", "2>/dev/full >/dev/null"] {
        for exe in [SAVE, RESTORE] {
            let run = in_shell(&job, "", exe, after).args(["--key", "key", "tree", "-vv"]).store(&place);
            run.run().ok();
        }
    }
    assert!(job.path("tree/file").exists());
}

#[test]
fn files_of_the_runner_that_cannot_be_written_are_a_warning() {
    for (variable, what) in [("GITHUB_OUTPUT", "outputs"), ("GITHUB_STEP_SUMMARY", "the summary")] {
        for target in ["/dev/full", "/", "/nonexistent/file"] {
            for exe in [SAVE, RESTORE] {
                let (job, place) = (Job::github(), Place::local());
                fs::write(job.path("p"), "x").unwrap();
                let outcome = job.command(exe).args(["p", "--key", "k"]).store(&place).env(variable, target).run().ok();
                let expected = format!("::warning::cannot write {what} to `{target}`");
                assert_eq!(outcome.stdout.matches(&expected).count(), 1, "{outcome:?}");
                // What a later step reads is missing: that is trouble, and one error where trouble is to fail.
                let strict = job.command(exe).args(["p", "--key", "k2", "--fail-on-error"]).store(&place);
                let outcome = strict.env(variable, target).run().expect_code(1);
                let annotations: Vec<_> = outcome.stdout.lines().filter(|line| line.starts_with("::")).collect();
                assert_eq!(annotations.len(), 1, "{outcome:?}");
                assert!(annotations[0].starts_with("::error::") && annotations[0].contains(what), "{outcome:?}");
            }
        }
    }
    // A document that nobody gets is trouble of a job, too.
    for to in [">/dev/full", ">&-"] {
        let (job, place) = (Job::github(), Place::local());
        let run = |flag: &[&str]| {
            let args = ["p", "--key", "k", "--json"];
            in_shell(&job, "", RESTORE, to).args(args).args(flag).store(&place).run()
        };
        assert!(run(&[]).ok().stderr.contains("::warning::cannot write to the standard output"));
        let strict = run(&["--fail-on-error"]).expect_code(1);
        assert_eq!(strict.stderr.matches("::error::").count(), 1, "{strict:?}");
        assert_eq!(strict.stderr.matches("::warning::").count(), 0, "{strict:?}");
    }
    // An annotation whose stream is full comes on the other one.
    let job = Job::github();
    let outcome = in_shell(&job, "", RESTORE, ">/dev/full").args(["p", "--key", "k"]).run().ok();
    assert!(outcome.stderr.contains("::warning::no store given"), "{outcome:?}");
}

#[test]
fn variables_of_the_runtime_change_nothing() {
    let (job, place) = with_entry();
    for value in ["", "0", "abc", "-1", "999999"] {
        let target = job.path("target");
        let outcome = job.command(RESTORE).args(["--key", "key"]).arg(&target).store(&place);
        outcome.env("TOKIO_WORKER_THREADS", value).run().ok();
        assert_same_tree(&job.path("tree"), &target, &[]);
        fs::remove_dir_all(target).unwrap();
    }
}

#[test]
fn a_file_that_may_not_grow_is_a_miss() {
    let (job, place) = with_entry();
    let restore = in_shell(&job, "ulimit -f 100;", RESTORE, "").args(["--key", "key", "target", "--json"]);
    let document = restore.store(&place).run().ok().json();
    assert_eq!((&document["outcome"], &document["reason"]), (&"miss".into(), &"cannot-write".into()), "{document}");
    assert!(!job.path("target/file").exists());
    let fresh = Place::local();
    let save = in_shell(&job, "ulimit -f 100;", SAVE, "").args(["--key", "key", "tree", "--json"]);
    assert_eq!(save.store(&fresh).run().ok().json()["outcome"], "not-saved");
    assert_eq!(fresh.entries(), [""; 0]);
}

/// What a run under a limit must be: a hit or a miss, with exit code 0.
#[track_caller]
fn ends_well(outcome: Outcome) -> Value {
    let document = outcome.ok().json();
    assert!(["exact", "miss", "saved", "exists", "not-saved"].iter().any(|word| document["outcome"] == *word));
    document
}

#[test]
fn few_open_files_are_no_crash() {
    let (job, place) = with_entry();
    for files in [4, 5, 6, 8, 10, 16, 64] {
        let limit = format!("ulimit -n {files};");
        for (exe, path) in [(RESTORE, format!("to-{files}")), (SAVE, "tree".to_owned())] {
            ends_well(in_shell(&job, &limit, exe, "").args(["--key", "key", &path, "--json"]).store(&place).run());
        }
    }
}

#[test]
fn little_address_space_is_no_crash() {
    let (job, place) = with_entry();
    for mib in (300..700).step_by(25).chain([1024, 2048]) {
        let limit = format!("ulimit -v {};", mib * 1024);
        for (exe, path) in [(RESTORE, format!("to-{mib}")), (SAVE, "tree".to_owned())] {
            let run = in_shell(&job, &limit, exe, "").args(["--key", "key", &path, "--json", "--workers", "16"]);
            let outcome = run.store(&place).run();
            assert!(!outcome.stderr.contains("panicked"), "{mib}: {}", outcome.stderr);
            ends_well(outcome);
        }
        let outcome = in_shell(&job, &limit, GC, "").arg("ls").store(&place).run();
        assert!(!outcome.stderr.contains("panicked"), "{mib}: {}", outcome.stderr);
        assert!(outcome.ok().stdout.contains("key"), "{mib}");
    }
}

/// Makes everything of the job belong to a user that has no processes, and allows it to get there.
fn give_to(user: u32, path: &Path) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::read_dir(path).unwrap().for_each(|entry| give_to(user, &entry.unwrap().path()));
    }
}

#[test]
fn as_many_threads_are_used_as_may_be_had() {
    if !skip::has_root() {
        return;
    }
    let mut user = 540_000;
    for threads in (1..=12).chain([20, 200]) {
        for (is_local, place) in [(true, Place::local()), (false, Place::on(s3::server()))] {
            user += 1;
            let job = Job::new();
            fs::write(job.dir("tree").join("file"), Rng::new(7).bytes(1 << 20)).unwrap();
            saved(&job, &place, "key", &job.path("tree"));
            let script = "tar -C tree -c . | zstd -q";
            let plain = Command::new("sh").args(["-c", script]).current_dir(job.work()).output().unwrap();
            place.put("plain-base.tar.zst", &plain.stdout);
            give_to(user, &job.dirs()[0]);
            if is_local {
                give_to(user, place.dir());
            }
            // The first is the process itself.
            let limited = format!("setpriv --reuid={user} --regid={user} --clear-groups prlimit --nproc={threads}");
            let script = format!("exec {limited} \"$0\" \"$@\"");
            let command = |exe: &str| job.command("bash").arg("-c").arg(&script).arg(exe);
            for (exe, key, path, word, fewest) in [
                (RESTORE, "key", "target", "exact", 5),
                // A local store needs a thread of its own meanwhile.
                (RESTORE, "plain", "target", "exact", if is_local { 6 } else { 5 }),
                (SAVE, "key", "tree", "exists", 5),
                (SAVE, "other", "tree", "saved", 5),
            ] {
                let document = ends_well(command(exe).args(["--key", key, path, "--json"]).store(&place).run());
                let is_done = document["outcome"] == word;
                assert_eq!(is_done, threads >= fewest, "{threads} {key}: {document}");
            }
            let listed = command(GC).arg("ls").store(&place).run();
            assert_eq!(listed.code, Some(i32::from(threads < 5)), "{threads}: {listed:?}");
        }
    }
}

#[test]
fn other_processes_of_the_user_cannot_read_its_memory() {
    if !skip::has_root() {
        return;
    }
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    let mut proxy = Proxy::with_rules(server, &["GET . hold"]);
    let user = 540_010;
    give_to(user, &job.dirs()[0]);
    let ids = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
    let command = job.command("prlimit").arg("--core=unlimited").arg("setpriv").args(ids);
    let command = command.arg(RESTORE).args(["--key", "k", "p"]);
    let mut child = start(command.store(&place.behind(proxy.endpoint())));
    proxy.wait_until_held();
    // What may not be dumped belongs to root in /proc, and so is out of the reach of the user's other processes.
    let owner = fs::metadata(format!("/proc/{}/environ", child.id())).unwrap().uid();
    // Nor does its memory reach a disk.
    kill_process(Pid::from_child(&child), Signal::ABORT).unwrap();
    let status = child.wait().unwrap();
    assert!(!status.core_dumped(), "{status:?}");
    assert_eq!((owner, status.signal()), (0, Some(Signal::ABORT.as_raw())));
}

#[test]
fn programs_that_ours_start_do_not_get_its_secrets() {
    let (job, place) = with_entry();
    let bin = job.dir("bin");
    fs::write(
        bin.join("git"),
        "#!/bin/sh\nenv >\"$HOME/seen\"\nprintf '0123456789abcdef0123456789abcdef01234567\\trefs/heads/main\\n'\n",
    )
    .unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut prune = job.command(GC).args(["prune", "--live-branches-from-git", "origin", "--dry-run"]).store(&place);
    prune = prune.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    for name in
        ["XCACHE_AWS_SECRET_ACCESS_KEY", "XCACHE_AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    {
        prune = prune.env(name, "hunter2");
    }
    prune.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hunter2").env("GITHUB_TOKEN", "for-git").run().ok();
    let seen = fs::read_to_string(job.home().join("seen")).unwrap();
    assert!(seen.contains("GITHUB_TOKEN=for-git") && !seen.contains("hunter2"), "{seen}");
}

#[test]
fn a_run_ends_when_its_time_is_up() {
    let server = s3::server();
    let place = Place::on(server);
    let job = Job::github();
    fs::write(job.path("p"), "x").unwrap();
    // Nothing is answered, ever.
    let proxy = Proxy::with_rules(server, &["* . hold"]);
    let behind = place.behind(proxy.endpoint());
    let run = |exe: &str, args: &[&str]| job.command(exe).args(args).store(&behind).env("XCACHE_TIMEOUT", "1s").run();
    let restored = run(RESTORE, &["p", "--key", "k"]).ok();
    assert!(restored.stdout.starts_with("::warning::given up after 1.0 s"), "{restored:?}");
    assert_eq!((&*job.outputs()["outcome"], &*job.outputs()["miss-reason"]), ("miss", "timed-out"));
    let saved = run(SAVE, &["p", "--key", "k"]).ok();
    assert_eq!(saved.stdout.matches("::warning::given up after").count(), 1, "{saved:?}");
    assert_eq!(job.outputs()["outcome"], "not-saved");
    run(RESTORE, &["p", "--key", "k", "--fail-on-error"]).expect_code(1);
    run(SAVE, &["p", "--key", "k", "--fail-on-error"]).expect_code(1);
    let pruned = run(GC, &["prune", "--max-age", "1d"]).expect_code(1);
    assert_eq!(pruned.stdout.matches("::error::given up after").count(), 1, "{pruned:?}");
}

#[test]
fn a_time_that_is_not_up_changes_nothing() {
    let (job, place) = with_entry();
    for timeout in ["0", "1h"] {
        let outcome = job.command(RESTORE).args(["--key", "key", "target", "--json", "--timeout", timeout]);
        assert_eq!(outcome.store(&place).run().ok().json()["outcome"], "exact");
    }
}

#[test]
fn a_second_signal_ends_a_program_that_cleans_up() {
    let server = s3::server();
    for signal in [Signal::TERM, Signal::INT] {
        let (job, place) = (Job::new(), Place::on(server));
        let tree = job.dir("tree");
        fs::write(tree.join("file"), Rng::new(3).bytes(20 << 20)).unwrap();
        // The upload can neither go on nor be aborted.
        let mut proxy = Proxy::with_rules(server, &["PUT partNumber=2 hold count=1", "DELETE uploadId hold"]);
        let child = start(save(&job, &place.behind(proxy.endpoint()), "key").arg(&tree));
        let pid = Pid::from_child(&child);
        proxy.wait_until_held();
        kill_process(pid, signal).unwrap();
        // Now it is the abort.
        proxy.wait_until_held();
        kill_process(pid, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("interrupted, and ended before everything was cleaned up because of a second"), "{text}");
    }
}

#[test]
fn a_signal_in_the_first_moments_ends_a_run_like_any_other() {
    let (job, place) = with_entry();
    for _ in 0..30 {
        let mut command = job.command(RESTORE).args(["--key", "key", "target"]).store(&place).into_command();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for_handler(child.id());
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        let status = child.wait().unwrap();
        assert!(matches!(status.code(), Some(0 | 1)), "{status:?}");
    }
}

/// Waits until the process handles SIGTERM, or is over.
fn wait_for_handler(process: u32) {
    loop {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let Some(mask) = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) else { return };
        if mask & (1 << (15 - 1)) != 0 || status.contains("State:\tZ") {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_handlers_stand_before_anything_else_is_done() {
    // strace shows the order: the first file of ours that is opened comes after the handler.
    let (job, place) = with_entry();
    let trace = job.path("trace");
    if !skip::has("strace", Command::new("strace").arg("-V").output().is_ok()) {
        return;
    }
    let run = job.command("strace").args(["-f", "-o"]).arg(&trace).args(["-e", "trace=rt_sigaction,%file"]);
    run.arg(RESTORE).args(["--key", "key", "target"]).store(&place).run().ok();
    let lines = fs::read_to_string(&trace).unwrap();
    let position = |part: &str| lines.lines().position(|line| line.contains(part) && !line.contains("execve")).unwrap();
    assert!(position("rt_sigaction(SIGTERM, {sa_handler=0x") < position(place.dir().to_str().unwrap()));
}
