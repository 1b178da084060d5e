//! Names and tags there and back.

use proptest::prelude::*;

use super::*;
use crate::key::tests::any_key;
use crate::scope::tests::any_scope;

#[track_caller]
fn check(scope: &str, key: &str, expected: &str) {
    let scope = (!scope.is_empty()).then(|| scope.parse::<Scope>().unwrap());
    let key = key.parse::<Key>().unwrap();
    for (kind, suffix) in [(Kind::Base, "-base.tar.zst"), (Kind::Delta, "-delta.tar.zst")] {
        let name = object_name(scope.as_ref(), &key, kind).unwrap();
        assert_eq!(name.as_str(), format!("{expected}{suffix}"));
        assert_eq!(parse(&name), Some((scope.clone(), key.clone(), kind)));
    }
}

#[test]
fn ordinary_keys_stand_as_they_are() {
    for key in ["Linux-node-0a1b", "v1.2_x/gcc@13:c++=20", "a/b/", "build!(x86)", "a-base.tar.zst", "a.b/c..", "-"] {
        check("", key, key);
    }
}

#[test]
fn what_stores_mangle_is_percent_encoded() {
    check("", "a b", "a%20b");
    check("", "#?%\\", "%23%3F%25%5C");
    check("", "a*&~'\"", "a%2A%26%7E%27%22");
    check("", "ä😀", "%C3%A4%F0%9F%98%80");
    check("", "%2F", "%252F");
    check("", "/a", "%2Fa");
    check("", "a//b", "a/%2Fb");
    check("", "a///b", "a/%2F/b");
    check("", "..", "%2E.");
    check("", "./a/../.b", "%2E/a/%2E./%2Eb");
    check("", ".xcache", "%2Excache");
    check("", "a//.b", "a/%2F.b");
}

#[test]
fn a_scope_is_one_segment() {
    check("refs/heads/main", "k/1", "refs%2Fheads%2Fmain/k/1");
    check("refs/pull/7/merge", ".k", "refs%2Fpull%2F7%2Fmerge/%2Ek");
    check("nightly", "k", "scope%2Fnightly/k");
    check(".a/ö", "/k", "%2Ea%2F%C3%B6/%2Fk");
}

#[test]
fn long_segments_are_continued() {
    let x = |n: usize| "x".repeat(n);
    check("", &x(229), &x(229));
    check("", &x(230), &format!("{}%2D/x", x(229)));
    check("", &(x(229) + "/y"), &(x(229) + "/y"));
    check("", &(x(229) + "./y"), &(x(229) + "%2D/%2E/y"));
    check("", &x(512), &format!("{a}%2D/{a}%2D/{}", x(54), a = x(229)));
    check("", &"é".repeat(40), &format!("{}%2D/%C3%A9", "%C3%A9".repeat(39)));
}

#[test]
fn a_name_has_at_most_1024_bytes() {
    let scope = Some("refs/heads/main".parse::<Scope>().unwrap());
    let long = |n: usize| "é".repeat(n).parse::<Key>().unwrap();
    assert!(object_name(scope.as_ref(), &long(160), Kind::Delta).is_ok());
    let error = object_name(None, &long(170), Kind::Delta);
    assert_eq!(error, Err(ObjectNameError::TooLong { bytes: 1020 + 4 * 4 + 14, limit: 1024 }));
}

#[test]
fn other_names_are_no_entries() {
    let table = [
        "k",
        "-base.tar.zst",
        "k-base.tar",
        ".k-base.tar.zst",
        "a//b-base.tar.zst",
        "/a-base.tar.zst",
        "a b-base.tar.zst",
        "ä-base.tar.zst",
        "%61-base.tar.zst",
        "%2e-base.tar.zst",
        "a%2-base.tar.zst",
        "a%FF-base.tar.zst",
        "a%2Cb-base.tar.zst",
        "a%0Ab-base.tar.zst",
        "a%2D/b-base.tar.zst",
        "a%2Fb-base.tar.zst",
        "a/b%2Fc-base.tar.zst",
        "nightly%2F/k-base.tar.zst",
        "refs%2Fheads%2Fmain/-base.tar.zst",
        "refs%2fheads%2fmain/k-base.tar.zst",
        ".xcache/k-base.tar.zst",
        "%2Excache/k-base.tar.zst",
    ];
    for name in table {
        assert_eq!(parse(&ObjectName::new(name).unwrap()), None, "{name}");
    }
}

proptest! {
    #[test]
    fn parse_undoes_object_name(scope in proptest::option::of(any_scope()), key in any_key()) {
        for kind in [Kind::Base, Kind::Delta] {
            if let Ok(name) = object_name(scope.as_ref(), &key, kind) {
                prop_assert_eq!(parse(&name), Some((scope.clone(), key.clone(), kind)));
            }
        }
    }

    #[test]
    fn whatever_parses_is_a_name_that_we_make(name in "[abc./%2FDE]{1,12}(-base|-delta)\\.tar\\.zst") {
        let name = ObjectName::new(name).unwrap();
        if let Some((scope, key, kind)) = parse(&name) {
            prop_assert_eq!(object_name(scope.as_ref(), &key, kind), Ok(name));
        }
    }

    #[test]
    fn a_prefix_of_a_key_is_a_prefix_of_its_name(scope in proptest::option::of(any_scope()), key in any_key()) {
        let whole = list_prefix(scope.as_ref(), key.as_str());
        for (at, _) in key.as_str().char_indices() {
            let prefix = list_prefix(scope.as_ref(), &key.as_str()[..at]);
            prop_assert!(whole.starts_with(&prefix), "{prefix} of {whole}");
        }
    }

    #[test]
    fn names_are_what_every_store_takes(scope in proptest::option::of(any_scope()), key in any_key()) {
        if let Ok(name) = object_name(scope.as_ref(), &key, Kind::Delta) {
            for segment in name.as_str().split('/') {
                prop_assert!((1..=MAX_SEGMENT_BYTES).contains(&segment.len()), "{name}");
                prop_assert!(!segment.starts_with('.'), "{name}");
                prop_assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+=@:()!%".contains(&b)), "{name}");
            }
        }
    }
}

#[test]
fn base_and_delta_of_a_key_know_each_other() {
    let key: Key = "a %/.b".parse().unwrap();
    let [base, delta] = [Kind::Base, Kind::Delta].map(|kind| object_name(None, &key, kind).unwrap());
    for name in [&base, &delta] {
        assert_eq!(with_kind(name.as_str(), Kind::Base).as_deref(), Some(base.as_str()));
        assert_eq!(with_kind(name.as_str(), Kind::Delta).as_deref(), Some(delta.as_str()));
    }
    assert_eq!(with_kind("a-base.tar", Kind::Delta), None);
}
