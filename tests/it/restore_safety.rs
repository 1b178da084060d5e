//! What a restore does to the tree that it finds: all of it or nothing, and never more than was asked for.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use xcache_core::temporary;
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3;
use xcache_tests::tree::{self, Aspect, Rng, Snapshot, assert_same_tree};

use crate::fidelity::without_rights;
use crate::{RESTORE, SAVE, restore, restored, save, saved};

/// Names below a directory that only a restore gives.
fn ours(dir: &Path) -> Vec<String> {
    let names = Snapshot::of(dir);
    let of_restores = |path: &&[u8]| temporary::run_of(path.rsplit(|byte| *byte == b'/').next().unwrap()).is_some();
    names.paths().filter(of_restores).map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

/// A tree of which most takes several requests.
fn large_tree(dir: &Path) {
    fs::create_dir(dir.join("sub")).unwrap();
    for (name, seed) in [("large", 1), ("sub/larger", 2), ("sub/largest", 3)] {
        fs::write(dir.join(name), Rng::new(seed).bytes(9 << 20)).unwrap();
    }
    tree::random(&dir.join("random"), 5, 60);
}

/// Starts a restore that has begun to write, and is held back in the middle.
fn held_restore(job: &Job, place: &Place, target: &Path) -> (Proxy, std::process::Child) {
    let mut proxy = Proxy::with_rules(s3::server(), &["GET key-base hold skip=2 count=1"]);
    let mut command = restore(job, &place.behind(proxy.endpoint()), "key").arg(target).into_command();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    proxy.wait_until_held();
    while ours(target).len() < 2 {
        std::thread::yield_now();
    }
    (proxy, child)
}

#[test]
fn what_a_killed_restore_leaves_is_never_saved_and_goes_with_the_next_one() {
    let (saving, place) = (Job::new(), Place::on(s3::server()));
    let source = saving.dir("source");
    large_tree(&source);
    saved(&saving, &place, "key", &source);
    for clean in [&[][..], &["--clean"]] {
        let job = Job::new();
        let target = job.dir("target");
        fs::create_dir(target.join("sub")).unwrap();
        fs::write(target.join("sub/larger"), "old").unwrap();
        let (proxy, mut child) = held_restore(&job, &place, &target);
        child.kill().unwrap();
        child.wait().unwrap();
        drop(proxy);
        assert!(ours(&target).len() >= 2);

        let (other, elsewhere) = (Place::local(), job.dir("elsewhere"));
        save(&job, &other, "key").args(["--level", "1"]).arg(&target).run().ok();
        if other.get("key-base.tar.zst").is_some() {
            restored(&Job::new(), &other, "key", &elsewhere);
            assert_eq!(ours(&elsewhere), Vec::<String>::new());
        }
        restore(&job, &place, "key").args(clean).arg(&target).run().ok();
        assert_same_tree(&source, &target, &[]);
    }
}

#[test]
fn files_that_merely_look_like_leftovers_are_kept_and_saved() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    let leftover = |number| String::from_utf8(temporary::name(99, number)).unwrap();
    let alike = [".xcache-notes", ".xcache-0123456789abcdef-1", ".xcache-0123456789abcdef-1-01234567"];
    fs::create_dir(source.join("sub")).unwrap();
    for name in alike {
        fs::write(source.join("sub").join(name), "mine").unwrap();
    }
    let expected = Snapshot::of(&source);
    fs::write(source.join("sub").join(leftover(1)), "left").unwrap();
    saved(&job, &place, "key", &source);
    for name in alike.into_iter().chain(["other"]) {
        fs::write(target.join(format!("{name}-too")), "mine").unwrap();
    }
    fs::create_dir(target.join("sub")).unwrap();
    for name in ["", "sub"] {
        fs::write(target.join(name).join(leftover(2)), "left").unwrap();
    }
    restored(&job, &place, "key", &target);
    assert_eq!(ours(&target), Vec::<String>::new());
    for name in alike {
        fs::remove_file(target.join(format!("{name}-too"))).unwrap();
    }
    fs::remove_file(target.join("other-too")).unwrap();
    assert_eq!(expected.differences(&Snapshot::of(&target), &[Aspect::Root, Aspect::Mtimes]), Vec::<String>::new());
}

