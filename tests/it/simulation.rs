//! Many saves on top of each other: a random tree is changed step by step as builds change a cache, and each step is
//! saved in the job that restored the one before. Whatever happens, the restored tree is exact, and what the chain
//! wastes stays within the bounds of the plan.
//!
//! `XCACHE_SIMULATION_STEPS=500` runs it for longer; so does the ignored test. The cost curve is printed with
//! `--nocapture`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use xcache_core::archive::index::Index;
use xcache_core::archive::reader::{ReadTail, read_tail};
use xcache_core::delta::plan::MAX_REFS;
use xcache_core::object::Ref;
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::{Rng, assert_same_tree, set_mode, set_mtime};

use crate::{SAVE, restore};

/// The cache is kept below this, as ccache does: the files used least recently go.
const LIMIT_BYTES: u64 = 3 << 20;
/// Steps of the quick run.
const STEPS: u32 = 60;
/// Every so many steps a stranger restores from scratch.
const FROM_SCRATCH: u32 = 6;

/// A cache directory and when each of its files was used last.
struct Cache {
    rng: Rng,
    dir: PathBuf,
    used: BTreeMap<PathBuf, u32>,
    next: u32,
}

impl Cache {
    fn new(dir: PathBuf, seed: u64) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let mut cache = Self { rng: Rng::new(seed), dir, used: BTreeMap::new(), next: 0 };
        for _ in 0..150 {
            cache.add(0);
        }
        cache
    }

    /// Mostly small, some of several chunks; half of them do not compress.
    fn content(&mut self) -> Vec<u8> {
        let size = match self.rng.below(12) {
            0 => 100_000 + self.rng.below(500_000),
            1..4 => self.rng.below(40_000),
            _ => self.rng.below(6_000),
        };
        if self.rng.below(2) == 0 { self.rng.bytes(size) } else { self.rng.text(size) }
    }

    fn add(&mut self, step: u32) {
        let name = format!("{:x}/{:x}/{}", self.rng.below(4), self.rng.below(4), self.next);
        self.next += 1;
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = self.content();
        fs::write(&path, content).unwrap();
        self.used.insert(path, step);
    }

    fn any(&mut self) -> Option<PathBuf> {
        let number = self.rng.below(self.used.len().max(1));
        self.used.keys().nth(number).cloned()
    }

    /// A small change inside a file: some bytes more, less, or other ones.
    fn edit(&mut self, path: &Path) {
        let mut content = fs::read(path).unwrap();
        let at = self.rng.below(content.len() + 1);
        let count = self.rng.below(2000);
        let new = self.rng.bytes(count);
        let end = (at + self.rng.below(2000)).min(content.len());
        content.splice(at..end, new);
        fs::write(path, content).unwrap();
    }

    /// What one build does.
    fn build(&mut self, step: u32) {
        for _ in 0..1 + self.rng.below(6) {
            self.add(step);
        }
        for _ in 0..self.rng.below(40) {
            // A hit: ccache touches the file.
            let Some(path) = self.any() else { break };
            set_mtime(&path, 1_600_000_000 + i64::from(step), u32::try_from(self.rng.below(1_000_000_000)).unwrap());
            self.used.insert(path, step);
        }
        for _ in 0..self.rng.below(4) {
            let Some(path) = self.any() else { break };
            match self.rng.below(5) {
                0 => {
                    fs::remove_file(&path).unwrap();
                    self.used.remove(&path);
                }
                1 => {
                    let to = self.dir.join(format!("renamed-{step}-{}", self.next));
                    fs::rename(&path, &to).unwrap();
                    self.used.remove(&path);
                    self.used.insert(to, step);
                    self.next += 1;
                }
                2 => set_mode(&path, 0o600 + u32::try_from(self.rng.below(0o200)).unwrap()),
                _ => self.edit(&path),
            }
        }
        // Once in a while everything is made anew, as after a change of the compiler.
        if step % 97 == 96 {
            for path in self.used.keys().cloned().collect::<Vec<_>>() {
                let content = self.content();
                fs::write(&path, content).unwrap();
            }
        }
        self.evict();
    }

    fn evict(&mut self) {
        let mut files: Vec<_> = self.used.iter().map(|(path, used)| (*used, path.clone())).collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, path)| fs::metadata(path).unwrap().len()).sum();
        for (_, path) in files {
            if total <= LIMIT_BYTES {
                break;
            }
            total -= fs::metadata(&path).unwrap().len();
            fs::remove_file(&path).unwrap();
            self.used.remove(&path);
        }
    }
}

/// What a step cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    is_base: bool,
    refs: usize,
    /// Of the new object.
    stored: u64,
    /// Frames of all objects that the entry is made of.
    reachable: u64,
    /// Frames that a restore from scratch fetches.
    fetched: u64,
    /// Of those, the share that the tree uses.
    live: u64,
}

