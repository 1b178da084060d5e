//! What a restore leaves in the state directory for the save of the same job.

use std::fmt::Display;
use std::path::Path;

use tokio::task::JoinHandle;
use xcache_cli::report::Reporter;
use xcache_core::object::{ArchiveId, Pinned, RunId};
use xcache_core::restore::Restored;
use xcache_core::state::unfinished::Unfinished;
use xcache_core::state::unusable::{self, UnusableNote, Why};
use xcache_core::state::{self, State};

use crate::config::{Action, Config};
use crate::job::Indexed;

/// What the last restore onto these paths left, being read while the entry is looked up.
pub(crate) type Reading = JoinHandle<Option<State>>;

/// The state directory, as one restore uses it.
pub(crate) struct Notes<'a> {
    config: &'a Config,
    reporter: &'a Reporter,
    store: String,
    run: RunId,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(config: &'a Config, reporter: &'a Reporter, run: RunId) -> Self {
        Self { config, reporter, store: config.store.config.url.to_string(), run }
    }

    fn directory(&self) -> Option<&'a Path> {
        self.config.state_dir.as_deref()
    }

    /// Begins to read what is known of the files that are here.
    pub(crate) fn begin_to_read(&self) -> Option<Reading> {
        let directory = self.directory().filter(|_| self.config.action == Action::Restore)?.to_owned();
        let (url, paths) = (self.store.clone(), self.config.paths.clone());
        Some(tokio::task::spawn_blocking(move || state::read(&directory, &url, &paths).ok()))
    }

    /// Notes that the entry of `key` is about to be written. What was known of the files is not true any more.
    pub(crate) fn begin_to_write(&self, key: &str) -> Option<Unfinished> {
        let Some(directory) = self.directory() else {
            self.warn("there is no state directory");
            return None;
        };
        state::remove(directory, &self.config.paths);
        match Unfinished::note(directory, &self.config.paths, key, self.run) {
            Ok(note) => Some(note),
            Err(error) => {
                self.warn(format_args!("cannot write to the state directory `{}`: {error}", directory.display()));
                None
            }
        }
    }

    /// Notes that an entry could not be used, and why.
    pub(crate) fn unusable(&self, entry: Pinned, (object, archive, why): (Pinned, Option<ArchiveId>, Why)) {
        let Some(directory) = self.directory() else { return self.warn("there is no state directory") };
        if let Err(error) =
            unusable::note(directory, &UnusableNote { store: self.store.clone(), entry, object, archive, why })
        {
            self.warn(format_args!("cannot write to the state directory `{}`: {error}", directory.display()));
        }
    }

    /// What an earlier restore of this job has noted of an entry.
    pub(crate) fn of(&self, entry: &Pinned) -> Option<UnusableNote> {
        unusable::read(self.directory()?, &self.store).into_iter().find(|note| note.entry == *entry)
    }

    /// Takes such a note away.
    pub(crate) fn forget(&self, note: &UnusableNote) {
        if let Some(directory) = self.directory() {
            unusable::forget(directory, note);
        }
    }

    /// Leaves what is known of the files that were restored, for what `left` was restored from.
    pub(crate) fn leave(&self, restored: &Restored, left: &Indexed) {
        let (Some(directory), Some(stored_index)) = (self.directory(), left.stored_index()) else { return };
        let signatures = left.signatures(&restored.signatures);
        let note = state::Note {
            store: &self.store,
            archive: &left.archive,
            stored_index,
            own: &left.own,
            signatures: &signatures,
            paths: &self.config.paths,
            noted_nanos: None,
        };
        if let Err(error) = state::write(directory, &note) {
            self.warn(format_args!("cannot write to the state directory `{}`: {error}", directory.display()));
        }
    }

    /// Once a run: everything that is left there is missing then.
    fn warn(&self, reason: impl Display) {
        let text = format!(
            "{reason}: the save of this job will write a complete entry, and cannot tell whether a restore was \
             interrupted"
        );
        let hint = "set `--state-dir` (XCACHE_STATE_DIR) to a directory that restore and save can both write to";
        self.reporter.warning_once(&text, Some(hint));
    }
}
