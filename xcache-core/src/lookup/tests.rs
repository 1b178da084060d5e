//! Which entry answers which keys, and what it costs.

mod double;

use LookupFailure::{Denied, NothingThere, Unreachable};
use double::Double;

use super::*;

const MAIN: &str = "refs%2Fheads%2Fmain";
const PULL: &str = "refs%2Fpull%2F7%2Fmerge";

fn unscoped() -> Scopes {
    Scopes::none()
}

fn pull_request() -> Scopes {
    let scope = |text: &str| Some(text.parse().unwrap());
    let (pull, main) = (scope("refs/pull/7/merge"), scope("refs/heads/main"));
    Scopes { write: pull.clone(), read: vec![pull, main] }
}

/// The objects of these tests hold their creation time.
fn created(tail: &Tail) -> Option<i64> {
    std::str::from_utf8(&tail.bytes).ok()?.rsplit(' ').next()?.parse().ok()
}

fn lookup(store: &Arc<Double>, scopes: &Scopes, keys: &[&str]) -> Lookup {
    let keys = Keys::parse(keys[0], &keys[1..]).unwrap();
    Lookup::new(Arc::clone(store) as Arc<dyn Store>, scopes, &keys, 64, created)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

async fn all(lookup: &mut Lookup) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(Candidate { entry, matched, tail }) = lookup.next().await {
        assert_eq!(entry.meta, tail.meta);
        assert_eq!(tail.offset + tail.bytes.len() as u64, tail.meta.size);
        let how = match matched {
            Match::Exact => "exact".to_owned(),
            Match::Prefix { restore_key: None } => "primary".to_owned(),
            Match::Prefix { restore_key: Some(key) } => key.to_string(),
        };
        found.push(format!("{} {how}", entry.name.as_str().strip_suffix(".tar.zst").unwrap()));
    }
    found
}

/// Asks for every candidate; `requests` are the GETs and LISTs that it took.
#[track_caller]
fn check(
    store: Double,
    scopes: &Scopes,
    keys: &[&str],
    expected: &[&str],
    reason: LookupFailure,
    requests: [usize; 2],
) {
    let [gets, lists] = requests;
    check_doubtful(store, scopes, keys, (expected, reason), [gets, lists, 0]);
}

/// The same where a HEAD has to confirm what a GET says.
#[track_caller]
fn check_doubtful(
    store: Double,
    scopes: &Scopes,
    keys: &[&str],
    (expected, reason): (&[&str], LookupFailure),
    requests: [usize; 3],
) {
    let store = Arc::new(store);
    let mut lookup = lookup(&store, scopes, keys);
    assert_eq!(block_on(all(&mut lookup)), expected);
    assert_eq!(lookup.miss_reason(), reason, "{:?}", lookup.errors());
    assert_eq!([store.count("get"), store.count("list"), store.count("head")], requests);
}

/// Asks for the first candidate only.
#[track_caller]
fn check_first(store: Double, keys: &[&str], expected: &str, requests: [usize; 2]) {
    let store = Arc::new(store);
    let mut lookup = lookup(&store, &unscoped(), keys);
    let found = block_on(lookup.next()).unwrap();
    assert_eq!(found.entry.name.as_str(), format!("{expected}.tar.zst"));
    assert_eq!([store.count("get"), store.count("list")], requests);
}

#[test]
fn an_exact_hit_costs_two_requests() {
    check_first(Double::of(&[("k-base", 1)]), &["k", "r"], "k-base", [2, 0]);
    check_first(Double::of(&[("k-delta", 1)]), &["k", "r"], "k-delta", [2, 0]);
    check_first(Double::of(&[("k-delta", 2), ("k-base", 1)]), &["k"], "k-base", [2, 0]);
}

#[test]
fn the_delta_beside_a_base_is_the_next_candidate() {
    // As a save leaves it that must not delete a damaged base; also where both are of one second.
    for age in [1, 3, 9] {
        let store = [("r-1-base", 3), ("r-1-delta", age), ("r-0-base", 2)];
        let expected = ["r-1-base r", "r-1-delta r", "r-0-base r"];
        check(Double::of(&store), &unscoped(), &["k", "r"], &expected, NothingThere, [5, 2]);
        let expected = ["r-1-base exact", "r-1-delta exact"];
        check(Double::of(&store), &unscoped(), &["r-1"], &expected, NothingThere, [3, 1]);
    }
}

