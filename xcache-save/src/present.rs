//! An outcome in the forms in which it is told: log lines, a row of the step summary, document.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use xcache_cli::cache_args::OnTrouble;
use xcache_cli::caches_report;
use xcache_cli::output::v1::{FORMAT, SaveDocument, Time};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::{Bytes, Count, Elapsed, Rate, seconds};

use crate::args::IfExists;
use crate::config::Config;
use crate::outcome::{Existed, Outcome, Saved};

/// An outcome with what is told beside it.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// What was to be done.
    pub config: &'a Config,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub elapsed: Duration,
}

/// The numbers of an outcome, zero where nothing was saved.
#[derive(Clone, Copy, Default)]
struct Numbers {
    files: u64,
    skipped: u64,
    tree_bytes: u64,
    stored_bytes: u64,
    sent_bytes: u64,
}

impl caches_report::Presented for Presented<'_> {
    const COMMAND: &'static str = "save";
    const HEADINGS: [&'static str; 8] = ["Key", "Outcome", "Kind", "Files", "Size", "Stored", "Sent", "Time"];

    /// Some of the lines are word for word those of `actions/cache`, because scripts look for them.
    fn print(&self, reporter: &Reporter) {
        let key = self.config.keys.primary();
        match self.outcome {
            Outcome::Saved(saved) => {
                reporter.line(format_args!("Cache saved with key: {key}"));
                reporter.line(self.closing_line(saved));
            }
            Outcome::AlreadyExists { when: Existed::Before, .. } => {
                reporter.line(format_args!("Cache hit occurred on the primary key {key}, not saving cache."));
            }
            Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes } => {
                reporter.line(format_args!(
                    "another run saved key `{key}` first, not saving cache ({} sent)",
                    Bytes(*sent_bytes)
                ));
            }
            Outcome::NothingToSave { .. } => reporter.notice("there is nothing at any of the paths that can be saved"),
            Outcome::ReadOnly => {
                reporter.line(format_args!("not saved: read-only ({})", self.config.access.reason));
            }
            Outcome::NotSaved { .. } => reporter.line(format_args!("Cache not saved with key: {key}")),
        }
        if let (
            Outcome::Saved(Saved { incomplete: 1.., .. }) | Outcome::NothingToSave { unreadable: 1.. },
            OnTrouble::Fail,
        ) = (self.outcome, self.config.on_trouble)
        {
            let text = "The cache entry is incomplete. Exiting as fail-on-error is set.";
            reporter.error(format_args!("{text} Input key: {key}"), None);
        }
        let flag = match (self.outcome, self.config.if_exists, self.config.on_trouble) {
            (Outcome::AlreadyExists { .. }, IfExists::Fail, _) => "if-exists",
            (Outcome::NotSaved { .. }, _, OnTrouble::Fail) => "fail-on-error",
            (Outcome::Saved(Saved { is_pin_lost: true, .. }), _, OnTrouble::Fail) => {
                reporter.error("failing because the entry is not pinned and `--fail-on-error` is set", None);
                return;
            }
            _ => return,
        };
        reporter.error(format_args!("Failed to save cache entry. Exiting as {flag} is set. Input key: {key}"), None);
    }

    fn row(&self) -> [String; 8] {
        let Numbers { files, tree_bytes, stored_bytes, sent_bytes, .. } = self.numbers();
        [
            self.config.keys.primary().to_string(),
            self.outcome.word().to_owned(),
            self.saved().map(|saved| saved.kind.to_string()).unwrap_or_default(),
            files.to_string(),
            Bytes(tree_bytes).to_string(),
            Bytes(stored_bytes).to_string(),
            Bytes(sent_bytes).to_string(),
            Elapsed(self.elapsed).to_string(),
        ]
    }

    fn document(&self) -> impl Serialize {
        let Self { config, outcome, started, elapsed } = self;
        let Numbers { files, skipped, tree_bytes, stored_bytes, sent_bytes } = self.numbers();
        let saved = self.saved();
        SaveDocument {
            format: FORMAT,
            command: Self::COMMAND.to_owned(),
            outcome: outcome.word().to_owned(),
            reason: outcome.reason().map(str::to_owned),
            key: config.keys.primary().to_string(),
            store: config.store.url(),
            scope: config.scopes.write.as_ref().map(ToString::to_string),
            mode: config.access.mode.word().to_owned(),
            branch: config.tags.branch().map(str::to_owned),
            kind: saved.map(|saved| saved.kind.to_string()),
            object: saved.map(|saved| saved.object.to_string()),
            built_on: saved.and_then(|saved| saved.built_on.as_ref()).map(ToString::to_string),
            files,
            skipped,
            tree_bytes,
            stored_bytes,
            sent_bytes,
            started: Time(*started),
            seconds: seconds(*elapsed),
        }
    }

    fn elapsed(&self) -> Duration {
        self.elapsed
    }

    fn outputs(caches: &[Self]) -> Vec<(&'static str, String)> {
        let words = caches.iter().map(|cache| cache.outcome.word());
        let order = ["not-saved", "read-only", "nothing-to-save", "exists", "saved"];
        let worst = words.min_by_key(|word| order.iter().position(|other| other == word));
        let kinds = caches.iter().filter_map(Presented::saved).map(|saved| saved.kind.to_string());
        let reasons = caches.iter().filter_map(|cache| cache.outcome.reason());
        let sum =
            |number: fn(Numbers) -> u64| caches.iter().map(|cache| number(cache.numbers())).sum::<u64>().to_string();
        vec![
            ("outcome", worst.unwrap_or_default().to_owned()),
            ("reason", reasons.collect::<Vec<_>>().join("\n")),
            ("kind", kinds.collect::<Vec<_>>().join("\n")),
            ("files", sum(|numbers| numbers.files)),
            ("tree-bytes", sum(|numbers| numbers.tree_bytes)),
            ("stored-bytes", sum(|numbers| numbers.stored_bytes)),
            ("sent-bytes", sum(|numbers| numbers.sent_bytes)),
        ]
    }
}

