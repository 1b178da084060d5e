//! The store in a directory: who makes it, how it is copied, and what it does on a full disk.

use std::fs;
use std::path::Path;
use std::process::Command;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::Rng;

use crate::{GC, RESTORE, SAVE, restored, save, saved};

#[test]
fn only_a_save_makes_a_store() {
    let job = Job::new();
    let typo = job.path("no/such/store");
    let url = format!("file://{}", typo.display());
    for arguments in [
        &["ls"][..],
        &["ls", "-l"],
        &["du"],
        &["verify"],
        &["verify", "--deep"],
        &["show", "key"],
        &["rm", "key", "--yes"],
        &["rm", "--prefix", "k", "--yes"],
        &["prune", "--max-age", "1d"],
        &["prune", "--max-age", "1d", "--dry-run"],
    ] {
        let outcome = job.command(GC).args(arguments).args(["--store", &url]).run();
        assert_eq!(outcome.code, Some(1), "{arguments:?}: {}", outcome.stderr);
        outcome.clone().reviewed();
        assert!(!job.path("no").exists(), "{arguments:?}");
    }
    for arguments in [&[][..], &["--lookup-only"], &["--fail-on-error"]] {
        let command = job.command(RESTORE).args(["--store", &url, "--key", "key", "--json"]).args(arguments);
        let outcome = command.arg(job.path("target")).run().ok().reviewed();
        assert_eq!(outcome.json()["reason"], "no-store", "{}", outcome.stderr);
        assert!(!job.path("no").exists(), "{arguments:?}");
    }
    fs::write(job.dir("source").join("file"), "x").unwrap();
    job.command(SAVE).args(["--store", &url, "--key", "key"]).arg(job.path("source")).run().ok();
    job.command(GC).args(["ls", "--store", &url]).run().ok();
}

/// A base with a pin, and a delta on it.
fn filled(job: &Job, place: &Place) {
    let source = job.dir("source");
    fs::write(source.join("file"), Rng::new(1).bytes(100_000)).unwrap();
    save(job, place, "base").args(["--tag", "keep=true"]).arg(&source).run().ok();
    fs::write(source.join("new"), "new").unwrap();
    let delta = save(job, place, "delta").args(["--base-key", "base", "--json"]).arg(&source).run().ok();
    assert_eq!(delta.json()["kind"], "delta", "{}", delta.stderr);
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The commands of `docs/stores.md`.
#[test]
fn a_copied_store_restores_and_keeps_its_pins() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/stores.md")).unwrap();
    for (command, keeps_pins) in [
        ("cp -a /var/cache/xcache /mnt/new/xcache", true),
        ("rsync -aX --delete /var/cache/xcache/ /mnt/new/xcache/", true),
        ("tar --xattrs -C /var/cache -cf - xcache | tar --xattrs -C /mnt/new -xf -", true),
        // Not as documented: without times and attributes.
        ("cp -r /var/cache/xcache /mnt/new/xcache", false),
    ] {
        if keeps_pins {
            assert!(docs.contains(command), "`{command}` is not in docs/stores.md");
        }
        if command.starts_with("rsync") && !has("rsync") {
            eprintln!("not tested: there is no rsync");
            continue;
        }
        let job = Job::new();
        let (old, new) = (job.dir("old"), job.dir("new"));
        fs::create_dir(old.join("xcache")).unwrap();
        let at = |directory: &Path| format!("file://{}", directory.join("xcache").display());
        let place = Place::at(&old.join("xcache"));
        filled(&job, &place);
        let command = command.replace("/var/cache", old.to_str().unwrap()).replace("/mnt/new", new.to_str().unwrap());
        let status = Command::new("sh").args(["-euc", &command]).status().unwrap();
        assert!(status.success(), "{command}");
        fs::rename(old.join("xcache"), old.join("gone")).unwrap();
        let copy = Place::at(&new.join("xcache"));
        for key in ["base", "delta"] {
            restored(&Job::new(), &copy, key, &job.path(format!("{key}-restored")));
        }
        assert_eq!(fs::read_to_string(job.path("delta-restored/new")).unwrap(), "new");
        let verified = job.command(GC).args(["verify", "--deep", "--store", &at(&new)]).run();
        assert_eq!(verified.code, Some(0), "{command}: {}{}", verified.stdout, verified.stderr);
        let shown = job.command(GC).args(["show", "base", "--store", &at(&new)]).run().ok();
        assert_eq!(shown.stdout.contains("keep=true"), keeps_pins, "{command}: {}", shown.stdout);
        // What builds on the copy names the objects as they are now.
        let source = job.path("source");
        fs::write(source.join("newer"), "newer").unwrap();
        let next = save(&Job::new(), &copy, "next").args(["--base-key", "delta", "--json"]).arg(&source).run().ok();
        assert_eq!(next.json()["kind"], "delta", "{command}: {}", next.stderr);
        let shown = job.command(GC).args(["show", "next", "--store", &at(&new)]).run().ok();
        assert!(!shown.stdout.contains("GONE") && shown.stdout.contains("base-base"), "{command}: {}", shown.stdout);
    }
}

