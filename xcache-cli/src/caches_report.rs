//! What a run tells of all its caches together: log lines, outputs, step summary, document. Mostly there is one.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{RunContext, print_document, write_outputs, write_summary};
use crate::ci::summary::Table;
use crate::metrics::{self, Measured};
use crate::output::v1::{CacheList, FORMAT};
use crate::report::Reporter;
use crate::report::human::seconds;

/// One cache of a run and how it ended, in the forms in which a command tells it.
pub trait Presented: Sized {
    /// The command, as documents name it.
    const COMMAND: &'static str;
    /// What stands above the columns of [`Presented::row`].
    const HEADINGS: [&'static str; 8];

    /// Prints the lines that say how it ended.
    fn print(&self, reporter: &Reporter);
    /// The row of the table on the page of the run.
    fn row(&self) -> [String; 8];
    /// The document of `--json`.
    fn document(&self) -> impl Serialize;
    /// How long it took.
    fn elapsed(&self) -> Duration;
    /// The outputs of the step that only this command has. Of several caches the worst counts.
    fn outputs(caches: &[Self]) -> Vec<(&'static str, String)>;
}

/// All caches of a run.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a, T> {
    /// At least one.
    pub caches: &'a [T],
    /// Whether they were given as a list.
    pub is_list: bool,
}

/// The document of `--json`.
#[derive(Serialize)]
#[serde(untagged)]
enum RunDocument<T> {
    One(T),
    List(CacheList<T>),
}

impl<T: Presented> Report<'_, T> {
    /// Tells everything to everybody who wants to know. Nothing, if there is no cache to tell of.
    pub fn tell(&self, context: &RunContext, reporter: &Reporter) {
        for cache in self.caches {
            cache.print(reporter);
        }
        if !self.caches.is_empty() {
            write_outputs(context, reporter, &self.outputs());
            write_summary(context, reporter, &self.summary());
            print_document(reporter, &self.document());
        }
    }

    /// The outputs of the step.
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        let mut outputs = T::outputs(self.caches);
        // They run at the same time.
        let elapsed = self.caches.iter().map(Presented::elapsed).max().unwrap_or_default();
        outputs.push(("seconds", seconds(elapsed).to_string()));
        if self.is_list {
            let documents: Vec<_> = self.caches.iter().map(Presented::document).collect();
            outputs.push(("caches", serde_json::to_string(&documents).expect("documents have only texts as names")));
        }
        outputs
    }

    /// The Markdown for the page of the run.
    pub fn summary(&self) -> String {
        let rows = self.caches.iter().map(Presented::row);
        rows.fold(Table::new(&T::HEADINGS), Table::row).titled(&format!("Cache {}", T::COMMAND))
    }

    /// Writes the metrics of the run to a file. That this is not possible is no reason to fail.
    pub fn measure(&self, path: &Path, context: &RunContext, reporter: &Reporter) {
        let caches: Vec<Value> = self
            .caches
            .iter()
            .map(|cache| serde_json::to_value(cache.document()).expect("documents have only texts as names"))
            .collect();
        let elapsed = self.caches.iter().map(Presented::elapsed).max().unwrap_or_default();
        let phases = reporter.phases();
        let measured =
            Measured { command: T::COMMAND, caches: &caches, phases: &phases, elapsed, started: context.now };
        let path = context.base_dir.join(path);
        if let Err(error) = metrics::write(&path, &measured.text()) {
            let hint = "`--metrics` (input `metrics`) needs a file in a directory that exists";
            reporter.warning(format_args!("cannot write metrics to `{}`: {error}", path.display()), Some(hint));
        }
    }

    /// The document of `--json`.
    pub fn document(&self) -> impl Serialize {
        match self.caches {
            [cache] if !self.is_list => RunDocument::One(cache.document()),
            caches => RunDocument::List(CacheList {
                format: FORMAT,
                command: T::COMMAND.to_owned(),
                caches: caches.iter().map(Presented::document).collect(),
            }),
        }
    }
}
