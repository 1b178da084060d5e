//! The contract of [`xcache_core::store::Store`], in executable form: the same cases for every store, and for any other S3
//! server with `XCACHE_TEST_S3=url,key,secret,region,bucket cargo test -p xcache-tests --test it given`. What a
//! probe finds missing there is printed, and the contract must hold without it.
//!
//! SeaweedFS, the S3 server of these tests, differs from AWS in one way that matters here: several create-only
//! completions of multipart uploads of one name *at the same time* may all succeed. That case therefore runs on the
//! directory store only; each other one runs on both.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use xcache_core::redact::Secret;
use xcache_core::store::open::{StoreConfig, open};
use xcache_core::store::probe::{Features, features};
use xcache_core::store::s3::options::{Credentials, S3Options};
use xcache_core::store::{ByteRange, Deletion, ETag, ErrorKind, ObjectName, PutMode, Store, Tags, collect, list_all};
use xcache_tests::s3::S3Server;

/// A store of its own for one case.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn Store>,
    /// Its files, for the store in a directory.
    pub(crate) directory: Option<tempfile::TempDir>,
    /// Ministack drops the tags of multipart uploads, and gives an overwriting object those of the one before.
    is_exact_about_tags: bool,
}

pub(crate) async fn local() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/store", directory.path().display()).parse().unwrap();
    let opened = open(&StoreConfig { url, s3: S3Options::default() }).await.unwrap();
    assert!(!opened.needs_probe);
    Place { store: opened.store, directory: Some(directory), is_exact_about_tags: true }
}

/// The store of the sequences.
fn memory() -> Place {
    let store = Arc::new(xcache_tests::memory::MemoryStore::new(chrono::Utc::now()));
    Place { store, directory: None, is_exact_about_tags: true }
}

pub(crate) fn s3_config(server: &S3Server, case: &str) -> StoreConfig {
    let url = format!("s3://{}/conformance/{case}-{}", server.bucket, std::process::id());
    let s3 = S3Options {
        region: Some(server.region.to_owned()),
        endpoint: Some(server.endpoint.parse().unwrap()),
        credentials: Some(Credentials {
            access_key_id: server.access_key.to_owned(),
            secret_access_key: Secret::new(server.secret_key),
            session_token: None,
        }),
        ..S3Options::default()
    };
    StoreConfig { url: url.parse().unwrap(), s3 }
}

async fn s3(server: &S3Server, case: &str) -> Place {
    let opened = open(&s3_config(server, case)).await.unwrap();
    assert!(opened.needs_probe);
    Place { store: opened.store, directory: None, is_exact_about_tags: server.name != "ministack" }
}

/// A place on any server, asked only for what it honours. None for a case that takes what cannot be replaced.
async fn probed(server: &S3Server, case: &str) -> Option<Place> {
    let opened = open(&s3_config(server, case)).await.unwrap();
    let features = opened.features().await.unwrap();
    let known = opened.store.delete(&[Deletion { name: name(".xcache/store"), if_match: None }]).await;
    assert!(known.into_iter().all(|answer| answer.is_ok()));
    let needed = match case {
        "exactly_one_of_sixteen_creators_wins" => features.create_only_put,
        "tags_are_kept" => features.tags && features.late_tags,
        "missing_objects_are_not_found" => features.tags && features.list_uploads,
        "an_aborted_upload_leaves_nothing" | "a_large_object_comes_in_parts" => features.list_uploads,
        "features_are_found_and_remembered" => Features { multipart_tags: true, ..features } == Features::all(),
        _ => true,
    };
    if !needed || case == "what_was_put_comes_back" {
        eprintln!("{case}: {features:?}");
    }
    needed.then_some(Place { store: opened.store, directory: None, is_exact_about_tags: features.multipart_tags })
}

/// Each case as a test of each store.
macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&super::local().await).await;
            })*
        }

        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&super::memory()).await;
            })*
        }

        mod seaweedfs {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&super::s3(xcache_tests::s3::server(), stringify!($case)).await).await;
            })*
        }

        mod given {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let Some(server) = xcache_tests::s3::given() else { return };
                if let Some(place) = super::probed(server, stringify!($case)).await {
                    super::$case(&place).await;
                }
            })*
        }

        mod ministack {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&super::s3(xcache_tests::s3::ministack(), stringify!($case)).await).await;
            })*
        }
    };
}

