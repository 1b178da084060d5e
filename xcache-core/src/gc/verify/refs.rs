//! The frames of other objects that an entry uses.

use std::ops::Range;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Fault, Findings};
use crate::archive;
use crate::archive::frame::Decoder;
use crate::archive::index::{Chunk, Frame};
use crate::archive::reader::Archive;
use crate::chunk::ChunkHash;
use crate::object::Pinned;
use crate::object_end::{Expected, Gone};
use crate::store::{self, ByteRange, ETag, ObjectName, Store};
use crate::transfer::limits::DownloadLimits;
use crate::transfer::request::fetch;

/// Frames that lie together are fetched together, up to this many bytes: a few requests, and little memory.
const RUN_BYTES: u64 = 8 << 20;
/// Runs under way at a time.
const PARALLEL: usize = 4;

/// Reads every frame of refs that the entry uses, and every chunk in them. `sources` are the objects that are there, by
/// their number in the index.
pub(super) async fn check(
    store: &Arc<dyn Store>,
    archive: &Archive,
    sources: &[Option<Pinned>],
) -> store::Result<Findings> {
    let mut all = Findings::default();
    let mut runs = stream::iter(runs(archive))
        .map(|run| {
            let source = sources.get(usize::from(run.source)).cloned().flatten();
            let store = Arc::clone(store);
            async move {
                match source {
                    Some(Pinned { name, etag }) => read_run(&*store, name, etag, run).await,
                    None => Ok(Findings::default()),
                }
            }
        })
        .buffer_unordered(PARALLEL);
    while let Some(run) = runs.try_next().await? {
        all.add(run);
    }
    Ok(all)
}

/// Frames of one object that lie together, each with its chunks.
#[derive(Debug)]
struct FrameRun {
    source: u16,
    range: Range<u64>,
    frames: Vec<(Frame, Vec<Chunk>)>,
}

/// The frames with their chunks, for those of which a chunk is used.
pub(super) fn used_frames(archive: &Archive) -> Vec<(Frame, Vec<Chunk>)> {
    let index = &archive.index;
    let mut frames: Vec<(Frame, Vec<Chunk>)> = index.frames.iter().map(|frame| (*frame, Vec::new())).collect();
    for chunk in &index.chunks {
        frames[chunk.frame as usize].1.push(*chunk);
    }
    frames.retain(|(_, chunks)| !chunks.is_empty());
    frames
}

/// The frames of refs that are used, in runs.
fn runs(archive: &Archive) -> Vec<FrameRun> {
    let mut frames = used_frames(archive);
    frames.retain(|(frame, _)| frame.source > 0);
    frames.sort_unstable_by_key(|(frame, _)| (frame.source, frame.offset));
    let mut runs: Vec<FrameRun> = Vec::new();
    for (frame, chunks) in frames {
        match runs.last_mut() {
            Some(run)
                if run.source == frame.source
                    && run.range.end == frame.offset
                    && frame.range().end - run.range.start <= RUN_BYTES =>
            {
                run.range.end = frame.range().end;
                run.frames.push((frame, chunks));
            }
            _ => runs.push(FrameRun { source: frame.source, range: frame.range(), frames: vec![(frame, chunks)] }),
        }
    }
    runs
}

async fn read_run(store: &dyn Store, name: ObjectName, etag: ETag, run: FrameRun) -> store::Result<Findings> {
    let bytes = run.range.end - run.range.start;
    let range = ByteRange::Span(run.range.clone());
    let body = match fetch(store, (&name, Expected::This(&etag)), range, bytes, &DownloadLimits::default()).await {
        Ok(fetched) => fetched.bytes,
        Err(error) => {
            let gone = Gone::of(&error).ok_or(error)?;
            return Ok(Findings { faults: vec![Fault::of_ref(&name, gone)], ..Findings::default() });
        }
    };
    let check = tokio::task::spawn_blocking(move || check_run(&name, &run, &body));
    let mut found = check.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    found.read_bytes = bytes;
    Ok(found)
}

fn check_run(name: &ObjectName, run: &FrameRun, body: &[u8]) -> Findings {
    let mut found = Findings::default();
    let mut raw = Vec::new();
    let mut rest = body;
    for (frame, chunks) in &run.frames {
        let Some((stored, after)) = rest.split_at_checked(frame.stored_bytes as usize) else {
            found.faults.push(Fault::frame(name, frame.offset, "the object ends before it"));
            break;
        };
        rest = after;
        match decode(stored, frame.raw_bytes, &mut raw) {
            Ok(()) => check_chunks(name, frame.offset, &raw, chunks, &mut found),
            Err(error) => found.faults.push(Fault::frame(name, frame.offset, error)),
        }
    }
    found
}

/// Decompresses one frame.
pub(super) fn decode(stored: &[u8], raw_bytes: u32, raw: &mut Vec<u8>) -> archive::Result<()> {
    let decoder = Decoder::new().map_err(|error| archive::Error::damaged("frame", error.to_string()));
    decoder?.decode(stored, raw_bytes, raw)
}

/// Whether the chunks of the frame at `offset`, which decompresses to `raw`, have their hashes.
pub(super) fn check_chunks(name: &ObjectName, offset: u64, raw: &[u8], chunks: &[Chunk], found: &mut Findings) {
    let is_good = |chunk: &&Chunk| {
        let start = chunk.offset as usize;
        raw.get(start..start + chunk.length as usize).is_some_and(|bytes| ChunkHash::of(bytes) == chunk.hash)
    };
    let good = chunks.iter().filter(is_good).count() as u64;
    let bad = chunks.len() as u64 - good;
    found.chunks += good;
    if bad > 0 {
        found.faults.push(Fault::Chunks { object: name.to_string(), offset, count: bad });
    }
}
