//! The one place where failures of the SDK become [`Error`]s: by S3 error code and HTTP status, never by text.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::super::{Error, ErrorKind};
use super::answer::Absurd;

/// What a request was about, for the message of its failure.
#[derive(Clone, Debug)]
pub(super) struct RequestContext<'a> {
    /// "download", "list", …
    pub(super) action: &'static str,
    /// The object, or the store itself for a listing.
    pub(super) object: &'a str,
    /// The bucket that it went to.
    pub(super) bucket: &'a str,
    /// Where it was sent, as far as it was told to us.
    pub(super) endpoint: Option<&'a str>,
    /// The region that it was signed for.
    pub(super) region: &'a str,
    /// Whether it was not signed because there are no credentials.
    pub(super) lacks_credentials: bool,
    /// [`aside`].
    pub(super) blank: &'a str,
    /// What a failed precondition means here.
    pub(super) precondition: ErrorKind,
}

impl RequestContext<'_> {
    /// Translates a failure.
    pub(super) fn failed<E>(&self, failure: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match &failure {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code();
                let message = answer.err().message();
                self.refused(answer.raw(), code, message).answered()
            }
            SdkError::ResponseError(answer) => {
                let status = answer.raw().status().as_u16();
                match find::<Absurd>(&failure) {
                    Some(absurd) => self.absurd(absurd, status).answered(),
                    None => self
                        .error(ErrorKind::Unavailable, format!("the answer broke off (HTTP {status})"))
                        .hint(self.check_endpoint())
                        .source(failure),
                }
            }
            _ => self.not_sent(failure),
        }
    }

    /// The answer says that all is well, and is none.
    fn absurd(&self, absurd: &Absurd, status: u16) -> Error {
        let error = self.error(ErrorKind::Corrupt, format!("{absurd} (HTTP {status})"));
        match absurd {
            Absurd::WebPage => error.hint(
                "something between this machine and the store answers in its place, such as a proxy or the login page of a \
                 network; check the endpoint and HTTPS_PROXY",
            ),
            _ => error.hint(self.check_endpoint()),
        }
    }

    fn error(&self, kind: ErrorKind, detail: impl Into<String>) -> Error {
        Error::new(kind, self.action, self.object).detail(detail)
    }

    /// The server answered with an error.
    fn refused(&self, raw: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Error {
        let status = raw.status().as_u16();
        let code = code.unwrap_or("");
        let label = if code.is_empty() { format!("HTTP {status}") } else { format!("{code}, HTTP {status}") };
        let bucket = self.bucket;
        let says = match message {
            Some(message) if !message.is_empty() => format!("{} ({label})", message.trim_end_matches('.')),
            _ => label.clone(),
        };
        if let Some(error) = self.unauthenticated(code, &says).or_else(|| self.denied(code, status, raw, &says)) {
            return error;
        }
        match (code, status) {
            ("NoSuchBucket", _) => self
                .error(ErrorKind::Invalid, format!("there is no bucket `{bucket}` ({label})"))
                .hint("check the bucket's name, or create it"),
            ("InvalidBucketName", _) => self
                .error(ErrorKind::Invalid, format!("`{bucket}` is no bucket name ({label})"))
                .hint("bucket names have 3 to 63 lower-case letters, digits, dots and hyphens"),
            (
                "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
                _,
            )
            | (_, 301 | 307 | 308) => self.wrong_region(raw, &label),
            // The answer to a HEAD has no body that would say so.
            ("", 400 | 403) if bucket_region(raw).is_some_and(|right| right != self.region) => {
                self.wrong_region(raw, &label)
            }
            ("NotImplemented", _) | (_, 405 | 501) => self.error(ErrorKind::Unsupported, says),
            ("PreconditionFailed", _) | (_, 412) => self.precondition_failed(says),
            ("NoSuchKey" | "NoSuchUpload" | "NotFound", _) | (_, 404) => {
                self.error(ErrorKind::NotFound, format!("not found ({label})"))
            }
            ("ConditionalRequestConflict" | "OperationAborted", _) | (_, 409) => self.error(ErrorKind::Conflict, says),
            (
                "SlowDown"
                | "RequestTimeout"
                | "InternalError"
                | "ServiceUnavailable"
                | "Throttling"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "BandwidthLimitExceeded",
                _,
            )
            | (_, 408 | 425 | 429 | 500..=599) => self.failing(says),
            ("KeyTooLongError" | "KeyTooLong" | "XMinioInvalidObjectName" | "InvalidObjectName", _) | (_, 414) => self
                .error(
                    ErrorKind::Invalid,
                    format!("the store does not accept this name of {} bytes: {says}", self.object.len()),
                )
                .hint("use a shorter key or prefix"),
            (_, 200..=299) => self
                .error(ErrorKind::Corrupt, format!("the answer makes no sense ({label})"))
                .hint(self.check_endpoint()),
            (_, 400) => self.invalid(says),
            (_, 401..=499) => self.error(ErrorKind::Invalid, says),
            _ => self.error(ErrorKind::Other, says),
        }
    }

    /// Another object is there than the request was for, or one at all.
    fn precondition_failed(&self, says: String) -> Error {
        let error = Error::new(self.precondition, self.action, self.object);
        match self.precondition {
            ErrorKind::AlreadyExists | ErrorKind::Changed => error,
            _ => error.detail(says),
        }
    }

    /// The store is overloaded, or one of its errors. Some stores answer so to a name that is too long for them.
    fn failing(&self, says: String) -> Error {
        let error = self.error(ErrorKind::Unavailable, says);
        match self.object.len() {
            bytes if bytes > LONG_NAME_BYTES => error.hint(format!(
                "the store is overloaded or failing; if it works for shorter keys, this name of {bytes} bytes is too \
                 long for it: use a shorter key"
            )),
            _ => error.hint("the store is overloaded or failing; try again later"),
        }
    }

    /// The store does not say which part of the request it does not like.
    fn invalid(&self, says: String) -> Error {
        let error = self.error(ErrorKind::Invalid, says);
        match self.object.len() {
            bytes if bytes > LONG_NAME_BYTES => error.hint(format!(
                "if the store works for shorter keys, this name of {bytes} bytes is too long for it: use a shorter key"
            )),
            _ => error,
        }
    }

    /// The store does not accept who asks. `says` is the store's own text.
    fn unauthenticated(&self, code: &str, says: &str) -> Option<Error> {
        let (what, hint) = match code {
            "InvalidAccessKeyId" | "UnrecognizedClientException" => (
                "the store does not know the access key",
                "check the access key id, and that it belongs to this endpoint",
            ),
            "SignatureDoesNotMatch" => (
                "the secret access key does not fit the access key",
                "check the secret access key for missing or added characters",
            ),
            "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException" => (
                "the credentials have expired",
                "get fresh credentials; in a long job, assume the role again right before this step",
            ),
            "InvalidToken" => (
                "the session token is not valid",
                "access key, secret and session token must come from the same source",
            ),
            "RequestTimeTooSkewed" | "RequestExpired" => {
                ("this machine's clock differs too much from the store's", "set the clock, for example by NTP")
            }
            _ => return None,
        };
        Some(self.error(ErrorKind::Unauthenticated, format!("{what}: {says}")).hint(hint))
    }

    /// The store knows who asks, and refuses: for which reason is in its code, and often only in its text.
    fn denied(&self, code: &str, status: u16, raw: &HttpResponse, says: &str) -> Option<Error> {
        let bucket = self.bucket;
        let is_kms = code.starts_with("KMS.") || (code == "AccessDenied" && says.contains("kms:"));
        let (kind, what, hint) = match (code, status) {
            ("InvalidObjectState", _) => (
                ErrorKind::Denied,
                "the object lies in an archive tier and cannot be read".to_owned(),
                "restore the object from its archive tier, or remove the lifecycle rule that moves caches there",
            ),
            _ if is_kms => (
                ErrorKind::Denied,
                "the key in KMS that encrypts the object may not be used".to_owned(),
                "the role needs kms:Decrypt to read and kms:GenerateDataKey to write with the key of the bucket; \
                 the key must be enabled",
            ),
            ("AllAccessDisabled", _) => (
                ErrorKind::Denied,
                format!("all access to bucket `{bucket}` is disabled"),
                "ask the owner of the bucket, or the provider",
            ),
            ("AccountProblem" | "NotSignedUp" | "AccountSuspended", _) => (
                ErrorKind::Denied,
                "the store refuses the account".to_owned(),
                "check the account's status and payments with the provider",
            ),
            (
                "QuotaExceeded"
                | "QuotaExceededException"
                | "EntityTooLarge"
                | "InsufficientStorage"
                | "XMinioStorageFull"
                | "ServiceQuotaExceededException",
                _,
            )
            | (_, 507) => (
                ErrorKind::Denied,
                format!("bucket `{bucket}` or its account is full"),
                "free some space with `xcache-gc prune`, or raise the quota",
            ),
            ("", 403) if bucket_region(raw).is_some_and(|right| right != self.region) => return None,
            ("AccessDenied" | "AccessForbidden" | "Forbidden", _) | (_, 400 | 401 | 403) if self.lacks_credentials => (
                ErrorKind::Unauthenticated,
                format!("no credentials found{}, and bucket `{bucket}` is not public", self.blank),
                NO_CREDENTIALS,
            ),
            ("AccessDenied" | "AccessForbidden" | "Forbidden", _) | (_, 401 | 403) => (
                ErrorKind::Denied,
                format!("access denied to bucket `{bucket}`"),
                "check the permissions of the role or key for this bucket and prefix; the README lists those needed",
            ),
            _ => return None,
        };
        Some(self.error(kind, format!("{what}: {says}")).hint(hint))
    }

    fn wrong_region(&self, raw: &HttpResponse, label: &str) -> Error {
        let region = self.region;
        match bucket_region(raw) {
            Some(right) => self
                .error(ErrorKind::Invalid, format!("the bucket is in region `{right}`, not in `{region}` ({label})"))
                .hint(format!("use region `{right}`")),
            None => self
                .error(ErrorKind::Invalid, format!("the bucket is not in region `{region}` ({label})"))
                .hint("give the region of the bucket"),
        }
    }

    /// No answer: credentials, connection, or time.
    fn not_sent<E>(&self, failure: SdkError<E, HttpResponse>) -> Error
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let place = self.endpoint.unwrap_or("AWS");
        let is_timeout = match &failure {
            SdkError::TimeoutError(_) => true,
            SdkError::DispatchFailure(dispatch) => dispatch.is_timeout(),
            _ => false,
        };
        let (mut credentials, mut refused, mut innermost) = (None, false, String::new());
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&failure);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<CredentialsError>() {
                // The first one is the chain's own verdict; those below are about single providers.
                credentials.get_or_insert(matches!(found, CredentialsError::CredentialsNotLoaded(_)));
            }
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
            }
            innermost = error.to_string();
            cause = error.source();
        }
        match credentials {
            Some(true) => self
                .error(ErrorKind::Unauthenticated, format!("no credentials found{}", self.blank))
                .hint(NO_CREDENTIALS),
            Some(false) => self
                .error(ErrorKind::Unauthenticated, format!("cannot get credentials{}: {innermost}", self.blank))
                .hint(format!("check the profile or role that they come from, or {NO_CREDENTIALS}")),
            None if refused => self
                .error(ErrorKind::Unavailable, format!("nothing listens at {place} (connection refused)"))
                .hint(self.check_endpoint()),
            None if is_timeout => self
                .error(ErrorKind::Unavailable, format!("no answer from {place} in time"))
                .hint(self.check_endpoint()),
            None if matches!(failure, SdkError::ConstructionFailure(_)) => {
                self.error(ErrorKind::Invalid, format!("cannot make the request: {innermost}"))
            }
            None => self
                .error(ErrorKind::Unavailable, format!("cannot reach {place}: {innermost}"))
                .hint(self.check_endpoint()),
        }
    }

    fn check_endpoint(&self) -> String {
        match self.endpoint {
            Some(endpoint) => format!(
                "check scheme, host name and port of the endpoint {endpoint}, and the proxy settings; \
                 for a private certificate authority set AWS_CA_BUNDLE"
            ),
            None => "check the network and the proxy settings (HTTPS_PROXY, NO_PROXY)".to_owned(),
        }
    }
}