#[test]
fn a_clean_up_works_on_a_full_disk() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tested: only root can mount a small file system");
        return;
    }
    let job = Job::new();
    for number in 0..3 {
        let source = job.dir(&format!("source-{number}"));
        fs::write(source.join("file"), Rng::new(number).bytes(1 << 20)).unwrap();
    }
    // Fills the disk to the last byte, then removes.
    let script = r#"
        mount -t tmpfs -o size=6m none "$1"
        for n in 0 1 2; do "$2" --full --store "file://$1/store" --key "k$n" "$4-$n"; done
        dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null || true
        ! "$2" --full --fail-on-error --store "file://$1/store" --key full "$4-0" >"$5" 2>&1
        "$3" rm --yes --store "file://$1/store" k0 k1
        "$3" ls --store "file://$1/store"
        "$2" --full --fail-on-error --store "file://$1/store" --key again "$4-0""#;
    let (disk, said) = (job.dir("disk"), job.path("said"));
    let command = job.command("unshare").args(["--mount", "sh", "-euc", script, "sh"]).arg(&disk).arg(SAVE).arg(GC);
    let outcome = command.arg(job.path("source")).arg(&said).run().ok();
    let listed: Vec<&str> = outcome.stdout.lines().filter(|line| !line.starts_with("delete")).collect();
    assert!(listed.iter().any(|line| line.ends_with("k2")), "{}{}", outcome.stdout, outcome.stderr);
    assert!(!listed.iter().any(|line| line.ends_with("k0") || line.ends_with("k1")), "{}", outcome.stdout);
    let said = fs::read_to_string(said).unwrap();
    assert!(said.contains("no space left") && said.contains("xcache-gc prune"), "{said}");
}

/// On a disk without a free block, where nothing is in reserve either.
#[test]
fn a_clean_up_works_when_the_reserve_is_used_up() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tested: only root can mount a small file system");
        return;
    }
    let job = Job::new();
    for number in 0..2 {
        let source = job.dir(&format!("source-{number}"));
        fs::write(source.join("file"), Rng::new(number).bytes(1 << 20)).unwrap();
    }
    let script = r#"
        mount -t tmpfs -o size=6m none "$1"
        for n in 0 1; do "$2" --full --store "file://$1/store" --key "k$n" "$4-$n"; done
        "$2" --full --store "file://$1/store" --key k2 "$4-1"
        rm "$1/store/.xcache/local/reserve"
        dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null || true
        "$3" rm --yes --store "file://$1/store" k0
        ls "$1/store/.xcache/local/reserve" "$1/store/.xcache/condemned" 2>&1 || true
        "$3" ls --store "file://$1/store"
        mount -o remount,ro "$1"
        ! "$3" rm --yes --store "file://$1/store" k1
        ! "$3" prune --max-age 0s --min-age 0s --store "file://$1/store""#;
    let disk = job.dir("disk");
    let command = job.command("unshare").args(["--mount", "sh", "-euc", script, "sh"]).arg(&disk).arg(SAVE).arg(GC);
    let outcome = command.arg(job.path("source")).run().ok();
    let lists = |key: &str| outcome.stdout.lines().any(|line| line.ends_with(key) && !line.starts_with("delete"));
    assert!(!lists("k0") && lists("k1"), "{outcome:?}");
    assert!(outcome.stdout.contains("local/reserve\n"), "it is kept anew: {outcome:?}");
    assert!(!outcome.stderr.contains("stays marked"), "{outcome:?}");
    outcome.says(&["on a read-only file system", "hint: name another directory, or mount it writable"]);
}

