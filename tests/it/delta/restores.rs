//! Restores of deltas: what is fetched, and what is not.

use std::fs;
use std::path::Path;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::{Proxy, Request};
use xcache_tests::s3;
use xcache_tests::tree::{self, Rng, assert_same_tree};

use super::{archive, save_base, save_delta};
use crate::{restore, restored};

/// Entries `k0` (a base) to `k3` (deltas) of a growing tree; each adds 300 KB of new files and takes nothing away.
fn chain(place: &Place, source: &Path) -> Vec<String> {
    let job = Job::new();
    fs::create_dir_all(source).unwrap();
    fs::write(source.join("base"), Rng::new(1).bytes(6 << 20)).unwrap();
    save_base(&job, place, "k0", source);
    for step in 1..4u64 {
        for number in 0..3u64 {
            let content = Rng::new(step * 100 + number).bytes(100_000);
            fs::write(source.join(format!("new-{step}-{number}")), content).unwrap();
        }
        save_delta(&job, place, &format!("k{step}"), &format!("k{}", step - 1), source);
    }
    let names = ["k0-base.tar.zst", "k1-delta.tar.zst", "k2-delta.tar.zst", "k3-delta.tar.zst"];
    assert_eq!(place.entries(), names);
    names.map(str::to_owned).to_vec()
}

/// The requests that brought something, by object.
fn fetches<'a>(requests: &'a [Request], name: &str) -> Vec<&'a Request> {
    requests.iter().filter(|r| r.target.contains(name) && r.status == Some(206)).collect()
}

#[test]
fn a_delta_is_restored_from_all_its_refs() {
    for server in s3::servers() {
        let (job, place) = (Job::new(), Place::on(server));
        let (source, target) = (job.dir("source"), job.path("target"));
        let names = chain(&place, &source);
        let mut proxy = Proxy::recording(server);
        restored(&Job::new(), &place.behind(proxy.endpoint()), "k3", &target);
        assert_same_tree(&source, &target, &[]);
        let requests = proxy.requests();
        // Of each ref one part, of the entry itself its tail only.
        assert!(requests.iter().all(|request| request.operation() == "GetObject"), "{requests:?}");
        let counts: Vec<_> = names.iter().map(|name| fetches(&requests, name).len()).collect();
        assert_eq!(counts, [1, 1, 1, 1], "{requests:?}");
        assert_eq!(requests.len(), 5, "the base of the key is asked for, too: {requests:?}");
    }
}

#[test]
fn onto_an_older_entry_only_what_is_missing_is_fetched() {
    for server in s3::servers() {
        let (job, place) = (Job::new(), Place::on(server));
        let (source, target) = (job.dir("source"), job.path("target"));
        let names = chain(&place, &source);
        let elsewhere = Job::new();
        restored(&elsewhere, &place, "k1", &target);
        let mut proxy = Proxy::recording(server);
        let behind = place.behind(proxy.endpoint());
        let outcome = restore(&elsewhere, &behind, "k3").arg("--json").arg(&target).run().ok();
        assert_eq!(outcome.json()["outcome"], "exact");
        assert_same_tree(&source, &target, &[]);
        let requests = proxy.requests();
        let counts: Vec<_> = names.iter().map(|name| fetches(&requests, name).len()).collect();
        assert_eq!(counts, [0, 0, 1, 1], "{requests:?}");
        let received: u64 = requests.iter().filter(|r| r.status == Some(206)).map(|r| r.received).sum();
        assert!(received < 600_000 + 40_000, "{received}: {requests:?}");
        assert_eq!(outcome.json()["kept_files"], 4);

        // Without state the files are compared by content: the same is fetched.
        let stranger = Job::new();
        let target = job.path("second");
        restored(&elsewhere, &place, "k1", &target);
        proxy.requests();
        restored(&stranger, &behind, "k3", &target);
        assert_same_tree(&source, &target, &[]);
        let requests = proxy.requests();
        let counts: Vec<_> = names.iter().map(|name| fetches(&requests, name).len()).collect();
        assert_eq!(counts, [0, 0, 1, 1], "{requests:?}");

        // Nothing is missing: only the two tails are asked for.
        restored(&stranger, &behind, "k3", &target);
        assert_eq!(proxy.requests().len(), 2);
    }
}

#[test]
fn back_to_an_older_entry_with_clean_removes_what_it_does_not_have() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    chain(&place, &source);
    let (old, new) = (job.path("old"), job.path("new"));
    restored(&Job::new(), &place, "k1", &old);
    restored(&job, &place, "k3", &new);
    restore(&job, &place, "k1").arg("--clean").arg(&new).run().ok();
    assert_same_tree(&old, &new, &[]);
}

