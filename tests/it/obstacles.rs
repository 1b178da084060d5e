//! What stands where something of an entry belongs: it is kept, replaced, or the reason of a miss that changes nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::tree::{self, Aspect, Rng, Snapshot};

use crate::{RESTORE, restore, saved};

/// A user and group without any rights of their own.
const NOBODY: u32 = 65534;

fn source(job: &Job) -> PathBuf {
    let source = job.dir("source");
    fs::write(source.join("file"), "content").unwrap();
    fs::write(source.join("large"), Rng::new(1).bytes(5 << 20)).unwrap();
    fs::write(source.join("name"), "one file").unwrap();
    fs::hard_link(source.join("name"), source.join("other-name")).unwrap();
    symlink("file", source.join("link")).unwrap();
    fs::create_dir(source.join("dir")).unwrap();
    fs::write(source.join("dir/file"), "deep").unwrap();
    source
}

/// The entry with an index, and as `tar` makes it.
fn places() -> [Place; 2] {
    let job = Job::new();
    let source = source(&job);
    let (indexed, plain) = (Place::local(), Place::local());
    saved(&job, &indexed, "key", &source);
    let script = "tar --format=posix -C source -c . | zstd -q";
    let archive = Command::new("sh").args(["-c", script]).current_dir(job.work()).output().unwrap();
    plain.put("key-base.tar.zst", &archive.stdout);
    for place in [&indexed, &plain] {
        tree::set_mode(place.dir(), 0o755);
    }
    [indexed, plain]
}

