//! An outcome in the forms in which it is told: log lines, a row of the step summary, document.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use xcache_cli::cache_args::OnTrouble;
use xcache_cli::caches_report;
use xcache_cli::output::v1::{FORMAT, RestoreDocument, Time};
use xcache_cli::report::Reporter;
use xcache_cli::report::human::{Bytes, Count, Elapsed, Rate, seconds};
use xcache_core::lookup::Match;

use crate::config::{Action, Config, OnMiss};
use crate::outcome::{Hit, MissReason, Outcome, RestoreFigures};

/// The output that is written before anything is looked up, also on a miss.
pub const PRIMARY_KEY_OUTPUT: &str = "cache-primary-key";

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

impl caches_report::Presented for Presented<'_> {
    const COMMAND: &'static str = "restore";
    const HEADINGS: [&'static str; 8] =
        ["Key", "Matched key", "Outcome", "Files", "Unchanged", "Size", "Received", "Time"];

    /// Some of the lines are word for word those of `actions/cache`, because scripts look for them.
    fn print(&self, reporter: &Reporter) {
        match self.outcome {
            Outcome::Hit(Hit { entry, restored: Some(restored), .. }) => {
                reporter.line(format_args!("Cache restored from key: {}", entry.key));
                reporter.line(self.closing_line(restored));
            }
            Outcome::Hit(Hit { entry, restored: None, .. }) => {
                reporter.line(format_args!("Cache found and can be restored from key: {}", entry.key));
            }
            Outcome::Miss(reason) => self.print_miss(*reason, reporter),
        }
    }

    fn row(&self) -> [String; 8] {
        let RestoreFigures { files, tree_bytes, kept_files, received_bytes, .. } = self.restored();
        let outcome = match self.outcome {
            Outcome::Hit(_) => self.outcome.word().to_owned(),
            Outcome::Miss(reason) => format!("miss ({})", reason.word()),
        };
        [
            self.config.keys.primary().to_string(),
            self.hit().map(|hit| hit.entry.key.to_string()).unwrap_or_default(),
            outcome,
            files.to_string(),
            kept_files.to_string(),
            Bytes(tree_bytes).to_string(),
            Bytes(received_bytes).to_string(),
            Elapsed(self.elapsed).to_string(),
        ]
    }

    fn document(&self) -> impl Serialize {
        let Self { config, outcome, started, elapsed } = self;
        let RestoreFigures { files, tree_bytes, kept_files, removed_files, received_bytes } = self.restored();
        let entry = self.hit().map(|hit| &hit.entry);
        RestoreDocument {
            format: FORMAT,
            command: Self::COMMAND.to_owned(),
            outcome: outcome.word().to_owned(),
            reason: match outcome {
                Outcome::Hit(_) => None,
                Outcome::Miss(reason) => Some(reason.word().to_owned()),
            },
            lookup_only: config.action == Action::Lookup,
            key: config.keys.primary().to_string(),
            matched_key: entry.map(|entry| entry.key.to_string()),
            store: config.store.url(),
            scope: entry.and_then(|entry| entry.scope.as_ref()).map(ToString::to_string),
            mode: config.access.mode.word().to_owned(),
            kind: entry.map(|entry| entry.kind.to_string()),
            object: entry.map(|entry| entry.name.to_string()),
            stored_bytes: entry.map(|entry| entry.meta.size),
            saved_at: entry.map(|entry| Time(entry.meta.last_modified)),
            files,
            kept_files,
            removed_files,
            tree_bytes,
            received_bytes,
            started: Time(*started),
            seconds: seconds(*elapsed),
        }
    }

    fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// All but the primary key, which is written before. As in `actions/cache`, `cache-hit` is `true` for the key
    /// itself, `false` for another one, and not written at all on a miss.
    fn outputs(caches: &[Self]) -> Vec<(&'static str, String)> {
        let mut outputs = Vec::new();
        if caches.iter().all(|cache| cache.hit().is_some()) {
            let is_exact = |hit: &Hit| hit.matched == Match::Exact;
            outputs.push(("cache-hit", caches.iter().filter_map(Presented::hit).all(is_exact).to_string()));
        }
        let found: Vec<_> = caches.iter().filter_map(Presented::hit).map(|hit| hit.entry.key.as_str()).collect();
        if !found.is_empty() {
            outputs.push(("cache-matched-key", found.join("\n")));
        }
        let reasons = caches.iter().filter_map(|cache| match cache.outcome {
            Outcome::Hit(_) => None,
            Outcome::Miss(reason) => Some(*reason),
        });
        let reason = reasons.max().map(MissReason::word);
        let words = caches.iter().map(|cache| cache.outcome.word());
        let worst = words.min_by_key(|word| ["miss", "prefix", "exact"].iter().position(|other| other == word));
        let sum = |number: fn(RestoreFigures) -> u64| {
            caches.iter().map(|cache| number(cache.restored())).sum::<u64>().to_string()
        };
        outputs.extend([
            ("outcome", worst.unwrap_or_default().to_owned()),
            ("miss-reason", reason.unwrap_or_default().to_owned()),
            ("files", sum(|restored| restored.files)),
            ("tree-bytes", sum(|restored| restored.tree_bytes)),
            ("received-bytes", sum(|restored| restored.received_bytes)),
        ]);
        outputs
    }
}

