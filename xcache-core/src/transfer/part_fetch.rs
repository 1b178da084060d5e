//! Fetching one part: a ranged GET whose bytes are handed over in pieces. Two requests may fetch the same part; what one
//! of them has handed over, the other passes over.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::limits::DownloadLimits;
use super::request::{Expected, Request};
use crate::convert;
use crate::store::{ByteRange, ETag, Error, ErrorKind, ObjectName, Payload, Result, Store};

/// One ranged GET, and where to cut what it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRequest {
    /// The object.
    pub name: ObjectName,
    /// Which one it must be.
    pub etag: ETag,
    /// The bytes of it; not empty.
    pub range: Range<u64>,
    /// Offsets in the object at which pieces end: ascending, the last one the range's end. Gaps between wanted frames
    /// are pieces like others.
    pub cuts: Vec<u64>,
}

/// A complete piece on its way to the sink.
pub(super) struct FetchedPiece {
    pub(super) part: usize,
    pub(super) number: usize,
    pub(super) bytes: Payload,
}

pub(super) fn check(part: &PartRequest) -> Result<()> {
    let mut before = part.range.start;
    let is_ascending = part.cuts.iter().all(|cut| std::mem::replace(&mut before, *cut) < *cut);
    if is_ascending && before == part.range.end && !part.cuts.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "download", &part.name)
        .detail(format!("the pieces do not fill the range {}-{}", part.range.start, part.range.end)))
}

/// Where the requests for one part hand over pieces, each piece once.
pub(super) struct Handover {
    part: usize,
    /// The first piece that nobody has handed over.
    next: AtomicUsize,
    /// How many bytes of the part have come.
    received: AtomicU64,
    /// Whether a request waits for the receiver: then the part is not slow, we are.
    is_waiting: AtomicBool,
    sink: Sender<FetchedPiece>,
}

impl Handover {
    pub(super) fn new(part: usize, sink: Sender<FetchedPiece>) -> Self {
        Self { part, next: AtomicUsize::new(0), received: AtomicU64::new(0), is_waiting: AtomicBool::new(false), sink }
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// Hands a piece over unless the other request has. Room comes first: a request that is ended while it waits has
    /// then neither claimed the piece nor lost it.
    async fn give(&self, piece: usize, bytes: Payload, name: &ObjectName) -> Result<()> {
        self.is_waiting.store(true, Ordering::Relaxed);
        let room = self.sink.reserve().await;
        self.is_waiting.store(false, Ordering::Relaxed);
        let room =
            room.map_err(|_| Error::new(ErrorKind::Other, "download", name).detail("nobody takes the bytes any more"))?;
        if self.next.compare_exchange(piece, piece + 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            room.send(FetchedPiece { part: self.part, number: piece, bytes });
        }
        Ok(())
    }
}

/// One request for a part, cut into pieces.
pub(super) struct PartFetch<'a> {
    part: &'a PartRequest,
    handover: &'a Handover,
    request: Request<'a>,
    /// The piece being gathered.
    piece: usize,
    /// The next byte to come, as an offset in the object.
    position: u64,
    /// What there is of the piece, as it came: putting it together would be a copy of everything that is fetched.
    partial: Payload,
}

impl<'a> PartFetch<'a> {
    /// From the first piece that is still wanted.
    pub(super) fn new(
        store: &'a dyn Store,
        part: &'a PartRequest,
        limits: &'a DownloadLimits,
        handover: &'a Handover,
    ) -> Self {
        let piece = handover.next.load(Ordering::Acquire);
        let position = match piece {
            0 => part.range.start,
            _ => part.cuts[piece - 1],
        };
        let range = ByteRange::Span(position..part.range.end);
        let request = Request::new(store, (&part.name, Expected::This(&part.etag)), range, limits);
        Self { part, handover, request, piece, position, partial: Payload::default() }
    }

    pub(super) async fn fetch(mut self) -> Result<()> {
        // A second request may come when the first has handed over everything.
        if self.position == self.part.range.end {
            return Ok(());
        }
        while let Some(bytes) = self.request.next().await? {
            self.take(bytes).await?;
        }
        Ok(())
    }

    /// Cuts bytes at the ends of pieces, and hands over what is complete.
    async fn take(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let Some(&cut) = self.part.cuts.get(self.piece) else {
                return Err(Error::new(ErrorKind::Corrupt, "download", &self.part.name)
                    .detail("the store sent more than was asked for"));
            };
            let missing = convert::in_memory(cut - self.position);
            let run = bytes.split_to(missing.min(bytes.len()));
            self.position += convert::length(run.len());
            self.handover.received.fetch_max(self.position - self.part.range.start, Ordering::Relaxed);
            let is_complete = run.len() == missing;
            self.partial.push(run);
            if !is_complete {
                continue;
            }
            let piece = std::mem::take(&mut self.partial);
            self.handover.give(self.piece, piece, &self.part.name).await?;
            self.piece += 1;
        }
        Ok(())
    }
}
