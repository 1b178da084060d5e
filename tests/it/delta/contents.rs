//! Deltas in the large: they list as archives, and a chain of them restores like an entry saved in full.

use std::fs;
use std::path::Path;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::{self, Aspect, assert_same_tree};

use super::{archive, listed, save_delta, save_with};
use crate::{restore, restored, saved};

/// Changes of every kind to a tree made by `everything` and `random`.
fn change(dir: &Path, step: u64) {
    let new = dir.join(format!("step-{step}"));
    fs::create_dir(&new).unwrap();
    tree::random(&new, 100 + step, 5);
    tree::hard_links(&{
        let links = new.join("hard");
        fs::create_dir(&links).unwrap();
        links
    });
    tree::sparse_file(&new.join("sparse"), 1 << 20, &[(1 << 19, 4096 * 20)]);
    let large = dir.join("large");
    let mut content = fs::read(&large).unwrap();
    let at = usize::try_from(step).unwrap() * 300_000;
    content.splice(at..at, tree::Rng::new(step).bytes(5000));
    fs::write(&large, content).unwrap();
    if step > 0 {
        fs::remove_dir_all(dir.join(format!("step-{}", step - 1))).unwrap();
    }
}

#[test]
fn a_chain_of_deltas_restores_byte_for_byte_like_an_entry_saved_in_full() {
    for place in Place::each() {
        let job = Job::new();
        let source = job.dir("source");
        tree::everything(&source);
        tree::random(&source.join("random"), 4, 40);
        fs::write(source.join("large"), tree::Rng::new(9).bytes(3 << 20)).unwrap();
        saved(&job, &place, "k0", &source);
        for step in 0..4 {
            change(&source, step);
            save_delta(&job, &place, &format!("k{}", step + 1), &format!("k{step}"), &source);
        }
        let full = save_with(&job, &place, "full", &["--full"], &source);
        assert_eq!(full.json()["kind"], "base");
        let (from_deltas, from_full) = (job.path("from-deltas"), job.path("from-full"));
        restored(&Job::new(), &place, "k4", &from_deltas);
        restored(&Job::new(), &place, "full", &from_full);
        assert_same_tree(&source, &from_deltas, &[]);
        assert_same_tree(&from_full, &from_deltas, &[]);

        // And a base that is written after deltas is as plain as any.
        let (object, plain) = (job.path("object.tar.zst"), job.dir("plain"));
        fs::write(&object, place.get("full-base.tar.zst").unwrap()).unwrap();
        job.command("zstd").args(["-q", "-t"]).arg(&object).run().ok();
        let tar = job.command("tar").args(["--zstd", "--xattrs", "--numeric-owner", "-xpf"]).arg(&object);
        tar.arg("-C").arg(&plain).run().ok();
        // Names of attributes that no tar keeps are a topic of their own.
        assert_same_tree(&source, &plain, &[Aspect::Xattrs]);
    }
}

#[test]
fn tar_lists_what_a_delta_carries_and_zstd_tests_it() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    tree::random(&source, 4, 40);
    fs::write(source.join("large"), tree::Rng::new(9).bytes(2 << 20)).unwrap();
    saved(&job, &place, "one", &source);
    fs::write(source.join("new"), "a new file").unwrap();
    let mut content = fs::read(source.join("large")).unwrap();
    content[1 << 20] ^= 0x80;
    fs::write(source.join("large"), content).unwrap();
    save_delta(&job, &place, "two", "one", &source);

    let names = listed(&job, &place, "two-delta.tar.zst");
    let [file, chunk] = &names[..] else { panic!("{names:?}") };
    assert_eq!(file, "./new");
    let hex = chunk.strip_prefix(".xcache/chunks/").unwrap_or_else(|| panic!("{names:?}"));
    let index = archive(&place, "two-delta.tar.zst").index;
    let own: Vec<_> = index.chunks.iter().filter(|c| index.frames[c.frame as usize].source == 0).collect();
    assert!(own.iter().any(|chunk| chunk.hash.to_string() == hex), "{hex} is no chunk of its own");

    let object = job.path("object.tar.zst");
    fs::write(&object, place.get("two-delta.tar.zst").unwrap()).unwrap();
    job.command("zstd").args(["-q", "-t"]).arg(&object).run().ok();
}

#[test]
fn several_roots_map_by_position_through_deltas() {
    let (job, place) = (Job::new(), Place::local());
    let (a, b) = (job.dir("a"), job.dir("b"));
    tree::random(&a, 1, 20);
    tree::random(&b, 2, 20);
    let both = |key: &str, paths: &[&Path], job: &Job| {
        crate::save(job, &place, key).arg("--json").args(paths).run().ok().json()
    };
    assert_eq!(both("one", &[&a, &b], &job)["kind"], "base");
    fs::write(b.join("new"), "new").unwrap();
    let document = both("two", &[&a, &b], &job);
    assert_eq!((&document["kind"], &document["built_on"]), (&"delta".into(), &"one".into()));
    let (c, d) = (job.path("c"), job.path("d"));
    let other = Job::new();
    let outcome = restore(&other, &place, "two").arg("--json").args([&c, &d]).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact");
    assert_same_tree(&a, &c, &[]);
    assert_same_tree(&b, &d, &[]);
    // The state of that restore is good for the next save of those paths.
    fs::write(c.join("newer"), "newer").unwrap();
    let document = both("three", &[&c, &d], &other);
    assert_eq!((&document["kind"], &document["built_on"]), (&"delta".into(), &"two".into()));
    // Another number of roots is nothing to build on.
    assert_eq!(both("four", &[&c], &other)["kind"], "base");
}

#[test]
fn duplicates_and_directories_do_not_turn_deltas_into_bases() {
    let (job, place) = (Job::new(), Place::local());
    let source = job.dir("source");
    let content = tree::Rng::new(5).bytes(20_000);
    for number in 0..300 {
        fs::create_dir(source.join(format!("directory-{number}"))).unwrap();
    }
    for number in 0..40 {
        fs::write(source.join(format!("copy-{number}")), &content).unwrap();
    }
    saved(&job, &place, "k0", &source);
    for step in 0..4 {
        fs::write(source.join("changed"), tree::Rng::new(100 + step).bytes(5000)).unwrap();
        save_delta(&job, &place, &format!("k{}", step + 1), &format!("k{step}"), &source);
    }
    let target = job.path("target");
    restored(&Job::new(), &place, "k4", &target);
    assert_same_tree(&source, &target, &[]);
}
