//! Kills and interruptions: a save, a restore and a clean-up are stopped at every step. No entry is lost, no tree is half of
//! one and half of another, nothing of theirs is ever saved, and the next run puts everything right.
//!
//! A grid: what runs × where it is stopped × by which signal. It is stopped at each of its requests, before it arrives and
//! after it was carried out, and at each system call that changes the disk. The normal run tries a sample; all of it takes
//! some minutes: `cargo test -p xcache-tests --test it kills -- --ignored --nocapture` prints the number of cells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use xcache_core::temporary;
use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::tree::{Aspect, Rng, Snapshot};
use xcache_tests::{s3, skip};

use crate::delta::races::start;
use crate::{GC, RESTORE, SAVE, restored, saved};

const SIGNALS: [Signal; 3] = [Signal::KILL, Signal::TERM, Signal::INT];

/// One cell of so many is tried by the normal run. Prime, so that all kinds get their turn.
const SAMPLE: usize = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    SaveBase,
    SaveDelta,
    RestoreCold,
    RestoreOver,
    RestoreClean,
    RestorePlain,
    Prune,
}

const WHAT: [What; 7] = [
    What::SaveBase,
    What::SaveDelta,
    What::RestoreCold,
    What::RestoreOver,
    What::RestoreClean,
    What::RestorePlain,
    What::Prune,
];

/// Where a run is stopped at one of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the store sees it.
    Before,
    /// When the store has carried it out, and nobody knows yet.
    After,
}

/// A store with entries, and the trees in them.
struct World {
    /// The trees, by key.
    trees: Job,
    objects: Vec<(String, Vec<u8>)>,
}

impl World {
    /// `old`; `new`, a delta on it; and `plain`, the tree of `new` as `tar` packs it.
    fn new() -> Self {
        let (trees, place) = (Job::new(), Place::local());
        let old = trees.dir("old");
        for (name, seed, bytes) in [("kept", 1, 1_500_000), ("changed", 2, 200_000), ("dir/gone", 3, 200_000)] {
            fs::create_dir_all(old.join(name).parent().unwrap()).unwrap();
            fs::write(old.join(name), Rng::new(seed).bytes(bytes)).unwrap();
        }
        saved(&trees, &place, "old", &old);
        let (job, new) = (Job::new(), trees.path("new"));
        restored(&job, &place, "old", &new);
        change(&new);
        let outcome = crate::save(&job, &place, "new").arg("--json").arg(&new).run().ok();
        assert_eq!(outcome.json()["kind"], "delta", "{}", outcome.stderr);
        let script = "tar --format=posix -C new -c . | zstd -q";
        let archive = Command::new("sh").args(["-c", script]).current_dir(trees.work()).output().unwrap();
        place.put("plain-base.tar.zst", &archive.stdout);
        let objects = place.entries().into_iter().map(|name| (name.clone(), place.get(&name).unwrap())).collect();
        Self { trees, objects }
    }

    fn fill(&self, place: &Place) {
        for (name, bytes) in &self.objects {
            place.put(name, bytes);
        }
    }

    fn tree(&self, key: &str) -> PathBuf {
        self.trees.path(if key == "plain" { "new" } else { key })
    }

    fn snapshot(&self, key: &str) -> Snapshot {
        Snapshot::of(&self.tree(key))
    }
}

/// What the job changes: a file, one more, one less, a link.
fn change(tree: &Path) {
    fs::write(tree.join("changed"), Rng::new(4).bytes(200_000)).unwrap();
    fs::create_dir(tree.join("more")).unwrap();
    for (name, seed) in [("more/large", 5), ("more/small", 6)] {
        fs::write(tree.join(name), Rng::new(seed).bytes(usize::try_from(seed).unwrap() * 20_000)).unwrap();
    }
    fs::remove_file(tree.join("dir/gone")).unwrap();
    std::os::unix::fs::symlink("kept", tree.join("link")).unwrap();
    fs::hard_link(tree.join("kept"), tree.join("other-name")).unwrap();
}

/// One run that is stopped.
struct Cell<'w> {
    world: &'w World,
    what: What,
    job: Job,
    place: Place,
    before: Option<Snapshot>,
}

