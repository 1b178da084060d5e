//! Answers that are wrong, cut, lost or absurd: none of them is believed alone, and none loses or spoils an entry.

use std::fs;
use std::path::{Path, PathBuf};

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3::{self, S3Server};
use xcache_tests::tree::{Aspect, Rng, assert_same_tree};

use crate::{GC, restore, save, saved};

/// Two files: one request for the end of their entry brings a part of it, and another the rest.
fn make(job: &Job) -> PathBuf {
    let source = job.dir("source");
    fs::write(source.join("large"), Rng::new(1).bytes(9 << 20)).unwrap();
    fs::write(source.join("small"), "small").unwrap();
    source
}

/// Runs a restore of `key` through a proxy with `rules`.
fn restore_behind(job: &Job, place: &Place, server: &S3Server, rules: &[&str], target: &Path) -> Outcome {
    let proxy = Proxy::with_rules(server, rules);
    let behind = place.behind(proxy.endpoint());
    restore(job, &behind, "key").arg("--json").arg(target).run()
}

/// Whether the save of a job that has met an entry leaves it alone.
#[track_caller]
fn assert_left_alone(job: &Job, place: &Place, target: &Path, name: &str, before: &[u8], what: &str) {
    fs::create_dir_all(target).unwrap();
    fs::write(target.join("other"), "other").unwrap();
    let outcome = save(job, place, "key").arg("--json").arg(target).run().ok();
    assert_eq!(outcome.json()["outcome"], "exists", "{what}: {}", outcome.stderr);
    assert!(place.get(name).unwrap() == before, "{what}: the entry was replaced");
}

const LIES: [&str; 8] =
    ["status:404", "status:412", "status:429", "status:500", "etag", "nonsense", "short:1000", "cut:100000"];

#[test]
fn one_wrong_answer_to_a_read_changes_nothing() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    let source = make(&job);
    saved(&job, &place, "key", &source);
    let before = place.get("key-base.tar.zst").unwrap();
    // The end of the object, and a part of its data.
    for skip in [0, 1] {
        for lie in LIES.iter().chain(&["flip:50000"]) {
            let (job, what) = (Job::github(), format!("{lie} skip={skip}"));
            let target = job.path("target");
            let rule = format!("GET /key-base {lie} skip={skip} count=1");
            let outcome = restore_behind(&job, &place, server, &[&rule], &target).ok();
            assert_eq!(outcome.json()["outcome"], "exact", "{what}: {}", outcome.stderr);
            assert_same_tree(&source, &target, &[]);
            assert_left_alone(&job, &place, &target, "key-base.tar.zst", &before, &what);
        }
    }
}

#[test]
fn a_store_that_goes_on_lying_is_in_trouble_and_the_entry_is_not() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    let source = make(&job);
    saved(&job, &place, "key", &source);
    let before = place.get("key-base.tar.zst").unwrap();
    for lie in ["status:404", "status:412", "etag", "nonsense", "short:1000"] {
        let job = Job::github();
        let target = job.path("target");
        let outcome = restore_behind(&job, &place, server, &[&format!("GET /key-base {lie} skip=1")], &target).ok();
        let document = outcome.json();
        assert_eq!(document["outcome"], "miss", "{lie}: {}", outcome.stderr);
        assert_ne!(document["reason"], "corrupt", "{lie}: {}", outcome.stderr);
        assert_left_alone(&job, &place, &target, "key-base.tar.zst", &before, lie);
    }
}

#[test]
fn an_archive_without_an_index_is_not_damaged_by_one_wrong_answer_either() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    let source = make(&job);
    let script = "tar -C source -cf - . | zstd -q > plain.tar.zst";
    job.command("bash").args(["-c", script]).run().ok();
    let object = fs::read(job.path("plain.tar.zst")).unwrap();
    place.put("key-base.tar.zst", &object);
    for lie in LIES.iter().chain(&["flip:50000"]) {
        let job = Job::github();
        let target = job.path("target");
        let rule = format!("GET /key-base {lie} skip=1 count=1");
        let outcome = restore_behind(&job, &place, server, &[&rule], &target).ok();
        assert_eq!(outcome.json()["outcome"], "exact", "{lie}: {}", outcome.stderr);
        assert_same_tree(&source, &target, &[Aspect::Mtimes]);
        assert_left_alone(&job, &place, &target, "key-base.tar.zst", &object, lie);
    }
}

