//! Makes the S3 client: region, endpoint, timeouts and retries.

use std::time::Duration;

use aws_config::imds;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::TrustStore;
use aws_types::service_config::ServiceConfigKey;

use super::super::{Error, ErrorKind, Result};
use super::answer::{Complete, SendAgain};
use super::credentials::{self, Signing};
use super::defaults::{behavior_version, retries, timeouts};
use super::health::Health;
use super::http::{credentials_client, http_client, trust_store};
use super::options::{AwsEnvironment, Endpoint, S3Options};
use super::profiles::{profile, profile_files, profiles};
use super::role;
use crate::redact::GivenAddress;

/// The instance metadata service answers in about a millisecond, or, elsewhere than on EC2, never.
const METADATA_TIMEOUT: Duration = Duration::from_millis(500);

/// Where the metadata service is if nothing else is configured.
const METADATA_ENDPOINT: &str = "http://169.254.169.254";

/// A bucket's region where none is configured: right for AWS's oldest region and for nearly every other store.
const DEFAULT_REGION: &str = "us-east-1";

/// What [`connect`] found out.
#[derive(Debug)]
pub(super) struct S3Clients {
    /// For requests without a body, which are timed until the answer begins, or is there if it is small.
    pub(super) client: Client,
    /// The same for requests with bodies or slow answers, which the caller watches.
    pub(super) patient: Client,
    /// Whether the store answers.
    pub(super) health: Health,
    /// The endpoint, where one was given or configured.
    pub(super) endpoint: Option<String>,
    /// Whether AWS itself answers there.
    pub(super) is_aws: bool,
    /// The region that requests are signed for.
    pub(super) region: String,
    /// Whether requests are not signed because there are no credentials.
    pub(super) lacks_credentials: bool,
}

/// Makes the clients. No request to the store; those that it takes to get credentials, and at most one short one to the
/// metadata service of EC2 where no region is given.
pub(super) async fn connect(options: &S3Options) -> Result<S3Clients> {
    let proxies =
        || if options.environment.bypasses_proxies { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
    let https = http_client(trust_store(options.ca_bundle.as_deref())?, proxies());
    let profiles = profiles(options).await?;
    let imds = metadata_client(&options.environment);
    let has_endpoint = options.endpoint.is_some() || options.configured_endpoint.is_some();
    let region = region(options, has_endpoint, &imds).await;

    let configuration = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_http_client(credentials_client(https.clone()));
    let signing = match &options.role {
        Some(role) => {
            let net = (trust_store(options.ca_bundle.as_deref())?, proxies());
            role::take(role, options, &region, &https, net).await?
        }
        None => credentials::find(options, profiles.as_ref(), &configuration, imds).await?,
    };
    let lacks_credentials = matches!(signing, Signing::NothingFound);
    let mut loader = loader(options).region(region.clone()).http_client(https.clone());
    loader = match signing {
        Signing::With(credentials) => loader.credentials_provider(credentials),
        Signing::Anonymous | Signing::NothingFound => loader.no_credentials(),
    };
    let shared = loader.load().await;
    let endpoint = endpoint(options, &shared)?;
    let is_aws = endpoint.as_deref().is_none_or(is_aws_endpoint);

    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(options.path_style.unwrap_or(!is_aws))
        // Every chunk is verified by its own hash when it is restored; the SDK need not hash answers as well.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    // What the SDK has found by itself counts blank variables as addresses.
    config.set_endpoint_url(endpoint.clone());
    if !is_aws {
        // Several stores refuse the trailing checksums that the SDK sends by default.
        config = config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    }
    let health = Health::default();
    let transport = match endpoint.as_deref() {
        // Reading the system's certificates takes 20 ms and fails where there are none.
        Some(endpoint) if endpoint.starts_with("http://") => http_client(TrustStore::empty(), proxies()),
        _ => https,
    };
    let config = config.http_client(health.watch(transport)).interceptor(Complete).retry_classifier(SendAgain);
    let patient = config
        .clone()
        .timeout_config(timeouts().disable_operation_attempt_timeout().disable_operation_timeout().build());
    Ok(S3Clients {
        client: Client::from_conf(config.build()),
        patient: Client::from_conf(patient.build()),
        endpoint,
        is_aws,
        region: region.to_string(),
        health,
        lacks_credentials,
    })
}

fn loader(options: &S3Options) -> ConfigLoader {
    let times = timeouts()
        .operation_attempt_timeout(options.patience.attempt)
        .operation_timeout(options.patience.operation)
        .build();
    let loader = aws_config::defaults(behavior_version())
        .profile_name(profile(options))
        .timeout_config(times)
        .retry_config(retries())
        // The SDK measures whole bodies by throughput, and counts time in which no caller asks for data. We watch both
        // directions ourselves: uploads in `body`, downloads where they are read.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    match profile_files(&options.environment) {
        Some(files) => loader.profile_files(files),
        None => loader,
    }
}

