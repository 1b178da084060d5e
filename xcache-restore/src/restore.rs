//! The restore itself, top to bottom:
//!
//! keys → lookup → tail of the object (index) → what is missing here → ranges → frames → files.

use std::sync::Arc;

use xcache_cli::explain::Explain;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::report::{Reporter, chain};
use xcache_cli::{self as cli, RunContext, UnsafeToContinue};
use xcache_core::entry::Entry;
use xcache_core::gc::verify::{Depth, verify};
use xcache_core::lookup::near::near;
use xcache_core::lookup::{Candidate, Lookup, Match};
use xcache_core::monitor::{Monitor as _, Unit};
use xcache_core::object::{Pinned, RunId};
use xcache_core::object_end::{TAIL_BYTES, Tail, created_nanos};
use xcache_core::restore::{Error, Failed, Interrupt, Options};
use xcache_core::state::unfinished::Unfinished;
use xcache_core::store;
use xcache_core::store::open::{OpenedStore, open};
use xcache_core::transfer::limits::DownloadLimits;

use crate::candidate::{ChosenEntry, Failure, Restorable};
use crate::clear;
use crate::config::{Action, Config, Others, Owners};
use crate::job::{RestoreJob, RestoreSource};
use crate::notes::{Notes, Reading};
use crate::outcome::{self, Hit, MissReason, Outcome};
use crate::run::Run;
use xcache_core::convert;

/// How many entries of other stores are named.
const NAMED: usize = 3;

