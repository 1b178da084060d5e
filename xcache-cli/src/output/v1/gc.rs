//! Documents of `xcache-gc`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::Time;

/// A number of entries and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sum {
    /// How many.
    pub entries: u64,
    /// Bytes of their objects.
    pub bytes: u64,
}

/// What `prune` or `rm` planned and did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PruneDocument {
    /// The version of the document.
    pub format: u32,
    /// `prune` or `rm`.
    pub command: String,
    /// The URL of the store.
    pub store: String,
    /// The time of all decisions, by the store's clock.
    pub now: Time,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Whether the store has tags, and so branches and pins.
    pub tags_supported: bool,
    /// All entries before.
    pub before: Sum,
    /// All entries afterwards; of a dry run what they would be.
    pub after: Sum,
    /// The groups of `--keep-newest`.
    pub groups: Vec<Group>,
    /// The decision about each entry.
    pub entries: Vec<PlannedEntry>,
    /// Multipart uploads that no process completes any more.
    pub stale_uploads: Vec<StaleUploadFields>,
    /// Objects that were deleted.
    pub deleted: Vec<String>,
    /// Objects that another process had deleted.
    pub already_gone: Vec<String>,
    /// Objects that are left to the next clean-up.
    pub left: Vec<NameAndWhy>,
    /// Objects that could not be deleted.
    pub failed: Vec<NameAndWhy>,
    /// What ended the clean-up.
    pub error: Option<String>,
    /// What a bucket with versions keeps of what was deleted; null where nothing was deleted, and for a directory.
    pub versions: Option<VersionsReport>,
}

/// Old versions of what was deleted.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct VersionsReport {
    /// `off`, `enabled`, `suspended`, or `unknown` where the store or the role does not say.
    pub versioning: String,
    /// Old versions that were deleted for good.
    pub deleted_versions: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Delete markers that were deleted.
    pub deleted_markers: u64,
    /// Objects whose old versions could not be deleted.
    pub failed: Vec<NameAndWhy>,
}

/// A group of `--keep-newest`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Group {
    /// How many entries it has.
    pub entries: u64,
    /// The most that are kept.
    pub kept: u32,
    /// The branch that makes the group, if one does.
    pub branch: Option<String>,
    /// The key family that makes the group, if one does.
    pub family: Option<String>,
    /// The scope.
    pub scope: Option<String>,
}

/// The decision about an entry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedEntry {
    /// The name of the object.
    pub name: String,
    /// The key.
    pub key: String,
    /// The scope.
    pub scope: Option<String>,
    /// `base` or `delta`.
    pub kind: String,
    /// Bytes of the object.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Time,
    /// The branch that it is tagged with.
    pub branch: Option<String>,
    /// `keep` or `delete`.
    pub decision: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in words.
    pub detail: String,
}

/// A multipart upload that no process completes any more.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "StaleUpload")]
pub struct StaleUploadFields {
    /// The name of the object that it would have become.
    pub name: String,
    /// When it began.
    pub initiated: Time,
    /// Why it could not be aborted.
    pub error: Option<String>,
}

/// An object, and why it is in this list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NameAndWhy {
    /// The name of the object.
    pub name: String,
    /// Why.
    pub why: String,
}

/// The entries of a store.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListDocument {
    /// The version of the document.
    pub format: u32,
    /// `ls`.
    pub command: String,
    /// The URL of the store.
    pub store: String,
    /// The entries, in the order that was asked for.
    pub entries: Vec<ListedEntry>,
}

/// An entry in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedEntry {
    /// The name of the object.
    pub name: String,
    /// The key.
    pub key: String,
    /// The scope.
    pub scope: Option<String>,
    /// `base` or `delta`.
    pub kind: String,
    /// Bytes of the object.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Time,
    /// Which object it is, for the store.
    pub etag: String,
    /// The branch that it is tagged with; with `--long`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Bytes of the files; with `--long`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_bytes: Option<u64>,
    /// The objects that it builds on; with `--long`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refs: Option<Vec<String>>,
}

/// The entries of a key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShowDocument {
    /// The version of the document.
    pub format: u32,
    /// `show`.
    pub command: String,
    /// The URL of the store.
    pub store: String,
    /// The entries of the key, in any scope.
    pub entries: Vec<ShownEntry>,
}