fn as_nobody(job: &Job) -> Invocation {
    let copy = job.path("program");
    crate::fidelity::copy_program(RESTORE, &copy);
    for dir in job.dirs() {
        chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let user = NOBODY.to_string();
    job.command("setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(copy)
}

/// Restores as a user without rights into a directory of root that anyone may write to, as in `/tmp`.
fn into_sticky(place: &Place, prepare: impl FnOnce(&Path)) -> (Outcome, Snapshot, Snapshot) {
    let job = Job::new();
    let target = job.dir("target");
    prepare(&target);
    let restore = as_nobody(&job).store(place).args(["--key", "key", "--json"]).arg(&target);
    tree::set_mode(&target, 0o1777);
    let before = Snapshot::of(&target);
    let outcome = restore.run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    (outcome, before, Snapshot::of(&target))
}

/// What root may have left in the place of a member, with the content of the entry and with another.
type Thing = (&'static str, Make, Make);

const THINGS: [Thing; 5] = [
    ("file", |path| fs::write(path, "content").unwrap(), |path| fs::write(path, "other").unwrap()),
    (
        "large",
        |path| fs::write(path, Rng::new(1).bytes(5 << 20)).unwrap(),
        |path| {
            fs::write(path, Rng::new(2).bytes(5 << 20)).unwrap();
        },
    ),
    ("other-name", |path| fs::write(path, "one file").unwrap(), |path| fs::write(path, "two files").unwrap()),
    ("link", |path| symlink("file", path).unwrap(), |path| symlink("dir", path).unwrap()),
    (
        "dir",
        |path| fs::create_dir(path).and_then(|()| fs::write(path.join("file"), "deep")).unwrap(),
        |path| fs::write(path, "a file").unwrap(),
    ),
];

#[test]
fn what_another_user_left_in_a_sticky_directory_is_kept_if_it_is_the_same_and_else_the_reason() {
    if !xcache_tests::skip::has_root() {
        return;
    }
    let expected = Snapshot::of(&source(&Job::new()));
    for (place, form) in places().iter().zip(["indexed", "plain"]) {
        for (name, same, other) in THINGS {
            let (outcome, _, after) = into_sticky(place, |target| same(&target.join(name)));
            let shown = format!("{form} {name}: {}", outcome.stderr);
            assert_eq!(outcome.json()["outcome"], "exact", "{shown}");
            let attributes = [Aspect::Owners, Aspect::Root, Aspect::Mtimes, Aspect::HardLinks];
            assert_eq!(expected.differences(&after, &attributes), Vec::<String>::new(), "{shown}");
            assert!(outcome.stderr.contains(&format!("target/{name}")), "{shown}");

            let (outcome, before, after) = into_sticky(place, |target| other(&target.join(name)));
            let shown = format!("{form} {name}: {}", outcome.stderr);
            assert_eq!(outcome.json()["outcome"], "miss", "{shown}");
            assert!(outcome.stderr.contains("sticky bit") && outcome.stderr.contains(name), "{shown}");
            assert!(outcome.stderr.contains("hint: "), "{shown}");
            assert_eq!(before.differences(&after, &[Aspect::Root, Aspect::Mtimes]), Vec::<String>::new(), "{shown}");
        }
    }
}

/// Makes something at a path.
type Make = fn(&Path);

/// What is no directory, in the place of one.
const NO_DIRECTORIES: [(&str, Make); 5] = [
    ("a file", |path| fs::write(path, "precious").unwrap()),
    ("a link to a file", |path| {
        fs::write(path.with_extension("precious"), "precious").unwrap();
        symlink(path.with_extension("precious"), path).unwrap();
    }),
    ("a link to nothing", |path| symlink("nothing", path).unwrap()),
    ("a fifo", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
    ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
];

/// Everything in the working directory, with what tells one thing from another.
fn identities(job: &Job) -> Vec<(PathBuf, u64, u32)> {
    let names = fs::read_dir(job.work()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        names.map(|path| path.symlink_metadata().map(|stat| (path, stat.ino(), stat.mode())).unwrap()).collect();
    found.sort();
    found
}

#[test]
fn what_is_in_the_place_of_a_root_is_replaced_and_returns_if_the_restore_fails() {
    let expected = Snapshot::of(&source(&Job::new()));
    for (place, form) in places().iter().zip(["indexed", "plain"]) {
        let whole = place.get("key-base.tar.zst").unwrap();
        for (what, make) in NO_DIRECTORIES {
            let shown = format!("{form}, {what}");
            let job = Job::new();
            let target = job.path("target");
            make(&target);
            let before = identities(&job);

            let mut damaged = whole.clone();
            damaged[200] ^= 1;
            place.put("key-base.tar.zst", &damaged);
            let outcome = restore(&job, place, "key").arg("--json").arg(&target).run().ok();
            assert_eq!(outcome.json()["outcome"], "miss", "{shown}: {}", outcome.stderr);
            assert_eq!(identities(&job), before, "{shown}: {}", outcome.stderr);

            place.put("key-base.tar.zst", &whole);
            let outcome = restore(&job, place, "key").arg("--json").arg(&target).run().ok();
            assert_eq!(outcome.json()["outcome"], "exact", "{shown}: {}", outcome.stderr);
            let differences = expected.differences(&Snapshot::of(&target), &[Aspect::Root, Aspect::Mtimes]);
            assert_eq!(differences, Vec::<String>::new(), "{shown}");
            let others = |found: Vec<(PathBuf, u64, u32)>| {
                found.into_iter().filter(|(path, ..)| *path != target).collect::<Vec<_>>()
            };
            assert_eq!(others(identities(&job)), others(before), "{shown}");
        }
    }
}

#[test]
fn what_is_in_the_way_above_a_root_is_named_and_never_replaced() {
    for (what, make) in NO_DIRECTORIES {
        // Of a file, and of what a pattern matches, the directory is not asked for.
        for (asked, entry) in [("above/target", "source"), ("above/file", "source/file"), ("above/*", "source/*")] {
            let (job, place) = (Job::new(), Place::local());
            source(&job);
            let saved = crate::save(&job, &place, "key").args(["--json", entry]).run().ok();
            assert_eq!(saved.json()["outcome"], "saved", "{}", saved.stderr);
            make(&job.path("above"));
            let before = identities(&job);
            let outcome = restore(&job, &place, "key").args(["--json", asked]).run().ok();
            let shown = format!("{what}, {asked}: {}", outcome.stderr);
            assert_eq!(outcome.json()["outcome"], "miss", "{shown}");
            assert_eq!(identities(&job), before, "{shown}");
            assert!(outcome.stderr.contains("above"), "{shown}");
            assert!(outcome.stderr.contains("hint: remove what is no directory"), "{shown}");
        }
    }
}

/// A repository with something in it that is nowhere else.
fn repository(path: &Path, git: Make) {
    fs::create_dir_all(path.join("src")).unwrap();
    git(&path.join(".git"));
    for name in ["work", "src/work"] {
        fs::write(path.join(name), "nowhere else").unwrap();
    }
}

/// The forms in which a repository shows itself.
const GITS: [(&str, Make); 3] = [
    ("a directory", |path| fs::create_dir(path).and_then(|()| fs::write(path.join("HEAD"), "ref: x")).unwrap()),
    ("a file of a work tree", |path| fs::write(path, "gitdir: elsewhere").unwrap()),
    ("a link", |path| symlink("elsewhere", path).unwrap()),
];

#[test]
fn clean_leaves_repositories_that_the_entry_does_not_hold() {
    for (place, form) in places().iter().zip(["indexed", "plain"]) {
        for (what, git) in GITS {
            // Beside what is in the entry, deep in what is not, and around what is.
            for name in ["clone", "stale/deep/clone", "dir"] {
                for (extra, stays) in [(None, true), (Some("--clean-protected"), false)] {
                    let job = Job::new();
                    let target = job.dir("target");
                    repository(&target.join(name), git);
                    for stale in ["stale-file", "stale/file"] {
                        fs::create_dir_all(target.join(stale).parent().unwrap()).unwrap();
                        fs::write(target.join(stale), "stale").unwrap();
                    }
                    let command = restore(&job, place, "key").args(["--json", "--clean"]).args(extra);
                    let outcome = command.arg(&target).run().ok();
                    let shown = format!("{form}, {what}, {name}, {extra:?}: {}", outcome.stderr);
                    assert_eq!(outcome.json()["outcome"], "exact", "{shown}");
                    for left in [".git", "work", "src/work"] {
                        let is_there = target.join(name).join(left).symlink_metadata().is_ok();
                        assert_eq!(is_there, stays, "{left}: {shown}");
                    }
                    assert!(!target.join("stale-file").exists() && !target.join("stale/file").exists(), "{shown}");
                    assert_eq!(outcome.stderr.contains("`--clean-protected`"), stays, "{shown}");
                    assert_eq!(fs::read_to_string(target.join("dir/file")).unwrap(), "deep", "{shown}");
                }
            }
        }
    }
}

#[test]
fn a_repository_in_the_place_of_a_file_is_not_removed_to_make_room() {
    for (place, form) in places().iter().zip(["indexed", "plain"]) {
        for (what, git) in GITS {
            let job = Job::new();
            let target = job.dir("target");
            repository(&target.join("file/deep"), git);
            let before = Snapshot::of(&target);
            let outcome = restore(&job, place, "key").args(["--json", "--clean"]).arg(&target).run().ok();
            let shown = format!("{form}, {what}: {}", outcome.stderr);
            assert_eq!(outcome.json()["outcome"], "miss", "{shown}");
            assert_eq!(before.differences(&Snapshot::of(&target), &[Aspect::Root]), Vec::<String>::new(), "{shown}");
            assert!(outcome.stderr.contains("git repository"), "{shown}");
        }
    }
}

#[test]
fn a_repository_of_the_entry_is_cleaned_as_everything_else() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    repository(&source.join("clone"), GITS[0].1);
    saved(&job, &place, "key", &source);
    repository(&target.join("clone"), GITS[0].1);
    fs::write(target.join("clone/.git/stale"), "stale").unwrap();
    restore(&job, &place, "key").arg("--clean").arg(&target).run().ok();
    assert_eq!(Snapshot::of(&source).differences(&Snapshot::of(&target), &[]), Vec::<String>::new());
}
