//! P5: a restore into a tree full of traps leaves everything outside as it was, byte for byte and attribute for attribute.
//!
//! Each trap is a way in which something in the target is also something else: another name of a file outside, a link that
//! leads out, a mounted file system, a thing of another user. Each is met by restores of every kind, as root and as a user
//! without rights.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::tree::{self, Aspect, Snapshot};

use crate::{RESTORE, saved};

/// A user and group without any rights of their own.
const NOBODY: u32 = 65534;
/// What the entry holds of each of its files.
const CONTENT: &str = "the content of the entry";

/// Which file systems are mounted where: outside, and in the target.
type Mounts = Vec<(PathBuf, PathBuf)>;

/// A trap: given the target and the directory outside, makes something in the target.
type Trap = fn(&Path, &Path) -> Mounts;

/// All traps, and whether the entry can be restored all the same: without, and with `--clean`.
const TRAPS: [(&str, Trap, [bool; 2]); 19] = [
    ("nothing", |_, _| Vec::new(), [true, true]),
    ("another name of a file outside, with the content and other attributes", hard_link_same, [true, true]),
    ("another name of a file outside, with other content", hard_link_other, [true, true]),
    ("another name of a file outside that is to get one more name", hard_link_first, [true, true]),
    ("another name of a link outside", hard_link_of_link, [true, true]),
    ("a link in the place of a directory", |target, outside| link(target, outside, "dir"), [true, true]),
    (
        "a link in the place of a file",
        |target, outside| link(&target.join("dir"), &outside.join("file"), "small"),
        [true, true],
    ),
    (
        "a link in the place of a large file",
        |target, outside| link(target, &outside.join("file"), "large"),
        [true, true],
    ),
    ("a link to outside that is not in the entry", |target, outside| link(target, outside, "stale"), [true, true]),
    ("a file in the place of a directory", |target, _| file(&target.join("dir")), [true, true]),
    ("an empty directory in the place of a file", |target, _| directory(&target.join("large")), [true, true]),
    ("a full directory in the place of a file", |target, _| full_directory(&target.join("large")), [false, true]),
    ("a full directory in the place of a link", |target, _| full_directory(&target.join("link")), [false, true]),
    (
        "something mounted that is not in the entry",
        |target, outside| mount(&target.join("stale"), outside),
        [true, true],
    ),
    (
        "something mounted below what is not in the entry",
        |target, outside| mount(&target.join("stale/deep"), outside),
        [true, true],
    ),
    (
        "something mounted in the place of a file",
        |target, outside| mount(&target.join("large"), outside),
        [false, false],
    ),
    ("a file and a directory of another user", of_root, [true, true]),
    ("a directory that hands down rights", default_acl, [true, true]),
    ("directories without write permission", read_only, [true, true]),
];

fn file(path: &Path) -> Mounts {
    fs::write(path, "other").unwrap();
    Vec::new()
}

fn directory(path: &Path) -> Mounts {
    fs::create_dir(path).unwrap();
    Vec::new()
}

fn full_directory(path: &Path) -> Mounts {
    fs::create_dir(path).unwrap();
    file(&path.join("file"))
}

fn link(target: &Path, to: &Path, name: &str) -> Mounts {
    fs::create_dir_all(target).unwrap();
    symlink(to, target.join(name)).unwrap();
    Vec::new()
}

fn hard_link(target: &Path, outside: &Path, names: &[&str]) -> Mounts {
    fs::create_dir(target.join("dir")).unwrap();
    for name in names {
        fs::hard_link(outside, target.join(name)).unwrap();
    }
    Vec::new()
}

fn hard_link_same(target: &Path, outside: &Path) -> Mounts {
    hard_link(target, &outside.join("same"), &["dir/small"])
}

fn hard_link_other(target: &Path, outside: &Path) -> Mounts {
    hard_link(target, &outside.join("file"), &["dir/small", "large", "0-first"])
}

/// The file has the attributes of the entry: only its other name is missing.
fn hard_link_first(target: &Path, outside: &Path) -> Mounts {
    tree::set_mode(&outside.join("same"), 0o640);
    tree::set_mtime(&outside.join("same"), 1_000_000_000, 5);
    hard_link(target, &outside.join("same"), &["0-first"])
}

fn hard_link_of_link(target: &Path, outside: &Path) -> Mounts {
    hard_link(target, &outside.join("link"), &["link"])
}

fn mount(at: &Path, outside: &Path) -> Mounts {
    fs::create_dir_all(at).unwrap();
    vec![(outside.to_owned(), at.to_owned())]
}

