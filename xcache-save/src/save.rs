//! The save itself, top to bottom:
//!
//! paths → scan → (what an earlier entry holds) → plan → frames → parts → one create-only object.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use xcache_cli::report::{Reporter, chain};
use xcache_cli::{self as cli, RunContext};
use xcache_core::archive::footer::Ref;
use xcache_core::archive::index::RootKind;
use xcache_core::delta::plan::{Reason, SavePlan, Standing, plan};
use xcache_core::delta::{Trust, compare};
use xcache_core::entry::Kind;
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::plan::{Cascade, Target};
use xcache_core::gc::protocol::{Intent, Refusal, Verdict};
use xcache_core::gc::sweep::Swept;
use xcache_core::gc::{self, Mode};
use xcache_core::lookup::exists;
use xcache_core::naming::object_name;
use xcache_core::pack::{Job, jobs_of_members};
use xcache_core::scan::{Tree, TreeRoot, scan};
use xcache_core::state::unfinished;
use xcache_core::state::unusable::{self, Unusable};
use xcache_core::store::open::{Opened, open};
use xcache_core::store::probe::Features;
use xcache_core::store::{ETag, ErrorKind, ObjectName, Store};

use crate::config::{Config, Form, OnUnfinished};
use crate::earlier::{self, Earlier};
use crate::make_good;
use crate::outcome::{Existed, NotSaved, Outcome, Saved};
use crate::write::{Stored, What, Written, tell_skipped, write};

/// For cleaning up after an interruption: runners wait ten seconds, in which all else has to end as well.
const CLEAN_UP: Duration = Duration::from_secs(5);
/// For the end of a request under way, of that time.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// What all steps of a save share.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    pub(crate) context: &'a RunContext,
    pub(crate) reporter: &'a Reporter,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) opened: Opened,
    pub(crate) features: Features,
    /// Whether the store is believed when it says that we have published.
    pub(crate) is_trusted: bool,
    /// What restores of this job could not use.
    pub(crate) unusable: Vec<Unusable>,
}

