//! The store, the runners, and what each entry must restore to.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use xcache_cli::ci::annotation::Commands;
use xcache_cli::ci::event::Event;
use xcache_cli::report::Reporter;
use xcache_cli::report::settings::{ProgressMode, Settings, Verbosity};
use xcache_cli::{RunContext, UnsafeToContinue, parse};
use xcache_core::archive::reader::{ReadTail, read_tail};
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::plan::{Cascade, RemovalTarget};
use xcache_core::gc::policy::Policy;
use xcache_core::gc::{Effect, Operation, prune, remove};
use xcache_core::monitor::Quiet;
use xcache_core::naming::{self, MarkId, condemned_name, object_name};
use xcache_core::object::{ArchiveId, Kind, Ref, RunId};
use xcache_core::store::open::OpenedStore;
use xcache_core::store::probe::Features;
use xcache_core::store::{self, ObjectName};
use xcache_restore::outcome::{Hit, MissReason, Outcome as RestoreFigures};
use xcache_save::outcome::{NotSaved, Outcome as Saved};
use xcache_tests::memory::{Faults, MemoryStore, Object};
use xcache_tests::tree::{Scratch, Snapshot};

use super::step::{Edit, JOBS, KEYS, KeyChoice, Rule};
use super::tree;

/// An object that a save has made.
pub(super) struct Truth {
    pub(super) name: ObjectName,
    pub(super) bytes: Bytes,
    pub(super) refs: Vec<Ref>,
    pub(super) tree: Snapshot,
}

/// A runner.
#[derive(Default)]
pub(super) struct Runner {
    /// Counts the runners that this job has had.
    generation: u32,
    /// A restore has left a tree that is neither old nor new.
    pub(super) is_mixed: bool,
    /// How far its clock is ahead of that of the store.
    pub(super) ahead: TimeDelta,
    /// Keys that a restore of this runner could not use, with their objects then: its save makes them good.
    pub(super) unusable: BTreeMap<usize, Objects>,
}

/// The world of one sequence.
pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) truths: BTreeMap<[u8; 16], Truth>,
    pub(super) runners: [Runner; JOBS],
    /// Objects that a restore has certainly found damaged. No entry is built on them any more.
    pub(super) known_bad: BTreeSet<[u8; 16]>,
    /// What the last run said.
    pub(super) log: Log,
    /// How often each outcome was seen.
    pub(super) tally: BTreeMap<String, u32>,
    runtime: tokio::runtime::Runtime,
    scratch: Scratch,
    runs: u8,
}

/// What is printed, kept for a failure.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// What a restore came to.
#[derive(Debug)]
pub(super) enum RestoreEnd {
    Hit(Box<Hit>),
    Miss(MissReason),
    Mixed,
}

/// All objects at a moment.
pub(super) type Objects = BTreeMap<ObjectName, Object>;

impl World {
    pub(super) fn new() -> Self {
        // Files get their times from the clock of this machine.
        let store = MemoryStore::new(Utc::now());
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let (truths, known_bad) = (BTreeMap::new(), BTreeSet::new());
        let (runners, log, scratch) = (Default::default(), Log::default(), Scratch::new());
        let world = Self { store, truths, runners, known_bad, log, tally: BTreeMap::new(), runtime, scratch, runs: 0 };
        (0..JOBS).for_each(|job| tree::apply(&world.tree(job), &Edit::Fill { seed: job as u64 }));
        world
    }

    pub(super) fn count(&mut self, what: String) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn home(&self, job: usize) -> PathBuf {
        self.scratch.path().join(format!("job-{job}-{}", self.runners[job].generation))
    }

    pub(super) fn tree(&self, job: usize) -> PathBuf {
        self.home(job).join("tree")
    }

    pub(super) fn snapshot(&self, job: usize) -> Option<Snapshot> {
        let tree = self.tree(job);
        tree.exists().then(|| Snapshot::of(&tree))
    }

    pub(super) fn new_runner(&mut self, job: usize) {
        let _ = fs::remove_dir_all(self.home(job));
        self.runners[job] = Runner { generation: self.runners[job].generation + 1, ..Runner::default() };
    }

    pub(super) fn objects(&self) -> Objects {
        self.store.objects()
    }

    /// The objects of a key.
    pub(super) fn objects_of(&self, objects: &Objects, key: usize) -> Objects {
        let there = |name: ObjectName| objects.get(&name).map(|object| (name, object.clone()));
        self.names_of(key).into_iter().filter_map(there).collect()
    }

    /// The entries among the objects.
    pub(super) fn entries(&self) -> Objects {
        self.objects().into_iter().filter(|(name, _)| naming::parse(name).is_some()).collect()
    }

    /// How many of our own notes are there whose names begin so.
    pub(super) fn notes(&self, prefix: &str) -> Vec<(ObjectName, DateTime<Utc>)> {
        let objects = self.objects().into_iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        objects.map(|(name, object)| (name, object.meta.last_modified)).collect()
    }

