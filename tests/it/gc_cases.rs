//! gc and the administrator's commands, through the real program on every store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::{self, Proxy};
use xcache_tests::s3;
use xcache_tests::tree::{Rng, assert_same_tree};

use crate::{GC, restored, save, saved};

pub(crate) fn gc(job: &Job, place: &Place, command: &str) -> Invocation {
    job.command(GC).arg(command).store(place)
}

/// Both streams, so that a test need not know which line is data.
#[track_caller]
fn tells(outcome: &Outcome, parts: &[&str]) {
    let all = format!("{}{}", outcome.stdout, outcome.stderr);
    for part in parts {
        assert!(all.contains(part), "`{part}` is missing; the program said:\n{all}");
    }
}

/// The names that a plan deletes, in order.
pub(crate) fn deletes(document: &Value) -> Vec<&str> {
    let entries = document["entries"].as_array().unwrap().iter();
    let mut names: Vec<&str> =
        entries.filter(|entry| entry["decision"] == "delete").map(|entry| entry["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

/// A base `old` and, saved by the same job after a small change, the delta `new` on it. Returns the tree of `new`.
pub(crate) fn base_and_delta(job: &Job, place: &Place) -> PathBuf {
    let source = job.dir("source");
    for number in 0..6 {
        fs::write(source.join(format!("file-{number}")), Rng::new(number).bytes(300_000)).unwrap();
    }
    saved(job, place, "old", &source);
    restored(job, place, "old", &source);
    fs::write(source.join("file-0"), Rng::new(100).bytes(300_000)).unwrap();
    saved(job, place, "new", &source);
    assert_eq!(place.entries(), ["new-delta.tar.zst", "old-base.tar.zst"]);
    source
}

/// What `tar | zstd` makes of a file of so many bytes of noise.
pub(crate) fn made_by_others(bytes: usize) -> Vec<u8> {
    let content = Rng::new(9).bytes(bytes);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "file", &content[..]).unwrap();
    zstd::encode_all(&tar.into_inner().unwrap()[..], 3).unwrap()
}

#[test]
fn what_a_delta_builds_on_is_shown_and_kept() {
    for place in Place::each() {
        let job = Job::new();
        let source = base_and_delta(&job, &place);

        let listed = gc(&job, &place, "ls").args(["--json", "--long"]).run().ok().json();
        let rows = listed["entries"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{listed}");
        assert_eq!((&rows[0]["key"], &rows[0]["kind"]), (&"new".into(), &"delta".into()));
        assert_eq!(rows[0]["refs"][0], "old-base.tar.zst", "{listed}");
        tells(
            &gc(&job, &place, "show").arg("new").run().ok(),
            &["delta", "old-base.tar.zst: ", "in use", "members\t7\n"],
        );
        tells(&gc(&job, &place, "show").arg("old").run().ok(), &["base", "used by", "new-delta.tar.zst"]);
        gc(&job, &place, "show").arg("other").run().expect_code(1).reviewed();
        let used = gc(&job, &place, "du").arg("--json").run().ok().json();
        assert_eq!((&used["total"]["entries"], &used["by_kind"]["delta"]["entries"]), (&2.into(), &1.into()));
        assert_eq!(used["total"]["content_bytes"], 3_600_000);
        gc(&job, &place, "verify").arg("--deep").run().ok().reviewed();

        let policy = ["--max-total-size", "0B", "--min-age", "0s", "--json"];
        let refused = gc(&job, &place, "rm").arg("old").run().expect_code(1);
        tells(&refused, &["keep", "1 entry builds on it", "--cascade"]);
        let dry = gc(&job, &place, "prune").args(policy).arg("--dry-run").run().ok().json();
        assert_eq!(deletes(&dry), ["new-delta.tar.zst", "old-base.tar.zst"]);
        assert_eq!(place.entries().len(), 2);
        let target = job.dir("target");
        restored(&Job::new(), &place, "new", &target);
        assert_same_tree(&source, &target, &[]);

        gc(&job, &place, "rm").args(["old", "--cascade"]).run().ok().reviewed();
        assert_eq!(place.entries(), [""; 0]);
        gc(&job, &place, "ls").run().ok().reviewed();
        gc(&job, &place, "rm").arg("old").run().ok().reviewed();
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    for server in s3::servers() {
        let (job, place) = (Job::new(), Place::on(server));
        base_and_delta(&job, &place);
        // What a real run would clear away: a mark of what is gone, and findings about the store from before a save.
        let mark = r#"{"format":1,"name":"gone-base.tar.zst","etag":"e"}"#;
        place.put(&format!(".xcache/condemned/{}", "0".repeat(32)), mark.as_bytes());
        let check = |place: &Place| {
            let mut proxy = Proxy::recording(server);
            let behind = place.behind(proxy.endpoint());
            let before = place.objects();
            let policy =
                ["--max-total-size", "0B", "--min-age", "0s", "--dangling", "--stale-uploads", "0s", "--dry-run"];
            gc(&job, &behind, "prune").args(policy).run().ok();
            gc(&job, &behind, "rm").args(["--all", "--cascade", "--dry-run"]).run().ok();
            let requests = proxy.requests();
            assert!(requests.iter().all(|r| ["GET", "HEAD"].contains(&r.method.as_str())), "{requests:#?}");
            assert_eq!(place.objects(), before);
        };
        check(&place);
        place.delete(".xcache/store");
        check(&place);
    }
}

#[test]
fn a_dry_run_is_the_plan_of_the_real_one() {
    for place in Place::each() {
        let job = Job::new();
        let source = job.dir("source");
        fs::write(source.join("file"), "text").unwrap();
        for (key, arguments) in [
            ("k-11111111111", vec!["--branch", "main"]),
            ("k-22222222222", vec!["--branch", "main"]),
            ("k-33333333333", vec!["--branch", "main", "--tag", "keep=true"]),
            ("k-44444444444", vec!["--branch", "main"]),
            ("k-55555555555", vec!["--branch", "topic"]),
            ("odd key %", vec!["--branch", "main"]),
        ] {
            // One cannot be newer than the other within the same second of the server's clock.
            save(&Job::new(), &place, key).args(arguments).arg(&source).run().ok();
        }
        place.put("k-66666666666-base.tar.zst", b"made by others");
        let policy = ["--keep-newest", "1", "--min-age", "0s", "--json"];
        let dry = gc(&job, &place, "prune").args(policy).arg("--dry-run").run().ok().json();
        let names = deletes(&dry);
        assert!((2..=3).contains(&names.len()), "of four on main, one pinned, the newest stays: {dry:#}");
        assert!(names.iter().all(|name| name.starts_with("k-")), "{names:?}");
        assert_eq!(place.entries().len(), 7);

        let real = gc(&job, &place, "prune").args(policy).run().ok().json();
        assert_eq!((&real["entries"], real["dry_run"].as_bool()), (&dry["entries"], Some(false)));
        let mut deleted: Vec<&str> = real["deleted"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        deleted.sort_unstable();
        assert_eq!(deleted, names);
        assert_eq!(real["after"]["entries"], 7 - names.len());
        assert_eq!(place.entries().len(), 7 - names.len());
        for name in ["k-33333333333-base.tar.zst", "k-55555555555-base.tar.zst", "k-66666666666-base.tar.zst"] {
            assert!(place.get(name).is_some(), "{name} stays");
        }
        let again = gc(&job, &place, "prune").args(policy).run().ok().json();
        assert_eq!(deletes(&again), [""; 0]);
    }
}

/// `ccache-1 … ccache-6` are one family: of six saves, the newest two stay.
#[test]
fn numbered_keys_are_one_group_and_a_dry_run_shows_it() {
    let (job, place) = (Job::new(), Place::local());
    for n in 1..=6 {
        let name = format!("ccache-{n}-base.tar.zst");
        place.put(&name, b"made by others");
        age(&place, &name, Duration::from_secs(100 - n));
    }
    let policy = ["prune", "--keep-newest", "2", "--min-age", "0s"];
    let prune = |more: &[&str]| gc(&job, &place, policy[0]).args(&policy[1..]).args(more).run().ok();
    let dry = prune(&["--dry-run"]);
    tells(&dry, &["group\t6\t2\tno branch\tccache-*\t", "would delete", "would delete 4 entries"]);
    assert!(!dry.stdout.lines().any(|line| line.starts_with("deleted")), "{}", dry.stdout);
    assert_eq!(prune(&["--dry-run", "--json"]).json()["groups"][0]["family"], "ccache-*");
    let real = prune(&[]);
    assert_eq!(real.stdout.lines().filter(|line| line.starts_with("deleted\t")).count(), 4, "{}", real.stdout);
    assert_eq!(place.entries(), ["ccache-5-base.tar.zst", "ccache-6-base.tar.zst"]);
    // Versions are groups of their own, and then the rule does nothing; that is said.
    // The newest come first.
    let listed = gc(&job, &place, "list").args(["--json", "--limit", "1"]).run().ok().json();
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1);
    assert_eq!(listed["entries"][0]["key"], "ccache-6");
    gc(&job, &place, "delete").arg("--all").run().ok();
    for n in [16, 18, 20] {
        place.put(&format!("node-{n}-base.tar.zst"), b"made by others");
    }
    let dry = prune(&["--dry-run"]);
    tells(&dry, &["each entry is a group of its own", "--group-by"]);
    assert_eq!(place.entries().len(), 3);
}

#[test]
fn deleting_needs_a_rule_and_young_entries_stay() {
    let (job, place) = (Job::new(), Place::local());
    gc(&job, &place, "prune").run().expect_code(2).reviewed();
    gc(&job, &place, "prune").args(["--min-age", "1h"]).run().expect_code(2);
    gc(&job, &place, "rm").run().expect_code(2);
    gc(&job, &place, "prune").args(["--max-age", "0s"]).run().expect_code(1).reviewed();
    let empty = job.path("branches");
    fs::write(&empty, "\n").unwrap();
    gc(&job, &place, "prune").arg("--live-branches").arg(&empty).run().expect_code(2).reviewed();

    let source = job.dir("source");
    fs::write(source.join("file"), "text").unwrap();
    saved(&job, &place, "key", &source);
    gc(&job, &place, "prune").args(["--max-total-size", "0B"]).run().ok().reviewed();
    age(&place, "key-base.tar.zst", Duration::from_secs(40 * 86_400));
    let outcome = gc(&job, &place, "prune").args(["--max-age", "30d"]).run().ok();
    tells(&outcome, &["deleted", "40 d", "key", "40 d old, the limit is 30 d", "deleted 1 entry"]);
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn entries_of_dead_branches_go() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    fs::write(source.join("file"), "text").unwrap();
    for (key, branch) in [("a", "main"), ("b", "topic/x"), ("c", "gone")] {
        save(&Job::new(), &place, key).args(["--branch", branch]).arg(&source).run().ok();
    }
    let repository = job.dir("repository");
    git(&repository, &["init", "--quiet", "--initial-branch", "main"]);
    git(&repository, &["commit", "--quiet", "--allow-empty", "-m", "first"]);
    git(&repository, &["branch", "topic/x"]);
    let rule = |rule: &str, value: &Path| {
        let outcome = gc(&job, &place, "prune").arg(rule).arg(value).args(["--min-age", "0s", "--dry-run"]).run().ok();
        assert!(outcome.stdout.contains("branch `gone` is gone"), "{}", outcome.stdout);
        assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    };
    rule("--live-branches-from-git", &repository);
    let file = job.path("branches");
    fs::write(&file, "main\nrefs/heads/topic/x\n").unwrap();
    rule("--live-branches", &file);
    let nowhere = job.path("nowhere");
    gc(&job, &place, "prune").arg("--live-branches-from-git").arg(nowhere).run().expect_code(1).reviewed();
}

/// What is no list of refs names no dead branch: a list in a form that git prints is understood, any other is refused.
#[test]
fn a_list_in_another_form_deletes_nothing_that_lives() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    fs::write(source.join("file"), "text").unwrap();
    for (key, branch) in [("a", "main"), ("b", "topic/x"), ("c", "gone")] {
        save(&Job::new(), &place, key).args(["--branch", branch]).arg(&source).run().ok();
    }
    let repository = job.dir("repository");
    git(&repository, &["init", "--quiet", "--initial-branch", "main"]);
    git(&repository, &["commit", "--quiet", "--allow-empty", "-m", "first"]);
    git(&repository, &["branch", "topic/x"]);
    let clone = job.path("clone");
    git(&job.work(), &["clone", "--quiet", repository.to_str().unwrap(), clone.to_str().unwrap()]);
    let detached = job.path("detached");
    git(&job.work(), &["clone", "--quiet", repository.to_str().unwrap(), detached.to_str().unwrap()]);
    git(&detached, &["checkout", "--quiet", "--detach"]);
    let printed = |directory: &Path, args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let file = job.path("branches");
    let prune = |list: &str| {
        fs::write(&file, list).unwrap();
        gc(&job, &place, "prune").arg("--live-branches").arg(&file).args(["--min-age", "0s", "--yes"])
    };
    for (directory, args) in [
        (&repository, &["ls-remote", "."][..]),
        (&repository, &["ls-remote", "--symref", "."]),
        (&repository, &["ls-remote", "--heads", "."]),
        (&repository, &["show-ref"]),
        (&repository, &["for-each-ref"]),
        (&repository, &["for-each-ref", "--format=%(refname)"]),
        (&repository, &["branch"]),
        (&clone, &["branch", "-a"]),
        (&clone, &["branch", "-r"]),
        (&clone, &["for-each-ref", "--format=%(refname:short)", "refs/remotes"]),
        (&detached, &["branch", "-a"]),
    ] {
        let list = printed(directory, args);
        for list in [list.clone(), list.replace('\n', "\r\n")] {
            let outcome = prune(&list).args(["--dry-run", "--json"]).run().ok();
            assert_eq!(deletes(&outcome.json()), ["c-base.tar.zst"], "{args:?}: {list:?}");
        }
    }
    for list in [
        printed(&repository, &["branch", "-v"]),
        printed(&clone, &["branch", "-av"]),
        printed(&repository, &["log", "--oneline"]),
        printed(&repository, &["rev-parse", "HEAD"]),
        "topic/x\nmain topic/x\n".to_owned(),
        "main\n\u{1b}[32mtopic/x\u{1b}[m\n".to_owned(),
        "[\"main\", \"topic/x\"]".to_owned(),
        "main\ntopic/\n".to_owned(),
    ] {
        let line = if list.starts_with("topic") || list.starts_with("main\n") { "line 2 of `" } else { "line 1 of `" };
        prune(&list).run().expect_code(2).says(&[line, "hint: "]);
    }
    for list in ["", "\n \r\n", "HEAD\n"] {
        prune(list).run().expect_code(2).reviewed();
    }
    assert_eq!(place.entries().len(), 3);
}

/// From save to prune: what was saved for a ref that is listed stays, in all ways in which refs are listed.
#[test]
fn tags_and_pull_requests_that_are_listed_live() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    fs::write(source.join("file"), "text").unwrap();
    for (key, git_ref) in [
        ("branch", "refs/heads/main"),
        ("tag", "refs/tags/v1"),
        ("pull", "refs/pull/7/merge"),
        ("note", "refs/notes/x"),
        ("old-tag", "refs/tags/v0"),
        ("old-pull", "refs/pull/6/merge"),
        ("old-branch", "refs/heads/gone"),
    ] {
        let job = Job::github();
        save(&job, &place, key).env("GITHUB_REF", git_ref).args(["--scope", "none"]).arg(&source).run().ok();
    }
    assert_eq!(place.entries().len(), 7);
    let repository = job.dir("repository");
    git(&repository, &["init", "--quiet", "--initial-branch", "main"]);
    git(&repository, &["commit", "--quiet", "--allow-empty", "-m", "first"]);
    let dead = |rule: &str, value: &Path| {
        let outcome =
            gc(&job, &place, "prune").arg(rule).arg(value).args(["--min-age", "0s", "--dry-run", "--json"]).run().ok();
        let document = outcome.json();
        deletes(&document).into_iter().map(|name| name.replace("-base.tar.zst", "")).collect::<Vec<_>>()
    };
    // A list of branches says nothing of tags and pull requests.
    assert_eq!(dead("--live-branches-from-git", &repository), ["old-branch"]);
    git(&repository, &["tag", "v1"]);
    git(&repository, &["update-ref", "refs/pull/7/merge", "HEAD"]);
    assert_eq!(dead("--live-branches-from-git", &repository), ["old-branch", "old-pull", "old-tag"]);
    let file = job.path("refs");
    fs::write(&file, "main\n").unwrap();
    assert_eq!(dead("--live-branches", &file), ["old-branch"]);
    fs::write(&file, "main\ntags/v1\nrefs/pull/7/merge\n").unwrap();
    assert_eq!(dead("--live-branches", &file), ["old-branch", "old-pull", "old-tag"]);
}

#[test]
fn what_cannot_be_restored_is_found_and_goes() {
    for place in Place::each() {
        let job = Job::new();
        base_and_delta(&job, &place);
        let whole = place.get("old-base.tar.zst").unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 3] ^= 1;
        place.put("damaged-base.tar.zst", &damaged);
        place.put("short-base.tar.zst", &whole[..whole.len() - 30]);
        place.put("plain-base.tar.zst", &made_by_others(100));
        let found = |outcome: Outcome| {
            let document = outcome.expect_code(1).json();
            let faults = document["faults"].as_array().unwrap().iter();
            faults.map(|fault| format!("{} {}", fault["name"], fault["fault"]).replace('"', "")).collect::<Vec<_>>()
        };
        let shallow = found(gc(&job, &place, "verify").arg("--json").run());
        let has =
            |faults: &[String], parts: [&str; 2]| faults.iter().any(|f| parts.iter().all(|part| f.contains(part)));
        assert!(has(&shallow, ["short-base", "does not end where it should"]), "{shallow:?}");
        assert!(!has(&shallow, ["damaged-base", ""]), "only a copy under another key, and left alone: {shallow:?}");
        gc(&job, &place, "verify").args(["--deep", "new", "old", "plain"]).run().ok();
        gc(&job, &place, "verify").arg("missing").run().expect_code(1).reviewed();

        place.put("old-base.tar.zst", &damaged);
        let deep = found(gc(&job, &place, "verify").args(["--json", "--deep", "old"]).run());
        assert!(has(&deep, ["old-base", "frame"]), "{deep:?}");
        place.delete("old-base.tar.zst");
        let dangling = found(gc(&job, &place, "verify").args(["--json", "new"]).run());
        assert!(has(&dangling, ["new-delta", "`old-base.tar.zst`, which it builds on, is gone"]), "{dangling:?}");
        let pruned = gc(&job, &place, "prune").args(["--dangling", "--min-age", "0s", "--json"]).run().ok().json();
        assert_eq!(deletes(&pruned), ["new-delta.tar.zst"]);
        assert!(place.get("new-delta.tar.zst").is_none());
    }
}

#[test]
fn an_object_without_an_index_is_read_to_its_end() {
    for place in Place::each() {
        let job = Job::new();
        let verified = |name: &str, object: &[u8], depth: &[&str]| {
            place.put("key-base.tar.zst", object);
            let outcome = gc(&job, &place, "verify").arg("--json").args(depth).run();
            let faults = outcome.json()["faults"].as_array().unwrap().len();
            assert_eq!(outcome.code, Some(i32::from(faults > 0)), "{name}: {outcome:?}");
            (faults, outcome)
        };
        let small = made_by_others(3000);
        // Longer than what is read of an end at once.
        let large = made_by_others(1 << 20);
        let long_window = {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(28).unwrap();
            std::io::Write::write_all(&mut encoder, &zstd::decode_all(&small[..]).unwrap()).unwrap();
            encoder.finish().unwrap()
        };
        let tar = zstd::decode_all(&small[..]).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7][..], &small].concat();
        for (name, object) in [("small", &small), ("large", &large), ("after another frame", &skippable)] {
            assert_eq!(verified(name, object, &[]).0, 0, "{name}");
            assert_eq!(verified(name, object, &["--deep"]).0, 0, "{name}");
        }
        let garbage = Rng::new(3).bytes(5000);
        let cut_head = &large[1..];
        let html = b"<html><body>503 Service Unavailable</body></html>";
        for (name, object) in [
            ("empty", &b""[..]),
            ("too short", &small[..8]),
            ("garbage", &garbage),
            ("html", html),
            ("tar that is not compressed", &tar),
            ("without its first byte", cut_head),
        ] {
            assert_eq!(verified(name, object, &[]).0, 1, "{name}");
            let (faults, outcome) = verified(name, object, &["--deep"]);
            assert_eq!(faults, 1, "{name}");
            tells(&outcome, &["key-base.tar.zst", "it has no index, and cannot be read as a `.tar.zst`"]);
        }
        let flipped = |at: usize| {
            let mut object = small.clone();
            object[at] ^= 0x10;
            object
        };
        let no_tar = zstd::encode_all(&garbage[..], 3).unwrap();
        let empty = zstd::encode_all(&b""[..], 3).unwrap();
        let no_end = zstd::encode_all(&tar[..tar.len() - 1024], 3).unwrap();
        let bad_header = zstd::encode_all(&[&tar[..5], b"x", &tar[6..]].concat()[..], 3).unwrap();
        for (name, object) in [
            ("cut in the middle", &small[..small.len() / 2]),
            ("without its last byte", &small[..small.len() - 1]),
            ("large, cut", &large[..large.len() - 1000]),
            ("garbage behind", &[&small[..], b"garbage"].concat()),
            ("a flipped block", &flipped(10)),
            ("no tar", &no_tar),
            ("nothing compressed", &empty),
            ("no end mark", &no_end),
            ("a wrong header", &bad_header),
            ("a window of 256 MiB", &long_window),
        ] {
            assert_eq!(verified(name, object, &["--deep"]).0, 1, "{name}");
        }
    }
}

