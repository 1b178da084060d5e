//! Wrong input and the surroundings of a run: what is refused, how, and with which exit code.

use std::fs;

use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::messages;

const SAVE: &str = env!("CARGO_BIN_EXE_save-under-test");
const RESTORE: &str = env!("CARGO_BIN_EXE_restore-under-test");
const GC: &str = env!("CARGO_BIN_EXE_gc-under-test");
const LONG_KEY: &str = match std::str::from_utf8(&[b'k'; 513]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};

/// Runs `exe` with a local store in the job's directory.
fn with_store(job: &Job, exe: &str) -> Invocation {
    job.command(exe).env("XCACHE_STORE", format!("file://{}", job.path("store").display()))
}

#[test]
fn wrong_input_is_a_usage_error_outside_actions() {
    for exe in [SAVE, RESTORE] {
        let check = |args: &[&str]| {
            let job = Job::new();
            with_store(&job, exe).args(args).run().expect_code(2).reviewed();
            assert!(!job.path("store").exists(), "{args:?}");
        };
        check(&["p"]);
        check(&["p", "--key", " "]);
        check(&["--key", "k"]);
        check(&["p", "--key", "a,b"]);
        check(&["p", "--key", LONG_KEY]);
        check(&["p", "--key", "k", "--restore-keys", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10"]);
        check(&["p", "--key", "k", "--path", "q"]);
        check(&["p", "--key", "k", "--nonsense"]);
        check(&["p", "--key", "k", "--concurrency", "0"]);
        check(&["p", "--key", "k", "--s3-bucket", "bucket"]);
        check(&["p", "--key", "k", "--scope", "ref"]);
    }
}

#[test]
fn wrong_store_is_refused_with_the_next_step() {
    let check = |args: &[&str]| {
        Job::new().command(SAVE).args(["p", "--key", "k"]).args(args).run().expect_code(2).reviewed();
    };
    check(&["--store", "/var/cache"]);
    check(&["--store", "gs://bucket"]);
    check(&["--s3-bucket", "b"]);
    check(&["--s3-bucket", "bucket", "--s3-endpoint", "localhost:1"]);
    check(&["--s3-bucket", "bucket", "--aws-access-key-id", "AKIA"]);
}

#[test]
fn a_store_that_is_incomplete_is_no_reason_to_fail_a_job() {
    let half: &[(&str, &str)] = &[("XCACHE_S3_BUCKET", "bucket"), ("XCACHE_AWS_ACCESS_KEY_ID", "AKIA")];
    let other: &[(&str, &str)] = &[("XCACHE_S3_BUCKET", "bucket"), ("XCACHE_AWS_SECRET_ACCESS_KEY", "s")];
    let cases = [
        &[][..],
        &[("XCACHE_S3_BUCKET", " "), ("XCACHE_STORE", "")],
        &[("XCACHE_S3_BUCKET", ""), ("XCACHE_S3_PREFIX", "p")],
        &[("XCACHE_STORE", "s3://")],
        &[("XCACHE_STORE", "s3:///prefix")],
        &[("XCACHE_STORE", "bucket")],
        half,
        other,
    ];
    for (number, variables) in cases.into_iter().enumerate() {
        for (exe, outputs) in [(SAVE, "not-saved"), (RESTORE, "miss")] {
            let run = |job: &Job, args: &[&str]| {
                let command = job.command(exe).args(["p", "--key", "k"]).args(args);
                variables.iter().fold(command, |command, (name, value)| command.env(name, value)).run()
            };
            let job = Job::github();
            let outcome = run(&job, &[]).ok();
            messages::review(&outcome.stdout);
            assert_eq!(outcome.stdout.matches("::warning::").count(), 1, "{outcome:?}");
            assert_eq!(job.outputs()["outcome"], outputs, "{outcome:?}");
            let strict = run(&Job::github(), &["--fail-on-error"]).expect_code(1);
            assert!(strict.stdout.starts_with("::error::"), "{strict:?}");
            // The first two leave the store out, which is an error in CI only.
            if number > 1 {
                run(&Job::new(), &[]).expect_code(2).reviewed();
            }
        }
    }
}

#[test]
fn a_home_that_is_unknown_is_no_reason_to_fail_a_job() {
    for exe in [SAVE, RESTORE] {
        let job = Job::github();
        let outcome = with_store(&job, exe).args(["~/p", "--key", "k"]).env("HOME", "").run().ok();
        assert!(outcome.stdout.starts_with("::warning::path `~/p` needs a home directory"), "{outcome:?}");
        let elsewhere = Job::new();
        with_store(&elsewhere, exe).args(["~/p", "--key", "k"]).env("HOME", "").run().expect_code(2);
    }
}

#[test]
fn a_wrong_value_names_the_input_and_what_is_allowed() {
    let cases = [
        (SAVE, "level", "99", "is not a whole number from 1 to 19"),
        (SAVE, "if-exists", "maybe", "is not one of `skip`, `fail`"),
        (SAVE, "rebase-after", "soon", "is not a duration such as"),
        (SAVE, "full", "maybe", "is neither yes nor no"),
        (RESTORE, "clean", "perhaps", "is neither yes nor no"),
        (RESTORE, "concurrency", "0", "is not a whole number from 1 to 64"),
        (RESTORE, "s3-sse", "rot13", "is not one of `AES256`, `aws:kms`"),
        (RESTORE, "timeout", "-1", "is not a duration such as"),
        (RESTORE, "s3-path-style", "sometimes", "is neither yes nor no"),
    ];
    for (exe, input, value, problem) in cases {
        let variable = format!("XCACHE_{}", input.to_uppercase().replace('-', "_"));
        let run = |job: &Job| with_store(job, exe).args(["p", "--key", "k"]).env(&variable, value).run();
        let job = Job::github();
        let outcome = run(&job).ok();
        let expected = format!("::warning::input `{input}` ({variable}): `{value}` {problem}");
        assert!(outcome.stdout.starts_with(&expected), "{outcome:?}");
        assert!(!job.path("store").exists());
        let strict = with_store(&job, exe).args(["p", "--key", "k"]).env(&variable, value);
        let strict = strict.env("XCACHE_FAIL_ON_ERROR", "on").run().expect_code(1);
        assert!(strict.stdout.starts_with(&expected.replace("warning", "error")), "{strict:?}");
        // On a command line clap names the flag.
        run(&Job::new()).expect_code(2).says(&[&format!("--{input}"), value]);
    }
    let job = Job::github();
    for (variable, value) in [("XCACHE_KEEP_NEWEST", "two"), ("XCACHE_MAX_AGE", "30"), ("XCACHE_SHADOWED", "maybe")] {
        let outcome = with_store(&job, GC).args(["prune", "--dangling"]).env(variable, value).run().expect_code(2);
        let input = variable.strip_prefix("XCACHE_").unwrap().to_lowercase().replace('_', "-");
        assert!(
            outcome.stdout.starts_with(&format!("::error::input `{input}` ({variable}): `{value}` is")),
            "{outcome:?}"
        );
        assert_eq!(outcome.stdout.matches("::").count(), 2, "{outcome:?}");
    }
}

/// A hit of the key `k` in a new store, or a miss.
fn save_k(job: &Job) {
    fs::write(job.path("p"), "x").unwrap();
    with_store(job, SAVE).args(["p", "--key", "k"]).run().ok();
}

#[test]
fn every_spelling_of_yes_and_no_is_understood() {
    // `--clean` of a restore: whether another file in the directory is still there afterwards.
    let yes = ["true", "TRUE", "1", "yes", "Yes", "on", " true\n"];
    let no = ["false", "0", "no", "NO", "off", "", " "];
    for (words, is_on) in [(yes, true), (no, false)] {
        for word in words {
            for (is_job, is_flag) in [(false, false), (false, true), (true, false)] {
                let job = if is_job { Job::github() } else { Job::new() };
                fs::create_dir(job.path("d")).unwrap();
                fs::write(job.path("d/a"), "a").unwrap();
                with_store(&job, SAVE).args(["d", "--key", "k"]).run().ok();
                fs::write(job.path("d/b"), "b").unwrap();
                let command = with_store(&job, RESTORE).args(["d", "--key", "k"]);
                let command = match is_flag {
                    true => command.arg(format!("--clean={word}")),
                    false => command.env("XCACHE_CLEAN", word),
                };
                command.run().ok();
                assert_eq!(!job.path("d/b").exists(), is_on, "{word:?} {is_job} {is_flag}");
            }
        }
    }
    // A flag wins over a variable.
    let job = Job::new();
    let argv =
        ["--fail-on-error=no", "p", "--key", "k", "--store", "s3://bucket", "--s3-endpoint", "http://127.0.0.1:9"];
    job.command(RESTORE).args(argv).env("XCACHE_FAIL_ON_ERROR", "true").run().ok();
}

#[test]
fn only_a_clear_no_lets_a_dry_run_delete() {
    let dry = ["true", "1", "yes", "on", "ture", "y", "ja", "2", "${{ inputs.dry }}"];
    for (words, is_kept) in [(&dry[..], true), (&["false", "No", "0", "off", ""], false)] {
        for word in words {
            for is_job in [false, true] {
                let job = if is_job { Job::github() } else { Job::new() };
                save_k(&job);
                with_store(&job, GC).args(["rm", "k"]).env("XCACHE_DRY_RUN", word).run().ok();
                assert_eq!(job.path("store/k-base.tar.zst").exists(), is_kept, "{word:?}");
            }
        }
    }
    let job = Job::new();
    save_k(&job);
    with_store(&job, GC).args(["rm", "k", "--dry-run="]).run().ok();
    with_store(&job, GC).args(["rm", "k", "--dry-run=ture"]).run().ok();
    with_store(&job, GC).args(["rm", "k", "--dry-run"]).run().ok();
    assert!(job.path("store/k-base.tar.zst").exists());
}

#[test]
fn a_switch_of_actions_cache_that_is_no_true_is_noticed_in_a_job() {
    let job = Job::github();
    let outcome =
        with_store(&job, RESTORE).args(["p", "--key", "k"]).env("XCACHE_FAIL_ON_CACHE_MISS", "yes").run().ok();
    outcome.reviewed();
    let elsewhere = Job::new();
    let run = |word: &str| {
        with_store(&elsewhere, RESTORE).args(["p", "--key", "k"]).env("XCACHE_FAIL_ON_CACHE_MISS", word).run()
    };
    run("yes").expect_code(1);
    run("no").ok();
    run("maybe").expect_code(2).reviewed();
}

/// Wrong keys and paths in a job.
fn refused_in_a_job(exe: &str, args: &[&str]) -> (Job, Outcome) {
    let job = Job::github();
    let outcome = with_store(&job, exe).args(args).run();
    (job, outcome)
}

const WRONG_INPUT: [&[&str]; 4] = [&["p"], &["p", "--key", "a,b"], &["p", "--key", LONG_KEY], &["--key", "k"]];

#[test]
fn wrong_input_is_a_warning_in_a_job() {
    for (exe, args) in WRONG_INPUT.iter().flat_map(|args| [(SAVE, args), (RESTORE, args)]) {
        let (_, outcome) = refused_in_a_job(exe, args);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.stdout.starts_with("::warning::"), "{outcome:?}");
        let (_, strict) = refused_in_a_job(exe, &[args, &["--fail-on-error"][..]].concat());
        assert_eq!(strict.code, Some(1), "{strict:?}");
        assert!(strict.stdout.starts_with("::error::"), "{strict:?}");
    }
}

#[test]
fn the_primary_key_is_an_output_before_anything_can_fail() {
    let (job, _) = refused_in_a_job(RESTORE, &["p", "--key", "a,b"]);
    assert_eq!((&*job.outputs()["cache-primary-key"], &*job.outputs()["outcome"]), ("a,b", "miss"));
    let (job, _) = refused_in_a_job(RESTORE, &["p"]);
    assert!(!job.outputs().contains_key("cache-primary-key"));
}

#[test]
fn blank_variables_count_as_not_set() {
    let job = Job::new();
    let mut command = with_store(&job, RESTORE).args(["p", "--key", "k"]);
    for name in ["XCACHE_CONCURRENCY", "XCACHE_COLOR", "XCACHE_S3_BUCKET", "XCACHE_S3_PATH_STYLE", "XCACHE_PATH"] {
        command = command.env(name, "");
    }
    command.env("XCACHE_RESTORE_KEYS", " \n").env("XCACHE_LOOKUP_ONLY", "").run().ok();
    with_store(&job, RESTORE).args(["p", "--key", "k"]).env("XCACHE_CONCURRENCY", "x").run().expect_code(2);
}

#[test]
fn input_by_variables_is_the_same_as_by_flags() {
    let job = Job::new();
    let by_variables = with_store(&job, RESTORE)
        .env("XCACHE_PATH", "p\nq\n")
        .env("XCACHE_KEY", "k")
        .env("XCACHE_RESTORE_KEYS", "r1\n  r2\n")
        .env("XCACHE_FAIL_ON_CACHE_MISS", "True")
        .env("XCACHE_LOOKUP_ONLY", "yes")
        .env("XCACHE_JSON", "true")
        .run()
        .expect_code(1);
    let document = by_variables.json();
    assert_eq!((&document["key"], &document["lookup_only"]), (&"k".into(), &true.into()));
    by_variables.reviewed();
    with_store(&job, RESTORE).args(["p", "--key", "k", "--restore-keys", "r1\nr2"]).run().ok().reviewed();
}

#[test]
fn a_miss_answers_the_step_without_cache_hit() {
    let job = Job::github();
    with_store(&job, RESTORE).args(["p", "--key", "k"]).run().ok();
    let outputs = job.outputs();
    assert_eq!(outputs.get("cache-primary-key").map(String::as_str), Some("k"));
    assert_eq!((outputs.get("cache-hit"), outputs.get("cache-matched-key")), (None, None));
    assert_eq!(outputs["outcome"], "miss");
    let summary = fs::read_to_string(job.github_file("GITHUB_STEP_SUMMARY")).unwrap();
    assert!(summary.contains("| k |  | miss (no-store) |"), "{summary}");
}

#[test]
fn ignored_arguments_are_noticed_and_harmless() {
    let job = Job::github();
    for exe in [SAVE, RESTORE] {
        let command = with_store(&job, exe).args(["p", "--key", "k"]).env("XCACHE_UPLOAD_CHUNK_SIZE", "1");
        let command = command.env("XCACHE_USE_DELTAS", "true").env("XCACHE_ENABLE_CROSS_OS_ARCHIVE", "true");
        let names = ["`upload-chunk-size`", "`use-deltas`", "`enableCrossOsArchive`", "`save-always`"];
        command.env("XCACHE_SAVE_ALWAYS", "true").run().ok().says(&names);
    }
}

#[test]
fn secrets_are_never_printed() {
    let job = Job::new();
    let secrets =
        ["--aws-secret-access-key", "hunter2", "--aws-session-token", "swordfish", "--aws-access-key-id", "AKIA"];
    for extra in [&["--help"][..], &["--nonsense"], &["--key", "a,b"], &["--man"]] {
        let outcome = job.command(SAVE).args(["p", "-vv", "--s3-bucket", "bucket"]).args(secrets).args(extra).run();
        let by_variable = job.command(SAVE).args(extra).env("XCACHE_AWS_SECRET_ACCESS_KEY", "hunter2").run();
        let all = [outcome.stdout, outcome.stderr, by_variable.stdout, by_variable.stderr].concat();
        assert!(!all.contains("hunter2") && !all.contains("swordfish"), "{extra:?}: {all}");
    }
}

#[test]
fn a_broken_event_file_is_a_warning() {
    let job = Job::github();
    let event = job.path("event.json");
    fs::write(&event, "nonsense").unwrap();
    let outcome = with_store(&job, RESTORE).args(["p", "--key", "k"]).env("GITHUB_EVENT_PATH", &event).run().ok();
    assert!(outcome.stdout.starts_with("::warning::the event file `"), "{outcome:?}");
}

#[test]
fn the_local_default_is_said_in_one_line() {
    let outcome = Job::new().command(RESTORE).args(["p", "--key", "k"]).run().ok();
    assert_eq!(outcome.stderr.matches("no store given, using the local one at `file:///").count(), 1, "{outcome:?}");
    let quiet = Job::new().command(RESTORE).args(["p", "--key", "k", "-q"]).run().ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn a_variable_that_is_no_input_is_called_one() {
    for (variable, value) in [("XCACHE_VERBOSE", "abc"), ("XCACHE_QUIET", "maybe"), ("XCACHE_PROGRESS", "wheel")] {
        for exe in [SAVE, RESTORE] {
            let job = Job::github();
            let outcome = with_store(&job, exe).args(["p", "--key", "k"]).env(variable, value).run().ok();
            let expected = format!("::warning::variable `{variable}`: `{value}` is ");
            assert!(outcome.stdout.starts_with(&expected), "{outcome:?}");
        }
    }
}

#[test]
fn trouble_that_fails_a_job_is_one_annotation() {
    for exe in [SAVE, RESTORE] {
        for caches in [&["p", "--key", "k"][..], &["--caches", "[{path: p, key: k}, {path: q, key: l}]"]] {
            let job = Job::github();
            for name in ["p", "q"] {
                std::fs::write(job.path(name), "x").unwrap();
            }
            let run = |flags: &[&str]| {
                let store =
                    ["--store", "s3://bucket/prefix", "--s3-endpoint", "http://127.0.0.1:9", "--s3-region", "r"];
                let keys = ["--aws-access-key-id", "id", "--aws-secret-access-key", "secret"];
                job.command(exe).args(caches).args(store).args(keys).args(flags).run()
            };
            let count = |outcome: &Outcome, level: &str| outcome.stdout.matches(level).count();
            let outcome = run(&[]).ok();
            assert_eq!((count(&outcome, "::warning::"), count(&outcome, "::error::")), (1, 0), "{outcome:?}");
            let strict = run(&["--fail-on-error"]).expect_code(1);
            assert_eq!((count(&strict, "::warning::"), count(&strict, "::error::")), (0, 1), "{strict:?}");
            // The failure, its cause, and what to do.
            let said = ["fail-on-error is set", "127.0.0.1:9", "hint: "];
            assert!(said.iter().all(|part| strict.stdout.contains(part)), "{strict:?}");
        }
    }
}
