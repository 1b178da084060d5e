//! The support itself: servers answer, proxies record and break, jobs are clean.

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::{self, Proxy};
use xcache_tests::s3;

#[test]
fn every_place_keeps_objects_and_lists_entries_only() {
    for place in Place::each() {
        place.put("b-base.tar.zst", b"two");
        place.put("a/1-base.tar.zst", b"one");
        place.put(".xcache/condemned/x", b"");
        assert_eq!(place.entries(), ["a/1-base.tar.zst", "b-base.tar.zst"], "{place:?}");
        assert_eq!(place.get("b-base.tar.zst").as_deref(), Some(b"two".as_slice()));
        place.delete("b-base.tar.zst");
        assert_eq!(place.get("b-base.tar.zst"), None);
    }
}

#[test]
fn proxy_records_requests_and_breaks_those_it_is_told_to() {
    let place = Place::on(s3::server());
    let mut proxy = Proxy::with_rules(s3::server(), &["GET broken status:404"]);
    let behind = place.behind(proxy.endpoint());
    behind.put("name", b"12345");
    assert_eq!(behind.get("name").as_deref(), Some(b"12345".as_slice()));
    place.put("broken", b"is there");
    assert_eq!(behind.get("broken"), None);
    let requests = proxy.requests();
    assert_eq!(proxy::count(&requests), "GetObject 2, PutObject 1");
    assert_eq!((requests[0].sent, requests[1].received), (5, 5));
    assert_eq!((requests[2].status, requests[2].fault.as_deref()), (Some(404), Some("status")));
    assert_eq!(proxy.requests(), []);
}

#[test]
fn job_has_an_environment_of_its_own() {
    let job = Job::github();
    let script = r#"env | cut -d= -f1 | sort | tr '\n' ' '; printf 'a=1\nb<<EOF\nx=1\ny\nEOF\n' >>"$GITHUB_OUTPUT""#;
    let outcome = job.command("sh").args(["-c", script]).run().ok();
    for foreign in ["CARGO", "RUST", "AWS_ENDPOINT", "AWS_ACCESS", "XCACHE"] {
        assert!(!outcome.stdout.contains(foreign), "{}", outcome.stdout);
    }
    let outputs: Vec<_> = job.outputs().into_iter().collect();
    assert_eq!(outputs, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x=1\ny".to_owned())]);
    assert_eq!(job.command("sh").args(["-c", "exit 3"]).run().code, Some(3));
}