/// P7: a base is what `zstd -t` and `tar` read, from the first byte to the last.
#[test]
fn every_flipped_byte_of_an_object_is_found() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    fs::write(source.join("file"), Rng::new(1).bytes(3000)).unwrap();
    saved(&job, &place, "key", &source);
    restored(&job, &place, "key", &source);
    fs::write(source.join("other"), "text ".repeat(5000)).unwrap();
    save(&job, &place, "delta").args(["--json"]).arg(&source).run().ok();
    let deep = || gc(&job, &place, "verify").args(["--deep", "--json"]).run();
    deep().ok();
    for name in ["key-base.tar.zst", "delta-delta.tar.zst"].into_iter().filter(|name| place.get(name).is_some()) {
        let whole = place.get(name).unwrap();
        // All of the end, and some of the rest.
        let places = (0..whole.len()).filter(|at| at + 200 > whole.len() || at % 97 == 0);
        for at in places {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            place.put(name, &flipped);
            assert_eq!(deep().code, Some(1), "byte {at} of {} of {name}", whole.len());
        }
        place.put(name, &whole);
    }
    // Whole frames that are missing: the one that ends the stream is no part of the index.
    let whole = place.get("key-base.tar.zst").unwrap();
    for cut in 1..40 {
        place.put("key-base.tar.zst", &whole[cut..]);
        assert_eq!(deep().code, Some(1), "{cut} bytes less");
    }
}