conformance!(
    what_was_put_comes_back,
    empty_objects_are_objects,
    ranges_are_exact,
    missing_objects_are_not_found,
    a_pinned_read_notices_another_object,
    exactly_one_of_sixteen_creators_wins,
    replacing_needs_the_right_object,
    tags_are_kept,
    odd_names_survive,
    names_that_are_no_paths_are_kept_or_refused,
    listings_are_complete_over_pages,
    listings_go_by_text_and_not_by_directory,
    deleting_one_and_many,
    conditional_deletes_take_only_what_was_meant,
    a_large_object_comes_in_parts,
    a_second_create_only_completion_loses,
    an_aborted_upload_leaves_nothing,
    readers_keep_the_object_they_opened,
    features_are_found_and_remembered,
);

pub(crate) fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

/// Bytes that look the same nowhere.
fn noise(bytes: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..bytes.div_ceil(8))
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(bytes)
        .collect()
}

pub(crate) async fn put(store: &dyn Store, text: &str, body: &'static str) -> ETag {
    store.put(&name(text), Bytes::from_static(body.as_bytes()), PutMode::Create, &Tags::new()).await.unwrap()
}

async fn read(store: &dyn Store, name: &ObjectName, range: ByteRange) -> (u64, Bytes) {
    let download = store.get(name, range, None).await.unwrap();
    (download.offset, collect(download, usize::MAX).await.unwrap())
}

pub(crate) fn kind<T: std::fmt::Debug>(answer: xcache_core::store::Result<T>) -> ErrorKind {
    answer.unwrap_err().kind()
}

pub(crate) async fn names(store: &dyn Store, prefix: &str) -> BTreeSet<String> {
    let listed = list_all(store, prefix).await.unwrap();
    let names: BTreeSet<String> = listed.iter().map(|object| object.name.to_string()).collect();
    assert_eq!(names.len(), listed.len(), "a name was listed twice");
    names
}

async fn what_was_put_comes_back(place: &Place) {
    let store = place.store.as_ref();
    let body = noise(100_000);
    let etag = store.put(&name("a/b"), body.clone(), PutMode::Create, &Tags::new()).await.unwrap();
    assert!(!etag.0.is_empty() && !etag.0.contains('"'), "{etag}");

    let meta = store.head(&name("a/b")).await.unwrap();
    assert_eq!((meta.size, &meta.etag), (100_000, &etag));
    let age = chrono::Utc::now() - meta.last_modified;
    assert!(age.num_seconds().abs() < 60, "{age}");

    let download = store.get(&name("a/b"), ByteRange::Full, Some(&etag)).await.unwrap();
    assert_eq!((&download.meta, download.offset), (&meta, 0));
    assert_eq!(collect(download, usize::MAX).await.unwrap(), body);
    let listed = list_all(store, "").await.unwrap();
    assert_eq!((listed[0].name.as_str(), &listed[0].meta.etag, listed[0].meta.size), ("a/b", &etag, 100_000));
}

async fn empty_objects_are_objects(place: &Place) {
    let store = place.store.as_ref();
    put(store, "empty", "").await;
    assert_eq!(store.head(&name("empty")).await.unwrap().size, 0);
    for range in [ByteRange::Full, ByteRange::Last(4096)] {
        assert_eq!(read(store, &name("empty"), range).await, (0, Bytes::new()));
    }
    assert_eq!(kind(store.get(&name("empty"), ByteRange::Span(0..1), None).await), ErrorKind::Invalid);
}

