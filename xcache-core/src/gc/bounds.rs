//! How much of the work of a pass is under way at once.

/// Requests under way concurrently.
pub(super) const PARALLEL: usize = 32;