#[test]
fn what_a_verification_marks_is_never_built_on() {
    for place in Place::each() {
        let job = Job::new();
        let source = base_and_delta(&job, &place);
        let whole = place.get("old-base.tar.zst").unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 3] ^= 1;
        place.put("old-base.tar.zst", &damaged);
        gc(&job, &place, "verify").arg("--mark").run().expect_code(2);
        gc(&job, &place, "verify").args(["--deep", "old"]).run().expect_code(1);
        assert!(!place.objects().iter().any(|name| name.contains("condemned")));
        let outcome = gc(&job, &place, "verify").args(["--deep", "--mark", "old"]).run().expect_code(1);
        outcome.reviewed();
        // The delta needs it still, so it stays; a save by a job that knows nothing of the damage writes a base.
        gc(&job, &place, "prune").args(["--max-age", "900d"]).run().ok();
        assert_eq!(place.entries(), ["new-delta.tar.zst", "old-base.tar.zst"]);
        fs::write(source.join("file-1"), Rng::new(7).bytes(300_000)).unwrap();
        save(&Job::new(), &place, "next").args(["--base-key", "old"]).arg(&source).run().ok();
        assert!(place.get("next-base.tar.zst").is_some(), "{:?}", place.entries());
        // Unneeded, it goes, whatever the rules say.
        gc(&job, &place, "rm").arg("new").run().ok();
        gc(&job, &place, "prune").args(["--max-age", "900d"]).run().ok();
        assert_eq!(place.entries(), ["next-base.tar.zst"]);
    }
}

