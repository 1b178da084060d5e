//! Makes the S3 client: credentials, region, endpoint, TLS, proxies, timeouts and retries.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::super::open::S3Options;
use super::super::{Error, ErrorKind, Result};
use super::answer::{Complete, SendAgain};
use super::health::Health;

/// The defaults of the SDK, pinned: changing this is a commit of its own that says what changed.
fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// A TCP and TLS handshake takes at most a few round trips; beyond this the host is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The instance metadata service answers in about a millisecond, or, elsewhere than on EC2, never.
const METADATA_TIMEOUT: Duration = Duration::from_millis(500);

/// Four tries with full jitter take about four seconds when nothing is there, and outlast a short throttling.
const MAX_ATTEMPTS: u32 = 4;
const MAX_BACKOFF: Duration = Duration::from_secs(3);

/// A bucket's region where nobody tells it: right for AWS's oldest region and for nearly every other store.
const DEFAULT_REGION: &str = "us-east-1";

/// What [`connect`] found out.
#[derive(Debug)]
pub(super) struct Connection {
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
}

/// Makes the clients. No request to the store; at most one short one to the metadata service of EC2, and only where
/// no region is given.
pub(super) async fn connect(options: &S3Options) -> Result<Connection> {
    let https = http_client(trust_store(options)?, ProxyConfig::from_env());
    let mut endpoint = options.endpoint.clone().or_else(|| options.configured_endpoint.clone());
    let imds = metadata_client();
    let region = region(options, endpoint.is_some(), &imds).await;

    let mut loader = aws_config::defaults(behavior_version())
        .region(region.clone())
        .http_client(https.clone())
        .timeout_config(
            timeouts()
                .operation_attempt_timeout(options.patience.attempt)
                .operation_timeout(options.patience.operation)
                .build(),
        )
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_max_backoff(MAX_BACKOFF))
        // The SDK measures whole bodies by throughput, and counts time in which nobody asks for data. We watch both
        // directions ourselves: uploads in `body`, downloads where they are read.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint) = &endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader = match &options.keys {
        Some(keys) => loader.credentials_provider(Credentials::new(
            &keys.access_key_id,
            keys.secret_access_key.expose(),
            keys.session_token.as_ref().map(|token| token.expose().to_owned()),
            None,
            "xcache options",
        )),
        None => {
            let provider = ProviderConfig::without_region().with_http_client(credentials_client(https.clone()));
            let mut chain =
                DefaultCredentialsChain::builder().configure(provider).region(region.clone()).imds_client(imds);
            if let Some(profile) = &options.profile {
                chain = chain.profile_name(profile);
            }
            loader.credentials_provider(chain.build().await)
        }
    };
    let shared = loader.load().await;
    if endpoint.is_none() {
        endpoint = shared.endpoint_url().map(str::to_owned);
    }
    let is_aws = endpoint.as_deref().is_none_or(is_aws_endpoint);

    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(options.path_style.unwrap_or(!is_aws))
        // Every chunk is verified by its own hash when it is restored; the SDK need not hash answers as well.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if !is_aws {
        // Several stores refuse the trailing checksums that the SDK sends by default.
        config = config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    }
    let health = Health::default();
    let transport = match endpoint.as_deref() {
        // Reading the system's certificates takes 20 ms and fails where there are none.
        Some(endpoint) if endpoint.starts_with("http://") => http_client(TrustStore::empty(), ProxyConfig::from_env()),
        _ => https,
    };
    let config = config.http_client(health.watch(transport)).interceptor(Complete).retry_classifier(SendAgain);
    let patient = config
        .clone()
        .timeout_config(timeouts().disable_operation_attempt_timeout().disable_operation_timeout().build());
    Ok(Connection {
        client: Client::from_conf(config.build()),
        patient: Client::from_conf(patient.build()),
        endpoint,
        is_aws,
        region: region.to_string(),
        health,
    })
}

