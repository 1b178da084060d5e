//! Publishing an object whose bytes are still being made.
//!
//! What fits one part is one request. Anything larger is a multipart upload whose first parts are on their way while
//! later ones are being compressed. Pieces are not copied into parts but sent from where they are. Memory:
//! `(in_flight + 1)` parts, the largest piece, and whatever the channel holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::part::{Gather, MAX_PARTS, part_bytes};
use super::publication::{NewObject, Publication, Published, Signals};
use crate::convert;
use crate::monitor::{Monitor, chain};
use crate::object_end::find_archive;
use crate::store::probe::Features;
use crate::store::{Error, ErrorKind, Payload, Result, Store, Upload};

/// What the maker of the object sends.
#[derive(Clone, Debug)]
pub enum Piece {
    /// The next bytes.
    Data(Bytes),
    /// That was all: publish. A channel that closes without this means that the maker failed.
    Finish,
}

/// How to upload.
#[derive(Clone, Debug)]
pub struct UploadLimits {
    /// Size of the first parts, at least 5 MiB. Those of large objects grow, so that any fits into 10,000 of them.
    pub part_bytes: usize,
    /// Parts on their way at a time.
    pub in_flight: usize,
    /// Whether to look whose object is there after publishing.
    pub confirm: Confirm,
    /// Which conditions the store honours. Where one is missing, the name is asked for right before the request.
    pub features: Features,
}

/// Whether the store's word that we have published is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// It is: AWS and directories.
    Trust,
    /// Ask for the object and compare the ETag: stores where several writers may all be told that they won.
    Head,
}

/// How long after an unconditional write it is asked whose object is there: longer than a request that publishes takes.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);

/// Publishes what comes through `pieces` under `name`.
///
/// Lost races are [`ErrorKind::AlreadyExists`] (or [`ErrorKind::Changed`] with [`PutMode::Replace`](crate::store::PutMode::Replace)). An answer that was
/// lost, cut or garbled is no failure if the object that is there turns out to be ours, by its archive id.
///
/// On any error the multipart upload is aborted before this returns. **To cancel, use [`Signals::cancel`]** and wait for
/// the error: requests on their way are dropped and the upload is aborted. (What was already on its way to publish may
/// still arrive: [`Signals::may_be_there`].) Dropping the future instead leaves the abort to a task of its own, which
/// runs only if the runtime lives on; what it cannot remove is left for gc.
pub async fn publish(
    store: &dyn Store,
    object: NewObject<'_>,
    pieces: Receiver<Piece>,
    limits: &UploadLimits,
    signals: Arc<Signals>,
) -> Result<Published> {
    let (name, archive_id) = (object.name, object.archive_id);
    let publication = Publication { store, object, features: limits.features, signals };
    let publishing = Publishing { publication, limits };
    let published = publishing.run(pieces).await?;
    if limits.confirm == Confirm::Head {
        if publishing.publication.signals.is_unconditional.load(Ordering::Relaxed) {
            // Another writer may have asked for the name at the same time and be about to write.
            let moment = async {
                tokio::time::sleep(CONFIRM_AFTER).await;
                Ok(())
            };
            publishing.unless_cancelled(moment).await?;
        }
        match publishing.unless_cancelled(store.head(name)).await {
            Ok(there) if there.etag == published.etag => {}
            // An ETag may be told wrongly, too: whose object is there is known by its archive.
            Ok(_) => match publishing.unless_cancelled(find_archive(store, name, archive_id)).await? {
                Some(there) => return Ok(Published { etag: there.etag, ..published }),
                None => {
                    return Err(Error::new(ErrorKind::AlreadyExists, "publish", name)
                        .detail("another writer published at the same time and won"));
                }
            },
            // The store has said that it is published; only that it is ours is not known for sure.
            Err(error) => {
                let text = format!("`{name}` is published, but that could not be confirmed: {}", chain(&error));
                publishing.publication.signals.monitor.warning(&text, error.hint_text());
            }
        }
    }
    Ok(published)
}