#[test]
fn a_restore_that_is_interrupted_takes_nothing_away_from_another_one() {
    use rustix::process::{Pid, Signal, kill_process};
    let (saving, place) = (Job::new(), Place::on(s3::server()));
    let source = saving.dir("source");
    large_tree(&source);
    saved(&saving, &place, "key", &source);
    for below in ["", "sub"] {
        let (job, other) = (Job::new(), Job::new());
        let target = job.dir("target");
        let (mut proxy, first) = held_restore(&job, &place, &target);
        // The other one restores into the same directory, or into one below it.
        let other_place = Place::local();
        saved(&saving, &other_place, "key", &source.join(below));
        let mut command = restore(&other, &other_place, "key").arg("--json").arg(target.join(below)).into_command();
        let second = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
        proxy.release();
        assert_eq!(first.wait_with_output().unwrap().status.code(), Some(1));
        let second = second.wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&second.stdout).contains("\"exact\""), "{second:?}");
        assert_same_tree(&source.join(below), &target.join(below), &[Aspect::Root]);
        assert_eq!(ours(&target), Vec::<String>::new());
    }
}

#[test]
fn what_is_in_the_way_is_found_before_anything_is_replaced() {
    for (name, at_file) in [("z-link", "large"), ("z-hard", "large"), ("random/in-the-way", "large")] {
        let (job, place) = (Job::new(), Place::local());
        let (source, target) = (job.dir("source"), job.dir("target"));
        large_tree(&source);
        match name {
            "z-link" => std::os::unix::fs::symlink("large", source.join(name)).unwrap(),
            "z-hard" => fs::hard_link(source.join("large"), source.join(name)).unwrap(),
            _ => fs::write(source.join(name), "file").unwrap(),
        }
        saved(&job, &place, "key", &source);
        fs::create_dir_all(target.join(name)).unwrap();
        fs::write(target.join(name).join("precious"), "precious").unwrap();
        fs::write(target.join(at_file), "old").unwrap();
        let stat = |path: &str| fs::metadata(target.join(path)).unwrap();
        let before = (stat(at_file).ino(), stat(at_file).ctime_nsec());
        let outcome = restore(&job, &place, "key").arg("--json").arg(&target).run().ok();
        let outcome = outcome.reviewed();
        assert_eq!(outcome.json()["reason"], "cannot-write", "{}", outcome.stderr);
        assert_eq!((stat(at_file).ino(), stat(at_file).ctime_nsec()), before, "it was touched");
        assert_eq!(ours(&target), Vec::<String>::new());
        restore(&job, &place, "key").arg("--clean").arg(&target).run().ok();
        assert_same_tree(&source, &target, &[]);
    }
}

/// A tree `levels` deep, with a file and a directory beside each level.
fn deep_tree(dir: &Path, levels: usize) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, dir, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        for name in ["d", "e"] {
            mkdirat(&at, name, Mode::from_raw_mode(0o755)).unwrap();
        }
        let file = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&at, "f", file, Mode::from_raw_mode(0o644)).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
}

/// A program that may open this many files, and cannot raise that.
fn with_descriptors(job: &Job, count: u32, program: &str) -> xcache_tests::job::Invocation {
    let script = format!("ulimit -Sn {count} && ulimit -Hn {count} && exec \"$0\" \"$@\"");
    job.command("sh").args(["-c", &script, program])
}

#[test]
fn deep_trees_come_back_with_few_descriptors_and_many_threads() {
    for (levels, descriptors) in [(80, 1024), (80, 160), (900, 1024), (900, 160)] {
        let (job, place) = (Job::new(), Place::local());
        let (source, target) = (job.dir("source"), job.dir("target"));
        deep_tree(&source, levels);
        let arguments = ["--key", "key", "--workers", "16", "--json"];
        let save = with_descriptors(&job, descriptors, SAVE).store(&place).args(arguments).arg(&source).run().ok();
        assert_eq!((&save.json()["outcome"], &save.json()["skipped"]), (&"saved".into(), &0.into()), "{}", save.stderr);
        for clean in [&[][..], &[], &["--clean"]] {
            // What is removed may be as deep.
            fs::create_dir_all(target.join("stale")).unwrap();
            if !clean.is_empty() {
                deep_tree(&target.join("stale"), levels);
            }
            let restore = with_descriptors(&job, descriptors, RESTORE).store(&place).args(arguments).args(clean);
            let outcome = restore.arg(&target).run().ok();
            assert_eq!(outcome.json()["outcome"], "exact", "{levels} {descriptors}: {}", outcome.stderr);
        }
        assert!(!target.join("stale").exists());
        let found = std::process::Command::new("diff").arg("-r").args([&source, &target]).output().unwrap();
        assert!(found.status.success(), "{found:?}");
    }
}