#[test]
fn a_listing_counts_only_to_its_end() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    let source = job.dir("source");
    fs::write(source.join("file"), "file").unwrap();
    for key in ["key-1", "key-2", "key-3"] {
        saved(&job, &place, key, &source);
    }
    let look = |rules: &[&str]| {
        let (job, proxy) = (Job::new(), Proxy::with_rules(server, rules));
        let behind = place.behind(proxy.endpoint());
        let lookup = restore(&job, &behind, "key").args(["--json", "--restore-keys", "key-", "--lookup-only"]);
        lookup.arg(job.dir("target")).run().ok()
    };
    let whole = look(&[]).json()["key"].clone();
    for cut in ["short:300", "short:700", "cut:500", "nonsense", "status:429"] {
        let outcome = look(&[&format!("GET list-type {cut} count=1")]);
        assert_eq!(outcome.json()["key"], whole, "{cut}: {}", outcome.stderr);
        let outcome = look(&[&format!("GET list-type {cut}")]);
        assert_eq!(outcome.json()["reason"], "unreachable", "{cut}: {}", outcome.stderr);
        // No clean-up works with half a listing.
        let proxy = Proxy::with_rules(server, &[&format!("GET list-type {cut} skip=2")]);
        let behind = place.behind(proxy.endpoint());
        let prune = job.command(GC).arg("prune").store(&behind).args(["--keep-newest", "1", "--min-age", "0s"]);
        prune.run().expect_code(1);
    }
    assert_eq!(place.entries().len(), 3);
}

#[test]
fn a_publication_whose_answer_is_lost_is_found_by_its_archive() {
    let server = s3::server();
    for (large, target) in [(false, "PUT /key-base"), (true, "POST /key-base.*uploadId")] {
        for fault in ["drop-reply", "nonsense", "etag", "cut:0", "short:0", "short:50"] {
            // An answer without a body has nothing to be cut.
            if fault.starts_with("nonsense") || (!large && (fault.starts_with("cut") || fault.starts_with("short"))) {
                continue;
            }
            let (job, place) = (Job::new(), Place::on(server));
            let source = job.dir("source");
            fs::write(source.join("file"), Rng::new(1).bytes(if large { 9 << 20 } else { 9000 })).unwrap();
            let proxy = Proxy::with_rules(server, &[&format!("{target} {fault}")]);
            let outcome = save(&job, &place.behind(proxy.endpoint()), "key").arg("--json").arg(&source).run().ok();
            assert_eq!(outcome.json()["outcome"], "saved", "{target} {fault}: {}", outcome.stderr);
            assert_eq!((place.entries().len(), place.uploads()), (1, 0), "{target} {fault}");
        }
    }
}

#[test]
fn a_condition_that_nobody_has_set_is_no_proof_that_the_key_is_taken() {
    let server = s3::server();
    for (request, status) in [("POST uploads", 412), ("PUT partNumber", 412), ("PUT partNumber", 409)] {
        let (job, place) = (Job::new(), Place::on(server));
        let source = job.dir("source");
        fs::write(source.join("file"), Rng::new(1).bytes(9 << 20)).unwrap();
        for count in ["", "count=1"] {
            let proxy = Proxy::with_rules(server, &[&format!("{request} status:{status} {count}")]);
            let outcome = save(&job, &place.behind(proxy.endpoint()), "key").arg("--json").arg(&source).run().ok();
            assert_ne!(outcome.json()["outcome"], "exists", "{request} {status}: {}", outcome.stderr);
            assert_eq!(outcome.json()["outcome"] == "saved", !place.entries().is_empty(), "{}", outcome.stderr);
        }
    }
}

#[test]
fn a_web_page_in_the_place_of_a_store_is_told() {
    let server = s3::server();
    let (job, place) = (Job::new(), Place::on(server));
    let outcome = restore_behind(&job, &place, server, &["* .* nonsense"], &job.path("target")).ok();
    let document = outcome.reviewed().json();
    assert_eq!(document["outcome"], "miss");
    let source = make(&job);
    let proxy = Proxy::with_rules(server, &["* .* nonsense"]);
    let saving = save(&job, &place.behind(proxy.endpoint()), "key").arg(&source).run().ok();
    saving.reviewed();
}

