//! Base or delta, and on what: the rules that bound what a chain of deltas wastes. Pure; all in stored bytes.
//!
//! - A ref of which nothing is used any more is dropped.
//! - A ref of which less than half is used is dropped and its live chunks are stored anew, the cheapest first, up to
//!   [`REWRITE_BYTES`] or [`REWRITE_SHARE`] of the tree in one save.
//! - No more than [`MAX_REFS`] refs stay: the emptiest are folded into the new delta.
//! - If more than half of the tree would have to be stored, or the oldest ref is too old, it is a base.
//! - If the whole tree is within [`REWRITE_BYTES`], and a base of it would be less than half as large as all that stays,
//!   it is a base, too: no single ref can be dropped then without storing most of the tree, and nothing else would ever
//!   end the waste. (A base of many duplicates or directories is not used in full from the beginning; another one would
//!   be no better.)

use std::time::Duration;

use super::compare::TreeFacts;
use super::known::Known;
use super::select::{StoredUse, usage};

/// The most objects that a delta refers to: each costs a HEAD at the next save, and parts of its own at a restore.
pub const MAX_REFS: usize = 32;
/// What may be stored anew in one save to be rid of refs that are mostly dead.
pub const REWRITE_BYTES: u64 = 64 << 20;
/// The same as a share of the tree, if that is more: a twentieth.
pub const REWRITE_SHARE: u64 = 20;

/// An object that a delta could refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RefUse {
    /// What its frames take in the store.
    pub stored_bytes: u64,
    /// How much of that the tree still uses.
    pub live_bytes: u64,
    /// How old it is.
    pub age: Duration,
}

/// What a save is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavePlan {
    /// Store everything.
    Complete(Reason),
    /// Store what is new, and what the dropped refs held.
    Delta {
        /// For each ref whether it stays.
        keep: Vec<bool>,
    },
}

/// Why a save stores everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Asked for.
    Asked,
    /// This job restored nothing, and no key says what to build on.
    NothingRestored,
    /// What a restore of this job left cannot be used.
    StateUnusable,
    /// No entry has one of the keys to build on.
    NoMatch,
    /// The store did not let us look for one.
    LookupFailed,
    /// A restore of this job could not use what would be built on.
    FoundUnusable,
    /// What would be built on lies in a scope that readers of this entry need not trust.
    OtherScope,
    /// Nothing that the entry found holds is still there.
    NothingKnown,
    /// More than half of the tree is new or would have to be stored anew.
    MostlyNew,
    /// The oldest ref is older than the limit.
    TooOld,
    /// What it would refer to is more than twice as much as is needed.
    MostlyUnused,
    /// A ref is gone, or about to be deleted.
    RefsGone,
    /// The store does not let us note or check what would be built on.
    RefsUnproven,
    /// It takes the place of an entry that cannot be restored.
    Replacement,
}

impl Reason {
    /// One word for documents and outputs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::NothingRestored => "nothing-restored",
            Self::StateUnusable => "state-unusable",
            Self::NoMatch => "no-match",
            Self::LookupFailed => "lookup-failed",
            Self::FoundUnusable => "found-unusable",
            Self::OtherScope => "other-scope",
            Self::NothingKnown => "nothing-known",
            Self::MostlyNew => "mostly-new",
            Self::TooOld => "too-old",
            Self::MostlyUnused => "mostly-unused",
            Self::RefsGone => "refs-gone",
            Self::RefsUnproven => "refs-unproven",
            Self::Replacement => "replacement",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Asked => "`--full` was given",
            Self::NothingRestored => "this job restored nothing to build on",
            Self::StateUnusable => "what the restore of this job left cannot be used",
            Self::NoMatch => "no entry has one of the keys to build on",
            Self::LookupFailed => "the store does not let this run look for an entry to build on",
            Self::FoundUnusable => "the restore of this job could not use the entry that it would build on",
            Self::OtherScope => "what it would build on lies in another scope",
            Self::NothingKnown => "nothing of the entry that it would build on is left",
            Self::MostlyNew => "more than half of it is new",
            Self::TooOld => "the base is older than `--rebase-after`",
            Self::MostlyUnused => "what it would refer to is more than twice as much as is needed",
            Self::RefsGone => "an object to build on is gone or being deleted",
            Self::RefsUnproven => "the store does not let this run note or check what it would build on",
            Self::Replacement => "in place of an entry that cannot be restored",
        })
    }
}

/// A tree that is to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TreeBytes {
    /// What is in none of the refs.
    pub new_bytes: u64,
    /// All of it, each chunk once.
    pub tree_bytes: u64,
    /// What a base of it would come to.
    pub base_bytes: u64,
}

