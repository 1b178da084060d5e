//! What probes find in stores that lack something.

use super::*;
use crate::transfer::doubles::{Conditions, Faulty, MemoryStore};

async fn names(store: &dyn Store) -> Vec<String> {
    let page = store.list("", None).await.unwrap();
    page.objects.iter().map(|object| object.name.to_string()).collect()
}

#[tokio::test]
async fn what_a_store_lacks_is_found_and_remembered() {
    let lacks_tags = Features { tags: false, multipart_tags: false, late_tags: false, ..Features::all() };
    let lacks_conditions = Features {
        create_only_put: false,
        create_only_multipart: false,
        conditional_put: false,
        conditional_multipart: false,
        ..Features::all()
    };
    for (store, expected) in [
        (Faulty::new(MemoryStore::default()), Features::all()),
        (Faulty::new(MemoryStore::default()).refuse_tags(ErrorKind::Unsupported), lacks_tags),
        (Faulty::new(MemoryStore::default()).refuse_tags(ErrorKind::Invalid), lacks_tags),
        (Faulty::new(MemoryStore::default()).fail("tags", ErrorKind::Unsupported, u32::MAX), lacks_tags),
        (Faulty::new(MemoryStore::default()).conditions(Conditions::Ignored), lacks_conditions),
        (Faulty::new(MemoryStore::default()).conditions(Conditions::Refused), lacks_conditions),
    ] {
        assert_eq!(features(&store).await.unwrap(), expected);
        assert_eq!(names(&store).await, [".xcache/store"]);
        assert_eq!(features(&store).await.unwrap(), expected);
        assert!(store.uploads("").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_a_role_may_not_try_is_remembered_for_nobody() {
    let check = async |store: Faulty, expected: Features, left: usize| {
        assert_eq!(features(&store).await.unwrap(), expected);
        let names = names(&store).await;
        assert!(!names.contains(&".xcache/store".to_owned()), "{names:?}");
        assert_eq!(names.len(), left, "{names:?}");
        assert!(store.uploads("").await.unwrap().is_empty());
    };
    let denied = ErrorKind::Denied;
    let faulty = || Faulty::new(MemoryStore::default());
    let all = Features::all();
    let lacks_parts = Features { create_only_multipart: false, conditional_multipart: false, ..all };
    // Whoever depends on tags must ask for them, and be told.
    check(faulty().refuse_tags(denied), all, 0).await;
    check(faulty().fail("tags", denied, u32::MAX), all, 0).await;
    check(faulty().fail("delete", denied, u32::MAX), Features { conditional_delete: false, ..all }, 3).await;
    check(faulty().fail("upload", denied, u32::MAX), lacks_parts, 0).await;
    check(faulty().fail("complete", denied, u32::MAX), lacks_parts, 0).await;
    let nothing = Features { create_only_put: false, conditional_put: false, conditional_delete: false, ..lacks_parts };
    check(faulty().fail("put", denied, u32::MAX), nothing, 0).await;
    check(faulty().fail("get", denied, 1).fail("put", denied, u32::MAX), nothing, 0).await;
}

#[tokio::test]
async fn what_may_not_be_deleted_is_left_behind_and_no_failure() {
    // The conditional deletions are answered, the last ones are not permitted.
    let store = Faulty::new(MemoryStore::default()).fail_after("delete", 2, ErrorKind::Denied);
    assert_eq!(features(&store).await.unwrap(), Features::all());
    assert_eq!(names(&store).await.len(), 3);
}

#[tokio::test]
async fn a_failing_probe_leaves_no_upload_and_no_findings() {
    for request in ["part 1", "complete"] {
        let store = Faulty::new(MemoryStore::default()).fail(request, ErrorKind::Unavailable, u32::MAX);
        assert_eq!(features(&store).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(store.uploads("").await.unwrap().is_empty(), "{request}");
        assert_eq!(names(&store).await, Vec::<String>::new());
    }
}
