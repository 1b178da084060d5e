//! Integration tests through the real programs, one module for each topic.

#![cfg(test)]
#![expect(clippy::too_many_lines, reason = "a case is read from top to bottom")]

use std::path::Path;

use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;

mod act;
mod action_files;
mod action_install;
mod actions;
mod as_actions_cache;
mod book;
mod caches;
mod ci_recipes;
mod command_line;
mod conformance;
mod costs;
mod credentials;
mod delta;
mod doctor;
mod documents;
mod explain;
mod false_answers;
mod fidelity;
mod fuzz;
mod accidents;
mod gc_answers;
mod gc_asked;
mod gc_cases;
mod gc_scale;
mod gc_stress;
mod given_server;
mod grid;
mod help;
mod hostile;
mod index_scale;
mod level_scale;
mod lines;
mod interop;
mod lists;
mod load;
mod local_faults;
mod local_store;
mod metrics;
mod messages_page;
mod model;
mod kills;
mod nested_stores;
mod obstacles;
mod no_red_build;
mod old_archives;
mod quarantine;
mod one_step;
mod quirks;
mod overlap;
mod packages;
mod poisoning;
mod progress;
mod readme;
mod report;
mod restore_back;
mod restore_cases;
mod restore_outside;
mod restore_paths;
mod restore_safety;
mod save_cases;
mod role;
mod scopes;
mod secrets;
mod sequences;
mod simulation;
mod stores;
mod structure;
mod support;
mod surroundings;
mod trust;
mod unfinished;
mod versions;
mod wire;

const SAVE: &str = env!("CARGO_BIN_EXE_save-under-test");
const RESTORE: &str = env!("CARGO_BIN_EXE_restore-under-test");

const GC: &str = env!("CARGO_BIN_EXE_gc-under-test");

/// `xcache-save` in `job`, with its store and key.
fn save(job: &Job, place: &Place, key: &str) -> Invocation {
    job.command(SAVE).store(place).args(["--key", key])
}

/// `xcache-restore` in `job`, with its store and key.
fn restore(job: &Job, place: &Place, key: &str) -> Invocation {
    job.command(RESTORE).store(place).args(["--key", key])
}

/// Saves `source` under `key`, which must work.
#[track_caller]
fn saved(job: &Job, place: &Place, key: &str, source: &Path) {
    let outcome = save(job, place, key).arg("--json").arg(source).run().ok();
    assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
}

/// Restores `key` into `target`, which must be an exact hit.
#[track_caller]
fn restored(job: &Job, place: &Place, key: &str, target: &Path) {
    let outcome = restore(job, place, key).arg("--json").arg(target).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
}