struct Publishing<'a> {
    publication: Publication<'a>,
    limits: &'a UploadLimits,
}

impl Publishing<'_> {
    async fn run(&self, mut pieces: Receiver<Piece>) -> Result<Published> {
        let publication = &self.publication;
        let mut gather = Gather::default();
        let mut is_finished = false;
        // Until there is more than one part, nothing is sent: it may be all.
        while !is_finished && gather.bytes() <= self.limits.part_bytes {
            match self.unless_cancelled(async { Ok(pieces.recv().await) }).await? {
                Some(Piece::Data(piece)) => gather.push(piece),
                Some(Piece::Finish) if publication.prefers_parts() && gather.bytes() > 0 => is_finished = true,
                Some(Piece::Finish) => {
                    return self.unless_cancelled(publication.put(gather.take(usize::MAX).into_bytes())).await;
                }
                None => return Err(self.unfinished()),
            }
        }
        // Given up here, an upload that was begun all the same is left for gc: nobody knows its id.
        let (upload, tags_dropped) = match self.unless_cancelled(publication.begin()).await {
            // A store without uploads (rclone, whose answer no SDK reads) takes what fits one request.
            Err(error) if is_finished && error.is_refusal() => {
                return self.unless_cancelled(publication.put(gather.take(usize::MAX).into_bytes())).await;
            }
            begun => begun?,
        };
        let mut parts = Parts { upload: Aborter(Some(upload)), running: JoinSet::new(), begun: 0, offset: 0 };
        let sending = async {
            self.send(&mut pieces, gather, is_finished, &mut parts).await?;
            match &parts.upload.0 {
                Some(upload) => publication.complete(&**upload).await,
                None => Err(self.unfinished()),
            }
        };
        match self.unless_cancelled(sending).await {
            Ok(etag) => {
                parts.upload.disarm();
                let tags_dropped = tags_dropped && publication.tag().await;
                Ok(Published { etag, bytes: parts.offset, parts: parts.begun, tags_dropped })
            }
            Err(error) => {
                // No part may arrive after the abort, or it would stay.
                parts.running.shutdown().await;
                let is_aborted = parts.upload.abort(&*publication.signals.monitor).await;
                publication.settle(is_aborted).await;
                Err(error)
            }
        }
    }

    /// Drops what is under way when it is given up.
    async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.publication.signals.cancel.notified() => Err(self.unfinished()),
        }
    }

    /// Sends parts while pieces come, and returns when all have arrived.
    async fn send(
        &self,
        pieces: &mut Receiver<Piece>,
        mut gather: Gather,
        mut is_finished: bool,
        parts: &mut Parts,
    ) -> Result<()> {
        loop {
            let part_bytes = part_bytes(self.limits.part_bytes, parts.begun.saturating_add(1));
            let has_part = gather.bytes() >= part_bytes || (is_finished && gather.bytes() > 0);
            let has_room = parts.running.len() < self.limits.in_flight.max(1);
            if has_part && has_room {
                self.start(gather.take(part_bytes), parts)?;
                continue;
            }
            if is_finished && !has_part && parts.running.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(arrived) = parts.running.join_next() => match arrived {
                    Ok(arrived) => arrived?,
                    Err(panic) => return Err(Error::new(ErrorKind::Other, "upload", self.publication.object.name).source(panic)),
                },
                piece = pieces.recv(), if !is_finished && !has_part => match piece {
                    Some(Piece::Data(piece)) => gather.push(piece),
                    Some(Piece::Finish) => is_finished = true,
                    None => return Err(self.unfinished()),
                },
            }
        }
    }

    fn start(&self, body: Payload, parts: &mut Parts) -> Result<()> {
        if parts.begun == MAX_PARTS {
            return Err(Error::new(ErrorKind::Invalid, "upload", self.publication.object.name)
                .detail(format!("more than {MAX_PARTS} parts, the first of {} bytes", self.limits.part_bytes)));
        }
        let Some(upload) = parts.upload.0.clone() else { return Err(self.unfinished()) };
        parts.begun += 1;
        let (number, offset, bytes) = (parts.begun, parts.offset, convert::length(body.len()));
        parts.offset += bytes;
        let signals = Arc::clone(&self.publication.signals);
        parts.running.spawn(async move {
            upload.part(number, offset, body).await?;
            signals.sent.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        });
        Ok(())
    }

    fn unfinished(&self) -> Error {
        Error::new(ErrorKind::Other, "upload", self.publication.object.name)
            .detail("it was given up before it was complete")
    }
}