/// Restores what `config` says.
pub async fn run(config: &Config, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Outcome> {
    run_on(open(&config.store.config), config, context, reporter).await
}

/// Restores what `config` says from the store that `opening` gives, which is asked for it only if something may be read.
pub async fn run_on(
    opening: impl Future<Output = store::Result<OpenedStore>>,
    config: &Config,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Outcome> {
    if config.is_clearing_refused {
        reporter.notice(format_args!("not cleared: read-only ({})", config.access.reason));
    }
    let explain = Explain::new(config.explains, reporter);
    explain.line(format_args!("mode `{}`: {}", config.access.mode.word(), config.access.reason));
    if !config.access.mode.may_read() && config.action != Action::Clear {
        return Ok(Outcome::Miss(MissReason::Off));
    }
    let opened = cli::unless_interrupted(opening).await??;
    if !opened.exists() {
        reporter.notice(format_args!("there is no store at `{}`: only a save creates one", config.store.config.url));
        return Ok(Outcome::Miss(MissReason::NoStoreYet));
    }
    if config.action == Action::Clear {
        cli::unless_interrupted(clear::clear(config, reporter, &opened)).await??;
        return Ok(Outcome::Miss(MissReason::Cleared));
    }
    let id = RunId::new().unwrap_or_else(|_| RunId::of_time(convert::unix_nanos(context.now)));
    let notes = Notes::new(config, reporter, id);
    let mut course = Course { before: notes.begin_to_read(), unfinished: None, mixed: None };
    let run = Run { config, reporter, store: opened.store, notes, id };
    let outcome = run.first_that_can_be_restored(&mut course).await;
    course.end(outcome)
}

/// How far a restore has come with the files that are here.
pub(crate) struct Course {
    /// What was known of them before.
    pub(crate) before: Option<Reading>,
    /// The note that they are being written to.
    pub(crate) unfinished: Option<Unfinished>,
    /// Why some of them are those of an entry, and others are not.
    pub(crate) mixed: Option<UnsafeToContinue>,
}

impl Course {
    /// Takes the note away if the tree is whole: restored, or as it was before.
    fn end(self, outcome: anyhow::Result<Outcome>) -> anyhow::Result<Outcome> {
        let is_restored = matches!(&outcome, Ok(Outcome::Hit(hit)) if hit.restored.is_some());
        match (self.unfinished, self.mixed) {
            (Some(note), _) if is_restored => note.whole(),
            (Some(note), None) => note.untouched(),
            (_, Some(mixed)) if !is_restored => return Err(mixed.into()),
            _ => {}
        }
        outcome
    }
}

/// What became of a candidate.
enum Tried {
    Hit(Box<Hit>),
    PassedOver(MissReason),
}

impl Run<'_> {
    async fn first_that_can_be_restored(&self, course: &mut Course) -> anyhow::Result<Outcome> {
        let (config, store) = (self.config, self.store.clone());
        let mut lookup = Lookup::new(store, &config.scopes, &config.keys, TAIL_BYTES, created_nanos);
        let mut worst = MissReason::NothingThere;
        let mut explained = 0;
        // Each candidate is restored, or passed over for the next best. One that could not be restored after it had
        // replaced files is no reason to stop: the next one may make the tree whole.
        loop {
            let looking = self.reporter.phase("look");
            let Some(found) = cli::unless_interrupted(lookup.next()).await? else { break };
            drop(looking);
            let (entry, written) = (&found.entry, found.entry.meta.last_modified.to_rfc3339());
            self.reporter
                .debug(format_args!("candidate `{}`, {} bytes, saved at {written}", entry.name, entry.meta.size));
            self.explain().lookup(&lookup.asked()[explained..]);
            explained = lookup.asked().len();
            let name = found.entry.name.clone();
            match self.candidate(found, course).await? {
                Tried::Hit(hit) => {
                    self.explain_hit(&hit);
                    return Ok(Outcome::Hit(*hit));
                }
                Tried::PassedOver(reason) => {
                    self.explain().line(format_args!("`{name}` is passed over: {}", reason.word()));
                    worst = worst.max(reason);
                }
            }
        }
        self.explain().lookup(&lookup.asked()[explained..]);
        if self.explain().is_on() {
            cli::unless_interrupted(self.explain_near_misses()).await?;
        }
        let (named, others) = lookup.foreign().split_at(lookup.foreign().len().min(NAMED));
        for name in named {
            self.reporter.notice_once(&format!(
                "`{name}` is skipped: it was saved under another key, so it belongs to another store"
            ));
        }
        if !others.is_empty() {
            let count = Count(others.len() as u64, "entry");
            self.reporter.notice(format_args!("{count} more passed over that belong to another store"));
        }
        for error in lookup.errors() {
            self.reporter.warning_for(error);
            worst = worst.max(MissReason::of(error));
        }
        Ok(Outcome::Miss(worst))
    }

    fn explain_hit(&self, hit: &Hit) {
        let Hit { entry, matched, restored } = hit;
        let how = match matched {
            Match::Exact => "the key itself",
            Match::Prefix { restore_key: None } => "its key begins with the key",
            Match::Prefix { restore_key: Some(_) } => "its key begins with a restore key",
        };
        self.explain().line(format_args!("`{}` is taken: {how}", entry.name));
        if let Some(restored) = restored {
            self.explain().line(format_args!(
                "{} of {} were here already; {} fetched for the rest",
                restored.kept_files,
                Count(restored.files, "file"),
                Bytes(restored.received_bytes)
            ));
        }
    }

    /// Looks at the whole store. A role that may not do so is no trouble: the listing is only for the explanation.
    async fn explain_near_misses(&self) {
        match near(&*self.store, &self.config.scopes, &self.config.keys).await {
            Ok(near) => self.explain().near_misses(&near, chrono::Utc::now()),
            Err(error) => self.explain().line(format_args!("near misses are not known: {}", chain::text(&error))),
        }
    }

    /// Restores a candidate, if it can be used.
    async fn candidate(&self, found: Candidate, course: &mut Course) -> anyhow::Result<Tried> {
        let choice = ChosenEntry { entry: found.entry, matched: found.matched };
        match self.attempt(&choice, found.tail, course).await? {
            Ok(hit) => Ok(Tried::Hit(Box::new(hit))),
            Err(failure) => Ok(Tried::PassedOver(self.pass_over(&choice.entry, failure).await?)),
        }
    }

    /// Tries to restore a candidate of which `tail` is the end. The error ends the whole restore; a failure leads to the
    /// next candidate.
    async fn attempt(
        &self,
        choice: &ChosenEntry,
        mut tail: Tail,
        course: &mut Course,
    ) -> anyhow::Result<Result<Hit, Box<Failure>>> {
        let opened = cli::unless_interrupted(self.open(choice, &mut tail)).await?;
        let content = match opened {
            Ok(content) => content,
            Err(failure) => return Ok(Err(failure)),
        };
        let ChosenEntry { entry, .. } = choice;
        let matched = content.matched(choice);
        if self.config.action == Action::Lookup {
            return Ok(Ok(Hit { entry: entry.clone(), matched, restored: None }));
        }
        content.announce(self.reporter);
        if course.unfinished.is_none() {
            course.unfinished = self.notes.begin_to_write(entry.key.as_str());
        }
        let archive = content.archive_id_and_refs();
        match self.restore(entry, tail, content, course).await {
            Ok(restored) => Ok(Ok(Hit { entry: entry.clone(), matched, restored: Some(restored) })),
            Err(Failed { error, replaced_files }) => {
                if replaced_files > 0 {
                    course.mixed.get_or_insert_with(|| mixed(entry, &error));
                }
                match error {
                    Error::Interrupted => Err(cli::why_interrupted().into()),
                    error if error.is_about_the_entry() => Ok(Err(Box::new(Failure { error, archive }))),
                    // Neither the disk nor the program will be better for another entry.
                    error => Err(error.into()),
                }
            }
        }
    }

    async fn restore(
        &self,
        entry: &Entry,
        tail: Tail,
        content: Restorable,
        course: &mut Course,
    ) -> Result<outcome::RestoreFigures, Failed> {
        let _phase = self.reporter.phase("write");
        let before = match course.before.take() {
            Some(reading) => reading.await.ok().flatten(),
            None => None,
        };
        let received_tail = tail.bytes.len() as u64;
        let source = content.into_source(entry, &tail);
        let left = match &source {
            RestoreSource::Indexed(indexed) => Some(indexed.clone()),
            RestoreSource::Plain => None,
        };
        let interrupted = Arc::new(Interrupt::default());
        let watch = {
            let interrupted = interrupted.clone();
            tokio::spawn(async move {
                let _ = cli::interrupted().await;
                interrupted.raise();
            })
        };
        let config = self.config;
        let job = RestoreJob {
            runtime: tokio::runtime::Handle::current(),
            store: self.store.clone(),
            name: entry.name.clone(),
            tail,
            options: Options {
                workers: config.limits.workers,
                same_owner: config.owners == Owners::Saved,
                clean: config.others != Others::Keep,
                clean_repositories: config.others == Others::RemoveRepositories,
                run: self.id,
            },
            limits: DownloadLimits { in_flight: config.limits.concurrency, ..DownloadLimits::default() },
            progress: self.reporter.progress("restoring", Unit::Bytes, None),
            interrupted,
            paths: config.paths.clone(),
        };
        // The rest is files and threads: it blocks.
        let result = tokio::task::spawn_blocking(move || job.run(&source, before.as_ref())).await;
        watch.abort();
        let restored = result.unwrap_or_else(|panic| {
            // A restore catches its own panics and takes back what it has done. This one came before or after it.
            let error = Error::Panic { message: panic.to_string() };
            Err(Failed { error, replaced_files: 0 })
        })?;
        if let Some(left) = left {
            self.notes.leave(&restored, &left);
        }
        for notice in &restored.notices {
            self.reporter.notice(notice);
        }
        self.reconsider(entry, restored.kept_files).await;
        Ok(outcome::RestoreFigures {
            files: restored.files,
            tree_bytes: restored.bytes,
            kept_files: restored.kept_files,
            removed_files: restored.removed_files,
            received_bytes: restored.fetched_bytes + received_tail,
        })
    }

    /// Takes away what an earlier restore of this job noted of an entry that has now been restored. Files that were here
    /// already say nothing about what is in the store: then all of it is read once more.
    async fn reconsider(&self, entry: &Entry, kept_files: u64) {
        let Some(note) = self.notes.of(&Pinned::new(&entry.name, &entry.meta.etag)) else { return };
        let is_sound = kept_files == 0 || {
            let verifying = verify(&self.store, &entry.name, &entry.meta.etag, Depth::Chunks);
            let verified = cli::unless_interrupted(verifying).await;
            matches!(verified, Ok(Ok(Some(verified))) if !verified.is_plain && verified.found.faults.is_empty())
        };
        if is_sound {
            self.notes.forget(&note);
        }
    }
}

/// The tree is neither what it was nor that of an entry.
fn mixed(entry: &Entry, error: &Error) -> UnsafeToContinue {
    UnsafeToContinue {
        what: format!(
            "the tree is neither what it was nor that of entry `{}`; `xcache-save` does not save it until a restore has \
             finished",
            entry.key
        ),
        source: chain::text(error).into(),
    }
}
