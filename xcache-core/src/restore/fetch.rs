//! Which bytes are fetched for the frames that are needed, and in which requests.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::error::Error;
use crate::archive;
use crate::archive::index::{Frame, Index};
use crate::convert;
use crate::monitor::Progress;
use crate::object::{Pinned, Ref};
use crate::object_end::{self, Defect, Gone, Unusable, Verdict};
use crate::store::{self, ErrorKind, Payload, Store};
use crate::transfer::download::download_parts;
use crate::transfer::limits::DownloadLimits;
use crate::transfer::part_fetch::PartRequest;

/// Parts are filled up to this. Smaller ones cost requests and round trips, larger ones memory for each request
/// under way.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// Bytes nobody needs between two frames are fetched along if they are no more: less than a request costs.
const GAP_BYTES: u64 = 128 << 10;

/// Where the frames of an entry can be had.
pub struct Frames<'a> {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The object of the entry itself.
    pub own: Ref,
    /// The objects it refers to.
    pub refs: &'a [Ref],
    /// The end of the entry's object, as the lookup brought it, and where it begins.
    pub tail: (Bytes, u64),
    /// Bounds of the transfer.
    pub limits: &'a DownloadLimits,
    /// Counts bytes as they arrive; gets the total when it is known.
    pub progress: &'a dyn Progress,
}

/// One request.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    source: u16,
    /// The pieces it is cut into: where each ends, and the frame that it is, unless nobody needs it.
    pieces: Vec<(u64, Option<u32>)>,
    start: u64,
}

impl Part {
    fn end(&self) -> u64 {
        self.pieces.last().map_or(self.start, |(end, _)| *end)
    }
}

/// Merges the frames `needed` into parts. Neighbours in their objects are fetched together. Of the entry's own object
/// nothing from `tail_start` on is fetched: that is here.
fn parts(index: &Index, needed: &[u32], tail_start: u64) -> Vec<Part> {
    let mut frames: Vec<(u16, Range<u64>, u32)> = needed
        .iter()
        .map(|&number| {
            let frame = &index.frames[number as usize];
            let mut range = frame.range();
            if frame.source == 0 {
                range.end = range.end.min(tail_start);
            }
            (frame.source, range, number)
        })
        .collect();
    frames.sort_unstable_by_key(|(source, range, _)| (*source, range.start));
    let mut parts: Vec<Part> = Vec::new();
    for (source, range, number) in frames {
        let fitting = parts.last_mut().filter(|part| {
            let gap = range.start.checked_sub(part.end());
            part.source == source && gap.is_some_and(|gap| gap <= GAP_BYTES) && part.end() - part.start < PART_BYTES
        });
        match fitting {
            Some(part) => {
                if range.start > part.end() {
                    part.pieces.push((range.start, None));
                }
                part.pieces.push((range.end, Some(number)));
            }
            None => parts.push(Part { source, start: range.start, pieces: vec![(range.end, Some(number))] }),
        }
    }
    parts
}

/// Fetches the frames `needed` and sends each as soon as it is complete, in any order. With `is_second` nothing is
/// taken from the tail that was fetched before. Gives how many bytes were fetched.
pub(super) async fn fetch(
    index: &Index,
    frames: &Frames<'_>,
    needed: &[u32],
    is_second: bool,
    sender: mpsc::Sender<(u32, Payload)>,
) -> Result<u64, Error> {
    let (tail, tail_start) = &frames.tail;
    let tail_start = if is_second { &u64::MAX } else { tail_start };
    let in_tail = |frame: u32| {
        let frame = &index.frames[frame as usize];
        frame.source == 0 && frame.offset >= *tail_start
    };
    let (near, far): (Vec<u32>, Vec<u32>) = needed.iter().partition(|&&frame| in_tail(frame));
    let first = parts(index, &far, *tail_start);
    let fetched_bytes = first.iter().map(|part| part.end() - part.start).sum();
    frames.progress.expect(frames.progress.done() + fetched_bytes);

    let send_near = async {
        for number in near {
            let range = index.frames[number as usize].range();
            let place = |at: u64| convert::in_memory(at - tail_start);
            // The index was checked against the object, and the tail reaches to the object's end.
            let bytes = tail.slice(place(range.start)..place(range.end).min(tail.len()));
            if sender.send((number, bytes.into())).await.is_err() {
                break; // the workers have stopped and say why
            }
        }
        Ok::<(), Error>(())
    };
    let send_far = async {
        let mut sources = Sources::new(frames);
        let wanted = WantedFrames { index, tail_start: *tail_start, sender: &sender };
        let mut left = far;
        // Each round but the last finds one object under another ETag, so there are not more of them than refs.
        loop {
            let mut delivered = HashSet::new();
            match wanted.send_parts(&sources, &left, &mut delivered).await {
                Ok(()) => return Ok(()),
                Err(error) => sources.explain(error).await?,
            }
            left.retain(|frame| !delivered.contains(frame));
        }
    };
    tokio::try_join!(send_near, send_far)?;
    Ok(fetched_bytes)
}