struct Parts {
    upload: Aborter,
    running: JoinSet<Result<()>>,
    begun: u32,
    offset: u64,
}

/// Aborts a multipart upload unless it is told that all went well.
struct Aborter(Option<Arc<dyn Upload>>);

impl Aborter {
    fn disarm(&mut self) {
        self.0 = None;
    }

    /// Says whether the upload is over.
    async fn abort(&mut self, monitor: &dyn Monitor) -> bool {
        let Some(upload) = self.0.clone() else { return false };
        let aborted = upload.abort().await;
        if let Err(error) = &aborted {
            // The upload has failed, which is the trouble; what it leaves costs no more than room.
            let text =
                format!("parts of an upload are left behind, for `xcache-gc prune --stale-uploads`: {}", chain(error));
            monitor.notice(&text);
        }
        // Only now: if this future is dropped while it waits, the task below tries again.
        self.0 = None;
        aborted.is_ok()
    }
}

impl Drop for Aborter {
    /// The future was dropped half-way. The one task here that nobody waits for: there is nobody left.
    fn drop(&mut self) {
        if let Some(upload) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, "an upload is left behind");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::monitor::Recording;
    use crate::object::ArchiveId;
    use crate::store::{ByteRange, ETag, ObjectName, PutMode, Tags};
    use crate::transfer::doubles::{Conditions, Faulty, MemoryStore, archive, noise};

    const LIMITS: UploadLimits =
        UploadLimits { part_bytes: 100, in_flight: 3, confirm: Confirm::Trust, features: Features::all() };

    /// For a store that knows no conditions.
    const UNCONDITIONAL: UploadLimits = UploadLimits {
        features: Features {
            create_only_put: false,
            create_only_multipart: false,
            conditional_put: false,
            conditional_multipart: false,
            ..Features::all()
        },
        ..LIMITS
    };

    fn name() -> ObjectName {
        ObjectName::new("a").unwrap()
    }

    fn tags() -> Tags {
        Tags::from([("type".to_owned(), "base".to_owned())])
    }

    fn new<'a>(name: &'a ObjectName, tags: &'a Tags, mode: PutMode) -> NewObject<'a> {
        NewObject { name, tags, mode, archive_id: ArchiveId([1; 16]) }
    }

    /// Publishes `body` in pieces, and tells what came of it.
    async fn send(store: &dyn Store, body: &Bytes, piece: usize, limits: &UploadLimits) -> Result<Published> {
        let (sender, receiver) = mpsc::channel(2);
        let (name, tags, signals) = (name(), tags(), Arc::new(Signals::default()));
        let publishing = publish(store, new(&name, &tags, PutMode::Create), receiver, limits, Arc::clone(&signals));
        let sending = async move {
            let mut rest = body.clone();
            while !rest.is_empty() {
                let piece = rest.split_to(piece.min(rest.len()));
                if sender.send(Piece::Data(piece)).await.is_err() {
                    return;
                }
            }
            let _ = sender.send(Piece::Finish).await;
        };
        let (published, ()) = tokio::join!(publishing, sending);
        if let Ok(published) = &published {
            assert_eq!(signals.sent.load(Ordering::Relaxed), published.bytes);
        }
        published
    }

    async fn stored(store: &dyn Store) -> Bytes {
        let download = store.get(&name(), ByteRange::Full, None).await.unwrap();
        crate::store::collect(download, usize::MAX).await.unwrap()
    }

