//! The variables that a runner sets for a step.

use std::ffi::OsString;
use std::path::PathBuf;

use super::event::Event;
use crate::env_vars as var;

/// What the environment of a step tells. Blank variables count as not set, as runners set them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GithubEnv {
    /// Whether this is a job of GitHub Actions. The rest may be set elsewhere too and is then only a hint.
    pub is_actions: bool,
    /// Whether the user asked for debug logs.
    pub is_debug: bool,
    /// Takes the outputs of the step.
    pub output: Option<PathBuf>,
    /// Takes the summary of the step.
    pub step_summary: Option<PathBuf>,
    /// Holds the event.
    pub event_path: Option<PathBuf>,
    /// The checkout.
    pub workspace: Option<PathBuf>,
    /// Lives as long as the job.
    pub runner_temp: Option<PathBuf>,
    /// `refs/heads/main`, `refs/tags/v1`, `refs/pull/7/merge`.
    pub ref_name: Option<String>,
    /// The branch that a pull request comes from, perhaps in a fork.
    pub head_ref: Option<String>,
    /// The branch that a pull request is for.
    pub base_ref: Option<String>,
    /// The commit.
    pub sha: Option<String>,
    /// `owner/name`.
    pub repository: Option<String>,
}

impl GithubEnv {
    /// Reads the variables through `lookup`.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name| lookup(name).and_then(|value| value.into_string().ok()).filter(|text| !text.is_empty());
        Self {
            is_actions: text(var::GITHUB_ACTIONS).as_deref() == Some("true"),
            is_debug: text(var::RUNNER_DEBUG).as_deref() == Some("1"),
            output: path(var::GITHUB_OUTPUT),
            step_summary: path(var::GITHUB_STEP_SUMMARY),
            event_path: path(var::GITHUB_EVENT_PATH),
            workspace: path(var::GITHUB_WORKSPACE),
            runner_temp: path(var::RUNNER_TEMP),
            ref_name: text(var::GITHUB_REF),
            head_ref: text(var::GITHUB_HEAD_REF),
            base_ref: text(var::GITHUB_BASE_REF),
            sha: text(var::GITHUB_SHA),
            repository: text(var::GITHUB_REPOSITORY),
        }
    }

    /// The branch that entries of this run are tagged with: `main`, `tags/v1`, the head branch of a pull request of
    /// the same repository, or `pull/7/merge` for one from a fork (whose `main` is not our `main`) and for one of
    /// which we do not know where it comes from.
    pub fn branch(&self, event: &Event) -> Option<&str> {
        let ref_name = self.ref_name.as_deref()?;
        match (ref_name.strip_prefix("refs/pull/"), &self.head_ref) {
            (Some(_), Some(head)) if event.is_from_fork == Some(false) => Some(head),
            _ => Some(ref_name.strip_prefix("refs/heads/").or(ref_name.strip_prefix("refs/")).unwrap_or(ref_name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> GithubEnv {
        GithubEnv::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn only_true_is_actions_and_blank_is_unset() {
        assert_eq!(env(&[]), GithubEnv::default());
        assert_eq!(env(&[("GITHUB_ACTIONS", "false"), ("GITHUB_HEAD_REF", ""), ("RUNNER_TEMP", "")]), env(&[]));
        assert!(env(&[("GITHUB_ACTIONS", "true")]).is_actions);
        assert!(env(&[("RUNNER_DEBUG", "1")]).is_debug);
        assert_eq!(env(&[("GITHUB_OUTPUT", "/o")]).output, Some("/o".into()));
    }

    #[test]
    fn the_branch_of_a_fork_is_not_ours() {
        let check = |ref_name, head: &str, is_from_fork, expected: &str| {
            let env = env(&[("GITHUB_REF", ref_name), ("GITHUB_HEAD_REF", head)]);
            let event = Event { is_from_fork, ..Event::default() };
            assert_eq!(env.branch(&event), Some(expected).filter(|text| !text.is_empty()));
        };
        check("refs/heads/main", "", None, "main");
        check("refs/heads/fix/7", "", None, "fix/7");
        check("refs/tags/v1", "", None, "tags/v1");
        check("refs/pull/7/merge", "fix", Some(false), "fix");
        check("refs/pull/7/merge", "main", Some(true), "pull/7/merge");
        check("refs/pull/7/merge", "main", None, "pull/7/merge");
        // `pull_request_target` runs on the base branch, whatever the head is called.
        check("refs/heads/main", "fix", Some(false), "main");
        check("", "", None, "");
    }
}
