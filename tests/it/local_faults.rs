//! What the machine of a job may lack, on real file systems: room, inodes, the right to write, the directory itself. A restore
//! is then exact or a miss that leaves the tree as it was, a save saves or leaves the store as it was, and no build fails.
//!
//! Limits of the process (files, memory, threads, the length of a file) are in `surroundings`, overlays and access control
//! lists in `restore_safety`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::tree::{Aspect, Rng, Snapshot, assert_same_tree};
use xcache_tests::{s3, skip};

use crate::{RESTORE, SAVE, restore, saved};

/// Mounts a file system with options at a place, copies a tree onto it, runs a command, copies what is there to another
/// place, and ends as the command did.
const ON_A_DISK: &str = r#"
    mount -t tmpfs -o "$1" none "$2"
    cp -a "$3/." "$2/"
    [ -z "$5" ] || mount -o "remount,$5" "$2"
    disk=$2 after=$4
    shift 5
    status=0
    "$@" || status=$?
    cp -a "$disk/." "$after/"
    exit $status"#;

/// A small disk, and what is on it before and after a command.
struct Disk {
    job: Job,
    disk: PathBuf,
    before: PathBuf,
    after: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let job = Job::new();
        let [disk, before, after] = ["disk", "before", "after"].map(|name| job.dir(name));
        Self { job, disk, before, after }
    }

    /// `exe` with the disk mounted, for as long as it runs.
    fn command(&self, options: &str, remount: &str, exe: &str) -> Invocation {
        let unshare = self.job.command("unshare").args(["--mount", "sh", "-euc", ON_A_DISK, "sh", options]);
        unshare.arg(&self.disk).arg(&self.before).arg(&self.after).arg(remount).arg(exe)
    }
}

/// A tree of 40 small files and a large one: 41 inodes and 5 directories, and 3 MiB.
fn fill(tree: &Path, seed: u64) {
    for number in 0..40_u64 {
        let dir = tree.join(format!("d{}", number % 5));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{number}")), Rng::new(seed + number).bytes(9_000)).unwrap();
    }
    fs::write(tree.join("large"), Rng::new(seed + 99).bytes(2_700_000)).unwrap();
}

/// An archive that other programs have made, without an index.
fn put_plain(job: &Job, place: &Place, tree: &Path) {
    let script = "tar -C \"$1\" -cf - . | zstd -q > plain.tar.zst";
    job.command("bash").args(["-c", script, "bash"]).arg(tree).run().ok();
    place.put("plain-base.tar.zst", &fs::read(job.path("plain.tar.zst")).unwrap());
}

/// From a disk on which next to nothing fits to one on which all of it does.
const DISKS: [&str; 12] = [
    "size=64k",
    "size=1m",
    "size=2800k",
    "size=3100k",
    "size=3300k",
    "size=6m",
    "size=20m",
    "size=20m,nr_inodes=2",
    "size=20m,nr_inodes=5",
    "size=20m,nr_inodes=30",
    "size=20m,nr_inodes=47",
    "size=20m,nr_inodes=200",
];

#[test]
fn a_restore_onto_a_small_disk_is_exact_or_leaves_it_as_it_was() {
    if !skip::has_root() {
        return;
    }
    let (saving, place) = (Job::new(), Place::local());
    let (new, old) = (saving.dir("new"), saving.dir("old"));
    fill(&new, 1);
    saved(&saving, &place, "key", &new);
    put_plain(&saving, &place, &new);
    // Of some of the files another version is there, and something that is none of ours.
    fs::write(old.join("large"), "small").unwrap();
    fs::create_dir(old.join("d1")).unwrap();
    fs::write(old.join("d1/1"), Rng::new(7).bytes(9_000)).unwrap();
    fs::write(old.join("other"), "other").unwrap();
    let mut seen = (0, 0);
    for (options, key, is_warm, clean) in DISKS.iter().flat_map(|disk| {
        let arguments = [(false, ""), (true, ""), (true, "--clean")];
        ["key", "plain"].into_iter().flat_map(move |key| arguments.map(|(warm, clean)| (*disk, key, warm, clean)))
    }) {
        let what = format!("{options} {key} warm: {is_warm} {clean}");
        let disk = Disk::new();
        if is_warm {
            disk.job.command("cp").args(["-a", "--no-target-directory"]).args([&old, &disk.before]).run().ok();
        }
        // The old tree must fit.
        if is_warm && (options.contains("64k") || options.ends_with("=2") || options.ends_with("=5")) {
            continue;
        }
        let command = disk.command(options, "", RESTORE).store(&place).args(["--key", key, "--json"]);
        let command = if clean.is_empty() { command } else { command.arg(clean) };
        let outcome = command.arg(&disk.disk).run().ok();
        let document = outcome.json();
        let (before, after) = (Snapshot::of(&disk.before), Snapshot::of(&disk.after));
        let differences = if document["outcome"] == "exact" {
            seen.0 += 1;
            let expected = Snapshot::of(&new);
            let after = after.only(|path| !clean.is_empty() || path != b"other");
            expected.differences(&after, &[Aspect::Root, Aspect::Mtimes])
        } else {
            seen.1 += 1;
            assert_eq!((&document["outcome"], &document["reason"]), (&"miss".into(), &"cannot-write".into()), "{what}");
            before.differences(&after, &[Aspect::Root, Aspect::Mtimes])
        };
        assert!(differences.is_empty(), "{what}: {differences:#?}\n{outcome:?}");
    }
    assert!(seen.0 > 10 && seen.1 > 10, "exact and missed: {seen:?}");
}