#[test]
fn a_miss_costs_two_requests_and_a_listing_for_each_prefix() {
    check(Double::of(&[]), &unscoped(), &["k"], &[], NothingThere, [2, 1]);
    check(Double::of(&[("other-base", 1)]), &unscoped(), &["k", "r", "s"], &[], NothingThere, [2, 3]);
    check(Double::of(&[]), &unscoped(), &["k", "k", "r", "r"], &[], NothingThere, [2, 2]);
    check(Double::of(&[]), &pull_request(), &["k", "r"], &[], NothingThere, [4, 4]);
}

#[test]
fn exact_comes_before_newer_prefix_matches_and_restore_keys_in_their_order() {
    let store = [
        ("k-1-base", 9),
        ("k-base", 1),
        ("r-base", 1),
        ("r-2-delta", 8),
        ("r-3-base", 7),
        ("s-base", 9),
        ("x-base", 9),
    ];
    check(
        Double::of(&store),
        &unscoped(),
        &["k", "s", "r"],
        &["k-base exact", "k-1-base primary", "s-base s", "r-base r", "r-2-delta r", "r-3-base r"],
        NothingThere,
        [7, 3],
    );
}

#[test]
fn an_object_is_found_once() {
    let store = [("k-1-base", 1), ("k-2-base", 2)];
    let expected = ["k-2-base primary", "k-1-base primary"];
    check(Double::of(&store), &unscoped(), &["k-", "k", "k-1"], &expected, NothingThere, [4, 3]);
}

#[test]
fn the_delta_stands_in_for_a_base_that_proved_corrupt() {
    let store = [("k-base", 1), ("k-delta", 1)];
    check(Double::of(&store), &unscoped(), &["k"], &["k-base exact", "k-delta exact"], NothingThere, [3, 1]);
}

#[test]
fn a_listing_for_foo_b_does_not_find_foo() {
    let store = [("foo-base", 9), ("foo-bar-base", 1), (".xcache/foo-b", 9)];
    check(Double::of(&store), &unscoped(), &["x", "foo-b"], &["foo-bar-base foo-b"], NothingThere, [3, 2]);
}

#[test]
fn at_most_eight_candidates_are_tried_newest_first() {
    let names: Vec<_> = (0..30).map(|i| format!("r{i:02}-base")).collect();
    let objects: Vec<_> = names.iter().zip(0..).map(|(name, second)| (name.as_str(), second)).collect();
    let expected: Vec<_> = names.iter().rev().take(8).map(|name| format!("{name} r")).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check(Double::of(&objects), &unscoped(), &["k", "r", "r0"], &expected, NothingThere, [10, 2]);
}

#[test]
fn listings_are_read_to_their_end() {
    let names: Vec<_> = (0..2500).map(|i| format!("r{i:04}-base")).collect();
    let mut objects: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    objects[2499].1 = 2;
    check_first(Double::of(&objects), &["k", "r"], "r2499-base", [3, 1 + 3]);
}

#[test]
fn entries_of_one_second_are_ordered_by_their_creation() {
    let mut store = Double::of(&[("r1-base", 5), ("r2-base", 5), ("r3-base", 5), ("r4-base", 4), ("r-base", 1)]);
    for (name, created) in [("r1", "20"), ("r2", "30"), ("r3", "nobody knows")] {
        store.set_body(&format!("{name}-base.tar.zst"), &format!("created {created}"));
    }
    let expected = ["r-base r", "r2-base r", "r1-base r", "r3-base r", "r4-base r"];
    check(store, &unscoped(), &["k", "r"], &expected, NothingThere, [7, 2]);
}

#[test]
fn scopes_are_read_in_their_order() {
    let objects = [
        (format!("{MAIN}/k-base"), 9),
        (format!("{PULL}/r-base"), 1),
        ("k-base".to_owned(), 9),
        (format!("{MAIN}/r-base"), 9),
    ];
    let objects: Vec<_> = objects.iter().map(|(name, second)| (name.as_str(), *second)).collect();
    let expected = [&format!("{PULL}/r-base r"), &format!("{MAIN}/k-base exact"), &format!("{MAIN}/r-base r")];
    check(Double::of(&objects), &pull_request(), &["k", "r"], &expected.map(String::as_str), NothingThere, [6, 4]);
    let expected = ["k-base exact"];
    check(Double::of(&objects), &unscoped(), &["k", "refs"], &expected, NothingThere, [2, 2]);
}

#[test]
fn a_scope_that_is_denied_does_not_hide_hits_in_the_next() {
    let hit = format!("{MAIN}/k-base");
    let mut store = Double::of(&[(&hit, 1)]);
    store.fail(PULL, ErrorKind::Denied);
    check(store, &pull_request(), &["k", "r"], &[&format!("{hit} exact")], Denied, [4, 4]);
}

