//! Where credentials come from: an option, a profile, the environment, a web identity, or the machine.
//!
//! The same sources in the same order as every AWS tool, with two differences. A variable that is set but blank is treated as
//! unset, since a workflow sets what its expressions leave empty; the SDK's own chain would take a blank file name for a
//! file. And a profile that was asked for is used: it wins over keys in the environment, and is named if it does not exist.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::Credentials as SdkCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

use super::super::{Error, Result};
use super::options::{AwsEnvironment, Credentials, S3Options};
use super::profiles::{profile, profile_files};
use crate::redact::know;

/// What requests are signed with.
#[derive(Debug)]
pub(super) enum Signing {
    /// These credentials, or what their source says is wrong.
    With(SharedCredentialsProvider),
    /// Nothing, as asked for.
    Anonymous,
    /// Nothing, because there is nothing: good enough for a public bucket.
    NothingFound,
}

/// Finds credentials. They are asked for once, here, and again by the SDK when they expire.
pub(super) async fn find(
    options: &S3Options,
    profiles: Option<&ProfileSet>,
    configuration: &ProviderConfig,
    imds: imds::Client,
) -> Result<Signing> {
    if options.is_anonymous {
        return Ok(Signing::Anonymous);
    }
    if let Some(credentials) = &options.credentials {
        return fixed(credentials, "an option");
    }
    let environment = &options.environment;
    let has_profile = |name: &str| profiles.is_some_and(|profiles| profiles.get_profile(name).is_some());
    let missing = |name: &str, origin: &str| {
        Error::configuration("use", format_args!("profile `{name}`"))
            .detail(format!("{origin} names it, and the AWS configuration files have no such profile"))
            .hint("check the name, and AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE if they are set")
    };
    match (&options.profile, &environment.profile, &environment.credentials) {
        (Some(name), ..) if !has_profile(name) => return Err(missing(name, "`--s3-profile`")),
        (Some(_), ..) => {}
        (None, Some(name), _) if has_profile(name) => {}
        (None, _, Some(credentials)) => return of_environment(credentials, environment),
        (None, Some(name), None) if name != "default" => return Err(missing(name, "AWS_PROFILE")),
        (None, _, None) => {}
    }
    let chain = chain(environment, profile(options), configuration, imds);
    match chain.provide_credentials().await {
        // Half of what was to be used says more than what the last of the other sources says.
        Err(_) if !environment.halves.is_empty() => {
            Err(Error::configuration("use", "the credentials of the environment")
                .detail(environment.halves.join("; "))
                .hint("set what is missing, or unset the rest; a job that may not read a secret gets a blank one"))
        }
        Err(CredentialsError::CredentialsNotLoaded(_)) => Ok(Signing::NothingFound),
        Err(_) => Ok(Signing::With(SharedCredentialsProvider::new(chain))),
        Ok(first) => {
            know_all(&first);
            let first = Mutex::new(Some(first));
            Ok(Signing::With(SharedCredentialsProvider::new(Primed { first, chain })))
        }
    }
}

/// Every source but the keys of the environment.
fn chain(
    environment: &AwsEnvironment,
    profile: &str,
    configuration: &ProviderConfig,
    imds: imds::Client,
) -> CredentialsProviderChain {
    let mut files = ProfileFileCredentialsProvider::builder().configure(configuration).profile_name(profile);
    if let Some(own) = profile_files(environment) {
        files = files.profile_files(own);
    }
    let mut chain = CredentialsProviderChain::first_try("Profile", files.build());
    if let Some(identity) = &environment.web_identity {
        let session_name = identity.session_name.clone().unwrap_or_else(|| "xcache".to_owned());
        let identity = StaticConfiguration {
            web_identity_token_file: identity.token_file.clone(),
            role_arn: identity.role_arn.clone(),
            session_name,
        };
        let provider = WebIdentityTokenCredentialsProvider::builder().configure(configuration);
        chain = chain.or_else("WebIdentityToken", provider.static_configuration(identity).build());
    }
    if environment.has_container {
        chain = chain.or_else("EcsContainer", EcsCredentialsProvider::builder().configure(configuration).build());
    }
    let machine = ImdsCredentialsProvider::builder().configure(configuration).imds_client(imds);
    chain.or_else("Ec2InstanceMetadata", machine.build())
}

/// The keys of the environment. Temporary ones are worth nothing without their token, which the store would not say.
fn of_environment(credentials: &Credentials, environment: &AwsEnvironment) -> Result<Signing> {
    let is_temporary = credentials.access_key_id.starts_with("ASIA");
    if is_temporary && credentials.session_token.is_none() && environment.blank.contains(&"AWS_SESSION_TOKEN") {
        return Err(Error::configuration("use", "the credentials of the environment")
            .detail("`AWS_ACCESS_KEY_ID` is one of temporary credentials, and `AWS_SESSION_TOKEN` is blank")
            .hint("set `AWS_SESSION_TOKEN` from the same source"));
    }
    fixed(credentials, "the environment")
}

/// Credentials as they were given. The SDK would panic on those that no header can hold.
fn fixed(credentials: &Credentials, origin: &'static str) -> Result<Signing> {
    let Credentials { access_key_id, secret_access_key, session_token } = credentials;
    let token = session_token.as_ref().map(|token| token.expose().to_owned());
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
    for (what, text) in [("access key", access_key_id.as_str()), ("session token", token.as_deref().unwrap_or(""))] {
        if !is_plain(text) {
            return Err(Error::configuration("use", format_args!("the {what} of {origin}"))
                .detail("it holds a space, a line feed or another character that no such text has")
                .hint("set it again from the source, without anything around it"));
        }
    }
    let credentials = SdkCredentials::new(access_key_id, secret_access_key.expose(), token, None, origin);
    Ok(Signing::With(SharedCredentialsProvider::new(credentials)))
}

/// Notes what must not be shown of credentials that the SDK has found.
fn know_all(credentials: &SdkCredentials) {
    know(credentials.secret_access_key());
    credentials.session_token().into_iter().for_each(know);
}

/// A source that has been asked already: its first answer is not asked for again.
struct Primed {
    first: Mutex<Option<SdkCredentials>>,
    chain: CredentialsProviderChain,
}

impl ProvideCredentials for Primed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        match self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(first) => future::ProvideCredentials::ready(Ok(first)),
            None => future::ProvideCredentials::new(async {
                let next = self.chain.provide_credentials().await?;
                know_all(&next);
                Ok(next)
            }),
        }
    }
}

impl fmt::Debug for Primed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Primed").finish_non_exhaustive()
    }
}
