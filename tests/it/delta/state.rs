//! State is a hint: whatever is wrong with it, the entry that is saved is exact.

use std::fs;
use std::path::Path;

use xcache_core::paths::PathList;
use xcache_core::scan::Signature;
use xcache_core::state;
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::{self, assert_same_tree};

use super::{files_read, restored_and_settled, save_delta, save_with, settle, state_files};
use crate::{restored, saved};

/// An entry `one` of `place`, restored into `target` of a job.
fn warm(place: &Place) -> (Job, std::path::PathBuf) {
    let job = Job::new();
    let (source, target) = (job.dir("source"), job.path("target"));
    tree::random(&source, 31, 30);
    saved(&Job::new(), place, "one", &source);
    restored_and_settled(&job, place, "one", &target);
    (job, target)
}

#[track_caller]
fn assert_restores(place: &Place, key: &str, expected: &Path) {
    let job = Job::new();
    let target = job.path("target");
    restored(&job, place, key, &target);
    assert_same_tree(expected, &target, &[]);
}

#[test]
fn damaged_state_is_ignored() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 14] = [
        ("empty", Vec::clear),
        ("magic only", |state| state.truncate(8)),
        ("cut in the hash", |state| state.truncate(20)),
        ("cut in the head", |state| state.truncate(100)),
        ("cut in the middle", |state| state.truncate(state.len() / 2)),
        ("one byte short", |state| state.truncate(state.len() - 1)),
        ("one byte more", |state| state.push(0)),
        ("older format", |state| state[7] = b'0'),
        ("newer format", |state| state[7] = b'3'),
        ("not a state", |state| *state = b"{\"state\": true}".to_vec()),
        ("hostile length", |state| state[40..48].fill(0xff)),
        ("zero length", |state| state[40..48].fill(0)),
        ("edited by hand", |state| {
            let at = state.windows(3).position(|w| w == b"one").expect("the key is there");
            state[at..at + 3].copy_from_slice(b"two");
        }),
        ("zeros", |state| state.fill(0)),
    ];
    let place = Place::local();
    let (job, target) = warm(&place);
    let [path] = &state_files(&job)[..] else { panic!("one state") };
    let good = fs::read(path).unwrap();
    for (number, (name, damage)) in damages.into_iter().enumerate() {
        eprintln!("{name}");
        let mut state = good.clone();
        damage(&mut state);
        fs::write(path, state).unwrap();
        let key = format!("key-{number}");
        let outcome = save_with(&job, &place, &key, &[], &target);
        assert_eq!(outcome.json()["kind"], "base", "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
        assert_restores(&place, &key, &target);
    }
    fs::write(path, good).unwrap();
    save_delta(&job, &place, "good", "one", &target);
    assert_restores(&place, "good", &target);
}

#[test]
fn a_bit_flipped_anywhere_in_the_state_changes_nothing_in_what_is_saved() {
    let place = Place::local();
    let (job, target) = warm(&place);
    let [path] = &state_files(&job)[..] else { panic!("one state") };
    let good = fs::read(path).unwrap();
    let step = good.len() / 24;
    for (number, at) in (0..good.len()).step_by(step.max(1)).enumerate() {
        let mut state = good.clone();
        state[at] ^= 1 << (number % 8);
        fs::write(path, state).unwrap();
        let key = format!("key-{number}");
        save_with(&job, &place, &key, &[], &target);
        assert_restores(&place, &key, &target);
    }
}

#[test]
fn state_that_cannot_be_read_or_written_is_no_obstacle() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    tree::random(&source, 1, 10);
    // A file where the directory should be.
    fs::create_dir_all(job.home().join(".local/state")).unwrap();
    fs::write(job.home().join(".local/state/xcache"), "a file").unwrap();
    saved(&job, &place, "one", &source);
    let target = job.path("target");
    restored(&job, &place, "one", &target);
    saved(&job, &place, "two", &target);
    assert_restores(&place, "two", &source);
    // A directory where the file should be.
    let place = Place::local();
    let (job, target) = warm(&place);
    let [path] = &state_files(&job)[..] else { panic!("one state") };
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
    save_with(&job, &place, "two", &[], &target);
    assert_restores(&place, "two", &target);
}

