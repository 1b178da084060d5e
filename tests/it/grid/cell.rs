//! One cell: a fault strikes an action, once or for ever. What holds in every cell is asserted; what differs is returned.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::proxy::{Proxy, Request};
use xcache_tests::s3::{self, S3Server};
use xcache_tests::tree::{Aspect, Rng, Snapshot};

use super::data::{Action, Fault, Flow};
use crate::{GC, RESTORE, save, saved};

/// Longer than any bound of the product: the completion of an upload is waited for five minutes.
const PATIENCE: Duration = Duration::from_secs(480);
/// The bounds that the document knows.
const BOUNDS: [u64; 5] = [15, 60, 120, 240, 480];

/// What came of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// In one or two words.
    pub(super) outcome: String,
    /// How often the action was asked for.
    pub(super) requests: usize,
    /// Seconds, rounded up to one of [`BOUNDS`].
    pub(super) bound: u64,
    /// What is left in the store that should not be there for long.
    pub(super) left: String,
}

/// A store with a base, a delta on it and an entry of several parts, which can be put back, and their trees.
pub(super) struct World {
    server: &'static S3Server,
    place: Place,
    objects: Vec<(String, Vec<u8>)>,
    trees: Job,
}

impl World {
    pub(super) fn new(flow: Flow) -> Self {
        // Ministack drops the tags of uploads, so they are sent afterwards there.
        let has_late_tags = matches!(flow, Flow::SavePinned | Flow::Remove);
        let server = if has_late_tags { s3::ministack() } else { s3::server() };
        let (place, trees) = (Place::on(server), Job::new());
        let (old, new, large) = (trees.dir("old"), trees.dir("new"), trees.dir("large"));
        for tree in [&old, &new] {
            (0..8).for_each(|n| fs::write(tree.join(format!("{n}")), Rng::new(n).bytes(300_000)).unwrap());
        }
        fs::write(new.join("more"), Rng::new(9).bytes(50_000)).unwrap();
        // The end of the object is read first, then the rest in two parts.
        fs::write(large.join("file"), Rng::new(10).bytes(14 << 20)).unwrap();
        match flow {
            Flow::SaveLarge | Flow::SavePinned | Flow::SaveSmall => {
                // What the store honours is known.
                saved(&Job::new(), &place, "other", &trees.path("old"));
            }
            Flow::RestoreLarge => saved(&Job::new(), &place, "large", &large),
            Flow::SaveDelta | Flow::RestoreDelta | Flow::RestorePrefix | Flow::Remove => {
                saved(&Job::github(), &place, "old", &old);
                let saving = Job::github();
                crate::restored(&saving, &place, "old", &saving.path("new"));
                fs::write(saving.path("new/more"), Rng::new(9).bytes(50_000)).unwrap();
                saved(&saving, &place, "old-new", &saving.path("new"));
            }
        }
        let objects = place.objects().into_iter().map(|name| (name.clone(), place.get(&name).unwrap())).collect();
        Self { server, place, objects, trees }
    }

    fn put_back(&self) {
        let there = self.place.objects();
        for name in there.iter().filter(|name| !self.objects.iter().any(|(kept, _)| kept == *name)) {
            self.place.delete(name);
        }
        // The ETag tells whether one has to be put back, but reading is as cheap.
        for (name, bytes) in &self.objects {
            if self.place.get(name).as_ref() != Some(bytes) {
                self.place.put(name, bytes);
            }
        }
    }

    fn copied(&self, job: &Job, tree: &str) -> PathBuf {
        let target = job.path("tree");
        let from = self.trees.path(tree);
        self.trees.command("cp").args(["-a", "--no-target-directory"]).args([&from, &target]).run().ok();
        target
    }

    fn command(&self, flow: Flow, job: &Job, behind: &Place) -> Invocation {
        match flow {
            Flow::SaveSmall => save(job, behind, "fresh").arg("--full").arg(self.copied(job, "old")),
            Flow::SaveLarge => save(job, behind, "fresh").arg("--full").arg(self.copied(job, "large")),
            Flow::SavePinned => {
                save(job, behind, "fresh").args(["--full", "--tag", "keep=true"]).arg(self.copied(job, "large"))
            }
            Flow::SaveDelta => {
                // Without the proxy: what counts is the save.
                crate::restored(job, &self.place, "old", &job.path("tree"));
                fs::write(job.path("tree/more"), Rng::new(9).bytes(50_000)).unwrap();
                save(job, behind, "fresh").arg(job.path("tree"))
            }
            Flow::RestoreLarge => job.command(RESTORE).store(behind).args(["--key", "large"]).arg(job.path("tree")),
            Flow::RestoreDelta => job.command(RESTORE).store(behind).args(["--key", "old-new"]).arg(job.path("tree")),
            Flow::RestorePrefix => {
                let restore = job.command(RESTORE).store(behind).args(["--key", "none", "--restore-keys", "old"]);
                restore.arg("--relocate").arg(job.path("tree"))
            }
            Flow::Remove => job.command(GC).arg("rm").store(behind).args(["--all", "--cascade", "--yes"]),
        }
    }

