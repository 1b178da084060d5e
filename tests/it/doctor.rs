//! `doctor`: what it finds of a store that works, of one with a right missing, and of a bucket whose rules bite.

use std::process::Command;

use serde_json::Value;
use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3::{self, READER, S3Server};

use crate::gc_cases::{base_and_delta, gc};

fn doctor(place: &Place, arguments: &[&str]) -> Outcome {
    gc(&Job::new(), place, "doctor").args(arguments).arg("--json").run()
}

/// The checks with this name and status.
fn found<'a>(document: &'a Value, name: &str, status: &str) -> Vec<&'a Value> {
    let checks = document["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["name"] == name && check["status"] == status).collect()
}

#[test]
fn a_store_that_works_has_no_problem_and_is_left_as_it_was() {
    for place in Place::each() {
        base_and_delta(&Job::new(), &place);
        let before = place.objects();
        for role in ["all", "restore", "save", "gc"] {
            let document = doctor(&place, &["--for", role]).ok().json();
            assert_eq!((&document["problems"], &document["role"]), (&0.into(), &role.into()), "{document}");
            assert_eq!(found(&document, "list", "ok").len(), 1, "{document}");
            assert_eq!(found(&document, "put", "ok").is_empty(), role == "restore", "{document}");
        }
        assert_eq!(place.objects(), before);
    }
}

#[test]
fn a_missing_right_is_named_with_its_statement() {
    let place = Place::on(s3::server());
    base_and_delta(&Job::new(), &place);
    let reader = place.as_user(READER);
    doctor(&reader, &["--for", "restore"]).ok();
    let document = doctor(&reader, &["--for", "save"]).expect_code(1).json();
    let put = found(&document, "put", "problem");
    assert!(put[0]["fix"].as_str().unwrap().contains(r#""Action":["s3:PutObject"]"#), "{document}");
    let server = s3::ministack();
    let place = Place::on(server);
    for (rule, role, name, action) in [
        ("GET list-type=2 status:403", "restore", "list", "s3:ListBucket"),
        ("GET xcache/probe/doctor status:403", "restore", "get", "s3:GetObject"),
        ("PUT xcache/probe/doctor status:403", "save", "put", "s3:PutObject"),
        ("GET tagging status:403", "gc", "tags", "s3:GetObjectTagging"),
        ("POST uploads status:403", "save", "multipart", "s3:AbortMultipartUpload"),
        ("DELETE xcache/probe/doctor status:403", "gc", "delete", "s3:DeleteObject"),
    ] {
        let proxy = Proxy::with_rules(server, &[rule]);
        let document = doctor(&place.behind(proxy.endpoint()), &["--for", role]).expect_code(1).json();
        let problems = found(&document, name, "problem");
        let fix = problems.first().and_then(|check| check["fix"].as_str()).unwrap_or_default();
        assert!(fix.contains(action) && fix.contains("arn:aws:s3:::xcache-test"), "{rule}: {document}");
    }
    // What only settings would tell is no problem.
    let rules = ["GET lifecycle status:403", "GET versioning status:403", "GET encryption status:403"];
    let proxy = Proxy::with_rules(server, &rules);
    let document = doctor(&place.behind(proxy.endpoint()), &[]).ok().json();
    for name in ["lifecycle", "versioning", "encryption"] {
        assert_eq!(found(&document, name, "unknown").len(), 1, "{document}");
    }
}

#[test]
fn what_cannot_be_reached_or_is_not_there_is_a_problem_with_its_hint() {
    let server = s3::server();
    let missing = Place::on(&S3Server { bucket: "no-such-bucket", ..server.clone() });
    let wrong = Place::on(server).as_user((server.access_key, "wrong"));
    let silent = Place::on(server).behind("http://127.0.0.1:9");
    for (place, fix) in [(missing, "create it"), (wrong, "secret access key"), (silent, "endpoint")] {
        let document = doctor(&place, &[]).expect_code(1).json();
        let problems = found(&document, "list", "problem");
        assert!(problems[0]["fix"].as_str().unwrap().contains(fix), "{document}");
    }
    let (job, place) = (Job::new(), Place::local());
    let outcome = gc(&job, &Place::at(&job.path("typo")), "doctor").run().ok();
    assert!(outcome.stdout.contains("there is no store in this directory yet"), "{outcome:?}");
    assert!(!job.path("typo").exists());
    drop(place);
}

#[test]
fn rules_of_the_bucket_that_bite_are_found() {
    let name: &'static str = format!("rules-{}", std::process::id()).leak();
    let server = S3Server { bucket: name, ..s3::ministack().clone() };
    let ask = |target: &str, body: &str| {
        let status = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "-X", "PUT", "-H", "Content-Type: application/xml", "--data-binary", body])
            .args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "xcachetest:xcachetestsecret", "-o", "/dev/null"])
            .arg(format!("{}/{target}", server.endpoint))
            .status();
        assert!(status.unwrap().success());
    };
    ask(name, "");
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    ask(&format!("{name}?versioning="), enabled);
    let place = Place::on(&server);
    let document = doctor(&place, &[]).ok().json();
    assert!(found(&document, "versioning", "warning")[0]["fix"].as_str().unwrap().contains("--delete-versions"));
    let rule = |what: &str| {
        let rule = format!("<ID>short</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>{what}");
        ask(
            &format!("{name}?lifecycle="),
            &format!("<LifecycleConfiguration><Rule>{rule}</Rule></LifecycleConfiguration>"),
        );
    };
    for (what, status, says) in [
        ("<Expiration><Days>3</Days></Expiration>", "problem", "after 3 days"),
        ("<Expiration><Days>30</Days></Expiration>", "ok", "can be restored for 23 days"),
        ("<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>", "problem", "GLACIER"),
    ] {
        rule(what);
        let document = doctor(&place, &[]).json();
        let found = found(&document, "lifecycle", status);
        assert!(found.iter().any(|check| check["detail"].as_str().unwrap().contains(says)), "{document}");
    }
}