#[test]
fn state_of_another_store_is_not_used() {
    let (place, other) = (Place::local(), Place::local());
    let (job, target) = warm(&place);
    let outcome = save_with(&job, &other, "two", &[], &target);
    assert_eq!(outcome.json()["kind"], "base");
    assert_restores(&other, "two", &target);
}

#[test]
fn state_of_other_paths_is_not_used() {
    let place = Place::local();
    let (job, target) = warm(&place);
    // A copy of the tree with the state of the first: same names, sizes and times, other content.
    let copy = job.path("copy");
    job.command("cp").arg("-a").args([&target, &copy]).run().ok();
    let [first] = &state_files(&job)[..] else { panic!("one state") };
    let state = fs::read(first).unwrap();
    restored(&job, &place, "one", &copy);
    let second = state_files(&job).into_iter().find(|path| path != first).expect("a state of its own for each path");
    fs::write(second, &state).unwrap();
    let outcome = save_with(&job, &place, "two", &[], &copy);
    assert_eq!(outcome.json()["kind"], "base", "{}", outcome.stderr);
    assert_restores(&place, "two", &copy);
}

#[test]
fn state_of_an_entry_that_is_not_on_disk_any_more_costs_reading_only() {
    let place = Place::local();
    let (job, target) = warm(&place);
    let [path] = &state_files(&job)[..] else { panic!("one state") };
    let of_one = fs::read(path).unwrap();
    // Same names and sizes as in `one`, but other content, restored over it.
    let other = job.dir("other");
    job.command("cp").args(["-a", "--no-target-directory"]).args([&target, &other]).run().ok();
    let mut changed = 0;
    for entry in fs::read_dir(&other).unwrap().map(Result::unwrap).filter(|e| e.metadata().unwrap().is_file()) {
        let content = fs::read(entry.path()).unwrap();
        let modified = entry.metadata().unwrap().modified().unwrap();
        fs::write(entry.path(), content.iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>()).unwrap();
        fs::File::options().write(true).open(entry.path()).unwrap().set_modified(modified).unwrap();
        changed += 1;
    }
    assert!(changed > 3);
    saved(&Job::new(), &place, "other", &other);
    restored_and_settled(&job, &place, "other", &target);
    assert_same_tree(&other, &target, &[]);
    fs::write(path, of_one).unwrap();
    let outcome = save_with(&job, &place, "two", &[], &target);
    assert!(files_read(&outcome) >= changed, "{}", outcome.stderr);
    assert_restores(&place, "two", &other);
}

#[test]
fn a_restore_trusts_stale_state_no_more_than_a_save() {
    let place = Place::local();
    let (job, target) = warm(&place);
    let [path] = &state_files(&job)[..] else { panic!("one state") };
    let state = fs::read(path).unwrap();
    let before = job.path("before");
    job.command("cp").arg("-a").args([&target, &before]).run().ok();
    for entry in fs::read_dir(&target).unwrap().map(Result::unwrap).filter(|e| e.metadata().unwrap().is_file()) {
        let modified = entry.metadata().unwrap().modified().unwrap();
        let content = fs::read(entry.path()).unwrap();
        fs::write(entry.path(), content.iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>()).unwrap();
        fs::File::options().write(true).open(entry.path()).unwrap().set_modified(modified).unwrap();
    }
    fs::write(path, state).unwrap();
    restored(&job, &place, "one", &target);
    assert_same_tree(&before, &target, &[]);
}

#[test]
fn without_state_a_base_key_or_a_restore_key_finds_what_to_build_on() {
    for place in Place::each() {
        let job = Job::new();
        let source = job.dir("source");
        tree::random(&source, 31, 30);
        saved(&Job::new(), &place, "main-1", &source);
        let cases: [(&str, &[&str], &str); 5] = [
            ("a", &["--base-key", "main-1"], "delta"),
            ("b", &["--restore-keys", "none\nmain-"], "delta"),
            ("c", &["--base-key", "none"], "base"),
            ("d", &[], "base"),
            ("e", &["--base-key", "main-1", "--full"], "base"),
        ];
        for (key, arguments, kind) in cases {
            // Each in a job of its own: none has left state for another.
            let job = Job::new();
            let outcome = save_with(&job, &place, key, arguments, &source);
            let document = outcome.json();
            assert_eq!(document["kind"], kind, "{arguments:?}: {}", outcome.stderr);
            if kind == "delta" {
                assert_eq!(document["built_on"], "main-1");
                assert_eq!(files_read(&outcome), 30, "without state all are read");
                assert_eq!(super::listed(&job, &place, &format!("{key}-delta.tar.zst")), Vec::<String>::new());
            }
            assert_restores(&place, key, &source);
        }
    }
}