/// The error of this type that is the cause of another.
fn find<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Where the bucket is, as S3 says it with many a refusal.
fn bucket_region(raw: &HttpResponse) -> Option<&str> {
    raw.headers().get("x-amz-bucket-region")
}

/// Longer names than this are refused by some stores that claim the 1,024 bytes of S3, each in its own way: file systems
/// below them take 255 bytes.
const LONG_NAME_BYTES: usize = 255;

/// Names blank variables in brackets, for a message about missing credentials.
pub(super) fn aside(blank: &[&str]) -> String {
    match blank {
        [] => String::new(),
        [one] => format!(" (`{one}` is blank)"),
        several => format!(" (`{}` are blank)", several.join("`, `")),
    }
}

const NO_CREDENTIALS: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or give the job a role \
                              (on GitHub: aws-actions/configure-aws-credentials with OIDC)";

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::SdkBody;
    use aws_smithy_runtime_api::http::StatusCode;

    use super::*;

    fn refused(status: u16, code: &str, bucket_region: Option<&'static str>) -> Error {
        let mut raw = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        if let Some(region) = bucket_region {
            raw.headers_mut().insert("x-amz-bucket-region", region);
        }
        let request = RequestContext {
            action: "look at",
            object: "key",
            bucket: "bucket",
            endpoint: None,
            region: "us-east-1",
            lacks_credentials: false,
            blank: "",
            precondition: ErrorKind::AlreadyExists,
        };
        let code = (!code.is_empty()).then_some(code);
        request.refused(&raw, code, Some(OWN_TEXT))
    }

    /// What a store says for itself.
    const OWN_TEXT: &str = "User: arn:aws:iam::1:user/ci is not authorized to perform: s3:GetObject";

    #[test]
    fn refusals_are_told_apart_with_the_next_step() {
        use ErrorKind::{AlreadyExists, Corrupt, Denied, Invalid, NotFound, Unauthenticated, Unavailable, Unsupported};
        let far = Some("eu-west-1");
        for (status, code, region, kind, says, hint) in [
            (400, "ExpiredToken", None, Unauthenticated, "expired", "assume the role again"),
            (400, "InvalidToken", None, Unauthenticated, "session token", "the same source"),
            (403, "InvalidAccessKeyId", None, Unauthenticated, "does not know the access key", "access key id"),
            (403, "SignatureDoesNotMatch", None, Unauthenticated, "does not fit", "secret access key"),
            (403, "RequestTimeTooSkewed", None, Unauthenticated, "clock", "set the clock"),
            (403, "AccessDenied", None, Denied, "access denied to bucket `bucket`", "permissions"),
            (403, "", None, Denied, "access denied", "permissions"),
            (403, "", Some("us-east-1"), Denied, "access denied", "permissions"),
            (403, "", far, Invalid, "in region `eu-west-1`, not in `us-east-1`", "use region `eu-west-1`"),
            (400, "", far, Invalid, "in region `eu-west-1`", "use region `eu-west-1`"),
            (301, "", far, Invalid, "in region `eu-west-1`", "use region `eu-west-1`"),
            (301, "PermanentRedirect", None, Invalid, "not in region `us-east-1`", "the region of the bucket"),
            (400, "AuthorizationHeaderMalformed", far, Invalid, "in region `eu-west-1`", "use region `eu-west-1`"),
            (400, "", None, Invalid, "HTTP 400", ""),
            (404, "NoSuchBucket", None, Invalid, "no bucket `bucket`", "create it"),
            (404, "NoSuchKey", None, NotFound, "not found", ""),
            (412, "", None, AlreadyExists, "already exists", ""),
            (501, "NotImplemented", None, Unsupported, "NotImplemented", ""),
            (503, "SlowDown", None, Unavailable, "SlowDown", "try again later"),
            (403, "InvalidObjectState", None, Denied, "archive tier", "lifecycle"),
            (400, "KMS.DisabledException", None, Denied, "KMS", "kms:Decrypt"),
            (403, "AllAccessDisabled", None, Denied, "disabled", "owner"),
            (403, "AccountProblem", None, Denied, "account", "payments"),
            (403, "QuotaExceeded", None, Denied, "full", "prune"),
            (507, "", None, Denied, "full", "prune"),
            (401, "Unauthorized", None, Denied, "access denied", "permissions"),
            (429, "", None, Unavailable, "HTTP 429", "try again later"),
            (400, "KeyTooLongError", None, Invalid, "does not accept this name", "shorter key"),
            (414, "", None, Invalid, "does not accept this name", "shorter key"),
            (200, "", None, Corrupt, "makes no sense", ""),
        ] {
            let error = refused(status, code, region);
            assert_eq!(error.kind(), kind, "{status} {code} {region:?}: {error}");
            assert!(error.to_string().contains(says), "{status} {code} {region:?}: {error}");
            let found = error.hint_text().unwrap_or_default();
            assert!(found.contains(hint), "{status} {code} {region:?}: {found}");
            if matches!(kind, Denied | Unauthenticated) {
                assert!(error.to_string().contains(OWN_TEXT), "{status} {code} {region:?}: {error}");
            }
        }
    }
}
