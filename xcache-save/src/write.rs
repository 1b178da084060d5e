//! Writing one entry: frames leave for the store while later ones are still being made.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::mpsc;
use xcache_cli as cli;
use xcache_cli::report::Reporter;
use xcache_cli::report::human::Count;
use xcache_core::archive::churn::new_bytes;
use xcache_core::archive::index::Chunk;
use xcache_core::archive::reader::Archive;
use xcache_core::archive::writer::Title;
use xcache_core::convert;
use xcache_core::monitor::{Monitor as _, Unit};
use xcache_core::naming::{self, object_name};
use xcache_core::object::{ArchiveId, Ref};
use xcache_core::object_end::own_ref;
use xcache_core::pack::PackSettings;
use xcache_core::scan::{Signature, SkipReason, Skipped, Tree};
use xcache_core::state;
use xcache_core::store::{self, ETag, ErrorKind, ObjectName, PutMode};
use xcache_core::transfer::publication::{NewObject, Published, Signals};
use xcache_core::transfer::upload::{Confirm, UploadLimits, publish};

use crate::make::{Made, Maker, PackProgress, What};
use crate::run::Run;

/// The first parts of an upload have this size, unless the archive would need more than [`PART_COUNT`] of them.
const PART_BYTES: u64 = 8 << 20;
/// The parts that are of one size: see [`UploadLimits::part_bytes`].
const PART_COUNT: u64 = 4_000;
/// Pieces waiting between the workers and the transfer.
const QUEUE: usize = 1;
/// How many files that were left out on purpose are named.
const NAMED: usize = 10;
/// How many of those that should have been saved: a warning is one line.
const NAMED_IN_WARNING: usize = 3;

/// Said where the request that published had to go without its condition.
const UNCONDITIONAL: &str = "this store does not honour conditional writes: of two saves of one key at the same time, both \
                             may report success, and the later one is kept";

/// The same where the role may not try it: nothing is known of the store.
const UNTRIED: &str = "it cannot be found out whether this store honours conditional writes, because this role may not write \
                       to `.xcache/probe/`; so no condition was sent: of two saves of one key at the same time, both may \
                       report success, and the later one is kept. A save by a role that may write there finds out for all";

/// How writing an entry ended.
pub(crate) enum Written {
    /// It is published.
    Stored(Box<Stored>),
    /// Another one was published first.
    Exists { sent_bytes: u64 },
    /// It failed, but nobody knows whether what was sent to publish it arrives after all.
    InDoubt(anyhow::Error),
}

/// A published entry.
pub(crate) struct Stored {
    pub(crate) name: ObjectName,
    pub(crate) etag: ETag,
    pub(crate) bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) archive: Archive,
    pub(crate) skipped: u64,
    /// It was to be pinned, and is not.
    pub(crate) is_pin_lost: bool,
    pub(crate) incomplete: u64,
    /// What comes after the data frames.
    end: Bytes,
    signatures: Vec<Option<Signature>>,
}

/// How many directories `--explain` names.
const EXPLAINED: usize = 8;

/// Packs and publishes. After an error nothing is published, nor will be.
pub(crate) async fn write(run: &Run<'_>, tree: Arc<Tree>, what: What) -> anyhow::Result<Written> {
    let _phase = run.reporter.phase("write");
    let signals = Arc::new(Signals::new(Arc::new(run.reporter.clone())));
    match try_to_write(run, tree, what, &signals).await {
        Err(error) if signals.may_be_there.load(Ordering::Relaxed) => Ok(Written::InDoubt(error)),
        written => written,
    }
}

/// The size of the first parts of an archive of about `bytes` at most.
fn first_part_bytes(bytes: u64) -> u64 {
    PART_BYTES.max((bytes / PART_COUNT).next_multiple_of(1 << 20))
}

