//! Finding an entry to build on: what this job restored, else what `--base-key` and `--restore-keys` find.

use std::path::PathBuf;
use std::time::Duration;

use xcache_core::archive::footer::Ref;
use xcache_core::archive::reader::Archive;
use xcache_core::delta::{Facts, Known, Usage, usage};
use xcache_core::entry::Entry;
use xcache_core::key::Keys;
use xcache_core::lookup::{Found, Lookup};
use xcache_core::naming;
use xcache_core::object_end::{self, Content, TAIL_BYTES, Tail, Verdict, created_nanos, own_ref};
use xcache_core::plan::{Candidate, Needed, Plan, Reason, plan as decide};
use xcache_core::scan::Signature;
use xcache_core::state::{self, State};
use xcache_core::store::ObjectName;

use crate::save::Run;

/// An entry to build on.
pub(crate) struct Earlier {
    pub(crate) known: Known,
    /// Of its members, as the restore left them; empty if this job did not restore it.
    pub(crate) signatures: Vec<Option<Signature>>,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) noted_nanos: i64,
    /// Its key.
    pub(crate) key: String,
}

/// Finds an entry to build on. Trouble is no reason not to save.
pub(crate) async fn find(run: &Run<'_>) -> Option<Earlier> {
    let config = run.config;
    let left = config
        .state_dir
        .as_deref()
        .and_then(|dir| state::read(dir, &config.store.config.url.to_string(), &config.paths));
    if let Some(State { archive, own, signatures, roots, noted_nanos }) = left
        && may_refer(run, &own, &archive)
    {
        let key = archive.footer.key.clone();
        return Some(Earlier { known: Known::new(own, archive), signatures, roots, noted_nanos, key });
    }
    let mut keys: Vec<_> = config.base_key.iter().cloned().collect();
    let mut restore = config.keys.restore().to_vec();
    let primary = match (keys.pop(), restore.is_empty()) {
        (Some(base), _) => base,
        // The primary key itself is not there: looking for it brings what begins with it, as a restore would.
        (None, false) => config.keys.primary().clone(),
        (None, true) => return None,
    };
    restore.truncate(9);
    let keys = Keys::new(primary, restore).ok()?;
    let mut lookup = Lookup::new(run.store.clone(), &config.scopes, &keys, TAIL_BYTES, created_nanos);
    while let Some(found) = lookup.next().await {
        if let Some(earlier) = open(run, found).await {
            return Some(earlier);
        }
    }
    None
}

/// The entry found, if it has an index and may be referred to.
async fn open(run: &Run<'_>, found: Found) -> Option<Earlier> {
    let Found { entry, mut tail, .. } = found;
    let why: String = match object_end::open(&*run.store, &entry.name, &mut tail).await {
        Ok(Verdict::Readable(Content::Archive(archive))) => return usable(run, entry, &tail, *archive),
        Ok(Verdict::Readable(Content::Plain)) => "it has no index".to_owned(),
        Ok(Verdict::Damaged(error) | Verdict::Newer(error)) => error.to_string(),
        Ok(Verdict::Gone(gone)) => format!("it {gone}"),
        Err(error) => error.to_string(),
    };
    run.reporter.debug(format_args!("`{}` is not built on: {why}", entry.name));
    None
}

/// What was read, if it may be referred to.
fn usable(run: &Run<'_>, entry: Entry, tail: &Tail, archive: Archive) -> Option<Earlier> {
    let own = own_ref(&entry.name, &tail.meta.etag, tail.meta.size, &archive);
    let fits = archive.index.roots.len() == run.config.paths.roots().len() && may_refer(run, &own, &archive);
    let key = entry.key.as_str().to_owned();
    let known = fits.then(|| Known::new(own, archive))?;
    Some(Earlier { known, signatures: Vec::new(), roots: Vec::new(), noted_nanos: 0, key })
}

/// Whether an entry in our scope may refer to all objects that this one is made of.
fn may_refer(run: &Run<'_>, own: &Ref, archive: &Archive) -> bool {
    let write = run.config.scopes.write.as_ref();
    archive.footer.refs.iter().chain([own]).all(|r| {
        let scope = ObjectName::new(r.name.clone()).ok().and_then(|name| naming::parse(&name)).map(|(scope, ..)| scope);
        scope.is_some_and(|scope| run.config.scopes.may_build_on(write, scope.as_ref()))
    })
}

/// Base or delta, and on what.
pub(crate) fn plan(known: &Known, facts: &Facts, usable: &[bool], now_nanos: i64, rebase_after: Duration) -> Plan {
    let Usage { live_bytes: live, new_bytes, tree_bytes, base_bytes } = usage(known, facts);
    // What lies in a ref that cannot be used is as good as new.
    let lost: u64 = live.iter().zip(usable).filter(|(_, usable)| !**usable).map(|(live, _)| live).sum();
    let age = |r: &Ref| Duration::from_nanos(u64::try_from(now_nanos.saturating_sub(r.created_nanos)).unwrap_or(0));
    let candidates: Vec<Candidate> = known
        .refs
        .iter()
        .zip(&live)
        .zip(usable)
        .map(|((r, &live), &usable)| Candidate {
            stored_bytes: r.data_bytes,
            live_bytes: if usable { live } else { 0 },
            age: age(r),
        })
        .collect();
    let needed = Needed { new_bytes: new_bytes + lost, tree_bytes, base_bytes };
    match decide(&candidates, needed, rebase_after) {
        Plan::Base(Reason::NothingKnown) if lost > 0 => Plan::Base(Reason::RefsGone),
        plan => plan,
    }
}