/// Everything about an entry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownEntry {
    /// The name of the object.
    pub name: String,
    /// The scope.
    pub scope: Option<String>,
    /// `base` or `delta`.
    pub kind: String,
    /// Bytes of the object.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Time,
    /// Which object it is, for the store.
    pub etag: String,
    /// Its tags; `null` if the store has none.
    pub tags: Option<BTreeMap<String, String>>,
    /// What its index says; `null` for an archive without one.
    pub archive: Option<ArchiveFields>,
    /// Entries that build on it.
    pub dependents: Vec<String>,
    /// What its tree consists of; with `--files`, if it has an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<ListedFile>>,
}

/// A file, directory or link of a tree.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedFile {
    /// The path as it was given, and what is below it.
    pub path: String,
    /// `file`, `directory`, `symlink` or `hard-link`.
    pub kind: String,
    /// Its length, holes included; zero for what is no file.
    pub bytes: u64,
}

/// The files that differ between two entries.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DiffDocument {
    /// The version of the document.
    pub format: u32,
    /// `diff`.
    pub command: String,
    /// The URL of the store.
    pub store: String,
    /// The object of the older entry.
    pub older: String,
    /// The object of the newer entry.
    pub newer: String,
    /// Bytes of the object of the newer entry.
    pub bytes: u64,
    /// Bytes of the files of the newer entry that the older one does not have anywhere.
    pub new_bytes: u64,
    /// The files.
    pub files: Vec<DifferentFile>,
}

/// A file that differs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DifferentFile {
    /// The path as it was given, and what is below it.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// Its length, holes included; of a file that was removed, what it was.
    pub bytes: u64,
    /// Bytes of it that the older entry does not have anywhere.
    pub new_bytes: u64,
}

/// What the index of an archive says.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Archive")]
pub struct ArchiveFields {
    /// Which archive it is, wherever it is copied to.
    pub archive_id: String,
    /// The program that wrote it.
    pub writer: String,
    /// Whether it is marked: no new entry builds on it.
    pub is_condemned: bool,
    /// The paths, as they were given.
    pub roots: Vec<String>,
    /// Files, directories and links.
    pub members: u64,
    /// Bytes of the files.
    pub content_bytes: u64,
    /// The part of its own data that its tree still uses.
    pub own: SourceFields,
    /// The objects that it builds on.
    pub refs: Vec<SourceFields>,
}

/// An object that an entry takes data from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Source")]
pub struct SourceFields {
    /// The name of the object.
    pub name: String,
    /// Whether it is still there.
    pub is_there: bool,
    /// Bytes of its data.
    pub data_bytes: u64,
    /// Bytes of that which the entry uses.
    pub used_bytes: u64,
}

/// Whether entries can be restored.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct VerifyDocument {
    /// The version of the document.
    pub format: u32,
    /// `verify`.
    pub command: String,
    /// The URL of the store.
    pub store: String,
    /// Whether every chunk was read.
    pub deep: bool,
    /// How many entries were verified.
    pub entries: u64,
    /// Those of them without an index: there are no hashes to verify.
    pub without_index: u64,
    /// Written under another key, or in another store.
    pub foreign: Vec<String>,
    /// Chunks that were verified.
    pub chunks: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// What is wrong.
    pub faults: Vec<FaultFields>,
    /// Damaged objects that nothing builds on any more.
    pub marked: BTreeSet<String>,
}

/// Something that is wrong with an entry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Fault")]
pub struct FaultFields {
    /// The name of the object.
    pub name: String,
    /// What is wrong.
    pub fault: String,
}

/// What entries take.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DuDocument {
    /// The version of the document.
    pub format: u32,
    /// `du`.
    pub command: String,
    /// The URL of the store.
    pub store: String,
    /// All entries.
    pub total: UsageFields,
    /// By `base` and `delta`.
    pub by_kind: BTreeMap<String, UsageFields>,
    /// By the branch that entries are tagged with.
    pub by_branch: BTreeMap<String, UsageFields>,
    /// By key family; with `--by family`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_family: Option<BTreeMap<String, UsageFields>>,
    /// By scope; with `--by scope`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_scope: Option<BTreeMap<String, UsageFields>>,
    /// By the repository that entries are tagged with; with `--by repo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_repo: Option<BTreeMap<String, UsageFields>>,
    /// The price of all for a month, if a price was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_month: Option<f64>,
}

/// What a group of entries takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Usage")]
pub struct UsageFields {
    /// How many.
    pub entries: u64,
    /// Bytes of their objects.
    pub bytes: u64,
    /// Bytes of the files of all entries.
    pub content_bytes: u64,
    /// What the same entries would take if each were complete in itself: the objects that deltas build on, counted for
    /// each of them. An upper bound, since a delta may use only a part of those.
    pub without_deltas_bytes: u64,
}
