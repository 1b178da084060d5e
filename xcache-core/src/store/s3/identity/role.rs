//! Which role to take, and what is needed for it.

use std::fmt;
use std::str::FromStr;

use super::token::TokenSource;

/// Which role to take, and with what. One of the two without the other is refused when the store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleOptions {
    /// The role.
    pub arn: Option<RoleArn>,
    /// Where the identity token comes from.
    pub token: Option<TokenSource>,
    /// What AWS logs call the session, without what is not allowed there.
    pub session: String,
    /// How the user gets a token where there is none.
    pub token_hint: &'static str,
}

/// The ARN of a role: `arn:aws:iam::123456789012:role/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleArn(String);

/// Why a text is no ARN of a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the ARN of a role, as in `arn:aws:iam::123456789012:role/NAME`")]
pub struct RoleArnError(String);

impl FromStr for RoleArn {
    type Err = RoleArnError;

    fn from_str(text: &str) -> Result<Self, RoleArnError> {
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let is_role = matches!(fields[..], ["arn", partition, "iam", "", _, resource]
            if !partition.is_empty() && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty()));
        // The bounds of STS: longer ones are refused there, and others than these characters are in no name.
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '`' | '<' | '>' | '\\');
        if is_role && text.len() <= 2048 && text.chars().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RoleArnError(text.chars().take(80).collect()))
        }
    }
}

impl RoleArn {
    /// The ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name for the session of a job. STS takes 2 to 64 letters, digits and `+ = , . @ - _`; others become dashes.
pub fn session_name(job: Option<&str>) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_".contains(c);
    let name = format!("xcache-{}", job.unwrap_or("run"));
    name.chars().map(|c| if is_allowed(c) { c } else { '-' }).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_of_a_role_is_told_from_others() {
        for (text, expected) in [
            ("arn:aws:iam::123456789012:role/ci", true),
            ("arn:aws:iam::123456789012:role/path/to/ci", true),
            ("arn:aws-cn:iam::123456789012:role/ci", true),
            ("arn:minio:iam:::role/ci", true),
            ("arn:aws:iam::123456789012:user/ci", false),
            ("arn:aws:iam::123456789012:role/", false),
            ("arn:aws:sts::123456789012:assumed-role/ci/x", false),
            ("arn:aws:iam::123456789012:role/c i", false),
            ("ci", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<RoleArn>().is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_session_has_only_what_sts_takes() {
        assert_eq!(session_name(None), "xcache-run");
        assert_eq!(session_name(Some("https://ci/job/7 ü")), "xcache-https---ci-job-7--");
        assert_eq!(session_name(Some(&"x".repeat(100))).len(), 64);
    }
}