impl<'w> Cell<'w> {
    fn new(world: &'w World, what: What, place: Place) -> Self {
        world.fill(&place);
        let job = Job::new();
        let target = job.path("tree");
        match what {
            What::SaveBase => {
                fs::create_dir(&target).unwrap();
                change_from_nothing(&target);
            }
            What::SaveDelta => {
                restored(&job, &place, "old", &target);
                change(&target);
            }
            What::RestoreOver => restored(&job, &place, "old", &target),
            What::RestoreClean => {
                restored(&job, &place, "old", &target);
                fs::create_dir(target.join("stale")).unwrap();
                fs::write(target.join("stale/file"), "stale").unwrap();
            }
            What::RestoreCold | What::RestorePlain | What::Prune => {}
        }
        let before = target.exists().then(|| Snapshot::of(&target));
        Self { world, what, job, place, before }
    }

    fn key(&self) -> &'static str {
        match self.what {
            What::SaveBase | What::SaveDelta => "saved",
            What::RestorePlain => "plain",
            _ => "new",
        }
    }

    /// The command, with `place` as its store, run by `wrapper` if there is one.
    fn command(&self, place: &Place, wrapper: &[&str]) -> Invocation {
        let program = match self.what {
            What::SaveBase | What::SaveDelta => SAVE,
            What::Prune => GC,
            _ => RESTORE,
        };
        let command = match wrapper {
            [] => self.job.command(program),
            [first, rest @ ..] => self.job.command(first).args(rest).arg(program),
        };
        match self.what {
            What::Prune => {
                let policy = ["prune", "--max-total-size", "0B", "--min-age", "0h", "--yes"];
                command.args(policy).store(place)
            }
            what => {
                let clean: &[&str] = if what == What::RestoreClean { &["--clean"] } else { &[] };
                // With one worker system calls come in the same order each time.
                let args = ["--key", self.key(), "--workers", "1", "tree"];
                command.store(place).args(args).args(clean)
            }
        }
    }

    /// What must hold as soon as it has stopped, and after the next run.
    fn check(&self, status: ExitStatus, signal: Signal, shown: &str) {
        let target = self.job.path("tree");
        let is_killed = signal == Signal::KILL;
        if is_killed {
            assert!(matches!(status.code(), None | Some(0 | 1)), "{shown}: {status}");
        } else {
            // One that comes too late finds a run that is done.
            assert!(matches!(status.code(), Some(0 | 1)), "{shown}: {status}");
        }
        // Everything that can be found can be restored.
        for entry in self.place.entries() {
            let Some(key) = entry.strip_suffix("-base.tar.zst").or(entry.strip_suffix("-delta.tar.zst")) else {
                continue;
            };
            if self.world.objects.iter().any(|(name, _)| *name == entry) {
                let job = Job::new();
                restored(&job, &self.place, key, &job.path("again"));
                self.is_tree(&job.path("again"), key, shown);
            }
        }
        match self.what {
            What::SaveBase | What::SaveDelta => self.check_save(is_killed, shown),
            What::Prune => self.check_prune(shown),
            _ => self.check_restore(&target, is_killed, status, shown),
        }
    }

    #[track_caller]
    fn is_tree(&self, tree: &Path, key: &str, shown: &str) {
        let differences = self.world.snapshot(key).differences(&Snapshot::of(tree), &[Aspect::Root, Aspect::Mtimes]);
        assert_eq!(differences, Vec::<String>::new(), "{shown}");
    }

    fn check_save(&self, is_killed: bool, shown: &str) {
        let tree = self.job.path("tree");
        if !is_killed && self.place.objects().contains(&".xcache/store".to_owned()) {
            // But one that a probe had begun, which the clean-up takes away.
            assert_eq!(self.place.uploads(), 0, "{shown}");
        }
        let is_visible = self.place.entries().iter().any(|name| name.starts_with("saved-"));
        let outcome = self.command(&self.place, &[]).arg("--json").run().ok();
        let expected = if is_visible { "exists" } else { "saved" };
        assert_eq!(outcome.json()["outcome"], expected, "{shown}: {}", outcome.stderr);
        let job = Job::new();
        restored(&job, &self.place, "saved", &job.path("again"));
        let found = Snapshot::of(&job.path("again"));
        assert_eq!(Snapshot::of(&tree).differences(&found, &[]), Vec::<String>::new(), "{shown}");
        self.assert_tidy(shown);
    }

    fn check_restore(&self, target: &Path, is_killed: bool, status: ExitStatus, shown: &str) {
        if !is_killed {
            // As it was, or done.
            let found = target.exists().then(|| Snapshot::of(target));
            if status.success() {
                self.is_done(target, shown);
            } else {
                let differences = match (&self.before, &found) {
                    (None, None) => Vec::new(),
                    (Some(before), Some(found)) => before.differences(found, &[Aspect::Root, Aspect::Mtimes]),
                    _ => vec![format!("{found:?}")],
                };
                assert_eq!(differences, Vec::<String>::new(), "{shown}");
            }
        }
        // What is saved now is one tree or the other, and nothing of ours.
        if target.exists() {
            let other = Place::local();
            let outcome = crate::save(&self.job, &other, "now").arg("--json").arg(target).run().ok();
            if outcome.json()["outcome"] == "saved" {
                let job = Job::new();
                restored(&job, &other, "now", &job.path("now"));
                let now = Snapshot::of(&job.path("now"));
                let is = |tree: &Snapshot| tree.differences(&now, &[Aspect::Root, Aspect::Mtimes]).is_empty();
                let is_done = is(&self.world.snapshot("new"));
                assert!(is_done || self.before.as_ref().is_some_and(is) || is(&with_gone(self)), "{shown}: {now:?}");
            } else {
                assert!(is_killed, "{shown}, {status}: {}", outcome.stderr);
            }
        }
        let outcome = self.command(&self.place, &[]).arg("--json").run().ok();
        assert_eq!(outcome.json()["outcome"], "exact", "{shown}: {}", outcome.stderr);
        self.is_done(target, shown);
        let again = self.command(&self.place, &[]).arg("--json").run().ok();
        assert_eq!(again.json()["outcome"], "exact", "{shown}: {}", again.stderr);
    }

    /// The tree of the entry is there, with what was there before and is not in it, unless that was to be removed.
    fn is_done(&self, target: &Path, shown: &str) {
        let found = Snapshot::of(target);
        let mut differences = self.world.snapshot("new").differences(&found, &[Aspect::Root, Aspect::Mtimes]);
        if self.what != What::RestoreClean {
            differences.retain(|line| !line.contains("an unexpected"));
        }
        assert_eq!(differences, Vec::<String>::new(), "{shown}");
        let is_ours = |path: &&[u8]| temporary::run_of(path.rsplit(|byte| *byte == b'/').next().unwrap()).is_some();
        assert_eq!(found.paths().filter(is_ours).count(), 0, "{shown}");
    }

    fn check_prune(&self, shown: &str) {
        self.command(&self.place, &[]).run().ok();
        let left: Vec<_> = self.place.entries();
        assert_eq!(left, Vec::<String>::new(), "{shown}");
        self.assert_tidy(shown);
    }

    /// Nothing lies around after the next clean-up but what is kept for an hour or a day, since its owner may still live.
    fn assert_tidy(&self, shown: &str) {
        let prune = ["prune", "--max-age", "100d", "--stale-uploads", "0h", "--min-age", "0h"];
        for _ in 0..50 {
            Job::new().command(GC).args(prune).store(&self.place).run().ok();
            // The store counts in seconds: one that was begun in this one is not old yet.
            if self.place.uploads() == 0 {
                break;
            }
        }
        let kept = [".xcache/store", ".xcache/intents/", ".xcache/gc/", ".xcache/probe/", ".xcache/local/"];
        let is_left = |name: &String| name.starts_with(".xcache/") && !kept.iter().any(|kept| name.starts_with(kept));
        let left: Vec<_> = self.place.objects().into_iter().filter(is_left).collect();
        assert_eq!(left, Vec::<String>::new(), "{shown}");
        assert_eq!(self.place.uploads(), 0, "{shown}");
    }
}