#[test]
fn full_makes_a_base_even_with_state() {
    let place = Place::local();
    let (job, target) = warm(&place);
    let outcome = save_with(&job, &place, "two", &["--full"], &target);
    assert_eq!(outcome.json()["kind"], "base");
    assert_restores(&place, "two", &target);
}

#[test]
fn an_object_without_index_is_not_built_on() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    tree::random(&source, 3, 20);
    let object = job.path("object");
    let script = "tar -cf - -C \"$1\" . | zstd -q -o \"$2\"";
    job.command("sh").args(["-c", script, "sh"]).args([&source, &object]).run().ok();
    place.put("plain-base.tar.zst", &fs::read(&object).unwrap());
    let outcome = save_with(&job, &place, "two", &["--base-key", "plain"], &source);
    assert_eq!(outcome.json()["kind"], "base");
    let target = job.path("target");
    restored(&job, &place, "plain", &target);
    let outcome = save_with(&job, &place, "three", &[], &target);
    assert_eq!(outcome.json()["kind"], "base");
}

/// Changes each file of `target` in place to other content of the same size, and the state so that it vouches for what
/// the files are now. `noted` is given when the first and the last of them were written.
fn forge(job: &Job, place: &Place, target: &Path, noted: impl FnOnce(i64, i64) -> i64) {
    let directory = job.home().join(".local/state/xcache");
    let paths = PathList::parse(&[target.to_str().unwrap()], &job.work(), None).unwrap();
    let mut state = state::read(&directory, place.url(), &paths).expect("there is state");
    let mut times = Vec::new();
    for (member, signature) in state.archive.index.members.iter().zip(&mut state.signatures) {
        let path = target.join(std::str::from_utf8(&member.path).unwrap());
        let Some(signature) = signature else { continue };
        let content: Vec<u8> = fs::read(&path).unwrap().iter().map(|byte| byte ^ 0x55).collect();
        fs::write(&path, content).unwrap();
        tree::set_mtime(&path, member.meta.mtime_seconds, member.meta.mtime_nanos);
        *signature = Signature::of(&rustix::fs::stat(&path).unwrap());
        times.push(signature.ctime_nanos);
    }
    settle(job);
    let object = place.get(state.own.name.as_str()).unwrap();
    let note = state::Note {
        store: place.url(),
        archive: &state.archive,
        stored_index: state.archive.footer.stored_index(&object, 0).unwrap(),
        own: &state.own,
        signatures: &state.signatures,
        paths: &paths,
        noted_nanos: Some(noted(*times.iter().min().unwrap(), *times.iter().max().unwrap())),
    };
    state::write(&directory, &note).unwrap();
}

/// Within two ticks of the slowest kernel clock.
fn too_soon(first: i64, _: i64) -> i64 {
    first + 10_000_000
}

#[test]
fn a_save_reads_files_that_may_have_changed_in_the_tick_in_which_they_were_noted() {
    let place = Place::local();
    let (job, target) = warm(&place);
    forge(&job, &place, &target, too_soon);
    save_with(&job, &place, "two", &[], &target);
    assert_restores(&place, "two", &target);
}

#[test]
fn a_restore_reads_files_that_may_have_changed_in_the_tick_in_which_they_were_noted() {
    let place = Place::local();
    let (job, target) = warm(&place);
    let before = job.path("before");
    job.command("cp").arg("-a").args([&target, &before]).run().ok();
    forge(&job, &place, &target, too_soon);
    restored(&job, &place, "one", &target);
    assert_same_tree(&before, &target, &[]);
}

#[test]
fn what_the_state_vouches_for_beyond_doubt_is_believed() {
    // Shows that the two tests above could fail: with the same forgery, noted later, nothing is read.
    let place = Place::local();
    let (job, target) = warm(&place);
    forge(&job, &place, &target, |_, last| last + 25_000_000);
    let outcome = save_delta(&job, &place, "two", "one", &target);
    assert_eq!(files_read(&outcome), 0, "{}", outcome.stderr);
}
