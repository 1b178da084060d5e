//! What the user asks of a store on S3: where it is beyond its URL, with which credentials, and how objects are written.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::super::bounds;
use super::identity::role::RoleOptions;
use crate::redact::{GivenAddress, Secret};

/// Credentials as a user gives them, by option or in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// For temporary credentials.
    pub session_token: Option<Secret>,
}

/// How objects are encrypted at rest, where it is not left to the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of S3 (`AES256`).
    S3,
    /// With a key of KMS: the named one, or the account's own for S3.
    Kms(Option<String>),
}

/// The address of a store that is not AWS. It holds no secret, so it can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// Why a text is no endpoint. Says nothing of the text, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// A user name or a password.
    #[error("an endpoint holds no user name or password; credentials have options of their own")]
    User,
    /// No scheme, or another one.
    #[error("an endpoint begins with `https://` or `http://`")]
    Scheme,
    /// `?` or `#`.
    #[error("an endpoint has no query")]
    Query,
    /// Nothing after the scheme.
    #[error("an endpoint names a host")]
    Host,
}

impl Endpoint {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> std::result::Result<Self, EndpointError> {
        if text.contains('@') {
            return Err(EndpointError::User);
        }
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match host {
            None => Err(EndpointError::Scheme),
            Some(_) if text.contains(['?', '#']) => Err(EndpointError::Query),
            Some(host) if host.trim_start_matches('/').is_empty() => Err(EndpointError::Host),
            Some(_) => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long an answer is waited for, where the request or the answer has no body that shows progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one try. A store that is there answers in well under a second, a slow one lists in a few.
    pub attempt: Duration,
    /// For all tries and the waits between them.
    pub operation: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempt: bounds::TRY, operation: bounds::OPERATION }
    }
}

/// Everything about S3 that a URL cannot say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// The region; else that of the environment, the profile or the instance.
    pub region: Option<String>,
    /// The region in `AWS_REGION` or `AWS_DEFAULT_REGION`. Not left to the SDK, which takes a blank one for a region.
    pub configured_region: Option<String>,
    /// The endpoint of a store that is not AWS, as the user gave it.
    pub endpoint: Option<Endpoint>,
    /// The endpoint in `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`; one in a profile is found by the SDK.
    pub configured_endpoint: Option<GivenAddress>,
    /// `endpoint/bucket/name` instead of `bucket.endpoint/name`; by default so for every endpoint but those of AWS.
    pub path_style: Option<bool>,
    /// Encryption at rest.
    pub encryption: Option<Encryption>,
    /// The storage class of new objects, for example `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// Whether we pay for requests to a bucket of someone else.
    pub requester_pays: bool,
    /// The profile in the shared configuration files.
    pub profile: Option<String>,
    /// Credentials; none to look for them where the AWS tools do.
    pub credentials: Option<Credentials>,
    /// A role to take with the identity of the CI job, in place of all other credentials.
    pub role: Option<RoleOptions>,
    /// Where STS is, in `AWS_ENDPOINT_URL_STS` or `AWS_ENDPOINT_URL`; AWS in the bucket's region by default.
    pub sts_endpoint: Option<GivenAddress>,
    /// Sign no request: public buckets.
    pub is_anonymous: bool,
    /// What the environment says of credentials and configuration files.
    pub environment: AwsEnvironment,
    /// `AWS_CA_BUNDLE`: certificate authorities to trust besides those of the system.
    pub ca_bundle: Option<PathBuf>,
    /// How long to wait for answers.
    pub patience: Patience,
}

