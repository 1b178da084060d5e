//! Tables of plans: what is there, what the policy says, what follows.

use super::*;
use crate::archive::footer::Footer;
use crate::gc::live::LiveRefs;
use crate::gc::policy::GroupBy;
use crate::naming::encode_tag_value;
use crate::object::{ArchiveId, ETag, ObjectName, Ref};
use crate::store::{ListedObject, ObjectMeta, Tags};

const NOW_DAYS: i64 = 1000;

fn day(n: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(n)
}

/// A line is `name age_in_days size [branch] [keep] [noted] [condemned] [gone] [dangling] [on <name>]…`; ages count
/// from [`NOW_DAYS`] backwards. Deltas without `on` build on nothing.
fn inventory(lines: &[&str]) -> Inventory {
    let mut inventory = Inventory::default();
    let words = |line: &&str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = lines.iter().map(words).collect();
    for line in &lines {
        inventory.push(&ListedObject {
            name: ObjectName::new(line[0].as_str()).unwrap(),
            meta: ObjectMeta {
                size: line[2].parse().unwrap(),
                etag: ETag(format!("etag of {}", line[0])),
                last_modified: day(NOW_DAYS - line[1].parse::<i64>().unwrap()),
            },
        });
    }
    inventory.finish();
    for (id, line) in inventory.ids().zip(&lines) {
        let mut tags = Tags::new();
        let mut refs = Vec::new();
        let mut words = line[3..].iter();
        let mut state = EndState::Whole;
        while let Some(word) = words.next() {
            match word.as_str() {
                "keep" => drop(tags.insert("keep".into(), "true".into())),
                "noted" => inventory.note(&line[0]),
                "condemned" => inventory.condemn(&line[0]),
                "gone" => state = EndState::Gone,
                "dangling" => state = EndState::Dangling,
                "on" => refs.push(reference(words.next().unwrap())),
                branch => drop(tags.insert("branch".into(), branch.into())),
            }
        }
        inventory.set_tags(id, Some(&tags));
        if inventory.kind(id) == Kind::Delta {
            let key = inventory.name(id).trim_end_matches("-delta.tar.zst").to_owned();
            assert!(inventory.set_footer(id, &footer(&key, refs)));
        }
        inventory.set_state(id, state);
    }
    inventory
}

fn reference(name: &str) -> Ref {
    Ref {
        etag: ETag(format!("etag of {name}")),
        name: ObjectName::new(name).unwrap(),
        size: 0,
        data_bytes: 0,
        archive_id: ArchiveId([0; 16]),
        created_nanos: 0,
    }
}

fn footer(key: &str, refs: Vec<Ref>) -> Footer {
    Footer {
        archive_id: ArchiveId([0; 16]),
        kind: Kind::Delta,
        key: key.to_owned(),
        created_nanos: 0,
        refs,
        members: 0,
        content_bytes: 0,
        index_offset: 0,
        index_bytes: 0,
        index_raw_bytes: 0,
        index_hash: [0; 32],
    }
}

