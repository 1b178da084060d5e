//! Fetching ranges of objects, each piece handed over as soon as its bytes are complete.
//!
//! A part is one ranged GET, pinned by ETag. It resumes from the last good byte when its connection breaks or falls
//! silent. Several run at a time, and one that lags far behind the others gets a second request beside it: the first
//! to finish wins, and no piece is handed over twice. Memory: `in_flight` times the largest piece and one network
//! buffer, and one piece on its way to the sink; never a whole part.

use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver};

use super::fleet::{Downloaded, Fleet};
use super::limits::DownloadLimits;
use super::part_fetch::{FetchedPiece, Handover, PartFetch, PartRequest, check};
use crate::store::{Payload, Result, Store};

/// Fetches all parts and hands over each piece with the numbers of its part and of the piece in it: in order within a
/// part, in any order between parts, one at a time. A `sink` that waits holds the requests back. Returns when all have
/// been handed over, or at the first part that failed for good.
///
/// Dropping the future ends all requests; pieces handed over before stay handed over.
pub async fn download_parts<F: Future<Output = ()>>(
    store: Arc<dyn Store>,
    parts: Vec<PartRequest>,
    limits: &DownloadLimits,
    mut sink: impl FnMut(usize, usize, Payload) -> F,
) -> Result<Downloaded> {
    for part in &parts {
        check(part)?;
    }
    let (sender, receiver) = mpsc::channel(1);
    let fleet = Fleet::new(store, parts, limits, sender);
    let (done, ()) = tokio::join!(fleet.run(), forward(receiver, |piece| sink(piece.part, piece.number, piece.bytes)));
    done
}

/// Fetches one part on the calling task and hands over its pieces with their numbers, without a second request.
pub async fn download_part<F: Future<Output = ()>>(
    store: &dyn Store,
    part: &PartRequest,
    limits: &DownloadLimits,
    mut sink: impl FnMut(usize, Payload) -> F,
) -> Result<()> {
    check(part)?;
    let (sender, receiver) = mpsc::channel(1);
    let fetching = async move {
        let handover = Handover::new(0, sender);
        PartFetch::new(store, part, limits, &handover).fetch().await
    };
    let (done, ()) = tokio::join!(fetching, forward(receiver, |piece| sink(piece.number, piece.bytes)));
    done
}

