//! One request for bytes of one object: resumed where its body breaks, sent again where an answer makes no sense, and
//! never believed alone when it denies what is known to be there.
//!
//! A store, or a proxy on the way to it, now and then answers nonsense: 404 for an object that is there, 412 for the right
//! ETag, a page of HTML with status 200. What such an answer would lead to (an entry called damaged, replaced or deleted) is
//! worse than a few more requests. So an answer that denies an object that a listing, a HEAD or a ref has shown is only
//! taken for true if a HEAD and a second GET agree. [`ErrorKind::NotFound`] and [`ErrorKind::Changed`] from here are proven
//! in that way; [`ErrorKind::Corrupt`] means that the store contradicts itself, and says nothing about the object.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::limits::DownloadLimits;
use super::retry::backoff;
use crate::convert;
use crate::store::{ByteRange, Download, ETag, Error, ErrorKind, ObjectMeta, ObjectName, Result, Store, bounds};

/// What is known of an object before it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'a> {
    /// Nothing: "not found" is an answer like any other, and costs one request.
    Unknown,
    /// A listing or a HEAD has shown an object of that name.
    Present,
    /// This very object has been shown.
    This(&'a ETag),
}

/// Bytes of one object that were received whole.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Of the whole object.
    pub meta: ObjectMeta,
    /// Where in the object the bytes begin.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// Fetches `range` of an object, at most `limit` bytes. A request that brings next to nothing gets a second one beside it:
/// the first to finish wins. Cancelling leaves nothing behind.
pub async fn fetch(
    store: &dyn Store,
    (name, expected): (&ObjectName, Expected<'_>),
    range: ByteRange,
    limit: u64,
    limits: &DownloadLimits,
) -> Result<Fetched> {
    let received = AtomicU64::new(0);
    let fetch = || async {
        let request = Request::new(store, (name, expected), range.clone(), limits);
        request.collect(limit, &received).await
    };
    let first = pin!(fetch());
    let lag = pin!(tokio::time::sleep(bounds::LAG));
    let first = match select(first, lag).await {
        Either::Left((done, _)) => return done,
        Either::Right(((), first)) => first,
    };
    if !limits.is_far_below_the_floor(bounds::LAG, received.load(Ordering::Relaxed)) {
        return first.await;
    }
    match select(first, pin!(fetch())).await {
        Either::Left((Ok(done), _)) | Either::Right((Ok(done), _)) => Ok(done),
        Either::Left((Err(_), other)) => other.await,
        Either::Right((Err(_), other)) => other.await,
    }
}

/// A request under way, with those that resume it.
pub(super) struct Request<'a> {
    store: &'a dyn Store,
    name: &'a ObjectName,
    limits: &'a DownloadLimits,
    /// What to ask for until the first answer.
    range: ByteRange,
    is_expected: bool,
    /// The ETag that answers must have.
    pin: Option<ETag>,
    /// Of the object, from the first answer on.
    meta: Option<ObjectMeta>,
    /// All bytes that are to come, from the first answer on.
    span: std::ops::Range<u64>,
    /// The next byte to come.
    position: u64,
    body: Option<BoxStream<'static, Result<Bytes>>>,
    pace: Pace,
    began: Instant,
    attempt: u32,
    /// What a HEAD has said after an answer that denied the object: a second such answer is the proof.
    suspected: Option<ErrorKind>,
    /// The store refuses the ETag that it tells itself: it is asked without, and its answers are compared here.
    refuses_pin: bool,
    /// The store took all its time for no answer: it would do so again.
    is_silent: bool,
}