    #[tokio::test]
    async fn any_size_arrives_whole_in_the_fewest_requests() {
        for (bytes, parts) in [(0, 1), (1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (1000, 10), (1234, 13)] {
            for piece in [1, 30, 100, 250, 2000] {
                let store = MemoryStore::default();
                let body = noise(bytes);
                let published = send(&store, &body, piece, &LIMITS).await.unwrap();
                assert_eq!((published.bytes, published.parts), (bytes as u64, parts), "{bytes} in {piece}");
                assert_eq!(stored(&store).await, body);
                assert_eq!(published.etag, store.head(&name()).await.unwrap().etag);
                assert_eq!(store.tags(&name()).await.unwrap(), tags());
                assert!(!published.tags_dropped);
                let requests = store.take_log();
                let sent = requests.iter().filter(|request| !request.starts_with("get")).count();
                // HEAD and the tags are the test's own.
                let expected = if parts == 1 { 1 } else { parts as usize + 2 };
                assert_eq!(sent - 2, expected, "{requests:?}");
            }
        }
    }

    /// Whether the object may be there after publishing it failed.
    async fn may_be_there(store: &dyn Store, bytes: usize, limits: &UploadLimits) -> bool {
        let (sender, receiver) = mpsc::channel(2);
        let (name, tags, signals) = (name(), tags(), Arc::new(Signals::default()));
        sender.send(Piece::Data(noise(bytes))).await.unwrap();
        sender.send(Piece::Finish).await.unwrap();
        publish(store, new(&name, &tags, PutMode::Create), receiver, limits, Arc::clone(&signals)).await.unwrap_err();
        signals.may_be_there.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn an_object_may_be_there_unless_something_proves_that_it_is_not() {
        let faulty = |fault: &str| Faulty::new(MemoryStore::default()).fail(fault, ErrorKind::Unavailable, u32::MAX);
        assert!(may_be_there(&faulty("put"), 50, &LIMITS).await);
        // Nothing that publishes was sent, or the upload is gone and has left nothing.
        for fault in ["upload", "part 1", "part 5", "complete"] {
            assert!(!may_be_there(&faulty(fault), 500, &LIMITS).await, "{fault}");
        }
        assert!(may_be_there(&faulty("complete").fail("abort", ErrorKind::Unavailable, 1), 500, &LIMITS).await);
        let taken = MemoryStore::default();
        taken.put(&name(), Bytes::from_static(b"x"), PutMode::Create, &Tags::new()).await.unwrap();
        for bytes in [50, 500] {
            assert!(!may_be_there(&taken, bytes, &LIMITS).await);
            // The store is asked what is there before anything that publishes is sent.
            assert!(!may_be_there(&faulty("head"), bytes, &UNCONDITIONAL).await);
        }
    }

    #[tokio::test]
    async fn a_lost_race_is_told_and_leaves_no_upload() {
        for bytes in [50, 500] {
            let store = MemoryStore::default();
            store.put(&name(), Bytes::from_static(b"x"), PutMode::Create, &Tags::new()).await.unwrap();
            let error = send(&store, &noise(bytes), 40, &LIMITS).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert!(store.uploads("").await.unwrap().is_empty());
            assert_eq!(stored(&store).await, "x");
        }
    }

    #[tokio::test]
    async fn without_conditions_the_second_writer_still_finds_the_first() {
        for conditions in [Conditions::Ignored, Conditions::Refused] {
            for bytes in [50, 500] {
                let store = Faulty::new(MemoryStore::default()).conditions(conditions);
                send(&store, &noise(bytes), 40, &UNCONDITIONAL).await.unwrap();
                let error = send(&store, &noise(bytes + 1), 40, &UNCONDITIONAL).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{conditions:?}, {bytes}");
                assert_eq!(stored(&store).await, noise(bytes));
                assert!(store.uploads("").await.unwrap().is_empty());
            }
        }
    }

    #[tokio::test]
    async fn without_conditions_the_name_is_asked_for_last() {
        // Also of what fits one request: its body would be on its way between the question and the write.
        for bytes in [50, 500] {
            let store = MemoryStore::default();
            send(&store, &noise(bytes), 40, &UNCONDITIONAL).await.unwrap();
            assert!(store.take_log().ends_with(&["head", "complete"].map(str::to_owned)));
        }
    }

    #[tokio::test]
    async fn without_conditions_and_uploads_one_request_is_left() {
        let inner = MemoryStore::default();
        let store = Faulty::new(inner.clone()).fail("upload", ErrorKind::Corrupt, u32::MAX);
        send(&store, &noise(50), 40, &UNCONDITIONAL).await.unwrap();
        assert_eq!(inner.take_log(), ["head", "put"]);
        assert_eq!(send(&store, &noise(500), 40, &UNCONDITIONAL).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn without_conditions_only_the_object_that_was_meant_is_replaced() {
        for bytes in [50, 500] {
            let store = Faulty::new(MemoryStore::default()).conditions(Conditions::Refused);
            let published = send(&store, &Bytes::from_static(b"old"), 40, &UNCONDITIONAL).await.unwrap();
            let replace = async |etag: ETag| {
                let (sender, receiver) = mpsc::channel(2);
                sender.send(Piece::Data(noise(bytes))).await.unwrap();
                sender.send(Piece::Finish).await.unwrap();
                let (name, tags, mode) = (name(), tags(), PutMode::Replace(etag));
                publish(&store, new(&name, &tags, mode), receiver, &UNCONDITIONAL, Arc::default()).await
            };
            assert_eq!(replace(ETag("other".to_owned())).await.unwrap_err().kind(), ErrorKind::Changed);
            assert_eq!(stored(&store).await, "old");
            replace(published.etag).await.unwrap();
            assert_eq!(stored(&store).await, noise(bytes));
        }
    }

    #[tokio::test]
    async fn a_failing_part_or_completion_aborts() {
        for fault in ["part 1", "part 3", "part 5", "complete"] {
            let store = Faulty::new(MemoryStore::default()).fail(fault, ErrorKind::Unavailable, u32::MAX);
            let error = send(&store, &noise(500), 40, &LIMITS).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault}");
            assert!(store.uploads("").await.unwrap().is_empty(), "{fault}");
            assert_eq!(store.head(&name()).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
    }

    #[tokio::test]
    async fn a_maker_that_gives_up_publishes_nothing() {
        for bytes in [0, 50, 500] {
            let store = MemoryStore::default();
            let (sender, receiver) = mpsc::channel(2);
            let (name, tags) = (name(), tags());
            let publishing = publish(&store, new(&name, &tags, PutMode::Create), receiver, &LIMITS, Arc::default());
            let giving_up = async move {
                sender.send(Piece::Data(noise(bytes))).await.unwrap();
            };
            let (published, ()) = tokio::join!(publishing, giving_up);
            assert_eq!(published.unwrap_err().kind(), ErrorKind::Other);
            assert!(store.uploads("").await.unwrap().is_empty());
            assert_eq!(store.head(&name).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
    }

    #[tokio::test]
    async fn cancelling_aborts_also_when_everything_has_been_made() {
        let store = MemoryStore::slow(std::time::Duration::from_secs(60));
        let (sender, receiver) = mpsc::channel(2);
        let (name, tags, signals) = (name(), tags(), Arc::new(Signals::default()));
        sender.send(Piece::Data(noise(500))).await.unwrap();
        sender.send(Piece::Finish).await.unwrap();
        drop(sender);
        let publishing = publish(&store, new(&name, &tags, PutMode::Create), receiver, &LIMITS, signals.clone());
        let cancelling = async {
            while store.uploads("").await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            signals.cancel.notify_one();
        };
        let (published, ()) = tokio::join!(publishing, cancelling);
        assert_eq!(published.unwrap_err().kind(), ErrorKind::Other);
        assert!(store.uploads("").await.unwrap().is_empty());
        assert_eq!(store.head(&name).await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn cancelling_does_not_wait_for_an_upload_to_begin() {
        let store = Faulty::new(MemoryStore::default()).never_begin_uploads();
        let (sender, receiver) = mpsc::channel(2);
        let (name, tags, signals) = (name(), tags(), Arc::new(Signals::default()));
        sender.send(Piece::Data(noise(500))).await.unwrap();
        let publishing = publish(&store, new(&name, &tags, PutMode::Create), receiver, &LIMITS, signals.clone());
        let cancelling = async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            signals.cancel.notify_one();
        };
        let (published, ()) = tokio::join!(publishing, cancelling);
        assert_eq!(published.unwrap_err().kind(), ErrorKind::Other);
    }

    #[tokio::test]
    async fn dropping_the_future_aborts_in_the_background() {
        let store = MemoryStore::default();
        let (sender, receiver) = mpsc::channel(2);
        let (name, tags) = (name(), tags());
        sender.send(Piece::Data(noise(500))).await.unwrap();
        {
            let publishing = publish(&store, new(&name, &tags, PutMode::Create), receiver, &LIMITS, Arc::default());
            let mut publishing = std::pin::pin!(publishing);
            let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), publishing.as_mut()).await;
            assert!(waiting.is_err());
            assert_eq!(store.uploads("").await.unwrap().len(), 1);
        }
        while !store.uploads("").await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn conflicts_are_tried_again_but_not_for_ever() {
        for (bytes, fault) in [(50, "put"), (500, "complete")] {
            let store = Faulty::new(MemoryStore::default()).fail(fault, ErrorKind::Conflict, 2);
            send(&store, &noise(bytes), 40, &LIMITS).await.unwrap();
            let store = Faulty::new(MemoryStore::default()).fail(fault, ErrorKind::Conflict, u32::MAX);
            let error = send(&store, &noise(bytes), 40, &LIMITS).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(store.uploads("").await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_store_without_tags_gets_the_object_without() {
        for (bytes, kind) in [
            (50, ErrorKind::Unsupported),
            (50, ErrorKind::Invalid),
            (50, ErrorKind::Denied),
            (500, ErrorKind::Invalid),
            (500, ErrorKind::Denied),
        ] {
            let store = Faulty::new(MemoryStore::default()).refuse_tags(kind);
            let published = send(&store, &noise(bytes), 40, &LIMITS).await.unwrap();
            assert!(published.tags_dropped);
            assert_eq!(store.tags(&name()).await.unwrap(), Tags::new());
        }
        let store = Faulty::new(MemoryStore::default()).fail("put", ErrorKind::Denied, u32::MAX);
        assert_eq!(send(&store, &noise(50), 40, &LIMITS).await.unwrap_err().kind(), ErrorKind::Denied);
    }

    #[tokio::test]
    async fn what_a_store_is_known_to_lack_is_not_sent_to_it() {
        let lacking = |features| UploadLimits { features, ..LIMITS };
        let without_tags =
            lacking(Features { tags: false, multipart_tags: false, late_tags: false, ..Features::all() });
        let late_tags = lacking(Features { multipart_tags: false, ..Features::all() });
        for (bytes, limits, requests) in [
            (50, &without_tags, vec!["put"]),
            (150, &without_tags, vec!["upload", "part 1", "part 2", "complete"]),
            (50, &late_tags, vec!["put"]),
            (150, &late_tags, vec!["upload", "part 1", "part 2", "complete", "set tags"]),
        ] {
            let inner = MemoryStore::default();
            let is_tagged = limits.features.tags;
            let store = Faulty::new(inner.clone());
            let published = send(&store, &noise(bytes), 40, limits).await.unwrap();
            assert_eq!(published.tags_dropped, !is_tagged);
            assert_eq!(inner.take_log(), requests);
            let expected = if is_tagged { tags() } else { Tags::new() };
            assert_eq!(store.tags(&name()).await.unwrap(), expected);
        }
        let denied = Faulty::new(MemoryStore::default()).fail("set tags", ErrorKind::Denied, 1);
        assert!(send(&denied, &noise(150), 40, &late_tags).await.unwrap().tags_dropped);
    }

    #[tokio::test]
    async fn an_object_whose_answer_was_lost_is_published_if_it_is_ours() {
        let kinds = [ErrorKind::Unavailable, ErrorKind::Corrupt, ErrorKind::Other];
        for (request, padding) in [("put", 0), ("complete", 500)] {
            for kind in kinds {
                for (archive_id, is_ours) in [(1, true), (2, false)] {
                    let body = archive(archive_id, padding);
                    let limits = UploadLimits { part_bytes: 400, ..LIMITS };
                    let store = Faulty::new(MemoryStore::default()).lose_answer(request, kind);
                    let published = send(&store, &body, 40, &limits).await;
                    assert_eq!(published.map(|published| published.bytes).ok(), is_ours.then_some(body.len() as u64));
                    assert_eq!(stored(&store).await, body);
                }
            }
        }
        // A second try finds the upload gone, as it is after a first that was done.
        let store = Faulty::new(MemoryStore::default()).lose_answer_of_complete();
        send(&store, &archive(1, 500), 40, &LIMITS).await.unwrap();
        let store = Faulty::new(MemoryStore::default()).lose_answer_of_complete();
        let error = send(&store, &archive(2, 500), 40, &LIMITS).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_not_waited_for_if_the_object_is_there() {
        let store = Faulty::new(MemoryStore::default()).never_answer_complete();
        let began = tokio::time::Instant::now();
        send(&store, &archive(1, 500), 40, &LIMITS).await.unwrap();
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
        let silent = Faulty::new(MemoryStore::default()).never_answer_complete().fail("get", ErrorKind::Unavailable, 9);
        let error = send(&silent, &archive(1, 500), 40, &LIMITS).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn confirming_finds_the_other_winner() {
        let limits = UploadLimits { confirm: Confirm::Head, ..LIMITS };
        let store = Faulty::new(MemoryStore::default()).overwrite_after_publishing();
        assert_eq!(send(&store, &noise(50), 40, &limits).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let store = MemoryStore::default();
        send(&store, &noise(500), 40, &limits).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_confirmed_is_published_all_the_same() {
        let limits = UploadLimits { confirm: Confirm::Head, ..LIMITS };
        for kind in [ErrorKind::Unavailable, ErrorKind::Denied] {
            let store = Faulty::new(MemoryStore::default()).fail("head", kind, 1);
            let published = send(&store, &noise(500), 40, &limits).await.unwrap();
            assert_eq!(published.etag, store.head(&name()).await.unwrap().etag);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_confirmed_is_reported() {
        let limits = UploadLimits { confirm: Confirm::Head, ..LIMITS };
        for (failures, expected) in [(0, 0), (1, 1)] {
            let monitor = Arc::new(Recording::default());
            let store = Faulty::new(MemoryStore::default()).fail("head", ErrorKind::Denied, failures);
            let (sender, receiver) = mpsc::channel(2);
            sender.send(Piece::Data(noise(50))).await.unwrap();
            sender.send(Piece::Finish).await.unwrap();
            let signals = Arc::new(Signals::new(Arc::clone(&monitor) as Arc<dyn Monitor>));
            publish(&store, new(&name(), &tags(), PutMode::Create), receiver, &limits, signals).await.unwrap();
            assert_eq!(monitor.warnings().len(), expected, "{:?}", monitor.messages());
        }
    }

    #[tokio::test]
    async fn no_more_parts_are_on_their_way_than_allowed() {
        let store = MemoryStore::slow(std::time::Duration::from_millis(2));
        send(&store, &noise(2000), 70, &LIMITS).await.unwrap();
        assert_eq!(store.most_parts_at_once(), 3);
    }
}
