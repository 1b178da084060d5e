//! One entry that may be the right one: reading its end, whether it may be restored onto these paths, and what is said
//! and noted when it cannot be used.

use std::sync::Arc;

use xcache_cli as cli;
use xcache_cli::report::{Reporter, chain};
use xcache_core::archive::reader::Archive;
use xcache_core::archive::{self};
use xcache_core::entry::Entry;
use xcache_core::gc::quarantine::quarantine;
use xcache_core::lookup::Match;
use xcache_core::naming;
use xcache_core::object::{ArchiveId, Pinned, Ref};
use xcache_core::object_end::{self, Defect, Tail, Unusable, own_ref};
use xcache_core::restore::{Error, Leftovers, Lines, Roots};
use xcache_core::state::unusable::Why;
use xcache_core::store::ErrorKind;

use crate::config::Relocation;
use crate::job::{Arranged, Indexed, RestoreSource};
use crate::outcome::MissReason;
use crate::run::Run;
use crate::verdict::{EntryVerdict, examine};

/// An entry, and how it was found.
pub(crate) struct ChosenEntry {
    pub(crate) entry: Entry,
    pub(crate) matched: Match,
}

/// What is behind a candidate.
pub(crate) enum Restorable {
    /// An archive with an index.
    Indexed(Box<Fitting>),
    /// An archive without one.
    Plain,
}

/// An archive that may be restored onto these paths.
pub(crate) struct Fitting {
    archive: Box<Archive>,
    /// What goes where.
    lines: Lines,
    /// The index in the order of the paths, if that is another.
    arranged: Option<Arranged>,
}

/// Why a candidate was not restored.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Its archive and what that refers to, if its end could be read.
    pub(crate) archive: Option<(ArchiveId, Vec<Ref>)>,
}

impl Failure {
    /// A failure of which nothing else is known.
    pub(crate) fn of(error: Error) -> Box<Self> {
        Box::new(Self { error, archive: None })
    }
}

impl Restorable {
    /// How the entry counts as found. An entry without one of the lines is not what was asked for: a job that goes by
    /// `cache-hit` must make what is missing.
    pub(crate) fn matched(&self, choice: &ChosenEntry) -> Match {
        match self {
            Self::Indexed(fitting) if !fitting.lines.missing.is_empty() && choice.matched == Match::Exact => {
                Match::Prefix { restore_key: None }
            }
            _ => choice.matched.clone(),
        }
    }

    /// Says what does not go where it came from.
    pub(crate) fn announce(&self, reporter: &Reporter) {
        let Self::Indexed(fitting) = self else { return };
        let lines = &fitting.lines;
        for moved in &lines.moved {
            reporter.notice_once(&moved.to_string());
        }
        for line in &lines.missing {
            reporter.notice_once(&format!("the entry contains nothing for `{line}`"));
        }
        for name in &lines.left_out {
            reporter.notice_once(&format!("`{name}` of the entry is not restored: no path covers it"));
        }
    }

    pub(crate) fn archive_id_and_refs(&self) -> Option<(ArchiveId, Vec<Ref>)> {
        match self {
            Self::Indexed(fitting) => {
                let footer = &fitting.archive.footer;
                Some((footer.archive_id, footer.refs.clone()))
            }
            Self::Plain => None,
        }
    }

    /// What is to be restored, for the threads that do it.
    pub(crate) fn into_source(self, entry: &Entry, tail: &Tail) -> RestoreSource {
        let Self::Indexed(fitting) = self else { return RestoreSource::Plain };
        let Fitting { archive, arranged, .. } = *fitting;
        let own = own_ref(&entry.name, &entry.meta.etag, entry.meta.size, &archive);
        RestoreSource::Indexed(Arc::new(Indexed { archive, arranged, own, tail: (tail.bytes.clone(), tail.offset) }))
    }
}