/// Whether an object may be referred to, as the store told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Usable,
    /// It is gone, or about to be deleted.
    Lost,
    /// The store does not let us note or check it.
    Unproven,
}

/// Decides how to save a tree of which `known` holds some, now that its files are compared. `standings` has one for each
/// of the refs of `known`; times are in nanoseconds since 1970.
pub fn plan(
    known: &Known,
    facts: &TreeFacts,
    standings: &[Standing],
    now_nanos: i64,
    rebase_after: Duration,
) -> SavePlan {
    let StoredUse { live_bytes, new_bytes, tree_bytes, base_bytes } = usage(known, facts);
    let mut lost_bytes = 0;
    let refs = known.refs.iter().zip(&live_bytes).zip(standings).map(|((r, &live), &standing)| {
        let age_nanos = u64::try_from(now_nanos.saturating_sub(r.created_nanos)).unwrap_or(0);
        let live_bytes = if standing == Standing::Usable { live } else { 0 };
        lost_bytes += live - live_bytes;
        RefUse { stored_bytes: r.data_bytes, live_bytes, age: Duration::from_nanos(age_nanos) }
    });
    let refs: Vec<RefUse> = refs.collect();
    // What lies in a ref that must not be used is as good as new.
    let needed = TreeBytes { new_bytes: new_bytes + lost_bytes, tree_bytes, base_bytes };
    match choose(&refs, needed, rebase_after) {
        // Nothing is left to hold on to, but there was something: the cause is told.
        SavePlan::Complete(Reason::NothingKnown) if lost_bytes > 0 => {
            let is_unproven = standings.contains(&Standing::Unproven);
            SavePlan::Complete(if is_unproven { Reason::RefsUnproven } else { Reason::RefsGone })
        }
        plan => plan,
    }
}

/// How many bytes of a tree are in none of the objects of `known`, and how many it has: as they would be stored, which is an
/// estimate.
pub fn new_and_all(known: &Known, facts: &TreeFacts) -> (u64, u64) {
    let StoredUse { new_bytes, tree_bytes, .. } = usage(known, facts);
    (new_bytes, tree_bytes)
}

