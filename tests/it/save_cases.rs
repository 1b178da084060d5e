//! Save: what is in the entry, who wins, what it costs, and what trouble looks like.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::{self, Proxy, Request};
use xcache_tests::s3::{self, READER, S3Server};
use xcache_tests::tree::{self, assert_same_tree};

use crate::{SAVE, restored, save, saved};

#[test]
fn a_key_is_saved_once() {
    for place in Place::each() {
        let job = Job::new();
        let source = job.dir("source");
        fs::write(source.join("file"), "first").unwrap();
        saved(&job, &place, "key", &source);
        let object = place.get("key-base.tar.zst");
        fs::write(source.join("file"), "second").unwrap();
        let outcome = save(&job, &place, "key").arg("--json").arg(&source).run().ok();
        assert_eq!(outcome.json()["outcome"], "exists");
        assert_eq!(outcome.json()["sent_bytes"], 0);
        assert_eq!(place.entries(), ["key-base.tar.zst"]);
        assert_eq!(place.get("key-base.tar.zst"), object);
    }
}

#[test]
fn of_concurrent_saves_of_one_key_exactly_one_wins() {
    for place in Place::each() {
        let job = Job::new();
        let sources: Vec<_> = (0..8).map(|number| job.dir(&format!("source-{number}"))).collect();
        for (number, source) in sources.iter().enumerate() {
            tree::random(source, u64::try_from(number).unwrap(), 20);
        }
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let run = |source| save(&job, &place, "key").arg("--json").arg(source).run().ok().json();
            let threads: Vec<_> = sources.iter().map(|source| scope.spawn(move || run(source))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()["outcome"].as_str().unwrap().to_owned()).collect()
        });
        let winners: Vec<_> = outcomes.iter().zip(&sources).filter(|(outcome, _)| *outcome == "saved").collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == "exists").count(), 7, "{outcomes:?}");
        let target = job.dir("target");
        restored(&Job::new(), &place, "key", &target);
        assert_same_tree(winners[0].1, &target, &[]);
    }
}