/// The tree of the entry, with what was there before: of a restore that was killed when it was done.
fn with_gone(cell: &Cell<'_>) -> Snapshot {
    let job = Job::new();
    let tree = job.path("tree");
    restored(&job, &cell.place, "old", &tree);
    restored(&job, &cell.place, "new", &tree);
    Snapshot::of(&tree)
}

fn change_from_nothing(tree: &Path) {
    for (name, seed, bytes) in [("kept", 1, 1_500_000), ("changed", 2, 200_000), ("dir/gone", 3, 200_000)] {
        fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
        fs::write(tree.join(name), Rng::new(seed).bytes(bytes)).unwrap();
    }
    change(tree);
}

/// How many requests a run has that is left alone.
fn requests(world: &World, what: What) -> usize {
    let cell = Cell::new(world, what, Place::on(s3::server()));
    let mut proxy = Proxy::recording(s3::server());
    cell.command(&cell.place.behind(proxy.endpoint()), &[]).run().ok();
    proxy.requests().len()
}

fn stop_at_request(world: &World, what: What, (at, number): (At, usize), signal: Signal) {
    let cell = Cell::new(world, what, Place::on(s3::server()));
    let action = if at == At::Before { "hold" } else { "hold-reply" };
    let mut proxy = Proxy::with_rules(s3::server(), &[&format!("* . {action} skip={number} count=1")]);
    let child = start(cell.command(&cell.place.behind(proxy.endpoint()), &[]));
    proxy.wait_until_held();
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(proxy);
    let said = String::from_utf8_lossy(&output.stderr);
    cell.check(output.status, signal, &format!("{what:?}, {at:?} request {number}, {signal:?}: {said}"));
}