#[test]
fn a_process_that_may_open_next_to_nothing_ends_in_order() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    large_tree(&source);
    saved(&job, &place, "key", &source);
    for descriptors in [4, 6, 8, 12, 16, 24] {
        let restore = with_descriptors(&job, descriptors, RESTORE).store(&place).args(["--key", "key"]);
        let outcome = restore.arg(&target).run();
        assert_eq!(outcome.code, Some(0), "{descriptors}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{descriptors}: {}", outcome.stderr);
        let left = fs::read_dir(&target).unwrap().count();
        assert!(left == 0 || Snapshot::of(&source) == Snapshot::of(&target), "{descriptors}: {left} left");
    }
}

#[test]
fn a_huge_sparse_file_costs_no_more_than_the_small_one_that_replaces_it() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    let content = Rng::new(3).bytes(200_000);
    fs::write(source.join("file"), &content).unwrap();
    saved(&job, &place, "key", &source);
    // To read this to its end takes hours.
    let old = fs::File::create(target.join("file")).unwrap();
    old.set_len(8 << 40).unwrap();
    old.write_all_at(&content[..150_000], 4 << 40).unwrap();
    restored(&job, &place, "key", &target);
    assert_same_tree(&source, &target, &[]);
}

/// Puts the archive that `script` makes in `tree` where the entry `name` is expected.
fn plain_entry(place: &Place, name: &str, script: &str) {
    let job = Job::new();
    fs::create_dir(job.path("tree")).unwrap();
    let output =
        std::process::Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(job.work()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    place.put(&format!("{name}-base.tar.zst"), &output.stdout);
}

#[test]
fn the_next_candidate_is_taken_where_an_archive_without_an_index_cannot_be_restored() {
    for (script, reason) in [
        // Longer than any file can be.
        (
            "truncate -s 9223372036854775000 tree/hole 2>/dev/null || truncate -s 15T tree/hole; printf x >tree/a;
          tar --sparse --format=posix -C tree -c . | zstd -q",
            "",
        ),
        ("printf x >tree/full; tar -C tree -c . | zstd -q", "a directory that is not empty is in its place"),
        (
            "printf x >tree/a; tar -C tree -c . | zstd -q --long=31 --ultra -22 -T1 --zstd=wlog=31",
            "window of more than 128 MiB",
        ),
        (
            "mkdir tree/d; printf x >tree/d/f; tar -C tree -c d/f | zstd -q; rm -r tree/d; printf x >tree/d;
          tar -C tree -c d | zstd -q",
            "",
        ),
    ] {
        let (job, place) = (Job::new(), Place::local());
        let (source, target) = (job.dir("source"), job.dir("target"));
        fs::write(source.join("good"), "good").unwrap();
        saved(&job, &place, "k-good", &source);
        plain_entry(&place, "k-bad", script);
        fs::create_dir(target.join("full")).unwrap();
        fs::write(target.join("full/file"), "old").unwrap();
        let restore = restore(&job, &place, "k-bad").args(["--restore-keys", "k-good", "--relocate", "--json"]);
        let outcome = restore.arg(&target).run().ok().says(&[reason]);
        let found = outcome.json();
        // What this file system can hold after all is a hit.
        if found["matched_key"] != "k-bad" || !reason.is_empty() {
            assert_eq!(found["matched_key"], "k-good", "{script}: {}", outcome.stderr);
            assert_eq!(fs::read_dir(&target).unwrap().count(), 2, "{script}");
        }
    }
}

#[test]
fn a_refused_window_is_no_damage() {
    let (job, place) = (Job::new(), Place::local());
    let target = job.dir("target");
    plain_entry(&place, "key", "printf x >tree/a; tar -C tree -c . | zstd -q --long=31 --ultra -22 -T1 --zstd=wlog=31");
    let outcome = restore(&job, &place, "key").arg("--json").arg(&target).run().ok();
    assert_eq!(outcome.json()["reason"], "failed", "{}", outcome.stderr);
    fs::write(target.join("new"), "new").unwrap();
    let outcome = save(&job, &place, "key").arg("--json").arg(&target).run().ok();
    assert_eq!(outcome.json()["outcome"], "exists", "the user's own archive was replaced");
    // As large a window as `zstd -d` accepts.
    plain_entry(&place, "other", "printf x >tree/a; tar -C tree -c . | zstd -q --long=27");
    restored(&job, &place, "other", &job.dir("elsewhere"));
}

/// Where a command runs that mounts an overlay file system over `lower`, at `target`.
fn over_an_image(job: &Job, lower: &Path, target: &Path) -> xcache_tests::job::Invocation {
    let script = "mount -t tmpfs none \"$1\" && mkdir \"$1/upper\" \"$1/work\" &&
        mount -t overlay overlay -o \"lowerdir=$2,upperdir=$1/upper,workdir=$1/work\" \"$3\" &&
        shift 3 && \"$@\" && cp -a \"$TARGET/.\" \"$RESULT\"";
    let (memory, result) = (job.dir("memory"), job.dir("result"));
    let command =
        job.command("unshare").args(["--mount", "sh", "-euc", script, "sh"]).arg(memory).arg(lower).arg(target);
    command.env("TARGET", target).env("RESULT", result).arg(RESTORE)
}

#[test]
fn directories_of_an_image_layer_make_room() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tested: only root can mount an overlay file system");
        return;
    }
    for (full, clean) in [(false, false), (true, true), (true, false)] {
        let (job, place) = (Job::new(), Place::local());
        let (source, lower, target) = (job.dir("source"), job.dir("lower"), job.dir("target"));
        fs::write(source.join("file"), "new").unwrap();
        fs::write(source.join("large"), Rng::new(1).bytes(9 << 20)).unwrap();
        std::os::unix::fs::symlink("file", source.join("link")).unwrap();
        saved(&job, &place, "key", &source);
        for name in ["file", "large", "link"] {
            fs::create_dir(lower.join(name)).unwrap();
            if full {
                fs::create_dir(lower.join(name).join("sub")).unwrap();
                fs::write(lower.join(name).join("sub/file"), "old").unwrap();
            }
        }
        let command = over_an_image(&job, &lower, &target).store(&place).args(["--key", "key", "--json"]);
        let outcome = command.args(if clean { &["--clean"][..] } else { &[] }).arg(&target).run().ok();
        if full && !clean {
            assert_eq!(outcome.json()["outcome"], "miss");
            let before = Snapshot::of(&lower);
            let found = Snapshot::of(&job.path("result"));
            assert_eq!(before.differences(&found, &[Aspect::Root]), Vec::<String>::new());
        } else {
            assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
            assert_same_tree(&source, &job.path("result"), &[]);
        }
    }
}