impl Run<'_> {
    /// Reads the index, and looks whether the entry fits these paths.
    pub(crate) async fn open(&self, choice: &ChosenEntry, tail: &mut Tail) -> Result<Restorable, Box<Failure>> {
        let ChosenEntry { entry, .. } = choice;
        let unusable = |fault| {
            let (name, etag) = (entry.name.clone(), entry.meta.etag.clone());
            Failure::of(Box::new(Unusable { name, etag, archive_id: None, fault }).into())
        };
        let opened = object_end::open(&*self.store, &entry.name, tail).await;
        let archive = match opened.map_err(|error| Failure::of(error.into()))? {
            object_end::Verdict::Readable(object_end::ObjectFormat::Archive(archive)) => archive,
            object_end::Verdict::Readable(object_end::ObjectFormat::Plain) => {
                Roots::check_plain(&self.config.paths).map_err(|error| Failure::of(error.into()))?;
                return Ok(Restorable::Plain);
            }
            object_end::Verdict::Damaged(error) => return Err(unusable(Defect::Damaged(error))),
            object_end::Verdict::Gone(gone) => return Err(unusable(Defect::Gone(gone))),
            object_end::Verdict::Newer(error) => return Err(Failure::of(error.into())),
        };
        let known = Some((archive.footer.archive_id, archive.footer.refs.clone()));
        let fits = self.check(choice, &archive).map_err(|error| Box::new(Failure { error, archive: known }));
        let (lines, arranged) = fits?;
        Ok(Restorable::Indexed(Box::new(Fitting { archive, lines, arranged })))
    }

    /// What of an archive goes where, if it may be restored onto these paths; and its index as they are arranged, if that
    /// is another order than the one in which it was saved.
    fn check(&self, choice: &ChosenEntry, archive: &Archive) -> Result<(Lines, Option<Arranged>), Error> {
        let ChosenEntry { entry, matched } = choice;
        // An entry of a trusted scope must not be made of what a less trusted one can write.
        for r in &archive.footer.refs {
            let Some((scope, ..)) = naming::parse(&r.name) else {
                let reason = format!("it refers to `{}`, which is no entry", r.name);
                return Err(archive::Error::Damaged { part: "footer", reason }.into());
            };
            if !self.config.scopes.may_build_on(entry.scope.as_ref(), scope.as_ref()) {
                return Err(Error::OtherScope(r.name.to_string()));
            }
        }
        let leftovers = match (matched, self.config.relocation) {
            (Match::Exact, _) | (_, Relocation::Always) => Leftovers::ByPosition,
            (Match::Prefix { .. }, Relocation::ExactKey) => Leftovers::Refuse,
        };
        let lines = Lines::of(&archive.index, &self.config.paths, leftovers)?;
        let arranged = lines.arrange(&archive.index);
        Roots::check(arranged.as_ref().map_or(&archive.index, |(index, _)| index), &self.config.paths)?;
        Ok((lines, arranged))
    }

    /// Says why a candidate is not used, and notes it for the save.
    pub(crate) async fn pass_over(&self, entry: &Entry, failure: Box<Failure>) -> Result<MissReason, cli::Interrupted> {
        let Failure { error, archive } = *failure;
        let (own, refs) = archive.unzip();
        let refs = refs.unwrap_or_default();
        let verdict = cli::unless_interrupted(examine(&*self.store, entry, own, &refs, &error)).await?;
        if verdict == EntryVerdict::Gone {
            self.reporter.debug(format_args!("entry `{}` is gone since it was listed", entry.key));
            return Ok(MissReason::NothingThere);
        }
        let reason = reason(&error, &verdict);
        let error = anyhow::Error::new(error).context(match reason {
            MissReason::Expired => format!("entry `{}` cannot be used: an object that it builds on is gone", entry.key),
            _ => format!("entry `{}` cannot be used", entry.key),
        });
        if reason.is_trouble() {
            self.reporter.warning_for(error.as_ref());
        } else {
            self.reporter.notice(chain::text(error.as_ref()));
        }
        if let EntryVerdict::Unusable { object, archive, why } = verdict {
            let found = (object.clone(), archive, why);
            self.notes.unusable(Pinned::new(&entry.name, &entry.meta.etag), found);
            if why == Why::Damaged && self.config.access.mode.may_write() && self.may_mark(&object) {
                cli::unless_interrupted(self.mark(&object, archive)).await?;
            }
        }
        Ok(reason)
    }

    /// Whether this run is trusted with the object: a mark can be the end of it, so a pull request leaves none on what
    /// `main` has saved.
    fn may_mark(&self, object: &Pinned) -> bool {
        naming::parse(&object.name).is_some_and(|(scope, ..)| scope == self.config.scopes.write)
    }

    /// Tells other jobs that nothing is to be built on an object. A role that may only read cannot.
    async fn mark(&self, object: &Pinned, archive: Option<ArchiveId>) {
        if let Err(error) = quarantine(&*self.store, object, archive).await {
            self.reporter.debug(format_args!("`{}` is not marked as damaged: {}", object.name, chain::text(&error)));
        }
    }
}

fn reason(error: &Error, verdict: &EntryVerdict) -> MissReason {
    match (error, verdict) {
        (_, EntryVerdict::Unusable { why: Why::Gone, .. }) => MissReason::Expired,
        (_, EntryVerdict::Unusable { why: Why::Damaged, .. }) => MissReason::Corrupt,
        (_, EntryVerdict::Gone) => MissReason::NothingThere,
        (Error::OtherPaths(_), _) => MissReason::OtherPaths,
        (Error::OtherScope(_), _) => MissReason::OtherScope,
        (Error::Archive(archive::Error::NewerFormat { .. }), _) => MissReason::NewerFormat,
        (Error::Archive(_) | Error::Unusable(_), _) => MissReason::Corrupt,
        (Error::Store(error), _) => match error.kind() {
            ErrorKind::Denied | ErrorKind::Unauthenticated => MissReason::Denied,
            // A store that contradicts itself says nothing about the entry.
            ErrorKind::Unavailable | ErrorKind::Corrupt => MissReason::Unreachable,
            ErrorKind::Invalid => MissReason::NoStore,
            _ => MissReason::Failed,
        },
        (Error::Write { .. } | Error::NoSpace { .. }, _) => MissReason::CannotWrite,
        // Whoever wrote it may be able to read it, so no save replaces it.
        (Error::Refused(_) | Error::NoThread | Error::Interrupted | Error::Panic { .. }, _) => MissReason::Failed,
    }
}