async fn ranges_are_exact(place: &Place) {
    let store = place.store.as_ref();
    let body = noise(3_000_000);
    let large = name("large");
    store.put(&large, body.clone(), PutMode::Create, &Tags::new()).await.unwrap();
    for (range, expected) in [
        (ByteRange::Span(0..1), 0..1),
        (ByteRange::Span(1_000_000..2_500_001), 1_000_000..2_500_001),
        (ByteRange::Span(2_999_999..3_000_000), 2_999_999..3_000_000),
        (ByteRange::Span(2_999_000..9_000_000), 2_999_000..3_000_000),
        (ByteRange::Last(1), 2_999_999..3_000_000),
        (ByteRange::Last(1_500_000), 1_500_000..3_000_000),
        (ByteRange::Last(9_000_000), 0..3_000_000),
    ] {
        let (offset, bytes) = read(store, &large, range.clone()).await;
        assert_eq!(offset, expected.start as u64, "{range:?}");
        assert_eq!(bytes, body.slice(expected), "{range:?}");
    }
    let beyond = store.get(&large, ByteRange::Span(3_000_000..3_000_001), None).await;
    assert_eq!(kind(beyond), ErrorKind::Invalid);
}

async fn missing_objects_are_not_found(place: &Place) {
    let store = place.store.as_ref();
    for missing in ["nothing", "no/thing"] {
        let missing = name(missing);
        assert_eq!(kind(store.get(&missing, ByteRange::Last(1), None).await), ErrorKind::NotFound);
        assert_eq!(kind(store.head(&missing).await), ErrorKind::NotFound);
        assert_eq!(kind(store.tags(&missing).await), ErrorKind::NotFound);
    }
    assert!(names(store, "").await.is_empty());
    assert!(store.uploads("").await.unwrap().is_empty());
}

async fn a_pinned_read_notices_another_object(place: &Place) {
    let store = place.store.as_ref();
    let etag = put(store, "a", "one").await;
    let body = Bytes::from_static(b"two");
    let other = store.put(&name("a"), body, PutMode::Overwrite, &Tags::new()).await.unwrap();
    assert_ne!(etag, other);
    assert_eq!(kind(store.get(&name("a"), ByteRange::Full, Some(&etag)).await), ErrorKind::Changed);
    assert_eq!(kind(store.get(&name("a"), ByteRange::Span(0..1), Some(&etag)).await), ErrorKind::Changed);
    store.get(&name("a"), ByteRange::Full, Some(&other)).await.unwrap();
}