/// The extended attributes of `path` that are not of users.
fn rights(path: &Path) -> Vec<(String, Vec<u8>)> {
    let names = ["system.posix_acl_access", "system.posix_acl_default", "security.capability"];
    let get = |name: &str| {
        let mut value = vec![0; 1000];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
        value.truncate(length);
        Some((name.to_owned(), value))
    };
    names.into_iter().filter_map(get).collect()
}

#[test]
fn access_control_lists_and_capabilities_survive_and_what_is_not_permitted_is_a_notice() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    // User 1234 may read and write, besides its owner.
    let list = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x06\0\xd2\x04\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x06\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    fs::create_dir(source.join("dir")).unwrap();
    for name in ["file", "dir/small", "plain", "program"] {
        fs::write(source.join(name), name).unwrap();
    }
    fs::write(source.join("large"), Rng::new(1).bytes(9 << 20)).unwrap();
    for name in ["file", "dir/small", "large", "dir"] {
        tree::set_xattr(&source.join(name), "system.posix_acl_access", list);
    }
    tree::set_xattr(&source.join("dir"), "system.posix_acl_default", list);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        tree::set_xattr(&source.join("program"), "security.capability", &capability);
    }
    saved(&job, &place, "key", &source);
    let check = |target: &Path| {
        for name in ["file", "dir/small", "large", "dir", "plain", "program"] {
            assert_eq!(rights(&target.join(name)), rights(&source.join(name)), "{name}");
        }
    };
    restored(&job, &place, "key", &target);
    check(&target);
    assert_same_tree(&source, &target, &[]);
    // Once lost, they are set again.
    for name in ["file", "dir"] {
        rustix::fs::removexattr(target.join(name), "system.posix_acl_access").unwrap();
    }
    restored(&job, &place, "key", &target);
    check(&target);
    if is_root {
        tree::set_mode(place.dir(), 0o755);
        let other = job.dir("other");
        let restore = without_rights(&job, RESTORE, &[&other]).store(&place).args(["--key", "key", "--json"]);
        let outcome = restore.arg(&other).run().ok().reviewed();
        assert_eq!(outcome.json()["outcome"], "exact");
        assert_eq!(rights(&other.join("program")), []);
        assert_eq!(rights(&other.join("file")), rights(&source.join("file")));
    }
}