    /// Lets `fault` strike `action`, once or for ever.
    pub(super) fn cell(&self, action: &Action, fault: &Fault, is_lasting: bool) -> Found {
        self.put_back();
        let uploads = self.place.uploads();
        let job = Job::github();
        let (request, skip) = action.request.split_once('@').unwrap_or((action.request, "0"));
        let count = if is_lasting { "" } else { " count=1" };
        let rule = format!("{request} {} skip={skip}{count}", fault.rule);
        let mut proxy = Proxy::with_rules(self.server, &[&rule]);
        let behind = self.place.behind(proxy.endpoint());
        let command = self.command(action.flow, &job, &behind).arg("--json");
        let begin = Instant::now();
        let outcome = command.run_within(PATIENCE);
        let seconds = begin.elapsed().as_secs();
        // Those that are held would be waited for.
        proxy.release();
        let requests = proxy.requests();
        let cell = format!("{} / {} / {rule}\n{}{}", action.name, fault.name, outcome.stdout, outcome.stderr);
        self.check(action.flow, &job, &outcome, &cell);
        let requests = requests.iter().filter(|sent| is_meant(sent, request)).count();
        // The machine may be busy.
        let bound = BOUNDS.into_iter().find(|bound| seconds * 3 / 2 < *bound).unwrap_or(BOUNDS[4]);
        Found { outcome: word(action.flow, &outcome), requests, bound, left: self.left(uploads) }
    }

    /// What holds however a request is answered.
    fn check(&self, flow: Flow, job: &Job, outcome: &Outcome, cell: &str) {
        let entries = self.place.entries();
        match flow {
            Flow::Remove => {
                let has = |name: &str| entries.iter().any(|entry| entry == name);
                assert!(has("old-base.tar.zst") || !has("old-new-delta.tar.zst"), "a delta stands alone: {cell}");
                return;
            }
            _ => assert_eq!(outcome.code, Some(0), "trouble with the cache fails no build: {cell}"),
        }
        for (name, bytes) in self.objects.iter().filter(|(name, _)| name.ends_with(".tar.zst")) {
            assert!(self.place.get(name).as_ref() == Some(bytes), "`{name}` is lost or spoilt: {cell}");
        }
        let claimed = outcome.json()["outcome"].as_str().unwrap_or_default().to_owned();
        let is_there = entries.iter().any(|name| name.starts_with("fresh"));
        match (flow, &*claimed) {
            (_, "saved" | "exists") => assert!(is_there, "not saved: {cell}"),
            (_, "exact" | "prefix" | "partial") => {
                let tree = Snapshot::of(&job.path("tree"));
                let is_whole = ["old", "new", "large"].iter().any(|of| {
                    let expected = Snapshot::of(&self.trees.path(of));
                    expected.differences(&tree, &[Aspect::Root, Aspect::Mtimes]).is_empty()
                });
                assert!(is_whole, "restored something else: {cell}");
            }
            (Flow::RestoreLarge | Flow::RestoreDelta | Flow::RestorePrefix, _) => {
                let left = fs::read_dir(job.path("tree")).map_or(0, Iterator::count);
                assert_eq!(left, 0, "a miss left files: {cell}");
            }
            _ => {}
        }
    }

    /// What is in the store besides entries, in words. There were so many `uploads` before.
    fn left(&self, uploads: usize) -> String {
        let known = |name: &String| self.objects.iter().any(|(kept, _)| kept == name);
        let mut left: Vec<String> = Vec::new();
        for name in self.place.objects().into_iter().filter(|name| !known(name)) {
            let what = match &name {
                name if name.starts_with(".xcache/intents/") => "intent",
                name if name.starts_with(".xcache/condemned/") => "mark",
                name if name.starts_with(".xcache/gc/") => "lease",
                name if name.starts_with("fresh") => continue,
                name => name.as_str(),
            };
            left.push(what.to_owned());
        }
        left.extend((self.place.uploads() > uploads).then(|| "upload".to_owned()));
        left.dedup();
        left.join(", ")
    }
}

/// Whether a request is one of those that the rule is about.
fn is_meant(sent: &Request, request: &str) -> bool {
    let (method, pattern) = request.split_once(' ').unwrap();
    // The expressions of the table are plain text, but for these.
    let parts = pattern.split(".*").map(|part| part.replace('\\', ""));
    sent.method == method && parts.into_iter().all(|part| sent.target.contains(&part))
}

/// How a program ended.
fn word(flow: Flow, outcome: &Outcome) -> String {
    if let Flow::Remove = flow {
        let Ok(document) = serde_json::from_str::<serde_json::Value>(&outcome.stdout) else {
            return "error".to_owned();
        };
        let deleted = document["deleted"].as_array().map_or(0, Vec::len);
        return format!("deleted {deleted}{}", if outcome.code == Some(0) { "" } else { ", error" });
    }
    let document = outcome.json();
    let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    match (&*text("outcome"), &*text("kind"), &*text("reason")) {
        ("saved", kind, _) => format!("saved ({kind})"),
        ("exact" | "prefix" | "partial", ..) => "hit".to_owned(),
        (outcome, _, "") => outcome.to_owned(),
        (outcome, _, reason) => format!("{outcome} ({reason})"),
    }
}
