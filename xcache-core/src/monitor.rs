//! How the library speaks to its caller: the one way for anything that a user must see.
//!
//! The library neither prints nor knows whether there is a terminal, a log or a CI system. Errors are returned;
//! whatever is not an error of the call but still concerns the user goes through a [`Monitor`]. A fact that the caller
//! has to act on is not a message: it belongs into the result of the call. `tracing` is for developers only (`-v`).

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Receives messages and progress from the library.
pub trait Monitor: fmt::Debug + Send + Sync {
    /// Something worth knowing that is not trouble.
    fn notice(&self, text: &str);

    /// Trouble that does not end the work. Something that was asked for was not done, or may not be what it should be:
    /// a clean-up that reports a warning ends with exit code 1. `hint` says what to do about it.
    fn warning(&self, text: &str, hint: Option<&str>);

    /// A decision, for users who ask why.
    fn debug(&self, text: &str);

    /// Begins to show the progress of a stage, such as `restoring`. It ends when the last clone of the result is
    /// dropped. `total` may be given later: [`Progress::expect`].
    fn progress(&self, stage: &'static str, unit: Unit, total: Option<u64>) -> Arc<dyn Progress>;
}

/// What a stage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things of this name, in the singular: `entry`.
    Items(&'static str),
}

/// The progress of one stage. Threads and tasks may add at the same time.
pub trait Progress: fmt::Debug + Send + Sync {
    /// Counts what is done.
    fn add(&self, count: u64);

    /// Sets how much there is to do in all, as soon as that is known.
    fn expect(&self, total: u64);

    /// What was counted so far.
    fn done(&self) -> u64;
}

/// Reports nothing, but counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Monitor for Quiet {
    fn notice(&self, _text: &str) {}
    fn warning(&self, _text: &str, _hint: Option<&str>) {}
    fn debug(&self, _text: &str) {}

    fn progress(&self, _stage: &'static str, _unit: Unit, total: Option<u64>) -> Arc<dyn Progress> {
        Arc::new(Counter::new(total))
    }
}

/// Counts without showing anything.
#[derive(Debug, Default)]
pub struct Counter {
    done: AtomicU64,
    /// Zero if unknown.
    total: AtomicU64,
}

impl Counter {
    /// A counter at zero.
    pub fn new(total: Option<u64>) -> Self {
        Self { done: AtomicU64::new(0), total: AtomicU64::new(total.unwrap_or(0)) }
    }

    /// How much there is to do in all, if that is known.
    pub fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Relaxed)).filter(|&total| total > 0)
    }
}

impl Progress for Counter {
    fn add(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// A message as [`Recording`] keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A notice.
    Notice(String),
    /// A warning and its hint.
    Warning(String, Option<String>),
    /// A decision.
    Debug(String),
}

/// Keeps everything, for tests.
#[derive(Debug, Default)]
pub struct Recording {
    messages: Mutex<Vec<Message>>,
    stages: Mutex<Vec<(&'static str, Arc<Counter>)>>,
}

impl Recording {
    /// All messages so far, in their order.
    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The texts of all warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        let warning = |message| match message {
            Message::Warning(text, _) => Some(text),
            Message::Notice(_) | Message::Debug(_) => None,
        };
        self.messages().into_iter().filter_map(warning).collect()
    }

    /// All stages so far, with what was counted and the total.
    pub fn stages(&self) -> Vec<(&'static str, u64, Option<u64>)> {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        stages.iter().map(|(stage, counter)| (*stage, counter.done(), counter.total())).collect()
    }

    fn keep(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }
}

impl Monitor for Recording {
    fn notice(&self, text: &str) {
        self.keep(Message::Notice(text.to_owned()));
    }

    fn warning(&self, text: &str, hint: Option<&str>) {
        self.keep(Message::Warning(text.to_owned(), hint.map(str::to_owned)));
    }

    fn debug(&self, text: &str) {
        self.keep(Message::Debug(text.to_owned()));
    }

    fn progress(&self, stage: &'static str, _unit: Unit, total: Option<u64>) -> Arc<dyn Progress> {
        let counter = Arc::new(Counter::new(total));
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push((stage, Arc::clone(&counter)));
        counter
    }
}

/// The error itself, then each cause.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| {
        let cause: &'a (dyn Error + 'static) = *cause;
        cause.source()
    })
}

/// An error with its causes in one line, from the outermost to the root: `a: b: c`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own text; saying it once is enough.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_keeps_messages_and_progress() {
        let recording = Recording::default();
        let monitor: &dyn Monitor = &recording;
        monitor.notice("n");
        monitor.warning("w", Some("h"));
        monitor.debug("d");
        let progress = monitor.progress("restoring", Unit::Bytes, None);
        progress.add(3);
        progress.expect(10);
        progress.add(4);
        assert_eq!(recording.messages()[1], Message::Warning("w".into(), Some("h".into())));
        assert_eq!((recording.messages().len(), recording.warnings()), (3, vec!["w".to_owned()]));
        assert_eq!(recording.stages(), [("restoring", 7, Some(10))]);
    }

    #[test]
    fn quiet_still_counts() {
        let progress = Quiet.progress("restoring", Unit::Items("entry"), None);
        progress.add(2);
        assert_eq!(progress.done(), 2);
    }

    #[test]
    fn causes_are_said_once_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Layer(&'static str, #[source] Option<Box<Layer>>);

        let check = |texts: &[&'static str], expected: &str| {
            let layer = |inner: Option<Layer>, text| Some(Layer(text, inner.map(Box::new)));
            assert_eq!(chain(&texts.iter().rev().copied().fold(None, layer).unwrap()), expected);
        };
        check(&["a"], "a");
        check(&["a", "b", "c"], "a: b: c");
        check(&["cannot read: closed", "closed"], "cannot read: closed");
    }
}
