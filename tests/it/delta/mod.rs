//! Deltas: what they carry, what they cost, and that they restore like an entry saved in full.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xcache_core::archive::reader::{Archive, ReadTail, read_tail};
use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;

use crate::{restored, save};

mod contents;
mod killed;
mod large;
pub(crate) mod races;
mod refs_gone;
mod restores;
mod reuse;
mod state;

/// Saves `source`, which must work, and gives what was said.
#[track_caller]
fn save_with(job: &Job, place: &Place, key: &str, arguments: &[&str], source: &Path) -> Outcome {
    let outcome = save(job, place, key).args(["--json", "-v"]).args(arguments).arg(source).run().ok();
    assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
    outcome
}

/// Saves `source` as a delta that builds on `on`.
#[track_caller]
fn save_delta(job: &Job, place: &Place, key: &str, on: &str, source: &Path) -> Outcome {
    let outcome = save_with(job, place, key, &[], source);
    let document = outcome.json();
    assert_eq!((&document["kind"], &document["built_on"]), (&"delta".into(), &on.into()), "{}", outcome.stderr);
    outcome
}

/// Saves `source` as a base.
#[track_caller]
fn save_base(job: &Job, place: &Place, key: &str, source: &Path) -> Outcome {
    let outcome = save_with(job, place, key, &[], source);
    assert_eq!(outcome.json()["kind"], "base", "{}", outcome.stderr);
    outcome
}

/// How many files a save read to compare them.
#[track_caller]
pub(crate) fn files_read(outcome: &Outcome) -> u64 {
    let line = outcome.stderr.lines().find_map(|line| line.split_once(" files read of "));
    let number = line.and_then(|(before, _)| before.rsplit(' ').next());
    number.unwrap_or_else(|| panic!("nothing said of files read:\n{}", outcome.stderr)).parse().expect("a number")
}

#[track_caller]
fn number(document: &Value, name: &str) -> u64 {
    document[name].as_u64().unwrap_or_else(|| panic!("no number `{name}` in {document}"))
}

/// The archive of an object.
#[track_caller]
pub(crate) fn archive(place: &Place, name: &str) -> Archive {
    let object = place.get(name).unwrap_or_else(|| panic!("no object `{name}`"));
    match read_tail(&object, object.len().try_into().unwrap()).unwrap() {
        ReadTail::Archive(archive) => *archive,
        other => panic!("`{name}` has no index: {other:?}"),
    }
}

/// What `tar` lists of an object.
#[track_caller]
fn listed(job: &Job, place: &Place, name: &str) -> Vec<String> {
    let path = job.path("listed.tar.zst");
    fs::write(&path, place.get(name).unwrap()).unwrap();
    let outcome = job.command("tar").args(["--zstd", "-tf"]).arg(&path).run().ok();
    fs::remove_file(path).unwrap();
    outcome.stdout.lines().map(str::to_owned).collect()
}

/// The state that restores and saves of `job` have left: one file for each list of paths.
fn state_files(job: &Job) -> Vec<PathBuf> {
    files_named(job, "state")
}

/// The files of this kind in the state directory of `job`.
pub(crate) fn files_named(job: &Job, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(job.home().join(".local/state/xcache")) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

/// Restores `key`, and again once the times of the files are old enough to be believed: the state then vouches for all
/// of them.
#[track_caller]
fn restored_and_settled(job: &Job, place: &Place, key: &str, target: &Path) {
    restored(job, place, key, target);
    settle(job);
    restored(job, place, key, target);
}

/// Waits until the clock that gives files their times has moved on so far that a file written before is told from one
/// written from now on.
pub(crate) fn settle(job: &Job) {
    let probe = job.home().join("clock");
    let now = || {
        fs::write(&probe, "tick").unwrap();
        let stat = fs::metadata(&probe).unwrap();
        i128::from(stat.ctime()) * 1_000_000_000 + i128::from(stat.ctime_nsec())
    };
    let start = now();
    while now() - start < 25_000_000 {
        std::thread::yield_now();
    }
    fs::remove_file(&probe).unwrap();
}
