//! The limits that more than one part of an archive has to know.

/// No index is larger when decompressed: about six million files.
pub(super) const MAX_INDEX_BYTES: u64 = 256 << 20;
/// No index is larger as stored: what zstd makes of so many bytes that do not shrink (`ZSTD_COMPRESSBOUND`).
pub(super) const MAX_STORED_INDEX_BYTES: u64 = MAX_INDEX_BYTES + (MAX_INDEX_BYTES >> 8);
/// The most frames of one archive. At 4 MiB each they hold more than an index has chunks for.
pub(super) const MAX_FRAMES: u32 = 1 << 20;
