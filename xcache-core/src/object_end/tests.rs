use super::*;
use crate::object::ObjectName;
use crate::store::{ErrorKind, PutMode, Tags};
use crate::transfer::doubles::{Faulty, MemoryStore, archive};

/// An object with the end of an archive. Nobody reads its index here.
fn object(archive_id: u8) -> Vec<u8> {
    archive(archive_id, 100).to_vec()
}

/// The same with a byte of the footer spoilt.
fn spoilt() -> Vec<u8> {
    let mut object = object(1);
    let at = object.windows(3).position(|window| window == b"key").unwrap();
    object[at] ^= 1;
    object
}

async fn stored(name: &str, bytes: Vec<u8>) -> (MemoryStore, ObjectName, ETag) {
    let (store, name) = (MemoryStore::default(), ObjectName::new(name).unwrap());
    let etag = store.put(&name, bytes.into(), PutMode::Create, &Tags::new()).await.unwrap();
    store.take_log();
    (store, name, etag)
}

const BASE: &str = "key-base.tar.zst";

#[tokio::test]
async fn a_footer_costs_one_request() {
    let (store, name, etag) = stored(BASE, object(1)).await;
    let read = read_footer(&store, &name, &etag).await.unwrap();
    assert!(matches!(read, Verdict::Readable(Some(footer)) if footer.archive_id == ArchiveId([1; 16])));
    assert_eq!(store.take_log(), ["get Last(8192)"]);
}

#[tokio::test]
async fn damage_is_what_two_fetches_and_a_head_agree_on() {
    let (store, name, etag) = stored(BASE, spoilt()).await;
    assert!(matches!(read_footer(&store, &name, &etag).await.unwrap(), Verdict::Damaged(_)));
    let log = store.take_log();
    assert_eq!(log.iter().map(|request| &request[..4]).collect::<Vec<_>>(), ["get ", "get ", "head"], "{log:?}");
    // A HEAD that cannot be had proves nothing.
    let faulty = Faulty::new(store).fail("head", ErrorKind::Unavailable, u32::MAX);
    assert!(read_footer(&faulty, &name, &etag).await.is_err());
}

#[tokio::test]
async fn bytes_that_were_spoilt_on_the_way_once_are_not_damage() {
    let (store, name, etag) = stored(BASE, object(1)).await;
    let faulty = Faulty::new(store).flip_once(150);
    assert!(matches!(read_footer(&faulty, &name, &etag).await.unwrap(), Verdict::Readable(Some(_))));
}

#[tokio::test]
async fn an_object_that_went_away_is_gone_and_not_damaged() {
    let (store, name, etag) = stored(BASE, object(1)).await;
    store.put(&name, object(2).into(), PutMode::Overwrite, &Tags::new()).await.unwrap();
    assert!(matches!(read_footer(&store, &name, &etag).await.unwrap(), Verdict::Gone(Gone::Replaced)));
    let missing = ObjectName::new("other-base.tar.zst").unwrap();
    assert!(matches!(read_footer(&store, &missing, &etag).await.unwrap(), Verdict::Gone(Gone::Missing)));
    assert!(matches!(look_again(&store, &name, &etag).await.unwrap(), Some(Gone::Replaced)));
    assert!(matches!(look_again(&store, &missing, &etag).await.unwrap(), Some(Gone::Missing)));
}

#[tokio::test]
async fn one_head_that_denies_a_damaged_object_is_not_believed() {
    let (store, name, etag) = stored(BASE, spoilt()).await;
    let faulty = Faulty::new(store).fail("head", ErrorKind::NotFound, 1);
    assert!(matches!(read_footer(&faulty, &name, &etag).await.unwrap(), Verdict::Damaged(_)));
}

#[tokio::test]
async fn no_index_is_damage_in_a_delta_only() {
    for (name, is_damage) in [(BASE, false), ("key-delta.tar.zst", true), ("other", false)] {
        let (store, name, etag) = stored(name, vec![7; 1000]).await;
        let read = read_footer(&store, &name, &etag).await.unwrap();
        assert_eq!(matches!(read, Verdict::Damaged(_)), is_damage, "{name}: {read:?}");
        let mut tail = fetch(&store, &name, 100, Expected::Present).await.unwrap();
        let opened = open(&store, &name, &mut tail).await.unwrap();
        assert_eq!(matches!(opened, Verdict::Damaged(_)), is_damage, "{name}: {opened:?}");
    }
}

#[tokio::test]
async fn a_copied_object_is_found_by_its_archive_id() {
    let (store, name, etag) = stored(BASE, object(1)).await;
    let r = |id: u8, etag: &str| Ref {
        name: name.clone(),
        etag: etag.into(),
        size: 1,
        data_bytes: 1,
        archive_id: ArchiveId([id; 16]),
        created_nanos: 0,
    };
    let found = find_ref(&store, &r(1, &etag.0)).await.unwrap();
    assert!(matches!(found, Verdict::Readable(found) if found.etag == etag));
    assert_eq!(store.take_log(), ["head"]);
    let found = find_ref(&store, &r(1, "other")).await.unwrap();
    assert!(matches!(found, Verdict::Readable(found) if found.etag == etag));
    assert!(matches!(find_ref(&store, &r(2, "other")).await.unwrap(), Verdict::Gone(Gone::Replaced)));
    let missing = Ref { name: ObjectName::new("other-base.tar.zst").unwrap(), ..r(1, "other") };
    assert!(matches!(find_ref(&store, &missing).await.unwrap(), Verdict::Gone(Gone::Missing)));
    // One HEAD that denies it changes nothing.
    let faulty = Faulty::new(store.clone()).fail("head", ErrorKind::NotFound, 1);
    assert!(matches!(find_ref(&faulty, &r(1, &etag.0)).await.unwrap(), Verdict::Readable(_)));

    assert!(find_archive(&store, &name, ArchiveId([1; 16])).await.unwrap().is_some());
    assert!(find_archive(&store, &name, ArchiveId([2; 16])).await.unwrap().is_none());
    let missing = ObjectName::new("other-base.tar.zst").unwrap();
    assert!(find_archive(&store, &missing, ArchiveId([1; 16])).await.unwrap().is_none());
}