/// How fast a body comes.
#[derive(Default)]
struct Pace {
    /// Bytes that came since the window began.
    bytes: u64,
    /// How long they were waited for. The time that the receiver takes does not count.
    waited: Duration,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        store: &'a dyn Store,
        (name, expected): (&'a ObjectName, Expected<'_>),
        range: ByteRange,
        limits: &'a DownloadLimits,
    ) -> Self {
        let (is_expected, pin) = match expected {
            Expected::Unknown => (false, None),
            Expected::Present => (true, None),
            Expected::This(etag) => (true, Some(etag.clone())),
        };
        Self {
            store,
            name,
            limits,
            range,
            is_expected,
            pin,
            meta: None,
            span: 0..0,
            position: 0,
            body: None,
            pace: Pace::default(),
            began: Instant::now(),
            attempt: 1,
            suspected: None,
            refuses_pin: false,
            is_silent: false,
        }
    }

    /// All of the bytes, of which there are at most `limit`. `received` grows as they come.
    async fn collect(mut self, limit: u64, received: &AtomicU64) -> Result<Fetched> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if bytes.is_empty() {
                let missing = self.span.end - self.span.start;
                if missing > limit {
                    let detail = format!("it has {missing} bytes; at most {limit} were expected");
                    return Err(self.error(ErrorKind::Invalid, detail));
                }
                bytes.reserve(usize::try_from(missing).unwrap_or(0));
            }
            bytes.extend_from_slice(&piece);
            received.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        let offset = self.span.start;
        let Some(meta) = self.meta else { return Err(Error::not_found("download", self.name)) };
        Ok(Fetched { meta, offset, bytes: bytes.freeze() })
    }

    /// The next bytes, as they come; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.meta.is_some() && self.position == self.span.end {
                // The end of the body, if it is there already, lets its connection be used again.
                if let Some(mut body) = self.body.take() {
                    let _ = body.next().now_or_never();
                }
                return Ok(None);
            }
            match self.step().await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) => {
                    self.body = None;
                    self.recover(error).await?;
                }
            }
        }
    }

    /// Opens a body, or takes the next piece of the one that is open.
    async fn step(&mut self) -> Result<Bytes> {
        let Some(mut body) = self.body.take() else {
            self.open().await?;
            return Ok(Bytes::new());
        };
        let piece = self.in_time(body.next()).await?;
        let Some(piece) = piece else { return Err(self.error(ErrorKind::Unavailable, "connection closed")) };
        let piece = piece?;
        let length = convert::length(piece.len());
        if length > self.span.end - self.position {
            return Err(self.error(ErrorKind::Corrupt, "the store sent more than was asked for"));
        }
        self.position += length;
        self.pace.bytes += length;
        if self.pace.bytes >= self.limits.floor_bytes {
            self.pace = Pace::default();
        }
        self.body = Some(body);
        Ok(piece)
    }

    async fn open(&mut self) -> Result<()> {
        let range = match &self.meta {
            None => self.range.clone(),
            Some(_) => ByteRange::Span(self.position..self.span.end),
        };
        self.pace = Pace::default();
        let began = Instant::now();
        let pin = self.pin.as_ref().filter(|_| !self.refuses_pin);
        let opened = self.store.get(self.name, range.clone(), pin).await;
        self.is_silent = began.elapsed() >= self.limits.stall;
        let download = opened?;
        let span = self.checked(&range, &download)?;
        if self.meta.is_none() {
            self.position = span.start;
            self.span = span;
        }
        self.pin = Some(download.meta.etag.clone());
        self.is_expected = true;
        self.meta = Some(download.meta);
        self.body = Some(download.body);
        Ok(())
    }

    /// Which bytes an answer to `range` brings; an error if they are not those that were asked for.
    fn checked(&self, range: &ByteRange, Download { meta, offset, .. }: &Download) -> Result<std::ops::Range<u64>> {
        let is_right = match range {
            ByteRange::Full => *offset == 0,
            ByteRange::Last(bytes) => meta.size.checked_sub(*offset).is_some_and(|missing| missing <= *bytes),
            ByteRange::Span(span) => *offset == span.start && meta.size >= span.end,
        };
        if self.pin.as_ref().is_some_and(|pin| *pin != meta.etag) {
            return Err(self.error(ErrorKind::Corrupt, "the answer has another ETag than was asked for"));
        }
        if !is_right {
            let asked = match range {
                ByteRange::Full => "all bytes".to_owned(),
                ByteRange::Last(bytes) => format!("the last {bytes} bytes"),
                ByteRange::Span(span) => format!("the bytes {}-{}", span.start, span.end),
            };
            let detail = format!("asked for {asked}, the store sent those from {offset} of {}", meta.size);
            return Err(self.error(ErrorKind::Corrupt, detail));
        }
        let end = match range {
            ByteRange::Full | ByteRange::Last(_) => meta.size,
            ByteRange::Span(span) => span.end,
        };
        Ok(*offset..end)
    }

    /// Decides whether it is worth asking again after `error`, and waits before that.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let error = match error.kind() {
            // Nothing is known of the object, and the store has tried for itself: the caller has other places to ask.
            ErrorKind::Unavailable if !self.is_expected => return Err(error),
            ErrorKind::Unavailable if self.is_silent => return Err(self.describe(error)),
            ErrorKind::Unavailable => error,
            ErrorKind::NotFound | ErrorKind::Changed | ErrorKind::Corrupt | ErrorKind::Invalid if self.is_expected => {
                self.second_opinion(error).await?
            }
            ErrorKind::Corrupt => error,
            _ => return Err(error),
        };
        if self.attempt >= self.limits.attempts {
            return Err(self.describe(error));
        }
        self.attempt += 1;
        tracing::debug!(%error, position = self.position, attempt = self.attempt, "resuming a download");
        // After a first absurd answer there was a HEAD: that is wait enough.
        if error.kind() == ErrorKind::Unavailable || self.attempt > 2 {
            tokio::time::sleep(backoff(self.attempt)).await;
        }
        Ok(())
    }

    /// Asks for the object with HEAD after an answer that denies it. Returns what to try again after; an error if the
    /// answer is proven, or if it cannot be.
    async fn second_opinion(&mut self, error: Error) -> Result<Error> {
        if let Some(proven) = self.suspected.take()
            && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed)
        {
            return Err(Error::new(proven, "download", self.name).source(error));
        }
        let there = self.store.head(self.name).await;
        match there {
            Err(missing) if missing.kind() == ErrorKind::NotFound && error.kind() == ErrorKind::Invalid => {
                return Err(error);
            }
            Err(missing) if missing.kind() == ErrorKind::NotFound => self.suspected = Some(ErrorKind::NotFound),
            Err(other) => return Err(other),
            Ok(meta) if self.pin.as_ref().is_some_and(|pin| *pin != meta.etag) => {
                self.suspected = Some(ErrorKind::Changed);
            }
            Ok(_) => {
                self.refuses_pin = error.kind() == ErrorKind::Changed;
                let detail = format!("the store contradicts itself: {}, but HEAD shows the object", error.reason());
                return Ok(error.with_kind(ErrorKind::Corrupt).detail(detail));
            }
        }
        Ok(error.with_kind(ErrorKind::Corrupt))
    }

    /// Waits for the next bytes, as long as they come at all, and fast enough.
    async fn in_time<T>(&mut self, step: impl Future<Output = T>) -> Result<T> {
        let DownloadLimits { stall, floor_time, floor_bytes, .. } = *self.limits;
        let left = floor_time.saturating_sub(self.pace.waited);
        let began = Instant::now();
        let done = tokio::time::timeout(stall.min(left), step).await;
        self.pace.waited += began.elapsed();
        done.map_err(|_| {
            let detail = if left <= stall {
                format!("fewer than {floor_bytes} bytes in {} s", floor_time.as_secs_f32())
            } else {
                format!("no data for {} s", stall.as_secs_f32())
            };
            self.error(ErrorKind::Unavailable, detail)
        })
    }

    fn error(&self, kind: ErrorKind, detail: impl Into<String>) -> Error {
        Error::new(kind, "download", self.name).detail(detail)
    }

    /// The error with how far we came: "connection closed after 12 of 64 MiB (3 attempts in 9 s)".
    fn describe(&self, error: Error) -> Error {
        let came = match &self.meta {
            Some(_) => format!(" after {}", came(self.position - self.span.start, self.span.end - self.span.start)),
            None => String::new(),
        };
        let times = if self.attempt == 1 { "attempt" } else { "attempts" };
        let (attempts, seconds) = (self.attempt, self.began.elapsed().as_secs());
        let detail = format!("{}{came} ({attempts} {times} in {seconds} s)", error.reason());
        error.detail(detail)
    }
}