#[test]
fn a_damaged_ref_is_never_written_to_files() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    let names = chain(&place, &source);
    let good = place.get(&names[1]).unwrap();
    let frame = archive(&place, &names[3]).index.frames.iter().find(|f| f.source == 2).copied().unwrap();
    let mut bad = good.clone();
    bad[usize::try_from(frame.offset).unwrap() + 50_000] ^= 4;
    place.put(&names[1], &bad);
    let target = job.dir("target");
    let outcome = restore(&Job::new(), &place, "k3").arg("--json").arg(&target).run().ok();
    assert_eq!(outcome.json()["outcome"], "miss", "{}", outcome.stderr);
    assert_eq!(outcome.json()["reason"], "corrupt");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

/// Saves a tree, changes it, saves it again, and restores the second onto the first.
#[track_caller]
fn onto_the_older(make: impl FnOnce(&Path), change: impl FnOnce(&Path)) {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    // So that all else is little.
    fs::write(source.join("large"), Rng::new(6).bytes(100_000)).unwrap();
    make(&source);
    save_base(&job, &place, "old", &source);
    let other = Job::new();
    let target = other.path("target");
    restored(&other, &place, "old", &target);
    assert_same_tree(&source, &target, &[]);
    change(&source);
    save_delta(&job, &place, "new", "old", &source);
    restored(&other, &place, "new", &target);
    assert_same_tree(&source, &target, &[]);
}

#[test]
fn changed_attributes_are_set_on_files_that_are_kept() {
    let make = |tree: &Path| {
        fs::create_dir(tree.join("dir")).unwrap();
        for name in ["mode", "mtime", "attribute", "read-only", "setuid", "dir/file"] {
            fs::write(tree.join(name), format!("content of {name}")).unwrap();
        }
        tree::set_xattr(&tree.join("attribute"), "user.a", b"old");
    };
    onto_the_older(make, |tree| {
        tree::set_mode(&tree.join("mode"), 0o751);
        tree::set_mtime(&tree.join("mtime"), 1_234_567_890, 123);
        tree::set_xattr(&tree.join("attribute"), "user.a", b"new");
        tree::set_xattr(&tree.join("mode"), "user.b", b"first");
        tree::set_mode(&tree.join("read-only"), 0o400);
        tree::set_mode(&tree.join("setuid"), 0o6755);
        tree::set_mode(&tree.join("dir"), 0o2711);
        tree::set_xattr(&tree.join("dir"), "user.dir", b"value");
        tree::set_mtime(&tree.join("dir"), 1_234_567_891, 456);
    });
}

#[test]
fn files_become_links_and_directories_and_back() {
    let make = |tree: &Path| {
        fs::write(tree.join("to-link"), "a file").unwrap();
        fs::write(tree.join("to-dir"), "a file").unwrap();
        std::os::unix::fs::symlink("to-dir", tree.join("to-file")).unwrap();
        fs::create_dir(tree.join("dir-to-file")).unwrap();
        fs::write(tree.join("linked"), "one of two").unwrap();
        fs::write(tree.join("to-hard-link"), "one of two").unwrap();
    };
    onto_the_older(make, |tree| {
        for name in ["to-link", "to-dir", "to-file", "to-hard-link"] {
            fs::remove_file(tree.join(name)).unwrap();
        }
        fs::remove_dir(tree.join("dir-to-file")).unwrap();
        std::os::unix::fs::symlink("nowhere", tree.join("to-link")).unwrap();
        fs::create_dir(tree.join("to-dir")).unwrap();
        fs::write(tree.join("to-dir/file"), "below").unwrap();
        fs::write(tree.join("to-file"), "a file").unwrap();
        fs::write(tree.join("dir-to-file"), "a file").unwrap();
        fs::hard_link(tree.join("linked"), tree.join("to-hard-link")).unwrap();
    });
}

#[test]
fn attributes_that_are_gone_are_taken_from_files_that_are_kept() {
    let make = |tree: &Path| {
        fs::write(tree.join("file"), "content").unwrap();
        tree::set_xattr(&tree.join("file"), "user.a", b"value");
        tree::set_xattr(&tree.join("file"), "user.b", b"value");
    };
    onto_the_older(make, |tree| {
        rustix::fs::removexattr(tree.join("file"), "user.a").unwrap();
    });
}

#[test]
fn files_that_were_one_and_are_two_become_two() {
    let make = |tree: &Path| {
        fs::write(tree.join("a"), "content").unwrap();
        fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    };
    onto_the_older(make, |tree| {
        let modified = fs::metadata(tree.join("b")).unwrap().modified().unwrap();
        fs::remove_file(tree.join("b")).unwrap();
        fs::write(tree.join("b"), "content").unwrap();
        fs::File::options().write(true).open(tree.join("b")).unwrap().set_modified(modified).unwrap();
    });
}
