//! `--explain`: why a lookup found what it found, in lines.
//!
//! Everything here is made of what the run knows anyway. Only `near_misses` describes something that was fetched for it.

use chrono::{DateTime, Utc};
use xcache_core::archive::churn::NewBytes;
use xcache_core::lookup::near::{Alike, Elsewhere, Near};
use xcache_core::lookup::{Asked, Question};
use xcache_core::scope::Scope;

use crate::report::Reporter;
use crate::report::human::{Bytes, Count, Elapsed};

/// How many near misses are printed of each kind.
const ROWS: usize = 5;

/// Prints lines of an explanation, if there is to be one.
#[derive(Clone, Copy, Debug)]
pub struct Explain<'a> {
    /// Where to; none if nothing is to be explained.
    pub reporter: Option<&'a Reporter>,
}

impl<'a> Explain<'a> {
    /// Explains if `is_on`.
    pub fn new(is_on: bool, reporter: &'a Reporter) -> Self {
        Self { reporter: is_on.then_some(reporter) }
    }

    /// Whether anything is printed.
    pub fn is_on(self) -> bool {
        self.reporter.is_some()
    }

    /// Prints a line.
    pub fn line(self, text: impl std::fmt::Display) {
        if let Some(reporter) = self.reporter {
            reporter.line(format_args!("explain: {text}"));
        }
    }

    /// What the store was asked, and what it answered.
    pub fn lookup(self, asked: &[Asked]) {
        for Asked { scope, question, entries, best } in asked {
            let place = place(scope.as_ref());
            let question = match question {
                Question::Exact(key) => format!("key `{key}` {place}"),
                Question::Prefix(prefix) => format!("keys that begin with `{prefix}` {place}"),
            };
            let answer = match (entries, best) {
                (None, _) => "the store gave no answer".to_owned(),
                (Some(0), _) | (Some(_), None) => "no entry".to_owned(),
                (Some(count), Some(best)) => format!("{}, first choice `{best}`", Count(*count, "entry")),
            };
            self.line(format_args!("{question}: {answer}"));
        }
    }

    /// What a lookup has almost found.
    pub fn near_misses(self, near: &Near, now: DateTime<Utc>) {
        let Near { in_reach, elsewhere, alike } = near;
        let age = |saved: DateTime<Utc>| Elapsed((now - saved).to_std().unwrap_or_default());
        for Elsewhere { key, scope, entries, newest } in elsewhere.iter().take(ROWS) {
            self.line(format_args!(
                "near miss: `{key}` has {}, the newest {} old, {}, which this run does not read",
                Count(*entries, "entry"),
                age(*newest),
                place(scope.as_ref())
            ));
        }
        for Alike { key, family, entries, newest } in alike.iter().take(ROWS) {
            self.line(format_args!(
                "near miss: {} of `{family}`, the newest {} old, are like `{key}`; did you mean the restore key `{}`?",
                Count(*entries, "entry"),
                age(*newest),
                family.split('*').next().unwrap_or_default()
            ));
        }
        if elsewhere.is_empty() && alike.is_empty() {
            self.line(format_args!("no near miss among the {} that this run reads", Count(*in_reach, "entry")));
        }
    }

    /// What an entry stores, by directory.
    pub fn stored(self, new: &NewBytes) {
        self.line(format_args!(
            "{} of files stored in this entry, from {}",
            Bytes(new.bytes),
            Count(new.files, "file")
        ));
        for row in &new.directories {
            self.line(format_args!(
                "{:>10}  `{}`, {}",
                Bytes(row.bytes).to_string(),
                row.path,
                Count(row.files, "file")
            ));
        }
    }
}

fn place(scope: Option<&Scope>) -> String {
    scope.map_or_else(|| "in no scope".to_owned(), |scope| format!("in scope `{scope}`"))
}
