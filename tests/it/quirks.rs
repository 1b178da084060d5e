//! Stores that lack something, or answer oddly: what a probe finds, and that save, restore and clean-up then do without.
//!
//! The stores are ministack, which does not check signatures, behind a proxy that changes requests and answers as the
//! store of the case does. What is known of real ones: `docs/stores.md`.

use std::fs;

use xcache_core::store::open::open;
use xcache_core::store::probe::Features;
use xcache_core::store::{ByteRange, Deletion, ErrorKind, PutMode, Tags, collect};
use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::proxy::{self, Proxy};
use xcache_tests::s3;
use xcache_tests::tree::Rng;

use crate::conformance::{kind, name, put, s3_config};
use crate::{GC, restored, save, saved};

/// Ministack keeps no tags of multipart uploads.
fn ministack() -> Features {
    Features { multipart_tags: false, ..Features::all() }
}

/// The answer of Ceph 16 and 18 for an object without tags.
const CEPH_TAGS: &str = r"GET tagging cut-out:(?s)^.*<TagSet(\s*/>|></TagSet>).*$";

/// What makes each store, and what a probe must find that it lacks.
fn stores() -> Vec<(&'static str, Vec<&'static str>, Features)> {
    let all = ministack();
    vec![
        ("ministack", vec![], all),
        (
            "ceph 18: no tags of uploads, empty answers, 412 to every If-Match on a write",
            vec![CEPH_TAGS, "PUT . status:412 if=if-match", "POST uploadId status:412 if=if-match"],
            Features { conditional_put: false, conditional_multipart: false, ..all },
        ),
        (
            "ceph without tagging afterwards",
            vec![CEPH_TAGS, "PUT tagging status:501"],
            Features { late_tags: false, ..all },
        ),
        (
            "localstack: 501 to If-Match on DELETE",
            vec!["DELETE . status:501 if=if-match"],
            Features { conditional_delete: false, ..all },
        ),
        (
            "swift: 412 to the right ETag on DELETE, 501 to If-Match on PUT",
            vec![
                "DELETE . status:412 if=if-match",
                "PUT . status:501 if=if-match",
                "POST uploadId status:501 if=if-match",
            ],
            Features { conditional_delete: false, conditional_put: false, conditional_multipart: false, ..all },
        ),
        (
            "a store that ignores If-Match on DELETE",
            vec!["DELETE . strip:if-match"],
            Features { conditional_delete: false, ..all },
        ),
        (
            "a store that ignores If-Match on PUT",
            vec!["PUT . strip:if-match"],
            Features { conditional_put: false, ..all },
        ),
        (
            "a store that refuses If-Match on GET",
            vec!["GET . status:412 if=if-match"],
            Features { conditional_get: false, ..all },
        ),
        (
            "a store that says 501 to If-Match on GET",
            vec!["GET . status:501 if=if-match"],
            Features { conditional_get: false, ..all },
        ),
        (
            "rclone: ignores ?tagging, refuses long suffixes, lists no uploads",
            vec!["GET tagging bare", "PUT tagging bare", "GET . empty:416 if=range:bytes=-", "GET uploads bare"],
            Features {
                tags: false,
                multipart_tags: false,
                late_tags: false,
                suffix_range: false,
                list_uploads: false,
                ..all
            },
        ),
        (
            "b2: 400 to tags",
            vec!["PUT . empty:400 if=x-amz-tagging", "POST uploads empty:400 if=x-amz-tagging", "* tagging status:501"],
            Features { tags: false, multipart_tags: false, late_tags: false, ..all },
        ),
        (
            "r2, garage: 501 to tags",
            vec![
                "PUT . status:501 if=x-amz-tagging",
                "POST uploads status:501 if=x-amz-tagging",
                "* tagging status:501",
            ],
            Features { tags: false, multipart_tags: false, late_tags: false, ..all },
        ),
        (
            "HTML in place of tags",
            vec!["GET tagging nonsense:200"],
            Features { tags: false, multipart_tags: false, late_tags: false, ..all },
        ),
        ("400 to suffixes", vec!["GET . empty:400 if=range:bytes=-"], Features { suffix_range: false, ..all }),
        ("500 to suffixes", vec!["GET . empty:500 if=range:bytes=-"], Features { suffix_range: false, ..all }),
        ("the front of the object for a suffix", vec!["GET . front"], Features { suffix_range: false, ..all }),
        ("the whole object for any range", vec!["GET . strip:range"], Features { suffix_range: false, ..all }),
        ("no batches", vec!["POST delete status:501"], Features { batch_delete: false, ..all }),
        ("no list of uploads", vec!["GET uploads status:501"], Features { list_uploads: false, ..all }),
        (
            "uploads are never listed",
            vec!["GET uploads cut-out:(?s)<Upload>.*</Upload>"],
            Features { list_uploads: false, ..all },
        ),
        (
            "no conditions at all",
            vec!["* . unconditional"],
            Features {
                create_only_put: false,
                create_only_multipart: false,
                conditional_put: false,
                conditional_multipart: false,
                conditional_delete: false,
                ..all
            },
        ),
        (
            "501 to If-None-Match on PUT",
            vec!["PUT . status:501 if=if-none-match"],
            Features { create_only_put: false, ..all },
        ),
        (
            "412 to every If-None-Match",
            vec!["PUT . status:412 if=if-none-match", "POST uploadId status:412 if=if-none-match"],
            // That the completion is refused where the name is free cannot be told here, and shows when it is used.
            Features { create_only_put: false, ..all },
        ),
    ]
}