async fn exactly_one_of_sixteen_creators_wins(place: &Place) {
    for round in 0..8 {
        let target = name(&format!("deep/{round}/er/object"));
        let writers = (0..16).map(|writer| {
            let (store, target) = (Arc::clone(&place.store), target.clone());
            tokio::spawn(async move {
                let body = Bytes::from(format!("writer {writer}"));
                loop {
                    match store.put(&target, body.clone(), PutMode::Create, &Tags::new()).await {
                        Ok(etag) => return Some((etag, body)),
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => return None,
                        Err(error) if error.kind() == ErrorKind::Conflict => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        let winners: Vec<_> = join_all(writers).await.into_iter().filter_map(Result::unwrap).collect();
        let [(etag, body)] = winners.as_slice() else { panic!("{} writers won", winners.len()) };
        assert_eq!(store_head(place, &target).await, *etag);
        assert_eq!(read(place.store.as_ref(), &target, ByteRange::Full).await.1, body);
    }
}

async fn store_head(place: &Place, target: &ObjectName) -> ETag {
    place.store.head(target).await.unwrap().etag
}

async fn replacing_needs_the_right_object(place: &Place) {
    let store = place.store.as_ref();
    let first = put(store, "a", "first").await;
    let replace = |etag: &ETag, body: &'static str| {
        let (mode, body) = (PutMode::Replace(etag.clone()), Bytes::from_static(body.as_bytes()));
        async move { store.put(&name("a"), body, mode, &Tags::new()).await }
    };
    let second = replace(&first, "second").await.unwrap();
    assert_eq!(kind(replace(&first, "third").await), ErrorKind::Changed);
    assert_eq!(read(store, &name("a"), ByteRange::Full).await.1, "second");
    store.delete(&[Deletion { name: name("a"), if_match: None }]).await.pop().unwrap().unwrap();
    assert_eq!(kind(replace(&second, "fourth").await), ErrorKind::Changed);
    assert!(names(store, "").await.is_empty());
}

async fn tags_are_kept(place: &Place) {
    let store = place.store.as_ref();
    let tags: Tags = [("type", "base"), ("branch", "feature/a+b =c"), ("repo", "me@host:x")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    store.put(&name("put"), Bytes::from_static(b"x"), PutMode::Create, &tags).await.unwrap();
    let upload = store.upload(&name("uploaded"), &tags).await.unwrap();
    upload.part(1, 0, "x".into()).await.unwrap();
    upload.complete(PutMode::Create).await.unwrap();
    put(store, "plain", "x").await;
    assert_eq!(store.tags(&name("put")).await.unwrap(), tags);
    let kept = if place.is_exact_about_tags { tags.clone() } else { Tags::new() };
    assert_eq!(store.tags(&name("uploaded")).await.unwrap(), kept);
    assert_eq!(store.tags(&name("plain")).await.unwrap(), Tags::new());
    store.set_tags(&name("plain"), &tags).await.unwrap();
    assert_eq!(store.tags(&name("plain")).await.unwrap(), tags, "given afterwards");
    store.set_tags(&name("plain"), &Tags::new()).await.unwrap();
    assert_eq!(store.tags(&name("plain")).await.unwrap(), Tags::new());
    assert_eq!(kind(store.set_tags(&name("missing"), &tags).await), ErrorKind::NotFound);
    assert_eq!(read(store, &name("plain"), ByteRange::Full).await.1, "x");

    if place.is_exact_about_tags {
        store.put(&name("put"), Bytes::from_static(b"y"), PutMode::Overwrite, &Tags::new()).await.unwrap();
        assert_eq!(store.tags(&name("put")).await.unwrap(), Tags::new(), "the tags of the object before");
    }
}

/// Names as our own naming makes them, and raw ones that every store can hold.
async fn odd_names_survive(place: &Place) {
    let store = place.store.as_ref();
    let odd: BTreeSet<String> = [
        "a+b=c@d:e_f-g.tar.zst",
        "a%20b%2B%23%3F%25",
        "x/%2F/%2E%2E/%2Ehidden",
        "a+b a%2Bb",
        "with space",
        "hash#question?percent%amp&semi;quote'\"less<more>",
        "emoji 🦀 umlaut ü combining u\u{308}",
        "(round)[square]{curly}!*~$|^`",
        "-leading-dash",
        "trailing.dot.",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("long/{}-base.tar.zst", "k".repeat(230))])
    .collect();
    for text in &odd {
        let body = Bytes::from(text.clone());
        store.put(&name(text), body, PutMode::Create, &Tags::new()).await.unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(names(store, "").await, odd);
    for text in &odd {
        assert_eq!(read(store, &name(text), ByteRange::Full).await.1, *text);
        assert_eq!(names(store, text).await, BTreeSet::from([text.clone()]), "as a prefix of itself");
        let upload = store.upload(&name(text), &Tags::new()).await.unwrap();
        assert_eq!(upload.name().as_str(), text);
        upload.abort().await.unwrap();
    }
    let deletions: Vec<_> = odd.iter().map(|text| Deletion { name: name(text), if_match: None }).collect();
    for deleted in store.delete(&deletions).await {
        deleted.unwrap();
    }
    assert!(names(store, "").await.is_empty());
}

/// What a path cannot say is refused or kept, never changed, and never leaves the store.
async fn names_that_are_no_paths_are_kept_or_refused(place: &Place) {
    let store = place.store.as_ref();
    let long = format!("{}/{}", "x".repeat(500), "é".repeat(200));
    for text in ["../out", "a/../../out", "a//b", "./a", "a/./b", "/abs", "dir/", &long] {
        let target = name(text);
        match store.put(&target, Bytes::from_static(b"odd"), PutMode::Create, &Tags::new()).await {
            // SeaweedFS writes `a//b` as `a/b`: naming never makes such names.
            Ok(_) if text == "a//b" || text == "/abs" || text == "dir/" => {}
            Ok(_) => {
                assert_eq!(read(store, &target, ByteRange::Full).await.1, "odd", "{text}");
                assert!(names(store, "").await.contains(text), "{text}");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}"),
        }
    }
    if let Some(directory) = &place.directory {
        let outside: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(outside.iter().all(|name| name == "store"), "{outside:?}");
        assert_eq!(names(store, "").await, BTreeSet::from([long]), "long segments are cut and joined again");
    }
}

async fn listings_are_complete_over_pages(place: &Place) {
    let expected: BTreeSet<String> = (0..1_100).map(|number| format!("many/{}/{number}", number % 3)).collect();
    let numbers: Vec<&String> = expected.iter().collect();
    for some in numbers.chunks(64) {
        let writes = some.iter().map(|text| {
            let (store, text) = (Arc::clone(&place.store), name(text));
            async move { store.put(&text, Bytes::from_static(b"1"), PutMode::Create, &Tags::new()).await }
        });
        for written in join_all(writes).await {
            written.unwrap();
        }
    }
    let store = place.store.as_ref();
    let first = store.list("many/", None).await.unwrap();
    assert_eq!(first.objects.len(), 1000);
    assert_eq!(names(store, "many/").await, expected);
    let again: Vec<_> = list_all(store, "many/").await.unwrap().into_iter().map(|object| object.name).collect();
    let once: Vec<_> = list_all(store, "many/").await.unwrap().into_iter().map(|object| object.name).collect();
    assert_eq!(again, once, "the order is fixed");

    let deletions: Vec<_> = once.into_iter().map(|name| Deletion { name, if_match: None }).collect();
    let deleted = store.delete(&deletions).await;
    assert_eq!(deleted.len(), deletions.len());
    assert!(deleted.iter().all(Result::is_ok));
    assert!(names(store, "").await.is_empty());
}

async fn listings_go_by_text_and_not_by_directory(place: &Place) {
    let store = place.store.as_ref();
    for text in ["key/a", "key/ab/c", "key-x", "keyed/z", "other"] {
        put(store, text, "1").await;
    }
    for (prefix, expected) in [
        ("key", vec!["key-x", "key/a", "key/ab/c", "keyed/z"]),
        ("key/", vec!["key/a", "key/ab/c"]),
        ("key/a", vec!["key/a", "key/ab/c"]),
        ("key/ab/", vec!["key/ab/c"]),
        ("key/ab/c", vec!["key/ab/c"]),
        ("key/ab/cd", vec![]),
        ("none/", vec![]),
    ] {
        assert_eq!(names(store, prefix).await.into_iter().collect::<Vec<_>>(), expected, "{prefix}");
    }
}

async fn deleting_one_and_many(place: &Place) {
    let store = place.store.as_ref();
    put(store, "a", "1").await;
    put(store, "b/c", "1").await;
    let deletion = |text: &str| Deletion { name: name(text), if_match: None };
    for deleted in store.delete(&[deletion("a"), deletion("missing"), deletion("b/c")]).await {
        deleted.unwrap();
    }
    store.delete(&[deletion("a")]).await.pop().unwrap().unwrap();
    assert!(store.delete(&[]).await.is_empty());
    assert!(names(store, "").await.is_empty());
}

async fn conditional_deletes_take_only_what_was_meant(place: &Place) {
    let store = place.store.as_ref();
    let old = put(store, "a", "1").await;
    let body = Bytes::from_static(b"2");
    let new = store.put(&name("a"), body, PutMode::Overwrite, &Tags::new()).await.unwrap();
    let other = put(store, "b", "1").await;
    put(store, "c", "1").await;
    let deletion = |text: &str, etag: Option<&ETag>| Deletion { name: name(text), if_match: etag.cloned() };
    let answers = store
        .delete(&[
            deletion("a", Some(&old)),
            deletion("c", None),
            deletion("b", Some(&other)),
            deletion("missing", Some(&old)),
        ])
        .await;
    let [a, c, b, missing] = answers.try_into().unwrap();
    assert_eq!(kind(a), ErrorKind::Changed);
    c.unwrap();
    b.unwrap();
    assert!(matches!(kind(missing), ErrorKind::NotFound | ErrorKind::Changed));
    assert_eq!(names(store, "").await, BTreeSet::from(["a".to_owned()]));
    store.delete(&[deletion("a", Some(&new))]).await.pop().unwrap().unwrap();
    assert!(names(store, "").await.is_empty());
}

const PART_BYTES: usize = 5 * 1024 * 1024;

async fn a_large_object_comes_in_parts(place: &Place) {
    let store = place.store.as_ref();
    let body = noise(4 * PART_BYTES + 12_345);
    let large = name("large/object");
    let upload = store.upload(&large, &Tags::new()).await.unwrap();
    assert_eq!(kind(store.head(&large).await), ErrorKind::NotFound, "visible before it is whole");
    assert!(names(store, "").await.is_empty());
    let parts = (0..5).rev().map(|part| {
        let from = part * PART_BYTES;
        let bytes = body.slice(from..body.len().min(from + PART_BYTES));
        let upload = &upload;
        async move { upload.part(u32::try_from(part + 1).unwrap(), from as u64, bytes.into()).await }
    });
    for sent in join_all(parts).await {
        sent.unwrap();
    }
    // Sent again, as after a lost answer.
    upload.part(2, PART_BYTES as u64, body.slice(PART_BYTES..2 * PART_BYTES).into()).await.unwrap();
    let etag = upload.complete(PutMode::Create).await.unwrap();
    let meta = store.head(&large).await.unwrap();
    assert_eq!((meta.size, meta.etag), (body.len() as u64, etag));
    assert_eq!(read(store, &large, ByteRange::Full).await.1, body);
    assert!(store.uploads("").await.unwrap().is_empty());
}

async fn a_second_create_only_completion_loses(place: &Place) {
    let store = place.store.as_ref();
    let etag = put(store, "a", "first").await;
    let upload = store.upload(&name("a"), &Tags::new()).await.unwrap();
    upload.part(1, 0, "second".into()).await.unwrap();
    assert_eq!(kind(upload.complete(PutMode::Create).await), ErrorKind::AlreadyExists);
    upload.abort().await.unwrap();
    assert_eq!(store.head(&name("a")).await.unwrap().etag, etag);

    let upload = store.upload(&name("a"), &Tags::new()).await.unwrap();
    upload.part(1, 0, "third".into()).await.unwrap();
    upload.complete(PutMode::Overwrite).await.unwrap();
    assert_eq!(read(store, &name("a"), ByteRange::Full).await.1, "third");
}

async fn an_aborted_upload_leaves_nothing(place: &Place) {
    let store = place.store.as_ref();
    let upload = store.upload(&name("a/b"), &Tags::new()).await.unwrap();
    upload.part(1, 0, noise(PART_BYTES).into()).await.unwrap();
    // Whoever finds it can abort it.
    let mut found = store.uploads("a/").await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(store.uploads("b").await.unwrap().is_empty());
    let found = found.remove(0);
    assert_eq!(found.name(), &name("a/b"));
    let age = chrono::Utc::now() - found.initiated();
    assert!(age.num_seconds().abs() < 60, "{age}");
    found.abort().await.unwrap();
    upload.abort().await.unwrap();
    assert!(store.uploads("").await.unwrap().is_empty());
    assert!(names(store, "").await.is_empty());
    if let Some(directory) = &place.directory {
        let uploads = directory.path().join("store/.xcache/local/uploads");
        assert_eq!(std::fs::read_dir(uploads).unwrap().count(), 0);
    }
}

async fn readers_keep_the_object_they_opened(place: &Place) {
    let store = place.store.as_ref();
    let body = noise(3_000_000);
    let etag = store.put(&name("a"), body.clone(), PutMode::Create, &Tags::new()).await.unwrap();
    let download = store.get(&name("a"), ByteRange::Full, Some(&etag)).await.unwrap();
    store.put(&name("a"), noise(100), PutMode::Overwrite, &Tags::new()).await.unwrap();
    match collect(download, usize::MAX).await {
        Ok(read) => assert_eq!(read, body),
        // A server may cut the answer off, but must not mix the two.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
    }
}

async fn features_are_found_and_remembered(place: &Place) {
    let store = place.store.as_ref();
    let expected = Features { multipart_tags: place.is_exact_about_tags, ..Features::all() };
    assert_eq!(features(store).await.unwrap(), expected);
    assert_eq!(names(store, "").await, BTreeSet::from([".xcache/store".to_owned()]), "the probe is gone");
    let etag = store.head(&name(".xcache/store")).await.unwrap().etag;
    assert_eq!(features(store).await.unwrap(), expected);
    assert_eq!(store.head(&name(".xcache/store")).await.unwrap().etag, etag, "probed twice");
}
