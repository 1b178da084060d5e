//! Credentials of a role for the S3 client: taken when the store is opened, renewed before they end.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Providing;
use aws_sdk_s3::config::{Credentials, ProvideCredentials};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use tokio::sync::Mutex;

use super::super::super::{Error, ErrorKind, Result};
use super::role::{RoleArn, RoleOptions};
use super::sts::{self, Session};
use super::token::{self, TokenSource};

/// Renewed this long before the end, so that no request that is under way outlives its credentials.
const MARGIN: Duration = Duration::from_secs(300);

/// Gives credentials of one role.
pub struct RoleProvider {
    arn: RoleArn,
    source: TokenSource,
    session: String,
    sts: aws_sdk_sts::Client,
    http: SharedHttpConnector,
    held: Mutex<Option<Held>>,
}

/// The credentials at hand.
struct Held {
    session: Session,
    taken: Instant,
    taken_at: SystemTime,
}

impl fmt::Debug for RoleProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleProvider").field("arn", &self.arn).finish_non_exhaustive()
    }
}

impl RoleProvider {
    /// A provider for `options`, if these are complete. Sends nothing yet.
    pub fn new(options: &RoleOptions, sts: aws_sdk_sts::Client, http: SharedHttpConnector) -> Result<Self> {
        let RoleOptions { arn, token, session, token_hint } = options;
        match (arn, token) {
            (Some(arn), Some(source)) => Ok(Self {
                arn: arn.clone(),
                source: source.clone(),
                session: session.clone(),
                sts,
                http,
                held: Mutex::new(None),
            }),
            (Some(arn), None) => Err(Error::new(ErrorKind::Unauthenticated, "take the role", arn)
                .detail("this job has no identity token")
                .hint(*token_hint)),
            (None, source) => {
                let source = source.as_ref().map(ToString::to_string).unwrap_or_default();
                Err(Error::new(ErrorKind::Unauthenticated, "use", "the identity token")
                    .detail(format!("{source} is set, but there is no role to take with it"))
                    .hint("name the role with `--s3-role` (input `s3-role`, XCACHE_S3_ROLE)"))
            }
        }
    }

    /// Takes the role now, so that a refusal is reported once and before anything else happens.
    pub async fn take(&self) -> Result<()> {
        self.credentials().await.map(|_| ())
    }

    /// The credentials at hand, or new ones if these end soon. Others wait meanwhile: one exchange serves all.
    async fn credentials(&self) -> Result<Credentials> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.is_fresh()) {
            return Ok(held.credentials());
        }
        let renewed = async {
            let token = token::get(&self.source, &self.http).await?;
            sts::exchange(&self.sts, &self.arn, &self.session, &token).await
        };
        match renewed.await {
            Ok(session) => {
                let new = Held { session, taken: Instant::now(), taken_at: SystemTime::now() };
                let credentials = new.credentials();
                *held = Some(new);
                Ok(credentials)
            }
            // A failed renewal is no trouble while the old ones last.
            Err(error) => match held.as_ref().filter(|held| !held.remaining().is_zero()) {
                Some(held) => {
                    tracing::debug!(%error, "the credentials cannot be renewed yet");
                    Ok(held.credentials())
                }
                None => Err(error),
            },
        }
    }
}

impl Held {
    fn remaining(&self) -> Duration {
        self.session.lifetime.saturating_sub(self.taken.elapsed())
    }

    fn margin(&self) -> Duration {
        MARGIN.min(self.session.lifetime / 4)
    }

    fn is_fresh(&self) -> bool {
        self.remaining() > self.margin()
    }

    /// With an end that makes the client ask again in time. By the clock of this machine, which the client goes by.
    fn credentials(&self) -> Credentials {
        let Session { access_key_id, secret_access_key, session_token, lifetime } = &self.session;
        let until = lifetime.saturating_sub(self.margin());
        Credentials::new(
            access_key_id,
            secret_access_key.expose(),
            Some(session_token.expose().to_owned()),
            Some(self.taken_at + until),
            "xcache role",
        )
    }
}

impl ProvideCredentials for RoleProvider {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(async { self.credentials().await.map_err(CredentialsError::provider_error) })
    }
}