fn cost(place: &Place, object: &str) -> Cost {
    let bytes = place.get(object).unwrap();
    let stored = u64::try_from(bytes.len()).unwrap();
    let ReadTail::Archive(archive) = read_tail(&bytes, stored).unwrap() else { panic!("`{object}` has no index") };
    let Index { frames, chunks, .. } = &archive.index;
    let mut live = 0.0;
    let mut seen = std::collections::HashSet::new();
    for chunk in chunks.iter().filter(|chunk| seen.insert(chunk.hash)) {
        let frame = &frames[chunk.frame as usize];
        live += f64::from(chunk.length) * f64::from(frame.stored_bytes) / f64::from(frame.raw_bytes);
    }
    Cost {
        is_base: archive.footer.refs.is_empty(),
        refs: archive.footer.refs.len(),
        stored,
        reachable: archive.footer.index_offset + archive.footer.refs.iter().map(|r: &Ref| r.data_bytes).sum::<u64>(),
        fetched: frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum(),
        live: live as u64,
    }
}

#[track_caller]
fn exact(job: &Job, place: &Place, key: &str, target: &Path) {
    let outcome = restore(job, place, key).args(["--json", "--clean"]).arg(target).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact", "{key}: {}", outcome.stderr);
}

fn simulate(seed: u64, steps: u32) {
    let (place, runner) = (Place::local(), Job::new());
    let mut cache = Cache::new(runner.path("cache"), seed);
    let follower = Job::new();
    let followed = follower.path("cache");
    let mut costs = Vec::new();
    for step in 0..steps {
        if step > 0 {
            cache.build(step);
        }
        let key = format!("key-{step:04}");
        let command = runner.command(SAVE).store(&place).args(["--key", &key, "--json", "-v"]).arg(&cache.dir);
        let outcome = command.run().ok();
        let document = outcome.json();
        assert_eq!(document["outcome"], "saved", "step {step}: {}", outcome.stderr);
        let cost = cost(&place, document["object"].as_str().unwrap());
        check_bounds(step, cost);
        costs.push(cost);

        // Another machine goes from entry to entry; a third begins anew; and now and then our own does, too.
        exact(&follower, &place, &key, &followed);
        assert_same_tree(&cache.dir, &followed, &[]);
        if step % FROM_SCRATCH == 0 {
            let stranger = Job::new();
            let target = stranger.path("cache");
            exact(&stranger, &place, &key, &target);
            assert_same_tree(&cache.dir, &target, &[]);
            fs::remove_dir_all(&cache.dir).unwrap();
            exact(&runner, &place, &key, &cache.dir);
        }
    }
    print_curve(&costs);
    // A chain of deltas costs far less than as many bases.
    let stored: u64 = costs.iter().map(|cost| cost.stored).sum();
    let full: u64 = costs.iter().map(|cost| cost.live).sum();
    assert!(stored * 4 < full, "{stored} of {full} bytes");
    assert!(costs.iter().filter(|cost| cost.is_base).count() * 10 < costs.len() + 20, "too many bases");
}

/// The rules of the plan, as they show in the object: at most 32 refs, and of each at least half is live, so that what
/// is reachable is at most twice what is live, and some for what is new.
#[track_caller]
fn check_bounds(step: u32, cost: Cost) {
    let Cost { refs, reachable, fetched, live, .. } = cost;
    assert!(refs <= MAX_REFS, "step {step}: {cost:?}");
    // Tar headers and padding of the members count to frames but not to chunks: a tenth for small files.
    assert!(reachable <= live * 22 / 10 + (64 << 10), "step {step}: {cost:?}");
    assert!(fetched <= reachable, "step {step}: {cost:?}");
}

#[expect(clippy::print_stdout, reason = "the cost curve is for who asks with `--nocapture`")]
fn print_curve(costs: &[Cost]) {
    println!("step  kind   refs  stored KiB  reachable KiB  fetched KiB  live KiB  fetched/live");
    let every = (costs.len() / 25).max(1);
    for (step, cost) in costs.iter().enumerate().filter(|(step, cost)| step % every == 0 || cost.is_base) {
        let Cost { is_base, refs, stored, reachable, fetched, live } = *cost;
        let kind = if is_base { "base" } else { "delta" };
        let ratio = fetched as f64 / live as f64;
        println!(
            "{step:4}  {kind:5}  {refs:4}  {:10}  {:13}  {:11}  {:8}  {ratio:12.2}",
            stored >> 10,
            reachable >> 10,
            fetched >> 10,
            live >> 10,
        );
    }
    let deltas: Vec<_> = costs.iter().filter(|cost| !cost.is_base).collect();
    let mean = deltas.iter().map(|cost| cost.stored).sum::<u64>() / u64::try_from(deltas.len().max(1)).unwrap();
    println!("{} deltas of {} KiB on average, {} bases", deltas.len(), mean >> 10, costs.len() - deltas.len());
}

#[test]
fn a_long_chain_of_random_changes_stays_exact_and_within_bounds() {
    let steps = std::env::var("XCACHE_SIMULATION_STEPS").map_or(STEPS, |text| text.parse().expect("a number of steps"));
    simulate(1, steps);
}

#[test]
#[ignore = "takes minutes"]
fn five_hundred_random_changes_stay_exact_and_within_bounds() {
    simulate(2, 500);
}
