//! What requests to a bucket have in common: clients, where they go, who pays; how answers are taken apart.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime as SdkDateTime};
use aws_sdk_s3::types::RequestPayer;
use chrono::{DateTime, Utc};

use super::super::{ETag, Error, ErrorKind, ObjectName, Payload, PutMode, Result, bounds};
use super::body;
use super::failure::RequestContext;
use super::health::Health;

/// A bucket, as every request to it needs it. Clones are cheap and share the connections.
#[derive(Clone)]
pub(super) struct Bucket {
    /// For requests without a body, which are timed until the answer begins, or is there if it is small.
    pub(super) client: Client,
    /// The same for requests with bodies or slow answers, which the caller watches.
    pub(super) patient: Client,
    /// Where requests go.
    pub(super) place: Location,
    /// Who pays for requests, where it is not the owner.
    pub(super) payer: Option<RequestPayer>,
    /// Whether the store answers.
    pub(super) health: Health,
}

/// Where requests go and what their failures are to name.
#[derive(Clone)]
pub(super) struct Location {
    pub(super) bucket: String,
    /// Empty, or ends in a slash.
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
    /// Requests are not signed because there are no credentials.
    pub(super) lacks_credentials: bool,
    /// The variables of credentials that are blank, as an aside in a message; often empty.
    pub(super) blank: String,
}

impl Location {
    pub(super) fn request<'a>(
        &'a self,
        action: &'static str,
        object: &'a str,
        precondition: ErrorKind,
    ) -> RequestContext<'a> {
        RequestContext {
            action,
            object,
            bucket: &self.bucket,
            endpoint: self.endpoint.as_deref(),
            region: &self.region,
            lacks_credentials: self.lacks_credentials,
            blank: &self.blank,
            precondition,
        }
    }

    pub(super) fn full(&self, action: &'static str, name: &ObjectName) -> Result<String> {
        let bytes = self.prefix.len() + name.as_str().len();
        if bytes > ObjectName::MAX_BYTES {
            let limit = ObjectName::MAX_BYTES;
            return Err(Error::new(ErrorKind::Invalid, action, name)
                .detail(format!("the name has {bytes} bytes with the prefix; S3 allows {limit}"))
                .hint("use a shorter key or prefix"));
        }
        Ok(format!("{}{name}", self.prefix))
    }
}

impl Bucket {
    /// Sends a request with a body, again if it stalls.
    pub(super) async fn send_watched<T, E, F>(
        &self,
        about: &RequestContext<'_>,
        body: Payload,
        send: impl Fn(ByteStream) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let mut attempt = 1;
        loop {
            let bound = if self.health.is_down() { bounds::DOWN } else { bounds::SEND_STALL };
            let progress = body::SendProgress::new();
            let request = send(body::watched(body.clone(), progress.clone()));
            let stalled = match progress.guard(bound, request).await {
                Ok(answer) => return answer.map_err(|failure| about.failed(failure)),
                Err(stalled) => stalled,
            };
            self.health.gave_up();
            if attempt == bounds::SEND_TRIES {
                return Err(Error::new(ErrorKind::Unavailable, about.action, about.object)
                    .detail(format!("{stalled}, tried {attempt} times"))
                    .hint("the connection or the store has stopped moving data; try again later"));
            }
            attempt += 1;
        }
    }
}

pub(super) fn quoted(etag: &ETag) -> String {
    format!("\"{etag}\"")
}

pub(super) fn unquoted(etag: &str) -> ETag {
    ETag(etag.trim_matches('"').to_owned())
}

/// A field that every answer must have.
pub(super) fn required<T>(value: Option<T>, field: &str, action: &'static str, object: impl fmt::Display) -> Result<T> {
    value.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, action, object).detail(format!("the store's answer has no {field}"))
    })
}

pub(super) fn time(value: &SdkDateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(value.secs(), value.subsec_nanos())
}

pub(super) fn conditions(mode: &PutMode) -> (Option<String>, Option<String>) {
    match mode {
        PutMode::Create => (Some("*".to_owned()), None),
        PutMode::Overwrite => (None, None),
        PutMode::Replace(etag) => (None, Some(quoted(etag))),
    }
}

pub(super) fn precondition(mode: &PutMode) -> ErrorKind {
    match mode {
        PutMode::Create => ErrorKind::AlreadyExists,
        PutMode::Overwrite | PutMode::Replace(_) => ErrorKind::Changed,
    }
}

/// An object that is not there any more is not the one to replace: 404 on AWS, 412 elsewhere.
pub(super) fn as_replace(error: Error, mode: &PutMode, name: &ObjectName) -> Error {
    match mode {
        PutMode::Replace(_) if error.kind() == ErrorKind::NotFound => {
            Error::new(ErrorKind::Changed, "replace", name).source(error)
        }
        _ => error,
    }
}

pub(super) fn status<E>(failure: &SdkError<E, HttpResponse>) -> Option<u16> {
    failure.raw_response().map(|raw| raw.status().as_u16())
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.place.bucket, self.place.prefix.trim_end_matches('/'))?;
        match &self.place.endpoint {
            Some(endpoint) => write!(f, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

/// Without the client, whose `Debug` is long and none of our business.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({self})")
    }
}