/// A fresh prefix behind a proxy with these rules.
fn behind(rules: &[&str]) -> (Place, Place, Proxy) {
    let place = Place::on(s3::ministack());
    let proxy = Proxy::with_rules(s3::ministack(), rules);
    let behind = place.behind(proxy.endpoint());
    (place, behind, proxy)
}

fn gc(job: &Job, place: &Place, command: &str) -> Invocation {
    job.command(GC).arg(command).store(place)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_finds_what_each_store_lacks_and_leaves_nothing() {
    for (at, (store, rules, expected)) in stores().into_iter().enumerate() {
        let proxy = Proxy::with_rules(s3::ministack(), &rules);
        let config = s3_config(&s3::ministack().behind(proxy.endpoint()), &format!("quirk-{at}"));
        let found = open(&config).await.unwrap().features().await.unwrap();
        assert_eq!(found, expected, "{store}");
        let direct = s3_config(s3::ministack(), &format!("quirk-{at}"));
        let store_itself = open(&direct).await.unwrap().store;
        assert_eq!(crate::conformance::names(&*store_itself, "").await, [".xcache/store".to_owned()].into(), "{store}");
        assert!(store_itself.uploads("").await.unwrap().is_empty(), "{store}");
    }
}

/// What the contract of a store promises holds on each of them once they are probed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_each_store() {
    for (at, (what, rules, features)) in stores().into_iter().enumerate() {
        let proxy = Proxy::with_rules(s3::ministack(), &rules);
        let config = s3_config(&s3::ministack().behind(proxy.endpoint()), &format!("contract-{at}"));
        let opened = open(&config).await.unwrap();
        opened.features().await.unwrap();
        let store = &*opened.store;
        let etag = put(store, "a", "first object").await;
        assert_eq!(
            kind(store.put(&name("a"), "x".into(), PutMode::Create, &Tags::new()).await),
            ErrorKind::AlreadyExists
        );
        for (range, expected) in [
            (ByteRange::Last(6), "object"),
            (ByteRange::Last(600), "first object"),
            (ByteRange::Span(0..5), "first"),
            (ByteRange::Full, "first object"),
        ] {
            if rules.contains(&"GET . strip:range") && matches!(range, ByteRange::Span(_) | ByteRange::Last(6)) {
                continue;
            }
            let download =
                store.get(&name("a"), range.clone(), Some(&etag)).await.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(collect(download, 100).await.unwrap(), expected, "{what}: {range:?}");
        }
        let upload = store.upload(&name("b"), &Tags::new()).await.unwrap();
        upload.part(1, 0, "parts".into()).await.unwrap();
        let parts = match upload.complete(PutMode::Create).await {
            Ok(etag) => etag,
            // It says that it exists, and it does not: nothing is claimed, and nothing is written.
            Err(error) if what == "412 to every If-None-Match" => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{what}");
                upload.complete(PutMode::Overwrite).await.unwrap()
            }
            Err(error) => panic!("{what}: {error}"),
        };
        let replaced = store.put(&name("b"), "new".into(), PutMode::Replace(parts.clone()), &Tags::new()).await;
        let new = replaced.unwrap_or_else(|error| panic!("{what}: {error}"));
        let late = store.put(&name("b"), "newer".into(), PutMode::Replace(parts.clone()), &Tags::new()).await;
        assert_eq!(kind(late), ErrorKind::Changed, "{what}");
        let deletion = |text: &str, etag| Deletion { name: name(text), if_match: Some(etag) };
        let answers = store.delete(&[deletion("b", parts.clone()), deletion("a", etag)]).await;
        let [b, a] = answers.try_into().unwrap();
        assert_eq!(kind(b), ErrorKind::Changed, "{what}");
        a.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(store.head(&name("b")).await.unwrap().etag, new, "{what}");
        put(store, "c", "1").await;
        let deletion = |text: &str| Deletion { name: name(text), if_match: None };
        for answer in store.delete(&[deletion("b"), deletion("c"), deletion("missing")]).await {
            answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        assert_eq!(crate::conformance::names(store, "").await.len(), 1, "{what}");
        assert_eq!(store.uploads("").await.is_ok(), features.list_uploads, "{what}");
    }
}

