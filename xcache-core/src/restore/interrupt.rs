//! Asking a restore to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells one restore to stop: what waits is woken, and what works looks at it from time to time.
#[derive(Debug, Default)]
pub struct Interrupt {
    is_raised: AtomicBool,
    raised: Notify,
}

impl Interrupt {
    /// Asks to stop. The restore takes back what it has done, unless all of it is done.
    pub fn raise(&self) {
        self.is_raised.store(true, Ordering::Relaxed);
        // Kept for who begins to wait later.
        self.raised.notify_one();
    }

    pub(super) fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::Relaxed)
    }

    /// Waits until it is raised. For one waiter.
    pub(super) async fn raised(&self) {
        self.raised.notified().await;
    }
}
