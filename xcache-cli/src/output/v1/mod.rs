//! Version 1 of the documents that `--json` prints: one for each command, and nothing else on stdout.
//!
//! Sizes are in bytes, times are [`Time`]s. Fields may be added; a field never changes its name, its meaning or its
//! type within a version. `tests/golden/json` holds one document of each kind, and `schema.json` next to them the JSON
//! Schema of all.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

mod caches;
mod doctor;
mod gc;
mod report;

pub use caches::{CacheList, RestoreDocument, SaveDocument};
pub use doctor::{DoctorCheck, DoctorDocument};
pub use gc::{
    ArchiveFields, DiffDocument, DifferentFile, DuDocument, FaultFields, Group, ListDocument, ListedEntry, ListedFile,
    NameAndWhy, PlannedEntry, PruneDocument, ShowDocument, ShownEntry, SourceFields, StaleUploadFields, Sum,
    UsageFields, VerifyDocument, VersionsReport,
};
pub use report::{
    Changed, ChangedDirectory, Growth, LargeFile, PlanReason, Price, ReportDocument, ReportedEntry, ReportedPlan,
    Share, Trouble,
};

/// The version, which every document says first.
pub const FORMAT: u32 = 1;

/// A moment, in UTC: `2026-11-28T05:30:00.000Z` (RFC 3339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub DateTime<Utc>);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// The document of a run that gave no other one: it was refused, or it failed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FailedDocument {
    /// The version of the document.
    pub format: u32,
    /// The command.
    pub command: String,
    /// How the run ended: `miss`, `not-saved`, or `failed`.
    pub outcome: String,
    /// The reason of a miss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong.
    pub error: String,
}

/// Any document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Document {
    /// `xcache-save`.
    Save(SaveDocument),
    /// `xcache-restore`.
    Restore(RestoreDocument),
    /// `xcache-save --caches`.
    SaveList(CacheList<SaveDocument>),
    /// `xcache-restore --caches`.
    RestoreList(CacheList<RestoreDocument>),
    /// `xcache-gc prune` and `rm`.
    Prune(PruneDocument),
    /// `xcache-gc ls`.
    List(ListDocument),
    /// `xcache-gc show`.
    Show(ShowDocument),
    /// `diff`.
    Diff(DiffDocument),
    /// `xcache-gc verify`.
    Verify(VerifyDocument),
    /// `xcache-gc du`.
    Du(DuDocument),
    /// `xcache-gc report`.
    Report(ReportDocument),
    /// `xcache-gc doctor`.
    Doctor(DoctorDocument),
    /// Any command.
    Failed(FailedDocument),
}

/// The JSON Schema of all documents.
pub fn schema() -> Schema {
    schemars::schema_for!(Document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_millisecond() {
        let time = Time(DateTime::from_timestamp_nanos(1_795_843_800_123_456_789));
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-11-28T05:30:00.123Z\"");
    }
}