#[test]
fn a_save_into_a_store_without_room_saves_or_leaves_nothing() {
    if !skip::has_root() {
        return;
    }
    let (saving, place) = (Job::new(), Place::local());
    let tree = saving.dir("tree");
    fill(&tree, 1);
    saved(&saving, &place, "other", &tree);
    let mut seen = (0, 0);
    for options in DISKS {
        let disk = Disk::new();
        let has_entry = options.contains("20m") && !options.ends_with("=2") && !options.ends_with("=5");
        if has_entry {
            disk.job.command("cp").args(["-a", "--no-target-directory"]).arg(place.dir()).arg(&disk.before).run().ok();
        }
        let url = format!("file://{}", disk.disk.display());
        let outcome =
            disk.command(options, "", SAVE).args(["--store", &url, "--key", "key", "--json"]).arg(&tree).run();
        let document = outcome.clone().ok().json();
        let after = Place::at(&disk.after);
        let entries = after.entries();
        assert_eq!(entries.iter().any(|name| name.starts_with("other")), has_entry, "{options}: {outcome:?}");
        if document["outcome"] == "saved" {
            seen.0 += 1;
            let target = disk.job.path("target");
            crate::restored(&disk.job, &after, "key", &target);
            assert_same_tree(&tree, &target, &[]);
        } else {
            seen.1 += 1;
            assert_eq!(document["outcome"], "not-saved", "{options}: {outcome:?}");
            assert!(!entries.iter().any(|name| name.starts_with("key")), "{options}: {entries:?}");
            let drafts = fs::read_dir(disk.after.join(".xcache/local/uploads")).map_or(0, Iterator::count);
            assert_eq!(drafts, 0, "{options}: {outcome:?}");
        }
    }
    assert!(seen.0 > 2 && seen.1 > 2, "saved and not: {seen:?}");
}

#[test]
fn a_home_without_room_costs_the_next_delta_and_nothing_else() {
    if !skip::has_root() {
        return;
    }
    let (saving, place) = (Job::new(), Place::local());
    let tree = saving.dir("tree");
    fill(&tree, 1);
    saved(&saving, &place, "key", &tree);
    for (options, remount) in [("size=4k", ""), ("size=1m,nr_inodes=1", ""), ("size=1m", "ro")] {
        let disk = Disk::new();
        let target = disk.job.path("target");
        let home = |command: Invocation| command.env("HOME", &disk.disk).env("XDG_STATE_HOME", &disk.disk);
        let command =
            disk.command(options, remount, RESTORE).store(&place).args(["--key", "key", "--json"]).arg(&target);
        let outcome = home(command).run().ok();
        assert_eq!(outcome.json()["outcome"], "exact", "{options} {remount}: {outcome:?}");
        assert_same_tree(&tree, &target, &[]);
        assert!(outcome.stderr.contains("warning: "), "{options} {remount}: {outcome:?}");
        let key = format!("{options}{remount}").replace([',', '='], "-");
        let command = disk.command(options, remount, SAVE).store(&place).args(["--key", &key, "--json"]).arg(&target);
        let document = home(command).run().ok().json();
        assert_eq!((&document["outcome"], &document["kind"]), (&"saved".into(), &"base".into()), "{document}");
    }
}

#[test]
fn a_directory_that_may_not_be_written_is_a_miss_unless_all_is_there() {
    if !skip::has_root() {
        return;
    }
    let (saving, place) = (Job::new(), Place::local());
    let tree = saving.dir("tree");
    fill(&tree, 1);
    saved(&saving, &place, "key", &tree);
    for (is_warm, expected, reason) in [(false, "miss", "cannot-write".into()), (true, "exact", Value::Null)] {
        let disk = Disk::new();
        if is_warm {
            disk.job.command("cp").args(["-a", "--no-target-directory"]).args([&tree, &disk.before]).run().ok();
        }
        let command = disk.command("size=20m", "ro", RESTORE).store(&place).args(["--key", "key", "--json"]);
        let outcome: Outcome = command.arg(&disk.disk).run().ok();
        let document = outcome.json();
        assert_eq!((&document["outcome"], &document["reason"]), (&expected.into(), &reason), "{outcome:?}");
        assert_same_tree(&disk.before, &disk.after, &[Aspect::Root]);
    }
}

/// What becomes of the target while a restore writes to it.
type Mishap = fn(&Path);

#[test]
fn a_target_that_vanishes_is_no_crash_and_what_comes_in_its_place_is_left_alone() {
    let (saving, place) = (Job::new(), Place::on(s3::server()));
    let tree = saving.dir("tree");
    // The end of the object is one request, the rest two.
    fill(&tree, 1);
    fs::write(tree.join("huge"), Rng::new(1).bytes(14 << 20)).unwrap();
    saved(&saving, &place, "key", &tree);
    let mishaps: [(&str, Mishap); 3] = [
        ("removed", |target| fs::remove_dir_all(target).unwrap()),
        ("moved away", |target| fs::rename(target, target.with_extension("moved")).unwrap()),
        ("replaced", |target| {
            fs::rename(target, target.with_extension("moved")).unwrap();
            fs::create_dir(target).unwrap();
            fs::write(target.join("mine"), "mine").unwrap();
        }),
    ];
    for (what, mishap) in mishaps {
        let job = Job::new();
        let target = job.dir("target");
        let mut proxy = Proxy::with_rules(s3::server(), &["GET key-base hold skip=1 count=1"]);
        let command = restore(&job, &place.behind(proxy.endpoint()), "key").arg("--json").arg(&target);
        let mut command = command.into_command();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        proxy.wait_until_held();
        mishap(&target);
        proxy.release();
        let output = child.wait_with_output().unwrap();
        let text = format!("{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(matches!(output.status.code(), Some(0 | 1)), "{:?} {text}", output.status);
        assert!(!text.contains("internal error") && !text.contains("panicked"), "{text}");
        if what == "replaced" {
            let names: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["mine"], "{text}");
        }
    }
}
