//! Saves, restores and two gcs at once, real processes on a real server, killed at random.
//!
//! Run by hand: `cargo test -p xcache-tests --test it gc_stress -- --ignored --nocapture`. `XCACHE_STRESS_SECONDS` says
//! for how long; two minutes if it does not.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::s3;
use xcache_tests::tree::Rng;

use crate::{GC, restore, save};

const FILES: u64 = 6;
const FILE_BYTES: usize = 100_000;

#[derive(Default)]
struct Counts {
    saves: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    prunes: AtomicU64,
    verified: AtomicU64,
    kills: AtomicU64,
}

#[test]
#[ignore = "takes two minutes"]
fn nothing_breaks_while_everybody_works() {
    let seconds = std::env::var("XCACHE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    for server in s3::servers() {
        let place = Place::on(server);
        let counts = Counts::default();
        let end = Instant::now() + Duration::from_secs(seconds);
        std::thread::scope(|scope| {
            for n in 0..3 {
                let (place, counts) = (&place, &counts);
                scope.spawn(move || work(place, counts, end, n));
            }
            for n in 10..12 {
                let (place, counts) = (&place, &counts);
                scope.spawn(move || prune(place, counts, end, n));
            }
            scope.spawn(|| verify(&place, &counts, end));
        });
        let last = gc(&Job::new(), &place, "verify").arg("--deep").run().ok();
        let n = |count: &AtomicU64| count.load(Ordering::Relaxed);
        eprintln!(
            "{}: {} saves, {} hits, {} misses, {} prunes, {} kills, verified {} times; at the end: {}",
            server.name,
            n(&counts.saves),
            n(&counts.hits),
            n(&counts.misses),
            n(&counts.prunes),
            n(&counts.kills),
            n(&counts.verified),
            last.stderr.trim()
        );
        assert!(n(&counts.hits) > 0 && n(&counts.prunes) > 0, "nothing happened");
    }
}

/// Restores the newest entry, changes a file, saves under a new key; and so on.
fn work(place: &Place, counts: &Counts, end: Instant, n: u64) {
    let mut rng = Rng::new(n);
    let mut turn = 0;
    while Instant::now() < end {
        turn += 1;
        let job = Job::new();
        let tree = job.dir("tree");
        let found = restore(&job, place, "no such key").args(["--restore-keys", "k-", "--json"]).arg(&tree);
        if let Some(output) = run(found, &mut rng, counts) {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            if text.contains("\"prefix\"") {
                check(&tree, &text);
                counts.hits.fetch_add(1, Ordering::Relaxed);
            } else {
                counts.misses.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            // Killed half-way: some files may be there and some not.
            fs::remove_dir_all(&tree).unwrap();
            fs::create_dir(&tree).unwrap();
        }
        for file in 0..FILES {
            let seed = n * 1_000_000 + turn * 10 + file;
            if file == turn % FILES || !tree.join(file.to_string()).exists() {
                fs::write(tree.join(file.to_string()), bytes(seed)).unwrap();
                fs::write(tree.join(format!("{file}.seed")), seed.to_string()).unwrap();
            }
        }
        let key = format!("k-{n}{turn:07}");
        if let Some(output) = run(save(&job, place, &key).arg(&tree), &mut rng, counts) {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            counts.saves.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn prune(place: &Place, counts: &Counts, end: Instant, n: u64) {
    let mut rng = Rng::new(n);
    while Instant::now() < end {
        let policy = ["--keep-newest", "2", "--min-age", "0s", "--shadowed", "--dangling"];
        if let Some(output) = run(gc(&Job::new(), place, "prune").args(policy), &mut rng, counts) {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            counts.prunes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn verify(place: &Place, counts: &Counts, end: Instant) {
    while Instant::now() < end {
        gc(&Job::new(), place, "verify").run().ok();
        counts.verified.fetch_add(1, Ordering::Relaxed);
    }
}

fn gc(job: &Job, place: &Place, command: &str) -> Invocation {
    job.command(GC).arg(command).store(place)
}

/// Runs a program to its end, or kills it somewhere: one in four.
fn run(invocation: Invocation, rng: &mut Rng, counts: &Counts) -> Option<Output> {
    let mut child =
        invocation.into_command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if rng.below(4) == 0 {
        std::thread::sleep(Duration::from_millis(rng.next_u64() % 400));
        child.kill().unwrap();
        child.wait().unwrap();
        counts.kills.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    Some(child.wait_with_output().unwrap())
}

/// Every file is the one that its seed says.
fn check(tree: &Path, told: &str) {
    for file in 0..FILES {
        let seed = fs::read_to_string(tree.join(format!("{file}.seed"))).unwrap().parse().unwrap();
        assert_eq!(fs::read(tree.join(file.to_string())).unwrap(), bytes(seed), "{told}");
    }
}

fn bytes(seed: u64) -> Vec<u8> {
    Rng::new(seed).bytes(FILE_BYTES)
}