/// Save, restore and removal with the programs themselves.
#[test]
fn entries_are_saved_restored_and_removed_on_each_store() {
    for (what, rules, _) in stores() {
        // A probe cannot find that, and without ranges nothing large can be read.
        if what.starts_with("412 to every") || what.starts_with("the whole object") {
            continue;
        }
        let (place, behind, _proxy) = behind(&rules);
        let job = Job::new();
        let (small, large) = (job.dir("small"), job.dir("large"));
        fs::write(small.join("file"), "x").unwrap();
        fs::write(large.join("file"), Rng::new(1).bytes(9 << 20)).unwrap();
        for (key, source) in [("small", &small), ("large", &large)] {
            saved(&job, &behind, key, source);
            let target = job.path(format!("restored-{key}"));
            restored(&Job::new(), &behind, key, &target);
            assert_eq!(fs::read(target.join("file")).unwrap(), fs::read(source.join("file")).unwrap(), "{what}");
        }
        let outcome = gc(&job, &behind, "rm").args(["small", "large"]).run();
        assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.stderr);
        assert_eq!(place.objects(), [".xcache/store"], "{what}: {}", outcome.stderr);
    }
}

fn large_source(job: &Job) -> std::path::PathBuf {
    let source = job.dir("source");
    fs::write(source.join("file"), Rng::new(1).bytes(9 << 20)).unwrap();
    source
}

fn prune_all(job: &Job, place: &Place) -> Invocation {
    gc(job, place, "prune").args(["--max-total-size", "0B", "--min-age", "0s"])
}

#[test]
fn large_entries_go_and_pinned_ones_stay_where_uploads_lose_their_tags() {
    let (place, behind, _proxy) = behind(&[CEPH_TAGS]);
    let job = Job::new();
    let source = large_source(&job);
    saved(&job, &behind, "goes", &source);
    let outcome =
        save(&job, &behind, "stays").args(["--full", "--tag", "keep=true", "--fail-on-error"]).arg(&source).run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let outcome = prune_all(&job, &behind).run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(place.entries(), ["stays-base.tar.zst"], "{}", outcome.stderr);
    let shown = gc(&job, &behind, "show").arg("stays").run().ok();
    assert!(shown.stdout.contains("keep=true"), "{}", shown.stdout);
}

#[test]
fn a_pin_that_a_store_cannot_keep_is_a_warning() {
    let no_tags =
        ["PUT . status:501 if=x-amz-tagging", "POST uploads status:501 if=x-amz-tagging", "* tagging status:501"];
    for (rules, is_large) in [(&no_tags[..], false), (&no_tags[..], true), (&["PUT tagging status:501"][..], true)] {
        let (_, behind, _proxy) = behind(rules);
        let job = Job::new();
        let source = if is_large {
            large_source(&job)
        } else {
            fs::write(job.dir("source").join("file"), "x").unwrap();
            job.path("source")
        };
        let pinned = |key: &str| save(&job, &behind, key).args(["--full", "--tag", "keep=true"]).arg(&source);
        let outcome = pinned("a").run();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.matches("warning: the entry is not pinned").count(), 1, "{}", outcome.stderr);
        let outcome = pinned("b").arg("--fail-on-error").run();
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        let unpinned = save(&job, &behind, "c").args(["--full", "--fail-on-error"]).arg(&source).run().ok();
        assert!(!unpinned.stderr.contains("not pinned"), "{}", unpinned.stderr);
        let pruned = gc(&job, &behind, "prune").args(["--max-age", "30d"]).run().ok();
        assert_eq!(pruned.stderr.matches("pinned").count(), 1, "said once per pass: {}", pruned.stderr);
    }
}

