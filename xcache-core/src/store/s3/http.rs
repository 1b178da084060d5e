//! HTTP clients: TLS, proxies, and one pool of connections for each set of timeouts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::SharedHttpClient;
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

use super::super::{Error, ErrorKind, Result};

/// The authorities to trust: those of the system, and those of `bundle`.
pub(super) fn trust_store(bundle: Option<&Path>) -> Result<TrustStore> {
    let Some(path) = bundle else { return Ok(TrustStore::default()) };
    let invalid = |detail: String| {
        Error::new(ErrorKind::Configuration, "read", path.display())
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
pub(super) fn http_client(trust: TrustStore, proxies: ProxyConfig) -> SharedHttpClient {
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

/// One connector, for a caller that watches the time itself. Through no proxy to this machine.
pub(super) fn connector(trust: TrustStore, proxies: ProxyConfig) -> SharedHttpConnector {
    let make = |trust: TrustStore, proxies| {
        let context = TlsContext::builder().with_trust_store(trust).build();
        let builder = Connector::builder()
            .proxy_config(proxies)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context.expect("a context has no way to fail before it is used"));
        SharedHttpConnector::new(builder.build())
    };
    let local = make(TrustStore::empty(), ProxyConfig::disabled());
    SharedHttpConnector::new(ByPlace { local, remote: make(trust, proxies) })
}

/// Chooses by the address of each request.
#[derive(Debug)]
struct ByPlace {
    local: SharedHttpConnector,
    remote: SharedHttpConnector,
}

impl HttpConnector for ByPlace {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if is_local(request.uri()) { self.local.call(request) } else { self.remote.call(request) }
    }
}

/// For the sources of credentials: as `remote`, but never through a proxy to those on this machine and on its link,
/// which no proxy can reach.
pub(super) fn credentials_client(remote: SharedHttpClient) -> SharedHttpClient {
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use aws_config::retry::RetryConfig;
    use aws_config::timeout::TimeoutConfig;
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_s3::Client;
    use aws_sdk_s3::config::Credentials;

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
                .behavior_version(BehaviorVersion::v2026_01_12())
                .region(Region::from_static("us-east-1"))
                .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
                .endpoint_url(&endpoint)
                .http_client(http.clone())
                .retry_config(RetryConfig::disabled())
                .timeout_config(timeouts)
                .build();
            Client::from_conf(config).head_object().bucket("bucket").key("key").send().await.unwrap_err()
        };
        let hasty = head(TimeoutConfig::builder().read_timeout(Duration::from_millis(50)).build()).await;
        assert!(hasty.raw_response().is_none(), "{hasty:?}");
        let patient = head(TimeoutConfig::builder().build()).await;
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
}
