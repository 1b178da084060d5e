//! Identity tokens: where a CI system has them, and getting one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde::Deserialize;

use super::super::super::{Error, ErrorKind, Result};
use crate::redact::Secret;

/// One try. A token service answers in well under a second.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A busy service is asked again, a silent one too.
const ATTEMPTS: u32 = 3;
/// Between tries: one second, then two.
const PAUSE: Duration = Duration::from_secs(1);
/// No token is longer: those of GitHub have about 2,000 bytes, STS takes 20,000 characters.
const MAX_BYTES: usize = 64 << 10;

/// What the token is for. The trust policy of the role names it.
pub const AUDIENCE: &str = "sts.amazonaws.com";

/// Where an identity token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The runner gives a new one on each request, as GitHub's does.
    Endpoint {
        /// `ACTIONS_ID_TOKEN_REQUEST_URL`.
        url: String,
        /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
        bearer: Secret,
    },
    /// The CI system has put it into a variable.
    Variable {
        /// Its name, for messages.
        name: &'static str,
        /// The token.
        token: Secret,
        /// Gives a newer one when this one is over, if the system has that.
        newer: Option<Box<TokenSource>>,
    },
    /// A file that is kept up to date by others, as on Kubernetes.
    File(PathBuf),
    /// A program prints a new one, as Buildkite's agent does.
    Program {
        /// The program and its arguments.
        command: Vec<String>,
        /// All of its environment, so that it sees none of our secrets.
        environment: Vec<(&'static str, OsString)>,
    },
}

impl std::fmt::Display for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint { .. } => f.write_str("the token service of the runner"),
            Self::Variable { name, .. } => f.write_str(name),
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Program { command, .. } => write!(f, "the output of `{}`", command.join(" ")),
        }
    }
}

/// The answer of an endpoint.
#[derive(Deserialize)]
struct Answer {
    value: String,
}

/// Why there is no token. Whether another try may help decides about it.
struct TokenFailure {
    error: Error,
    is_passing: bool,
}

/// Gets a token. At most three tries, 18 seconds in all.
pub(super) async fn get(source: &TokenSource, http: &SharedHttpConnector) -> Result<Secret> {
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS {
        let failure = match once(source, http).await {
            Ok(token) => return Ok(token),
            Err(failure) => failure,
        };
        if !failure.is_passing || attempt == ATTEMPTS {
            return Err(failure.error);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    unreachable!("the last try returns")
}

async fn once(source: &TokenSource, http: &SharedHttpConnector) -> std::result::Result<Secret, TokenFailure> {
    let bytes = match source {
        TokenSource::Variable { token, newer: Some(newer), .. } if is_over(token, SystemTime::now()) => {
            // STS says what is wrong with the old one, which is more than that there is no new one.
            return Ok(Box::pin(once(newer, http)).await.unwrap_or_else(|_| token.clone()));
        }
        TokenSource::Variable { token, .. } => return Ok(token.clone()),
        TokenSource::File(path) => std::fs::read(path).map_err(|error| TokenFailure {
            error: Error::new(ErrorKind::Unauthenticated, "read", path.display()).detail(error.to_string()),
            is_passing: false,
        })?,
        TokenSource::Endpoint { url, bearer } => {
            let asking = ask(url, bearer, http);
            let silent = || TokenFailure {
                error: failed("the token service does not answer").hint(RUNNER_HINT),
                is_passing: true,
            };
            return tokio::time::timeout(ATTEMPT, asking).await.map_err(|_| silent())?;
        }
        TokenSource::Program { command, environment } => print(command, environment).await?,
    };
    let text = String::from_utf8(bytes).unwrap_or_default();
    check(text.trim())
        .ok_or_else(|| TokenFailure { error: failed(format!("{source} holds no identity token")), is_passing: false })
}

const RUNNER_HINT: &str = "the runner gives identity tokens; its log may tell more";

fn failed(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unauthenticated, "get", "an identity token").detail(detail)
}

/// A token is three words of base64url with dots between them. Anything else, a page of HTML above all, is none.
fn check(text: &str) -> Option<Secret> {
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '='))
    };
    let words: Vec<&str> = text.split('.').collect();
    (text.len() <= MAX_BYTES && words.len() == 3 && words.into_iter().all(is_word)).then(|| Secret::new(text))
}

/// Whether a token says that it is not valid any more, or not for long enough to be exchanged.
fn is_over(token: &Secret, now: SystemTime) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let claims = token.expose().split('.').nth(1).unwrap_or_default();
    let padded = format!("{claims}{}", "=".repeat((4 - claims.len() % 4) % 4)).replace('-', "+").replace('_', "/");
    let claims = aws_smithy_types::base64::decode(padded).ok();
    let claims = claims.and_then(|bytes| serde_json::from_slice::<Claims>(&bytes).ok());
    let until = claims.and_then(|claims| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp)));
    until.is_some_and(|until| until < now + ATTEMPT)
}

