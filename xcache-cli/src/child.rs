//! Programs that ours start.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// Parts of the names of variables that hold secrets: our own, those of AWS, and what a runner gives a step so that it
/// can prove who it is.
const SECRETS: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY_ID", "CREDENTIAL", "PRIVATE_KEY"];

/// A command without our secrets in its environment, and without our standard input.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_secret) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn is_secret(name: &str) -> bool {
    let is_ours = ["XCACHE_", "AWS_", "ACTIONS_", "INPUT_"].iter().any(|prefix| name.starts_with(prefix));
    is_ours && SECRETS.iter().any(|part| name.to_ascii_uppercase().contains(part))
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn secrets_are_told_from_settings() {
        let check = |name, expected| assert_eq!(is_secret(name), expected, "{name}");
        check("XCACHE_AWS_SECRET_ACCESS_KEY", true);
        check("XCACHE_AWS_SESSION_TOKEN", true);
        check("XCACHE_AWS_ACCESS_KEY_ID", true);
        check("AWS_SECRET_ACCESS_KEY", true);
        check("AWS_SESSION_TOKEN", true);
        check("AWS_CONTAINER_AUTHORIZATION_TOKEN", true);
        check("ACTIONS_ID_TOKEN_REQUEST_TOKEN", true);
        check("INPUT_AWS-SECRET-ACCESS-KEY", true);
        check("AWS_REGION", false);
        check("XCACHE_STORE", false);
        // For git: how it logs in is its own affair.
        check("GITHUB_TOKEN", false);
        check("GIT_ASKPASS", false);
        check("SSH_AUTH_SOCK", false);
    }
}
