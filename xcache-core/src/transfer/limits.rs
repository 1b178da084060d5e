//! How patient a download is, and how much of it is under way at once.

use std::time::Duration;

use crate::store::bounds;

/// How to download.
#[derive(Clone, Debug)]
pub struct DownloadLimits {
    /// Requests at a time, second ones for stragglers included.
    pub in_flight: usize,
    /// A request that brings no byte for so long is given up and resumed. Connecting is limited by the store.
    pub stall: Duration,
    /// Requests for one part, resumed ones included.
    pub attempts: u32,
    /// No part is called a straggler before it has run for so long.
    pub straggler_after: Duration,
    /// A body that brings fewer than [`Self::floor_bytes`] in this time is given up and resumed: one byte a second
    /// never stalls.
    pub floor_time: Duration,
    /// See [`Self::floor_time`].
    pub floor_bytes: u64,
}

impl DownloadLimits {
    /// Whether a request that has brought `received` bytes in `elapsed` is so slow that a second one is worth its while,
    /// even if there is nothing to compare it with.
    pub(super) fn is_far_below_the_floor(&self, elapsed: Duration, received: u64) -> bool {
        elapsed >= bounds::LAG && received < self.floor_bytes
    }
}

impl Default for DownloadLimits {
    fn default() -> Self {
        Self {
            in_flight: 8,
            stall: bounds::RECEIVE_STALL,
            attempts: bounds::RECEIVE_TRIES,
            straggler_after: Duration::from_secs(2),
            floor_time: bounds::FLOOR,
            floor_bytes: bounds::FLOOR_BYTES,
        }
    }
}