#[test]
fn a_failed_deletion_is_told_and_the_others_go_on() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    for key in ["a", "b", "c"] {
        place.put(&format!("{key}-base.tar.zst"), b"made by others");
    }
    let proxy = Proxy::with_rules(server, &["DELETE b-base status:403"]);
    let behind = place.behind(proxy.endpoint());
    let outcome = gc(&job, &behind, "rm").args(["a", "b", "c", "--json"]).run().expect_code(1);
    let document = outcome.json();
    assert_eq!(document["deleted"].as_array().unwrap().len(), 2, "{document:#}");
    assert_eq!(document["failed"][0]["name"], "b-base.tar.zst");
    assert_eq!((&document["before"]["entries"], &document["after"]["entries"]), (&3.into(), &1.into()));
    outcome.clone().reviewed();
    assert_eq!(place.entries(), ["b-base.tar.zst"]);
    // The mark can be taken back, but not while a pass may count on it.
    outcome.reviewed();
    place.put(&format!(".xcache/gc/{}", "a".repeat(32)), b"");
    gc(&job, &place, "keep").arg("b").run().expect_code(1).reviewed();
    place.delete(&format!(".xcache/gc/{}", "a".repeat(32)));
    let mark = place.objects().into_iter().find(|name| name.contains("condemned/")).unwrap();
    let marked = place.get(&mark).unwrap();
    gc(&job, &place, "keep").arg("b").run().ok().reviewed();
    gc(&job, &place, "keep").args(["b", "missing"]).run().expect_code(1).reviewed();
    let next = gc(&job, &place, "prune").args(["--max-age", "900d", "--json"]).run().ok().json();
    assert_eq!(deletes(&next), [""; 0]);
    place.put(&mark, &marked);
    // Condemned and not deleted: the next run goes on where this one could not.
    let next = gc(&job, &place, "prune").args(["--max-age", "900d", "--json"]).run().ok().json();
    assert_eq!((deletes(&next), &next["deleted"][0]), (vec!["b-base.tar.zst"], &"b-base.tar.zst".into()));
}