impl Presented<'_> {
    /// The reason in words.
    fn sentence(&self, reason: MissReason) -> String {
        match reason {
            MissReason::Off => format!("off: {}", self.config.access.reason),
            reason => reason.sentence().to_owned(),
        }
    }

    fn print_miss(&self, reason: MissReason, reporter: &Reporter) {
        let Config { keys, on_miss, on_trouble, .. } = self.config;
        // On failure `actions/cache` says only that.
        let flag = match (on_miss, on_trouble) {
            (OnMiss::Fail, _) => Some("fail-on-cache-miss"),
            (OnMiss::GoOn, OnTrouble::Fail) if reason.is_trouble() => Some("fail-on-error"),
            (OnMiss::GoOn, OnTrouble::Fail | OnTrouble::GoOn) => None,
        };
        if let Some(flag) = flag {
            reporter.line(self.sentence(reason));
            let text =
                format!("Failed to restore cache entry. Exiting as {flag} is set. Input key: {}", keys.primary());
            reporter.error(text, None);
            return;
        }
        let restore_keys = keys.restore().iter().map(|key| key.as_str());
        let names: Vec<_> = std::iter::once(keys.primary().as_str()).chain(restore_keys).collect();
        reporter.line(format_args!("Cache not found for input keys: {}", names.join(", ")));
        reporter.line(self.sentence(reason));
    }

    fn closing_line(&self, restored: &RestoreFigures) -> String {
        let RestoreFigures { files, tree_bytes, kept_files, removed_files, received_bytes } = restored;
        let key = self.config.keys.primary();
        let from = match self.outcome {
            Outcome::Hit(Hit { entry, matched: Match::Prefix { .. }, .. }) => format!(" from `{}`", entry.key),
            _ => String::new(),
        };
        let some = |number: u64, what: &str| if number > 0 { format!(", {number} {what}") } else { String::new() };
        format!(
            "restored `{key}`{from}: {}{}{}, {}, received {} in {} ({})",
            Count(*files, "file"),
            some(*kept_files, "unchanged"),
            some(*removed_files, "removed"),
            Bytes(*tree_bytes),
            Bytes(*received_bytes),
            Elapsed(self.elapsed),
            Rate { bytes: *received_bytes, elapsed: self.elapsed },
        )
    }

    fn hit(&self) -> Option<&Hit> {
        match self.outcome {
            Outcome::Hit(hit) => Some(hit),
            Outcome::Miss(_) => None,
        }
    }

    fn restored(&self) -> RestoreFigures {
        self.hit().and_then(|hit| hit.restored).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