#[test]
fn a_copied_store_restores_takes_deltas_and_is_pruned_as_before() {
    for server in s3::servers() {
        let (job, place, copy) = (Job::new(), Place::on(server), Place::on(server));
        let source = job.dir("source");
        for n in 0..20 {
            fs::write(source.join(format!("{n}")), Rng::new(n).bytes(300_000)).unwrap();
        }
        saved(&job, &place, "one", &source);
        fs::write(source.join("more"), "more").unwrap();
        let delta = save(&job, &place, "two").arg("--json").arg(&source).run().ok();
        assert_eq!(delta.json()["kind"], "delta", "{}", delta.stderr);
        for name in place.entries() {
            // What a multipart upload was is one request here: a new ETag for the same object.
            copy.put(&name, &place.get(&name).unwrap());
        }
        let job = Job::new();
        let target = job.path("target");
        crate::restored(&job, &copy, "two", &target);
        assert_same_tree(&source, &target, &[]);
        fs::write(target.join("third"), "third").unwrap();
        let delta = save(&job, &copy, "three").args(["--json", "-v"]).arg(&target).run().ok();
        assert_eq!(delta.json()["kind"], "delta", "{}", delta.stderr);
        job.command(GC).arg("verify").store(&copy).arg("--deep").run().ok();
        job.command(GC).arg("prune").store(&copy).args(["--dangling", "--min-age", "0s"]).run().ok();
        assert_eq!(copy.entries().len(), 3);
    }
}

#[test]
fn a_store_that_lists_directories_only_is_listed_up_to_the_slash() {
    for server in s3::servers() {
        let (job, place) = (Job::new(), Place::on(server));
        let source = job.dir("source");
        fs::write(source.join("file"), "file").unwrap();
        for key in ["key-1", "other/key-2", "key-3/x"] {
            saved(&job, &place, key, &source);
        }
        // As S3 Express: a prefix must end in a slash, which is `%2F` here.
        let mut proxy = Proxy::with_rules(server, &["GET list-type.*prefix=[^&]*[^F&](&|$) empty:400"]);
        let behind = place.behind(proxy.endpoint());
        for (restore_key, found) in [("key-", "key-3/x"), ("other/k", "other/key-2"), ("key-3/", "key-3/x")] {
            let lookup = restore(&job, &behind, "none").args([
                "--restore-keys",
                restore_key,
                "--json",
                "--lookup-only",
                "--relocate",
            ]);
            let outcome = lookup.arg(job.path("target")).run().ok();
            assert_eq!(outcome.json()["matched_key"], *found, "{restore_key}: {}", outcome.stderr);
        }
        let listed = job.command(GC).arg("ls").store(&behind).arg("--json").run().ok();
        assert_eq!(listed.json()["entries"].as_array().map(Vec::len), Some(3), "{}", listed.stdout);
        assert!(proxy.requests().iter().any(|request| request.fault.is_some()), "the rule is used");
    }
}

#[test]
fn a_listing_that_holds_fewer_names_than_it_counts_is_none() {
    for server in s3::servers() {
        let (job, place) = (Job::new(), Place::on(server));
        saved(&job, &place, "key-1", &make(&job));
        let behind = |proxy: &Proxy| place.behind(proxy.endpoint());
        let rule = "GET list-type=2 cut-out:(?s)<Contents>.*</Contents>";
        let proxy = Proxy::with_rules(server, &[rule]);
        let listed = job.command(GC).arg("ls").store(&behind(&proxy)).run();
        assert_eq!(listed.code, Some(1), "{}: {listed:?}", server.name);
        let prune = ["prune", "--max-total-size", "0B", "--min-age", "0h", "--yes"];
        job.command(GC).args(prune).store(&behind(&proxy)).run().expect_code(1);
        assert_eq!(place.entries(), ["key-1-base.tar.zst"]);
        let restore = job.command(crate::RESTORE).store(&behind(&proxy)).args(["--key", "none", "--json"]);
        let missed = restore.args(["--restore-keys", "key-", "target"]).run().ok();
        assert_eq!(missed.json()["reason"], "unreachable", "{}: {}", server.name, missed.stderr);
    }
}
