//! What only one kind of store promises, and how each says what is wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use xcache_core::redact::Secret;
use xcache_core::store::open::{StoreConfig, open};
use xcache_core::store::s3::options::{Credentials, Patience, S3Options};
use xcache_core::store::url::StoreUrl;
use xcache_core::store::{ByteRange, Deletion, ErrorKind, PutMode, Tags};

use crate::conformance::{kind, local, name, names, put, s3_config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_sixteen_create_only_uploads_wins_in_a_directory() {
    let place = local().await;
    let uploads = (0..16).map(|_| {
        let store = Arc::clone(&place.store);
        tokio::spawn(async move {
            let upload = store.upload(&name("a/b"), &Tags::new()).await.unwrap();
            upload.part(1, 0, "x".into()).await.unwrap();
            let completed = upload.complete(PutMode::Create).await;
            upload.abort().await.unwrap();
            completed
        })
    });
    let (won, lost): (Vec<_>, Vec<_>) =
        join_all(uploads).await.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.into_iter().all(|answer| kind(answer) == ErrorKind::AlreadyExists));
}

/// Names come and go, and with them directories, without one create failing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_come_and_go_under_concurrent_creates_and_deletes() {
    let place = local().await;
    let workers = (0..4).map(|worker| {
        let store = Arc::clone(&place.store);
        tokio::spawn(async move {
            for _ in 0..200 {
                let target = name(&format!("a/b/c/{worker}"));
                store.put(&target, Bytes::from_static(b"x"), PutMode::Create, &Tags::new()).await.unwrap();
                store.delete(&[Deletion { name: target, if_match: None }]).await.pop().unwrap().unwrap();
            }
        })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
    let root = place.directory.as_ref().unwrap().path().join("store");
    assert!(!root.join("a").exists());
}

#[tokio::test]
async fn links_do_not_lead_out_of_a_directory_store() {
    let place = local().await;
    put(place.store.as_ref(), "kept", "x").await;
    let directory = place.directory.as_ref().unwrap().path();
    let outside = directory.join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "secret").unwrap();
    std::os::unix::fs::symlink(&outside, directory.join("store/link")).unwrap();
    std::os::unix::fs::symlink(outside.join("file"), directory.join("store/file")).unwrap();
    let store = place.store.as_ref();
    for text in ["link/file", "file"] {
        assert_eq!(kind(store.get(&name(text), ByteRange::Full, None).await), ErrorKind::Invalid, "{text}");
        let deleted = store.delete(&[Deletion { name: name(text), if_match: None }]).await.pop().unwrap();
        assert_eq!(kind(deleted), ErrorKind::Invalid);
    }
    let body = Bytes::from_static(b"x");
    for mode in [PutMode::Create, PutMode::Overwrite] {
        let put = store.put(&name("link/new"), body.clone(), mode.clone(), &Tags::new()).await;
        assert_eq!(kind(put), ErrorKind::Invalid);
        assert_eq!(kind(store.put(&name("file"), body.clone(), mode, &Tags::new()).await), ErrorKind::Invalid);
    }
    assert_eq!(names(store, "").await, BTreeSet::from(["kept".to_owned()]));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "secret");
}

/// Each kind of wrong configuration, and what the message must name.
#[tokio::test]
async fn trouble_with_s3_is_said_with_the_next_step() {
    let server = xcache_tests::s3::server();
    let good = s3_config(server, "trouble");
    let mut wrong_bucket = good.clone();
    wrong_bucket.url = StoreUrl::S3 { bucket: "no-such-bucket".to_owned(), prefix: String::new() };
    let wrong_key = |id: &str, secret: &str| {
        let mut config = good.clone();
        config.s3.credentials = Some(Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::new(secret),
            session_token: None,
        });
        config
    };
    let wrong_endpoint = |endpoint: &str| {
        let mut config = good.clone();
        config.s3.endpoint = Some(endpoint.parse().unwrap());
        config
    };
    for (config, expected, says) in [
        (wrong_bucket, ErrorKind::Invalid, "no bucket `no-such-bucket`"),
        (wrong_key("nobody", "x"), ErrorKind::Unauthenticated, "access key"),
        (wrong_key(server.access_key, "wrong-secret"), ErrorKind::Unauthenticated, "secret access key"),
        (wrong_endpoint("http://127.0.0.1:1"), ErrorKind::Unavailable, "nothing listens at http://127.0.0.1:1"),
        (wrong_endpoint("http://no-such-host.invalid"), ErrorKind::Unavailable, "cannot reach http://no-such-host"),
    ] {
        let store = open(&config).await.unwrap().store;
        let error = store.get(&name("object"), ByteRange::Last(1), None).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), expected, "{text}");
        assert!(text.starts_with("cannot download `object`: ") && text.contains(says), "{text}");
        assert!(error.hint_text().is_some(), "{text}");
        assert!(!format!("{text} {error:?} {store:?} {config:?}").contains("wrong-secret"));
        if expected == ErrorKind::Unauthenticated {
            // The answer to a HEAD has no body.
            let error = store.head(&name("object")).await.unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), expected, "{text}");
            assert!(text.starts_with("cannot look at `object`: ") && text.contains(says), "{text}");
        }
    }
    let mut configured = good.clone();
    (configured.s3.endpoint, configured.s3.configured_endpoint) = (None, Some("user:hush@127.0.0.1:1".into()));
    let error = open(&configured).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("`***@127.0.0.1:1`"), "{error}");
}

#[tokio::test]
async fn a_store_that_accepts_and_stays_silent_is_given_up() {
    // The system accepts connections, and nobody ever answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut config = s3_config(&xcache_tests::s3::server().behind(&endpoint), "silent");
    assert!(config.s3.patience.operation <= Duration::from_secs(30), "{:?}", config.s3.patience);
    config.s3.patience = Patience { attempt: Duration::from_millis(100), operation: Duration::from_millis(300) };
    let store = open(&config).await.unwrap().store;
    let (object, tags) = (name("object"), Tags::new());
    let deletions = [Deletion { name: object.clone(), if_match: None }];
    let begin = Instant::now();
    let (head, get, list, upload, tagging, deleted) = tokio::join!(
        store.head(&object),
        store.get(&object, ByteRange::Last(1), None),
        store.list("", None),
        store.upload(&object, &tags),
        store.tags(&object),
        store.delete(&deletions),
    );
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let kinds = [kind(head), kind(get), kind(list), kind(upload), kind(tagging)];
    assert_eq!(kinds, [ErrorKind::Unavailable; 5]);
    assert!(deleted.into_iter().all(|answer| kind(answer) == ErrorKind::Unavailable));
}

#[tokio::test]
async fn trouble_with_a_directory_is_said_with_the_next_step() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let config = StoreConfig { url: StoreUrl::Local(file), s3: S3Options::default() };
    let error = open(&config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("not a directory"), "{error}");
    assert!(error.hint_text().is_some());
}
