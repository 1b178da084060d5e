//! Whether an entry is what it should be: its end, its refs, and every chunk if asked for.

use std::ops::Range;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::footer::Ref;
use crate::archive::frame::Decoder;
use crate::archive::index::{Chunk, Frame};
use crate::archive::reader::Archive;
use crate::chunk::ChunkHash;
use crate::monitor::chain;
use crate::object_end::{self, Content, Expected, Gone, Verdict};
use crate::store::{self, ByteRange, ETag, ErrorKind, ObjectName, Store, collect};
use crate::{archive, naming};

/// How much of an object's end is asked for first.
const TAIL_BYTES: u64 = 256 << 10;
/// Frames that lie together are fetched together, up to so many bytes: a few requests, and little memory.
const RUN_BYTES: u64 = 8 << 20;
/// Runs under way at a time.
const PARALLEL: usize = 4;

/// How much to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The end of the object, its index, and that its refs are there.
    Structure,
    /// Also every frame that the entry uses, its own and those of refs, and every chunk in them.
    Chunks,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// What is wrong; empty if the entry can be restored.
    pub faults: Vec<Fault>,
    /// Chunks that are as they should be.
    pub chunks: u64,
    /// Bytes of the frames that were read.
    pub read_bytes: u64,
    /// There is no index: only the presence of the object was verified.
    pub is_plain: bool,
    /// Its footer names another key or kind than its name does: it belongs to another store, or was put here by other
    /// means. Nothing else was verified.
    pub is_foreign: bool,
}

/// Something wrong with an entry.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The end of the object is not that of an archive.
    #[error("its end cannot be read")]
    End(#[source] archive::Error),
    /// An object that it builds on is not there.
    #[error("`{0}`, which it builds on, is gone")]
    RefMissing(String),
    /// Another object has the name of one that it builds on.
    #[error("`{0}`, which it builds on, has been replaced")]
    RefReplaced(String),
    /// An object that it builds on has no readable end, and another ETag than it had.
    #[error("`{name}`, which it builds on, cannot be read")]
    RefDamaged {
        /// The object.
        name: String,
        /// What is wrong with it.
        source: archive::Error,
    },
    /// A frame cannot be decompressed.
    #[error("the frame at {offset} of `{object}` is damaged: {reason}")]
    Frame {
        /// The object that holds it.
        object: String,
        /// Where it begins there.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Chunks in a frame are not what the index says.
    #[error("{count} chunks in the frame at {offset} of `{object}` do not have their hash")]
    Chunks {
        /// The object that holds them.
        object: String,
        /// Where their frame begins there.
        offset: u64,
        /// How many.
        count: u64,
    },
}

/// Verifies the object `name` that has this `etag`; none if it has been deleted or replaced since it was listed. Trouble
/// with the store is an error, not a fault, and a fault is what two looks find.
pub async fn verify(
    store: &Arc<dyn Store>,
    name: &ObjectName,
    etag: &ETag,
    depth: Depth,
) -> store::Result<Option<Verified>> {
    let Some(first) = look(store, name, etag, depth).await? else { return Ok(None) };
    if first.faults.is_empty() {
        return Ok(Some(first));
    }
    let Some(mut second) = look(store, name, etag, depth).await? else { return Ok(None) };
    let first: Vec<String> = first.faults.iter().map(|fault| chain(fault)).collect();
    second.faults.retain(|fault| first.contains(&chain(fault)));
    // Deleted since the first look, together with what it built on? Then that is no fault.
    let gone = object_end::look_again(&**store, name, etag).await?;
    Ok(gone.is_none().then_some(second))
}

/// One look.
async fn look(store: &Arc<dyn Store>, name: &ObjectName, etag: &ETag, depth: Depth) -> store::Result<Option<Verified>> {
    let mut verified = Verified::default();
    let mut end = match object_end::fetch(&**store, name, TAIL_BYTES, Expected::This(etag)).await {
        Ok(end) => end,
        Err(error) => return Gone::of(&error).map(|_| None).ok_or(error),
    };
    let archive = match object_end::open(&**store, name, &mut end).await? {
        Verdict::Readable(Content::Archive(archive)) => archive,
        Verdict::Readable(Content::Plain) => {
            verified.is_plain = true;
            return Ok(Some(verified));
        }
        Verdict::Damaged(error) | Verdict::Newer(error) => {
            verified.faults.push(Fault::End(error));
            return Ok(Some(verified));
        }
        Verdict::Gone(_) => return Ok(None),
    };
    let footer = &archive.footer;
    if let Some((_, key, kind)) = naming::parse(name)
        && (key.as_str() != footer.key || kind != footer.kind)
    {
        verified.is_foreign = true;
        return Ok(Some(verified));
    }
    let mut sources = vec![Some((name.clone(), etag.clone()))];
    for r in &footer.refs {
        match find(&**store, r).await? {
            Ok(source) => sources.push(Some(source)),
            Err(fault) => {
                verified.faults.push(fault);
                sources.push(None);
            }
        }
    }
    if depth == Depth::Chunks {
        let mut runs = stream::iter(runs(&archive))
            .map(|run| {
                let source = sources.get(usize::from(run.source)).cloned().flatten();
                let store = Arc::clone(store);
                async move {
                    match source {
                        Some((name, etag)) => read_run(&*store, name, etag, run).await,
                        None => Ok(Verified::default()),
                    }
                }
            })
            .buffer_unordered(PARALLEL);
        while let Some(run) = runs.try_next().await? {
            verified.faults.extend(run.faults);
            verified.chunks += run.chunks;
            verified.read_bytes += run.read_bytes;
        }
    }
    Ok(Some(verified))
}

async fn find(store: &dyn Store, r: &Ref) -> store::Result<Result<(ObjectName, ETag), Fault>> {
    Ok(match object_end::find_ref(store, r).await? {
        Verdict::Readable(found) => Ok(found),
        Verdict::Damaged(error) | Verdict::Newer(error) => {
            Err(Fault::RefDamaged { name: r.name.clone(), source: error })
        }
        Verdict::Gone(Gone::Missing) => Err(Fault::RefMissing(r.name.clone())),
        Verdict::Gone(Gone::Replaced) => Err(Fault::RefReplaced(r.name.clone())),
    })
}

/// Frames of one object that lie together, each with its chunks.
#[derive(Debug)]
struct Run {
    source: u16,
    range: Range<u64>,
    frames: Vec<(Frame, Vec<Chunk>)>,
}

/// The frames that are used, in runs.
fn runs(archive: &Archive) -> Vec<Run> {
    let index = &archive.index;
    let mut frames: Vec<(Frame, Vec<Chunk>)> = index.frames.iter().map(|frame| (*frame, Vec::new())).collect();
    for chunk in &index.chunks {
        frames[chunk.frame as usize].1.push(*chunk);
    }
    frames.retain(|(_, chunks)| !chunks.is_empty());
    frames.sort_unstable_by_key(|(frame, _)| (frame.source, frame.offset));
    let mut runs: Vec<Run> = Vec::new();
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
            _ => runs.push(Run { source: frame.source, range: frame.range(), frames: vec![(frame, chunks)] }),
        }
    }
    runs
}

