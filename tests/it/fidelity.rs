//! P1: what is restored equals what was saved, for everything that is hard to keep.

use std::fs;
use std::os::unix::fs::{FileExt as _, chown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::tree::{self, Aspect, Snapshot, assert_same_tree};

use crate::{RESTORE, SAVE, restored, save, saved};

/// A user and group without any rights of their own.
const NOBODY: u32 = 65534;

/// Saves what `make` makes, restores it in another job, and compares.
#[track_caller]
fn survives(place: &Place, make: fn(&Path)) {
    let job = Job::new();
    let (source, target) = (job.dir("source"), job.dir("target"));
    make(&source);
    saved(&job, place, "key", &source);
    restored(&Job::new(), place, "key", &target);
    assert_same_tree(&source, &target, &[]);
}

#[test]
fn everything_survives_on_every_store() {
    for place in Place::each() {
        survives(&place, tree::everything);
    }
}

#[test]
fn modes_survive() {
    survives(&Place::local(), tree::modes);
}

#[test]
fn times_survive_to_the_nanosecond_and_before_1970() {
    survives(&Place::local(), tree::times);
}

#[test]
fn symlinks_survive_wherever_they_lead() {
    survives(&Place::local(), tree::symlinks);
}

#[test]
fn hard_links_survive_across_directories() {
    survives(&Place::local(), tree::hard_links);
}

#[test]
fn symbolic_links_with_several_names_become_several_links_with_a_notice() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    std::os::unix::fs::symlink("nowhere", source.join("one")).unwrap();
    for (number, name) in (2..).zip(["two", "three"]) {
        fs::hard_link(source.join("one"), source.join(name)).unwrap();
        save(&job, &place, &format!("key-{number}")).arg(&source).run().ok().reviewed();
    }
    restored(&job, &place, "key-3", &target);
    assert_same_tree(&source, &target, &[]);
}

#[test]
fn empty_files_and_directories_survive() {
    survives(&Place::local(), tree::empties);
}

#[test]
fn an_empty_tree_survives() {
    survives(&Place::local(), |_| ());
}

#[test]
fn holes_survive() {
    survives(&Place::local(), tree::sparse);
}

#[test]
fn extended_attributes_survive() {
    survives(&Place::local(), tree::xattrs);
}

#[test]
fn odd_names_survive() {
    survives(&Place::local(), tree::names);
}

#[test]
fn paths_of_4000_bytes_survive() {
    survives(&Place::local(), |dir| tree::long_path(dir, 4_000));
}

#[test]
fn random_trees_survive_on_every_store() {
    for (seed, place) in Place::each().into_iter().enumerate() {
        let job = Job::new();
        let (source, target) = (job.dir("source"), job.dir("target"));
        tree::random(&source, u64::try_from(seed).unwrap(), 200);
        saved(&job, &place, "key", &source);
        restored(&Job::new(), &place, "key", &target);
        assert_same_tree(&source, &target, &[]);
    }
}

#[test]
fn large_sparse_file_costs_its_data_only() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    let extents = [(0, 4096), (512 << 20, 100_000), ((1 << 30) - 4096, 4096)];
    tree::sparse_file(&source.join("sparse"), 1 << 30, &extents);
    saved(&job, &place, "key", &source);
    assert!(place.get("key-base.tar.zst").unwrap().len() < 200_000);
    restored(&Job::new(), &place, "key", &target);
    assert_same_tree(&source, &target, &[]);
}

#[test]
fn restored_modes_do_not_depend_on_the_umask() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::modes(&source);
    saved(&job, &place, "key", &source);
    let script = r#"umask 077; exec "$0" "$@""#;
    let restore = job.command("sh").args(["-c", script, RESTORE]).store(&place).args(["--key", "key"]);
    restore.arg(&target).run().ok();
    assert_same_tree(&source, &target, &[]);
}

#[test]
fn fifos_and_sockets_are_skipped_with_a_notice() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::specials(&source);
    let outcome = save(&job, &place, "key").arg("--json").arg(&source).run().ok().reviewed();
    assert_eq!(outcome.json()["skipped"], 2);
    restored(&job, &place, "key", &target);
    for name in ["fifo", "socket"] {
        assert!(!target.join(name).exists(), "{name}");
        fs::remove_file(source.join(name)).unwrap();
    }
    assert_same_tree(&source, &target, &[Aspect::Root]);
}

