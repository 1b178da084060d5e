//! Random sequences of whatever happens to a cache (builds, saves, restores, clean-ups, expiry, copies of the store, damage,
//! time, faults of the store), against a model that knows what each entry must restore to. The product's own flow runs on
//! a store in memory; only the command line and the wire are left out.
//!
//! A thousand steps by default; `XCACHE_TEST_STEPS=100000 XCACHE_TEST_SEED=2` takes more, from another seed. A sequence that
//! breaks a promise is made as short as it can be and printed, a step a line; it then becomes a case below.

mod check;
mod step;
mod tree;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use step::Step;
use world::World;

/// Steps of one sequence, at most: long enough for chains, short enough to be understood.
const LENGTH: usize = 60;

/// How often each outcome was seen.
type Tally = BTreeMap<String, u32>;

/// Takes the steps one by one; the error names the one that breaks a promise.
fn run(steps: &[Step]) -> Result<Tally, String> {
    let mut world = World::new();
    for (number, step) in steps.iter().enumerate() {
        world.take(step).map_err(|broken| format!("step {number}: {broken}\nthe run said:\n{}", world.log.text()))?;
    }
    Ok(world.tally)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn no_sequence_breaks_a_promise() {
    sequences(number("XCACHE_TEST_STEPS", 1_000), number("XCACHE_TEST_SEED", 1));
}

#[test]
#[ignore = "takes minutes"]
fn none_of_many_sequences_breaks_a_promise() {
    // Another seed in each run: the day.
    let day = u64::try_from(chrono::Utc::now().timestamp() / 86_400).unwrap();
    sequences(number("XCACHE_TEST_STEPS", 50_000), number("XCACHE_TEST_SEED", day));
}

/// Takes this many steps in sequences that `seed` gives.
fn sequences(steps: u64, seed: u64) {
    eprintln!("{steps} steps, XCACHE_TEST_SEED={seed}");
    let cases = u32::try_from(steps.div_ceil(LENGTH as u64 / 2)).unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 3_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tally = Mutex::new(Tally::new());
    let outcome = runner.run(&vec(step::step(), 1..LENGTH), |steps| {
        for (what, count) in run(&steps).map_err(TestCaseError::fail)? {
            *tally.lock().unwrap().entry(what).or_default() += count;
        }
        Ok(())
    });
    if let Err(TestError::Fail(why, steps)) = &outcome {
        let lines: String = steps.iter().enumerate().map(|(n, step)| format!("{n:3}  {step:?}\n")).collect();
        panic!("{why}\n{lines}");
    }
    outcome.unwrap();
    let tally = tally.into_inner().unwrap();
    eprintln!("{tally:#?}");
    // Sequences that never come to anything prove nothing.
    for what in ["saved a delta", "hit Exact", "miss corrupt", "miss expired", "clean-up deletes"] {
        assert!(tally.keys().any(|seen| seen.starts_with(what)), "{what} is never seen: {tally:?}");
    }
}

/// Sequences that once broke a promise.
mod found {
    use xcache_tests::memory::{Fault, Faults};

    use super::step::{Edit, KeyChoice::Any, Rule, Step};

    #[track_caller]
    fn check(steps: &[Step]) {
        super::run(steps).unwrap_or_else(|broken| panic!("{broken}"));
    }

    fn save(job: usize, key: usize) -> Step {
        Step::Save { job, key: Any(key), full: false, faults: None }
    }

    fn restore(job: usize, key: usize, by_prefix: bool) -> Step {
        Step::Restore { job, key: Any(key), by_prefix, clean: false, faults: None }
    }

    #[test]
    fn a_clean_up_that_cannot_begin_leaves_no_mark() {
        for fault in [Fault::Refused, Fault::AnswerLost] {
            for after in [0, 1] {
                let faults = Some(Faults { after, times: 1, fault });
                let prune = |faults| Step::Prune { rule: Rule::MaxAge { hours: 0, min_hours: 0 }, faults };
                check(&[Step::Remove { key: Any(0), cascade: false, faults }, prune(None)]);
                check(&[prune(faults), prune(None)]);
            }
        }
    }

    #[test]
    fn what_was_made_good_beside_a_damaged_base_is_found_by_its_prefix() {
        let rot = Step::Rot { object: 1, at: 0, bit: 0 };
        check(&[
            save(0, 4),
            restore(0, 0, false),
            save(0, 0),
            rot,
            Step::Edit(0, Edit::Fill { seed: 0 }),
            Step::Edit(0, Edit::Delete { path: 81 }),
            restore(0, 0, true),
            save(0, 4),
            restore(0, 0, true),
        ]);
    }
}