/// Saves what `config` says.
pub async fn run(config: &Config, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Outcome> {
    if !config.access.mode.may_write() {
        return Ok(Outcome::ReadOnly);
    }
    if is_unfinished(config, reporter) {
        return Ok(Outcome::NotSaved { reason: NotSaved::Unfinished, sent_bytes: 0 });
    }
    let opened = cli::unless_interrupted(open(&config.store.config)).await??;
    let (store, key) = (opened.store.clone(), config.keys.primary());
    let scope = config.scopes.write.as_ref();
    match &config.paths.overlaps()[..] {
        [] => {}
        [(inner, outer), others @ ..] => {
            let more = match others.len() {
                0 => String::new(),
                1 => ", and 1 more path lies inside another".to_owned(),
                count => format!(", and {count} more paths lie inside others"),
            };
            let (inner, outer) = (&inner.given, &outer.given);
            reporter.notice(format_args!("path `{inner}` lies inside `{outer}`{more}: such files are stored twice"));
        }
    }
    let scanning = {
        let (paths, threads) = (config.paths.clone(), config.limits.workers);
        tokio::task::spawn_blocking(move || scan(&paths, threads))
    };
    let looking = async { tokio::join!(exists(&*store, scope, key), opened.features(), scanning) };
    let (there, features, tree) = cli::unless_interrupted(looking).await?;
    let tree = tree.context("cannot scan")?;
    match tree.linked_symlinks() {
        0 => {}
        1 => reporter.notice("1 symbolic link has several names (hard links); each is saved as a link of its own"),
        count => reporter.notice(format_args!(
            "{count} symbolic links have several names (hard links); each is saved as a link of its own"
        )),
    }
    let there = match there {
        // A role that may not list is answered "denied" for what is not there: the create-only write decides.
        Err(error) if error.kind() == ErrorKind::Denied => None,
        there => there?,
    };
    let unusable = found_unusable(config);
    let note = there.as_ref().and_then(|entry| make_good::note_of(&unusable, entry)).cloned();
    if there.is_some() && note.is_none() {
        return Ok(Outcome::AlreadyExists { when: Existed::Before, sent_bytes: 0 });
    }
    if tree.nodes.is_empty() {
        let unreadable = tell_skipped(reporter, &tree.skipped);
        for root in tree.roots.iter().filter(|root| !is_told(&tree, root)) {
            reporter.notice(format_args!("nothing at path `{}`", root.given));
        }
        return Ok(Outcome::NothingToSave { unreadable });
    }
    for root in tree.roots.iter().filter(|root| root.kind == RootKind::Nothing && !is_told(&tree, root)) {
        reporter.notice(format_args!("nothing at path `{}`; it is left out", root.given));
    }
    let (features, is_trusted) = (features?, !opened.needs_probe);
    let run = Run { config, context, reporter, store, features, is_trusted, opened, unusable };
    match (there, note) {
        (Some(entry), Some(note)) => run.make_good(Arc::new(tree), &entry, &note).await,
        _ => run.save(Arc::new(tree)).await,
    }
}

/// What restores of this job could not use.
fn found_unusable(config: &Config) -> Vec<Unusable> {
    let url = config.store.config.url.to_string();
    config.state_dir.as_deref().map(|directory| unusable::read(directory, &url)).unwrap_or_default()
}

/// Whether a restore onto these paths has not finished, which is reported.
fn is_unfinished(config: &Config, reporter: &Reporter) -> bool {
    let found = config.state_dir.as_deref().and_then(|directory| unfinished::find(directory, &config.paths));
    let Some(found) = found.filter(|_| config.on_unfinished == OnUnfinished::Refuse) else { return false };
    let text = match found.is_running {
        true => format!(
            "not saving key `{}`: a restore of entry `{}` is still writing to its paths",
            config.keys.primary(),
            found.key
        ),
        false => format!(
            "not saving key `{}`: a restore of entry `{}` onto its paths did not finish, so that some of the files may be \
             those of another tree",
            config.keys.primary(),
            found.key
        ),
    };
    let hint = "let a restore of these paths finish, or use `--save-unfinished` (input `save-unfinished`) if you know that \
                the tree is whole";
    reporter.warning(text, Some(hint));
    true
}

/// Whether something is there and it is said why it is left out.
fn is_told(tree: &Tree, root: &TreeRoot) -> bool {
    tree.skipped.iter().any(|skipped| skipped.path.starts_with(&root.base))
}

impl Run<'_> {
    async fn save(&self, tree: Arc<Tree>) -> anyhow::Result<Outcome> {
        let earlier = match self.config.form {
            Form::Base => Err(Reason::Asked),
            Form::Smallest => cli::unless_interrupted(earlier::find(self)).await?,
        };
        match earlier {
            Ok(earlier) => self.save_delta(tree, earlier).await,
            Err(reason) => self.save_complete(tree, Kind::Base, reason).await,
        }
    }

    /// Stores what `earlier` does not hold, unless that is not worth it.
    async fn save_delta(&self, tree: Arc<Tree>, earlier: Earlier) -> anyhow::Result<Outcome> {
        let Earlier { known, signatures, roots, noted_nanos, key: built_on } = earlier;
        let known = Arc::new(known);
        let comparing = {
            let (tree, known, threads) = (tree.clone(), known.clone(), self.config.limits.workers);
            tokio::task::spawn_blocking(move || {
                let trust = Trust { roots: &roots, signatures: &signatures, noted_nanos };
                compare(&tree, &known, Some(&trust), threads)
            })
        };
        let sid = random()?;
        // A task of its own: an interruption must not drop a request that the store may carry out all the same, after
        // the note was taken away.
        let mut noting = {
            let (store, refs) = (self.store.clone(), known.refs.clone());
            tokio::spawn(async move { Intent::note(&*store, &sid, refs).await })
        };
        let both = cli::unless_interrupted(async { tokio::join!(&mut noting, comparing) }).await;
        let (intent, facts) = match both {
            Ok(both) => both,
            Err(interrupted) => {
                match tokio::time::timeout(UNDER_WAY, noting).await {
                    Ok(Ok(intent)) => self.give_back(intent).await,
                    _ => drop(tokio::time::timeout(UNDER_WAY, Intent::forget(&*self.store, &sid)).await),
                }
                return Err(interrupted.into());
            }
        };
        let intent = intent.context("cannot note what this entry builds on")?;
        let facts = Arc::new(facts.context("cannot compare")?);
        for refused in intent.refused() {
            self.reporter.debug(format_args!("`{}` is not built on: {}", refused.name, refused.why));
        }
        let now = self.context.now.timestamp_nanos_opt().unwrap_or(i64::MAX);
        let standings: Vec<Standing> = known.refs.iter().map(|r| standing(&intent, r)).collect();
        let plan = plan(&known, &facts, &standings, now, self.config.rebase_after);
        self.reporter.debug(format_args!("{} files read of {}", facts.read_files, tree.nodes.len()));
        let keep = match plan {
            SavePlan::Delta { keep } => keep,
            SavePlan::Complete(reason) => {
                self.give_back(intent).await;
                return self.save_complete(tree, Kind::Base, reason).await;
            }
        };
        let what = What::Delta { known: known.clone(), facts, keep };
        let written = match write(self, tree.clone(), what).await {
            Ok(written) => written,
            Err(error) => {
                self.give_back(intent).await;
                return Err(error);
            }
        };
        let stored = match written {
            Written::Stored(stored) => stored,
            Written::Exists { sent_bytes } => {
                self.give_back(intent).await;
                return Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes });
            }
            // A delta that arrives after all must find its refs: the intent stands until a gc finds it a day old.
            Written::InDoubt(error) => return Err(error),
        };
        // A base of the same key wins over a delta, whichever came first.
        let base_name = object_name(self.config.scopes.write.as_ref(), self.config.keys.primary(), Kind::Base)?;
        let settling = async {
            tokio::join!(self.store.head(&base_name), intent.settle(&*self.store, &stored.archive.footer.refs))
        };
        // The delta is published: an interruption waits for the answer, for as long as a runner waits for us.
        let mut settling = std::pin::pin!(settling);
        let (base, verdict) = match cli::unless_interrupted(&mut settling).await {
            Ok(settled) => settled,
            Err(interrupted) => {
                let _ = tokio::time::timeout(CLEAN_UP, settling).await;
                return Err(interrupted.into());
            }
        };
        if base.is_ok() {
            self.take_back(&stored.name, &stored.etag).await;
            return Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes: stored.sent_bytes });
        }
        if let Verdict::Withdraw(_) = verdict {
            // The base first: with it nobody looks at the delta any more, whether that can be deleted or not.
            let outcome = self.save_complete(tree, Kind::Base, Reason::RefsGone).await;
            self.take_back(&stored.name, &stored.etag).await;
            return outcome;
        }
        Ok(self.saved(&stored, Ok(built_on)))
    }

    /// Stores everything, as an object of this kind.
    pub(crate) async fn save_complete(&self, tree: Arc<Tree>, kind: Kind, reason: Reason) -> anyhow::Result<Outcome> {
        let what = What::Complete { kind, jobs: base_jobs(&tree) };
        match write(self, tree, what).await? {
            Written::Stored(stored) => Ok(self.saved(&stored, Err(reason))),
            Written::Exists { sent_bytes } => Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes }),
            Written::InDoubt(error) => Err(error),
        }
    }

    /// Takes the note of refs away. When we are asked to stop, within the time that a runner leaves us.
    async fn give_back(&self, intent: Intent) {
        let withdrawing = intent.withdraw(&*self.store);
        let patience = async {
            cli::interrupted().await;
            tokio::time::sleep(CLEAN_UP).await;
        };
        tokio::select! {
            () = withdrawing => {}
            () = patience => {}
        }
    }

    /// Deletes a delta that must not stay, or that a base has taken the place of. What a running save has noted, or other
    /// entries build on, is left to gc. So is what we may not delete: that changes nothing of how this save has ended.
    pub(crate) async fn take_back(&self, name: &ObjectName, etag: &ETag) {
        if let Err(error) = self.delete(name, etag).await {
            let text = format_args!("`{name}` is left to the clean-up: {}", chain::text(&*error));
            self.reporter.warning(text, chain::hint(&*error));
        }
    }

    pub(crate) async fn delete(&self, name: &ObjectName, etag: &ETag) -> anyhow::Result<()> {
        let target = Target { name: name.clone(), etag: Some(etag.clone()) };
        let mode = DeleteMode::of(&self.features);
        let operation =
            gc::Operation { store: &*self.store, sid: &random()?, mode: Mode::Real, monitor: self.reporter };
        let outcome = gc::remove(&operation, mode, &[target], Cascade::No).await?;
        let Some(Swept { failed, stopped, .. }) = outcome.swept else { return Ok(()) };
        match failed.into_iter().map(|(_, error)| error).chain(stopped).next() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// `built_on` is the key of the entry that a delta builds on, or why this is none.
    fn saved(&self, stored: &Stored, built_on: Result<String, Reason>) -> Outcome {
        let footer = &stored.archive.footer;
        // What is on disk is now this entry: another save of the job builds on it.
        if let Some(directory) = &self.config.state_dir {
            stored.leave_state(self, directory);
        }
        Outcome::Saved(Saved {
            kind: footer.kind,
            reason: built_on.as_ref().err().copied(),
            object: stored.name.clone(),
            built_on: built_on.ok().and_then(|key| key.parse().ok()),
            files: stored.archive.index.file_count(),
            tree_bytes: footer.content_bytes,
            stored_bytes: stored.bytes,
            sent_bytes: stored.sent_bytes,
            skipped: stored.skipped,
            is_pin_lost: stored.is_pin_lost,
            incomplete: stored.incomplete,
        })
    }
}

/// Whether the intent protects a ref, so that the delta may use it.
fn standing(intent: &Intent, r: &Ref) -> Standing {
    if intent.usable().contains(r) {
        return Standing::Usable;
    }
    let is_unproven = intent.refused().iter().any(|no| no.name == r.name && matches!(no.why, Refusal::Unproven(_)));
    if is_unproven { Standing::Unproven } else { Standing::Lost }
}

fn base_jobs(tree: &Tree) -> Vec<Job> {
    let nodes = 0..u32::try_from(tree.nodes.len()).unwrap_or(u32::MAX);
    jobs_of_members(tree, nodes)
}

/// Sixteen random bytes.
pub(crate) fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(bytes)
}
