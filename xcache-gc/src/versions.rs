//! What deletions free in a bucket with versioning.

use xcache_cli::output::v1::{NameAndWhy, VersionsReport};
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::report::{Reporter, chain};
use xcache_core::gc::run::Outcome;
use xcache_core::store::versions::{Purged, Versioning};

use crate::connection::Connection;

/// Whether old versions are deleted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldVersions {
    /// They stay.
    Keep,
    /// Those of what this pass deletes go.
    Delete,
}

impl From<bool> for OldVersions {
    fn from(delete: bool) -> Self {
        if delete { Self::Delete } else { Self::Keep }
    }
}

/// Deletes the versions of what was deleted, if they are to go, and reports what still takes space. None where nothing was
/// deleted, nor would be: the store is not asked then.
pub(crate) async fn settle(
    old: OldVersions,
    connection: &Connection,
    outcome: &Outcome,
    reporter: &Reporter,
) -> Option<VersionsReport> {
    outcome.plan.victims().next()?;
    let versioning = connection.versioning().await?;
    let mut report = VersionsReport { versioning: versioning.word().to_owned(), ..VersionsReport::default() };
    match (old, &outcome.swept) {
        (OldVersions::Delete, Some(_)) if versioning != Versioning::Off => {
            purge(connection, outcome, &mut report).await;
        }
        (OldVersions::Delete, _) => {}
        (OldVersions::Keep, _) => tell_kept(&versioning, reporter),
    }
    Some(report)
}

/// What of the entries listed keeps taking space when they are deleted.
pub(crate) fn tell_kept(versioning: &Versioning, reporter: &Reporter) {
    match versioning {
        Versioning::Off => {}
        Versioning::Enabled => reporter.notice(
            "versioning is enabled for the bucket: what is deleted goes on taking space as an old version; \
             `--delete-versions` deletes the old versions of what a clean-up deletes, and a lifecycle rule for noncurrent \
             versions (NoncurrentVersionExpiration) deletes all of them",
        ),
        Versioning::Suspended => reporter.notice(
            "versioning is suspended for the bucket: objects that were written while it was enabled go on taking space when \
             they are deleted; `--delete-versions` deletes the old versions of what a clean-up deletes",
        ),
        Versioning::Unknown(why) => reporter.debug(format_args!("whether the bucket keeps old versions is unknown: {why}")),
    }
}

async fn purge(connection: &Connection, outcome: &Outcome, report: &mut VersionsReport) {
    let inventory = &outcome.inventory;
    // Only what this pass has deleted itself, as a HEAD has confirmed.
    let deleted = outcome.swept.iter().flat_map(|swept| &swept.deleted);
    let objects: Vec<_> = deleted.map(|&id| (inventory.object_name(id), inventory.etag(id))).collect();
    let answers = connection.purge(objects.clone()).await;
    for ((name, _), answer) in objects.into_iter().zip(answers) {
        match answer {
            Ok(Purged { versions, bytes, markers }) => {
                report.deleted_versions += versions;
                report.deleted_bytes += bytes;
                report.deleted_markers += markers;
            }
            Err(error) => {
                let (name, why) = (name.to_string(), chain::text(&error));
                report.failed.push(NameAndWhy { name, why });
            }
        }
    }
}

/// What was deleted for good, and what could not be.
pub(crate) fn tell_purged(report: &VersionsReport, reporter: &Reporter) {
    let VersionsReport { versioning: _, deleted_versions, deleted_bytes, deleted_markers, failed } = report;
    if let Some(NameAndWhy { why, .. }) = failed.first() {
        let count = Count(failed.len() as u64, "entry");
        reporter.warning(
            format_args!("old versions of {count} that were deleted still take space: {why}"),
            Some(
                "the clean-up needs the rights s3:ListBucketVersions and s3:DeleteObjectVersion; object locks and MFA delete \
                 forbid it to every role",
            ),
        );
    }
    if *deleted_versions == 0 {
        return;
    }
    reporter.line(format_args!(
        "deleted {}, {}, and {} for good",
        Count(*deleted_versions, "old version"),
        Bytes(*deleted_bytes),
        Count(*deleted_markers, "delete marker")
    ));
}
