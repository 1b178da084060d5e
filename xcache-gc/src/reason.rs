//! Decisions as people and programs read them.

use chrono::{DateTime, TimeDelta, Utc};
use xcache_cli::report::human::{Bytes, Count};
use xcache_core::gc::inventory::{EntryId, Inventory};
use xcache_core::gc::plan::{Decision, Delete, Keep};
use xcache_core::gc::policy::Policy;

/// A decision in words.
pub(crate) struct DecisionText {
    /// Whether the entry goes.
    pub(crate) is_delete: bool,
    /// For programs; never changes its meaning.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) text: String,
}

/// Says why.
pub(crate) fn reason(
    decision: Decision,
    inventory: &Inventory,
    id: EntryId,
    policy: Option<&Policy>,
    now: DateTime<Utc>,
) -> DecisionText {
    let old = || format!("{} old", age(now - inventory.modified(id)));
    let limit = |limit: Option<TimeDelta>| limit.map(age).unwrap_or_default();
    let (is_delete, code, text) = match decision {
        Decision::Keep(keep) => match keep {
            Keep::Unasked => (false, "within-limits", "no rule asks for it".to_owned()),
            Keep::Pinned => (false, "pinned", "pinned by the tag `keep=true`".to_owned()),
            Keep::Young => {
                let limit = limit(policy.map(|policy| policy.min_age));
                (false, "young", format!("{}, the minimum age is {limit}", old()))
            }
            Keep::Noted => (false, "noted", "a running save is about to use it".to_owned()),
            Keep::Needed(count) => {
                let verb = if count == 1 { "builds" } else { "build" };
                (false, "needed", format!("{} {verb} on it", Count(count.into(), "entry")))
            }
            Keep::TagsUnreadable => (false, "tags-unreadable", "its tags cannot be read".to_owned()),
            Keep::Gone => (false, "gone", "deleted by another run".to_owned()),
            Keep::Foreign => (false, "foreign", "belongs to another store or key".to_owned()),
            Keep::Unreadable => (false, "unreadable", "its end cannot be read".to_owned()),
            Keep::MayBeNeeded(by) => {
                (false, "may-be-needed", format!("`{}`, which cannot be read, may build on it", inventory.key(by)))
            }
        },
        Decision::Delete(delete) => {
            let (code, text) = match delete {
                Delete::Asked => ("asked", "asked for".to_owned()),
                Delete::Cascade => ("cascade", "builds on an entry that was asked for".to_owned()),
                Delete::Condemned => ("condemned", "condemned by an earlier run".to_owned()),
                Delete::Dangling => ("dangling", "what it builds on is gone".to_owned()),
                Delete::Damaged => ("damaged", "damaged".to_owned()),
                Delete::Shadowed => ("shadowed", "its key has a base too".to_owned()),
                Delete::DeadBranch => {
                    ("dead-branch", format!("branch `{}` is gone", inventory.branch(id).unwrap_or_default()))
                }
                Delete::TooOld => {
                    let limit = limit(policy.and_then(|policy| policy.max_age));
                    ("too-old", format!("{}, the limit is {limit}", old()))
                }
                Delete::BeyondNewest(rank) => {
                    let limit = policy.and_then(|policy| policy.keep_newest).unwrap_or_default();
                    ("beyond-newest", format!("number {rank} of its group, {limit} are kept"))
                }
                Delete::OverTotal => {
                    let limit = policy.and_then(|policy| policy.max_total_bytes).unwrap_or_default();
                    ("over-total", format!("oldest beyond {}", Bytes(limit)))
                }
            };
            (true, code, text)
        }
    };
    DecisionText { is_delete, code, text }
}

/// An age in its largest unit: `12 s`, `5 min`, `3 h`, `41 d`.
pub(crate) fn age(age: TimeDelta) -> String {
    let seconds = age.num_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_their_largest_unit() {
        let check = |seconds, expected: &str| assert_eq!(age(TimeDelta::seconds(seconds)), expected);
        check(-5, "0 s");
        check(119, "119 s");
        check(120, "2 min");
        check(7200, "2 h");
        check(172_799, "47 h");
        check(172_800, "2 d");
        check(86_400 * 400, "400 d");
    }
}