#[test]
fn clean_is_refused_for_directories_that_are_more_than_a_cache() {
    let place = Place::local();
    let saving = Job::new();
    let source = saving.dir("source");
    fs::write(source.join("file"), "file").unwrap();
    saved(&saving, &place, "key", &source);
    let check = |make: fn(&Job) -> PathBuf| {
        let job = Job::new();
        let target = make(&job);
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("precious"), "precious").unwrap();
        let before = Snapshot::of(&target);
        let run = |arguments: &[&str]| restore(&job, &place, "key").arg("--clean").args(arguments).arg(&target).run();
        run(&[]).expect_code(2).reviewed();
        assert_eq!(before.differences(&Snapshot::of(&target), &[]), Vec::<String>::new());
        run(&["--clean-protected"]).ok();
        assert!(!target.join("precious").exists() && target.join("file").exists());
    };
    check(|job| job.work());
    check(|job| job.home());
    check(|job| job.work().parent().unwrap().to_owned());
    check(|job| {
        fs::create_dir_all(job.path("repository/.git")).unwrap();
        job.path("repository")
    });
    let job = Job::new();
    restore(&job, &place, "key").args(["--clean", "/"]).run().expect_code(2).reviewed();
    // Without `--clean`, and for what is below, nothing is asked.
    restore(&job, &place, "key").args(["--clean", "target"]).run().ok();
    restore(&job, &place, "key").arg(".").run().ok();
}

#[test]
fn a_damaged_entry_leaves_a_warm_tree_as_it_was_and_is_replaced() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    large_tree(&source);
    saved(&job, &place, "key", &source);
    restored(&job, &place, "key", &target);
    for name in ["large", "sub/larger", "random/f1"] {
        fs::write(target.join(name), "changed").unwrap();
    }
    let before = Snapshot::of(&target);
    let mut object = place.get("key-base.tar.zst").unwrap();
    object[12 << 20] ^= 1;
    place.put("key-base.tar.zst", &object);
    for _ in 0..2 {
        let outcome = restore(&job, &place, "key").arg("--json").arg(&target).run().ok();
        assert_eq!(outcome.json()["reason"], "corrupt", "{}", outcome.stderr);
        assert_eq!(before.differences(&Snapshot::of(&target), &[Aspect::Root, Aspect::Mtimes]), Vec::<String>::new());
    }
    let outcome = save(&job, &place, "key").arg("--json").arg(&target).run().ok();
    assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
    restored(&job, &place, "key", &job.dir("elsewhere"));
}

#[test]
fn clean_counts_files() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    fs::write(source.join("file"), "file").unwrap();
    saved(&job, &place, "key", &source);
    fs::create_dir_all(target.join("stale/deep/deeper")).unwrap();
    for name in ["one", "stale/two", "stale/deep/three", "stale/deep/deeper/four"] {
        fs::write(target.join(name), "stale").unwrap();
    }
    std::os::unix::fs::symlink("nowhere", target.join("stale/five")).unwrap();
    let outcome = restore(&job, &place, "key").args(["--clean", "--json"]).arg(&target).run().ok();
    assert_eq!(outcome.json()["removed_files"], 5, "{}", outcome.stderr);
    assert_same_tree(&source, &target, &[]);
}