/// Asks the runner's service.
async fn ask(url: &str, bearer: &Secret, http: &SharedHttpConnector) -> std::result::Result<Secret, TokenFailure> {
    let permanent = |error: Error| TokenFailure { error, is_passing: false };
    let separator = if url.contains('?') { '&' } else { '?' };
    let mut request = HttpRequest::new(SdkBody::empty());
    let is_set = request.set_uri(format!("{url}{separator}audience={AUDIENCE}")).is_ok();
    let authorization = format!("Bearer {}", bearer.expose());
    let headers = request.headers_mut();
    let has_headers = headers.try_append("authorization", authorization).is_ok()
        && headers.try_append("accept", "application/json").is_ok()
        && headers.try_append("user-agent", concat!("xcache/", env!("CARGO_PKG_VERSION"))).is_ok();
    if !is_set || !has_headers {
        return Err(permanent(failed("ACTIONS_ID_TOKEN_REQUEST_URL or ACTIONS_ID_TOKEN_REQUEST_TOKEN is not valid")));
    }
    let response = http.call(request).await.map_err(|error| TokenFailure {
        error: failed("the token service cannot be reached").source(error).hint(RUNNER_HINT),
        is_passing: true,
    })?;
    let status = response.status().as_u16();
    if status != 200 {
        let is_passing = matches!(status, 408 | 429 | 500..=599);
        let error = failed(format!("the token service answered with HTTP {status}"));
        let hint = match status {
            401 | 403 => "the job needs `permissions: id-token: write`",
            _ => RUNNER_HINT,
        };
        return Err(TokenFailure { error: error.hint(hint), is_passing });
    }
    let body =
        read(response.into_body()).await.map_err(|detail| TokenFailure { error: failed(detail), is_passing: true })?;
    let token = serde_json::from_slice::<Answer>(&body).ok().and_then(|answer| check(answer.value.trim()));
    token.ok_or_else(|| permanent(failed("the answer of the token service holds no identity token").hint(RUNNER_HINT)))
}

/// Reads a body of a length that a token can have.
async fn read(body: SdkBody) -> std::result::Result<Vec<u8>, &'static str> {
    let (mut stream, mut bytes) = (ByteStream::new(body), Vec::new());
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(|_| "the answer of the token service was cut short")?);
        if bytes.len() > MAX_BYTES {
            return Err("the answer of the token service is too long");
        }
    }
    Ok(bytes)
}

/// Runs a program that prints a token. It gets nothing of our environment but what is named.
async fn print(
    command: &[String],
    environment: &[(&'static str, OsString)],
) -> std::result::Result<Vec<u8>, TokenFailure> {
    let permanent = |error: Error| TokenFailure { error, is_passing: false };
    let Some((program, arguments)) = command.split_first() else {
        return Err(permanent(failed("there is no program to ask")));
    };
    let mut child = tokio::process::Command::new(program);
    child.args(arguments).env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match tokio::time::timeout(ATTEMPT, child.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(permanent(failed(format!("cannot run `{program}`: {error}")))),
        Err(_) => {
            return Err(TokenFailure { error: failed(format!("`{program}` does not end")), is_passing: true });
        }
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    // Its standard output may hold a token after all; its messages do not.
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim();
    let error = failed(format!("`{}` failed ({}): {said}", command.join(" "), output.status));
    Err(TokenFailure { error, is_passing: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_words() {
        for (text, expected) in [
            ("eyJh.eyJz.c2ln", true),
            ("eyJh.eyJz.c2ln-_", true),
            ("eyJh.eyJz", false),
            ("eyJh..c2ln", false),
            ("<html>a.b.c</html>", false),
            ("", false),
        ] {
            assert_eq!(check(text).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn a_token_says_when_it_is_over() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (claims, expected) in [
            (r#"{"exp":999999,"sub":"a?"}"#, true),
            (r#"{"exp":1000001}"#, true),
            (r#"{"exp":1003600,"aud":"~~~"}"#, false),
            (r#"{"exp":18446744073709551615}"#, false),
            ("{}", false),
            ("no JSON", false),
        ] {
            let encoded = aws_smithy_types::base64::encode(claims).replace('+', "-").replace('/', "_");
            let token = Secret::new(format!("eyJh.{}.c2ln", encoded.trim_end_matches('=')));
            assert_eq!(is_over(&token, now), expected, "{claims}");
        }
        assert!(!is_over(&Secret::new("a.%.c"), now));
    }

    #[test]
    fn tokens_do_not_show() {
        let secret = Secret::new("hush");
        let sources = [
            TokenSource::Endpoint { url: "https://x".into(), bearer: secret.clone() },
            TokenSource::Variable { name: "X", token: secret, newer: None },
        ];
        assert!(!format!("{sources:?}").contains("hush"));
    }
}
