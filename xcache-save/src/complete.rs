//! Saving everything as one complete entry, and taking back an entry that must not stay.

use std::sync::Arc;

use xcache_cli::report::chain;
use xcache_core::convert;
use xcache_core::delta::plan::Reason;
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::plan::{Cascade, RemovalTarget};
use xcache_core::gc::sweep::Swept;
use xcache_core::gc::{self, Effect};
use xcache_core::object::{Kind, RunId};
use xcache_core::pack::{Job, jobs_of_members};
use xcache_core::scan::Tree;
use xcache_core::store::{ETag, ObjectName};

use crate::make::What;
use crate::outcome::{Existed, Outcome, Saved};
use crate::run::Run;
use crate::write::{Stored, Written, write};

impl Run<'_> {
    /// Stores everything, as an object of this kind.
    pub(crate) async fn save_complete(&self, tree: Arc<Tree>, kind: Kind, reason: Reason) -> anyhow::Result<Outcome> {
        let what = What::Complete { kind, jobs: base_jobs(&tree) };
        match write(self, tree, what).await? {
            Written::Stored(stored) => Ok(self.saved(&stored, Err(reason))),
            Written::Exists { sent_bytes } => Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes }),
            Written::InDoubt(error) => Err(error),
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
        let target = RemovalTarget { name: name.clone(), etag: Some(etag.clone()) };
        let mode = DeleteMode::of(&self.features);
        let operation =
            gc::Operation { store: &*self.store, run: &RunId::new()?, mode: Effect::Real, monitor: self.reporter };
        let outcome = gc::remove(&operation, mode, &[target], Cascade::No).await?;
        let Some(Swept { failed, stopped, .. }) = outcome.swept else { return Ok(()) };
        match failed.into_iter().map(|(_, error)| error).chain(stopped).next() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// `built_on` is the key of the entry that a delta builds on, or why this is none.
    pub(crate) fn saved(&self, stored: &Stored, built_on: Result<String, Reason>) -> Outcome {
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

fn base_jobs(tree: &Tree) -> Vec<Job> {
    let nodes = 0..convert::number(tree.nodes.len());
    jobs_of_members(tree, nodes)
}
