//! P9: what each kind of run asks of an S3 store.
//!
//! Two requests come on top of the table in the design wherever the store is not AWS itself: one GET of what the store
//! is known to honour, beside the first requests of a save, and one HEAD that confirms what was published.

use std::fs;
use std::path::{Path, PathBuf};

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::{self, Proxy, Request};
use xcache_tests::s3::{self, S3Server};
use xcache_tests::tree::{self, Rng};

use crate::{restore, restored, save, saved};

/// A place behind a proxy, with what the store honours known already.
struct Counted {
    proxy: Proxy,
    place: Place,
    behind: Place,
    job: Job,
}

fn counted(server: &S3Server) -> Counted {
    let (place, job) = (Place::on(server), Job::new());
    let first = job.dir("first");
    fs::write(first.join("file"), "content").unwrap();
    saved(&Job::new(), &place, "first", &first);
    let proxy = Proxy::recording(server);
    let behind = place.behind(proxy.endpoint());
    Counted { proxy, place, behind, job }
}

impl Counted {
    /// The requests since the last call, those about the store's own abilities told apart.
    fn requests(&mut self) -> (Vec<Request>, usize) {
        let all = self.proxy.requests();
        let (abilities, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|request| {
            request.target.ends_with("/.xcache/store?x-id=GetObject") || request.target.ends_with("/.xcache/store")
        });
        (others, abilities.len())
    }

    /// Checks the number of requests since the last call that only look at ends of objects. A base answers for its key
    /// as soon as it is found, and the question for the delta may be dropped before it is asked.
    #[track_caller]
    fn check_at_most(&mut self, operation: &str, most: usize, abilities: usize) {
        let (requests, of_abilities) = self.requests();
        proxy::check_at_most(&requests, operation, most);
        assert_eq!(of_abilities, abilities, "{requests:#?}");
    }

    /// Checks the number of requests of each kind since the last call.
    #[track_caller]
    fn check(&mut self, expected: &str, abilities: usize) -> Vec<Request> {
        let (requests, of_abilities) = self.requests();
        assert_eq!(proxy::count(&requests), expected, "{requests:#?}");
        assert_eq!(of_abilities, abilities, "{requests:#?}");
        requests
    }

    fn tree(&self, name: &str, files: usize) -> PathBuf {
        let tree = self.job.dir(name);
        tree::random(&tree, 53, files);
        tree
    }
}

#[test]
fn a_restore_costs_two_tails_and_its_parts() {
    for server in s3::servers() {
        let mut counted = counted(server);
        let small = counted.tree("small", 30);
        saved(&counted.job, &counted.place, "small", &small);
        let large = counted.job.dir("large");
        fs::write(large.join("file"), Rng::new(1).bytes(44 << 20)).unwrap();
        saved(&counted.job, &counted.place, "large", &large);
        let (job, behind) = (Job::new(), &counted.behind);

        // All of a small entry comes with its tail.
        restored(&job, behind, "small", &job.path("small"));
        restored(&job, behind, "small", &job.path("small"));
        counted.check_at_most("GetObject", 4, 0);

        restored(&job, &counted.behind, "large", &job.path("large"));
        // 44 MiB, of which 4 have come, in parts of 8 to 16 MiB.
        let requests = counted.requests().0;
        let parts = requests.iter().filter(|request| request.status == Some(206)).count() - 1;
        assert!((3..=5).contains(&parts), "{parts} parts: {requests:#?}");
        assert!(requests.len() <= 2 + parts, "{requests:#?}");

        // Nothing has changed here.
        restored(&job, &counted.behind, "large", &job.path("large"));
        counted.check_at_most("GetObject", 2, 0);
        restore(&job, &counted.behind, "large").arg("--lookup-only").arg(job.path("large")).run().ok();
        counted.check_at_most("GetObject", 2, 0);
    }
}

#[test]
fn a_miss_costs_two_tails_and_one_listing_for_each_prefix() {
    let mut counted = counted(s3::server());
    let job = Job::new();
    for (keys, expected) in [
        ("", "GetObject 2, ListObjects 1"),
        ("a-", "GetObject 2, ListObjects 2"),
        ("a-\nb-\nc-", "GetObject 2, ListObjects 4"),
    ] {
        let outcome = restore(&job, &counted.behind, "none").args(["--restore-keys", keys]).arg("target").run().ok();
        outcome.clone().reviewed();
        counted.check(expected, 0);
    }
}

#[test]
fn a_save_of_a_key_that_exists_costs_two_heads() {
    let mut counted = counted(s3::server());
    let tree = counted.tree("tree", 5);
    save(&counted.job, &counted.behind, "first").arg(&tree).run().ok();
    counted.check_at_most("HeadObject", 2, 1);
}

#[test]
fn a_base_under_one_part_costs_one_write() {
    for server in s3::servers() {
        let mut counted = counted(server);
        let tree = counted.tree("tree", 30);
        saved(&counted.job, &counted.behind, "key", &tree);
        counted.check("HeadObject 3, PutObject 1", 1);
    }
}

