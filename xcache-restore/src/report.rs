//! What is told of all caches of a run together: outputs, step summary, document. Mostly there is one.

use std::time::Duration;

use serde::Serialize;
use xcache_core::github::summary::Table;
use xcache_core::lookup::Match;
use xcache_core::report::human::seconds;

use crate::outcome::{Hit, Outcome, Restored};
use crate::present::Presented;

/// All caches of a run.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// At least one.
    pub caches: &'a [Presented<'a>],
    /// Whether they were given as a list.
    pub is_list: bool,
}

/// The document of `--json`.
#[derive(Serialize)]
#[serde(untagged)]
enum Document<T> {
    One(T),
    List { format: u32, command: &'static str, caches: Vec<T> },
}

impl Report<'_> {
    /// The version of the document of a list.
    const FORMAT: u32 = 1;

    /// The outputs of the step but for the primary key. As in `actions/cache`, `cache-hit` is `true` for the key itself,
    /// `false` for another one, and not written at all on a miss. Of several caches the worst counts.
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        let mut outputs = Vec::new();
        if self.caches.iter().all(|cache| cache.hit().is_some()) {
            let is_exact = |hit: &Hit| hit.matched == Match::Exact;
            outputs.push(("cache-hit", self.caches.iter().filter_map(Presented::hit).all(is_exact).to_string()));
        }
        let found: Vec<_> = self.caches.iter().filter_map(Presented::hit).map(|hit| hit.entry.key.as_str()).collect();
        if !found.is_empty() {
            outputs.push(("cache-matched-key", found.join("\n")));
        }
        let reason = self.caches.iter().find_map(|cache| match cache.outcome {
            Outcome::Hit(_) => None,
            Outcome::Miss(reason) => Some(reason.word()),
        });
        let words = self.caches.iter().map(|cache| cache.outcome.word());
        let worst = words.min_by_key(|word| ["miss", "prefix", "exact"].iter().position(|other| other == word));
        let sum = |number: fn(Restored) -> u64| {
            self.caches.iter().map(|cache| number(cache.restored())).sum::<u64>().to_string()
        };
        outputs.extend([
            ("outcome", worst.unwrap_or_default().to_owned()),
            ("miss-reason", reason.unwrap_or_default().to_owned()),
            ("files", sum(|restored| restored.files)),
            ("tree-bytes", sum(|restored| restored.tree_bytes)),
            ("received-bytes", sum(|restored| restored.received_bytes)),
            ("seconds", seconds(self.elapsed()).to_string()),
        ]);
        if self.is_list {
            let documents: Vec<_> = self.caches.iter().map(Presented::document).collect();
            outputs.push(("caches", serde_json::to_string(&documents).expect("documents have only texts as names")));
        }
        outputs
    }

    /// The Markdown for the page of the run.
    pub fn summary(&self) -> String {
        let headings = ["Key", "Matched key", "Outcome", "Files", "Unchanged", "Size", "Received", "Time"];
        let rows = self.caches.iter().map(Presented::row);
        rows.fold(Table::new(&headings), Table::row).titled("Cache restore")
    }

    /// The document of `--json`.
    pub fn document(&self) -> impl Serialize {
        match self.caches {
            [cache] if !self.is_list => Document::One(cache.document()),
            caches => Document::List {
                format: Self::FORMAT,
                command: "restore",
                caches: caches.iter().map(Presented::document).collect(),
            },
        }
    }

    /// They run at the same time.
    fn elapsed(&self) -> Duration {
        self.caches.iter().map(|cache| cache.elapsed).max().unwrap_or_default()
    }
}