/// What the environment says of credentials, as far as the SDK would take blank variables for more than unset ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsEnvironment {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub credentials: Option<Credentials>,
    /// What stands there by halves, in words: a key without its secret, a role without its token.
    pub halves: Vec<String>,
    /// The variables of credentials that are set but blank.
    pub blank: Vec<&'static str>,
    /// `AWS_PROFILE`.
    pub profile: Option<String>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN` and `AWS_ROLE_SESSION_NAME`.
    pub web_identity: Option<WebIdentity>,
    /// Whether `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI` is there: an agent gives credentials.
    pub has_container: bool,
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`.
    pub ignores_configured_endpoints: bool,
    /// The configuration file where `AWS_CONFIG_FILE` is set but blank, which the SDK takes for a name.
    pub config_file: Option<PathBuf>,
    /// The credentials file where `AWS_SHARED_CREDENTIALS_FILE` is set but blank.
    pub credentials_file: Option<PathBuf>,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT` is set but blank.
    pub has_blank_metadata_endpoint: bool,
    /// `NO_PROXY` is `*`: also for addresses that are numbers.
    pub bypasses_proxies: bool,
}

/// A role that is taken with a token in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentity {
    /// Where the token is.
    pub token_file: PathBuf,
    /// The role.
    pub role_arn: String,
    /// The name of the session, if there is one.
    pub session_name: Option<String>,
}

impl S3Options {
    /// What is taken from the environment here and not by the SDK. Blank variables are treated as unset, since a workflow
    /// sets what its expressions leave empty; white space around values is none of them. `variable` is `std::env::var` in
    /// a program.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| {
            let value = variable(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let is_blank = |name: &str| variable(name).is_some() && given(name).is_none();
        let file_if_blank = |name: &str, file: &str| {
            is_blank(name).then(|| PathBuf::from(given("HOME").unwrap_or_default()).join(".aws").join(file))
        };
        let is_yes = |name: &str| given(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        let credentials =
            given("AWS_ACCESS_KEY_ID").zip(given("AWS_SECRET_ACCESS_KEY")).map(|(id, secret)| Credentials {
                access_key_id: id,
                secret_access_key: Secret::new(secret),
                session_token: given("AWS_SESSION_TOKEN").map(Secret::new),
            });
        let web_identity = given("AWS_WEB_IDENTITY_TOKEN_FILE").zip(given("AWS_ROLE_ARN"));
        let no_proxy = given("no_proxy").or_else(|| given("NO_PROXY")).unwrap_or_default();
        let environment = AwsEnvironment {
            credentials,
            halves: halves(given, is_blank),
            blank: CREDENTIAL_VARIABLES.into_iter().filter(|name| is_blank(name)).collect(),
            profile: given("AWS_PROFILE"),
            web_identity: web_identity.map(|(token_file, role_arn)| WebIdentity {
                token_file: PathBuf::from(token_file),
                role_arn,
                session_name: given("AWS_ROLE_SESSION_NAME"),
            }),
            has_container: given("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").is_some()
                || given("AWS_CONTAINER_CREDENTIALS_FULL_URI").is_some(),
            ignores_configured_endpoints: is_yes("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"),
            config_file: file_if_blank("AWS_CONFIG_FILE", "config"),
            credentials_file: file_if_blank("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            has_blank_metadata_endpoint: is_blank("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
            bypasses_proxies: no_proxy.split(',').any(|host| host.trim() == "*"),
        };
        Self {
            configured_region: given("AWS_REGION").or_else(|| given("AWS_DEFAULT_REGION")),
            configured_endpoint: given("AWS_ENDPOINT_URL_S3")
                .or_else(|| given("AWS_ENDPOINT_URL"))
                .map(|url| url.as_str().into()),
            sts_endpoint: given("AWS_ENDPOINT_URL_STS")
                .or_else(|| given("AWS_ENDPOINT_URL"))
                .map(|url| url.as_str().into()),
            ca_bundle: given("AWS_CA_BUNDLE").map(PathBuf::from),
            environment,
            ..Self::default()
        }
    }
}

/// What credentials are made of in the environment.
const CREDENTIAL_VARIABLES: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Variables that are worth nothing without one that is blank or not set, each in words.
fn halves(given: impl Fn(&str) -> Option<String>, is_blank: impl Fn(&str) -> bool) -> Vec<String> {
    let how = |name: &str| if is_blank(name) { "is blank" } else { "is not set" };
    [
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"),
        ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    ]
    .into_iter()
    .filter(|(half, other)| given(half).is_some() && given(other).is_none())
    .map(|(half, other)| format!("`{half}` is set, and `{other}` {}", how(other)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_variables_count_as_not_set() {
        let check = |variables: &[(&str, &str)], [region, endpoint, bundle]: [Option<&str>; 3]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let expected = S3Options {
                configured_region: region.map(str::to_owned),
                configured_endpoint: endpoint.map(GivenAddress::from),
                ca_bundle: bundle.map(PathBuf::from),
                ..S3Options::default()
            };
            let found = S3Options { sts_endpoint: None, ..S3Options::from_environment(variable) };
            assert_eq!(found, expected, "{variables:?}");
        };
        check(&[], [None; 3]);
        for blank in ["", " ", "\t\n"] {
            check(&[("AWS_REGION", blank), ("AWS_ENDPOINT_URL", blank), ("AWS_CA_BUNDLE", blank)], [None; 3]);
            check(&[("AWS_REGION", blank), ("AWS_DEFAULT_REGION", "eu-west-1")], [Some("eu-west-1"), None, None]);
            let endpoints = [("AWS_ENDPOINT_URL_S3", blank), ("AWS_ENDPOINT_URL", "http://h")];
            check(&endpoints, [None, Some("http://h"), None]);
        }
        let all =
            [("AWS_REGION", " r\n"), ("AWS_DEFAULT_REGION", "d"), ("AWS_ENDPOINT_URL_S3", "e"), ("AWS_CA_BUNDLE", "c")];
        check(&all, [Some("r"), Some("e"), Some("c")]);
    }

    #[test]
    fn secrets_do_not_show() {
        let credentials = Credentials {
            access_key_id: "AKIA".into(),
            secret_access_key: Secret::new("hush"),
            session_token: Some(Secret::new("hush")),
        };
        assert!(!format!("{credentials:?} {}", credentials.secret_access_key).contains("hush"));
    }
}
