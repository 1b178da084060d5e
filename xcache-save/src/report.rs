//! What is told of all caches of a run together: outputs, step summary, document. Mostly there is one.

use std::time::Duration;

use serde::Serialize;
use xcache_core::github::summary::Table;
use xcache_core::report::human::seconds;

use crate::present::{Numbers, Presented};

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

    /// The outputs of the step. Of several caches the worst counts.
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        let words = self.caches.iter().map(|cache| cache.outcome.word());
        let order = ["not-saved", "nothing-to-save", "exists", "saved"];
        let worst = words.min_by_key(|word| order.iter().position(|other| other == word));
        let kinds = self.caches.iter().filter_map(Presented::saved).map(|saved| saved.kind.to_string());
        let sum = |number: fn(Numbers) -> u64| {
            self.caches.iter().map(|cache| number(cache.numbers())).sum::<u64>().to_string()
        };
        let mut outputs = vec![
            ("outcome", worst.unwrap_or_default().to_owned()),
            ("kind", kinds.collect::<Vec<_>>().join("\n")),
            ("files", sum(|numbers| numbers.files)),
            ("tree-bytes", sum(|numbers| numbers.tree_bytes)),
            ("stored-bytes", sum(|numbers| numbers.stored_bytes)),
            ("sent-bytes", sum(|numbers| numbers.sent_bytes)),
            ("seconds", seconds(self.elapsed()).to_string()),
        ];
        if self.is_list {
            let documents: Vec<_> = self.caches.iter().map(Presented::document).collect();
            outputs.push(("caches", serde_json::to_string(&documents).expect("documents have only texts as names")));
        }
        outputs
    }

    /// The Markdown for the page of the run.
    pub fn summary(&self) -> String {
        let headings = ["Key", "Outcome", "Kind", "Files", "Size", "Stored", "Sent", "Time"];
        let rows = self.caches.iter().map(Presented::row);
        rows.fold(Table::new(&headings), Table::row).titled("Cache save")
    }

    /// The document of `--json`.
    pub fn document(&self) -> impl Serialize {
        match self.caches {
            [cache] if !self.is_list => Document::One(cache.document()),
            caches => Document::List {
                format: Self::FORMAT,
                command: "save",
                caches: caches.iter().map(Presented::document).collect(),
            },
        }
    }

    /// They run at the same time.
    fn elapsed(&self) -> Duration {
        self.caches.iter().map(|cache| cache.elapsed).max().unwrap_or_default()
    }
}
