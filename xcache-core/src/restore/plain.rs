//! Restoring an object without an index: any `.tar.zst`, such as those that `tar | zstd` made.
//!
//! The same safety as with an index: nothing outside the root, nothing half-written, everything taken back on
//! failure. What is missing is the knowledge of what lies where, so it is read from the first byte to the last.

mod extract;

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use crossbeam_channel::{Receiver, Sender, bounded};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;

use super::disk::{Notices, Target};
use super::error::{Error, catch, check};
use super::fetch::PART_BYTES;
use super::interrupt::Interrupt;
use super::options::Restored;
use crate::archive;
use crate::archive::tar::read::TarStream;
use crate::convert;
use crate::monitor::{Counter, Progress};
use crate::object_end::{self, Defect, Gone, Unusable};
use crate::store::{self, ETag, ObjectName, Payload, Store};
use crate::threads::spawn;
use crate::transfer::download::download_part;
use crate::transfer::limits::DownloadLimits;
use crate::transfer::part_fetch::PartRequest;
use extract::Extractor;

/// A zip bomb: no archive of real files shrinks so much.
const MAX_RATIO: u64 = 2000;
/// Small archives may hold this much, whatever their ratio.
const MIN_LIMIT_BYTES: u64 = 1 << 30;
/// Parts fetched ahead of the one being decoded.
const PARTS_AHEAD: usize = 4;
/// The largest window of a frame, 128 MiB: what `zstd -d` accepts without being asked for more. A frame needs that much memory.
const WINDOW_LOG: u32 = 27;
/// What the decoder hands on at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// The object to be restored.
pub struct PlainSource<'a> {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its name.
    pub name: ObjectName,
    /// Which object of that name.
    pub etag: ETag,
    /// Its length.
    pub size: u64,
    /// Bounds of the transfer.
    pub limits: &'a DownloadLimits,
    /// Is told of bytes as they come.
    pub progress: &'a dyn Progress,
}

/// Restores a `.tar.zst` without an index onto the one root of `paths`.
pub(super) fn restore(
    runtime: &tokio::runtime::Handle,
    source: &PlainSource<'_>,
    target: &Target<'_>,
    interrupt: &Interrupt,
    notices: &mut Notices,
) -> Result<Restored, Error> {
    let mut extractor = Extractor::new(target);
    stream(runtime, source, interrupt, |tar| extractor.extract(tar)).map_err(refusal)?;
    check(interrupt)?;
    // Nothing is taken back any more, so nothing may fail: what cannot be done is a notice.
    let extracted = extractor.finish(notices);
    let committed = target.commit(notices);
    Ok(Restored { fetched_bytes: source.size, ..extracted.complete(target, &committed, notices) })
}

/// Reads an object without an index to its end as a restore does, with the same limits, and writes nothing: every frame
/// is decompressed, and the members follow one another up to the end mark. What is wrong with it is [`Error::Archive`].
pub(crate) async fn read_to_end(store: &Arc<dyn Store>, name: &ObjectName, pin: (&ETag, u64)) -> Result<(), Error> {
    let (store, name, etag, size) = (Arc::clone(store), name.clone(), pin.0.clone(), pin.1);
    let runtime = tokio::runtime::Handle::current();
    let cancelled = RaisedOnDrop(Arc::default());
    let interrupt = Arc::clone(&cancelled.0);
    let reading = tokio::task::spawn_blocking(move || {
        let source =
            PlainSource { store, name, etag, size, limits: &DownloadLimits::default(), progress: &Counter::default() };
        stream(&runtime, &source, &interrupt, |mut tar| {
            while tar.next()?.is_some() {}
            Ok(())
        })
    });
    reading.await.unwrap_or_else(|panic| resume_unwind(panic.into_panic()))
}

/// Stops the threads of one that is not waited for any more.
struct RaisedOnDrop(Arc<Interrupt>);

impl Drop for RaisedOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

/// What two fetches say of the object, if a HEAD agrees.
pub(super) async fn damaged(source: &PlainSource<'_>, damage: archive::Error) -> Error {
    let fault = match object_end::look_again(&*source.store, &source.name, &source.etag).await {
        Ok(None) => Defect::Damaged(damage),
        Ok(Some(gone)) => Defect::Gone(gone),
        Err(error) => return error.into(),
    };
    let (name, etag) = (source.name.clone(), source.etag.clone());
    Box::new(Unusable { name, etag, archive_id: None, fault }).into()
}

/// An object that is gone is told as such, not as trouble with the store.
fn gone(source: &PlainSource<'_>, error: store::Error) -> Error {
    let Some(gone) = Gone::of(&error) else { return error.into() };
    let (name, etag, fault) = (source.name.clone(), source.etag.clone(), Defect::Gone(gone));
    Box::new(Unusable { name, etag, archive_id: None, fault }).into()
}

/// Tells what an archive holds but must not from damage: fetching it again, or making it anew, does not help.
fn refusal(error: Error) -> Error {
    match error {
        Error::Archive(
            refused @ (archive::Error::BadMember { .. } | archive::Error::Limit { .. } | archive::Error::Window { .. }),
        ) => Error::Refused(refused),
        other => other,
    }
}

