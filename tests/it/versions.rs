//! Clean-ups in a bucket with versioning: what they report, and what `--delete-versions` deletes and what it does not.

use std::fs;
use std::process::Command;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3::{self, S3Server};

use crate::gc_cases::{base_and_delta, gc};
use crate::saved;

/// A request to the server about a bucket or an object, and the answer's body.
fn ask(server: &S3Server, method: &str, target: &str, body: &str) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:s3"])
        .args(["--user", &format!("{}:{}", server.access_key, server.secret_key)])
        .args(["-H", "Content-Type: application/xml", "--data-binary", body])
        .arg(format!("{}/{target}", server.endpoint))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A bucket of its own on ministack, with this state of versioning.
fn bucket(name: &str, status: &str) -> (S3Server, Place) {
    let name: &'static str = format!("{name}-{}", std::process::id()).leak();
    let server = S3Server { bucket: name, ..s3::ministack().clone() };
    ask(&server, "PUT", name, "");
    let versioning = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    ask(&server, "PUT", &format!("{name}?versioning="), &versioning);
    let place = Place::on(&server);
    (server, place)
}

/// The names of all versions and delete markers of entries, in order.
fn versions(server: &S3Server) -> Vec<String> {
    let listed = ask(server, "GET", &format!("{}?versions=", server.bucket), "");
    let mut found = Vec::new();
    for (tag, kind) in [("<Version>", "version"), ("<DeleteMarker>", "marker")] {
        for row in listed.split(tag).skip(1) {
            let key = row.split("<Key>").nth(1).and_then(|rest| rest.split("</Key>").next()).unwrap();
            let name = key.rsplit('/').next().unwrap();
            if name.ends_with(".tar.zst") {
                found.push(format!("{name} {kind}"));
            }
        }
    }
    found.sort();
    found
}

const ALL: [&str; 4] = ["--max-total-size", "0B", "--min-age", "0s"];

#[test]
fn a_bucket_that_keeps_old_versions_is_reported_and_nothing_more() {
    let (server, place) = bucket("kept", "Enabled");
    let job = Job::new();
    base_and_delta(&job, &place);
    gc(&job, &place, "du").run().ok().says(&["versioning is enabled", "--delete-versions"]);
    // A pass that deletes nothing does not ask.
    let outcome = gc(&job, &place, "prune").args(["--max-age", "30d", "--json"]).run().ok();
    assert!(!outcome.stderr.contains("versioning") && outcome.json()["versions"].is_null(), "{outcome:?}");
    gc(&job, &place, "prune").args(ALL).arg("--dry-run").run().ok().says(&["versioning is enabled"]);
    let outcome = gc(&job, &place, "prune").args(ALL).arg("--json").run().ok();
    assert_eq!(outcome.json()["versions"]["versioning"], "enabled");
    outcome.says(&["versioning is enabled", "NoncurrentVersionExpiration"]);
    assert_eq!(place.entries(), [""; 0]);
    assert_eq!(versions(&server).len(), 4, "each a version and a marker");
    for place in [Place::local(), Place::on(s3::server())] {
        base_and_delta(&Job::new(), &place);
        let outcome = gc(&Job::new(), &place, "prune").args(ALL).arg("--delete-versions").run().ok();
        assert!(!outcome.stderr.contains("version"), "{}", outcome.stderr);
    }
}

#[test]
fn only_old_versions_of_what_a_pass_deletes_are_deleted() {
    for status in ["Enabled", "Suspended"] {
        let (server, place) = bucket(&format!("own-{}", status.to_lowercase()), "Enabled");
        let job = Job::new();
        base_and_delta(&job, &place);
        let source = job.path("source");
        saved(&Job::new(), &place, "kept", &source);
        // Another name that begins with the one that is deleted, and an earlier life of it.
        place.put("old-base.tar.zst.bak-base.tar.zst", b"of another");
        place.put("kept-base.tar.zst", &place.get("kept-base.tar.zst").unwrap());
        gc(&job, &place, "rm").args(["new", "old", "--yes"]).run().ok();
        saved(&Job::new(), &place, "old", &source);
        if status == "Suspended" {
            let suspended = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
            ask(&server, "PUT", &format!("{}?versioning=", server.bucket), suspended);
        }
        let outcome = gc(&job, &place, "rm").args(["old", "--yes", "--delete-versions", "--json"]).run().ok();
        let report = &outcome.json()["versions"];
        assert_eq!(report["versioning"], status.to_lowercase(), "{outcome:?}");
        assert_eq!(report["deleted_versions"], 2, "{status}: {outcome:?}");
        let left = versions(&server);
        assert_eq!(
            left,
            [
                "kept-base.tar.zst version",
                "kept-base.tar.zst version",
                "new-delta.tar.zst marker",
                "new-delta.tar.zst version",
                "old-base.tar.zst.bak-base.tar.zst version",
            ],
            "{status}"
        );
    }
}

#[test]
fn a_role_without_the_right_deletes_entries_all_the_same() {
    let (server, place) = bucket("denied", "Enabled");
    for (rules, arguments, code, says) in [
        (&["GET versioning status:403"][..], &[][..], 0, "deleted 2 entries"),
        (&["GET versioning status:501"], &[], 0, "deleted 2 entries"),
        (&["GET versioning status:403", "GET versions status:403"], &["--delete-versions"], 1, "s3:ListBucketVersions"),
        (&["DELETE versionId status:403"], &["--delete-versions"], 1, "s3:DeleteObjectVersion"),
        // The store does not say whether it has versions, and has some.
        (&["GET versioning status:403"], &["--delete-versions"], 0, " old versions, "),
    ] {
        let job = Job::new();
        base_and_delta(&job, &place);
        let before = versions(&server).len();
        let proxy = Proxy::with_rules(&server, rules);
        let behind = place.behind(proxy.endpoint());
        let outcome = gc(&job, &behind, "prune").args(ALL).args(arguments).run();
        assert_eq!(outcome.code, Some(code), "{rules:?}: {outcome:?}");
        outcome.says(&[says, "deleted 2 entries"]);
        assert_eq!(place.entries(), [""; 0], "{rules:?}");
        let now = versions(&server).len();
        assert_eq!(now >= before + 2, code == 1 || arguments.is_empty(), "{rules:?}: {before} {now}");
    }
}

/// A marker that is deleted before what lies below it brings a deleted entry back, without its mark and maybe without what
/// it builds on.
#[test]
fn no_false_answer_brings_a_deleted_entry_back() {
    let (server, place) = bucket("risen", "Enabled");
    for rule in [
        // A listing that lacks a version: once, later, or always.
        r"GET versions cut-out:(?s)<Version>.*</Version> count=1",
        r"GET versions cut-out:(?s)<Version>.*</Version> skip=1 count=1",
        r"GET versions cut-out:(?s)<Version>.*</Version>",
        "GET versions cut:300",
        "GET versions empty:200",
        "DELETE versionId status:503",
        "DELETE versionId empty:204 count=1",
        "DELETE versionId empty:204",
    ] {
        let job = Job::new();
        fs::write(job.dir("source").join("file"), rule).unwrap();
        saved(&job, &place, "key", &job.path("source"));
        let proxy = Proxy::with_rules(&server, &[rule]);
        let behind = place.behind(proxy.endpoint());
        let outcome = gc(&job, &behind, "rm").args(["key", "--yes", "--delete-versions"]).run();
        assert_eq!(place.entries(), [""; 0], "{rule}: {outcome:?}");
    }
}
