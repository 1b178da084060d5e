//! Request bodies that show how far they have been sent, so that a stalled upload is told from a slow one.
//!
//! The SDK takes a body in memory in one bite and then waits for the answer without a limit, or with one for the whole
//! request, which is wrong for 16 MiB on a slow line. Here the connection takes small slices (not copies) one after the
//! other, and a request is given up when nothing has been taken and no answer has come for a while, or too little was taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::super::Payload;
use super::super::bounds::{SEND_FLOOR, SEND_FLOOR_BYTES};
use crate::convert;

/// How much the connection takes at a time: a few TLS records, and little enough to see progress at 10 KB/s.
const SLICE_BYTES: usize = 64 * 1024;

/// When a request last made progress, and how much it has made.
#[derive(Debug)]
pub(super) struct SendProgress {
    began: Instant,
    last_millis: AtomicU64,
    /// Bytes taken so far; [`ALL`] when nothing is left to be taken.
    taken: AtomicU64,
}

/// Nothing of the body is left: the store has its time to answer.
const ALL: u64 = u64::MAX;

/// A request that has not moved, or not enough, for too long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stalled {
    /// Nothing has moved.
    #[error("no progress for {} s", .0.as_secs())]
    Silent(Duration),
    /// Too little has.
    #[error("less than {} KiB sent in {} s", SEND_FLOOR_BYTES >> 10, SEND_FLOOR.as_secs())]
    TooSlow,
}

impl SendProgress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), last_millis: AtomicU64::new(0), taken: AtomicU64::new(0) })
    }

    /// Notes that the body is asked for more, of which `left` bytes are left after `taken`.
    fn note(&self, taken: u64, left: u64) {
        let millis = convert::millis(self.began.elapsed());
        self.last_millis.store(millis, Ordering::Relaxed);
        self.taken.store(if left == 0 { ALL } else { taken }, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last_millis.load(Ordering::Relaxed))
    }

    /// Waits for `request`, as long as its body goes on being taken, and fast enough.
    pub(super) async fn guard<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = T>,
    ) -> std::result::Result<T, Stalled> {
        let mut request = std::pin::pin!(request);
        let (mut since, mut before) = (self.began, 0);
        loop {
            let deadline = (self.last() + limit).min(since + SEND_FLOOR);
            if let Ok(answer) = tokio::time::timeout_at(deadline, &mut request).await {
                return Ok(answer);
            }
            if self.last().elapsed() >= limit {
                return Err(Stalled::Silent(limit));
            }
            if since.elapsed() >= SEND_FLOOR {
                let taken = self.taken.load(Ordering::Relaxed);
                if taken != ALL && taken.saturating_sub(before) < SEND_FLOOR_BYTES {
                    return Err(Stalled::TooSlow);
                }
                (since, before) = (Instant::now(), taken);
            }
        }
    }
}

/// `payload` as a body that can be sent again and notes its progress.
pub(super) fn watched(payload: Payload, progress: Arc<SendProgress>) -> ByteStream {
    ByteStream::new(SdkBody::retryable(move || {
        let pieces = payload.pieces().to_vec().into_iter();
        let left = convert::length(payload.len());
        SdkBody::from_body_1_x(Sliced { pieces, now: Bytes::new(), taken: 0, left, progress: Arc::clone(&progress) })
    }))
}

struct Sliced {
    pieces: std::vec::IntoIter<Bytes>,
    /// What is left of the piece begun.
    now: Bytes,
    /// Bytes taken so far.
    taken: u64,
    /// Bytes left in all.
    left: u64,
    progress: Arc<SendProgress>,
}

impl http_body::Body for Sliced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        self.progress.note(self.taken, self.left);
        if self.now.is_empty() {
            match self.pieces.next() {
                Some(piece) => self.now = piece,
                None => return Poll::Ready(None),
            }
        }
        let length = self.now.len().min(SLICE_BYTES);
        let slice = self.now.split_to(length);
        let length = convert::length(length);
        self.taken += length;
        self.left -= length;
        self.progress.note(self.taken, self.left);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bounds::SEND_STALL;
    use super::*;

    #[tokio::test]
    async fn a_slow_request_is_waited_for_and_a_silent_one_is_not() {
        let progress = SendProgress::new();
        let limit = Duration::from_millis(200);
        let slow = async {
            for _ in 0..10 {
                tokio::time::sleep(limit / 5).await;
                progress.note(1, 1);
            }
        };
        progress.guard(limit, slow).await.unwrap();
        let silent = progress.guard(limit, std::future::pending::<()>()).await;
        assert_eq!(silent, Err(Stalled::Silent(limit)));
    }

    /// Takes a body of 16 MiB, so much at a time, with such pauses. Gives how long that was waited for.
    async fn take(step: u64, pause: Duration) -> (std::result::Result<(), Stalled>, Duration) {
        const BYTES: u64 = 16 << 20;
        let (progress, began) = (SendProgress::new(), Instant::now());
        let request = async {
            for taken in (step..=BYTES).step_by(usize::try_from(step).unwrap()) {
                tokio::time::sleep(pause).await;
                progress.note(taken, BYTES - taken);
            }
            // The store takes its time to answer.
            tokio::time::sleep(Duration::from_secs(29)).await;
        };
        (progress.guard(SEND_STALL, request).await, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_too_little_is_given_up_and_a_slow_one_is_not() {
        let slice = 64 << 10;
        for (step, pause, expected) in [
            // A slice in time, but no more.
            (slice, 29, Err(Stalled::TooSlow)),
            (slice, 16, Err(Stalled::TooSlow)),
            (1, 1, Err(Stalled::TooSlow)),
            (slice, 31, Err(Stalled::Silent(SEND_STALL))),
            (slice, 10, Ok(())),
            (4 * slice, 29, Ok(())),
        ] {
            let (found, waited) = take(step, Duration::from_secs(pause)).await;
            assert_eq!(found, expected, "{step} {pause}");
            assert!(expected.is_ok() || waited <= 2 * SEND_FLOOR, "{waited:?}");
        }
    }
}
