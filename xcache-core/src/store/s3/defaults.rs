//! What the clients of S3 and of STS have in common: the pinned defaults of the SDK, timeouts and retries.

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::{TimeoutConfig, TimeoutConfigBuilder};

use super::super::bounds;

/// The defaults of the SDK, pinned: changing this is a commit of its own that says what changed.
pub(super) fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Only connecting is timed here: what else is, differs from request to request.
pub(super) fn timeouts() -> TimeoutConfigBuilder {
    TimeoutConfig::builder().connect_timeout(bounds::CONNECT).disable_read_timeout()
}

/// How often a failed request is sent, and how long to wait in between.
pub(super) fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(bounds::TRIES).with_max_backoff(bounds::BACKOFF)
}
