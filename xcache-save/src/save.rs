//! The save itself, top to bottom:
//!
//! paths → scan → (what an earlier entry holds) → plan → frames → parts → one create-only object.

use std::sync::Arc;

use anyhow::Context as _;
use xcache_cli::report::{Reporter, chain};
use xcache_cli::{self as cli, RunContext};
use xcache_core::archive::footer::Ref;
use xcache_core::archive::index::RootKind;
use xcache_core::delta::{Trust, compare};
use xcache_core::entry::{Entry, Kind};
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::plan::{Cascade, Target};
use xcache_core::gc::protocol::{Intent, Verdict};
use xcache_core::gc::sweep::Swept;
use xcache_core::gc::{self, Mode};
use xcache_core::lookup::exists;
use xcache_core::naming::object_name;
use xcache_core::pack::{Job, jobs_of_members};
use xcache_core::plan::{Plan, Reason};
use xcache_core::scan::{Tree, TreeRoot, scan};
use xcache_core::state;
use xcache_core::store::open::{Opened, open};
use xcache_core::store::probe::Features;
use xcache_core::store::{ETag, ErrorKind, ObjectName, PutMode, Store};

use crate::config::{Config, Form};
use crate::earlier::{self, Earlier};
use crate::outcome::{Existed, Outcome, Saved};
use crate::write::{Stored, What, Written, tell_skipped, write};

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
}