fn timeouts() -> aws_config::timeout::TimeoutConfigBuilder {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).disable_read_timeout()
}

/// Told, then environment, then profile; then what the instance says, but only for AWS itself.
async fn region(options: &S3Options, has_endpoint: bool, imds: &imds::Client) -> Region {
    if let Some(region) = options.region.as_ref().or(options.configured_region.as_ref()) {
        return Region::new(region.clone());
    }
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = &options.profile {
        profile = profile.profile_name(name);
    }
    let mut chain = RegionProviderChain::first_try(profile.build());
    if !has_endpoint {
        chain = chain.or_else(imds::region::ImdsRegionProvider::builder().imds_client(imds.clone()).build());
    }
    chain.region().await.unwrap_or_else(|| Region::from_static(DEFAULT_REGION))
}

/// A client for the metadata service that does not wait long for one that is not there. Never through a proxy.
fn metadata_client() -> imds::Client {
    let http = http_client(TrustStore::empty(), ProxyConfig::disabled());
    imds::Client::builder()
        .configure(&ProviderConfig::without_region().with_http_client(http))
        .max_attempts(1)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT * 2)
        .build()
}

fn trust_store(options: &S3Options) -> Result<TrustStore> {
    let Some(path) = &options.ca_bundle else { return Ok(TrustStore::default()) };
    let invalid = |detail: String| {
        Error::new(ErrorKind::Invalid, "read", path.display())
            .detail(detail)
            .hint("AWS_CA_BUNDLE must name a file of PEM certificates")
    };
    let pem = std::fs::read(path).map_err(|error| invalid(error.to_string()))?;
    check_certificates(&pem).map_err(invalid)?;
    Ok(TrustStore::default().with_pem_certificate(pem))
}

/// The client panics on certificates that it cannot use; here it is said what is wrong with them.
fn check_certificates(pem: &[u8]) -> std::result::Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("is no valid PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("holds a certificate that cannot be used: {error}"))?;
    }
    if roots.is_empty() { Err("holds no PEM certificate".to_owned()) } else { Ok(()) }
}

/// What callers may ask of a connection: the time to connect, and the time until the first byte.
type Times = (Option<Duration>, Option<Duration>);

/// An HTTP client whose connectors are made when they are first used, one pool of connections for all who want the same
/// times. (Few: those of the store, and those of each source of credentials.)
fn http_client(trust: TrustStore, proxies: ProxyConfig) -> SharedHttpClient {
    let made: Mutex<HashMap<Times, SharedHttpConnector>> = Mutex::default();
    http_client_fn(move |settings: &HttpConnectorSettings, components| {
        let times = (settings.connect_timeout(), settings.read_timeout());
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        let connector = made.entry(times).or_insert_with(|| {
            let context = TlsContext::builder().with_trust_store(trust.clone()).build();
            let mut builder = Connector::builder()
                .connector_settings(settings.clone())
                .proxy_config(proxies.clone())
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(context.expect("a context has no way to fail before it is used"));
            builder.set_sleep_impl(components.sleep_impl());
            SharedHttpConnector::new(builder.build())
        });
        connector.clone()
    })
}

/// For the sources of credentials: as `remote`, but never through a proxy to those on this machine and on its link,
/// which no proxy can reach.
fn credentials_client(remote: SharedHttpClient) -> SharedHttpClient {
    let local = http_client(TrustStore::empty(), ProxyConfig::disabled());
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(CredentialsConnector {
            local: local.clone(),
            remote: remote.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    })
}

/// Chooses by the address of each request.
#[derive(Debug)]
struct CredentialsConnector {
    local: SharedHttpClient,
    remote: SharedHttpClient,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for CredentialsConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = if is_local(request.uri()) { &self.local } else { &self.remote };
        client.http_connector(&self.settings, &self.components).call(request)
    }
}

