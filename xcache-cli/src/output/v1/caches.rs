//! Documents of saves and restores.

use schemars::JsonSchema;
use serde::Serialize;

use super::Time;

/// A save.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SaveDocument {
    /// The version of the document.
    pub format: u32,
    /// `save`.
    pub command: String,
    /// `saved`, `exists`, `nothing-to-save`, `read-only` or `not-saved`.
    pub outcome: String,
    /// Why the entry is complete, or why nothing was saved, in one word.
    pub reason: Option<String>,
    /// The key.
    pub key: String,
    /// The URL of the store.
    pub store: String,
    /// The scope that is written to.
    pub scope: Option<String>,
    /// What the run may do: `read`, `write`, …
    pub mode: String,
    /// The branch that the entry is tagged with.
    pub branch: Option<String>,
    /// `base` or `delta`.
    pub kind: Option<String>,
    /// The name of the object.
    pub object: Option<String>,
    /// The key of the entry that a delta builds on.
    pub built_on: Option<String>,
    /// Files in the tree.
    pub files: u64,
    /// Files that were left out.
    pub skipped: u64,
    /// Bytes of the files.
    pub tree_bytes: u64,
    /// Bytes of the object.
    pub stored_bytes: u64,
    /// Bytes sent to the store.
    pub sent_bytes: u64,
    /// When the run began.
    pub started: Time,
    /// How long it took.
    pub seconds: f64,
}

/// A restore.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RestoreDocument {
    /// The version of the document.
    pub format: u32,
    /// `restore`.
    pub command: String,
    /// `exact`, `prefix` or `miss`.
    pub outcome: String,
    /// The reason of a miss.
    pub reason: Option<String>,
    /// Whether the entry was only looked for.
    pub lookup_only: bool,
    /// The key.
    pub key: String,
    /// The key of the entry that was found.
    pub matched_key: Option<String>,
    /// The URL of the store.
    pub store: String,
    /// The scope of the entry.
    pub scope: Option<String>,
    /// What the run may do: `read`, `write`, …
    pub mode: String,
    /// `base` or `delta`.
    pub kind: Option<String>,
    /// The name of the object.
    pub object: Option<String>,
    /// Bytes of the object.
    pub stored_bytes: Option<u64>,
    /// When the entry was saved, by the store's clock.
    pub saved_at: Option<Time>,
    /// Files in the entry.
    pub files: u64,
    /// Files that were there already.
    pub kept_files: u64,
    /// Files that were removed because they are not in the entry.
    pub removed_files: u64,
    /// Bytes of the files.
    pub tree_bytes: u64,
    /// Bytes fetched from the store.
    pub received_bytes: u64,
    /// When the run began.
    pub started: Time,
    /// How long it took.
    pub seconds: f64,
}

/// A run with a list of caches.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CacheList<T> {
    /// The version of the document.
    pub format: u32,
    /// `save` or `restore`.
    pub command: String,
    /// A document for each, in the order of the list.
    pub caches: Vec<T>,
}
