//! Progress of a transfer: a bar on a terminal, plain lines elsewhere, nothing for short work.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use xcache_core::monitor::{self, Counter, Unit};

use super::human::{Bytes, Count, Elapsed, Rate};
use super::settings::ProgressMode;

/// A stage of the work, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// `restoring`.
    pub(super) name: &'static str,
    /// What it counts.
    pub(super) unit: Unit,
}

/// How progress is shown, and where bars are.
pub(super) struct Form<'a> {
    pub(super) mode: ProgressMode,
    pub(super) bars: &'a MultiProgress,
}

/// The progress of one stage.
pub(super) struct Progress {
    stage: Stage,
    counter: Counter,
    started: Instant,
    display: Display,
}

enum Display {
    Nothing,
    Lines { print: Box<dyn Fn(String) + Send + Sync>, cadence: Cadence },
    Bar { bar: ProgressBar, bars: MultiProgress, start: Cadence },
}

impl Progress {
    /// Work shorter than this is not worth a bar.
    const BAR_AFTER: Duration = Duration::from_secs(1);
    /// A log is read later: a line in ten seconds tells enough.
    const LINE_EVERY: Duration = Duration::from_secs(10);

    /// `print` gets the plain lines.
    pub(super) fn new(
        Form { mode, bars }: Form<'_>,
        print: impl Fn(String) + Send + Sync + 'static,
        stage: Stage,
        total: Option<u64>,
    ) -> Self {
        let display = match mode {
            ProgressMode::None => Display::Nothing,
            ProgressMode::Plain => Display::Lines { print: Box::new(print), cadence: Cadence::every(Self::LINE_EVERY) },
            ProgressMode::Bar => Display::Bar {
                // Hidden until it joins the others, which is when the work turns out not to be short.
                bar: ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden())
                    .with_style(style(stage.unit, total.is_some())),
                bars: bars.clone(),
                start: Cadence::once(Self::BAR_AFTER),
            },
        };
        Self { stage, counter: Counter::new(total), started: Instant::now(), display }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("stage", &self.stage).field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl monitor::Progress for Progress {
    fn add(&self, count: u64) {
        self.counter.add(count);
        let (done, elapsed) = (self.counter.done(), self.started.elapsed());
        match &self.display {
            Display::Nothing => {}
            Display::Lines { print, cadence } => {
                if cadence.is_due(elapsed) {
                    print(line(self.stage, done, self.counter.total(), elapsed));
                }
            }
            Display::Bar { bar, bars, start } => {
                if elapsed >= Self::BAR_AFTER {
                    bar.set_position(done);
                }
                if start.is_due(elapsed) {
                    bars.add(bar.clone()).set_message(self.stage.name);
                }
            }
        }
    }

    fn expect(&self, total: u64) {
        self.counter.expect(total);
        if let Display::Bar { bar, .. } = &self.display {
            bar.set_length(total);
            bar.set_style(style(self.stage.unit, true));
        }
    }

    fn done(&self) -> u64 {
        self.counter.done()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar { bar, .. } = &self.display {
            bar.finish_and_clear();
        }
    }
}

/// When the next sign of life is due. Of several threads that ask at once, one gets it.
#[derive(Debug)]
struct Cadence {
    every_ms: u64,
    next_ms: AtomicU64,
}

impl Cadence {
    fn every(interval: Duration) -> Self {
        let ms = millis(interval);
        Self { every_ms: ms, next_ms: AtomicU64::new(ms) }
    }

    fn once(after: Duration) -> Self {
        Self { every_ms: u64::MAX, next_ms: AtomicU64::new(millis(after)) }
    }