async fn try_to_write(run: &Run<'_>, tree: Arc<Tree>, what: What, signals: &Arc<Signals>) -> anyhow::Result<Written> {
    let (kind, key) = (what.kind(), run.config.keys.primary());
    let name = object_name(run.config.scopes.write.as_ref(), key, kind)
        .with_context(|| format!("key `{key}` cannot be stored"))?;
    let title = Title {
        archive_id: ArchiveId::new()?,
        kind,
        key: key.to_string(),
        created_nanos: convert::unix_nanos(run.context.now),
    };
    let tags = run.config.tags.of(kind);
    let object = NewObject { name: &name, tags: &tags, mode: PutMode::Create, archive_id: title.archive_id };
    let (published, made) = make_and_publish(run, tree, (what, title), object, signals).await?;
    let sent_bytes = signals.sent.load(Ordering::Relaxed);
    let published = match published {
        Ok(published) => published,
        // Unless it could not be found out whose the object is that was there first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && !signals.may_be_there.load(Ordering::Relaxed) => {
            return Ok(Written::Exists { sent_bytes });
        }
        // A store error of its own, or the sender was dropped because packing failed: that is then the cause.
        Err(error) => {
            return Err(made
                .err()
                .filter(|e| e.kind() != std::io::ErrorKind::BrokenPipe)
                .map_or(error.into(), anyhow::Error::from));
        }
    };
    let Made { archive, end, signatures, skipped } = made?;
    let is_pin_lost = published.tags_dropped && naming::is_pin(&tags);
    report_lacks(run, published.tags_dropped, is_pin_lost, signals.is_unconditional.load(Ordering::Relaxed));
    let incomplete = tell_skipped(run.reporter, &skipped);
    let skipped = skipped.len() as u64;
    if run.explain().is_on() {
        let is_stored = |chunk: &Chunk| {
            let frame = usize::try_from(chunk.frame).ok().and_then(|frame| archive.index.frames.get(frame));
            frame.is_some_and(|frame| frame.source == 0)
        };
        run.explain().stored(&new_bytes(&archive.index, EXPLAINED, is_stored));
    }
    let Published { etag, bytes, .. } = published;
    // What got no answer was sent all the same.
    let sent_bytes = sent_bytes.max(bytes);
    let stored = Stored { name, etag, bytes, sent_bytes, archive, skipped, incomplete, is_pin_lost, end, signatures };
    Ok(Written::Stored(Box::new(stored)))
}

/// Makes the archive on plain threads and sends what is there of it meanwhile. Both end in any case: the maker fails if
/// the upload does, and the other way round; so each has a result of its own.
async fn make_and_publish(
    run: &Run<'_>,
    tree: Arc<Tree>,
    (what, title): (What, Title),
    object: NewObject<'_>,
    signals: &Arc<Signals>,
) -> anyhow::Result<(store::Result<Published>, std::io::Result<Made>)> {
    let limits = UploadLimits {
        part_bytes: usize::try_from(first_part_bytes(tree.disk_bytes()))?,
        in_flight: run.config.limits.concurrency,
        confirm: if run.is_trusted { Confirm::Trust } else { Confirm::Head },
        features: run.features,
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let settings = PackSettings { level: run.config.level, workers: run.config.limits.workers };
    let stop = Arc::new(AtomicBool::new(false));
    let extent = Arc::new(PackProgress::default());
    let maker = Maker { settings, sender, stop: stop.clone(), extent: extent.clone() };
    let making = tokio::task::spawn_blocking(move || maker.make(&tree, what, title));
    let publishing = publish(&*run.store, object, receiver, &limits, signals.clone());
    let mut both = std::pin::pin!(async { tokio::join!(publishing, making) });
    let (published, made) = tokio::select! {
        both = &mut both => both,
        never = show(run, &signals.sent, &extent) => match never {},
        interrupted = cli::interrupted() => {
            // Dropping the upload would leave its parts in the store, and a maker that waits for room in the channel
            // would wait for ever. So the maker stops, the upload is aborted, and only then this ends.
            stop.store(true, Ordering::Relaxed);
            signals.cancel.notify_one();
            let _ = both.await;
            return Err(interrupted.into());
        }
    };
    Ok((published, made.context("cannot pack")?))
}

/// Says what this store could not do for the entry.
fn report_lacks(run: &Run<'_>, tags_dropped: bool, is_pin_lost: bool, is_unconditional: bool) {
    if is_pin_lost {
        run.reporter.warning(
            "the entry is not pinned: the store or the role takes no tags, so `keep=true` is lost",
            Some("a clean-up can delete this entry; use a store that keeps object tags, or allow s3:PutObjectTagging"),
        );
    } else if tags_dropped {
        run.reporter.notice("the store or the role does not accept tags: clean-ups will group this entry by its key");
    }
    if let Some(class) = run.opened.refused_storage_class() {
        run.reporter.warning(
            format_args!(
                "the store does not know the storage class `{class}`: the entry is stored in the default class"
            ),
            Some("remove `--s3-storage-class`, or name a class that the store has"),
        );
    }
    if is_unconditional {
        run.reporter.notice_once(if run.opened.is_untried() { UNTRIED } else { UNCONDITIONAL });
    }
}

/// Shows how far the upload is, for ever.
async fn show(run: &Run<'_>, sent: &AtomicU64, extent: &PackProgress) -> Infallible {
    let progress = run.reporter.progress("saving", Unit::Bytes, None);
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (done, total) = extent.progress(sent.load(Ordering::Relaxed));
        progress.expect(total);
        // It never goes back, although what comes next may be harder to compress.
        progress.add(done.saturating_sub(progress.done()));
    }
}

