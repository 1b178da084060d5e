//! The restore itself, top to bottom:
//!
//! keys → lookup → tail of the object (index) → what is missing here → ranges → frames → files.

use std::sync::Arc;

use tokio::task::JoinHandle;
use xcache_cli::report::Reporter;
use xcache_cli::{self as cli, RunContext, UnsafeToContinue};
use xcache_core::archive::reader::Archive;
use xcache_core::archive::{self};
use xcache_core::entry::{Entry, Kind};
use xcache_core::lookup::{Found, Lookup};
use xcache_core::monitor::{Monitor as _, Progress, Unit};
use xcache_core::naming;
use xcache_core::object_end::{self, Content, Fault, TAIL_BYTES, Tail, Unusable, Verdict, created_nanos, own_ref};
use xcache_core::restore::{
    self, Before, Error, Failed, Frames, Interrupt, Options, PlainSource, Restored, Roots, restore_plain,
};
use xcache_core::state::{self, State};
use xcache_core::store::open::open;
use xcache_core::store::{ErrorKind, ObjectName, Store};
use xcache_core::transfer::download::DownloadLimits;

use crate::clear;
use crate::config::{Action, Config, Others, Owners};
use crate::outcome::{self, Hit, MissReason, Outcome};

/// Restores what `config` says.
pub async fn run(config: &Config, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Outcome> {
    if config.is_clearing_refused {
        reporter.notice(format_args!("not cleared: read-only ({})", config.access.reason));
    }
    if !config.access.mode.may_read() && config.action != Action::Clear {
        return Ok(Outcome::Miss(MissReason::Off));
    }
    let opened = cli::unless_interrupted(open(&config.store.config)).await??;
    if config.action == Action::Clear {
        cli::unless_interrupted(clear::clear(config, reporter, &opened)).await??;
        return Ok(Outcome::Miss(MissReason::Cleared));
    }
    let run = Run { config, context, reporter, store: opened.store };
    let mut before = begin_to_read_state(config);
    let mut lookup = Lookup::new(run.store.clone(), &config.scopes, &config.keys, TAIL_BYTES, created_nanos);
    let mut worst = MissReason::NothingThere;
    // Each candidate is restored, or passed over for the next best.
    while let Some(found) = cli::unless_interrupted(lookup.next()).await? {
        match run.candidate(found, &mut before).await? {
            Tried::Hit(hit) => return Ok(Outcome::Hit(*hit)),
            Tried::PassedOver(reason) => worst = worst.max(reason),
        }
    }
    for error in lookup.errors() {
        reporter.warning_for(error);
        worst = worst.max(MissReason::of(error));
    }
    Ok(Outcome::Miss(worst))
}

/// What became of a candidate.
enum Tried {
    Hit(Box<Hit>),
    PassedOver(MissReason),
}

/// What all steps share.
struct Run<'a> {
    config: &'a Config,
    context: &'a RunContext,
    reporter: &'a Reporter,
    store: Arc<dyn Store>,
}

/// What the last restore onto these paths left, being read while the entry is looked up.
type Reading = JoinHandle<Option<State>>;

fn begin_to_read_state(config: &Config) -> Option<Reading> {
    let directory = config.state_dir.clone().filter(|_| config.action == Action::Restore)?;
    let (url, paths) = (config.store.config.url.to_string(), config.paths.clone());
    Some(tokio::task::spawn_blocking(move || state::read(&directory, &url, &paths)))
}

