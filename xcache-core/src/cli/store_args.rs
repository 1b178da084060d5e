//! Which store to use: the `--store` and `--s3-…` arguments.

use clap::Args;

use super::env_vars as var;
use super::values::{Secret, parse_switch};
use super::{RunContext, UsageError};

/// Where entries are kept.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    /// Where entries are kept: `s3://bucket/prefix` or `file:///directory`
    /// [default: a local directory; none in CI]
    #[arg(long, env = var::STORE, value_name = "URL")]
    pub store: Option<String>,

    /// Bucket, in place of --store
    #[arg(long, env = var::S3_BUCKET, value_name = "NAME")]
    pub s3_bucket: Option<String>,

    /// Prefix of all object names in the bucket
    #[arg(long, env = var::S3_PREFIX, value_name = "PREFIX")]
    pub s3_prefix: Option<String>,

    /// Region of the bucket [default: as the AWS tools find it]
    #[arg(long, env = var::S3_REGION, value_name = "REGION")]
    pub s3_region: Option<String>,

    /// Address of an S3-compatible store
    #[arg(long, env = var::S3_ENDPOINT, value_name = "URL")]
    pub s3_endpoint: Option<String>,

    /// Put the bucket into the path of the URL rather than into the host name
    #[arg(long, env = var::S3_PATH_STYLE, value_parser = parse_switch)]
    pub s3_path_style: bool,

    /// Profile of the AWS configuration
    #[arg(long, env = var::S3_PROFILE, value_name = "NAME")]
    pub s3_profile: Option<String>,

    /// Server-side encryption: `AES256`, `aws:kms` or `aws:kms:dsse` [default: the bucket's]
    #[arg(long, env = var::S3_SSE, value_name = "ALGORITHM")]
    pub s3_sse: Option<String>,

    /// KMS key for the encryption
    #[arg(long, env = var::S3_KMS_KEY, value_name = "ID")]
    pub s3_kms_key: Option<String>,

    /// Storage class of new objects, for example `INTELLIGENT_TIERING`
    #[arg(long, env = var::S3_STORAGE_CLASS, value_name = "CLASS")]
    pub s3_storage_class: Option<String>,

    /// Agree to pay for requests to a bucket of somebody else
    #[arg(long, env = var::S3_REQUESTER_PAYS, value_parser = parse_switch)]
    pub s3_requester_pays: bool,

    /// Access key; better left to the environment or a role
    #[arg(long, env = var::AWS_ACCESS_KEY_ID, value_name = "ID", hide_env_values = true)]
    pub aws_access_key_id: Option<Secret>,

    /// Secret of the access key; give it in the environment, a command line can be read by others
    #[arg(long, env = var::AWS_SECRET_ACCESS_KEY, value_name = "SECRET", hide_env_values = true)]
    pub aws_secret_access_key: Option<Secret>,

    /// Session token of temporary credentials
    #[arg(long, env = var::AWS_SESSION_TOKEN, value_name = "TOKEN", hide_env_values = true)]
    pub aws_session_token: Option<Secret>,
}

/// The store that was chosen, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSelection {
    /// Its URL.
    pub url: String,
    /// Whether nobody chose it and the local default applies, which is worth a line.
    pub is_default: bool,
    /// Options that mean something to S3 only.
    pub s3: S3Options,
}

/// Options of S3 as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// Region.
    pub region: Option<String>,
    /// Endpoint.
    pub endpoint: Option<String>,
    /// Bucket in the path.
    pub path_style: bool,
    /// AWS profile.
    pub profile: Option<String>,
    /// Encryption.
    pub sse: Option<String>,
    /// KMS key.
    pub kms_key: Option<String>,
    /// Storage class.
    pub storage_class: Option<String>,
    /// Requester pays.
    pub requester_pays: bool,
    /// Static credentials.
    pub credentials: Option<StaticCredentials>,
}

/// Credentials given as arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticCredentials {
    /// Access key.
    pub access_key_id: Secret,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Token of temporary credentials.
    pub session_token: Option<Secret>,
}

impl StoreArgs {
    /// Chooses the store.
    pub fn resolve(&self, context: &RunContext) -> Result<StoreSelection, UsageError> {
        let (url, is_default) = match self.url()? {
            Some(url) => (url, false),
            None => (default_url(context)?, true),
        };
        Ok(StoreSelection { url, is_default, s3: self.s3_options()? })
    }