#[test]
fn a_miss_says_why() {
    let failing = |at: &str, kind| {
        let mut store = Double::of(&[]);
        store.fail(at, kind);
        store
    };
    check(failing("", ErrorKind::Denied), &unscoped(), &["k", "r"], &[], Denied, [2, 2]);
    check(failing("k-base", ErrorKind::Denied), &unscoped(), &["k"], &[], Denied, [2, 1]);
    check(failing("", ErrorKind::Other), &unscoped(), &["k"], &[], Unreachable, [2, 1]);
    check(failing("k-delta", ErrorKind::Corrupt), &unscoped(), &["k"], &[], Unreachable, [6, 1]);
}

#[test]
fn an_unavailable_store_is_not_asked_on() {
    let mut store = Double::of(&[("r-base", 1)]);
    store.fail("k-base", ErrorKind::Unavailable);
    check(store, &unscoped(), &["k", "r"], &[], Unreachable, [2, 0]);
    let mut store = Double::of(&[("k-delta", 1)]);
    store.fail("k-base", ErrorKind::Unavailable);
    check_first(store, &["k"], "k-delta", [2, 0]);
}

#[test]
fn a_listing_that_fails_half_way_still_helps() {
    let names: Vec<_> = (0..1001).map(|i| format!("r{i:04}-base")).collect();
    let objects: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut store = Double::of(&objects);
    store.fail_page(1, ErrorKind::Denied);
    check_first(store, &["k", "r"], "r0001-base", [2 + 8, 1 + 2]);
}

#[test]
fn a_listing_without_end_is_left() {
    let mut store = Double::of(&[("r-base", 1)]);
    store.repeat_pages();
    check(store, &unscoped(), &["k", "r"], &["r-base r"], Unreachable, [3, 3]);
}

#[test]
fn an_entry_that_goes_away_after_the_listing_is_passed_over() {
    let mut store = Double::of(&[("r1-base", 1), ("r2-base", 2)]);
    store.fail("r2-base", ErrorKind::NotFound);
    check_doubtful(store, &unscoped(), &["k", "r"], (&["r1-base r"], NothingThere), [5, 2, 1]);
}

#[test]
fn a_tail_that_is_not_the_end_is_no_word_about_the_entry() {
    let mut store = Double::of(&[("k-base", 1), ("r-base", 1)]);
    store.shift_tail("k-base.tar.zst");
    check_doubtful(store, &unscoped(), &["k", "r"], (&["r-base r"], Unreachable), [12, 2, 10]);
}

#[test]
fn a_key_without_a_name_is_not_looked_for() {
    let long = "😀".repeat(200);
    check(Double::of(&[("r-base", 1)]), &unscoped(), &[&long, "r"], &["r-base r"], Unreachable, [1, 2]);
}

#[track_caller]
fn check_exists(store: Double, expected: Result<Option<&str>, ErrorKind>) {
    let found = block_on(exists(&store, None, &"k".parse().unwrap()));
    let found = found.map(|entry| entry.map(|entry| entry.name.to_string())).map_err(|error| error.kind());
    assert_eq!(found, expected.map(|name| name.map(str::to_owned)));
    assert_eq!([store.count("head"), store.count("get"), store.count("list")], [2, 0, 0]);
}

#[test]
fn whether_a_key_is_taken_costs_two_heads() {
    let failing = |objects: &[(&str, i64)], at: &str| {
        let mut store = Double::of(objects);
        store.fail(at, ErrorKind::Denied);
        store
    };
    check_exists(Double::of(&[("k1-base", 1)]), Ok(None));
    check_exists(Double::of(&[("k-base", 1)]), Ok(Some("k-base.tar.zst")));
    check_exists(Double::of(&[("k-delta", 1)]), Ok(Some("k-delta.tar.zst")));
    check_exists(Double::of(&[("k-base", 1), ("k-delta", 1)]), Ok(Some("k-base.tar.zst")));
    check_exists(failing(&[("k-base", 1)], "k-delta"), Ok(Some("k-base.tar.zst")));
    check_exists(failing(&[("k-delta", 1)], "k-base"), Ok(Some("k-delta.tar.zst")));
    check_exists(failing(&[], "k-delta"), Err(ErrorKind::Denied));
    check_exists(failing(&[], "k-base"), Err(ErrorKind::Denied));
}