impl Run<'_> {
    /// Restores a candidate, if it can be used. The first that is restored takes the state of `before`: for others it
    /// would not be true any more.
    async fn candidate(&self, found: Found, before: &mut Option<Reading>) -> anyhow::Result<Tried> {
        let Found { entry, matched, mut tail, .. } = found;
        let content = match cli::unless_interrupted(self.open(&entry, &mut tail)).await? {
            Ok(content) => content,
            Err(error) => return Ok(self.pass_over(&entry, error)),
        };
        if let Err(error) = self.check(&entry, &content) {
            return Ok(self.pass_over(&entry, error));
        }
        if self.config.action == Action::Lookup {
            return Ok(Tried::Hit(Box::new(Hit { entry, matched, restored: None })));
        }
        match self.restore(&entry, tail, content, before.take()).await {
            Ok(restored) => Ok(Tried::Hit(Box::new(Hit { entry, matched, restored: Some(restored) }))),
            Err(Failed { error, replaced_files: 0 }) => match error {
                Error::Interrupted => Err(cli::why_interrupted().into()),
                error if error.is_about_the_entry() => Ok(self.pass_over(&entry, error)),
                // Neither the disk nor the program will be better for another entry.
                error => Err(error.into()),
            },
            Err(Failed { error, replaced_files: _ }) => Err(UnsafeToContinue {
                what: format!("the tree is neither what it was nor that of entry `{}`", entry.key),
                source: error.into(),
            }
            .into()),
        }
    }

    /// Reads the index.
    async fn open(&self, entry: &Entry, tail: &mut Tail) -> Result<Content, Error> {
        let unusable = |fault| {
            let (name, etag) = (entry.name.clone(), entry.meta.etag.clone());
            Err(Box::new(Unusable { name, etag, archive_id: None, fault }).into())
        };
        match object_end::open(&*self.store, &entry.name, tail).await? {
            Verdict::Readable(content) => Ok(content),
            Verdict::Damaged(error) => unusable(Fault::Damaged(error)),
            Verdict::Newer(error) => Err(error.into()),
            Verdict::Gone(gone) => unusable(Fault::Gone(gone)),
        }
    }

    /// Whether a candidate may be restored onto these paths.
    fn check(&self, entry: &Entry, content: &Content) -> Result<(), Error> {
        let damaged = |reason: String| Error::Archive(archive::Error::Damaged { part: "footer", reason });
        match content {
            Content::Plain if entry.kind == Kind::Delta => Err(damaged("a delta without an index".to_owned())),
            Content::Plain => Ok(Roots::check_plain(&self.config.paths)?),
            Content::Archive(archive) => {
                // An entry of a trusted scope must not be made of what a less trusted one can write.
                for r in &archive.footer.refs {
                    let scope = ObjectName::new(r.name.clone()).ok().and_then(|name| naming::parse(&name));
                    let allowed = scope.is_some_and(|(scope, ..)| {
                        self.config.scopes.may_build_on(entry.scope.as_ref(), scope.as_ref())
                    });
                    if !allowed {
                        return Err(damaged(format!("it refers to `{}`, which it may not", r.name)));
                    }
                }
                Ok(Roots::check(&archive.index, &self.config.paths)?)
            }
        }
    }

    /// Says why a candidate is not used.
    fn pass_over(&self, entry: &Entry, error: Error) -> Tried {
        let reason = match &error {
            Error::OtherPaths(_) => MissReason::OtherPaths,
            Error::Archive(archive::Error::NewerFormat { .. }) => MissReason::NewerFormat,
            Error::Archive(_) => MissReason::Corrupt,
            Error::Unusable(unusable) => match unusable.fault {
                // Deleted since it was found.
                Fault::Gone(_) if unusable.archive_id.is_none() => MissReason::NothingThere,
                Fault::Damaged(_) | Fault::Gone(_) => MissReason::Corrupt,
            },
            Error::Store(error) => match error.kind() {
                ErrorKind::Denied | ErrorKind::Unauthenticated => MissReason::Denied,
                // A store that contradicts itself says nothing about the entry.
                ErrorKind::Unavailable | ErrorKind::Corrupt => MissReason::Unreachable,
                ErrorKind::Invalid => MissReason::NoStore,
                _ => MissReason::Failed,
            },
            Error::Write { .. } | Error::NoSpace { .. } => MissReason::CannotWrite,
            // Whoever wrote it may be able to read it, so no save replaces it.
            Error::Refused(_) | Error::Interrupted | Error::Panic { .. } => MissReason::Failed,
        };
        let error = anyhow::Error::new(error).context(format!("entry `{}` cannot be used", entry.key));
        if reason.is_trouble() {
            self.reporter.warning_for(error.as_ref());
        } else {
            self.reporter.notice(format_args!("{}", xcache_cli::report::chain::text(error.as_ref())));
        }
        if reason == MissReason::Corrupt
            && let Some(directory) = &self.config.state_dir
        {
            // The save of this job may replace it, so that nobody else meets it.
            let _ =
                state::note_spoilt(directory, &self.config.store.config.url.to_string(), &entry.name, &entry.meta.etag);
        }
        Tried::PassedOver(reason)
    }

    async fn restore(
        &self,
        entry: &Entry,
        tail: Tail,
        content: Content,
        before: Option<Reading>,
    ) -> Result<outcome::Restored, Failed> {
        let config = self.config;
        let url = config.store.config.url.to_string();
        let before = match before {
            Some(reading) => reading.await.ok().flatten(),
            None => None,
        };
        if let Some(directory) = &config.state_dir {
            state::remove(directory, &config.paths);
        }
        let (tail_bytes, tail_offset) = (tail.bytes.clone(), tail.offset);
        let interrupted = Arc::new(Interrupt::default());
        let watch = {
            let interrupted = interrupted.clone();
            tokio::spawn(async move {
                let _ = cli::interrupted().await;
                interrupted.raise();
            })
        };
        let job = Job {
            runtime: tokio::runtime::Handle::current(),
            store: self.store.clone(),
            name: entry.name.clone(),
            tail,
            options: self.options(),
            limits: DownloadLimits { in_flight: config.limits.concurrency, ..DownloadLimits::default() },
            progress: self.reporter.progress("restoring", Unit::Bytes, None),
            interrupted,
            paths: config.paths.clone(),
        };
        // The rest is files and threads: it blocks.
        let result = tokio::task::spawn_blocking(move || job.run(content, before)).await;
        watch.abort();
        let (restored, left, received_tail) = result.unwrap_or_else(|panic| {
            // A restore catches its own panics and takes back what it has done. This one came before or after it.
            let error = Error::Panic { message: panic.to_string() };
            Err(Failed { error, replaced_files: 0 })
        })?;
        if let (Some(archive), Some(directory)) = (left, &config.state_dir)
            && let Some(stored_index) = archive.footer.stored_index(&tail_bytes, tail_offset)
        {
            let own = own_ref(&entry.name, &entry.meta.etag, entry.meta.size, &archive);
            let note = state::Note {
                store: &url,
                archive: &archive,
                stored_index,
                own: &own,
                signatures: &restored.signatures,
                paths: &config.paths,
                noted_nanos: None,
            };
            if let Err(error) = state::write(directory, &note) {
                self.reporter.debug(format_args!("no state left for the save: {error}"));
            }
        }
        for notice in &restored.notices {
            self.reporter.notice(notice);
        }
        Ok(outcome::Restored {
            files: restored.files,
            tree_bytes: restored.bytes,
            kept_files: restored.kept_files,
            removed_files: restored.removed_files,
            received_bytes: restored.fetched_bytes + received_tail,
        })
    }

    fn options(&self) -> Options {
        let mut run = [0; 8];
        // Without random numbers the time tells runs apart well enough for temporary names.
        if getrandom::fill(&mut run).is_err() {
            run = self.context.now.timestamp_nanos_opt().unwrap_or(0).to_ne_bytes();
        }
        Options {
            workers: self.config.limits.workers,
            same_owner: self.config.owners == Owners::Saved,
            clean: self.config.others == Others::Remove,
            run: u64::from_ne_bytes(run),
        }
    }
}

