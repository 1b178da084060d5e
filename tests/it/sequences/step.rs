//! What happens in a sequence, and how to draw it.

use proptest::prelude::*;
use xcache_tests::memory::{Fault, Faults};

/// Runners with a tree of their own.
pub(super) const JOBS: usize = 2;
/// Keys. All of them are of one family.
pub(super) const KEYS: usize = 8;

/// A key, by number, or one of those that have an entry, or that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyChoice {
    Any(usize),
    Taken(usize),
    Free(usize),
}

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A build changes the tree of a job.
    Edit(usize, Edit),
    /// A job saves its tree.
    Save { job: usize, key: KeyChoice, full: bool, faults: Option<Faults> },
    /// A job restores.
    Restore { job: usize, key: KeyChoice, by_prefix: bool, clean: bool, faults: Option<Faults> },
    /// A job begins on an empty runner.
    NewRunner(usize),
    /// A clean-up by policy.
    Prune { rule: Rule, faults: Option<Faults> },
    /// An entry is deleted by name.
    Remove { key: KeyChoice, cascade: bool, faults: Option<Faults> },
    /// The store expires its oldest objects, this many of them.
    Expire(usize),
    /// The store is copied to another bucket.
    Copy,
    /// A bit of an object flips, so many thousandths from its beginning.
    Rot { object: usize, at: usize, bit: u32 },
    /// The clock of a runner is set: so many hours before or after that of the store.
    Clock { job: usize, hours: i64 },
    /// Time passes.
    Wait { hours: i64 },
}

/// The rule of a clean-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    MaxAge { hours: i64, min_hours: i64 },
    KeepNewest(u32),
    MaxTotal(u64),
    Dangling,
    Shadowed,
}

/// What a build does to a tree. Numbers choose among what is there.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// A dozen files of some size, as a cache has them.
    Fill {
        seed: u64,
    },
    Add {
        dir: usize,
        bytes: usize,
        seed: u64,
    },
    /// Some bytes in the middle become others, with another length.
    Change {
        file: usize,
        seed: u64,
    },
    /// Other content of the same length, and the time is put back: only the ctime tells.
    ChangeInSecret {
        file: usize,
        seed: u64,
    },
    Touch {
        file: usize,
        seconds: i64,
    },
    Delete {
        path: usize,
    },
    Rename {
        file: usize,
        to: usize,
    },
    /// The same content once more.
    Duplicate {
        file: usize,
    },
    Mode {
        path: usize,
        mode: u32,
    },
    Symlink {
        to: usize,
    },
    HardLink {
        file: usize,
    },
    /// A file becomes a directory, or the reverse.
    Swap {
        path: usize,
        seed: u64,
    },
}

fn key(taken: u32, free: u32) -> impl Strategy<Value = KeyChoice> {
    prop_oneof![
        1 => (0..KEYS).prop_map(KeyChoice::Any),
        taken => (0..KEYS).prop_map(KeyChoice::Taken),
        free => (0..KEYS).prop_map(KeyChoice::Free),
    ]
}

fn job() -> impl Strategy<Value = usize> {
    0..JOBS
}

fn faults() -> impl Strategy<Value = Option<Faults>> {
    let fault = prop_oneof![
        Just(Fault::Refused),
        Just(Fault::AnswerLost),
        Just(Fault::NotFound),
        Just(Fault::Changed),
        (0..60_000_usize).prop_map(Fault::Cut),
        (0..60_000_usize).prop_map(Fault::Flipped),
    ];
    // One answer, some, or all from then on.
    let times = prop_oneof![4 => Just(1), 1 => 2..6_u32, 1 => Just(u32::MAX)];
    let some = (0..14_u32, times, fault).prop_map(|(after, times, fault)| Some(Faults { after, times, fault }));
    prop_oneof![3 => Just(None), 1 => some]
}

fn edit() -> impl Strategy<Value = Edit> {
    let some = 0..1_000_usize;
    let bytes = prop_oneof![4 => 0..3_000_usize, 2 => 3_000..40_000_usize, 1 => 40_000..400_000_usize];
    prop_oneof![
        1 => any::<u64>().prop_map(|seed| Edit::Fill { seed }),
        4 => (some.clone(), bytes, any::<u64>()).prop_map(|(dir, bytes, seed)| Edit::Add { dir, bytes, seed }),
        3 => (some.clone(), any::<u64>()).prop_map(|(file, seed)| Edit::Change { file, seed }),
        2 => (some.clone(), any::<u64>()).prop_map(|(file, seed)| Edit::ChangeInSecret { file, seed }),
        1 => (some.clone(), 1_000_000_000..1_700_000_000_i64).prop_map(|(file, seconds)| Edit::Touch { file, seconds }),
        2 => some.clone().prop_map(|path| Edit::Delete { path }),
        1 => (some.clone(), some.clone()).prop_map(|(file, to)| Edit::Rename { file, to }),
        1 => some.clone().prop_map(|file| Edit::Duplicate { file }),
        1 => (some.clone(), 0..0o100_u32).prop_map(|(path, mode)| Edit::Mode { path, mode: 0o700 + mode }),
        1 => some.clone().prop_map(|to| Edit::Symlink { to }),
        1 => some.clone().prop_map(|file| Edit::HardLink { file }),
        1 => (some, any::<u64>()).prop_map(|(path, seed)| Edit::Swap { path, seed }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        3 => (0..200_i64, prop_oneof![Just(0), 0..48_i64]).prop_map(|(hours, min_hours)| Rule::MaxAge { hours, min_hours }),
        2 => (0..4_u32).prop_map(Rule::KeepNewest),
        1 => (0..1_000_000_u64).prop_map(Rule::MaxTotal),
        1 => Just(Rule::Dangling),
        1 => Just(Rule::Shadowed),
    ]
}

/// Any step.
pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (job(), edit()).prop_map(|(job, edit)| Step::Edit(job, edit)),
        8 => (job(), key(1, 3), prop::bool::weighted(0.1), faults())
            .prop_map(|(job, key, full, faults)| Step::Save { job, key, full, faults }),
        8 => (job(), key(8, 1), any::<bool>(), any::<bool>(), faults())
            .prop_map(|(job, key, by_prefix, clean, faults)| Step::Restore { job, key, by_prefix, clean, faults }),
        1 => job().prop_map(Step::NewRunner),
        2 => (rule(), faults()).prop_map(|(rule, faults)| Step::Prune { rule, faults }),
        1 => (key(4, 1), any::<bool>(), faults())
            .prop_map(|(key, cascade, faults)| Step::Remove { key, cascade, faults }),
        1 => (1..3_usize).prop_map(Step::Expire),
        1 => Just(Step::Copy),
        1 => (0..20_usize, 0..1_000_usize, 0..8_u32).prop_map(|(object, at, bit)| Step::Rot { object, at, bit }),
        1 => (job(), -300..300_i64).prop_map(|(job, hours)| Step::Clock { job, hours }),
        2 => prop_oneof![0..3_i64, 0..300_i64].prop_map(|hours| Step::Wait { hours }),
    ]
}
