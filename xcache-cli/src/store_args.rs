//! Which store to use: the `--store` and `--s3-…` arguments.

use clap::{Args, ValueEnum};

use super::env_vars as var;
use super::values::{Choice, parse_secret, parse_switch};
use super::{RunContext, UsageError};
use crate::ci::identity::{self, VARIABLE};
use xcache_core::redact::{GivenAddress, Secret};
use xcache_core::store::open::StoreConfig;
use xcache_core::store::s3::identity::role::{RoleOptions, session_name};
use xcache_core::store::s3::identity::token::TokenSource;
use xcache_core::store::s3::options::{Credentials, Encryption, Endpoint, EndpointError, S3Options};
use xcache_core::store::url::StoreUrl;

/// Where entries are kept.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    /// Where entries are kept: `s3://bucket/prefix` or `file:///directory`
    /// [default: a local directory; none in CI]
    #[arg(long, env = var::STORE, value_name = "URL", hide_env_values = true)]
    pub store: Option<GivenAddress>,

    /// Bucket, instead of --store
    #[arg(long, env = var::S3_BUCKET, value_name = "NAME", hide_env_values = true)]
    pub s3_bucket: Option<GivenAddress>,

    /// Prefix of all object names in the bucket
    #[arg(long, env = var::S3_PREFIX, value_name = "PREFIX")]
    pub s3_prefix: Option<String>,

    /// Region of the bucket [default: as the AWS tools find it]
    #[arg(long, env = var::S3_REGION, value_name = "REGION")]
    pub s3_region: Option<String>,

    /// Address of an S3-compatible store
    #[arg(long, env = var::S3_ENDPOINT, value_name = "URL", hide_env_values = true)]
    pub s3_endpoint: Option<GivenAddress>,

    /// Put the bucket into the path of the URL rather than into the host name [default: `true` unless it is AWS]
    #[arg(long, env = var::S3_PATH_STYLE, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "", hide_default_value = true, value_parser = Choice::parse)]
    pub s3_path_style: Choice,

    /// Profile of the AWS configuration
    #[arg(long, env = var::S3_PROFILE, value_name = "NAME")]
    pub s3_profile: Option<String>,

    /// Role to assume with the identity of the CI job, instead of credentials: `arn:aws:iam::123456789012:role/NAME`
    #[arg(long, env = var::S3_ROLE, value_name = "ARN")]
    pub s3_role: Option<String>,

    /// Server-side encryption [default: the bucket's]
    #[arg(long, env = var::S3_SSE, value_name = "ALGORITHM", value_enum)]
    pub s3_sse: Option<Sse>,

    /// KMS key for the encryption [default: the account's own for S3]
    #[arg(long, env = var::S3_KMS_KEY, value_name = "ID")]
    pub s3_kms_key: Option<String>,

    /// Storage class of new objects, for example `INTELLIGENT_TIERING`
    #[arg(long, env = var::S3_STORAGE_CLASS, value_name = "CLASS")]
    pub s3_storage_class: Option<String>,

    /// Send unsigned requests, for reading from a public bucket. This is also the default when there are no credentials
    #[arg(long, env = var::S3_ANONYMOUS, value_parser = parse_switch)]
    pub s3_anonymous: bool,

    /// Agree to pay for requests to a bucket of another account
    #[arg(long, env = var::S3_REQUESTER_PAYS, value_parser = parse_switch)]
    pub s3_requester_pays: bool,

    /// Access key; prefer the environment or a role
    #[arg(long, env = var::AWS_ACCESS_KEY_ID, value_name = "ID", hide_env_values = true)]
    pub aws_access_key_id: Option<String>,

    /// Secret of the access key; prefer the environment or a role
    #[arg(long, env = var::AWS_SECRET_ACCESS_KEY, value_name = "SECRET", hide_env_values = true, value_parser = parse_secret)]
    pub aws_secret_access_key: Option<Secret>,

    /// Session token of temporary credentials
    #[arg(long, env = var::AWS_SESSION_TOKEN, value_name = "TOKEN", hide_env_values = true, value_parser = parse_secret)]
    pub aws_session_token: Option<Secret>,
}