    fn url(&self) -> Result<Option<String>, UsageError> {
        match (text(&self.store), text(&self.s3_bucket), text(&self.s3_prefix)) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(UsageError::with_hint(
                "`--store` and `--s3-bucket` or `--s3-prefix` say the same thing twice",
                "give either `--store s3://bucket/prefix`, or `--s3-bucket` and `--s3-prefix`",
            )),
            (Some(url), None, None) => Ok(Some(url)),
            (None, Some(bucket), prefix) => {
                let prefix = prefix.unwrap_or_default();
                Ok(Some(format!("s3://{bucket}/{}", prefix.trim_matches('/')).trim_end_matches('/').to_owned()))
            }
            (None, None, Some(_)) => Err(UsageError::options("`--s3-prefix` needs `--s3-bucket`")),
            (None, None, None) => Ok(None),
        }
    }

    fn s3_options(&self) -> Result<S3Options, UsageError> {
        let Self {
            store: _,
            s3_bucket: _,
            s3_prefix: _,
            s3_region,
            s3_endpoint,
            s3_path_style,
            s3_profile,
            s3_sse,
            s3_kms_key,
            s3_storage_class,
            s3_requester_pays,
            aws_access_key_id,
            aws_secret_access_key,
            aws_session_token,
        } = self;
        let credentials = match (secret(aws_access_key_id), secret(aws_secret_access_key)) {
            (Some(access_key_id), Some(secret_access_key)) => {
                Some(StaticCredentials { access_key_id, secret_access_key, session_token: secret(aws_session_token) })
            }
            (None, None) => None,
            _ => {
                return Err(UsageError::with_hint(
                    "`--aws-access-key-id` and `--aws-secret-access-key` belong together",
                    "give both, or none to let the AWS credential chain decide",
                ));
            }
        };
        Ok(S3Options {
            region: text(s3_region),
            endpoint: text(s3_endpoint),
            path_style: *s3_path_style,
            profile: text(s3_profile),
            sse: text(s3_sse),
            kms_key: text(s3_kms_key),
            storage_class: text(s3_storage_class),
            requester_pays: *s3_requester_pays,
            credentials,
        })
    }
}

fn default_url(context: &RunContext) -> Result<String, UsageError> {
    if context.github.is_actions {
        // A silent local cache on a throw-away runner would be a trap.
        return Err(UsageError::with_hint(
            "no store given",
            "set the input `s3-bucket` or `store` (XCACHE_S3_BUCKET, XCACHE_STORE); \
             `store: file:///directory` keeps entries on the runner itself",
        ));
    }
    match &context.cache_dir {
        Some(dir) => Ok(format!("file://{}", dir.display())),
        None => {
            Err(UsageError::with_hint("no store given, and no home directory for the local default", "set --store"))
        }
    }
}

fn text(value: &Option<String>) -> Option<String> {
    value.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn secret(value: &Option<Secret>) -> Option<Secret> {
    value.clone().filter(|secret| !secret.expose().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::context;
    use super::*;

    const HOME: (&str, &str) = ("HOME", "/home/u");
    const ACTIONS: (&str, &str) = ("GITHUB_ACTIONS", "true");

    fn args(store: &str, bucket: &str, prefix: &str) -> StoreArgs {
        let given = |text: &str| Some(text.to_owned());
        StoreArgs { store: given(store), s3_bucket: given(bucket), s3_prefix: given(prefix), ..StoreArgs::default() }
    }

    #[test]
    fn the_store_is_chosen_by_what_is_given() {
        let check = |[store, bucket, prefix]: [&str; 3], expected: Result<&str, &str>| {
            let result = args(store, bucket, prefix).resolve(&context(&[HOME]));
            match (result, expected) {
                (Ok(found), Ok(url)) => assert_eq!((found.url.as_str(), found.is_default), (url, false)),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (result, expected) => panic!("{result:?}, not {expected:?}"),
            }
        };
        check(["s3://b/p", "", ""], Ok("s3://b/p"));
        check([" file:///d ", "", ""], Ok("file:///d"));
        check(["", "b", ""], Ok("s3://b"));
        check(["", "b", "p/q"], Ok("s3://b/p/q"));
        check(["", "b", "/p/"], Ok("s3://b/p"));
        check(["s3://b", "b", ""], Err("twice"));
        check(["s3://b", "", "p"], Err("twice"));
        check(["", "", "p"], Err("needs"));
    }

    #[test]
    fn none_given_means_local_except_in_actions() {
        let none = StoreArgs::default();
        let local = none.resolve(&context(&[HOME])).unwrap();
        assert_eq!((local.url.as_str(), local.is_default), ("file:///home/u/.cache/xcache", true));
        assert!(none.resolve(&context(&[])).is_err());
        let error = none.resolve(&context(&[HOME, ACTIONS])).unwrap_err();
        assert!(error.hint().unwrap().contains("s3-bucket"), "{error:?}");
    }

    #[test]
    fn credentials_come_in_pairs() {
        let check = |id: &str, secret: &str, expected: Option<bool>| {
            let args = StoreArgs {
                aws_access_key_id: id.parse().ok(),
                aws_secret_access_key: secret.parse().ok(),
                ..args("s3://b", "", "")
            };
            let found = args.resolve(&context(&[])).ok().map(|selection| selection.s3.credentials.is_some());
            assert_eq!(found, expected, "{id} {secret}");
        };
        check("AKIA", "s", Some(true));
        check("", "", Some(false));
        check("AKIA", "", None);
        check("", "s", None);
    }
}