/// The rules, on numbers alone.
fn choose(refs: &[RefUse], needed: TreeBytes, rebase_after: Duration) -> SavePlan {
    let TreeBytes { new_bytes, tree_bytes, base_bytes } = needed;
    if refs.iter().all(|candidate| candidate.live_bytes == 0) {
        return SavePlan::Complete(Reason::NothingKnown);
    }
    let mut keep: Vec<bool> = refs.iter().map(|candidate| candidate.live_bytes > 0).collect();
    let mut by_live: Vec<usize> = (0..refs.len()).filter(|&i| keep[i]).collect();
    by_live.sort_by_key(|&i| refs[i].live_bytes);

    let mut rewritten = 0;
    // What is not yet urgent must not be what makes a base of a delta.
    let room = (tree_bytes / 2).saturating_sub(new_bytes);
    let budget = REWRITE_BYTES.max(tree_bytes / REWRITE_SHARE).min(room);
    for &i in &by_live {
        let RefUse { stored_bytes, live_bytes, .. } = refs[i];
        if live_bytes < stored_bytes / 2 && rewritten + live_bytes <= budget {
            keep[i] = false;
            rewritten += live_bytes;
        }
    }
    let mut kept = keep.iter().filter(|&&keep| keep).count();
    for &i in &by_live {
        if kept > MAX_REFS && keep[i] {
            keep[i] = false;
            kept -= 1;
            rewritten += refs[i].live_bytes;
        }
    }
    let stays = || refs.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(candidate, _)| candidate);
    let stored: u64 = stays().map(|candidate| candidate.stored_bytes).sum();
    match stays().map(|candidate| candidate.age).max() {
        Some(age) if age > rebase_after => SavePlan::Complete(Reason::TooOld),
        Some(_) if base_bytes < stored / 2 && tree_bytes <= REWRITE_BYTES => SavePlan::Complete(Reason::MostlyUnused),
        Some(_) if new_bytes + rewritten <= tree_bytes / 2 => SavePlan::Delta { keep },
        _ => SavePlan::Complete(Reason::MostlyNew),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const DAY: Duration = Duration::from_secs(86_400);

    /// Candidates as (stored, live) in MiB and age in days.
    fn check(refs: &[(u64, u64, u32)], new: u64, tree: u64, expected: Result<&[u8], Reason>) {
        check_with_base_of(tree, refs, new, tree, expected);
    }

    /// The same for a tree of which a base would come to `base` MiB.
    fn check_with_base_of(base: u64, refs: &[(u64, u64, u32)], new: u64, tree: u64, expected: Result<&[u8], Reason>) {
        let refs: Vec<RefUse> = refs
            .iter()
            .map(|&(stored, live, days)| RefUse { stored_bytes: stored * MIB, live_bytes: live * MIB, age: DAY * days })
            .collect();
        let expected = match expected {
            Ok(keep) => SavePlan::Delta { keep: keep.iter().map(|&k| k == 1).collect() },
            Err(reason) => SavePlan::Complete(reason),
        };
        let needed = TreeBytes { new_bytes: new * MIB, tree_bytes: tree * MIB, base_bytes: base * MIB };
        assert_eq!(choose(&refs, needed, DAY * 7), expected);
    }

    #[test]
    fn nothing_to_build_on_is_a_base() {
        check(&[], 100, 100, Err(Reason::NothingKnown));
        check(&[(100, 0, 0)], 100, 100, Err(Reason::NothingKnown));
    }

    #[test]
    fn little_that_is_new_is_a_delta() {
        check(&[(100, 99, 0)], 1, 100, Ok(&[1]));
        check(&[(100, 50, 0)], 50, 100, Ok(&[1]));
        check(&[(100, 49, 0)], 51, 100, Err(Reason::MostlyNew));
    }

    #[test]
    fn an_old_base_is_written_anew() {
        check(&[(100, 99, 8)], 1, 100, Err(Reason::TooOld));
        check(&[(100, 99, 7)], 1, 100, Ok(&[1]));
        // Old, but nothing of it is left to hold on to.
        check(&[(100, 0, 30), (100, 99, 1)], 1, 100, Ok(&[0, 1]));
    }

    #[test]
    fn mostly_dead_refs_are_dropped_within_the_budget() {
        check(&[(1000, 900, 1), (40, 10, 1)], 1, 1000, Ok(&[1, 0]));
        check(&[(1000, 900, 1), (20, 10, 1)], 1, 1000, Ok(&[1, 1]));
        // 64 MiB for small trees, the cheapest first.
        check(&[(1000, 800, 1), (200, 60, 1), (100, 5, 1)], 1, 1000, Ok(&[1, 1, 0]));
        check(&[(1000, 800, 1), (200, 59, 1), (100, 5, 1)], 1, 1000, Ok(&[1, 0, 0]));
        // A twentieth of large ones.
        check(&[(9000, 9000, 1), (1500, 450, 1)], 1, 10_000, Ok(&[1, 0]));
    }

    #[test]
    fn a_small_tree_leaves_a_chain_that_is_mostly_dead() {
        // As after an eviction: all that is left lies in one old base.
        check(&[(100, 40, 1)], 1, 41, Err(Reason::MostlyUnused));
        check(&[(100, 50, 1)], 1, 51, Ok(&[1]));
        check(&[(100, 40, 1), (10, 10, 1)], 1, 51, Err(Reason::MostlyUnused));
        // What dropping a ref can mend is mended so.
        check(&[(30, 30, 1), (100, 10, 1)], 1, 41, Ok(&[1, 0]));
        // Too much to be stored anew at once.
        check(&[(300, 100, 1)], 1, 101, Ok(&[1]));
    }

    #[test]
    fn a_base_that_would_be_no_better_is_not_written() {
        // Full of duplicates: only 40 of the 100 MiB are ever used.
        check_with_base_of(100, &[(100, 40, 1)], 1, 41, Ok(&[1]));
        check_with_base_of(60, &[(100, 30, 1)], 1, 31, Ok(&[1]));
        check_with_base_of(45, &[(100, 30, 1)], 1, 31, Err(Reason::MostlyUnused));
    }

    #[test]
    fn no_more_refs_than_allowed_stay() {
        let mut refs = vec![(10_000, 10_000, 1)];
        refs.extend((0..40).map(|n| (10 + n, 10 + n, 1)));
        let mut keep = vec![1];
        keep.extend((0..40).map(|n| u8::from(n >= 9)));
        check(&refs, 1, 12_000, Ok(&keep));
    }

    #[test]
    fn rewriting_never_makes_a_base_of_a_delta() {
        check(&[(1000, 600, 1), (200, 64, 1)], 430, 1000, Ok(&[1, 0]));
        check(&[(1000, 600, 1), (200, 64, 1)], 440, 1000, Ok(&[1, 1]));
    }
}