/// "12 of 64 MiB", in the unit that suits the total.
fn came(done: u64, total: u64) -> String {
    let (unit, name) = match total {
        0..10_240 => (1, "bytes"),
        10_240..10_485_760 => (1 << 10, "KiB"),
        _ => (1 << 20, "MiB"),
    };
    format!("{} of {} {name}", done / unit, total.div_ceil(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{PutMode, Tags};
    use crate::transfer::doubles::{Break, Faulty, MemoryStore, noise};

    const SIZE: usize = 1000;

    fn limits() -> DownloadLimits {
        DownloadLimits { stall: Duration::from_millis(60), attempts: 3, ..DownloadLimits::default() }
    }

    async fn object() -> (MemoryStore, ObjectName, ETag) {
        let (store, name) = (MemoryStore::default(), ObjectName::new("a").unwrap());
        let etag = store.put(&name, noise(SIZE), PutMode::Create, &Tags::new()).await.unwrap();
        store.take_log();
        (store, name, etag)
    }

    async fn tail(store: &dyn Store, name: &ObjectName, expected: Expected<'_>, bytes: u64) -> Result<Fetched> {
        fetch(store, (name, expected), ByteRange::Last(bytes), bytes, &limits()).await
    }

    #[tokio::test]
    async fn a_tail_or_a_whole_object_is_one_request() {
        for (asked, start) in [(300, 700), (1000, 0), (5000, 0)] {
            let (store, name, _) = object().await;
            let fetched = tail(&store, &name, Expected::Unknown, asked).await.unwrap();
            assert_eq!((fetched.meta.size, fetched.offset), (1000, start as u64));
            assert_eq!(fetched.bytes, noise(SIZE).slice(start..));
            assert_eq!(store.take_log(), [format!("get Last({asked})")]);
        }
        let (store, name, _) = object().await;
        let whole = fetch(&store, (&name, Expected::Present), ByteRange::Full, 1000, &limits()).await.unwrap();
        assert_eq!(whole.bytes, noise(SIZE));
        let error = fetch(&store, (&name, Expected::Present), ByteRange::Full, 999, &limits()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn an_empty_object_has_no_bytes() {
        let (store, name) = (MemoryStore::default(), ObjectName::new("a").unwrap());
        store.put(&name, Bytes::new(), PutMode::Create, &Tags::new()).await.unwrap();
        let fetched = tail(&store, &name, Expected::Unknown, 300).await.unwrap();
        assert_eq!((fetched.meta.size, fetched.bytes.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_broken_body_resumes_at_the_last_good_byte() {
        for how in [Break::Cut, Break::Short, Break::Stall] {
            let (store, name, _) = object().await;
            let faulty = Faulty::new(store.clone()).break_body(0, 350, how, 2);
            let fetched = tail(&faulty, &name, Expected::Unknown, 900).await.unwrap();
            assert_eq!(fetched.bytes, noise(SIZE).slice(100..));
            assert_eq!(store.take_log(), ["get Last(900)", "get Span(450..1000)", "get Span(800..1000)"], "{how:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_gets_a_second_request() {
        let (store, name, _) = object().await;
        let faulty = Faulty::new(store.clone()).break_body(0, 0, Break::Trickle, 1);
        let limits = DownloadLimits { attempts: 3, ..DownloadLimits::default() };
        let fetched = fetch(&faulty, (&name, Expected::Unknown), ByteRange::Last(900), 900, &limits).await.unwrap();
        assert_eq!(fetched.bytes, noise(SIZE).slice(100..));
        assert_eq!(store.take_log(), ["get Last(900)", "get Last(900)"], "a second request beside the first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_whenever_it_is_asked_for_has_an_end() {
        let (store, name, _) = object().await;
        let faulty = Faulty::new(store.clone()).break_body(0, 0, Break::Trickle, u32::MAX);
        let limits = DownloadLimits { attempts: 3, ..DownloadLimits::default() };
        let began = Instant::now();
        let fetched = fetch(&faulty, (&name, Expected::Unknown), ByteRange::Last(900), 900, &limits).await;
        assert_eq!(fetched.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn giving_up_says_how_far_it_came() {
        let (store, name, _) = object().await;
        let faulty = Faulty::new(store.clone()).break_body(0, 70, Break::Cut, u32::MAX);
        let error = tail(&faulty, &name, Expected::Unknown, 900).await.unwrap_err();
        let expected = "cannot download `a`: connection closed after 210 of 900 bytes (3 attempts in 0 s)";
        assert_eq!((error.to_string().as_str(), error.kind()), (expected, ErrorKind::Unavailable));
        assert_eq!(store.take_log().len(), 3);
        assert_eq!(came(12 << 20, (64 << 20) - 5), "12 of 64 MiB");
        assert_eq!(came(1 << 10, 1 << 20), "1 of 1024 KiB");
    }

    #[tokio::test]
    async fn what_nobody_expects_is_asked_for_once() {
        let (store, _, _) = object().await;
        let missing = ObjectName::new("b").unwrap();
        let error = tail(&store, &missing, Expected::Unknown, 900).await.unwrap_err();
        assert_eq!((error.kind(), store.take_log().len()), (ErrorKind::NotFound, 1));
        let silent = Faulty::new(store.clone()).fail("get", ErrorKind::Unavailable, 1);
        assert!(tail(&silent, &missing, Expected::Unknown, 900).await.is_err());
    }

    #[tokio::test]
    async fn what_is_expected_is_missing_only_if_two_fetches_and_a_head_agree() {
        let (store, name, etag) = object().await;
        let (missing, other) = (ObjectName::new("b").unwrap(), ETag("other".to_owned()));
        for (name, expected, kind) in [
            (&missing, Expected::Present, ErrorKind::NotFound),
            (&missing, Expected::This(&etag), ErrorKind::NotFound),
            (&name, Expected::This(&other), ErrorKind::Changed),
        ] {
            let error = tail(&store, name, expected, 900).await.unwrap_err();
            assert_eq!(error.kind(), kind);
            assert_eq!(store.take_log(), ["get Last(900)", "head", "get Last(900)"]);
        }
    }

    #[tokio::test]
    async fn one_answer_that_denies_the_object_changes_nothing() {
        let lies = [ErrorKind::NotFound, ErrorKind::Changed, ErrorKind::Corrupt, ErrorKind::Unavailable];
        for kind in lies {
            let (store, name, etag) = object().await;
            for expected in [Expected::Present, Expected::This(&etag)] {
                let lying = Faulty::new(store.clone()).fail("get", kind, 1);
                let fetched = tail(&lying, &name, expected, 900).await.unwrap();
                assert_eq!(fetched.bytes, noise(SIZE).slice(100..), "{kind:?}");
            }
            // And a HEAD that lies as well is told from the proof by the second fetch.
            let lying = Faulty::new(store).fail("get", kind, 1).fail("head", ErrorKind::NotFound, 1);
            assert!(tail(&lying, &name, Expected::Present, 900).await.is_ok(), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_store_that_goes_on_denying_contradicts_itself() {
        for kind in [ErrorKind::NotFound, ErrorKind::Changed, ErrorKind::Corrupt] {
            let (store, name, etag) = object().await;
            let lying = Faulty::new(store).fail("get", kind, u32::MAX);
            let error = tail(&lying, &name, Expected::This(&etag), 900).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        let (store, name, _) = object().await;
        let shifted = Faulty::new(store).answer_from_wrong_offset();
        let error = tail(&shifted, &name, Expected::Unknown, 900).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