#[test]
fn a_killed_save_leaves_nothing_to_find() {
    for server in s3::servers() {
        let (job, place) = (Job::new(), Place::on(server));
        let source = job.dir("source");
        fs::write(source.join("large"), tree::Rng::new(1).bytes(48 << 20)).unwrap();
        // Slow enough to be killed in the middle of its parts.
        let proxy = Proxy::with_arguments(server, &["--total", "8"]);
        let mut command = save(&job, &place.behind(proxy.endpoint()), "key").arg(&source).into_command();
        let mut child = command.spawn().unwrap();
        while place.uploads() == 0 {
            assert!(child.try_wait().unwrap().is_none(), "it has ended before it could be killed");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(place.entries(), Vec::<String>::new());
        drop(proxy);
        saved(&job, &place, "key", &source);
        let target = job.dir("target");
        restored(&Job::new(), &place, "key", &target);
        assert_same_tree(&source, &target, &[]);
    }
}

/// What a program asked for, without what belongs to the probe of the store.
fn asked(proxy: &mut Proxy) -> Vec<Request> {
    proxy.requests().into_iter().filter(|request| !request.target.contains("/.xcache/")).collect()
}

#[test]
fn saves_ask_for_what_they_need_and_no_more() {
    for server in s3::servers() {
        let (job, place) = (Job::new(), Place::on(server));
        let (small, large) = (job.dir("small"), job.dir("large"));
        tree::random(&small, 5, 30);
        fs::write(large.join("large"), tree::Rng::new(1).bytes(40 << 20)).unwrap();
        // What the store honours is asked once for each prefix. Another job, or the next save would build on it.
        saved(&Job::new(), &place, "first", &small);
        let mut proxy = Proxy::recording(server);
        let behind = place.behind(proxy.endpoint());

        saved(&job, &behind, "small", &small);
        let requests = asked(&mut proxy);
        assert_eq!(proxy::count(&requests), "HeadObject 3, PutObject 1", "two before, one after: {requests:?}");

        save(&job, &behind, "small").arg(&small).run().ok();
        proxy::check_at_most(&asked(&mut proxy), "HeadObject", 2);

        saved(&job, &behind, "large", &large);
        let requests = asked(&mut proxy);
        let of = |operation| requests.iter().filter(|request| request.operation() == operation).count();
        let single = [of("CreateUpload"), of("CompleteUpload"), of("HeadObject"), of("PutObject"), of("AbortUpload")];
        assert_eq!(single, [1, 1, 3, 0, 0], "{requests:?}");
        assert!((3..=8).contains(&of("UploadPart")), "{requests:?}");
    }
}

#[test]
fn a_store_without_conditional_writes_is_told_of_once_and_keeps_the_first() {
    // Ministack does not check signatures, which cover the conditions.
    let server = s3::ministack();
    let (job, place) = (Job::new(), Place::on(server));
    fs::write(job.dir("small").join("file"), "x").unwrap();
    fs::write(job.dir("large").join("file"), tree::Rng::new(1).bytes(20 << 20)).unwrap();
    let proxy = Proxy::with_rules(server, &["* . unconditional"]);
    let behind = place.behind(proxy.endpoint());
    let list = "[{path: small, key: small}, {path: large, key: large}]";
    let first = job.command(SAVE).store(&behind).args(["--caches", list]).run().ok();
    assert_eq!(first.stderr.matches("does not honour conditional writes").count(), 1, "{}", first.stderr);
    assert_eq!(place.entries(), ["large-base.tar.zst", "small-base.tar.zst"]);

    for (key, path) in [("small", "/small-base"), ("large", "/large-base")] {
        // Both names are asked for before the packing: this save must not see the entry until it publishes.
        let hidden = format!("HEAD {path} status:404 count=1");
        let proxy = Proxy::with_rules(server, &[&hidden, "* . unconditional"]);
        // Not a delta, which looks for the base once more.
        let command = save(&job, &place.behind(proxy.endpoint()), key).args(["--full", "--json"]);
        let outcome = command.arg(job.path(key)).run().ok();
        assert_eq!(outcome.json()["outcome"], "exists", "{}", outcome.stderr);
        assert_eq!(place.uploads(), 0);
    }
}

#[test]
fn failing_parts_are_sent_again_and_lost_answers_are_understood() {
    for rule in [
        "PUT partNumber=2 status:503 count=2",
        "PUT partNumber=1 up-reset:1000000 count=1",
        "POST uploadId drop-reply count=1",
        "PUT .* status:500 count=1",
    ] {
        eprintln!("{rule}");
        let server = s3::ministack();
        let (job, place) = (Job::new(), Place::on(server));
        let (source, target) = (job.dir("source"), job.dir("target"));
        fs::write(source.join("large"), tree::Rng::new(1).bytes(24 << 20)).unwrap();
        let proxy = Proxy::with_rules(server, &[rule]);
        saved(&job, &place.behind(proxy.endpoint()), "key", &source);
        restored(&Job::new(), &place, "key", &target);
        assert_same_tree(&source, &target, &[]);
    }
}

#[test]
fn a_path_that_is_not_there_saves_nothing_and_fails_nothing() {
    let (job, place) = (Job::new(), Place::local());
    let outcome = save(&job, &place, "key").arg("--json").arg("no such path").run().ok().reviewed();
    assert_eq!(outcome.json()["outcome"], "nothing-to-save");
    assert_eq!(place.entries(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_saved_is_not_said_to_be_missing() {
    let (job, place) = (Job::new(), Place::local());
    job.command("mkfifo").arg(job.path("pipe")).run().ok();
    // A path that ends in itself cannot be looked at by anybody.
    let loops = job.path("loop");
    std::os::unix::fs::symlink("loop", &loops).unwrap();
    let paths = ["pipe", "loop/below", "nowhere"];
    let outcome = save(&job, &place, "key").arg("--json").args(paths).run().ok();
    assert_eq!(outcome.json()["outcome"], "nothing-to-save");
    let said: Vec<_> = outcome.stderr.lines().filter(|line| paths.iter().any(|path| line.contains(path))).collect();
    assert_eq!(said.len(), 3, "{}", outcome.stderr);
    for (path, reason) in [("pipe`", "is a FIFO"), ("loop/below`", "cannot be read: "), ("`nowhere`", "nothing at")] {
        assert!(said.iter().any(|line| line.contains(path) && line.contains(reason)), "{}", outcome.stderr);
    }
    // The same if something else can be saved.
    fs::write(job.path("file"), "text").unwrap();
    let outcome = save(&job, &place, "key").arg("--json").args(paths).arg("file").run().ok();
    assert_eq!((&outcome.json()["outcome"], &outcome.json()["skipped"]), (&"saved".into(), &2.into()));
    assert_eq!(outcome.stderr.matches("nothing at path").count(), 1, "{}", outcome.stderr);
}

#[test]
fn an_entry_without_files_that_cannot_be_read_is_incomplete() {
    let place = Place::local();
    // What a file system refuses, whoever asks: a link that ends in itself, below which the paths lie.
    let check = |count: usize, arguments: &[&str], code: i32| {
        let job = Job::new();
        std::os::unix::fs::symlink("loop", job.path("loop")).unwrap();
        fs::write(job.path("file"), "text").unwrap();
        let paths = (0..count).map(|number| format!("loop/{number}"));
        let key = format!("key-{count}-{}", arguments.len());
        let outcome = save(&job, &place, &key).args(arguments).args(paths).arg("file").run().expect_code(code);
        assert_eq!(outcome.stderr.matches("warning:").count(), usize::from(count > 0), "{}", outcome.stderr);
        assert!(place.entries().contains(&format!("{key}-base.tar.zst")), "{}", outcome.stderr);
        outcome
    };
    check(0, &["--fail-on-error"], 0);
    check(1, &[], 0).reviewed();
    let many = check(5, &[], 0).reviewed();
    assert!(!many.stderr.contains("loop/3"), "{}", many.stderr);
    check(5, &["--fail-on-error"], 1).reviewed();
    // Nothing at all can be read.
    let job = Job::new();
    std::os::unix::fs::symlink("loop", job.path("loop")).unwrap();
    save(&job, &place, "none").arg("loop/0").run().ok();
    save(&job, &place, "none").args(["--fail-on-error", "loop/0"]).run().expect_code(1);
}

#[test]
fn a_list_of_nothing_but_excludes_is_no_path() {
    let (job, place) = (Job::new(), Place::local());
    for paths in ["!target", "!a\n# b\n!c", "!", "!!"] {
        save(&job, &place, "key").args(["--", paths]).run().expect_code(2);
    }
    assert_eq!(place.entries(), Vec::<String>::new());
}

#[test]
fn excludes_hold_inside_directories_and_globs_and_home_are_expanded() {
    let (job, place) = (Job::new(), Place::local());
    for file in ["a/keep", "a/skip.log", "a/deep/er/skip.log", "a/deep/er/keep", "b1/x", "b2/x", "c/x"] {
        let path = job.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    fs::create_dir(job.home().join("tools")).unwrap();
    fs::write(job.home().join("tools/x"), "tools").unwrap();
    let paths = "a\n!**/*.log\nb*\n~/tools";
    save(&job, &place, "key").args(["--path", paths]).run().ok();
    for dir in ["a", "b1", "b2", "c"] {
        fs::remove_dir_all(job.path(dir)).unwrap();
    }
    fs::remove_dir_all(job.home().join("tools")).unwrap();
    let outcome = crate::restore(&job, &place, "key").arg("--json").args(["--path", paths]).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
    for file in ["a/keep", "a/deep/er/keep", "b1/x", "b2/x"] {
        assert_eq!(fs::read_to_string(job.path(file)).unwrap(), file);
    }
    assert_eq!(fs::read_to_string(job.home().join("tools/x")).unwrap(), "tools");
    for file in ["a/skip.log", "a/deep/er/skip.log", "c"] {
        assert!(!job.path(file).exists(), "{file}");
    }
}

#[test]
fn without_a_store_the_local_default_is_named_and_a_runner_is_refused() {
    let job = Job::new();
    let source = job.dir("source");
    job.command(SAVE).args(["--key", "key"]).arg(&source).run().ok().reviewed();
    assert!(job.home().join(".cache/xcache/key-base.tar.zst").exists());
    let runner = Job::github();
    let source = runner.dir("source");
    let outcome = runner.command(SAVE).args(["--key", "key"]).arg(&source).run().ok();
    assert!((outcome.stdout + &outcome.stderr).contains("no store given"));
}

/// Runs a save that must end with a warning and nothing saved, and only fail when asked to.
#[track_caller]
fn trouble(place: &Place, change: &[(&str, &str)], said: &[&str]) {
    let job = Job::new();
    let source = job.dir("source");
    tree::random(&source, 2, 10);
    let run = |arguments: &[&str]| {
        let command = save(&job, place, "key").arg("--json").args(arguments).arg(&source);
        change.iter().fold(command, |command, (name, value)| command.env(name, value)).run()
    };
    let outcome = run(&[]).ok().reviewed().says(said);
    assert_eq!(outcome.json()["outcome"], "not-saved");
    run(&["--fail-on-error"]).expect_code(1);
}

#[test]
fn a_user_who_may_only_read_is_told_so() {
    let place = Place::on(s3::server());
    let (access, secret) = READER;
    trouble(&place, &[("AWS_ACCESS_KEY_ID", access), ("AWS_SECRET_ACCESS_KEY", secret)], &["denied", "hint: "]);
    assert_eq!(place.entries(), Vec::<String>::new());
}

#[test]
fn wrong_credentials_and_dead_endpoints_do_not_fail_a_build() {
    let place = Place::on(s3::server());
    // Found by the first question, before anything is packed.
    let said = ["cannot look at `key-", "the secret access key does not fit", "hint: "];
    trouble(&place, &[("AWS_SECRET_ACCESS_KEY", "wrong")], &said);
    trouble(&place.behind("http://127.0.0.1:9"), &[], &["127.0.0.1:9"]);
}

/// An agent that gives the credentials of a container, as those of ECS, EKS and CodeBuild do.
fn credentials_agent(server: &S3Server) -> String {
    let (id, secret) = (server.access_key, server.secret_key);
    let body = format!(
        r#"{{"AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"t","Expiration":"2099-01-01T00:00:00Z"}}"#
    );
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/credentials", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

#[test]
fn credentials_of_a_container_are_not_asked_for_through_a_proxy() {
    // Ministack takes any session token.
    let server = s3::ministack();
    let (job, place) = (Job::new(), Place::on(server));
    fs::write(job.dir("source").join("file"), "x").unwrap();
    let outcome = job
        .command(SAVE)
        .args(["--store", place.url(), "--fail-on-error", "--key", "key", "source"])
        .env("AWS_ENDPOINT_URL", server.endpoint.replace("127.0.0.1", "localhost"))
        .env("AWS_REGION", server.region)
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", credentials_agent(server))
        // Nobody listens there.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("NO_PROXY", "localhost");
    outcome.run().ok();
    assert_eq!(place.entries(), ["key-base.tar.zst"]);
}

#[test]
fn names_of_any_kind_of_key_survive_the_way_to_the_store() {
    let long = "k".repeat(500);
    let keys = ["a b", "a+b", "a#b", "a?b", "a%b", "a//b", "..", "a/../b", ".hidden/.x", "a\\b", "é🦀", &long];
    for place in Place::each() {
        let job = Job::new();
        let source = job.dir("source");
        for key in keys {
            fs::write(source.join("file"), key).unwrap();
            saved(&job, &place, key, &source);
        }
        for key in keys {
            let target = job.path("target");
            restored(&job, &place, key, &target);
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), key);
        }
    }
}
