//! Taking back the marks of entries that a removal could not delete.
//!
//! A mark must not be taken away while a pass that has put it may still delete the entry: a saver would see no mark, build
//! on the entry, and lose it. So a release is a pass of its own, and gives way to every other one. It reads the marks
//! first and looks for other passes then. A pass that begins later puts its mark anew, with its own id in it, so that the
//! mark is no longer the one that was read, and stays.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::bounds::PARALLEL;
use super::document::{self, MarkDocument};
use super::ends::{EntryEnd, read_end};
use super::error::{Error, Result};
use super::pass::{DeleteMode, Pass};
use super::run::Operation;
use crate::naming::{MarkId, condemned_name};
use crate::object_end::Expected;
use crate::store::{ByteRange, Deletion, ETag, ErrorKind, ObjectName, Store};
use crate::transfer::limits::DownloadLimits;
use crate::transfer::request::fetch;

/// Takes back the marks of the entries `names`, and returns how many there were.
pub async fn release(operation: &Operation<'_>, delete_mode: DeleteMode, names: &[ObjectName]) -> Result<u64> {
    let Operation { store, run, mode: _, monitor } = *operation;
    let pass = Pass::begin(store, monitor, delete_mode, run).await?;
    let released = release_in(&pass, names).await;
    pass.end().await;
    released
}

async fn release_in(pass: &Pass<'_>, names: &[ObjectName]) -> Result<u64> {
    let store = pass.store;
    let marks: Vec<Vec<(ObjectName, ETag)>> = stream::iter(names)
        .map(|name| async move { marks_of(store, name).await })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    pass.is_alone().await?;
    let mut released = 0;
    for (name, etag) in marks.into_iter().flatten() {
        let if_match = (pass.mode == DeleteMode::Conditional).then_some(etag);
        match store.delete(&[Deletion { name, if_match }]).await.pop() {
            Some(Ok(())) | None => released += 1,
            // Another run has taken it away, or put it anew.
            Some(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(released)
}

/// The marks of the entry `name`, which may have been put before or after its end could be read.
async fn marks_of(store: &dyn Store, name: &ObjectName) -> Result<Vec<(ObjectName, ETag)>> {
    let meta = match store.head(name).await {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let archive_id = match read_end(store, name, &meta.etag).await? {
        EntryEnd::Footer(footer) => Some(footer.archive_id),
        EntryEnd::Newer(head) => Some(head.archive_id),
        _ => None,
    };
    let mut marks = Vec::new();
    let of_archive = archive_id.map(|id| MarkId::of_archive(name, id));
    for id in of_archive.into_iter().chain([MarkId::of_object(name, &meta.etag)]) {
        let mark = condemned_name(&id);
        let limits = DownloadLimits::default();
        match fetch(store, (&mark, Expected::Unknown), ByteRange::Full, document::MAX_BYTES, &limits).await {
            // One that this version does not understand may mean something else.
            Ok(fetched) if fetched.bytes.is_empty() || MarkDocument::parse(&fetched.bytes).is_ok() => {
                marks.push((mark, fetched.meta.etag))
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from(error)),
        }
    }
    Ok(marks)
}