#[test]
fn a_base_of_several_parts_costs_one_request_for_each_and_two_more() {
    for server in s3::servers() {
        let mut counted = counted(server);
        let tree = counted.job.dir("tree");
        fs::write(tree.join("file"), Rng::new(1).bytes(35 << 20)).unwrap();
        saved(&counted.job, &counted.behind, "key", &tree);
        // Ministack keeps no tags of uploads: the object gets them afterwards.
        let tagging = if server.name == "ministack" { "PutTagging 1, " } else { "" };
        counted.check(&format!("CompleteUpload 1, CreateUpload 1, HeadObject 3, {tagging}UploadPart 5"), 1);
    }
}

/// A delta on `refs` objects.
fn deltas(counted: &Counted, tree: &Path, refs: usize) {
    for number in 0..refs {
        fs::write(tree.join(format!("of-{number}")), Rng::new(number as u64).bytes(3000)).unwrap();
        saved(&counted.job, &counted.place, &format!("{refs}-{number}"), tree);
    }
}

#[test]
fn a_delta_on_r_refs_costs_r_heads_and_eight_requests_more() {
    for server in s3::servers() {
        for refs in [1, 3, 7] {
            let mut counted = counted(server);
            let tree = counted.tree("tree", 40);
            deltas(&counted, &tree, refs);
            fs::write(tree.join("new"), "new").unwrap();
            saved(&counted.job, &counted.behind, "key", &tree);
            // 2 HEADs of the key + r of the refs + 1 confirms + 2 last ones; the note and its end; the entry.
            let expected = format!("DeleteObject 1, HeadObject {}, ListObjects 1, PutObject 2", 2 + refs + 1 + 2);
            let requests = counted.check(&expected, 1);
            assert_order(&requests, refs);
        }
    }
}

/// The order on which gc relies: note, marks, refs, entry, note.
#[track_caller]
fn assert_order(requests: &[Request], refs: usize) {
    let place = |operation: &str, part: &str| {
        let found = requests.iter().enumerate().filter(|(_, r)| r.operation() == operation && r.target.contains(part));
        found.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let note = place("PutObject", "/.xcache/intents/")[0];
    let marks = place("ListObjects", "condemned")[0];
    let entry = place("PutObject", "/key-delta.tar.zst")[0];
    let asked: Vec<_> = place("HeadObject", &format!("/{refs}-"));
    let last = place("HeadObject", "/.xcache/intents/")[0];
    let end = place("DeleteObject", "/.xcache/intents/")[0];
    assert_eq!(asked.len(), refs);
    assert!(note < marks && asked.iter().all(|&at| marks < at && at < entry), "{requests:#?}");
    assert!(entry < last && last < end, "{requests:#?}");
}

#[test]
fn finding_what_to_build_on_costs_what_a_restore_asks_before_its_parts() {
    let mut counted = counted(s3::server());
    let tree = counted.tree("tree", 40);
    saved(&Job::new(), &counted.place, "main-1", &tree);
    let check = |counted: &mut Counted, gets: usize, lists: usize| {
        let requests = counted.requests().0;
        let of = |operation| requests.iter().filter(|request| request.operation() == operation).count();
        let found = [of("DeleteObject"), of("HeadObject"), of("ListObjects"), of("PutObject")];
        assert_eq!(found, [1, 6, lists, 2], "{requests:#?}");
        assert!((1..=gets).contains(&of("GetObject")), "{requests:#?}");
    };
    // The two ends of the base key.
    save(&Job::new(), &counted.behind, "by-name").args(["--base-key", "main-1"]).arg(&tree).run().ok();
    check(&mut counted, 2, 1);
    // The two ends of the key itself, a listing for it and one for the restore key, and the end of what it found.
    save(&Job::new(), &counted.behind, "by-prefix").args(["--restore-keys", "main-"]).arg(&tree).run().ok();
    check(&mut counted, 3, 3);
}

#[test]
fn an_unchanged_save_sends_no_data() {
    let mut counted = counted(s3::server());
    let tree = counted.job.dir("tree");
    fs::write(tree.join("file"), Rng::new(1).bytes(20 << 20)).unwrap();
    saved(&counted.job, &counted.place, "one", &tree);
    saved(&counted.job, &counted.behind, "two", &tree);
    let requests = counted.check("DeleteObject 1, HeadObject 6, ListObjects 1, PutObject 2", 1);
    let sent: u64 = requests.iter().map(|request| request.sent).sum();
    // The index: about 300 chunks of 36 bytes; the note; the footer.
    assert!(sent < 20_000, "{sent}: {requests:#?}");
}

#[test]
fn nothing_to_save_costs_nothing_that_writes() {
    let mut counted = counted(s3::server());
    save(&counted.job, &counted.behind, "key").arg("no such path").run().ok();
    counted.check("HeadObject 2", 1);
}
