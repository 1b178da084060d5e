//! The event file: the JSON of the webhook that started the run.
//!
//! Only pushes carry the message of the head commit. The event of a pull request has no commit messages, so a token in
//! one has no effect there until the branch is pushed to or merged.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

/// The parts of an event that we use. All of them may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The default branch of the repository, without `refs/heads/`.
    pub default_branch: Option<String>,
    /// The message of the head commit; only of pushes.
    pub head_commit_message: Option<String>,
    /// Whether a pull request comes from another repository; `None` if there is none or it is not said.
    pub is_from_fork: Option<bool>,
    /// The number of the pull request.
    pub pull_request_number: Option<u64>,
}

/// Why there is no event to be read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The file cannot be read.
    #[error("cannot read the event file `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any webhook.
    #[error("the event file `{0}` is larger than {limit} MiB", limit = Event::MAX_BYTES >> 20)]
    TooLarge(String),
    /// Not the JSON of an event.
    #[error("the event file `{path}` is not the JSON of an event")]
    Parse {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Event {
    /// GitHub caps webhooks at 25 MB.
    pub const MAX_BYTES: u64 = 32 << 20;

    /// Reads the event file.
    pub fn read(path: &Path) -> Result<Self, EventError> {
        let name = || path.display().to_string();
        let mut json = Vec::new();
        File::open(path)
            .and_then(|file| file.take(Self::MAX_BYTES + 1).read_to_end(&mut json))
            .map_err(|source| EventError::Read { path: name(), source })?;
        if json.len() as u64 > Self::MAX_BYTES {
            return Err(EventError::TooLarge(name()));
        }
        Self::parse(&json).map_err(|source| EventError::Parse { path: name(), source })
    }

    /// Parses the JSON of an event.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let RawEvent { repository, head_commit, pull_request } = serde_json::from_slice(json)?;
        let repository = repository.unwrap_or_default();
        let pull_request_number = pull_request.as_ref().and_then(|pull| pull.number);
        let head_repository = pull_request.and_then(|pull| pull.head).map(|head| {
            // The repository of a fork may be gone; a pull request from nowhere is not from here.
            head.repo.and_then(|repo| repo.full_name)
        });
        let is_from_fork = match (head_repository, &repository.full_name) {
            (Some(head), Some(here)) => Some(head.as_ref() != Some(here)),
            _ => None,
        };
        Ok(Self {
            default_branch: repository.default_branch.filter(|name| !name.is_empty()),
            head_commit_message: head_commit.and_then(|commit| commit.message),
            is_from_fork,
            pull_request_number,
        })
    }

    /// Whether the message of the head commit contains `token`. An empty token is in no message.
    pub fn has_token(&self, token: &str) -> bool {
        !token.is_empty() && self.head_commit_message.as_ref().is_some_and(|message| message.contains(token))
    }
}

#[derive(Deserialize)]
struct RawEvent {
    repository: Option<RawRepository>,
    head_commit: Option<RawCommit>,
    pull_request: Option<RawPullRequest>,
}

#[derive(Default, Deserialize)]
struct RawRepository {
    default_branch: Option<String>,
    full_name: Option<String>,
}

#[derive(Deserialize)]
struct RawCommit {
    message: Option<String>,
}

#[derive(Deserialize)]
struct RawPullRequest {
    number: Option<u64>,
    head: Option<RawHead>,
}

#[derive(Deserialize)]
struct RawHead {
    repo: Option<RawRepository>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_parsed_as_far_as_needed() {
        let check = |json: &str, default: Option<&str>, message: Option<&str>, is_from_fork| {
            let expected = Event {
                default_branch: default.map(str::to_owned),
                head_commit_message: message.map(str::to_owned),
                is_from_fork,
                pull_request_number: None,
            };
            assert_eq!(Event::parse(json.as_bytes()).unwrap(), expected, "{json}");
        };
        check("{}", None, None, None);
        check(r#"{"repository": null, "head_commit": null}"#, None, None, None);
        check(
            r#"{"ref": "refs/heads/main", "repository": {"default_branch": "main", "id": 1},
                "head_commit": {"message": "Fix\n\n[ci-clear-cache]", "id": "abc"}, "commits": [{}]}"#,
            Some("main"),
            Some("Fix\n\n[ci-clear-cache]"),
            None,
        );
        let pull = |head: &str| {
            format!(
                r#"{{"repository": {{"default_branch": "main", "full_name": "o/r"}}, "pull_request": {{"head": {head}}}}}"#
            )
        };
        check(&pull(r#"{"repo": {"full_name": "o/r"}}"#), Some("main"), None, Some(false));
        check(&pull(r#"{"repo": {"full_name": "x/r"}}"#), Some("main"), None, Some(true));
        check(&pull(r#"{"repo": null}"#), Some("main"), None, Some(true));
        let event = Event::parse(br#"{"pull_request": {"number": 7}}"#).unwrap();
        assert_eq!(event, Event { pull_request_number: Some(7), ..Event::default() });
        for json in ["", "[]", "{", r#"{"repository": 1}"#] {
            assert!(Event::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn a_token_is_found_anywhere_in_the_message() {
        let check = |message: Option<&str>, token, expected| {
            let event = Event { head_commit_message: message.map(str::to_owned), ..Event::default() };
            assert_eq!(event.has_token(token), expected, "{message:?} {token}");
        };
        check(Some("Fix [ci-clear-cache] it"), "[ci-clear-cache]", true);
        check(Some("Fix\n\n[ci-clear-cache]\n"), "[ci-clear-cache]", true);
        check(Some("Fix ci-clear-cache"), "[ci-clear-cache]", false);
        check(Some("Fix"), "", false);
        check(None, "[ci-clear-cache]", false);
    }

    #[test]
    fn a_missing_or_broken_file_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("event.json");
        assert!(matches!(Event::read(&path), Err(EventError::Read { .. })));
        std::fs::write(&path, "nonsense").unwrap();
        let error = Event::read(&path).unwrap_err();
        assert!(error.to_string().contains("event.json"), "{error}");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(Event::read(&path).unwrap(), Event::default());
    }
}
