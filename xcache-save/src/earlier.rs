//! Finding an entry to build on: what this job restored, else what `--base-key` and `--restore-keys` find.

use std::path::PathBuf;

use xcache_core::archive::reader::Archive;
use xcache_core::delta::Known;
use xcache_core::delta::plan::Reason;
use xcache_core::entry::Entry;
use xcache_core::key::Keys;
use xcache_core::lookup::{Candidate, Lookup};
use xcache_core::naming;
use xcache_core::object::Ref;
use xcache_core::object_end::{self, ObjectFormat, TAIL_BYTES, Tail, Verdict, created_nanos, own_ref};
use xcache_core::restore::{Leftovers, Lines};
use xcache_core::scan::Signature;
use xcache_core::state::{self, NoState, State};

use crate::run::Run;

/// An entry to build on.
pub(crate) struct Earlier {
    pub(crate) known: Known,
    pub(crate) left: LeftBehind,
    /// Its key.
    pub(crate) key: String,
}

/// What a restore of this job left of an entry: files that look the same need not be read. Empty if it restored none.
#[derive(Default)]
pub(crate) struct LeftBehind {
    /// Of the members, as the restore left them.
    pub(crate) signatures: Vec<Option<Signature>>,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) noted_nanos: i64,
}

/// Finds an entry to build on, or why there is none. Trouble is no reason not to save.
pub(crate) async fn find(run: &Run<'_>) -> Result<Earlier, Reason> {
    let reason = match left(run) {
        Ok(State { archive, own, signatures, roots, noted_nanos }) => match check(run, &own, &archive) {
            Ok(()) => {
                let key = archive.footer.key.clone();
                let left = LeftBehind { signatures, roots, noted_nanos };
                return Ok(Earlier { known: Known::new(own, archive), left, key });
            }
            Err(reason) => reason,
        },
        Err(NoState::Missing) => Reason::NothingRestored,
        Err(error) => {
            run.reporter.debug(error);
            Reason::StateUnusable
        }
    };
    match keys(run) {
        Some(keys) => look_up(run, &keys, reason).await,
        None => Err(reason),
    }
}

/// What a restore, or another save, of this job has left.
fn left(run: &Run<'_>) -> Result<State, NoState> {
    let config = run.config;
    let directory = config.state_dir.as_deref().ok_or(NoState::Missing)?;
    state::read(directory, &config.store.config.url.to_string(), &config.paths)
}

/// The keys that say what to build on.
fn keys(run: &Run<'_>) -> Option<Keys> {
    let config = run.config;
    let mut restore = config.keys.restore().to_vec();
    let primary = match (&config.base_key, restore.is_empty()) {
        (Some(base), _) => base.clone(),
        // The primary key itself is not there: looking for it brings what begins with it, as a restore would.
        (None, false) => config.keys.primary().clone(),
        (None, true) => return None,
    };
    restore.truncate(Keys::MAX - 1);
    Keys::new(primary, restore).ok()
}

/// The first entry of `keys` that can be built on. `reason` is why nothing of this job is.
async fn look_up(run: &Run<'_>, keys: &Keys, reason: Reason) -> Result<Earlier, Reason> {
    let mut lookup = Lookup::new(run.store.clone(), &run.config.scopes, keys, TAIL_BYTES, created_nanos);
    let mut last = None;
    let mut explained = 0;
    while let Some(found) = lookup.next().await {
        run.explain().lookup(&lookup.asked()[explained..]);
        explained = lookup.asked().len();
        let name = found.entry.name.clone();
        match open(run, found).await {
            Ok(earlier) => return Ok(earlier),
            Err(reason) => {
                run.explain().line(format_args!("`{name}` is not built on: {reason}"));
                last = Some(reason);
            }
        }
    }
    run.explain().lookup(&lookup.asked()[explained..]);
    for name in lookup.foreign() {
        run.reporter.debug(format_args!("`{name}` is not built on: it belongs to another store"));
    }
    for error in lookup.errors() {
        run.reporter.debug(format_args!("looking for an entry to build on: {error}"));
    }
    Err(match (last, lookup.errors().is_empty(), reason) {
        (Some(last), ..) => last,
        (None, false, _) => Reason::LookupFailed,
        (None, true, Reason::NothingRestored) => Reason::NoMatch,
        (None, true, reason) => reason,
    })
}

/// The entry found, if it has an index and may be referred to.
async fn open(run: &Run<'_>, found: Candidate) -> Result<Earlier, Reason> {
    let Candidate { entry, mut tail, .. } = found;
    let (reason, why) = match object_end::open(&*run.store, &entry.name, &mut tail).await {
        Ok(Verdict::Readable(ObjectFormat::Archive(archive))) => match usable(run, &entry, &tail, *archive) {
            Ok(earlier) => return Ok(earlier),
            Err(reason) => (reason, reason.to_string()),
        },
        Ok(Verdict::Readable(ObjectFormat::Plain)) => (Reason::NoMatch, "it has no index".to_owned()),
        Ok(Verdict::Damaged(error) | Verdict::Newer(error)) => (Reason::FoundUnusable, error.to_string()),
        Ok(Verdict::Gone(gone)) => (Reason::NoMatch, format!("it {gone}")),
        Err(error) => (Reason::LookupFailed, error.to_string()),
    };
    run.reporter.debug(format_args!("`{}` is not built on: {why}", entry.name));
    Err(reason)
}

/// What was read, if it may be referred to.
fn usable(run: &Run<'_>, entry: &Entry, tail: &Tail, archive: Archive) -> Result<Earlier, Reason> {
    let own = own_ref(&entry.name, &tail.meta.etag, tail.meta.size, &archive);
    check(run, &own, &archive)?;
    // In the order of the paths, files are looked for where they were. An entry of other paths helps by its content.
    let arranged = Lines::of(&archive.index, &run.config.paths, Leftovers::ByPosition);
    let arranged = arranged.ok().filter(|lines| lines.left_out.is_empty());
    let archive = match arranged.and_then(|lines| lines.arrange(&archive.index)) {
        Some((index, _)) => Archive { index, ..archive },
        None => archive,
    };
    let (known, key) = (Known::new(own, archive), entry.key.as_str().to_owned());
    Ok(Earlier { known, left: LeftBehind::default(), key })
}

/// Whether an entry in our scope may refer to all objects that this one is made of, and a restore of this job has not
/// found any of them unusable.
fn check(run: &Run<'_>, own: &Ref, archive: &Archive) -> Result<(), Reason> {
    let write = run.config.scopes.write.as_ref();
    let is_trusted = |r: &Ref| {
        let scope = naming::parse(&r.name).map(|(scope, ..)| scope);
        scope.is_some_and(|scope| run.config.scopes.may_build_on(write, scope.as_ref()))
    };
    let mut refs = archive.footer.refs.iter().chain([own]);
    if refs.clone().any(|r| run.unusable.iter().any(|note| note.rules_out(r))) {
        return Err(Reason::FoundUnusable);
    }
    if refs.all(is_trusted) { Ok(()) } else { Err(Reason::OtherScope) }
}