/// Saves what `config` says.
pub async fn run(config: &Config, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Outcome> {
    if !config.access.mode.may_write() {
        return Ok(Outcome::ReadOnly);
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
        // Who may not list is told "denied" for what is not there: the create-only write decides.
        Err(error) if error.kind() == ErrorKind::Denied => None,
        there => there?,
    };
    let spoilt = spoilt(config, there.as_ref());
    if there.is_some() && spoilt.is_none() {
        return Ok(Outcome::AlreadyExists { when: Existed::Before, sent_bytes: 0 });
    }
    if tree.nodes.is_empty() {
        tell_skipped(reporter, &tree.skipped);
        for root in tree.roots.iter().filter(|root| !is_told(&tree, root)) {
            reporter.notice(format_args!("nothing at path `{}`", root.given));
        }
        return Ok(Outcome::NothingToSave);
    }
    for root in tree.roots.iter().filter(|root| root.kind == RootKind::Nothing && !is_told(&tree, root)) {
        reporter.notice(format_args!("nothing at path `{}`; it is left out", root.given));
    }
    let run = Run { config, context, reporter, store, features: features?, is_trusted: !opened.needs_probe, opened };
    if let Some(entry) = &spoilt {
        reporter.notice(format_args!("replacing the damaged entry of key `{key}`"));
        return run.replace(Arc::new(tree), entry).await;
    }
    run.save(Arc::new(tree)).await
}

/// The entry of the key, if the restore of this job found it to be damaged.
fn spoilt(config: &Config, there: Option<&Entry>) -> Option<Entry> {
    let entry = there?;
    let directory = config.state_dir.as_deref()?;
    state::is_spoilt(directory, &config.store.config.url.to_string(), &entry.name, &entry.meta.etag)
        .then(|| entry.clone())
}

/// Whether something is there and it is said why it is left out.
fn is_told(tree: &Tree, root: &TreeRoot) -> bool {
    tree.skipped.iter().any(|skipped| skipped.path.starts_with(&root.base))
}

impl Run<'_> {
    async fn save(&self, tree: Arc<Tree>) -> anyhow::Result<Outcome> {
        let earlier = match self.config.form {
            Form::Base => None,
            Form::Smallest => cli::unless_interrupted(earlier::find(self)).await?,
        };
        let Some(earlier) = earlier else {
            let reason = if self.config.form == Form::Base { Reason::Asked } else { Reason::NothingKnown };
            return self.save_base(tree, reason).await;
        };
        self.save_delta(tree, earlier).await
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
        let noting = async { tokio::join!(Intent::note(&*self.store, &sid, known.refs.clone()), comparing) };
        let (intent, facts) = match cli::unless_interrupted(noting).await {
            Ok(both) => both,
            Err(interrupted) => {
                Intent::forget(&*self.store, &sid).await;
                return Err(interrupted.into());
            }
        };
        let facts = Arc::new(facts.context("cannot compare")?);
        for refused in intent.refused() {
            self.reporter.debug(format_args!("`{}` is not built on: {}", refused.name, refused.why));
        }
        let is_usable = |r: &Ref| intent.usable().contains(r);
        let usable: Vec<bool> = known.refs.iter().map(is_usable).collect();
        let now = self.context.now.timestamp_nanos_opt().unwrap_or(i64::MAX);
        let plan = earlier::plan(&known, &facts, &usable, now, self.config.rebase_after);
        self.reporter.debug(format_args!("{} files read of {}", facts.read_files, tree.nodes.len()));
        let keep = match plan {
            Plan::Delta { keep } => keep,
            Plan::Base(reason) => {
                intent.withdraw(&*self.store).await;
                return self.save_base(tree, reason).await;
            }
        };
        let what = What::Delta { known: known.clone(), facts, keep };
        let written = match write(self, tree.clone(), what, PutMode::Create).await {
            Ok(written) => written,
            Err(error) => {
                intent.withdraw(&*self.store).await;
                return Err(error);
            }
        };
        let stored = match written {
            Written::Stored(stored) => stored,
            Written::Exists { sent_bytes } => {
                intent.withdraw(&*self.store).await;
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
        // Given up here, the delta is published and its intent keeps its refs, as if we had been killed.
        let (base, verdict) = cli::unless_interrupted(settling).await?;
        if base.is_ok() {
            self.take_back(&stored.name, &stored.etag).await;
            return Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes: stored.sent_bytes });
        }
        if let Verdict::Withdraw(_) = verdict {
            // The base first: with it nobody looks at the delta any more, whether that can be deleted or not.
            let outcome = self.save_base(tree, Reason::RefsGone).await;
            self.take_back(&stored.name, &stored.etag).await;
            return outcome;
        }
        Ok(self.saved(&stored, Kind::Delta, Some(built_on)))
    }

    async fn save_base(&self, tree: Arc<Tree>, reason: Reason) -> anyhow::Result<Outcome> {
        self.reporter.debug(format_args!("saving a complete entry: {reason}"));
        let what = What::Base { jobs: base_jobs(&tree) };
        match write(self, tree, what, PutMode::Create).await? {
            Written::Stored(stored) => Ok(self.saved(&stored, Kind::Base, None)),
            Written::Exists { sent_bytes } => Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes }),
            Written::InDoubt(error) => Err(error),
        }
    }

    /// Writes a base in place of a damaged entry, and of exactly that one.
    async fn replace(&self, tree: Arc<Tree>, spoilt: &Entry) -> anyhow::Result<Outcome> {
        let what = What::Base { jobs: base_jobs(&tree) };
        let mode = match spoilt.kind {
            Kind::Base => PutMode::Replace(spoilt.meta.etag.clone()),
            Kind::Delta => PutMode::Create,
        };
        match write(self, tree, what, mode).await? {
            Written::Stored(stored) => {
                if spoilt.kind == Kind::Delta {
                    // Given up here, the base is published and shadows what is left of the delta.
                    cli::unless_interrupted(self.take_back(&spoilt.name, &spoilt.meta.etag)).await?;
                }
                Ok(self.saved(&stored, Kind::Base, None))
            }
            Written::Exists { sent_bytes } => Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes }),
            Written::InDoubt(error) => Err(error),
        }
    }

    /// Deletes a delta that must not stay, or that a base has taken the place of. What a running save has noted, or other
    /// entries build on, is left to gc. So is what we may not delete: that changes nothing of how this save has ended.
    async fn take_back(&self, name: &ObjectName, etag: &ETag) {
        if let Err(error) = self.delete(name, etag).await {
            let text = format_args!("`{name}` is left to the clean-up: {}", chain::text(&*error));
            self.reporter.warning(text, chain::hint(&*error));
        }
    }

    async fn delete(&self, name: &ObjectName, etag: &ETag) -> anyhow::Result<()> {
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

    fn saved(&self, stored: &Stored, kind: Kind, built_on: Option<String>) -> Outcome {
        let footer = &stored.archive.footer;
        // What is on disk is now this entry: another save of the job builds on it.
        if let Some(directory) = &self.config.state_dir {
            stored.leave_state(self, directory);
        }
        Outcome::Saved(Saved {
            kind,
            object: stored.name.clone(),
            built_on: built_on.and_then(|key| key.parse().ok()),
            files: stored.archive.index.file_count(),
            tree_bytes: footer.content_bytes,
            stored_bytes: stored.bytes,
            sent_bytes: stored.sent_bytes,
            skipped: stored.skipped,
            is_pin_lost: stored.is_pin_lost,
        })
    }
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
