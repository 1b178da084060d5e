//! Names that nobody else makes: for temporary files, probes and uploads.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// A new name: the process, a counter, and 64 bits of the standard library's randomness, for machines that share a
/// directory and process numbers.
pub(crate) fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(count);
    format!("{:x}-{count:x}-{random:016x}", std::process::id())
}
