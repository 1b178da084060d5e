//! Two hundred jobs at the same time on one server, two clean-ups among them: nothing is lost, one save of a key wins, and no
//! build fails. Prints figures with `--nocapture`.

use std::fs;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::s3;
use xcache_tests::tree::{Rng, Snapshot, random};

use crate::gc_cases::gc;
use crate::{restore, restored, save, saved};

/// Saves of one key.
const SAME_KEY: usize = 50;
/// Jobs that restore, build and save a key of their own.
const BUILDS: usize = 75;
/// Jobs that only restore.
const RESTORES: usize = 75;
/// Longer than two cores need for all of it.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// What a job was and what came of it.
struct Done {
    what: &'static str,
    outcome: Outcome,
    seconds: f64,
    job: Job,
}

fn done(what: &'static str, job: Job, invocation: xcache_tests::job::Invocation) -> Done {
    let begin = Instant::now();
    let outcome = invocation.run_within(PATIENCE);
    Done { what, outcome, seconds: begin.elapsed().as_secs_f64(), job }
}

fn same(place: &Place, number: usize) -> Vec<Done> {
    let job = Job::github();
    let tree = job.dir("tree");
    fs::write(tree.join("file"), Rng::new(number as u64).bytes(200_000)).unwrap();
    let invocation = save(&job, place, "same").args(["--full", "--json"]).arg(&tree);
    vec![done("save of one key", job, invocation)]
}

fn build(place: &Place, number: usize) -> Vec<Done> {
    let job = Job::github();
    let tree = job.path("tree");
    let invocation = restore(&job, place, "seed").arg("--json").arg(&tree);
    let first = done("restore", Job::new(), invocation);
    if first.outcome.json()["outcome"] != "exact" {
        return vec![first];
    }
    fs::write(tree.join("new"), Rng::new(1_000 + number as u64).bytes(60_000)).unwrap();
    let invocation = save(&job, place, &format!("build-{number}")).arg("--json").arg(&tree);
    vec![first, done("save of a delta", job, invocation)]
}

fn only_restore(place: &Place) -> Vec<Done> {
    let job = Job::github();
    let invocation = restore(&job, place, "seed").arg("--json").arg(job.path("tree"));
    vec![done("restore", job, invocation)]
}

fn clean_up(place: &Place) -> Vec<Done> {
    // Of the builds, which are one family, the newest twenty are kept; the others go while they are being saved.
    let prune = |job: &Job| gc(job, place, "prune").args(["--keep-newest", "20", "--min-age", "0h", "--json"]);
    let one = || {
        let job = Job::new();
        let invocation = prune(&job);
        done("clean-up", job, invocation)
    };
    vec![one(), one(), one()]
}

fn print_figures(all: &[Done], seconds: f64) {
    for what in ["save of one key", "restore", "save of a delta", "clean-up"] {
        let mut times: Vec<f64> = all.iter().filter(|done| done.what == what).map(|done| done.seconds).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let (count, half, most, last) = (times.len(), at(50), at(95), at(100));
        eprintln!(
            "{count:4} × {what}: half of them within {half:.1} s, 95 % within {most:.1} s, all within {last:.1} s"
        );
    }
    eprintln!("{} runs in {seconds:.0} s", all.len());
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_jobs_at_once_lose_nothing() {
    let place = Place::on(s3::server());
    let seeding = Job::github();
    let seed = seeding.dir("tree");
    random(&seed, 1, 80);
    saved(&seeding, &place, "seed", &seed);
    let (barrier, begin) = (Barrier::new(SAME_KEY + BUILDS + RESTORES + 2), Instant::now());
    let all: Vec<Done> = std::thread::scope(|scope| {
        let (place, barrier) = (&place, &barrier);
        let start = |run: Box<dyn FnOnce() -> Vec<Done> + Send>| {
            scope.spawn(move || {
                barrier.wait();
                run()
            })
        };
        let mut running = Vec::new();
        running.extend((0..SAME_KEY).map(|number| start(Box::new(move || same(place, number)))));
        running.extend((0..BUILDS).map(|number| start(Box::new(move || build(place, number)))));
        running.extend((0..RESTORES).map(|_| start(Box::new(|| only_restore(place)))));
        running.extend((0..2).map(|_| start(Box::new(|| clean_up(place)))));
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    print_figures(&all, begin.elapsed().as_secs_f64());

    let mut winners = Vec::new();
    for Done { what, outcome, job, .. } in &all {
        assert_eq!(outcome.code, Some(0), "{what}: {outcome:?}");
        let document = outcome.json();
        match *what {
            "save of one key" if document["outcome"] == "saved" => winners.push(job),
            "save of one key" => assert_eq!(document["outcome"], "exists", "{outcome:?}"),
            "restore" => assert_eq!(document["outcome"], "exact", "{outcome:?}"),
            "save of a delta" => assert_eq!(document["outcome"], "saved", "{outcome:?}"),
            _ => {}
        }
        if *what == "restore" && job.path("tree").exists() {
            let differences = Snapshot::of(&seed).differences(&Snapshot::of(&job.path("tree")), &[]);
            assert!(differences.is_empty(), "{differences:#?}");
        }
    }
    let [winner] = winners[..] else { panic!("{} saves of one key have won", winners.len()) };
    let job = Job::new();
    restored(&job, &place, "same", &job.path("tree"));
    assert_eq!(fs::read(job.path("tree/file")).unwrap(), fs::read(winner.path("tree/file")).unwrap());
    // Each entry that is left is whole, and nothing of ours lies around.
    gc(&job, &place, "verify").arg("--deep").run_within(PATIENCE).ok().says(&["0 faults"]);
    let builds = place.entries().into_iter().filter(|name| name.starts_with("build-")).count();
    assert!(builds >= 20, "{builds} builds are left");
    gc(&job, &place, "prune").args(["--keep-newest", "20", "--min-age", "0h"]).run().ok();
    let notes: Vec<_> = place.objects().into_iter().filter(|name| name.starts_with(".xcache/")).collect();
    assert_eq!(notes, [".xcache/store"]);
}