/// How S3 encrypts objects at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sse {
    /// With keys of S3
    #[value(name = "AES256", alias = "aes256")]
    Aes256,
    /// With a key of KMS
    #[value(name = "aws:kms")]
    Kms,
}

/// The store that was chosen, and how.
#[derive(Clone, Debug)]
pub struct StoreSelection {
    /// What to open.
    pub config: StoreConfig,
    /// Whether nobody chose it and the local default applies, which is worth a line.
    pub is_default: bool,
}

impl StoreSelection {
    /// Its URL, for reports and for telling stores apart.
    pub fn url(&self) -> String {
        self.config.url.to_string()
    }
}

impl StoreArgs {
    /// Chooses the store.
    pub fn resolve(&self, context: &RunContext) -> Result<StoreSelection, UsageError> {
        let (url, is_default) = match self.url()? {
            Some(url) => (parse_url(&url)?, false),
            None => (default_url(context)?, true),
        };
        Ok(StoreSelection { config: StoreConfig { url, s3: self.s3_options(context)? }, is_default })
    }

    fn url(&self) -> Result<Option<GivenAddress>, UsageError> {
        match (address(&self.store), address(&self.s3_bucket), text(&self.s3_prefix)) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(UsageError::with_hint(
                "`--store` and `--s3-bucket` or `--s3-prefix` are two ways to name the store",
                "give either `--store s3://bucket/prefix`, or `--s3-bucket` and `--s3-prefix`",
            )),
            (Some(url), None, None) => Ok(Some(url)),
            (None, Some(bucket), prefix) => {
                let url = format!("s3://{}/{}", bucket.expose(), prefix.unwrap_or_default());
                Ok(Some(url.as_str().into()))
            }
            (None, None, Some(_)) => Err(UsageError::options("`--s3-prefix` needs `--s3-bucket`")),
            (None, None, None) => Ok(None),
        }
    }

    fn s3_options(&self, context: &RunContext) -> Result<S3Options, UsageError> {
        let Self {
            store: _,
            s3_bucket: _,
            s3_prefix: _,
            s3_region,
            s3_endpoint,
            s3_path_style,
            s3_profile,
            s3_role,
            s3_sse,
            s3_kms_key,
            s3_storage_class,
            s3_requester_pays,
            s3_anonymous,
            aws_access_key_id,
            aws_secret_access_key,
            aws_session_token,
        } = self;
        let S3Options {
            configured_region, configured_endpoint, sts_endpoint, ca_bundle, patience, environment, ..
        } = context.aws.clone();
        let endpoint = address(s3_endpoint).map(|given| parse_endpoint(&given)).transpose()?;
        let encryption = encryption(s3_sse.as_ref(), text(s3_kms_key))?;
        let credentials =
            credentials(text(aws_access_key_id), secret(aws_secret_access_key), secret(aws_session_token))?;
        let (profile, role_arn) = (text(s3_profile), text(s3_role));
        let is_alone = at_most_one([
            ("--s3-role", role_arn.is_some()),
            ("--s3-anonymous", *s3_anonymous),
            ("--s3-profile", profile.is_some()),
            ("--aws-access-key-id", credentials.is_some()),
        ])?;
        Ok(S3Options {
            region: text(s3_region),
            configured_region,
            endpoint,
            configured_endpoint,
            path_style: s3_path_style.given(),
            encryption,
            storage_class: text(s3_storage_class),
            requester_pays: *s3_requester_pays,
            profile,
            credentials,
            role: role(role_arn, is_alone, context)?,
            sts_endpoint,
            is_anonymous: *s3_anonymous,
            environment,
            ca_bundle,
            patience,
        })
    }
}

fn encryption(sse: Option<&Sse>, kms_key: Option<String>) -> Result<Option<Encryption>, UsageError> {
    match (sse, kms_key) {
        (None, None) => Ok(None),
        (Some(Sse::Aes256), None) => Ok(Some(Encryption::S3)),
        (Some(Sse::Kms) | None, key) => Ok(Some(Encryption::Kms(key))),
        (Some(Sse::Aes256), Some(_)) => Err(UsageError::options("`--s3-kms-key` does not go with `--s3-sse AES256`")),
    }
}