#[track_caller]
fn check_all(inventory: &Inventory, plan: &PrunePlan, expected: &[Decision]) {
    let found: Vec<Decision> = inventory.ids().map(|id| plan.decision(id)).collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn check(policy: &Policy, lines: &[(&str, Decision)]) {
    let inventory = inventory(&lines.iter().map(|(line, _)| *line).collect::<Vec<_>>());
    let found = plan(&inventory, policy, day(NOW_DAYS));
    assert_eq!(found.questions(&inventory, policy, day(NOW_DAYS)), Questions::default(), "everything is known");
    check_all(&inventory, &found, &lines.iter().map(|(_, decision)| *decision).collect::<Vec<_>>());
}

const UNASKED: Decision = Decision::Keep(Keep::Unasked);

fn keep(keep: Keep) -> Decision {
    Decision::Keep(keep)
}

fn delete(delete: Delete) -> Decision {
    Decision::Delete(delete)
}

fn older_than_a_week() -> Policy {
    Policy { max_age: Some(TimeDelta::days(7)), min_age: TimeDelta::days(1), ..Policy::default() }
}

#[test]
fn old_entries_go_unless_something_shields_them() {
    check(
        &older_than_a_week(),
        &[
            ("a-base.tar.zst 8 1", delete(Delete::TooOld)),
            ("b-base.tar.zst 7 1", UNASKED),
            ("c-base.tar.zst 8 1 keep", keep(Keep::Pinned)),
            ("d-base.tar.zst 8 1 noted", keep(Keep::Noted)),
            ("e-base.tar.zst 8 1 gone", keep(Keep::Gone)),
            ("f-base.tar.zst 0 1 condemned", delete(Delete::Condemned)),
            ("g-base.tar.zst 8 1 condemned noted", keep(Keep::Noted)),
        ],
    );
}

#[test]
fn what_a_kept_entry_builds_on_is_kept() {
    check(
        &older_than_a_week(),
        &[
            ("a-base.tar.zst 30 1", keep(Keep::Needed(2))),
            ("b-delta.tar.zst 20 1 on a-base.tar.zst", keep(Keep::Needed(1))),
            ("c-delta.tar.zst 3 1 on a-base.tar.zst on b-delta.tar.zst", UNASKED),
            ("d-base.tar.zst 30 1", delete(Delete::TooOld)),
            ("e-delta.tar.zst 20 1 on d-base.tar.zst", delete(Delete::TooOld)),
            // A delta that cannot be restored needs nothing, and a pinned one everything.
            ("f-base.tar.zst 30 1", delete(Delete::TooOld)),
            ("g-delta.tar.zst 3 1 dangling on f-base.tar.zst", UNASKED),
            ("h-base.tar.zst 30 1", keep(Keep::Needed(1))),
            ("i-delta.tar.zst 20 1 keep on h-base.tar.zst", keep(Keep::Pinned)),
        ],
    );
}

#[test]
fn the_minimum_age_wins_over_every_rule() {
    let policy = Policy {
        keep_newest: Some(0),
        max_total_bytes: Some(0),
        live_branches: Some(LiveRefs::from_iter(["other"])),
        shadowed: true,
        dangling: true,
        min_age: TimeDelta::days(2),
        ..older_than_a_week()
    };
    check(
        &policy,
        &[
            ("a-base.tar.zst 1 1 x", keep(Keep::Young)),
            ("a-delta.tar.zst 1 1 x", keep(Keep::Young)),
            ("b-delta.tar.zst 1 1 x dangling", keep(Keep::Young)),
            ("c-base.tar.zst 2 1 x", delete(Delete::DeadBranch)),
        ],
    );
}

#[test]
fn the_newest_of_each_group_stay() {
    let lines = |third: Decision, other_branch: Decision| {
        [
            ("k-1111111111-base.tar.zst 9 1 main", delete(Delete::BeyondNewest(3))),
            ("k-2222222222-base.tar.zst 8 1 main", third),
            ("k-3333333333-base.tar.zst 7 1 main", UNASKED),
            ("k-4444444444-base.tar.zst 6 1 topic", other_branch),
            ("k-5555555555-base.tar.zst 5 1", UNASKED),
            ("l-1111111111-base.tar.zst 9 1 main", UNASKED),
            // Nothing that cannot be returned takes a place.
            ("k-3333333333-delta.tar.zst 4 1 main on l-1111111111-base.tar.zst", UNASKED),
            ("k-9999999999-delta.tar.zst 4 1 main dangling", UNASKED),
        ]
    };
    let policy = Policy { keep_newest: Some(2), ..Policy::default() };
    check(&policy, &lines(UNASKED, UNASKED));
    let by_family = Policy { group_by: GroupBy::Family, ..policy };
    let mut expected = lines(delete(Delete::BeyondNewest(4)), UNASKED);
    expected[0].1 = delete(Delete::BeyondNewest(5));
    expected[2].1 = delete(Delete::BeyondNewest(3));
    check(&by_family, &expected);
}

#[test]
fn scopes_are_never_in_one_group() {
    check(
        &Policy { keep_newest: Some(1), group_by: GroupBy::Scope, ..Policy::default() },
        &[
            ("refs%2Fheads%2Fmain/a-base.tar.zst 9 1", delete(Delete::BeyondNewest(2))),
            ("refs%2Fheads%2Fmain/b-base.tar.zst 8 1", UNASKED),
            ("refs%2Fheads%2Fx/a-base.tar.zst 9 1", UNASKED),
            ("a-base.tar.zst 9 1", UNASKED),
        ],
    );
}

#[test]
fn the_oldest_go_until_the_rest_is_small_enough() {
    let policy = Policy { max_total_bytes: Some(30), ..Policy::default() };
    check(
        &policy,
        &[
            ("a-base.tar.zst 9 10 keep", keep(Keep::Pinned)),
            // Needed until its delta has gone too; then both count.
            ("b-base.tar.zst 8 10", delete(Delete::OverTotal)),
            ("c-base.tar.zst 7 10", delete(Delete::OverTotal)),
            ("d-delta.tar.zst 6 10 on b-base.tar.zst", delete(Delete::OverTotal)),
            ("e-base.tar.zst 5 10", UNASKED),
            ("f-base.tar.zst 4 10", UNASKED),
            ("g-base.tar.zst 3 10 gone", keep(Keep::Gone)),
        ],
    );
}

#[test]
fn dead_branches_shadowed_and_dangling_entries_go() {
    let live = Some(LiveRefs::from_iter(["main"]));
    check(
        &Policy { live_branches: live, shadowed: true, dangling: true, ..Policy::default() },
        &[
            ("a-base.tar.zst 1 1 main", UNASKED),
            ("a-delta.tar.zst 1 1 main on a-base.tar.zst", delete(Delete::Shadowed)),
            ("b-base.tar.zst 1 1 topic", delete(Delete::DeadBranch)),
            ("c-base.tar.zst 1 1", UNASKED),
            ("d-base.tar.zst 1 1 gone", keep(Keep::Gone)),
            ("d-delta.tar.zst 1 1 main", UNASKED),
            ("e-delta.tar.zst 1 1 main dangling", delete(Delete::Dangling)),
        ],
    );
}

#[test]
fn removal_spares_what_others_build_on_unless_they_go_too() {
    let inventory = inventory(&[
        "a-base.tar.zst 1 1 keep",
        "b-delta.tar.zst 1 1 on a-base.tar.zst",
        "c-delta.tar.zst 1 1 on b-delta.tar.zst",
        "d-base.tar.zst 1 1",
    ]);
    let target = |name: &str| RemovalTarget { name: ObjectName::new(name).unwrap(), etag: None };
    let a = [target("a-base.tar.zst"), target("missing-base.tar.zst")];
    let (asked, cascade) = (delete(Delete::Asked), delete(Delete::Cascade));
    let no = plan_removal(&inventory, &a, Cascade::No);
    check_all(&inventory, &no, &[keep(Keep::Needed(1)), UNASKED, UNASKED, UNASKED]);
    let yes = plan_removal(&inventory, &a, Cascade::Yes);
    check_all(&inventory, &yes, &[asked, cascade, cascade, UNASKED]);
    let other = RemovalTarget { etag: Some(ETag("another".into())), ..target("d-base.tar.zst") };
    check_all(&inventory, &plan_removal(&inventory, &[other], Cascade::Yes), &[UNASKED; 4]);
}

#[test]
fn only_what_matters_is_asked_for() {
    let mut inventory = Inventory::default();
    for (name, age) in [("k-1111111-base", 9), ("k-2222222-base", 8), ("l-base", 9), ("m-delta", 9), ("n-delta", 1)] {
        inventory.push(&ListedObject {
            name: ObjectName::new(format!("{name}.tar.zst")).unwrap(),
            meta: ObjectMeta { size: 1, etag: ETag("e".into()), last_modified: day(NOW_DAYS - age) },
        });
    }
    inventory.finish();
    let ask = |inventory: &Inventory, policy: &Policy| {
        plan(inventory, policy, day(NOW_DAYS)).questions(inventory, policy, day(NOW_DAYS))
    };
    let mut check = |policy: Policy, tags: &[EntryId], ends: &[EntryId]| {
        let before = ask(&inventory, &policy);
        assert_eq!(before.tags, tags);
        if !tags.is_empty() {
            assert!(before.ends.is_empty(), "tags come first: what is pinned needs no other question");
            tags.iter().for_each(|&id| inventory.set_tags(id, Some(&Tags::new())));
        }
        assert_eq!(ask(&inventory, &policy), Questions { tags: Vec::new(), ends: ends.to_vec() });
        tags.iter().for_each(|&id| inventory.forget_tags(id));
    };
    check(Policy { max_age: Some(TimeDelta::days(30)), ..Policy::default() }, &[], &[]);
    // Pins of victims, and deltas that may build on them.
    check(Policy { max_age: Some(TimeDelta::days(8)), ..Policy::default() }, &[0, 2, 3], &[3, 4]);
    // Branches of families that are large enough.
    check(Policy { keep_newest: Some(1), ..Policy::default() }, &[0, 1], &[3, 4]);
    check(Policy { keep_newest: Some(2), ..Policy::default() }, &[], &[]);
    let live_branches = Some(LiveRefs::from_iter(["other"]));
    check(Policy { live_branches, min_age: TimeDelta::days(2), ..Policy::default() }, &[0, 1, 2, 3], &[]);
    check(Policy { dangling: true, ..Policy::default() }, &[], &[3, 4]);
}

#[test]
fn what_is_newer_than_a_delta_by_the_clock_may_still_be_what_it_builds_on() {
    let names = ["a-base.tar.zst", "b-delta.tar.zst"];
    let mut inventory = Inventory::default();
    // Copied into the store, or written by a machine whose clock is ahead by more than a year.
    for (name, age) in names.into_iter().zip([-400, 9]) {
        inventory.push(&ListedObject {
            name: ObjectName::new(name).unwrap(),
            meta: ObjectMeta { size: 1, etag: ETag(format!("etag of {name}")), last_modified: day(NOW_DAYS - age) },
        });
    }
    inventory.finish();
    let removal = plan_removal(
        &inventory,
        &[RemovalTarget { name: ObjectName::new(names[0]).unwrap(), etag: None }],
        Cascade::No,
    );
    assert_eq!(removal.ends(&inventory), [1]);
    let names = names.map(|name| inventory.find(name).unwrap());
    names.into_iter().for_each(|id| inventory.set_tags(id, Some(&Tags::new())));
    let policy = Policy { max_total_bytes: Some(0), ..Policy::default() };
    let questions = plan(&inventory, &policy, day(NOW_DAYS)).questions(&inventory, &policy, day(NOW_DAYS));
    assert_eq!(questions.ends, [1]);
    check(
        &policy,
        &[
            ("a-base.tar.zst -400 1", keep(Keep::Needed(1))),
            ("b-delta.tar.zst 9 1 keep on a-base.tar.zst", keep(Keep::Pinned)),
        ],
    );
}

#[test]
fn branches_too_long_for_a_tag_are_told_apart() {
    let long = |end: &str| format!("refs/heads/{}{end}", "topic-".repeat(60));
    let [one, other] = ["one", "other"].map(|end| encode_tag_value(&long(end)));
    let line = |number: u32, age: u32, branch: &str| format!("k-{number}111111111-base.tar.zst {age} 1 {branch}");
    let [old, new, alone] = [line(1, 3, &one), line(2, 2, &one), line(3, 3, &other)];
    let expect = |found: [Decision; 3]| [(&*old, found[0]), (&*new, found[1]), (&*alone, found[2])];
    let newest = Policy { keep_newest: Some(1), ..Policy::default() };
    check(&newest, &expect([delete(Delete::BeyondNewest(2)), UNASKED, UNASKED]));
    let live = Policy { live_branches: Some(LiveRefs::from_iter([long("one").as_str()])), ..Policy::default() };
    check(&live, &expect([UNASKED, UNASKED, delete(Delete::DeadBranch)]));
}

#[test]
fn a_branch_tag_in_another_alphabet_is_a_branch() {
    // Of those who write tags as they are.
    check(
        &Policy { live_branches: Some(LiveRefs::from_iter(["a=b"])), ..Policy::default() },
        &[("a-base.tar.zst 1 1 a=b", UNASKED), ("b-base.tar.zst 1 1 a=3Db", UNASKED)],
    );
}
