//! Whether the store answers at all.
//!
//! A store that accepts connections and stays silent costs the whole bound of each request, one after the other: minutes
//! for a save that has twenty left. So once requests have gone unanswered, the store counts as down until it answers again:
//! each further request waits briefly, and is not sent a second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_s3::config::{HttpClient as _, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use tokio::time::Instant;

use super::super::bounds;

/// A request that was given up after this long without an answer says that the store is silent. Shorter than the bound
/// of a try; longer than any answer of a store that works.
const SILENCE: Duration = Duration::from_secs(8);

/// So many requests in a row without an answer, and the store counts as down. One may be an accident on the way.
const UNANSWERED: u32 = 2;

/// The largest body that is no data: it is sent at once, so that what takes time is the answer.
const SMALL_BODY_BYTES: u64 = 64 << 10;

/// What is known of the store's health, shared by all requests of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<AtomicU32>);

impl Health {
    /// Whether nothing has been answered lately.
    pub(super) fn is_down(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= UNANSWERED
    }

    /// A request was answered, whatever the answer.
    fn answered(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// A request has waited in vain for as long as any may.
    pub(super) fn gave_up(&self) {
        self.0.fetch_add(UNANSWERED, Ordering::Relaxed);
    }

    /// The same client, which notes what is answered and does not wait long for a store that is down.
    pub(super) fn watch(&self, client: SharedHttpClient) -> SharedHttpClient {
        let health = self.clone();
        http_client_fn(move |settings: &HttpConnectorSettings, components: &RuntimeComponents| {
            let inner = client.http_connector(settings, components);
            SharedHttpConnector::new(Watched { inner, health: health.clone() })
        })
    }
}

#[derive(Debug)]
struct Watched {
    inner: SharedHttpConnector,
    health: Health,
}

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let is_small = request.body().content_length().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES);
        let is_brief = is_small && self.health.is_down();
        let mut waiting = Waiting { since: Some(Instant::now()), health: self.health.clone() };
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let answered = if is_brief {
                match tokio::time::timeout(bounds::DOWN, answer).await {
                    Ok(answered) => answered,
                    // Not called a timeout, so that the SDK does not try again.
                    Err(_) => Err(ConnectorError::user(Box::new(StillSilent))),
                }
            } else {
                answer.await
            };
            if answered.is_ok() {
                waiting.since = None;
                waiting.health.answered();
            }
            answered
        })
    }
}

/// A store that was silent before, and still is.
#[derive(Debug, thiserror::Error)]
#[error("no answer, as before; it is not waited for any longer")]
pub(super) struct StillSilent;

/// A request without an answer yet. Dropped, it was given up.
struct Waiting {
    since: Option<Instant>,
    health: Health,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= SILENCE) {
            self.health.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_request_is_an_accident_and_an_answer_ends_it() {
        let health = Health::default();
        health.0.fetch_add(1, Ordering::Relaxed);
        assert!(!health.is_down());
        health.0.fetch_add(1, Ordering::Relaxed);
        assert!(health.is_down());
        health.answered();
        assert!(!health.is_down());
        health.gave_up();
        assert!(health.is_down());
    }
}