fn credentials(
    access_key_id: Option<String>,
    secret_access_key: Option<Secret>,
    session_token: Option<Secret>,
) -> Result<Option<Credentials>, UsageError> {
    match (access_key_id, secret_access_key) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Some(Credentials { access_key_id, secret_access_key, session_token }))
        }
        (None, None) if session_token.is_none() => Ok(None),
        (id, secret) => {
            let flags = [("--aws-access-key-id", id.is_some()), ("--aws-secret-access-key", secret.is_some())];
            let missing: Vec<String> =
                flags.iter().filter(|(_, is_given)| !is_given).map(|(flag, _)| format!("`{flag}`")).collect();
            let given = match (id, secret) {
                (Some(_), _) => "--aws-access-key-id",
                (None, Some(_)) => "--aws-secret-access-key",
                (None, None) => "--aws-session-token",
            };
            let missing = missing.join(" and ");
            Err(UsageError::with_hint(
                format_args!("`{given}` and {missing} belong together, and only the first is given"),
                "give all of them, or none to let the AWS credential chain decide",
            ))
        }
    }
}

/// Refuses two sources of credentials: which of them counts would be a guess. Returns whether none of them was given.
fn at_most_one(sources: [(&'static str, bool); 4]) -> Result<bool, UsageError> {
    let given: Vec<&str> = sources.iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| *flag).collect();
    match given[..] {
        [first, second, ..] => Err(UsageError::with_hint(
            format_args!("`{first}` and `{second}` contradict each other"),
            "give one source of credentials",
        )),
        _ => Ok(given.is_empty()),
    }
}

/// The role to take. A token that was put into our variable and a role belong together; that is checked where both would
/// be used, so that in a job it is trouble with the cache. Other credentials make a token superfluous.
fn role(arn: Option<String>, is_alone: bool, context: &RunContext) -> Result<Option<RoleOptions>, UsageError> {
    let token = context.ci.identity.clone();
    let is_ours = matches!(&token, Some(TokenSource::Variable { name: VARIABLE, .. }));
    let arn = match arn {
        Some(arn) => Some(arn.parse().map_err(UsageError::options)?),
        None if is_ours && is_alone => None,
        None => return Ok(None),
    };
    let session = session_name(context.ci.id.as_deref());
    Ok(Some(RoleOptions { arn, token, session, token_hint: identity::hint(context.ci.system) }))
}

fn parse_url(url: &GivenAddress) -> Result<StoreUrl, UsageError> {
    url.expose().parse().map_err(|error| {
        if url.expose().starts_with('/') {
            UsageError::with_hint(error, format!("write `file://{url}` for a directory of this machine"))
        } else {
            UsageError::options(error)
        }
    })
}

fn parse_endpoint(given: &GivenAddress) -> Result<Endpoint, UsageError> {
    given.expose().parse().map_err(|error| {
        let message = format_args!("endpoint `{given}`: {error}").to_string();
        match error {
            EndpointError::Scheme => UsageError::with_hint(message, format!("write `https://{given}`")),
            _ => UsageError::options(message),
        }
    })
}

fn default_url(context: &RunContext) -> Result<StoreUrl, UsageError> {
    if context.ci.is_ci() {
        // A silent local cache on a throw-away runner would be a trap.
        return Err(UsageError::with_hint(
            "no store given",
            "set the input `s3-bucket` or `store` (XCACHE_S3_BUCKET, XCACHE_STORE); \
             `store: file:///directory` keeps entries on the runner itself",
        ));
    }
    match &context.cache_dir {
        Some(dir) => Ok(StoreUrl::Local(dir.clone())),
        None => {
            Err(UsageError::with_hint("no store given, and no home directory for the local default", "set --store"))
        }
    }
}

fn address(value: &Option<GivenAddress>) -> Option<GivenAddress> {
    let text = value.as_ref()?.expose().trim();
    (!text.is_empty()).then(|| text.into())
}

fn text(value: &Option<String>) -> Option<String> {
    value.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn secret(value: &Option<Secret>) -> Option<Secret> {
    value.clone().filter(|secret| *secret != Secret::new(""))
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::context;
    use super::*;

    const HOME: (&str, &str) = ("HOME", "/home/u");
    const ACTIONS: (&str, &str) = ("GITHUB_ACTIONS", "true");

    fn args(store: &str, bucket: &str, prefix: &str) -> StoreArgs {
        let given = |text: &str| Some(text.into());
        let s3_prefix = Some(prefix.to_owned());
        StoreArgs { store: given(store), s3_bucket: given(bucket), s3_prefix, ..StoreArgs::default() }
    }

    #[test]
    fn the_store_is_chosen_by_what_is_given() {
        let check = |[store, bucket, prefix]: [&str; 3], expected: Result<&str, &str>| {
            let result = args(store, bucket, prefix).resolve(&context(&[HOME]));
            match (result, expected) {
                (Ok(found), Ok(url)) => {
                    assert_eq!((found.url().as_str(), found.is_default), (url, false));
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (result, expected) => panic!("{result:?}, not {expected:?}"),
            }
        };
        check(["s3://bucket/p", "", ""], Ok("s3://bucket/p"));
        check([" file:///d ", "", ""], Ok("file:///d"));
        check(["", "bucket", ""], Ok("s3://bucket"));
        check(["", "bucket", "p/q"], Ok("s3://bucket/p/q"));
        check(["", "bucket", "/p/"], Ok("s3://bucket/p"));
        check(["s3://bucket", "bucket", ""], Err("two ways"));
        check(["s3://bucket", "", "p"], Err("two ways"));
        check(["", "", "p"], Err("needs"));
        check(["gs://bucket", "", ""], Err("neither"));
        let error = args("/var/cache", "", "").resolve(&context(&[HOME])).unwrap_err();
        assert!(error.hint().unwrap().contains("file:///var/cache"), "{error:?}");
    }

    #[test]
    fn none_given_means_local_except_in_actions() {
        let none = StoreArgs::default();
        let local = none.resolve(&context(&[HOME])).unwrap();
        assert_eq!((local.url().as_str(), local.is_default), ("file:///home/u/.cache/xcache", true));
        assert!(none.resolve(&context(&[])).is_err());
        let error = none.resolve(&context(&[HOME, ACTIONS])).unwrap_err();
        assert!(error.hint().unwrap().contains("s3-bucket"), "{error:?}");
    }

    fn s3_options(change: impl FnOnce(&mut StoreArgs)) -> Result<S3Options, UsageError> {
        let mut args = args("s3://bucket", "", "");
        change(&mut args);
        args.resolve(&context(&[("AWS_CA_BUNDLE", "/ca.pem")])).map(|selection| selection.config.s3)
    }

    #[test]
    fn credentials_come_in_pairs() {
        let check = |id: &str, secret: &str, expected: Option<bool>| {
            let found = s3_options(|args| {
                args.aws_access_key_id = Some(id.to_owned());
                args.aws_secret_access_key = Some(Secret::new(secret));
            });
            assert_eq!(found.ok().map(|options| options.credentials.is_some()), expected, "{id} {secret}");
        };
        check("AKIA", "s", Some(true));
        check("", "", Some(false));
        check("AKIA", "", None);
        check("", "s", None);
    }

    #[test]
    fn encryption_follows_algorithm_and_key() {
        let check = |sse, key: Option<&str>, expected: Option<Option<Encryption>>| {
            let found = s3_options(|args| (args.s3_sse, args.s3_kms_key) = (sse, key.map(str::to_owned)));
            assert_eq!(found.ok().map(|options| options.encryption), expected, "{sse:?} {key:?}");
        };
        let kms = |key: Option<&str>| Some(Some(Encryption::Kms(key.map(str::to_owned))));
        check(None, None, Some(None));
        check(Some(Sse::Aes256), None, Some(Some(Encryption::S3)));
        check(Some(Sse::Kms), None, kms(None));
        check(Some(Sse::Kms), Some("k"), kms(Some("k")));
        check(None, Some("k"), kms(Some("k")));
        check(Some(Sse::Aes256), Some("k"), None);
    }

    #[test]
    fn endpoints_are_urls_and_the_aws_environment_is_kept() {
        assert!(s3_options(|args| args.s3_endpoint = Some("localhost:9000".into())).is_err());
        let options = s3_options(|args| args.s3_endpoint = Some("http://localhost:9000".into())).unwrap();
        assert_eq!(options.endpoint.unwrap().as_str(), "http://localhost:9000");
        assert_eq!(options.ca_bundle, Some("/ca.pem".into()));
    }
}