/// Where requests go: the option, the environment, the profile, in this order; none for AWS.
fn endpoint(options: &S3Options, shared: &SdkConfig) -> Result<Option<String>> {
    if let Some(endpoint) = &options.endpoint {
        return Ok(Some(endpoint.to_string()));
    }
    if options.environment.ignores_configured_endpoints {
        return Ok(None);
    }
    // The variable does not exist: the environment is read elsewhere, and without what is blank.
    let key = ServiceConfigKey::builder().service_id("S3").env("XCACHE_NO_VARIABLE").profile("endpoint_url").build();
    let of_profile = || shared.service_config()?.load_config(key.ok()?);
    let configured =
        options.configured_endpoint.as_ref().map(|endpoint| endpoint.expose().to_owned()).or_else(of_profile);
    let Some(configured) = configured.filter(|endpoint| !endpoint.trim().is_empty()) else { return Ok(None) };
    match configured.trim().parse::<Endpoint>() {
        Ok(endpoint) => Ok(Some(endpoint.to_string())),
        Err(error) => Err(Error::new(ErrorKind::Configuration, "use", GivenAddress::from(configured.as_str()))
            .detail(error.to_string())
            .hint("correct AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile, or set `--s3-endpoint`")),
    }
}

/// The option, then the environment, then the profile; then what the instance says, but only for AWS itself.
async fn region(options: &S3Options, has_endpoint: bool, imds: &imds::Client) -> Region {
    if let Some(region) = options.region.as_ref().or(options.configured_region.as_ref()) {
        return Region::new(region.clone());
    }
    let profile = ProfileFileRegionProvider::builder().profile_name(profile(options));
    let mut chain = RegionProviderChain::first_try(profile.build());
    if !has_endpoint {
        chain = chain.or_else(imds::region::ImdsRegionProvider::builder().imds_client(imds.clone()).build());
    }
    chain.region().await.unwrap_or_else(|| Region::from_static(DEFAULT_REGION))
}

/// A client for the metadata service that does not wait long for one that is not there. Never through a proxy.
fn metadata_client(environment: &AwsEnvironment) -> imds::Client {
    let http = http_client(TrustStore::empty(), ProxyConfig::disabled());
    let mut client = imds::Client::builder();
    if environment.has_blank_metadata_endpoint
        && let Ok(with_endpoint) = imds::Client::builder().endpoint(METADATA_ENDPOINT)
    {
        client = with_endpoint;
    }
    client
        .configure(&ProviderConfig::without_region().with_http_client(http))
        .max_attempts(1)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT * 2)
        .build()
}

/// Whether an endpoint is one of AWS's own (VPC endpoints, dual stack, FIPS, China).
fn is_aws_endpoint(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|suffix| host.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_aws_are_told_from_others() {
        for (endpoint, expected) in [
            ("https://s3.eu-west-1.amazonaws.com", true),
            ("https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com", true),
            ("https://s3.cn-north-1.amazonaws.com.cn/", true),
            ("s3.amazonaws.com:443", true),
            ("http://127.0.0.1:9000", false),
            ("https://s3.amazonaws.com.evil.example", false),
            ("https://evil.example/s3.amazonaws.com", false),
        ] {
            assert_eq!(is_aws_endpoint(endpoint), expected, "{endpoint}");
        }
    }
}