async fn forward<F: Future<Output = ()>>(mut pieces: Receiver<FetchedPiece>, mut sink: impl FnMut(FetchedPiece) -> F) {
    while let Some(piece) = pieces.recv().await {
        sink(piece).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Range;
    use std::time::Duration;

    use super::*;
    use crate::store::{ETag, ErrorKind, ObjectName, PutMode, Tags};
    use crate::transfer::doubles::{Break, Faulty, MemoryStore, noise};

    const SIZE: usize = 1000;

    fn limits() -> DownloadLimits {
        DownloadLimits {
            in_flight: 4,
            stall: Duration::from_millis(60),
            attempts: 3,
            straggler_after: Duration::from_millis(20),
            ..DownloadLimits::default()
        }
    }

    async fn object() -> (MemoryStore, PartRequest) {
        let store = MemoryStore::default();
        let name = ObjectName::new("a").unwrap();
        let etag = store.put(&name, noise(SIZE), PutMode::Create, &Tags::new()).await.unwrap();
        (store, PartRequest { name, etag, range: 0..SIZE as u64, cuts: vec![SIZE as u64] })
    }

    /// Parts of `bytes` each, cut into pieces of up to `piece`.
    fn cut(whole: &PartRequest, bytes: u64, piece: u64) -> Vec<PartRequest> {
        let ends = |range: &Range<u64>, step: u64| -> Vec<u64> {
            let inner = (range.start + 1..range.end).filter(|at| (at - range.start).is_multiple_of(step));
            inner.chain([range.end]).collect()
        };
        let mut start = 0;
        ends(&whole.range, bytes)
            .into_iter()
            .map(|end| {
                let range = std::mem::replace(&mut start, end)..end;
                PartRequest { cuts: ends(&range, piece), range, ..whole.clone() }
            })
            .collect()
    }

    /// Downloads, and checks that each piece came once, in order, and with the right bytes.
    async fn fetch(
        store: impl Store + 'static,
        parts: Vec<PartRequest>,
        limits: &DownloadLimits,
    ) -> (Result<Downloaded>, usize) {
        let (asked, body) = (parts.clone(), noise(SIZE));
        let mut next: BTreeMap<usize, usize> = BTreeMap::new();
        let mut received = 0;
        let done = download_parts(Arc::new(store), parts, limits, |part, piece, bytes| {
            let expected = next.entry(part).or_default();
            assert_eq!(piece, *expected, "part {part}");
            *expected += 1;
            let part = &asked[part];
            let start = if piece == 0 { part.range.start } else { part.cuts[piece - 1] };
            let bytes = bytes.into_bytes();
            assert_eq!(bytes, body.slice(start as usize..part.cuts[piece] as usize));
            received += bytes.len();
            tokio::task::yield_now()
        })
        .await;
        (done, received)
    }

    #[tokio::test]
    async fn all_pieces_arrive_whatever_their_sizes() {
        for (bytes, piece) in [(1000, 1000), (1000, 1), (300, 7), (300, 50), (10, 3), (1, 1)] {
            let (store, whole) = object().await;
            let parts = cut(&whole, bytes, piece);
            let count = parts.len();
            store.take_log();
            let (done, received) = fetch(store.clone(), parts, &limits()).await;
            assert_eq!(done.unwrap(), Downloaded { bytes: 1000, hedges: 0 });
            assert_eq!((received, store.take_log().len()), (SIZE, count), "one request for each part");
        }
        let (store, _) = object().await;
        assert_eq!(fetch(store, Vec::new(), &limits()).await.0.unwrap(), Downloaded::default());
    }

    #[tokio::test]
    async fn a_broken_body_resumes_at_the_last_good_byte() {
        for how in [Break::Cut, Break::Short, Break::Stall] {
            for piece in [1000, 10] {
                let (store, whole) = object().await;
                let faulty = Faulty::new(store.clone()).break_body(0, 350, how, 1);
                let (done, received) = fetch(faulty, cut(&whole, 1000, piece), &limits()).await;
                done.unwrap();
                assert_eq!(received, SIZE);
                let log = store.take_log();
                assert!(log.contains(&"get Span(350..1000)".to_owned()), "{how:?} {log:?}");
            }
        }
    }

    #[tokio::test]
    async fn giving_up_says_how_far_it_came() {
        let (store, whole) = object().await;
        let faulty = Faulty::new(store).break_body(0, 70, Break::Cut, u32::MAX);
        let (done, received) = fetch(faulty, cut(&whole, 1000, 100), &limits()).await;
        let error = done.unwrap_err();
        let expected = "cannot download `a`: connection closed after 210 of 1000 bytes (3 attempts in 0 s)";
        assert_eq!((error.to_string().as_str(), error.kind()), (expected, ErrorKind::Unavailable));
        assert_eq!(received, 200, "whole pieces were handed over");
    }

    #[tokio::test]
    async fn what_is_gone_or_another_one_is_proven_before_it_is_told() {
        let (store, whole) = object().await;
        let changed = PartRequest { etag: ETag("other".to_owned()), ..whole.clone() };
        let missing = PartRequest { name: ObjectName::new("b").unwrap(), ..whole.clone() };
        for (part, kind) in [(changed, ErrorKind::Changed), (missing, ErrorKind::NotFound)] {
            store.take_log();
            let (done, received) = fetch(store.clone(), vec![part], &limits()).await;
            assert_eq!((done.unwrap_err().kind(), received), (kind, 0));
            assert_eq!(store.take_log(), ["get Span(0..1000)", "head", "get Span(0..1000)"]);
        }
        let faulty = Faulty::new(store).answer_from_wrong_offset();
        let (done, received) = fetch(faulty, vec![whole], &limits()).await;
        assert_eq!((done.unwrap_err().kind(), received), (ErrorKind::Corrupt, 0));
    }

    #[tokio::test]
    async fn a_straggler_is_asked_for_a_second_time_and_handed_over_once() {
        let (store, whole) = object().await;
        // The last part stands still after two pieces and a bit; without the second request it would take a minute.
        let faulty = Faulty::new(store.clone()).break_body(900, 25, Break::Stall, 1);
        let limits = DownloadLimits { stall: Duration::from_secs(60), ..limits() };
        let (done, received) = fetch(faulty, cut(&whole, 100, 10), &limits).await;
        assert_eq!(done.unwrap(), Downloaded { bytes: 1000, hedges: 1 });
        assert_eq!(received, SIZE);
        let log = store.take_log();
        assert!(log.contains(&"get Span(920..1000)".to_owned()), "only what is still wanted: {log:?}");
    }

    #[tokio::test]
    async fn one_part_alone_arrives_too() {
        let (store, whole) = object().await;
        let part = cut(&whole, 1000, 300).remove(0);
        let faulty = Faulty::new(store).break_body(0, 350, Break::Cut, 1);
        let mut pieces = Vec::new();
        download_part(&faulty, &part, &limits(), |piece, bytes| {
            pieces.push((piece, bytes.into_bytes()));
            std::future::ready(())
        })
        .await
        .unwrap();
        let body = noise(SIZE);
        let expected = [(0, 0..300), (1, 300..600), (2, 600..900), (3, 900..1000)];
        assert_eq!(pieces, expected.map(|(piece, range)| (piece, body.slice(range))));
    }

    #[tokio::test]
    async fn a_sink_that_waits_holds_the_requests_back() {
        let (store, whole) = object().await;
        let parts = cut(&whole, 10, 10);
        let log = store.clone();
        log.take_log();
        let limits = limits();
        let endless = download_parts(Arc::new(store), parts, &limits, |_, _, _| std::future::pending());
        tokio::time::timeout(Duration::from_millis(30), endless).await.unwrap_err();
        let requests = log.take_log().len();
        assert!(requests <= 4 + 2, "four requests, one piece in the channel and one with the sink: {requests}");
    }

    #[tokio::test]
    async fn cuts_that_do_not_fill_the_range_are_refused() {
        let (store, whole) = object().await;
        for cuts in [vec![], vec![999], vec![5, 5, 1000], vec![7, 6, 1000], vec![0, 1000], vec![1000, 1001]] {
            let part = PartRequest { cuts, ..whole.clone() };
            let (done, _) = fetch(store.clone(), vec![part], &limits()).await;
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