fn of_root(target: &Path, _: &Path) -> Mounts {
    fs::create_dir(target.join("dir")).unwrap();
    fs::write(target.join("dir/small"), CONTENT).unwrap();
    fs::write(target.join("0-first"), CONTENT).unwrap();
    fs::create_dir(target.join("stale")).unwrap();
    fs::write(target.join("stale/file"), "root's").unwrap();
    symlink("dir/small", target.join("link")).unwrap();
    for name in ["dir/small", "0-first", "stale", "stale/file", "link"] {
        lchown(target.join(name), Some(0), Some(0)).unwrap();
    }
    Vec::new()
}

fn default_acl(target: &Path, _: &Path) -> Mounts {
    // Its owner everything, and nothing for all others.
    let list = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\0\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    tree::set_xattr(target, "system.posix_acl_default", list);
    Vec::new()
}

fn read_only(target: &Path, _: &Path) -> Mounts {
    fs::create_dir_all(target.join("dir/stale")).unwrap();
    fs::write(target.join("dir/stale/file"), "stale").unwrap();
    for name in ["dir/stale", "dir", ""] {
        tree::set_mode(&target.join(name), 0o555);
    }
    Vec::new()
}

fn source(job: &Job) -> PathBuf {
    let source = job.dir("source");
    fs::create_dir(source.join("dir")).unwrap();
    fs::write(source.join("0-first"), CONTENT).unwrap();
    fs::write(source.join("dir/small"), CONTENT).unwrap();
    fs::write(source.join("large"), tree::Rng::new(1).bytes(5 << 20)).unwrap();
    fs::hard_link(source.join("0-first"), source.join("second")).unwrap();
    symlink("dir/small", source.join("link")).unwrap();
    for name in ["0-first", "dir/small", "large"] {
        tree::set_mode(&source.join(name), 0o640);
        tree::set_mtime(&source.join(name), 1_000_000_000, 5);
        tree::set_xattr(&source.join(name), "user.of", b"the entry");
    }
    for name in ["link", "dir", ""] {
        tree::set_mtime(&source.join(name), 1_000_000_000, 5);
    }
    source
}

/// What must stay as it is.
fn outside(job: &Job) -> PathBuf {
    let outside = job.dir("outside");
    fs::write(outside.join("file"), "precious").unwrap();
    fs::write(outside.join("same"), CONTENT).unwrap();
    fs::create_dir(outside.join("dir")).unwrap();
    fs::write(outside.join("dir/small"), "precious").unwrap();
    symlink("dir/small", outside.join("link")).unwrap();
    for name in ["file", "same", "dir/small", "link", "dir", ""] {
        tree::set_mtime(&outside.join(name), 1_234_567_890, 7);
    }
    for name in ["file", "same", "dir/small"] {
        tree::set_mode(&outside.join(name), 0o444);
        tree::set_xattr(&outside.join(name), "user.of", b"the outside");
    }
    outside
}

/// The two forms of an entry.
fn places() -> [Place; 2] {
    let job = Job::new();
    let source = source(&job);
    let (indexed, plain) = (Place::local(), Place::local());
    saved(&job, &indexed, "key", &source);
    let script = "tar --format=posix --xattrs -C source -c . | zstd -q";
    let archive = std::process::Command::new("sh").args(["-c", script]).current_dir(job.work()).output().unwrap();
    plain.put("key-base.tar.zst", &archive.stdout);
    for place in [&indexed, &plain] {
        tree::set_mode(place.dir(), 0o755);
    }
    [indexed, plain]
}

/// Who restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Root,
    Nobody,
}

/// The program as a user, in a name space of its own in which something is mounted.
fn program(job: &Job, user: User, mounts: &Mounts) -> Invocation {
    let copy = job.path("program");
    crate::fidelity::copy_program(RESTORE, &copy);
    let mut command = match mounts.is_empty() {
        true => job.command("env"),
        false => {
            let script = "mount --bind \"$1\" \"$2\"; shift 2; exec \"$@\"";
            let command = job.command("unshare").args(["--mount", "sh", "-euc", script, "sh"]);
            mounts.iter().fold(command, |command, (from, to)| command.arg(from).arg(to))
        }
    };
    if user == User::Nobody {
        let user = NOBODY.to_string();
        command = command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
    }
    command.arg(copy)
}