#[test]
fn what_cannot_be_deleted_is_never_called_deleted() {
    // Only entries, so that a probe finds nothing.
    let (place, behind, _proxy) = behind(&["DELETE -base status:412 if=if-match"]);
    let job = Job::new();
    fs::write(job.dir("source").join("file"), "x").unwrap();
    saved(&job, &behind, "key", &job.path("source"));
    let outcome = gc(&job, &behind, "rm").args(["--json", "key"]).run();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert_eq!(place.entries(), ["key-base.tar.zst"]);
    outcome.clone().reviewed();
    assert_eq!(outcome.json()["deleted"], serde_json::json!([]));
}

#[test]
fn one_false_answer_to_a_deletion_is_asked_again() {
    for status in ["412", "404"] {
        let (place, behind, _proxy) = behind(&[&format!("DELETE -base status:{status} count=1")]);
        let job = Job::new();
        fs::write(job.dir("source").join("file"), "x").unwrap();
        saved(&job, &behind, "key", &job.path("source"));
        let outcome = gc(&job, &behind, "rm").args(["--json", "key"]).run().ok();
        assert_eq!(outcome.json()["deleted"], serde_json::json!(["key-base.tar.zst"]), "{}", outcome.stderr);
        assert_eq!(place.entries(), [""; 0]);
    }
}

/// Runs a restore that meets a damaged entry, then the save of the same job.
fn repair(rules: &[&str], bytes: usize) -> (String, Place) {
    let (place, behind, proxy) = behind(rules);
    let job = Job::github();
    let source = job.dir("source");
    fs::write(source.join("file"), Rng::new(1).bytes(bytes)).unwrap();
    saved(&Job::new(), &behind, "key", &source);
    let mut damaged = place.get("key-base.tar.zst").unwrap();
    damaged[bytes / 2] ^= 1;
    place.put("key-base.tar.zst", &damaged);
    let outcome = crate::restore(&job, &behind, "key").arg("--json").arg(job.path("target")).run();
    assert_eq!(outcome.json()["outcome"], "miss", "{}", outcome.stderr);
    let outcome = save(&job, &behind, "key").arg("--json").arg(&source).run().ok();
    assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
    drop(proxy);
    (outcome.stderr, place)
}

#[test]
fn a_damaged_entry_is_repaired_where_writes_take_no_if_match() {
    for rules in [
        ["PUT . status:412 if=if-match", "POST uploadId status:412 if=if-match"],
        ["PUT . status:501 if=if-match", "POST uploadId status:501 if=if-match"],
        // Only entries, so that a probe finds nothing.
        ["PUT -base status:412 if=if-match", "POST -base.*uploadId status:412 if=if-match"],
    ] {
        for bytes in [100_000, 9 << 20] {
            let (stderr, place) = repair(&rules, bytes);
            assert!(!stderr.contains("another run"), "{stderr}");
            let job = Job::new();
            restored(&job, &place, "key", &job.path("target"));
        }
    }
}

fn puts(proxy: &mut Proxy) -> String {
    let requests = proxy.requests();
    let entry = |request: &proxy::Request| request.target.contains("-base.tar.zst") && request.method != "HEAD";
    proxy::count(&requests.into_iter().filter(entry).collect::<Vec<_>>())
}

#[test]
fn a_body_is_sent_once_to_a_store_without_tags() {
    for refusal in ["empty:400", "status:501"] {
        let rules = [&format!("PUT . {refusal} if=x-amz-tagging"), &format!("POST uploads {refusal} if=x-amz-tagging")];
        let rules: Vec<&str> = rules.iter().map(|rule| rule.as_str()).chain(["* tagging status:501"]).collect();
        let (_, behind, mut proxy) = behind(&rules);
        let job = Job::new();
        fs::write(job.dir("source").join("file"), "x").unwrap();
        saved(&job, &behind, "a", &job.path("source"));
        assert_eq!(puts(&mut proxy), "PutObject 1", "the first, which has probed");
        saved(&Job::new(), &behind, "b", &job.path("source"));
        assert_eq!(puts(&mut proxy), "PutObject 1");
    }
}

