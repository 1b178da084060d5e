//! What a store keeps of objects that were deleted.

/// Whether a deletion frees space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It does: there is one version of each object.
    Off,
    /// A deletion puts a marker in place of the object, whose bytes stay as a version of old.
    Enabled,
    /// It was enabled once: the versions of that time stay.
    Suspended,
    /// The store or the role does not say, for this reason.
    Unknown(String),
}

impl Versioning {
    /// One word for documents.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What was deleted for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Versions of objects.
    pub versions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Delete markers.
    pub markers: u64,
}