#[test]
fn marks_that_cannot_be_removed_are_a_failure_of_the_clean_up() {
    let server = s3::server();
    for (rules, code) in [(&["DELETE condemned status:403"][..], 1), (&[], 0)] {
        let (job, place) = (Job::new(), Place::on(server));
        place.put("a-base.tar.zst", b"made by others");
        let proxy = Proxy::with_rules(server, rules);
        let behind = place.behind(proxy.endpoint());
        let outcome = gc(&job, &behind, "rm").arg("a").run().expect_code(code);
        assert_eq!(
            outcome.stderr.contains("warning: left to the next clean-up: cannot delete"),
            code == 1,
            "{outcome:?}"
        );
        assert_eq!(place.entries(), [""; 0]);
    }
}

#[test]
fn a_job_gets_a_summary() {
    let (job, place) = (Job::github(), Place::local());
    place.put("key-base.tar.zst", b"made by others");
    gc(&job, &place, "prune").args(["--max-total-size", "0B", "--min-age", "0s"]).run().ok();
    let summary = fs::read_to_string(job.github_file("GITHUB_STEP_SUMMARY")).unwrap();
    assert!(summary.contains("### xcache prune&#58; deleted 1 entry, 14 B; before"), "{summary}");
    assert!(summary.contains("| key | base | 14 B | 0 s | oldest beyond 0 B |"), "{summary}");
}

