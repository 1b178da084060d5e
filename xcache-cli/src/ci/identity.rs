//! Where a job gets a token of its identity, and how the user gets it one.

use xcache_core::redact::Secret;
use xcache_core::store::s3::identity::token::{AUDIENCE, TokenSource};

use super::env::Env;
use super::system::System;

/// Takes a token on any system.
pub(crate) const VARIABLE: &str = "XCACHE_ID_TOKEN";

/// What Buildkite's agent needs to ask for a token, and to find its way. Nothing else of our environment is passed on.
const FOR_AGENT: [&str; 17] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "BUILDKITE_AGENT_ENDPOINT",
    "BUILDKITE_AGENT_JOB_API_SOCKET",
    "BUILDKITE_AGENT_JOB_API_TOKEN",
    "BUILDKITE_JOB_ID",
    "BUILDKITE_NO_HTTP2",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The same for the command of CircleCI's agent, which finds it by a socket or an address of its own.
const FOR_CIRCLECI: [&str; 14] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "CIRCLECI",
    "CIRCLE_BUILD_NUM",
    "CIRCLE_INTERNAL_CONFIG",
    "CIRCLE_INTERNAL_SCRATCH",
    "CIRCLE_INTERNAL_TASK_DATA",
    "CIRCLE_WORKFLOW_ID",
    "CIRCLE_WORKFLOW_JOB_ID",
    "CIRCLE_WORKFLOW_WORKSPACE_ID",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
];

/// Where a token comes from: the variable of ours, then what the system has, then the file that other tools of AWS take.
///
/// - GitHub: <https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token>
/// - Buildkite: <https://buildkite.com/docs/agent/v3/cli-oidc>
/// - CircleCI: <https://circleci.com/docs/guides/permissions-authentication/openid-connect-tokens/>
pub(super) fn source(system: Option<System>, env: &Env<'_>) -> Option<TokenSource> {
    let given =
        |name, newer| env.text(name).map(|token| TokenSource::Variable { name, token: Secret::new(token), newer });
    let variable = |name| given(name, None);
    let environment = |names: &[&'static str]| {
        names.iter().filter_map(|&name| Some((name, env.path(name)?.into_os_string()))).collect()
    };
    let of_system = || match system? {
        System::GitHub | System::Forgejo | System::Gitea => Some(TokenSource::Endpoint {
            url: env.text("ACTIONS_ID_TOKEN_REQUEST_URL")?,
            bearer: Secret::new(env.text("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?),
        }),
        System::Buildkite => Some(TokenSource::Program {
            command: ["buildkite-agent", "oidc", "request-token", "--audience", AUDIENCE].map(str::to_owned).into(),
            environment: environment(&FOR_AGENT),
        }),
        System::CircleCi => {
            // The variables hold for an hour. The command gives a new token, with the same audience.
            let newer = || {
                let command = ["circleci", "run", "oidc", "get"].map(str::to_owned).into();
                Some(Box::new(TokenSource::Program { command, environment: environment(&FOR_CIRCLECI) }))
            };
            given("CIRCLE_OIDC_TOKEN_V2", newer()).or_else(|| given("CIRCLE_OIDC_TOKEN", newer()))
        }
        System::GitLab | System::Azure | System::Jenkins => None,
    };
    variable(VARIABLE).or_else(of_system).or_else(|| env.path("AWS_WEB_IDENTITY_TOKEN_FILE").map(TokenSource::File))
}

/// What gives a job of this system a token.
pub(crate) fn hint(system: Option<System>) -> &'static str {
    match system {
        Some(System::GitHub) => "add `permissions: id-token: write` to the job; jobs of forks get no token",
        Some(System::GitLab) => "add `id_tokens: {XCACHE_ID_TOKEN: {aud: sts.amazonaws.com}}` to the job",
        Some(System::CircleCi) => "CircleCI gives a token to jobs that use a context",
        _ => "put an identity token for `sts.amazonaws.com` into XCACHE_ID_TOKEN",
    }
}