async fn read_run(store: &dyn Store, name: ObjectName, etag: ETag, run: Run) -> store::Result<Verified> {
    let bytes = run.range.end - run.range.start;
    let limit = usize::try_from(bytes).unwrap_or(usize::MAX);
    let fetch =
        || async { collect(store.get(&name, ByteRange::Span(run.range.clone()), Some(&etag)).await?, limit).await };
    let body = match fetch().await {
        Err(error) if error.kind() == ErrorKind::Unavailable => fetch().await?,
        body => body?,
    };
    let check = tokio::task::spawn_blocking(move || check_run(&name, &run, &body));
    let mut verified = check.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    verified.read_bytes = bytes;
    Ok(verified)
}

fn check_run(name: &ObjectName, run: &Run, body: &[u8]) -> Verified {
    let mut verified = Verified::default();
    let mut raw = Vec::new();
    let mut rest = body;
    for (frame, chunks) in &run.frames {
        let damaged = |reason: String| Fault::Frame { object: name.to_string(), offset: frame.offset, reason };
        let Some((stored, after)) = rest.split_at_checked(frame.stored_bytes as usize) else {
            verified.faults.push(damaged("the object ends before it".into()));
            break;
        };
        rest = after;
        let decoded = Decoder::new().map_err(|error| error.to_string()).and_then(|mut decoder| {
            decoder.decode(stored, frame.raw_bytes, &mut raw).map_err(|error| error.to_string())
        });
        if let Err(reason) = decoded {
            verified.faults.push(damaged(reason));
            continue;
        }
        let is_good = |chunk: &&Chunk| {
            let start = chunk.offset as usize;
            raw.get(start..start + chunk.length as usize).is_some_and(|bytes| ChunkHash::of(bytes) == chunk.hash)
        };
        let good = chunks.iter().filter(is_good).count() as u64;
        let bad = chunks.len() as u64 - good;
        verified.chunks += good;
        if bad > 0 {
            verified.faults.push(Fault::Chunks { object: name.to_string(), offset: frame.offset, count: bad });
        }
    }
    verified
}
