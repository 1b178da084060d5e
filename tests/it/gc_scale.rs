//! A million entries over two thousand branches are planned in seconds and in bounded memory.

use std::fs;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use xcache_core::gc::inventory::Inventory;
use xcache_core::gc::plan::plan;
use xcache_core::gc::policy::Policy;
use xcache_core::object::{ArchiveId, Kind, Ref};
use xcache_core::store::{ETag, ListedObject, ObjectMeta, ObjectName, Tags};

use crate::model::footer;

const BRANCHES: u32 = 2_000;
const SAVES: u32 = 500;

/// Run by hand: `cargo test --release -p xcache-tests --test it gc_scale -- --ignored --nocapture`.
#[test]
#[ignore = "a figure for the release build"]
fn a_million_entries() {
    let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let begin = Instant::now();
    let inventory = inventory(now);
    eprintln!("inventory of {} entries: {:.1?}, {}", inventory.entry_count(), begin.elapsed(), memory());
    let live: Vec<String> = (0..BRANCHES).filter(|n| !n.is_multiple_of(10)).map(branch).collect();
    let policy = Policy {
        keep_newest: Some(20),
        max_age: Some(TimeDelta::days(300)),
        max_total_bytes: Some(30 << 40),
        live_branches: Some(live.iter().map(String::as_str).collect()),
        shadowed: true,
        dangling: true,
        min_age: TimeDelta::days(1),
        ..Policy::default()
    };
    let begin = Instant::now();
    let plan = plan(&inventory, &policy, now);
    let questions = plan.questions(&inventory, &policy, now);
    let elapsed = begin.elapsed();
    eprintln!("plan: {elapsed:.1?}, {}; {:?}", memory(), plan.totals(&inventory));
    assert!(questions.tags.is_empty(), "all tags are known");
    assert!(elapsed.as_secs() < 10);
    assert!(peak_kib().is_none_or(|kib| kib < 512 << 10), "{}", memory());
}

/// Each branch has a base every ten saves, and deltas on it and on the save before.
fn inventory(now: DateTime<Utc>) -> Inventory {
    let mut inventory = Inventory::default();
    let name = |n: u32, save: u32| {
        let kind = if save.is_multiple_of(10) { "base" } else { "delta" };
        format!("linux-x86_64-cargo-{}-{:016x}-{kind}.tar.zst", branch(n), u64::from(n * SAVES + save) << 24)
    };
    let etag = |n: u32, save: u32| format!("{:032x}", u128::from(n * SAVES + save) << 60);
    for n in 0..BRANCHES {
        for save in 0..SAVES {
            inventory.push(&ListedObject {
                name: ObjectName::new(name(n, save)).unwrap(),
                meta: ObjectMeta {
                    size: u64::from(save % 10 + 1) << 20,
                    etag: ETag(etag(n, save)),
                    last_modified: now - TimeDelta::hours(i64::from(SAVES - save) * 17),
                },
            });
        }
    }
    inventory.finish();
    let refs = |n: u32, save: u32| {
        let before = save / 10 * 10;
        [before, save - 1].map(|save| Ref {
            name: ObjectName::new(name(n, save)).unwrap(),
            etag: ETag(etag(n, save)),
            size: 0,
            data_bytes: 0,
            archive_id: ArchiveId([0; 16]),
            created_nanos: 0,
        })
    };
    for id in inventory.ids() {
        let (n, save) = (id / SAVES, id % SAVES);
        inventory.set_tags(id, Some(&Tags::from([("branch".to_owned(), branch(n))])));
        if inventory.kind(id) == Kind::Delta {
            let name = name(n, save);
            let key = name.trim_end_matches("-delta.tar.zst");
            inventory.set_footer(id, &footer(Kind::Delta, key, ArchiveId([0; 16]), refs(n, save).into()));
        }
    }
    inventory
}

fn branch(n: u32) -> String {
    format!("feature/topic-{n}")
}

fn memory() -> String {
    peak_kib().map_or_else(|| "memory unknown".to_owned(), |kib| format!("{} MiB at most", kib >> 10))
}

/// The most memory that this process has had, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