/// Frames that must be fetched, and who waits for them.
struct WantedFrames<'a> {
    index: &'a Index,
    /// What lies behind this, in the object itself, is here already.
    tail_start: u64,
    sender: &'a mpsc::Sender<(u32, Payload)>,
}

impl WantedFrames<'_> {
    /// Fetches frames in parts and sends each as soon as it is complete; notes which were.
    async fn send_parts(
        &self,
        sources: &Sources<'_>,
        needed: &[u32],
        delivered: &mut HashSet<u32>,
    ) -> Result<(), Error> {
        let Self { index, tail_start, sender } = *self;
        let frames = sources.frames;
        let parts = parts(index, needed, tail_start);
        let mut requests = Vec::with_capacity(parts.len());
        for part in &parts {
            let Pinned { name, etag } = sources.get(part.source)?;
            let cuts = part.pieces.iter().map(|(end, _)| *end).collect();
            requests.push(PartRequest { name, etag, range: part.start..part.end(), cuts });
        }
        let sink = |part: usize, piece: usize, bytes: Payload| {
            frames.progress.add(bytes.len() as u64);
            let wanted = parts[part].pieces[piece].1;
            let bytes = match wanted {
                Some(frame) => whole(&index.frames[frame as usize], bytes, &frames.tail.0, tail_start),
                None => bytes,
            };
            delivered.extend(wanted);
            let sender = sender.clone();
            async move {
                if let Some(frame) = wanted {
                    let _ = sender.send((frame, bytes)).await; // the workers have stopped and say why
                }
            }
        };
        download_parts(frames.store.clone(), requests, frames.limits, sink).await?;
        Ok(())
    }
}

/// A frame of which the end, if it reaches into the tail, was not fetched again.
fn whole(frame: &Frame, mut fetched: Payload, tail: &Bytes, tail_start: u64) -> Payload {
    let missing = frame.range().end.saturating_sub(tail_start.max(frame.offset));
    match usize::try_from(missing) {
        Ok(missing) if frame.source == 0 && missing > 0 && missing <= tail.len() => {
            fetched.push(tail.slice(..missing));
        }
        _ => {}
    }
    fetched
}

/// The objects that frames lie in.
struct Sources<'a> {
    frames: &'a Frames<'a>,
    /// Refs that have another ETag now than the index says, as a copied store has.
    found: HashMap<u16, Pinned>,
}

impl<'a> Sources<'a> {
    fn new(frames: &'a Frames<'a>) -> Self {
        Self { frames, found: HashMap::new() }
    }

    /// The object that frames of `source` lie in.
    fn get(&self, source: u16) -> Result<Pinned, Error> {
        if let Some(found) = self.found.get(&source) {
            return Ok(found.clone());
        }
        Ok(self.frames.source(source)?.pinned())
    }

    /// Why parts could not be fetched. Ok if an object is there under another ETag: to be tried again with that.
    async fn explain(&mut self, error: Error) -> Result<(), Error> {
        let Error::Store(error) = error else { return Err(error) };
        if Gone::of(&error).is_none() {
            return Err(error.into());
        }
        // Refs first: one that names the entry itself is none.
        let own = std::iter::once((&self.frames.own, 0));
        let mut sources = self.frames.refs.iter().zip(1..).chain(own);
        let Some((r, source)) = sources.find(|(r, _)| r.name.as_str() == error.object()) else {
            return Err(error.into());
        };
        match object_end::find_ref(&*self.frames.store, r).await? {
            Verdict::Readable(found) if !self.found.contains_key(&source) && self.get(source)?.etag != found.etag => {
                self.found.insert(source, found);
                Ok(())
            }
            // It was denied, and is there all the same.
            Verdict::Readable(_) => {
                let error = store::Error::new(ErrorKind::Corrupt, "download", &r.name);
                Err(error.detail("the store contradicts itself on whether it is there").into())
            }
            Verdict::Damaged(error) | Verdict::Newer(error) => {
                Err(self.frames.unusable(source, Defect::Damaged(error)))
            }
            Verdict::Gone(gone) => Err(self.frames.unusable(source, Defect::Gone(gone))),
        }
    }
}

