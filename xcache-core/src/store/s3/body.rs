//! Request bodies that show how far they have been sent, so that a stalled upload is told from a slow one.
//!
//! The SDK takes a body in memory in one bite and then waits for the answer without a limit, or with one for the whole
//! request, which is wrong for 16 MiB on a slow line. Here the connection takes small slices (not copies) one after the
//! other, and a request is given up when nothing has been taken and no answer has come for a while.

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

/// How much the connection takes at a time: a few TLS records, and little enough to see progress at 10 KB/s.
const SLICE_BYTES: usize = 64 * 1024;

/// When a request last made progress.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    last_millis: AtomicU64,
}

/// A request that has not moved for too long.
#[derive(Debug, thiserror::Error)]
#[error("no progress for {} s", .0.as_secs())]
pub(super) struct Stalled(Duration);

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), last_millis: AtomicU64::new(0) })
    }

    fn note(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last_millis.load(Ordering::Relaxed))
    }

    /// Waits for `request`, as long as its body goes on being taken.
    pub(super) async fn guard<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = T>,
    ) -> std::result::Result<T, Stalled> {
        let mut request = std::pin::pin!(request);
        loop {
            match tokio::time::timeout_at(self.last() + limit, &mut request).await {
                Ok(answer) => return Ok(answer),
                Err(_) if self.last().elapsed() >= limit => return Err(Stalled(limit)),
                Err(_) => {}
            }
        }
    }
}

/// `payload` as a body that can be sent again and notes its progress.
pub(super) fn watched(payload: Payload, progress: Arc<Progress>) -> ByteStream {
    ByteStream::new(SdkBody::retryable(move || {
        let pieces = payload.pieces().to_vec().into_iter();
        let left = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        SdkBody::from_body_1_x(Sliced { pieces, now: Bytes::new(), left, progress: Arc::clone(&progress) })
    }))
}

struct Sliced {
    pieces: std::vec::IntoIter<Bytes>,
    /// What is left of the piece begun.
    now: Bytes,
    /// Bytes left in all.
    left: u64,
    progress: Arc<Progress>,
}

impl http_body::Body for Sliced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        self.progress.note();
        if self.now.is_empty() {
            match self.pieces.next() {
                Some(piece) => self.now = piece,
                None => return Poll::Ready(None),
            }
        }
        let length = self.now.len().min(SLICE_BYTES);
        let slice = self.now.split_to(length);
        self.left -= u64::try_from(length).unwrap_or(u64::MAX);
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
    use super::*;

    #[tokio::test]
    async fn a_slow_request_is_waited_for_and_a_silent_one_is_not() {
        let progress = Progress::new();
        let limit = Duration::from_millis(200);
        let slow = async {
            for _ in 0..10 {
                tokio::time::sleep(limit / 5).await;
                progress.note();
            }
        };
        progress.guard(limit, slow).await.unwrap();
        progress.guard(limit, std::future::pending::<()>()).await.unwrap_err();
    }
}