fn stop_at_requests(step: usize) {
    let world = World::new();
    let mut cells = Vec::new();
    for what in WHAT {
        for number in 0..requests(&world, what) {
            for at in [At::Before, At::After] {
                cells.extend(SIGNALS.map(|signal| (what, (at, number), signal)));
            }
        }
    }
    let tried = cells.iter().step_by(step);
    eprintln!("{} of {} cells", tried.len(), cells.len());
    for (what, point, signal) in tried {
        stop_at_request(&world, *what, *point, *signal);
    }
}

#[test]
fn a_run_stopped_at_a_request_leaves_nothing_half_done() {
    stop_at_requests(SAMPLE);
}

#[test]
fn what_killed_probes_leave_goes_after_an_hour() {
    let place = Place::local();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3700);
    for name in ["k-base.tar.zst", ".xcache/probe/old-put", ".xcache/probe/new-put"] {
        place.put(name, b"x");
        if name.contains("old") {
            fs::File::options().write(true).open(place.dir().join(name)).unwrap().set_modified(old).unwrap();
        }
    }
    let prune = ["prune", "--max-age", "100d"];
    Job::new().command(GC).args(prune).store(&place).run().ok();
    let left: Vec<_> = place.objects().into_iter().filter(|name| name.contains("probe")).collect();
    assert_eq!(left, [".xcache/probe/new-put"]);
}

#[test]
#[ignore = "takes minutes"]
fn a_run_stopped_at_any_request_leaves_nothing_half_done() {
    stop_at_requests(1);
}

/// The system calls with which a run changes the disk.
const CALLS: [&str; 12] = [
    "mkdirat",
    "renameat2",
    "renameat",
    "linkat",
    "symlinkat",
    "unlinkat",
    "utimensat",
    "fchmod",
    "fchmodat",
    "ftruncate",
    "pwrite64",
    "write",
];

/// Stops a run at the `number`-th of these calls of a thread. Gives whether there were as many.
fn stop_at_call(world: &World, what: What, (call, number): (&str, usize), signal: Signal) -> bool {
    let cell = Cell::new(world, what, Place::local());
    let name = if signal == Signal::KILL { "KILL" } else { "TERM" };
    let inject = format!("inject={call}:signal={name}:when={number}");
    let trace = format!("trace={call}");
    let log = cell.job.path("calls");
    let wrapper = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
    let output = start(cell.command(&cell.place, &wrapper)).wait_with_output().unwrap();
    let is_reached = fs::read_to_string(&log).unwrap().contains(&format!("SIG{name}"));
    fs::remove_file(&log).unwrap();
    if is_reached {
        // Each thread gets the signal at its own call: a second one ends the run at once.
        let said = String::from_utf8_lossy(&output.stderr);
        let signal = if said.contains("because of a second signal") { Signal::KILL } else { signal };
        cell.check(output.status, signal, &format!("{what:?}, {call} {number}, {signal:?}: {said}"));
    }
    is_reached
}

fn stop_at_calls(step: usize) {
    if !skip::has("strace", Command::new("strace").arg("-V").output().is_ok()) {
        return;
    }
    let world = World::new();
    let (mut cells, mut turn) = (0, 0);
    for what in WHAT {
        for call in CALLS {
            for signal in [Signal::KILL, Signal::TERM] {
                let mut number = 1 + turn % step;
                while stop_at_call(&world, what, (call, number), signal) {
                    cells += 1;
                    number += step;
                }
                turn += 1;
            }
        }
    }
    eprintln!("{cells} cells");
    assert!(cells > 20, "{cells}");
}

#[test]
fn a_run_stopped_at_a_change_of_the_disk_leaves_nothing_half_done() {
    stop_at_calls(SAMPLE);
}

#[test]
#[ignore = "takes minutes"]
fn a_run_stopped_at_any_change_of_the_disk_leaves_nothing_half_done() {
    stop_at_calls(1);
}
