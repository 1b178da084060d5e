//! The gc protocol under every interleaving: the product's own saver, gc and removal code, run against a store in
//! memory that lets one request through at a time, in an order that the test chooses.
//!
//! - [`store`]: the store, its clock, and the lies it tells an actor to take one protection out;
//! - [`actors`]: savers, restorers, gcs and removals;
//! - [`world`]: what must hold after every step;
//! - [`explore`]: all interleavings of a small configuration, or random ones of a larger.

mod store;
mod world;
mod actors;
mod explore;

use actors::Actor::{self, BaseSaver, ChainSaver, Copier, DeltaSaver, Expiry, Gc, Keeper, Marker, Restorer, Rm, Tidy};
use explore::{Config, exhaust, wander};
use store::Lie;
pub(crate) use world::footer;
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::plan::Cascade;

const DELTA: Actor = DeltaSaver { key: "d" };

/// An old base `b`, which the policy lets go, and these actors.
fn config(actors: Vec<Actor>) -> Config {
    Config { actors, ..Config::default() }
}

/// No interleaving breaks a promise.
fn safe(name: &str, config: &Config) {
    let found = exhaust(config);
    eprintln!("{name}: {found}");
    assert!(found.violation.is_none() && !found.cut_short, "{name}: {found}");
}

/// None of `walks` random interleavings breaks a promise.
fn wander_safely(name: &str, config: &Config, walks: u64) {
    let found = wander(config, walks, 1);
    eprintln!("{name}: {found}");
    assert!(found.violation.is_none(), "{name}: {found}");
}

/// A promise is broken as soon as the actor `liar` is told a lie.
fn broken(name: &str, config: &Config, liar: usize, lie: Lie) {
    let config = Config { lies: vec![(liar, lie)], ..config.clone() };
    let found = exhaust(&config);
    eprintln!("{name}: {found}");
    assert!(found.violation.is_some(), "{name}: the model does not notice");
}

mod holds {
    use super::*;

    #[test]
    fn a_delta_saver_and_a_gc() {
        let config = config(vec![DELTA, Gc]);
        safe("delta saver, gc", &config);
        safe("the same, listings in small pages", &Config { page_size: 2, ..config.clone() });
        safe("the same, one killed", &Config { kills: 1, ..config.clone() });
        safe("the same, intents expire", &Config { clock_jumps: 1, ..config });
    }

    #[test]
    fn names_used_again() {
        safe("base saver, 2 gcs", &config(vec![BaseSaver { key: "b" }, Gc, Gc]));
        safe("delta saver, base saver, gc", &config(vec![DELTA, BaseSaver { key: "b" }, Gc]));
    }

    #[test]
    fn restores() {
        safe("restore, gc", &Config { old_delta: true, ..config(vec![Restorer { key: "d0" }, Gc]) });
    }

    #[test]
    fn removals() {
        let rm = Rm { key: "b", cascade: Cascade::Yes };
        safe("delta saver, rm", &config(vec![DELTA, rm]));
        safe("restore, rm", &Config { old_delta: true, ..config(vec![Restorer { key: "d0" }, rm]) });
    }

    #[test]
    fn marks_of_readers() {
        safe("delta saver, marker, gc", &config(vec![DELTA, Marker, Gc]));
        safe("restore, marker, gc", &Config { old_delta: true, ..config(vec![Restorer { key: "d0" }, Marker, Gc]) });
        safe("marker, gc that only tidies", &Config { old_delta: true, ..config(vec![Marker, Tidy]) });
    }

    #[test]
    fn marks_taken_back() {
        let keep = Keeper { key: "b" };
        safe("gc, keep", &config(vec![Gc, keep]));
        wander_safely("delta saver, 2 gcs, keep", &config(vec![DELTA, Gc, Gc, keep]), 2_000);
    }

    #[test]
    fn objects_that_expire_or_are_copied() {
        safe("delta saver, expiry, gc", &config(vec![DELTA, Expiry, Gc]));
        safe("delta saver, copier, gc", &config(vec![DELTA, Copier, Gc]));
        safe("copier, gc that only tidies", &Config { old_delta: true, ..config(vec![Copier, Tidy]) });
        safe("copier, restore, gc", &Config { old_delta: true, ..config(vec![Copier, Restorer { key: "d0" }, Gc]) });
    }

    #[test]
    fn stores_that_ignore_conditions() {
        let mode = DeleteMode::Unconditional;
        safe("lease: delta saver, gc", &Config { mode, ..config(vec![DELTA, Gc]) });
        safe("lease: base saver, 2 gcs", &Config { mode, ..config(vec![BaseSaver { key: "b" }, Gc, Gc]) });
    }

