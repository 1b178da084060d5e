//! The exchange: an identity token for credentials of the role, at STS.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sts::config::ConfigBag;
use aws_sdk_sts::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sts::config::{Intercept, RuntimeComponents};
use aws_sdk_sts::error::{BoxError, ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_sdk_sts::primitives::{DateTime, DateTimeFormat};
use chrono::Utc;

use super::super::super::{Error, ErrorKind, Result};
use super::role::RoleArn;
use crate::redact::Secret;

/// Every role allows sessions of an hour; longer ones only where its owner has said so.
const SESSION_SECONDS: i32 = 3_600;

/// What STS gives.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    pub(super) session_token: Secret,
    /// How long it was valid when STS gave it, by the clock of STS.
    pub(super) lifetime: Duration,
}

/// Exchanges a token.
pub(super) async fn exchange(
    client: &aws_sdk_sts::Client,
    arn: &RoleArn,
    session: &str,
    token: &Secret,
) -> Result<Session> {
    let clock = ServerClock::default();
    let answer = client
        .assume_role_with_web_identity()
        .role_arn(arn.as_str())
        .role_session_name(session)
        .web_identity_token(token.expose())
        .duration_seconds(SESSION_SECONDS)
        .customize()
        .interceptor(clock.clone())
        .send()
        .await
        .map_err(|failure| refused(arn, failure))?;
    let incomplete =
        || Error::new(ErrorKind::Corrupt, "take the role", arn).detail("the answer of STS holds no credentials");
    let credentials = answer.credentials().ok_or_else(incomplete)?;
    if credentials.access_key_id().is_empty() || credentials.secret_access_key().is_empty() {
        return Err(incomplete());
    }
    // The clock of this machine may be wrong by minutes, and what STS calls the end is by its own clock.
    let given_at = clock.seconds().unwrap_or_else(|| Utc::now().timestamp());
    let seconds = credentials.expiration().secs().saturating_sub(given_at);
    Ok(Session {
        access_key_id: credentials.access_key_id().to_owned(),
        secret_access_key: Secret::new(credentials.secret_access_key()),
        session_token: Secret::new(credentials.session_token()),
        lifetime: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    })
}

fn refused<R: std::fmt::Debug + Send + Sync + 'static>(
    arn: &RoleArn,
    failure: SdkError<AssumeRoleWithWebIdentityError, R>,
) -> Error {
    let error = |kind, detail: String| Error::new(kind, "take the role", arn).detail(detail);
    let SdkError::ServiceError(answer) = &failure else {
        return match failure {
            SdkError::ResponseError(_) => error(ErrorKind::Corrupt, "the answer of STS makes no sense".to_owned())
                .hint("check AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL, or a proxy in between"),
            _ => error(ErrorKind::Unavailable, "STS cannot be reached".to_owned())
                .hint("check the network, and AWS_ENDPOINT_URL_STS where it is set"),
        };
    };
    let code = answer.err().code().unwrap_or("no code").to_owned();
    let message = answer.err().message().unwrap_or_default().trim_end_matches('.').to_owned();
    let said = if message.is_empty() { code.clone() } else { format!("{message} ({code})") };
    match code.as_str() {
        "ExpiredTokenException" | "ExpiredToken" => error(ErrorKind::Unauthenticated, said)
            .hint("the identity token was too old; a token that stands in a variable cannot be renewed in a long job"),
        "AccessDenied" => error(ErrorKind::Denied, said).hint(
            "the trust policy of the role must name the token's issuer, audience and subject; docs/permissions.md \
             shows those of each CI system",
        ),
        "InvalidIdentityToken" => error(ErrorKind::Unauthenticated, said)
            .hint("the account needs an identity provider for the token's issuer, with its audience"),
        "IDPRejectedClaim" => {
            error(ErrorKind::Unauthenticated, said).hint("the token was revoked, or is for another audience")
        }
        "IDPCommunicationError" | "Throttling" | "ThrottlingException" | "ServiceUnavailable" | "InternalFailure" => {
            error(ErrorKind::Unavailable, said)
        }
        _ => error(ErrorKind::Unauthenticated, said),
    }
}

/// Notes the time at the server, from the `Date` of its answer.
#[derive(Clone, Debug, Default)]
struct ServerClock(Arc<Mutex<Option<i64>>>);

impl ServerClock {
    fn seconds(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "ServerClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date.map(|date| date.secs());
        Ok(())
    }
}
