//! Fetching the end of an object whose size is not known: one GET, resumed where its body breaks.

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};

use super::download::DownloadLimits;
use super::retry::backoff;
use crate::store::{ByteRange, Download, ETag, Error, ErrorKind, ObjectMeta, ObjectName, Result, Store};

/// Fetches the last `bytes` of an object, or all of a shorter one, with what the store tells of the object.
///
/// A body that breaks or falls silent is resumed at the last good byte, from the very object that the first answer was
/// about. A request that brings no answer at all is an error at once: the store has tried it again by itself.
/// Cancelling leaves nothing behind.
pub async fn download_tail(
    store: &dyn Store,
    name: &ObjectName,
    bytes: u64,
    pin: Option<&ETag>,
    limits: &DownloadLimits,
) -> Result<(ObjectMeta, Bytes)> {
    let download = store.get(name, ByteRange::Last(bytes), pin).await?;
    let meta = download.meta.clone();
    let missing = meta.size.checked_sub(download.offset).filter(|&missing| missing <= bytes);
    let Some(missing) = missing.and_then(|missing| usize::try_from(missing).ok()) else {
        let detail = format!("the bytes from {} are not the end of {}", download.offset, meta.size);
        return Err(Error::new(ErrorKind::Corrupt, "download", name).detail(detail));
    };
    let mut tail = Tail { store, name, meta, missing, limits, bytes: BytesMut::with_capacity(missing) };
    let mut outcome = tail.take(download).await;
    let mut attempt = 1;
    while let Err(error) = outcome {
        if error.kind() != ErrorKind::Unavailable || attempt >= limits.attempts {
            let (got, all) = (tail.bytes.len(), tail.bytes.len() + tail.missing);
            let times = if attempt == 1 { "attempt" } else { "attempts" };
            let detail = format!("{} after {got} of {all} bytes ({attempt} {times})", error.reason());
            return Err(error.detail(detail));
        }
        attempt += 1;
        tracing::debug!(%error, missing = tail.missing, attempt, "resuming a download");
        tokio::time::sleep(backoff(attempt)).await;
        outcome = tail.resume().await;
    }
    Ok((tail.meta, tail.bytes.freeze()))
}

/// What there is of a tail.
struct Tail<'a> {
    store: &'a dyn Store,
    name: &'a ObjectName,
    meta: ObjectMeta,
    missing: usize,
    limits: &'a DownloadLimits,
    bytes: BytesMut,
}

impl Tail<'_> {
    async fn resume(&mut self) -> Result<()> {
        let position = self.meta.size - self.missing as u64;
        let span = ByteRange::Span(position..self.meta.size);
        let opening = self.store.get(self.name, span, Some(&self.meta.etag));
        let download = self.in_time(opening).await??;
        if download.offset != position || download.meta.etag != self.meta.etag {
            let detail = format!("asked for the bytes from {position}, the store sent those from {}", download.offset);
            return Err(self.error(ErrorKind::Corrupt, detail));
        }
        self.take(download).await
    }

    async fn take(&mut self, download: Download) -> Result<()> {
        let mut body = download.body;
        while self.missing > 0 {
            let Some(piece) = self.in_time(body.next()).await? else {
                return Err(self.error(ErrorKind::Unavailable, "connection closed".to_owned()));
            };
            let piece = piece?;
            let missing = self.missing.checked_sub(piece.len());
            self.missing = missing
                .ok_or_else(|| self.error(ErrorKind::Corrupt, "the store sent more than was asked for".to_owned()))?;
            self.bytes.extend_from_slice(&piece);
        }
        // The end of the body, if it is there already, lets its connection be used again.
        let _ = body.next().now_or_never();
        Ok(())
    }

    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T> {
        let stall = self.limits.stall;
        tokio::time::timeout(stall, step)
            .await
            .map_err(|_| self.error(ErrorKind::Unavailable, format!("no data for {} s", stall.as_secs_f32())))
    }

    fn error(&self, kind: ErrorKind, detail: String) -> Error {
        Error::new(kind, "download", self.name).detail(detail)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{PutMode, Tags};
    use crate::transfer::doubles::{Break, Faulty, MemoryStore, noise};

    const SIZE: usize = 1000;

    fn limits() -> DownloadLimits {
        DownloadLimits { stall: Duration::from_millis(60), attempts: 3, ..DownloadLimits::default() }
    }

    async fn object() -> (MemoryStore, ObjectName) {
        let (store, name) = (MemoryStore::default(), ObjectName::new("a").unwrap());
        store.put(&name, noise(SIZE), PutMode::Create, &Tags::new()).await.unwrap();
        store.take_log();
        (store, name)
    }

    #[tokio::test]
    async fn a_tail_or_a_whole_object_is_one_request() {
        for (asked, start) in [(300, 700), (1000, 0), (5000, 0)] {
            let (store, name) = object().await;
            let (meta, bytes) = download_tail(&store, &name, asked, None, &limits()).await.unwrap();
            assert_eq!((meta.size, bytes), (1000, noise(SIZE).slice(start..)));
            assert_eq!(store.take_log(), [format!("get Last({asked})")]);
        }
    }

    #[tokio::test]
    async fn a_broken_body_resumes_at_the_last_good_byte() {
        for how in [Break::Cut, Break::Short, Break::Stall] {
            let (store, name) = object().await;
            let faulty = Faulty::new(store.clone()).break_body(0, 350, how, 2);
            let (_, bytes) = download_tail(&faulty, &name, 900, None, &limits()).await.unwrap();
            assert_eq!(bytes, noise(SIZE).slice(100..));
            assert_eq!(store.take_log(), ["get Last(900)", "get Span(450..1000)", "get Span(800..1000)"], "{how:?}");
        }
    }

    #[tokio::test]
    async fn giving_up_says_how_far_it_came() {
        let (store, name) = object().await;
        let faulty = Faulty::new(store.clone()).break_body(0, 70, Break::Cut, u32::MAX);
        let error = download_tail(&faulty, &name, 900, None, &limits()).await.unwrap_err();
        let expected = "cannot download `a`: connection closed after 210 of 900 bytes (3 attempts)";
        assert_eq!((error.to_string().as_str(), error.kind()), (expected, ErrorKind::Unavailable));
        assert_eq!(store.take_log().len(), 3);
    }

    #[tokio::test]
    async fn what_a_second_try_does_not_change_is_asked_once() {
        let (store, name) = object().await;
        let missing = ObjectName::new("b").unwrap();
        let other = ETag("other".to_owned());
        for (name, pin, kind) in [(&missing, None, ErrorKind::NotFound), (&name, Some(&other), ErrorKind::Changed)] {
            let error = download_tail(&store, name, 900, pin, &limits()).await.unwrap_err();
            assert_eq!((error.kind(), store.take_log().len()), (kind, 1));
        }
        let silent = Faulty::new(store.clone()).fail("get", ErrorKind::Unavailable, 1);
        assert!(download_tail(&silent, &name, 900, None, &limits()).await.is_err());
        let shifted = Faulty::new(store).answer_from_wrong_offset();
        let error = download_tail(&shifted, &name, 900, None, &limits()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