/// `program` as a user without rights: ourselves, or nobody if we are root. What `dirs` hold is given to that user.
pub(crate) fn without_rights(job: &Job, program: &str, dirs: &[&Path]) -> Invocation {
    if !rustix::process::geteuid().is_root() {
        return job.command(program);
    }
    // Neither the directory of the build nor that of the job need be open to others.
    let copy = job.path(Path::new(program).file_name().unwrap());
    copy_program(program, &copy);
    for dir in job.dirs().iter().map(AsRef::as_ref).chain(dirs.iter().copied()) {
        tree::set_mode(dir, 0o777);
        give_away(dir);
    }
    let user = NOBODY.to_string();
    job.command("setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(copy)
}

/// Copies a program that is to be run. Not in this process: a test beside this one that starts a program in this moment
/// would hand it the open copy, and no file that is open for writing can be run.
pub(crate) fn copy_program(program: &str, copy: &Path) {
    let status = std::process::Command::new("cp").args([Path::new(program), copy]).status().unwrap();
    assert!(status.success());
}

fn give_away(path: &Path) {
    let mode = fs::symlink_metadata(path).unwrap().permissions();
    if !mode.readonly() || path.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            give_away(&entry.path());
        }
    }
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if !path.is_symlink() {
        // Changing the owner takes the setuid bits away.
        fs::set_permissions(path, mode).unwrap();
    }
}

#[test]
fn unreadable_files_are_left_out_with_a_notice() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::unreadable(&source);
    let save = without_rights(&job, SAVE, &[&source, place.dir()]).store(&place).args(["--key", "key", "--json"]);
    let outcome = save.arg(&source).run().ok().reviewed();
    assert_eq!(outcome.json()["outcome"], "saved");
    assert_eq!(outcome.json()["skipped"], 3);
    restored(&Job::new(), &place, "key", &target);
    assert_eq!(fs::read(target.join("readable")).unwrap(), b"can be read");
    assert!(!target.join("mode-000").exists() && !target.join("mode-200").exists());
}

#[test]
fn modes_survive_without_rights() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::modes(&source);
    let save = without_rights(&job, SAVE, &[&source, place.dir()]).store(&place).args(["--key", "key"]);
    save.arg(&source).run().ok();
    let restore = without_rights(&job, RESTORE, &[&target]).store(&place).args(["--key", "key"]);
    restore.arg(&target).run().ok();
    assert_same_tree(&source, &target, &[Aspect::Root]);
}

#[test]
fn owners_survive_when_asked_for() {
    if !xcache_tests::skip::has_root() {
        return; // Nobody else may give files away.
    }
    let (job, place) = (Job::new(), Place::local());
    let (source, target, own) = (job.dir("source"), job.dir("target"), job.dir("own"));
    fs::write(source.join("file"), "x").unwrap();
    fs::create_dir(source.join("dir")).unwrap();
    for (name, user, group) in [("file", 1234, 5678), ("dir", 4321, 0)] {
        chown(source.join(name), Some(user), Some(group)).unwrap();
    }
    saved(&job, &place, "key", &source);
    crate::restore(&job, &place, "key").arg("--same-owner").arg(&target).run().ok();
    assert_same_tree(&source, &target, &[]);
    restored(&job, &place, "key", &own);
    let differences = Snapshot::of(&source).differences(&Snapshot::of(&own), &[]);
    assert_eq!(differences.len(), 2, "{differences:?}");
}

#[test]
fn files_that_change_during_the_save_are_consistent() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    tree::random(&source.join("steady"), 3, 300);
    fs::write(source.join("grows"), "").unwrap();
    fs::write(source.join("shrinks"), vec![b'x'; 3 << 20]).unwrap();
    let (grows, shrinks) = (
        fs::OpenOptions::new().write(true).open(source.join("grows")).unwrap(),
        fs::OpenOptions::new().write(true).open(source.join("shrinks")).unwrap(),
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = 0;
            for length in (0..).step_by(4096).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                grows.write_all_at(b"0123456789abcdef", at % (8 << 20)).unwrap();
                at += 16;
                shrinks.set_len((3 << 20) - length % (3 << 20)).unwrap();
            }
        });
        let outcome = save(&job, &place, "key").arg("--json").arg(&source).run();
        done.store(true, Ordering::Relaxed);
        assert_eq!(outcome.ok().json()["outcome"], "saved");
    });
    restored(&Job::new(), &place, "key", &target);
    assert_same_tree(&source.join("steady"), &target.join("steady"), &[]);
    let grown = fs::read(target.join("grows")).unwrap();
    assert!(grown.chunks(16).all(|line| b"0123456789abcdef".starts_with(line)));
    let shrunk = fs::read(target.join("shrinks")).unwrap();
    assert!(!shrunk.is_empty() && shrunk.iter().all(|byte| matches!(byte, b'x' | 0)));
}