/// Gives a tree to the user, but what `of_root` has given to root, and nothing outside.
fn give_away(path: &Path, is_trap: bool) {
    let stat = fs::symlink_metadata(path).unwrap();
    if stat.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), is_trap);
        }
    }
    // Other names of what is outside stay as they are.
    if stat.is_dir() || stat.nlink() == 1 && !is_trap {
        lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// One cell. Gives what the restore said.
fn restore_over(place: &Place, (name, trap): (&str, Trap), user: User, arguments: &[&str]) -> (Outcome, Job) {
    let job = Job::new();
    let outside = outside(&job);
    let target = job.dir("target");
    let mounts = trap(&target, &outside);
    if user == User::Nobody {
        for dir in job.dirs() {
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        give_away(&target, name.contains("another user"));
    }
    let before = Snapshot::of(&outside);
    let restore = program(&job, user, &mounts).store(place).args(["--key", "key", "--json"]).args(arguments);
    let outcome = restore.arg(&target).run();
    let shown = format!("{name}, {user:?}, {arguments:?}: {}", outcome.stderr);
    // A name in the target that is another file now was one of a file outside.
    let but = [Aspect::HardLinks];
    assert_eq!(before.differences(&Snapshot::of(&outside), &but), Vec::<String>::new(), "{shown}");
    for dir in [&job.work(), &job.home()] {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| !["outside", "target", "program", ".local"].iter().any(|known| name == *known));
        assert!(names.is_empty(), "something new beside the target: {names:?}: {shown}");
    }
    (outcome, job)
}

#[test]
fn nothing_outside_is_changed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tested: only root can set all traps");
        return;
    }
    let (places, entry) = (places(), Job::new());
    let expected = Snapshot::of(&source(&entry));
    let mut cells = 0;
    for (name, trap, fits) in TRAPS {
        for (place, form) in places.iter().zip(["indexed", "plain"]) {
            for (arguments, fits) in [&[][..], &["--clean"]].into_iter().zip(fits) {
                for user in [User::Root, User::Nobody] {
                    let (outcome, job) = restore_over(place, (name, trap), user, arguments);
                    let shown = format!("{form}, {name}, {user:?}, {arguments:?}: {}", outcome.stderr);
                    assert_eq!(outcome.code, Some(0), "{shown}");
                    let word = if fits { "exact" } else { "miss" };
                    assert_eq!(outcome.json()["outcome"], word, "{shown}");
                    // What may differ: owners, and what is there that is not in the entry.
                    let found = Snapshot::of(&job.path("target"));
                    let mut differences = expected.differences(&found, &[Aspect::Owners, Aspect::Root]);
                    differences.retain(|line| !line.contains("an unexpected"));
                    let is_whole = differences.is_empty();
                    assert_eq!(is_whole, fits, "{shown}\n{differences:?}");
                    let ours = found.paths().any(|path| path.starts_with(b".xcache-"));
                    assert!(!ours, "{shown}");
                    cells += 1;
                }
            }
        }
    }
    eprintln!("{cells} cells");
    assert_eq!(cells, TRAPS.len() * 8);
}

#[test]
fn a_file_that_is_mounted_in_the_place_of_one_keeps_its_attributes() {
    if !xcache_tests::skip::has_root() {
        return;
    }
    for (place, form) in places().iter().zip(["indexed", "plain"]) {
        for (name, fits) in [("same", true), ("file", false)] {
            let job = Job::new();
            let (outside, target) = (outside(&job), job.dir("target"));
            fs::create_dir(target.join("dir")).unwrap();
            fs::write(target.join("dir/small"), "below").unwrap();
            let mounts = vec![(outside.join(name), target.join("dir/small"))];
            let before = [Snapshot::of(&outside), Snapshot::of(&target)];
            let restore = program(&job, User::Root, &mounts).store(place).args(["--key", "key", "--json"]);
            let outcome = restore.arg(&target).run().ok();
            let shown = format!("{form}, {name}: {}", outcome.stderr);
            assert_eq!(outcome.json()["outcome"], if fits { "exact" } else { "miss" }, "{shown}");
            assert_eq!(before[0].differences(&Snapshot::of(&outside), &[]), Vec::<String>::new(), "{shown}");
            assert!(outcome.stderr.contains("dir/small"), "{shown}");
            if !fits {
                assert!(outcome.stderr.contains("hint: unmount"), "{shown}");
                let differences = before[1].differences(&Snapshot::of(&target), &[Aspect::Root, Aspect::Mtimes]);
                assert_eq!(differences, Vec::<String>::new(), "{shown}");
            }
        }
    }
}