/// Whether a URL leads to this machine or its link by plain HTTP: the agents of ECS, EKS and CodeBuild.
fn is_local(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        // AWS has its agents under unique local addresses of its own.
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0x0ec2]
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether an endpoint is one of AWS's own (VPC endpoints, dual stack, FIPS, China).
fn is_aws_endpoint(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|suffix| host.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// Of an authority whose key nobody has.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUSaWLAnK/NHo7viKv2HwlhuxzQmMwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjIyMjA1MjNaGA8yMTI2MTAyOTIyMDUy
M1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLab
iVYA5GxwH0zPg3Jxscb3PumUYKhve03zb8q+1y30ezKeU+rkQgRhFLzB7+cOtwJ8
Tcu3GqTHdgaxj0km03WjUzBRMB0GA1UdDgQWBBTRsUEjByEuwdGnVA2brtuGR607
/jAfBgNVHSMEGDAWgBTRsUEjByEuwdGnVA2brtuGR607/jAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIEgAlwiq9tDZ1/MokvY/Df4oYbMT/QOAW9xL
Bu+E6e3EAiEA85myg6xqEymYdk+wBREV0g9Y831ZBnnWiOdD7wuHJUQ=
-----END CERTIFICATE-----
";

    #[test]
    fn what_is_wrong_with_a_bundle_of_certificates_is_said() {
        let check =
            |pem: &str, expected: std::result::Result<(), &str>| match (check_certificates(pem.as_bytes()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
                (found, _) => panic!("{found:?} of {pem}"),
            };
        check(CERTIFICATE, Ok(()));
        check(&format!("# comment\n{CERTIFICATE}{CERTIFICATE}"), Ok(()));
        check("", Err("holds no PEM"));
        check("text", Err("holds no PEM"));
        check(&CERTIFICATE.replace("MII", "!!!"), Err("no valid PEM"));
        check(&CERTIFICATE[..CERTIFICATE.len() / 2], Err("no valid PEM"));
        check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Err("cannot be used"));
        check(
            &format!("{CERTIFICATE}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            Err("cannot be used"),
        );
    }

    /// A server that answers each connection after `delay`, that nothing is there.
    fn slow_server(delay: Duration) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let _ = stream.read(&mut [0; 4096]);
                    std::thread::sleep(delay);
                    let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
                });
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn times_that_one_caller_wants_are_not_those_of_another() {
        let endpoint = slow_server(Duration::from_millis(300));
        let http = http_client(TrustStore::empty(), ProxyConfig::disabled());
        let head = async |timeouts: TimeoutConfig| {
            let config = aws_sdk_s3::config::Builder::new()
                .behavior_version(behavior_version())
                .region(Region::from_static(DEFAULT_REGION))
                .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
                .endpoint_url(&endpoint)
                .http_client(http.clone())
                .retry_config(RetryConfig::disabled())
                .timeout_config(timeouts)
                .build();
            Client::from_conf(config).head_object().bucket("bucket").key("key").send().await.unwrap_err()
        };
        let hasty = head(timeouts().read_timeout(Duration::from_millis(50)).build()).await;
        assert!(hasty.raw_response().is_none(), "{hasty:?}");
        let patient = head(timeouts().build()).await;
        assert_eq!(patient.raw_response().map(|raw| raw.status().as_u16()), Some(404), "{patient:?}");
    }

    #[test]
    fn sources_of_credentials_on_this_machine_and_its_link_are_told_from_others() {
        for (url, expected) in [
            ("http://169.254.170.2/v2/credentials/x", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://[fe80::1]:80/", true),
            ("http://127.0.0.1:8080/creds?a=http://b", true),
            ("http://[::1]:8080/creds", true),
            ("http://LOCALHOST:51679/get-credentials", true),
            ("https://127.0.0.1/", false),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
            ("http://example/?169.254.170.2", false),
            ("https://sts.us-east-1.amazonaws.com/", false),
        ] {
            assert_eq!(is_local(url), expected, "{url}");
        }
    }

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