impl Presented<'_> {
    fn closing_line(&self, saved: &Saved) -> String {
        let Saved {
            kind,
            reason,
            object: _,
            built_on,
            files,
            tree_bytes,
            stored_bytes,
            sent_bytes,
            skipped,
            incomplete: _,
            is_pin_lost: _,
        } = saved;
        let built_on = match (built_on, reason) {
            (Some(key), _) => format!(" on `{key}`"),
            (None, Some(reason)) => format!(" ({reason})"),
            (None, None) => String::new(),
        };
        let skipped = if *skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        format!(
            "saved `{}` as {kind}{built_on}: {}{skipped}, {} in {}, sent {} in {} ({})",
            self.config.keys.primary(),
            Count(*files, "file"),
            Bytes(*tree_bytes),
            Bytes(*stored_bytes),
            Bytes(*sent_bytes),
            Elapsed(self.elapsed),
            Rate { bytes: *sent_bytes, elapsed: self.elapsed },
        )
    }

    fn saved(&self) -> Option<&Saved> {
        match self.outcome {
            Outcome::Saved(saved) => Some(saved),
            Outcome::AlreadyExists { .. }
            | Outcome::NothingToSave { .. }
            | Outcome::ReadOnly
            | Outcome::NotSaved { .. } => None,
        }
    }

    fn numbers(&self) -> Numbers {
        match self.outcome {
            Outcome::Saved(saved) => Numbers {
                files: saved.files,
                skipped: saved.skipped,
                tree_bytes: saved.tree_bytes,
                stored_bytes: saved.stored_bytes,
                sent_bytes: saved.sent_bytes,
            },
            Outcome::AlreadyExists { sent_bytes, .. } | Outcome::NotSaved { sent_bytes, .. } => {
                Numbers { sent_bytes: *sent_bytes, ..Numbers::default() }
            }
            Outcome::NothingToSave { .. } | Outcome::ReadOnly => Numbers::default(),
        }
    }
}

#[cfg(test)]
mod tests;