#[test]
fn the_notice_about_conditions_comes_only_where_the_request_lacks_one() {
    let is_told = |rules: &[&str]| {
        let (_, behind, mut proxy) = behind(rules);
        let job = Job::new();
        fs::write(job.dir("source").join("file"), "x").unwrap();
        let outcome = save(&job, &behind, "key").arg(job.path("source")).run().ok();
        let made = puts(&mut proxy);
        (outcome.stderr.matches("does not honour conditional writes").count(), made)
    };
    // The small entry goes as an upload, whose completion has the condition.
    let with_tags = "CompleteUpload 1, CreateUpload 1, PutTagging 1, UploadPart 1".to_owned();
    assert_eq!(is_told(&["PUT . strip:if-none-match"]), (0, with_tags.clone()));
    assert_eq!(is_told(&["* . unconditional"]), (1, with_tags));
    assert_eq!(is_told(&["POST uploadId unconditional"]), (0, "PutObject 1".to_owned()));
}

#[test]
fn a_store_that_could_not_be_tried_is_not_said_to_lack_anything() {
    for rules in [&["* xcache/probe status:403"][..], &["PUT xcache/probe status:403", "POST xcache/probe status:403"]]
    {
        let (place, behind, _proxy) = behind(rules);
        let job = Job::new();
        fs::write(job.dir("source").join("file"), "x").unwrap();
        let outcome = save(&job, &behind, "key").arg(job.path("source")).run().ok();
        assert!(!outcome.stderr.contains("does not honour"), "{}", outcome.stderr);
        outcome.says(&["cannot be found out whether this store honours conditional writes", "`.xcache/probe/`"]);
        // Another role may find out.
        assert!(!place.objects().contains(&".xcache/store".to_owned()));
        let outcome = save(&Job::new(), &place, "other").arg(job.path("source")).run().ok();
        assert!(!outcome.stderr.contains("conditional writes"), "{}", outcome.stderr);
    }
}

#[test]
fn a_listing_without_etags_and_a_name_that_is_too_long_are_named() {
    let (place, behind, _proxy) = behind(&[r"GET list-type=2 cut-out:(?s)<ETag>.*?</ETag>"]);
    let job = Job::new();
    fs::write(job.dir("source").join("file"), "x").unwrap();
    saved(&job, &place, "key-1", &job.path("source"));
    let restored = crate::restore(&Job::new(), &behind, "key-2").args(["--restore-keys", "key-", "--json", "t"]).run();
    assert_eq!(restored.clone().ok().json()["reason"], "unreachable");
    for outcome in [restored, gc(&job, &behind, "ls").run().expect_code(1)] {
        assert!(!outcome.stderr.contains("damaged"), "{}", outcome.stderr);
        outcome.says(&["cannot list `s3://", "` without an ETag", "hint: xcache needs the ETags"]);
    }

    // Garage answers so; others say what it is about, or merely refuse.
    let long = "k".repeat(400);
    for rule in ["* kkkk status:500", "* kkkk status:503", "* kkkk empty:414", "* kkkk empty:400"] {
        let (place, behind, _proxy) = self::behind(&[rule]);
        let outcome = save(&job, &behind, &long).arg(job.path("source")).run().ok();
        assert_eq!(place.entries(), [""; 0]);
        outcome.says(&["bytes", "use a shorter key"]);
        let outcome = save(&job, &behind, "key").arg(job.path("source")).run().ok();
        assert!(!outcome.stderr.contains("shorter key"), "{rule}: {}", outcome.stderr);
    }
}

/// Two saves of one key on a store without conditions: the one that comes while the other has asked for the name but not
/// yet written.
#[test]
fn of_two_saves_without_conditions_the_overwritten_one_finds_out() {
    let (place, behind, mut slow) = behind(&["POST -base.*uploadId= hold", "* . unconditional"]);
    let job = Job::new();
    fs::write(job.dir("source").join("file"), "x").unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| save(&job, &behind, "key").arg("--json").arg(job.path("source")).run().ok());
        slow.wait_until_held();
        // The first has asked for the name and is about to publish; the second wins.
        place.put("key-base.tar.zst", b"of the other");
        slow.release();
        let outcome = first.join().unwrap();
        // The later one of the two is kept: the first, and it says so truly.
        assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
        assert_ne!(place.get("key-base.tar.zst").unwrap(), b"of the other");
    });
}

#[test]
fn stale_uploads_that_cannot_be_listed_do_not_stop_a_clean_up() {
    for rule in ["GET uploads status:501", "GET uploads nonsense:200"] {
        let (place, behind, _proxy) = behind(&[rule]);
        let job = Job::new();
        fs::write(job.dir("source").join("file"), "x").unwrap();
        saved(&job, &behind, "key", &job.path("source"));
        let outcome = prune_all(&job, &behind).args(["--stale-uploads", "2d"]).run();
        assert_eq!(place.entries(), [""; 0], "{}", outcome.stderr);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        outcome.clone().reviewed();
    }
}