impl Frames<'_> {
    /// The object that frames of `source` lie in, as the index names it.
    fn source(&self, source: u16) -> Result<&Ref, Error> {
        let Some(number) = usize::from(source).checked_sub(1) else { return Ok(&self.own) };
        let bad = || archive::Error::damaged("index", "a frame of an object that is not named");
        Ok(self.refs.get(number).ok_or_else(bad)?)
    }

    fn unusable(&self, source: u16, fault: Defect) -> Error {
        let Pinned { name, etag } = match Sources::new(self).get(source) {
            Ok(object) => object,
            Err(error) => return error,
        };
        let archive_id = self.source(source).ok().filter(|_| source > 0).map(|r| r.archive_id);
        Box::new(Unusable { name, etag, archive_id, fault }).into()
    }
}

/// What two fetches of a frame of `source` say of its object, if a HEAD agrees.
pub(super) async fn damaged(frames: &Frames<'_>, source: u16, error: archive::Error) -> Error {
    let r = match frames.source(source) {
        Ok(r) => r,
        Err(error) => return error,
    };
    match object_end::find_ref(&*frames.store, r).await {
        Ok(Verdict::Gone(gone)) => frames.unusable(source, Defect::Gone(gone)),
        Ok(Verdict::Readable(_) | Verdict::Damaged(_) | Verdict::Newer(_)) => {
            frames.unusable(source, Defect::Damaged(error))
        }
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Cutter;

    fn index(frames: &[(u16, u64, u32)]) -> Index {
        let frame = |&(source, offset, stored_bytes)| Frame { source, offset, stored_bytes, raw_bytes: 1 };
        Index {
            writer: String::new(),
            cutter: Cutter::FORMAT_1,
            roots: Vec::new(),
            frames: frames.iter().map(frame).collect(),
            members: Vec::new(),
            chunks: Vec::new(),
        }
    }

    #[test]
    fn neighbours_are_fetched_together_up_to_a_part() {
        let mib = 1u32 << 20;
        let frames: Vec<_> = (0..20).map(|n| (0, n * u64::from(mib), mib)).collect();
        let parts = parts(&index(&frames), &(0..20).collect::<Vec<_>>(), u64::MAX);
        let sizes: Vec<u64> = parts.iter().map(|part| (part.end() - part.start) >> 20).collect();
        assert_eq!(sizes, [8, 8, 4]);
    }

    #[test]
    fn what_the_tail_brought_is_not_fetched_again() {
        let index = index(&[(0, 0, 100), (0, 100, 100), (1, 100, 100)]);
        let parts = parts(&index, &[0, 1, 2], 150);
        assert_eq!(parts[0].pieces, [(100, Some(0)), (150, Some(1))]);
        assert_eq!(parts[1].pieces, [(200, Some(2))]);
        let (head, tail) = (Bytes::from(vec![1; 50]), Bytes::from(vec![2; 80]));
        let whole = |frame: usize| whole(&index.frames[frame], head.clone().into(), &tail, 150).into_bytes();
        assert_eq!(whole(1)[..], [vec![1; 50], vec![2; 50]].concat());
        assert_eq!(whole(2), head);
        assert_eq!(whole(0), head);
    }

    #[test]
    fn small_gaps_are_fetched_along_and_large_ones_are_not() {
        let index = index(&[(0, 0, 100), (0, 200, 100), (0, 10 << 20, 100), (1, 10 << 20, 100)]);
        let parts = parts(&index, &[3, 2, 1, 0], u64::MAX);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0].pieces, [(100, Some(0)), (200, None), (300, Some(1))]);
        assert_eq!((parts[1].source, parts[2].source), (0, 1));
    }
}
