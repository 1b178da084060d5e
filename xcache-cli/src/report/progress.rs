//! Progress of a transfer: a bar on a terminal, plain lines elsewhere, nothing for short work.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use xcache_core::monitor::{self, Counter, Progress as _, Unit};

use super::human::{Bytes, Count, Elapsed, Rate};
use super::settings::ProgressMode;
use xcache_core::convert;

/// A stage of the work, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// `restoring`.
    pub(super) name: &'static str,
    /// What it counts.
    pub(super) unit: Unit,
}

/// How progress is shown, and where bars are.
pub(super) struct ProgressForm<'a> {
    pub(super) mode: ProgressMode,
    pub(super) bars: &'a MultiProgress,
}

/// The progress of one stage. A thread of its own shows it, so that a stage in which nothing moves is seen to be alive.
#[derive(Debug)]
pub(super) struct ShownProgress {
    counter: Arc<Counter>,
    /// Ends the thread when it is dropped; none if nothing is shown.
    shown: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

/// When progress is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgressPace {
    first: Duration,
    then: Duration,
}

/// Work shorter than a second is not worth a bar.
const BAR: ProgressPace = ProgressPace { first: Duration::from_secs(1), then: Duration::from_millis(100) };
/// A log is read later: one line in ten seconds is enough.
const LINES: ProgressPace = ProgressPace { first: Duration::from_secs(10), then: Duration::from_secs(10) };

impl ShownProgress {
    /// `print` gets the plain lines.
    pub(super) fn new(
        ProgressForm { mode, bars }: ProgressForm<'_>,
        print: impl Fn(String) + Send + 'static,
        stage: Stage,
        total: Option<u64>,
    ) -> Self {
        let counter = Arc::new(Counter::new(total));
        let (ended, end) = mpsc::channel();
        let thread = match mode {
            ProgressMode::None => None,
            ProgressMode::Plain => Some(show(LINES, end, lines(print, stage, counter.clone()))),
            ProgressMode::Bar => Some(show(BAR, end, bar(bars.clone(), stage, counter.clone()))),
        };
        // Without a thread, as on a machine that has no more of them, the work is still done.
        Self { counter, shown: thread.and_then(Result::ok).map(|thread| (ended, thread)) }
    }
}

impl monitor::Progress for ShownProgress {
    fn add(&self, count: u64) {
        self.counter.add(count);
    }

    fn expect(&self, total: u64) {
        self.counter.expect(total);
    }

    fn done(&self) -> u64 {
        self.counter.done()
    }
}

impl Drop for ShownProgress {
    fn drop(&mut self) {
        if let Some((ended, thread)) = self.shown.take() {
            drop(ended);
            // Nothing more is shown of this stage once it has ended.
            let _ = thread.join();
        }
    }
}

/// Calls `tick` with the time since now, at this pace, until the other end of the channel is dropped.
fn show(
    pace: ProgressPace,
    end: mpsc::Receiver<()>,
    mut tick: impl FnMut(Duration) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("progress".to_owned()).spawn(move || {
        let started = Instant::now();
        let mut wait = pace.first;
        while end.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            tick(started.elapsed());
            wait = pace.then;
        }
    })
}

fn lines(print: impl Fn(String), stage: Stage, counter: Arc<Counter>) -> impl FnMut(Duration) {
    move |elapsed| print(line(stage, counter.done(), counter.total(), elapsed))
}

/// A bar that appears with the first tick, and is removed when this is dropped.
struct Drawn {
    bar: ProgressBar,
    has_total: bool,
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(bars: MultiProgress, stage: Stage, counter: Arc<Counter>) -> impl FnMut(Duration) {
    let mut drawn: Option<Drawn> = None;
    move |elapsed| {
        let drawn = drawn.get_or_insert_with(|| {
            let bar = ProgressBar::no_length().with_style(style(stage.unit, false)).with_elapsed(elapsed);
            Drawn { bar: bars.add(bar).with_message(stage.name), has_total: false }
        });
        if let Some(total) = counter.total() {
            if !std::mem::replace(&mut drawn.has_total, true) {
                drawn.bar.set_style(style(stage.unit, true));
            }
            drawn.bar.set_length(total);
        }
        drawn.bar.set_position(counter.done());
        drawn.bar.tick();
    }
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
    Some(Duration::from_millis(convert::shown(millis)))
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
    fn a_stage_is_shown_until_it_ends_even_if_nothing_moves() {
        let (sender, ticks) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let pace = ProgressPace { first: Duration::from_millis(1), then: Duration::from_millis(1) };
        let thread = show(pace, end, move |elapsed| sender.send(elapsed).unwrap_or_default()).unwrap();
        let (first, second) = (ticks.recv().unwrap(), ticks.recv().unwrap());
        assert!(first >= pace.first && second > first);
        drop(ended);
        thread.join().unwrap();
        // Whatever came before the end; then the thread is gone.
        while let Ok(later) = ticks.recv() {
            assert!(later > second);
        }
    }

    #[test]
    fn a_tick_prints_a_line() {
        let (sender, lines_printed) = mpsc::channel();
        let counter = Arc::new(Counter::new(None));
        let print = move |line| sender.send(line).unwrap();
        let mut tick = lines(print, Stage { name: "saving", unit: Unit::Bytes }, counter.clone());
        tick(Duration::from_secs(10));
        counter.expect(80 << 20);
        counter.add(20 << 20);
        tick(Duration::from_secs(20));
        drop(tick);
        let expected = ["saving: 0 B, 0 B/s", "saving: 20.0 MiB of 80.0 MiB (25 %), 1.0 MiB/s, 1 min 00 s left"];
        assert_eq!(lines_printed.iter().collect::<Vec<_>>(), expected);
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
