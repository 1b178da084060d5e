//! How long to wait before another try.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

/// The first wait is at most this long; each later one at most twice the one before.
const FIRST: Duration = Duration::from_millis(100);

/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(5);

/// The wait before try number `attempt` (from 2): random between nothing and the bound, so that jobs which failed
/// together do not come back together.
pub(super) fn backoff(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(2).min(16);
    let bound = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let random = RandomState::new().hash_one(attempt);
    // A fraction of 1,000 is fine enough for a wait.
    bound * u32::try_from(random % 1000).unwrap_or(0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded() {
        for attempt in 0..100 {
            assert!(backoff(attempt) < LONGEST);
        }
        assert!(backoff(2) < FIRST);
    }
}