/// A mark without a document, as a full disk leaves one, is as good as any.
#[test]
fn a_mark_without_a_document_is_understood() {
    for place in Place::each() {
        let (job, source) = (Job::new(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("file"), "x").unwrap();
        saved(&job, &place, "key", source.path());
        let listed = job.command(GC).args(["ls", "--json"]).store(&place).run().ok().json();
        let etag = listed["entries"][0]["etag"].as_str().unwrap().to_owned();
        let mark = |etag: &str| {
            let id = xcache_core::naming::MarkId::of_object(
                &"key-base.tar.zst".to_owned().try_into().unwrap(),
                &etag.into(),
            );
            xcache_core::naming::condemned_name(&id).to_string()
        };
        place.put(&mark(&etag), b"");
        place.put(&mark("another object"), b"");
        let shown = job.command(GC).args(["show", "key"]).store(&place).run().ok();
        assert!(shown.stdout.contains("condemned"), "{}", shown.stdout);
        let other = Job::new();
        let made = save(&other, &place, "next").args(["--base-key", "key", "--json"]).arg(source.path()).run().ok();
        assert_eq!(made.json()["kind"], "base", "{}", made.stderr);
        // The mark of what this pass deletes is one that it has not put: the next one finds that its object is gone.
        for _ in 0..2 {
            job.command(GC).args(["prune", "--max-age", "300d"]).store(&place).run().ok();
            assert_eq!(place.entries(), ["next-base.tar.zst"]);
        }
        assert!(!place.objects().iter().any(|name| name.contains("condemned")), "{:?}", place.objects());
    }
}

#[test]
fn a_lock_that_is_waited_for_is_named_at_once() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    use rustix::fs::{FlockOperation, flock};

    let (job, place) = (Job::new(), Place::local());
    filled(&job, &place);
    let lock = fs::File::options().write(true).open(place.dir().join(".xcache/local/lock")).unwrap();
    for signal in [false, true] {
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let command = job.command(GC).args(["rm", "delta", "--yes"]).store(&place);
        let mut child = command.into_command().stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let told = lines.next().unwrap().unwrap();
        assert!(told.contains("waiting for the lock `") && told.contains("local/lock`, which process "), "{told}");
        if signal {
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
                .unwrap();
        } else {
            flock(&lock, FlockOperation::Unlock).unwrap();
        }
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(i32::from(signal)), "{rest:?}");
        flock(&lock, FlockOperation::Unlock).unwrap();
        assert_eq!(rest.iter().any(|line| line.contains("interrupted")), signal, "{rest:?}");
        if !signal {
            saved(&job, &place, "delta", &job.path("source"));
        }
    }
}

#[test]
fn what_dead_processes_left_is_removed_by_the_next_run() {
    let (job, place) = (Job::new(), Place::local());
    fs::write(job.dir("source").join("file"), Rng::new(1).bytes(9 << 20)).unwrap();
    saved(&job, &place, "key", &job.path("source"));
    let uploads = place.dir().join(".xcache/local/uploads");
    let mut child = save(&Job::new(), &place, "other").arg(job.path("source")).into_command().spawn().unwrap();
    while fs::read_dir(&uploads).map_or(0, Iterator::count) == 0 && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = fs::read_dir(&uploads).unwrap().count();
    job.command(GC).args(["ls", "--store", place.url()]).run().ok();
    assert_eq!(fs::read_dir(&uploads).unwrap().count(), 0, "{left} were left");
}
