//! `[ci-clear-cache]`: the entry of the primary key goes, with those that build on it.

use anyhow::Context as _;
use xcache_cli::report::human::Count;
use xcache_cli::report::{Reporter, chain};
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::plan::{Cascade, RemovalTarget};
use xcache_core::gc::sweep::Swept;
use xcache_core::gc::{self, Effect};
use xcache_core::naming::object_name;
use xcache_core::object::{Kind, RunId};
use xcache_core::store::open::OpenedStore;

use crate::config::Config;

/// Deletes the entry of the primary key in the own scope. What a running save has noted is left to the next gc.
pub(crate) async fn clear(config: &Config, reporter: &Reporter, opened: &OpenedStore) -> anyhow::Result<()> {
    let store = &*opened.store;
    let key = config.keys.primary();
    let features = opened.features().await?;
    let name = |kind| object_name(config.scopes.write.as_ref(), key, kind);
    let targets = [Kind::Base, Kind::Delta].into_iter().map(|kind| Ok(RemovalTarget { name: name(kind)?, etag: None }));
    let targets = targets.collect::<anyhow::Result<Vec<_>>>()?;
    let run = RunId::new()?;
    let mode = DeleteMode::of(&features);
    let operation = gc::Operation { store, run: &run, mode: Effect::Real, monitor: reporter };
    let outcome = gc::remove(&operation, mode, &targets, Cascade::Yes).await;
    let outcome = outcome.with_context(|| format!("cannot clear the entry of key `{key}`"))?;
    let Some(Swept { deleted, gone: _, left, failed, unmarked: _, stopped }) = outcome.swept else { return Ok(()) };
    let cleared = Count(deleted.len() as u64, "entry");
    reporter.notice(format_args!("cleared {cleared} for key `{key}`, as the commit asked"));
    let name = |id| outcome.inventory.name(id);
    for (id, _) in left {
        reporter.notice(format_args!("`{}` is still in use and left to the clean-up", name(id)));
    }
    for (id, error) in &failed {
        reporter.warning(format_args!("`{}` is not cleared: {}", name(*id), chain::text(error)), chain::hint(error));
    }
    if let Some(error) = stopped {
        return Err(error).with_context(|| format!("cannot clear all of key `{key}`"));
    }
    Ok(())
}