    /// The object that has this name, if its bytes are those that were written.
    pub(super) fn sound(&self, objects: &Objects, name: &ObjectName) -> Option<([u8; 16], &Truth)> {
        let Object { body, .. } = objects.get(name)?;
        self.truths.iter().find(|(_, truth)| truth.name == *name && truth.bytes == body).map(|(id, truth)| (*id, truth))
    }

    /// The objects of an entry that are missing or damaged; none if it cannot be told, because its own end is damaged.
    pub(super) fn faults(&self, objects: &Objects, name: &ObjectName) -> Option<Vec<ObjectName>> {
        let (_, truth) = self.sound(objects, name)?;
        let is_sound = |r: &&Ref| {
            let name = r.name.clone();
            self.sound(objects, &name).is_some_and(|(id, _)| id == r.archive_id.0)
        };
        Some(truth.refs.iter().filter(|r| !is_sound(r)).map(|r| r.name.clone()).collect())
    }

    /// Whether everything that an entry is made of is there and sound.
    pub(super) fn is_intact(&self, objects: &Objects, name: &ObjectName) -> bool {
        self.faults(objects, name).is_some_and(|faults| faults.is_empty())
    }

    /// Whether any entry has a flipped bit.
    pub(super) fn has_rot(&self, objects: &Objects) -> bool {
        objects.keys().any(|name| naming::parse(name).is_some() && self.sound(objects, name).is_none())
    }

    /// The number of the key that is meant.
    pub(super) fn key(&self, choice: KeyChoice) -> usize {
        let objects = self.objects();
        let is_taken = |key: &usize| self.names_of(*key).iter().any(|name| objects.contains_key(name));
        let (taken, free): (Vec<usize>, Vec<usize>) = (0..KEYS).partition(is_taken);
        let (number, among) = match choice {
            KeyChoice::Any(number) => return number,
            KeyChoice::Taken(number) => (number, taken),
            KeyChoice::Free(number) => (number, free),
        };
        among.get(number % among.len().max(1)).copied().unwrap_or(number)
    }

    pub(super) fn names_of(&self, key: usize) -> [ObjectName; 2] {
        let key = key_text(key).parse().unwrap();
        [Kind::Base, Kind::Delta].map(|kind| object_name(None, &key, kind).unwrap())
    }

    /// Whether gc, or a restore, has marked the object, by its archive or by its ETag.
    pub(super) fn is_marked(&self, objects: &Objects, name: &ObjectName) -> bool {
        let Some(Object { body, meta, .. }) = objects.get(name) else { return false };
        let is_it = |truth: &Truth| truth.name == *name && truth.bytes.len() == body.len();
        let ids = self.truths.iter().filter(|(_, truth)| is_it(truth)).map(|(id, _)| id);
        let mut marks: Vec<_> = ids.map(|id| MarkId::of_archive(name, ArchiveId(*id))).collect();
        marks.push(MarkId::of_object(name, &meta.etag));
        marks.iter().any(|mark| objects.contains_key(&condemned_name(mark)))
    }

    fn context(&self, job: usize) -> RunContext {
        let home = self.home(job);
        fs::create_dir_all(&home).unwrap();
        let variable = |name: &str| (name == "HOME").then(|| home.join("home").into_os_string());
        RunContext::new(variable, self.store.now() + self.runners[job].ahead, home.clone(), 2)
    }

    fn reporter(&self) -> Reporter {
        let (verbosity, progress) = (Verbosity::Verbose, ProgressMode::None);
        let settings = Settings { verbosity, is_json: false, has_color: false, progress, commands: Commands::of(None) };
        Reporter::to_writers(settings, Box::new(self.log.clone()), Box::new(self.log.clone()))
    }

    async fn opening(&self) -> store::Result<OpenedStore> {
        Ok(OpenedStore::taken_at_its_word(Arc::new(self.store.clone())))
    }

    /// Begins a run: time has passed, and these requests will fail.
    fn begin(&mut self, faults: Option<Faults>) {
        self.runs = self.runs.wrapping_add(1);
        self.log = Log::default();
        self.store.wait(TimeDelta::seconds(1));
        self.store.fail(faults);
    }

    pub(super) fn save(&mut self, job: usize, key: usize, is_full: bool, faults: Option<Faults>) -> Saved {
        self.begin(faults);
        let (context, reporter) = (self.context(job), self.reporter());
        let mut argv = argv(key);
        if is_full {
            argv.push("--full".into());
        }
        let args = parse(argv).unwrap();
        let config = xcache_save::config::Config::new(&args, &context, &Event::default()).unwrap();
        let run = xcache_save::save::run_on(self.opening(), &config, &context, &reporter);
        let outcome = self.runtime.block_on(run);
        self.store.fail(None);
        outcome.unwrap_or_else(|error| {
            reporter.warning(format_args!("{error:#}"), None);
            Saved::NotSaved { reason: NotSaved::of(&*error), sent_bytes: 0 }
        })
    }

