//! Conversions between integers of different width, each with the reason why nothing that matters is lost.
//!
//! `as` cuts bits off without a word, and `try_from` with a substitute at each place needs its reason at each place. Here
//! the substitute is always the largest value, which no later check lets pass: lengths are compared with what is there,
//! numbers index a vector, and limits are far below it. A bad number thus becomes an error, never another good one.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A length in memory, as objects and files count it. Exact: no platform has more than 64 bits of addresses.
pub fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A length, as far as memory can be addressed; for lengths that are then cut to a buffer or compared with one. On 32 bits
/// everything above 4 GiB is the same: too much.
pub fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The number of a node, a member, a chunk or a frame, or a length within a frame. What has more than fits is refused by
/// the limits of the index (`docs/format.md`) when it is written.
pub fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// [`number`] of a length that an archive gives: frames and indexes are shorter than 4 GiB, or they are refused.
pub fn stored(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The length of a path (at most 4,096 bytes) or the number of a ref (at most 256).
pub fn small(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// A length as the S3 client takes it. A body is at most 5 GiB.
pub fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The largest value for what is larger: a rate or a time that is only shown.
pub fn shown(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Milliseconds. They last for 584 million years.
pub fn millis(duration: Duration) -> u64 {
    shown(duration.as_millis())
}

/// Nanoseconds since 1970, as archives count them. They last until the year 2262.
pub fn unix_nanos(time: DateTime<Utc>) -> i64 {
    time.timestamp_nanos_opt().unwrap_or(i64::MAX)
}
