//! The document of `xcache-gc report`; its page and its Markdown are made of nothing else.

use schemars::JsonSchema;
use serde::Serialize;

use super::{PlannedEntry, Sum, Time};

/// What a store holds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReportDocument {
    /// The version of the document.
    pub format: u32,
    /// `report`.
    pub command: String,
    /// The URL of the store.
    pub store: String,
    /// When the store was listed.
    pub now: Time,
    /// Whether the store has tags, and so branches and pins.
    pub tags_supported: bool,
    /// All entries.
    pub total: Share,
    /// By the branch that entries are tagged with, the largest first.
    pub by_branch: Vec<Share>,
    /// By key family: the key without hashes, dates and run ids.
    pub by_family: Vec<Share>,
    /// By scope.
    pub by_scope: Vec<Share>,
    /// The entries of today by the time they were written: sums up to the end of each period. What was deleted in
    /// between is not known.
    pub growth: Vec<Growth>,
    /// The largest entries.
    pub largest_entries: Vec<ReportedEntry>,
    /// The newest entries, and what changed in each.
    pub newest: Vec<Changed>,
    /// The largest files of the newest entries.
    pub largest_files: Vec<LargeFile>,
    /// Entries that something is wrong with.
    pub troubles: Vec<Trouble>,
    /// Prices for a month, if a price was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// What the rules would do, if any were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<ReportedPlan>,
}

/// What a group of entries takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Share {
    /// What they have in common; `null` for those without, and for all.
    pub name: Option<String>,
    /// How many.
    pub entries: u64,
    /// Those of them that are deltas.
    pub deltas: u64,
    /// Bytes of the objects of bases.
    pub base_bytes: u64,
    /// Bytes of the objects of deltas.
    pub delta_bytes: u64,
    /// Bytes of the files of all entries.
    pub content_bytes: u64,
    /// What the same entries would take if each were complete in itself: the objects that deltas build on, counted for
    /// each of them, up to the size of its files. An upper bound, since a delta may use only a part of those.
    pub without_deltas_bytes: u64,
}

impl Share {
    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.base_bytes + self.delta_bytes
    }

    /// What deltas save, at most.
    pub fn saved_bytes(&self) -> u64 {
        self.without_deltas_bytes.saturating_sub(self.bytes())
    }
}

/// Sums at the end of a period.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Growth {
    /// The end of the period.
    pub until: Time,
    /// Entries written by then.
    pub entries: u64,
    /// Bytes of the objects of bases.
    pub base_bytes: u64,
    /// Bytes of the objects of deltas.
    pub delta_bytes: u64,
    /// Bytes of the files of these entries.
    pub content_bytes: u64,
}

/// An entry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReportedEntry {
    /// The name of the object.
    pub name: String,
    /// The key.
    pub key: String,
    /// The scope.
    pub scope: Option<String>,
    /// The branch that it is tagged with.
    pub branch: Option<String>,
    /// `base` or `delta`.
    pub kind: String,
    /// Bytes of the object.
    pub bytes: u64,
    /// Bytes of the files; `null` if the entry has no index.
    pub content_bytes: Option<u64>,
    /// When it was written, by the store's clock.
    pub modified: Time,
}

/// What changed in an entry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Changed {
    /// The entry.
    pub entry: ReportedEntry,
    /// The key of the entry before it, of the same family and scope; `null` for the first one.
    pub compared_with: Option<String>,
    /// Files in the entry.
    pub files: u64,
    /// Files that the entry before did not have.
    pub added_files: u64,
    /// Files whose content differs.
    pub changed_files: u64,
    /// Files that only the entry before has.
    pub removed_files: u64,
    /// Bytes of files that the entry before did not have, each piece counted once.
    pub new_bytes: u64,
    /// The same by directory, the largest first.
    pub directories: Vec<ChangedDirectory>,
}

/// What changed below a directory.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangedDirectory {
    /// The directory. It ends in `/*` for the files right in a directory whose subdirectories have rows of their own.
    pub path: String,
    /// Files with new content.
    pub files: u64,
    /// Bytes that are new.
    pub new_bytes: u64,
}

/// A large file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LargeFile {
    /// Its path.
    pub path: String,
    /// The key of the entry.
    pub key: String,
    /// The scope of the entry.
    pub scope: Option<String>,
    /// Its length without holes.
    pub bytes: u64,
    /// What of it is new in the entry.
    pub new_bytes: u64,
}

/// An entry that something is wrong with.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Trouble {
    /// The name of the object.
    pub name: String,
    /// The key.
    pub key: String,
    /// The scope.
    pub scope: Option<String>,
    /// Bytes of the object.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Time,
    /// `dangling`, `damaged`, `condemned`, `shadowed`, `unreadable`, `newer` or `foreign`.
    pub trouble: String,
    /// What that means, in words.
    pub detail: String,
}

/// Prices for a month.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Price {
    /// Of one GiB, as given.
    pub gibibyte: f64,
    /// Of all that is stored.
    pub stored: f64,
    /// Of what deltas save, at most.
    pub saved: f64,
}

/// What the rules would do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReportedPlan {
    /// The rules, as flags of `prune`.
    pub rules: Vec<String>,
    /// All entries before.
    pub before: Sum,
    /// What would be left.
    pub after: Sum,
    /// How many entries are decided on for each reason.
    pub reasons: Vec<PlanReason>,
    /// The entries that would be deleted.
    pub deleted: Vec<PlannedEntry>,
    /// Multipart uploads that would be aborted.
    pub stale_uploads: u64,
}

/// A reason for decisions.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlanReason {
    /// `keep` or `delete`.
    pub decision: String,
    /// Why, in one word.
    pub reason: String,
    /// How many entries.
    pub entries: u64,
    /// Bytes of their objects.
    pub bytes: u64,
}