    #[test]
    fn everybody_at_random() {
        wander_safely("everybody", &everybody(), 1_000);
    }
}

/// More than can be exhausted.
fn everybody() -> Config {
    let chain = ChainSaver { from: "d", key: "e" };
    let (restore, rm) = (Restorer { key: "e" }, Rm { key: "d", cascade: Cascade::No });
    let actors = vec![DELTA, chain, BaseSaver { key: "b" }, restore, rm, Gc, Gc];
    Config { kills: 2, clock_jumps: 1, page_size: 3, old_delta: true, ..config(actors) }
}

/// Minutes instead of seconds: `cargo test -p xcache-tests --release -- --ignored model`.
mod stress {
    use super::*;

    #[test]
    #[ignore = "takes minutes"]
    fn all_interleavings_of_three() {
        let chain = ChainSaver { from: "d", key: "e" };
        safe("delta saver, 2 gcs", &config(vec![DELTA, Gc, Gc]));
        safe("the same, one killed", &Config { kills: 1, ..config(vec![DELTA, Gc, Gc]) });
        safe("delta saver, delta on it, gc", &config(vec![DELTA, chain, Gc]));
        safe("the same, intents expire", &Config { clock_jumps: 1, ..config(vec![DELTA, chain, Gc]) });
        let rm = Rm { key: "b", cascade: Cascade::No };
        safe("delta saver, rm without cascade, gc", &config(vec![DELTA, rm, Gc]));
    }

    #[test]
    #[ignore = "takes minutes"]
    fn everybody_at_random_for_long() {
        wander_safely("everybody", &everybody(), 200_000);
    }
}

/// Each protection taken out: the model must notice.
mod breaks {
    use super::*;

    fn one_gc() -> Config {
        config(vec![DELTA, Gc])
    }

    #[test]
    fn without_the_intent() {
        broken("no intent", &one_gc(), 0, Lie::DropsIntents);
    }

    #[test]
    fn without_the_condemned_check() {
        broken("no condemned check", &one_gc(), 0, Lie::HidesMarks);
    }

    #[test]
    fn without_the_heads() {
        broken("no HEAD", &one_gc(), 0, Lie::HeadsAlwaysMatch);
    }

    #[test]
    fn with_heads_before_the_condemned_check() {
        broken("HEAD before the marks", &one_gc(), 0, Lie::HeadsBeforeMarks);
    }

    #[test]
    fn without_the_second_listing() {
        broken("no second listing", &one_gc(), 1, Lie::OneListing);
    }

    #[test]
    fn with_entries_listed_before_intents() {
        broken("entries before intents", &one_gc(), 1, Lie::EntriesFirst);
    }

    #[test]
    fn without_stickiness() {
        let lies = vec![(0, Lie::Uncondemns)];
        let found = wander(&Config { lies, ..config(vec![Gc, DELTA, Gc]) }, 200_000, 3);
        eprintln!("not sticky: {found}");
        assert!(found.violation.is_some(), "not sticky: the model does not notice");
    }

    #[test]
    fn without_the_final_intent_check() {
        broken("no final check", &Config { clock_jumps: 1, ..one_gc() }, 0, Lie::IntentAlwaysThere);
    }

    #[test]
    fn without_the_marks_of_readers() {
        broken("marks of readers are not seen", &config(vec![DELTA, Marker]), 0, Lie::HidesMarks);
    }

    #[test]
    fn with_marks_taken_back_during_a_pass() {
        let lies = vec![(2, Lie::HidesPasses)];
        let found = wander(&Config { lies, ..config(vec![DELTA, Gc, Keeper { key: "b" }]) }, 200_000, 3);
        eprintln!("keep during a pass: {found}");
        assert!(found.violation.is_some(), "keep during a pass: the model does not notice");
    }

    #[test]
    fn without_conditional_deletion() {
        broken("no If-Match, 2 gcs", &config(vec![BaseSaver { key: "b" }, Gc, Gc]), 1, Lie::IgnoresIfMatch);
    }

    #[test]
    fn without_closure() {
        broken("no closure", &one_gc(), 1, Lie::HidesRefs);
    }

    #[test]
    fn with_deletions_in_the_wrong_order() {
        let old = Config { old_delta: true, ..config(vec![Gc]) };
        broken("base deleted before its delta", &old, 0, Lie::DeletesLate);
    }
}