#[test]
fn an_option_that_a_store_does_not_know_is_named() {
    let (_, refuses_encryption, _proxy) = behind(&["* . status:501 if=x-amz-server-side-encryption"]);
    let job = Job::new();
    fs::write(job.dir("source").join("file"), "x").unwrap();
    let source = job.path("source");
    let outcome = save(&job, &refuses_encryption, "key").args(["--s3-sse", "AES256"]).arg(&source).run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`--s3-sse AES256`") && !outcome.stderr.contains("probe"), "{}", outcome.stderr);
    assert_eq!(refuses_encryption.entries(), [""; 0], "never without encryption");

    let (place, refuses_class, _proxy) = behind(&["* . empty:400 if=x-amz-storage-class"]);
    for (key, source) in [
        ("small", source),
        ("large", {
            fs::create_dir(job.path("l")).unwrap();
            fs::write(job.path("l/f"), Rng::new(1).bytes(9 << 20)).unwrap();
            job.path("l")
        }),
    ] {
        let mut outcome =
            save(&job, &refuses_class, key).args(["--s3-storage-class", "GLACIAL"]).arg(&source).run().ok();
        // Whether tags or the class are left out first depends on which of two requests is refused first.
        let is_of_tags = |line: &&str| line.contains("does not accept tags");
        outcome.stderr = outcome.stderr.split_inclusive('\n').filter(|line| !is_of_tags(line)).collect();
        outcome.reviewed();
    }
    assert_eq!(place.entries(), ["large-base.tar.zst", "small-base.tar.zst"]);
}

#[test]
fn older_findings_are_found_again() {
    let (place, behind, _proxy) = behind(&["DELETE . status:501 if=if-match"]);
    let old = br#"{"version":2,"features":{"create_only_put":true,"create_only_multipart":true,"conditional_delete":true,"tags":true}}"#;
    place.put(".xcache/store", old);
    let job = Job::new();
    fs::write(job.dir("source").join("file"), "x").unwrap();
    saved(&job, &behind, "key", &job.path("source"));
    let found = String::from_utf8(place.get(".xcache/store").unwrap()).unwrap();
    assert!(found.contains("\"version\": 3") && found.contains("\"conditional_delete\": false"), "{found}");
}

/// From a first save to the clean-up, on servers that lack much of what AWS has.
#[test]
fn entries_live_and_go_on_other_servers() {
    use xcache_tests::job::Job;
    use xcache_tests::place::Place;
    use xcache_tests::tree::{Rng, assert_same_tree};
    // Rclone's answers to multipart uploads are none that an SDK reads: what it takes fits one request.
    for (server, bytes) in [(xcache_tests::s3::moto(), 9 << 20), (xcache_tests::s3::rclone(), 5 << 20)] {
        let (job, place, shown) = (Job::new(), Place::on(server), server.name);
        let tree = job.dir("tree");
        std::fs::write(tree.join("large"), Rng::new(1).bytes(bytes)).unwrap();
        crate::saved(&job, &place, "one", &tree);
        let (next, target) = (Job::new(), job.path("target"));
        crate::restored(&next, &place, "one", &target);
        std::fs::write(target.join("more"), "more").unwrap();
        let outcome = crate::save(&next, &place, "two").arg("--json").arg(&target).run().ok();
        assert_eq!(outcome.json()["outcome"], "saved", "{shown}: {}", outcome.stderr);
        assert_eq!(outcome.json()["kind"], "delta", "{shown}: {}", outcome.stderr);
        let again = crate::save(&Job::new(), &place, "one").arg("--json").arg(&tree).run().ok();
        assert_eq!(again.json()["outcome"], "exists", "{shown}: {}", again.stderr);
        let other = job.path("other");
        crate::restored(&Job::new(), &place, "two", &other);
        assert_same_tree(&target, &other, &[]);
        let gc = |args: &[&str]| job.command(crate::GC).args(args).store(&place).run();
        gc(&["verify", "--deep"]).ok();
        let listed = gc(&["ls"]).ok();
        assert_eq!(listed.stdout.lines().count(), 2, "{shown}: {}", listed.stdout);
        let removed = gc(&["rm", "one", "--cascade", "--yes"]);
        assert_eq!(place.entries(), [""; 0], "{shown}: {removed:?}");
    }
}
