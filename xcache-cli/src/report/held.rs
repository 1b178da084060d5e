//! Warnings and errors of a run that a flag turns red: they wait for its end, and become one annotation.
//!
//! While a run is at work nobody knows whether it will fail: what cannot be read may still be found elsewhere. Told at
//! once, the cause would be one annotation, and the failure another.

use std::sync::{Mutex, PoisonError};

use crate::ci::annotation::Level;

/// Something told, and its hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) level: Level,
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

/// What waits, once anything is to.
#[derive(Debug, Default)]
pub(super) struct HeldMessages(Mutex<Option<Vec<Told>>>);

impl HeldMessages {
    /// From now on everything waits.
    pub(super) fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// Keeps something. Gives it back if nothing is to wait.
    pub(super) fn keep(&self, told: Told) -> Option<Told> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => {
                held.push(told);
                None
            }
            None => Some(told),
        }
    }

    /// What is to be told now: if there is an error, all of it in one, errors first. Nothing waits any more.
    pub(super) fn release(&self) -> Vec<Told> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let (errors, others): (Vec<_>, Vec<_>) = held.into_iter().partition(|told| told.level == Level::Error);
        if errors.is_empty() {
            return others;
        }
        let mut lines: Vec<String> = Vec::new();
        for Told { text, hint, .. } in errors.into_iter().chain(others) {
            for line in std::iter::once(text).chain(hint.map(|hint| format!("hint: {hint}"))) {
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        vec![Told { level: Level::Error, text: lines.join("\n"), hint: None }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(level: Level, text: &str, hint: Option<&str>) -> Told {
        Told { level, text: text.to_owned(), hint: hint.map(str::to_owned) }
    }

    #[test]
    fn an_error_takes_everything_with_it_and_warnings_alone_stay_what_they_are() {
        let held = HeldMessages::default();
        let warning = told(Level::Warning, "down", Some("wait"));
        assert_eq!(held.keep(warning.clone()), Some(warning.clone()));
        held.begin();
        assert_eq!(held.keep(warning.clone()), None);
        assert_eq!(held.release(), std::slice::from_ref(&warning));
        held.begin();
        for next in [warning.clone(), warning, told(Level::Error, "failed", None), told(Level::Error, "failed", None)] {
            assert_eq!(held.keep(next), None);
        }
        assert_eq!(held.release(), [told(Level::Error, "failed\ndown\nhint: wait", None)]);
        assert_eq!(held.release(), []);
    }
}