#[test]
fn a_pass_costs_what_is_written() {
    for server in s3::servers() {
        let (job, place) = (Job::new(), Place::on(server));
        base_and_delta(&job, &place);
        let mut proxy = Proxy::recording(server);
        let behind = place.behind(proxy.endpoint());
        let counted = |proxy: &mut Proxy| {
            let requests = proxy.requests();
            proxy::count(&requests)
        };
        gc(&job, &behind, "ls").run().ok();
        assert_eq!(counted(&mut proxy), "ListObjects 1");
        // Nothing to decide: what the store honours, the pass's own mark, and five listings.
        gc(&job, &behind, "prune").args(["--max-age", "900d"]).run().ok();
        assert_eq!(counted(&mut proxy), "DeleteObject 1, GetObject 1, HeadObject 1, ListObjects 5, PutObject 1");
        // Two victims: the listing for the key, the footer of the delta and the id of the base, two marks, the second look,
        // two conditional deletions, each confirmed by a HEAD, and the marks go; then whether the bucket keeps old versions.
        gc(&job, &behind, "rm").args(["old", "--cascade"]).run().ok();
        assert_eq!(counted(&mut proxy), "DeleteObject 5, GetObject 4, HeadObject 3, ListObjects 8, PutObject 3");
    }
}

/// Makes an object of a local store look older.
fn age(place: &Place, name: &str, age: Duration) {
    let file = fs::File::options().write(true).open(place.dir().join(name)).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

fn git(dir: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
    let status = Command::new("git").args(identity).args(arguments).current_dir(dir).status().unwrap();
    assert!(status.success(), "git {arguments:?}");
}