    fn is_due(&self, elapsed: Duration) -> bool {
        let (now, next) = (millis(elapsed), self.next_ms.load(Ordering::Relaxed));
        let after = now.saturating_add(self.every_ms);
        now >= next && self.next_ms.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn line(stage: Stage, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let Stage { name, unit } = stage;
    let amount = |number| match unit {
        Unit::Bytes => Bytes(number).to_string(),
        Unit::Items(thing) => Count(number, thing).to_string(),
    };
    let rate = match unit {
        Unit::Bytes => format!(", {}", Rate { bytes: done, elapsed }),
        Unit::Items(_) => String::new(),
    };
    let Some(total) = total.filter(|&total| total > 0) else { return format!("{name}: {}{rate}", amount(done)) };
    let shown = match unit {
        Unit::Bytes => amount(done),
        Unit::Items(_) => done.to_string(),
    };
    let percent = u128::from(done.min(total)) * 100 / u128::from(total);
    let left = match time_left(done, total, elapsed) {
        Some(left) => format!(", {} left", Elapsed(left)),
        None => String::new(),
    };
    format!("{name}: {shown} of {} ({percent} %){rate}{left}", amount(total))
}

/// How long the rest takes at the rate so far; nothing can be said before anything is done.
fn time_left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    let left = total.checked_sub(done).filter(|&left| left > 0 && done > 0)?;
    let millis = u128::from(left) * elapsed.as_millis() / u128::from(done);
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

fn style(unit: Unit, has_total: bool) -> ProgressStyle {
    let template = match (unit, has_total) {
        (Unit::Bytes, true) => {
            "{msg} [{bar:30}] {percent} % {binary_bytes} of {binary_total_bytes} ({binary_bytes_per_sec}, {eta} left)"
        }
        (Unit::Bytes, false) => "{msg} {spinner} {binary_bytes} ({binary_bytes_per_sec})",
        (Unit::Items(_), true) => "{msg} [{bar:30}] {percent} % {pos} of {len} ({eta} left)",
        (Unit::Items(_), false) => "{msg} {spinner} {pos}",
    };
    ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use xcache_core::monitor::Monitor as _;

    use super::super::tests::{PLAIN, reporter};
    use super::*;
    use crate::report::settings::Settings;

    #[test]
    fn a_line_is_due_at_most_every_interval() {
        let cadence = Cadence::every(Duration::from_secs(10));
        let check = |seconds, expected| assert_eq!(cadence.is_due(Duration::from_secs(seconds)), expected, "{seconds}");
        check(0, false);
        check(9, false);
        check(13, true);
        check(13, false);
        check(22, false);
        check(23, true);
    }

    #[test]
    fn a_start_is_due_once() {
        let start = Cadence::once(Duration::from_secs(1));
        assert!(!start.is_due(Duration::ZERO));
        assert!(start.is_due(Duration::from_secs(1)));
        assert!(!start.is_due(Duration::from_secs(1_000_000)));
    }

    #[test]
    fn lines_tell_how_far_how_fast_and_how_long() {
        let check = |unit, done, total, expected: &str| {
            let stage = Stage { name: "restoring", unit };
            assert_eq!(line(stage, done, total, Duration::from_secs(2)), expected);
        };
        check(Unit::Bytes, 1 << 20, Some(4 << 20), "restoring: 1.0 MiB of 4.0 MiB (25 %), 512.0 KiB/s, 6.0 s left");
        check(Unit::Bytes, 5 << 20, Some(4 << 20), "restoring: 5.0 MiB of 4.0 MiB (100 %), 2.5 MiB/s");
        check(Unit::Bytes, 1 << 20, None, "restoring: 1.0 MiB, 512.0 KiB/s");
        check(Unit::Bytes, 0, Some(0), "restoring: 0 B, 0 B/s");
        check(Unit::Items("entry"), 3, Some(12), "restoring: 3 of 12 entries (25 %), 6.0 s left");
        check(Unit::Items("entry"), 1, None, "restoring: 1 entry");
    }

    #[test]
    fn short_work_is_silent_and_counted() {
        for mode in [ProgressMode::None, ProgressMode::Plain, ProgressMode::Bar] {
            let (reporter, stdout, stderr) = reporter(Settings { progress: mode, ..PLAIN });
            let progress = reporter.progress("restoring", Unit::Bytes, None);
            progress.clone().add(4);
            progress.expect(10);
            progress.add(3);
            assert_eq!(progress.done(), 7);
            assert_eq!(stdout.text() + &stderr.text(), "");
        }
    }

    #[test]
    fn templates_are_valid() {
        for unit in [Unit::Bytes, Unit::Items("entry")] {
            style(unit, true);
            style(unit, false);
        }
    }
}
