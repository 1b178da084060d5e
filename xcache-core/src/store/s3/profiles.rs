//! The configuration files of the AWS tools, and the profiles in them.

use aws_config::profile::ProfileSet;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

use super::super::{Error, Result};
use super::options::{AwsEnvironment, S3Options};

/// The profile that applies.
pub(super) fn profile(options: &S3Options) -> &str {
    options.profile.as_deref().or(options.environment.profile.as_deref()).unwrap_or("default")
}

/// The configuration files, where a blank variable would lead elsewhere.
pub(super) fn profile_files(environment: &AwsEnvironment) -> Option<EnvConfigFiles> {
    let AwsEnvironment { config_file, credentials_file, .. } = environment;
    if config_file.is_none() && credentials_file.is_none() {
        return None;
    }
    let mut files = EnvConfigFiles::builder()
        .include_default_config_file(config_file.is_none())
        .include_default_credentials_file(credentials_file.is_none())
        .with_contents(EnvConfigFileKind::Config, "");
    for (kind, file) in [(EnvConfigFileKind::Config, config_file), (EnvConfigFileKind::Credentials, credentials_file)] {
        // Unlike a default one, a file that is named must be there.
        if let Some(file) = file.as_ref().filter(|file| file.exists()) {
            files = files.with_file(kind, file);
        }
    }
    Some(files.build())
}

/// The profiles of the configuration files; none if they cannot be read and are not needed.
pub(super) async fn profiles(options: &S3Options) -> Result<Option<ProfileSet>> {
    let files = profile_files(&options.environment).unwrap_or_default();
    let name = profile(options).to_owned();
    let loaded = aws_config::profile::load(&Default::default(), &Default::default(), &files, Some(name.into())).await;
    match loaded {
        Ok(profiles) => Ok(Some(profiles)),
        Err(error) if options.credentials.is_none() && options.role.is_none() && !options.is_anonymous => {
            Err(Error::configuration("read", "the AWS configuration files").source(error).hint(
                "they are ~/.aws/config and ~/.aws/credentials, or what AWS_CONFIG_FILE and \
                       AWS_SHARED_CREDENTIALS_FILE name",
            ))
        }
        Err(error) => {
            tracing::debug!(%error, "the AWS configuration files are not needed, and cannot be read");
            Ok(None)
        }
    }
}