    pub(super) fn restore(&mut self, job: usize, key: usize, flags: &[&str], faults: Option<Faults>) -> RestoreEnd {
        self.begin(faults);
        let (context, reporter) = (self.context(job), self.reporter());
        let mut argv = argv(key);
        argv.extend(flags.iter().map(OsString::from));
        let args = parse(argv).unwrap();
        let config = xcache_restore::config::Config::new(&args, &context, &Event::default()).unwrap();
        let run = xcache_restore::restore::run_on(self.opening(), &config, &context, &reporter);
        let outcome = self.runtime.block_on(run);
        self.store.fail(None);
        match outcome {
            Ok(RestoreFigures::Hit(hit)) => RestoreEnd::Hit(Box::new(hit)),
            Ok(RestoreFigures::Miss(reason)) => RestoreEnd::Miss(reason),
            Err(error) => {
                reporter.warning(format_args!("{error:#}"), None);
                match error.is::<UnsafeToContinue>() {
                    true => RestoreEnd::Mixed,
                    false => RestoreEnd::Miss(MissReason::of(&*error)),
                }
            }
        }
    }

    /// Runs a clean-up; returns whether it ran to its end and everything in it worked.
    pub(super) fn prune(&mut self, rule: Rule, faults: Option<Faults>) -> bool {
        let mut policy = Policy { min_age: TimeDelta::zero(), ..Policy::default() };
        match rule {
            Rule::MaxAge { hours, min_hours } => {
                policy.max_age = Some(TimeDelta::hours(hours));
                policy.min_age = TimeDelta::hours(min_hours);
            }
            Rule::KeepNewest(count) => policy.keep_newest = Some(count),
            Rule::MaxTotal(bytes) => policy.max_total_bytes = Some(bytes),
            Rule::Dangling => policy.dangling = true,
            Rule::Shadowed => policy.shadowed = true,
        }
        self.clean_up(faults, async |operation| prune(operation, &Features::all(), &policy).await)
    }

    /// Deletes a key.
    pub(super) fn remove(&mut self, key: usize, cascade: Cascade, faults: Option<Faults>) -> bool {
        let objects = self.objects();
        let there = self.names_of(key).into_iter().filter(|name| objects.contains_key(name));
        let targets: Vec<RemovalTarget> = there.map(|name| RemovalTarget { name, etag: None }).collect();
        self.clean_up(faults, async |operation| remove(operation, DeleteMode::Conditional, &targets, cascade).await)
    }

    fn clean_up(
        &mut self,
        faults: Option<Faults>,
        run: impl AsyncFnOnce(&Operation<'_>) -> xcache_core::gc::Result<xcache_core::gc::run::Outcome>,
    ) -> bool {
        self.begin(faults);
        let id = RunId([self.runs; 16]);
        let operation = Operation { store: &self.store, run: &id, mode: Effect::Real, monitor: &Quiet };
        let outcome = self.runtime.block_on(run(&operation));
        self.store.fail(None);
        let text = format!("{:?}\n", outcome.as_ref().map(|outcome| &outcome.swept));
        self.log.write_all(text.as_bytes()).unwrap();
        outcome
            .is_ok_and(|outcome| outcome.swept.is_some_and(|swept| swept.failed.is_empty() && swept.stopped.is_none()))
    }

    /// What GNU tar makes of an archive.
    pub(super) fn extracted_by_tar(&self, object: &[u8]) -> Snapshot {
        let dir = self.scratch.path().join("tar");
        fs::create_dir(&dir).unwrap();
        let tar = zstd::decode_all(object).unwrap();
        let mut child = Command::new("tar")
            .args(["--xattrs", "--numeric-owner", "-xpf", "-", "-C"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // A tar that gives up closes its end.
        let _ = child.stdin.take().unwrap().write_all(&tar);
        assert!(child.wait().unwrap().success(), "tar refuses the archive");
        let tree = Snapshot::of(&dir);
        fs::remove_dir_all(&dir).unwrap();
        tree
    }

    /// Takes note of archives that are there for the first time: a save of `tree` has made them.
    pub(super) fn learn(&mut self, tree: Option<&Snapshot>) -> Vec<[u8; 16]> {
        let mut new = Vec::new();
        for (name, Object { body: bytes, .. }) in self.entries() {
            let Ok(ReadTail::Archive(archive)) = read_tail(&bytes, bytes.len() as u64) else { continue };
            let ArchiveId(id) = archive.footer.archive_id;
            if let (None, Some(tree)) = (self.truths.get(&id), tree) {
                let refs = archive.footer.refs;
                self.truths.insert(id, Truth { name, bytes, refs, tree: tree.clone() });
                new.push(id);
            }
        }
        new
    }
}

pub(super) fn key_text(key: usize) -> String {
    format!("k-{key}")
}

fn argv(key: usize) -> Vec<OsString> {
    ["test", "tree", "--store", "s3://memory/model", "--key", &key_text(key)].map(OsString::from).to_vec()
}