/// Everything that the blocking part of a restore needs.
struct Job {
    runtime: tokio::runtime::Handle,
    store: Arc<dyn Store>,
    name: ObjectName,
    tail: Tail,
    options: Options,
    limits: DownloadLimits,
    progress: Arc<dyn Progress>,
    interrupted: Arc<Interrupt>,
    paths: xcache_core::paths::PathList,
}

/// What was restored, the archive for the state, and how long the tail was.
type Finished = (Restored, Option<Box<Archive>>, u64);

impl Job {
    fn run(self, content: Content, before: Option<State>) -> Result<Finished, Failed> {
        let Self { runtime, store, name, tail, options, limits, progress, interrupted, paths } = self;
        let progress = |bytes| progress.add(bytes);
        let received_tail = tail.bytes.len() as u64;
        let archive = match content {
            Content::Archive(archive) => archive,
            Content::Plain => {
                let (etag, size) = (tail.meta.etag, tail.meta.size);
                let source = PlainSource { store, name, etag, size, limits: &limits, progress: &progress };
                let restored = restore_plain(&runtime, &source, &paths, &options, &interrupted)?;
                return Ok((restored, None, received_tail));
            }
        };
        let before = before.as_ref().map(|state| Before {
            index: &state.archive.index,
            signatures: &state.signatures,
            noted_nanos: state.noted_nanos,
        });
        let frames = Frames {
            store,
            own: own_ref(&name, &tail.meta.etag, tail.meta.size, &archive),
            refs: &archive.footer.refs,
            tail: (tail.bytes, tail.offset),
            limits: &limits,
            progress: &progress,
        };
        let entry = restore::Entry { runtime: &runtime, index: &archive.index, frames: &frames, before };
        let restored = restore::restore(&entry, &paths, &options, &interrupted)?;
        Ok((restored, Some(archive), received_tail))
    }
}