/// Download, decoder and what takes the members, each in a thread of its own.
fn stream(
    runtime: &tokio::runtime::Handle,
    source: &PlainSource<'_>,
    interrupt: &Interrupt,
    extract: impl FnOnce(TarStream<Blocks>) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let (part_sender, parts) = mpsc::channel::<Bytes>(1);
    let (block_sender, blocks) = bounded::<io::Result<Bytes>>(4);
    std::thread::scope(|scope| {
        let size = source.size;
        let decoding = spawn(scope, move || decode(parts, size, &block_sender)).map_err(|_| Error::NoThread)?;
        let extracting = spawn(scope, move || extract(TarStream::new(Blocks { blocks, now: Bytes::new() })));
        let Ok(extracting) = extracting else {
            drop(part_sender); // which ends the other one
            return Err(Error::NoThread);
        };
        let fetched = catch(|| {
            runtime.block_on(async {
                tokio::select! {
                    fetched = fetch(source, part_sender) => fetched,
                    () = interrupt.raised() => Err(Error::Interrupted),
                }
            })
        });
        // A panic says nothing about the archive.
        let extracted = catch(|| extracting.join().unwrap_or_else(|panic| resume_unwind(panic)));
        let decoded = catch(|| Ok(decoding.join().unwrap_or_else(|panic| resume_unwind(panic))?));
        // A broken download, or one that was given up, shows as a broken archive, too: the cause is told.
        fetched.and(decoded).and(extracted)
    })
}

/// Hands the parts on in order.
async fn fetch(source: &PlainSource<'_>, sender: mpsc::Sender<Bytes>) -> Result<(), Error> {
    source.progress.expect(source.size);
    let starts = (0..source.size).step_by(convert::in_memory(PART_BYTES));
    let parts = futures_util::stream::iter(starts.map(|start| {
        let end = (start + PART_BYTES).min(source.size);
        let request =
            PartRequest { name: source.name.clone(), etag: source.etag.clone(), range: start..end, cuts: vec![end] };
        async move {
            let mut part = Bytes::new();
            let sink = |_, bytes: Payload| {
                part = bytes.into_bytes();
                std::future::ready(())
            };
            let fetched = download_part(&*source.store, &request, source.limits, sink).await;
            fetched.map_err(|error| gone(source, error))?;
            source.progress.add(part.len() as u64);
            Ok::<_, Error>(part)
        }
    }));
    let mut parts = parts.buffered(PARTS_AHEAD);
    while let Some(part) = parts.try_next().await? {
        if sender.send(part).await.is_err() {
            break; // the decoder has stopped and says why
        }
    }
    Ok(())
}

/// Hands the decompressed bytes on. What cannot be decompressed is told there, where bytes are missing; an error here
/// is that there are too many.
fn decode(
    parts: mpsc::Receiver<Bytes>,
    stored_bytes: u64,
    blocks: &Sender<io::Result<Bytes>>,
) -> Result<(), archive::Error> {
    let limit = stored_bytes.saturating_mul(MAX_RATIO).max(MIN_LIMIT_BYTES);
    let mut total = 0u64;
    let run = || -> io::Result<()> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(PartStream { parts, now: Bytes::new() })?;
        decoder.window_log_max(WINDOW_LOG)?;
        loop {
            let mut block = Vec::with_capacity(BLOCK_BYTES);
            decoder.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
            total += block.len() as u64;
            if total > limit {
                return Err(io::Error::other("it is too long"));
            }
            if block.is_empty() || blocks.send(Ok(block.into())).is_err() {
                return Ok(());
            }
        }
    };
    let result = run();
    let has_large_window = result.as_ref().is_err_and(is_window_too_large);
    if let Err(error) = result {
        let _ = blocks.send(Err(error)); // the extractor is gone: it failed first
    }
    match has_large_window {
        true => Err(archive::Error::Window { limit_mib: 1 << (WINDOW_LOG - 20) }),
        false if total > limit => {
            Err(archive::Error::Limit { what: "the length of the archive decompressed", found: total, limit })
        }
        false => Ok(()),
    }
}

/// Whether the decoder has refused a frame for the size of its window. The error has no kind but its text, which is asked
/// for by its number (`ZSTD_error_frameParameter_windowTooLarge`).
fn is_window_too_large(error: &io::Error) -> bool {
    error.to_string() == zstd::zstd_safe::get_error_name(16_usize.wrapping_neg())
}

/// The parts of the object as one stream.
struct PartStream {
    parts: mpsc::Receiver<Bytes>,
    now: Bytes,
}

impl Read for PartStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = io::BufRead::fill_buf(self)?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.now.advance(length);
        Ok(length)
    }
}

impl io::BufRead for PartStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.now.is_empty() {
            self.now = self.parts.blocking_recv().unwrap_or_default();
        }
        Ok(&self.now)
    }

    fn consume(&mut self, amount: usize) {
        self.now.advance(amount);
    }
}

/// The decompressed blocks as one stream.
struct Blocks {
    blocks: Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.now.is_empty() {
            self.now = self.blocks.recv().unwrap_or_else(|_| Ok(Bytes::new()))?;
        }
        let length = self.now.len().min(buffer.len());
        self.now.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
