//! Progress of a transfer: a bar on a terminal, plain lines elsewhere, nothing for short work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Reporter;
use super::human::{Bytes, Rate};
use crate::output_args::ProgressMode;

/// The progress of one stage. Clones count together; threads and tasks may add at the same time.
#[derive(Clone, Debug)]
pub struct Progress {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stage: &'static str,
    total: Option<u64>,
    done: AtomicU64,
    started: Instant,
    display: Display,
}

#[derive(Debug)]
enum Display {
    Nothing,
    Lines { reporter: Reporter, cadence: Cadence },
    Bar { bar: ProgressBar, bars: MultiProgress, start: Cadence },
}

impl Progress {
    /// Work shorter than this is not worth a bar.
    const BAR_AFTER: Duration = Duration::from_secs(1);
    /// A log is read later: a line in ten seconds tells enough.
    const LINE_EVERY: Duration = Duration::from_secs(10);

    pub(super) fn new(reporter: Reporter, bars: &MultiProgress, stage: &'static str, total: Option<u64>) -> Self {
        let display = match reporter.settings().progress {
            ProgressMode::None => Display::Nothing,
            ProgressMode::Plain => Display::Lines { reporter, cadence: Cadence::every(Self::LINE_EVERY) },
            ProgressMode::Bar => Display::Bar {
                // Hidden until it joins the others, which is when the work turns out not to be short.
                bar: ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden())
                    .with_style(style(total.is_some())),
                bars: bars.clone(),
                start: Cadence::once(Self::BAR_AFTER),
            },
        };
        Self { inner: Arc::new(Inner { stage, total, done: AtomicU64::new(0), started: Instant::now(), display }) }
    }

    /// Counts bytes that are done.
    pub fn add(&self, bytes: u64) {
        let inner = &*self.inner;
        let done = inner.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let elapsed = inner.started.elapsed();
        match &inner.display {
            Display::Nothing => {}
            Display::Lines { reporter, cadence } => {
                if cadence.is_due(elapsed) {
                    reporter.line(line(inner.stage, done, inner.total, elapsed));
                }
            }
            Display::Bar { bar, bars, start } => {
                if elapsed >= Self::BAR_AFTER {
                    bar.set_position(done);
                }
                if start.is_due(elapsed) {
                    bars.add(bar.clone()).set_message(inner.stage);
                }
            }
        }
    }

    /// What was counted so far, in bytes.
    pub fn done(&self) -> u64 {
        self.inner.done.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
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

fn line(stage: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = Rate { bytes: done, elapsed };
    match total {
        Some(total) if total > 0 => {
            let percent = u128::from(done.min(total)) * 100 / u128::from(total);
            format!("{stage}: {} of {} ({percent} %), {rate}", Bytes(done), Bytes(total))
        }
        _ => format!("{stage}: {}, {rate}", Bytes(done)),
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total {
        "{msg} [{bar:30}] {binary_bytes} of {binary_total_bytes} ({binary_bytes_per_sec}, {eta} left)"
    } else {
        "{msg} {spinner} {binary_bytes} ({binary_bytes_per_sec})"
    };
    ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PLAIN, reporter};
    use super::*;
    use crate::report::Settings;

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
    fn lines_tell_how_far_and_how_fast() {
        let check = |done, total, expected: &str| {
            assert_eq!(line("downloading", done, total, Duration::from_secs(2)), expected);
        };
        check(1 << 20, Some(4 << 20), "downloading: 1.0 MiB of 4.0 MiB (25 %), 512.0 KiB/s");
        check(5 << 20, Some(4 << 20), "downloading: 5.0 MiB of 4.0 MiB (100 %), 2.5 MiB/s");
        check(1 << 20, None, "downloading: 1.0 MiB, 512.0 KiB/s");
        check(0, Some(0), "downloading: 0 B, 0 B/s");
    }

    #[test]
    fn short_work_is_silent_and_counted() {
        for mode in [ProgressMode::None, ProgressMode::Plain, ProgressMode::Bar] {
            let (reporter, stdout, stderr) = reporter(Settings { progress: mode, ..PLAIN });
            let progress = reporter.progress("downloading", Some(10));
            progress.clone().add(4);
            progress.add(3);
            assert_eq!(progress.done(), 7);
            assert_eq!(stdout.text() + &stderr.text(), "");
        }
    }

    #[test]
    fn templates_are_valid() {
        style(true);
        style(false);
    }
}
