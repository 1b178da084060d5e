//! The key has an entry that the restore of this job could not use.
//!
//! | the entry is | and | then |
//! | --- | --- | --- |
//! | readable now | | it stays, and the note goes |
//! | a delta | | a base beside it, which every lookup prefers; what is damaged or has lost a base is deleted |
//! | a base, damaged | nothing builds on it | it is deleted, and written anew |
//! | a base | something builds on it, or it may not be deleted, or is only refused | a complete entry beside it, under the name of the delta: a lookup comes to that when the base proves unusable |
//!
//! Nothing is ever overwritten: an object that others build on must stay, since what they use of it may be sound.

use std::sync::Arc;

use xcache_cli as cli;
use xcache_core::delta::plan::Reason;
use xcache_core::entry::Entry;
use xcache_core::gc::verify::{Depth, Fault, verify};
use xcache_core::object::{Kind, Pinned};
use xcache_core::scan::Tree;
use xcache_core::state::unusable::{self, UnusableNote, Why};
use xcache_core::store::ErrorKind;

use crate::outcome::{Existed, Outcome};
use crate::run::Run;

/// What a second look at an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    /// It can be restored.
    Sound,
    /// It cannot, for this reason.
    Confirmed(Why),
    /// The store does not tell.
    Open,
}

/// What restores of this job noted of an entry.
pub(crate) fn note_of<'a>(notes: &'a [UnusableNote], entry: &Entry) -> Option<&'a UnusableNote> {
    let itself = Pinned::new(&entry.name, &entry.meta.etag);
    notes.iter().find(|note| note.entry == itself)
}

impl Run<'_> {
    /// Makes good an entry of the key that could not be restored, if it still cannot.
    pub(crate) async fn make_good(
        &self,
        tree: Arc<Tree>,
        entry: &Entry,
        note: &UnusableNote,
    ) -> anyhow::Result<Outcome> {
        let key = self.config.keys.primary();
        let exists = Outcome::AlreadyExists { when: Existed::Before, sent_bytes: 0 };
        let why = match cli::unless_interrupted(self.look_again(entry, note)).await? {
            Second::Sound => {
                self.reporter.notice(format_args!("the entry of key `{key}` can be read again and is kept"));
                if let Some(directory) = &self.config.state_dir {
                    unusable::forget(directory, note);
                }
                return Ok(exists);
            }
            Second::Open => {
                self.reporter.notice(format_args!(
                    "the entry of key `{key}` could not be restored, but the store does not tell what is wrong with it; \
                     it is kept"
                ));
                return Ok(exists);
            }
            Second::Confirmed(why) => why,
        };
        let is_lost = why != Why::Refused;
        match entry.kind {
            Kind::Delta => {
                self.reporter.notice(format_args!("replacing the entry of key `{key}`, which cannot be restored"));
                let outcome = self.save_complete(tree, Kind::Base, Reason::Replacement).await?;
                if is_lost && matches!(outcome, Outcome::Saved(_)) {
                    // Given up here, the base is published and shadows what is left of the delta.
                    cli::unless_interrupted(self.take_back(&entry.name, &entry.meta.etag)).await?;
                }
                Ok(outcome)
            }
            Kind::Base => {
                let deleted = is_lost && cli::unless_interrupted(self.delete_unneeded(entry)).await?;
                let kind = if deleted { Kind::Base } else { Kind::Delta };
                let how = if deleted { "replacing" } else { "saving a complete entry beside" };
                self.reporter.notice(format_args!("{how} the entry of key `{key}`, which cannot be restored"));
                self.save_complete(tree, kind, Reason::Replacement).await
            }
        }
    }

    /// Deletes an entry that nothing builds on, and tells whether it is gone.
    async fn delete_unneeded(&self, entry: &Entry) -> bool {
        if let Err(error) = self.delete(&entry.name, &entry.meta.etag).await {
            self.reporter.debug(format_args!("`{}` is not deleted: {error:#}", entry.name));
        }
        matches!(self.store.head(&entry.name).await, Err(error) if error.kind() == ErrorKind::NotFound)
    }

    /// Reads all of an entry once more: what a restore said may have been the fault of one answer, or of the way.
    async fn look_again(&self, entry: &Entry, note: &UnusableNote) -> Second {
        let verified = verify(&self.store, &entry.name, &entry.meta.etag, Depth::Chunks).await;
        match verified {
            // Deleted in the meantime: nothing is in the way.
            Ok(None) => Second::Confirmed(Why::Gone),
            // Without an index there is nothing to compare with: the restore has fetched it twice.
            Ok(Some(verified)) if verified.is_plain => Second::Confirmed(note.why),
            Ok(Some(verified)) if verified.is_foreign => Second::Open,
            Ok(Some(verified)) => {
                let is_gone = |fault: &Fault| matches!(fault, Fault::RefMissing(_) | Fault::RefReplaced(_));
                let faults = verified.found.faults;
                match (faults.iter().any(is_gone), faults.iter().any(Fault::prevents_restoring)) {
                    (true, _) => Second::Confirmed(Why::Gone),
                    (false, true) => Second::Confirmed(Why::Damaged),
                    (false, false) => Second::Sound,
                }
            }
            Err(error) => match (error.kind(), note.why) {
                // Refused then and now. What was damaged then is not proven to be.
                (ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Changed, Why::Refused) => {
                    Second::Confirmed(Why::Refused)
                }
                _ => Second::Open,
            },
        }
    }
}
