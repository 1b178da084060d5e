//! Credentials of a role that is taken with the identity of the CI job, for the clients of the store.

use std::time::Duration;

use aws_config::Region;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::TrustStore;

use super::super::{Error, Result};
use super::credentials::Signing;
use super::defaults::{behavior_version, retries, timeouts};
use super::http::{connector, http_client};
use super::identity::provider::RoleProvider;
use super::identity::role::RoleOptions;
use super::options::{Endpoint, S3Options};

/// STS answers in a fraction of a second; a job does not wait long for one that does not.
const STS_ATTEMPT: Duration = Duration::from_secs(5);
const STS_OPERATION: Duration = Duration::from_secs(15);

/// Takes a role now. A refusal is reported here, once, and not by the first request to the store.
pub(super) async fn take(
    role: &RoleOptions,
    options: &S3Options,
    region: &Region,
    https: &SharedHttpClient,
    (trust, proxies): (TrustStore, ProxyConfig),
) -> Result<Signing> {
    let times = timeouts().operation_attempt_timeout(STS_ATTEMPT).operation_timeout(STS_OPERATION).build();
    let mut config = aws_sdk_sts::Config::builder()
        .behavior_version(behavior_version())
        .region(region.clone())
        .http_client(https.clone())
        .timeout_config(times)
        .retry_config(retries());
    if let Some(given) = &options.sts_endpoint {
        let endpoint: Endpoint = given.expose().parse().map_err(|error| {
            Error::configuration("use", format_args!("the STS endpoint `{given}`"))
                .detail(format!("{error}"))
                .hint("check AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL")
        })?;
        if endpoint.as_str().starts_with("http://") {
            config = config.http_client(http_client(TrustStore::empty(), proxies.clone()));
        }
        config = config.endpoint_url(endpoint.as_str());
    }
    let sts = aws_sdk_sts::Client::from_conf(config.build());
    let provider = RoleProvider::new(role, sts, connector(trust, proxies))?;
    provider.take().await?;
    Ok(Signing::With(SharedCredentialsProvider::new(provider)))
}