/// Names what was left out, up to a number: in a warning what should have been saved, since the entry is incomplete for
/// good; in notices what never is. Returns how many of the first there are.
pub(crate) fn tell_skipped(reporter: &Reporter, skipped: &[Skipped]) -> u64 {
    let should_be_there =
        |skipped: &&Skipped| matches!(skipped.reason, SkipReason::Unreadable(_) | SkipReason::Changing);
    let (lost, others): (Vec<&Skipped>, Vec<&Skipped>) = skipped.iter().partition(should_be_there);
    let name = |Skipped { path, reason }: &Skipped| format!("`{}` {reason}", path.display());
    let more = |count: usize, named: usize| count.checked_sub(named).filter(|&more| more > 0);
    for skipped in others.iter().take(NAMED) {
        reporter.notice(name(skipped));
    }
    if let Some(more) = more(others.len(), NAMED) {
        reporter.notice(format_args!("and {more} more like these"));
    }
    if !lost.is_empty() {
        let named = lost.iter().take(NAMED_IN_WARNING).map(|skipped| name(skipped)).collect::<Vec<_>>().join("; ");
        let more = more(lost.len(), NAMED_IN_WARNING).map(|more| format!("; and {more} more")).unwrap_or_default();
        let files = Count(lost.len() as u64, "file");
        let they = if lost.len() == 1 { "it is" } else { "they are" };
        let hint = "make them readable, or exclude them with a path that begins with `!`";
        reporter.warning(format_args!("{files} could not be saved as {they}: {named}{more}"), Some(hint));
    }
    lost.len() as u64
}

impl Stored {
    /// Notes what is on disk for another save of the same job. Trouble costs time only.
    pub(crate) fn leave_state(&self, run: &Run<'_>, directory: &Path) {
        let own: Ref = own_ref(&self.name, &self.etag, self.bytes, &self.archive);
        let footer = &self.archive.footer;
        let Some(stored_index) = footer.stored_index(&self.end, footer.index_offset) else { return };
        let note = state::Note {
            store: &run.config.store.config.url.to_string(),
            archive: &self.archive,
            stored_index,
            own: &own,
            signatures: &self.signatures,
            paths: &run.config.paths,
            // Others may have written to the files since the run began.
            noted_nanos: run.context.now.timestamp_nanos_opt(),
        };
        if let Err(error) = state::write(directory, &note) {
            run.reporter.debug(format_args!("no state left in `{}`: {error}", directory.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parts_are_small_unless_there_would_be_too_many() {
        let check = |bytes: u64, mib: u64| assert_eq!(first_part_bytes(bytes), mib << 20, "{bytes}");
        check(0, 8);
        check(30 << 30, 8);
        check(32 << 30, 9);
        check(1 << 40, 263);
    }
}
