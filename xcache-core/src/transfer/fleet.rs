//! The requests of one download: how many run at a time, and a second one for a part that lags.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::limits::DownloadLimits;
use super::part_fetch::{FetchedPiece, Handover, PartFetch, PartRequest};
use crate::store::{Error, ErrorKind, Result, Store};

/// What a download took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// Bytes asked for and handed over.
    pub bytes: u64,
    /// Second requests for stragglers.
    pub hedges: u32,
}

/// All requests of a download.
pub(super) struct Fleet {
    store: Arc<dyn Store>,
    parts: Arc<[PartRequest]>,
    limits: DownloadLimits,
    sink: Sender<FetchedPiece>,
    running: JoinSet<(usize, Result<()>)>,
    /// Parts begun and not done.
    active: Vec<Active>,
    /// The first part not begun.
    next: usize,
    /// How long finished parts took.
    times: Vec<Duration>,
    result: Downloaded,
}

struct Active {
    part: usize,
    began: Instant,
    handover: Arc<Handover>,
    requests: Vec<AbortHandle>,
    /// Of those requests, how many have not failed.
    alive: usize,
}

impl Fleet {
    pub(super) fn new(
        store: Arc<dyn Store>,
        parts: Vec<PartRequest>,
        limits: &DownloadLimits,
        sink: Sender<FetchedPiece>,
    ) -> Self {
        Self {
            store,
            parts: parts.into(),
            limits: limits.clone(),
            sink,
            running: JoinSet::new(),
            active: Vec::new(),
            next: 0,
            times: Vec::new(),
            result: Downloaded::default(),
        }
    }

    /// Runs until every part is done or one has failed for good; no request is left running.
    pub(super) async fn run(mut self) -> Result<Downloaded> {
        let done = self.run_all().await;
        self.running.shutdown().await;
        done.map(|()| self.result)
    }

    async fn run_all(&mut self) -> Result<()> {
        // Fine enough beside seconds, and nothing beside a request.
        let glance = self.limits.straggler_after / 8;
        loop {
            while self.running.len() < self.limits.in_flight.max(1) && self.start() {}
            if self.active.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(joined) = self.running.join_next() => match joined {
                    Ok((part, done)) => self.finish(part, done)?,
                    Err(ended) if ended.is_cancelled() => {}
                    Err(panic) => {
                        return Err(Error::new(ErrorKind::Other, "download", &self.store).source(panic));
                    }
                },
                () = tokio::time::sleep(glance) => {}
            }
        }
    }

    /// Starts a request if there is something to ask for: first a second one for a straggler, else the next part.
    fn start(&mut self) -> bool {
        let median = median(&self.times);
        let is_last = self.next == self.parts.len() && self.active.len() == 1;
        let after = self.limits.straggler_after;
        let straggler = self.active.iter().position(|active| {
            active.requests.len() == 1
                && !active.handover.is_waiting()
                && (is_straggler(active.began.elapsed(), median, is_last, after)
                    || self.limits.is_far_below_the_floor(active.began.elapsed(), active.handover.received()))
        });
        if let Some(at) = straggler {
            self.result.hedges += 1;
            self.spawn(at);
            return true;
        }
        if self.next == self.parts.len() {
            return false;
        }
        let handover = Arc::new(Handover::new(self.next, self.sink.clone()));
        self.active.push(Active { part: self.next, began: Instant::now(), handover, requests: Vec::new(), alive: 0 });
        self.next += 1;
        self.spawn(self.active.len() - 1);
        true
    }

    fn spawn(&mut self, at: usize) {
        let (store, parts, limits) = (Arc::clone(&self.store), Arc::clone(&self.parts), self.limits.clone());
        let active = &mut self.active[at];
        let (part, handover) = (active.part, Arc::clone(&active.handover));
        let request = self.running.spawn(async move {
            let run = PartFetch::new(store.as_ref(), &parts[part], &limits, &handover);
            (part, run.fetch().await)
        });
        active.requests.push(request);
        active.alive += 1;
    }

    /// One request for a part is over. The part is done with the first success and the last failure.
    fn finish(&mut self, part: usize, done: Result<()>) -> Result<()> {
        let Some(at) = self.active.iter().position(|active| active.part == part) else { return Ok(()) };
        self.active[at].alive -= 1;
        match done {
            Err(_) if self.active[at].alive > 0 => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                let active = self.active.swap_remove(at);
                for request in &active.requests {
                    request.abort();
                }
                self.times.push(active.began.elapsed());
                let range = &self.parts[part].range;
                self.result.bytes += range.end - range.start;
                Ok(())
            }
        }
    }
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// Whether a part lags so far behind the others that a second request is worth its bytes. Without a finished part to
/// compare with, none does: then the line is slow.
fn is_straggler(elapsed: Duration, median: Option<Duration>, is_last: bool, after: Duration) -> bool {
    let Some(median) = median else { return false };
    let patience = if is_last { median } else { median * 3 };
    elapsed > after.max(patience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stragglers_are_told_from_slow_lines() {
        let seconds = Duration::from_secs;
        for (elapsed, median, is_last, expected) in [
            (60, None, true, false),
            (1, Some(0), true, false),
            (3, Some(0), false, true),
            (5, Some(2), false, false),
            (7, Some(2), false, true),
            (5, Some(4), true, true),
            (4, Some(5), true, false),
        ] {
            let found = is_straggler(seconds(elapsed), median.map(seconds), is_last, seconds(2));
            assert_eq!(found, expected, "{elapsed} {median:?} {is_last}");
        }
    }
}
