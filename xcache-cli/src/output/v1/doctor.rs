//! The document of `xcache-gc doctor`.

use schemars::JsonSchema;
use serde::Serialize;

/// What a doctor has found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DoctorDocument {
    /// The version of the document.
    pub format: u32,
    /// `doctor`.
    pub command: String,
    /// The URL of the store.
    pub store: String,
    /// What was tried: for `restore`, `save`, `gc` or `all`.
    pub role: String,
    /// Each check, in the order in which they were made.
    pub checks: Vec<DoctorCheck>,
    /// How many checks found a problem.
    pub problems: u64,
    /// How many found something worth a warning.
    pub warnings: u64,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DoctorCheck {
    /// What was checked, in a word that does not change.
    pub name: String,
    /// `ok`, `warning`, `problem`, or `unknown` where it cannot be found out.
    pub status: String,
    /// What was found.
    pub detail: String,
    /// What mends it: a statement for the policy of the role, a flag, a command or a setting.
    pub fix: Option<String>,
}
