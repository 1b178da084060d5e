//! A CI job as its environment describes it, in the same terms for all systems.

use std::path::PathBuf;

use xcache_core::naming::branch_tag;

use xcache_core::store::s3::identity::token::TokenSource;

use super::event::Event;
use super::system::System;

/// What a job is, where it runs and what started it. Outside CI everything is absent, except for what variables of
/// GitHub's names say of ref, commit and repository: people set these by hand to tag what they save.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CiJob {
    /// The CI system; `None` outside CI.
    pub system: Option<System>,
    /// What started the run, in the system's own word.
    pub trigger: Option<String>,
    /// Who can start such a run, or influence what it executes.
    pub origin: Origin,
    /// The ref that is built, in full: `refs/heads/main`, `refs/tags/v1`, `refs/pull/7/merge`.
    pub own_ref: Option<String>,
    /// The branch that a pull request is for, without `refs/heads/`.
    pub base_branch: Option<String>,
    /// The repository's default branch, without `refs/heads/`.
    pub default_branch: Option<String>,
    /// The pull request that is built.
    pub pull_request: Option<PullRequest>,
    /// The commit.
    pub commit: Option<String>,
    /// `owner/name`.
    pub repository: Option<String>,
    /// Tells this job from all others that ever run on the same machine.
    pub id: Option<String>,
    /// A directory that lives as long as the job, if the system has one.
    pub temp_dir: Option<PathBuf>,
    /// The checkout, where steps run elsewhere: relative paths start here.
    pub workspace: Option<PathBuf>,
    /// Whether the user asked for debug logs.
    pub is_debug: bool,
    /// The mode that the system gives to its own cache for this job: `ACTIONS_CACHE_MODE`.
    pub cache_mode: Option<String>,
    /// Where the job gets a token of its identity.
    pub identity: Option<TokenSource>,
    /// Takes the outputs of the step.
    pub output: Option<PathBuf>,
    /// Takes the summary of the step.
    pub step_summary: Option<PathBuf>,
    /// Holds the event that started the run.
    pub event_path: Option<PathBuf>,
}

/// A pull request, or what the system calls so: a merge request, a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullRequest {
    /// Its ref, which no branch has: `refs/pull/7/merge`, `refs/merge-requests/7/head`. `None` if its number is unknown.
    pub git_ref: Option<String>,
    /// The branch that it comes from, perhaps in a fork.
    pub head_branch: Option<String>,
    /// Whether it comes from another repository; `None` if that is not known.
    pub is_from_fork: Option<bool>,
}

/// Who can start a run, or influence what it executes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Those who may write to the repository. Also every run outside CI.
    #[default]
    Trusted,
    /// The author of a pull request.
    PullRequest,
    /// Anyone: the trigger is known to be open to people who may not write to the repository.
    Anyone,
    /// The trigger is not one that we know.
    Unknown,
}

impl CiJob {
    /// Whether this is a job of a CI system.
    pub fn is_ci(&self) -> bool {
        self.system.is_some()
    }

    /// Whether steps answer through files and workflow commands, as in GitHub Actions.
    pub fn is_actions(&self) -> bool {
        self.system.is_some_and(System::is_actions)
    }

    /// Adds what the event file knows and the environment does not.
    #[must_use]
    pub fn with(&self, event: &Event) -> Self {
        let mut job = self.clone();
        job.default_branch = job.default_branch.or_else(|| event.default_branch.clone());
        if let Some(pull_request) = &mut job.pull_request {
            pull_request.is_from_fork = pull_request.is_from_fork.or(event.is_from_fork);
            let by_number = || event.pull_request_number.map(|number| format!("refs/pull/{number}/merge"));
            pull_request.git_ref = pull_request.git_ref.take().or_else(by_number);
        }
        job
    }

    /// The branch that entries of this run are tagged with: `main`, `tags/v1`, the head branch of a pull request of the
    /// same repository, or `pull/7/merge` for one from a fork (whose `main` is not our `main`) and for one of which it
    /// is not known where it comes from.
    pub fn branch(&self) -> Option<&str> {
        let head = self.pull_request.as_ref().filter(|pull| pull.is_from_fork == Some(false));
        if let Some(head) = head.and_then(|pull| pull.head_branch.as_deref()) {
            return Some(head);
        }
        let pull_ref = self.pull_request.as_ref().and_then(|pull| pull.git_ref.as_deref());
        let name = pull_ref.or(self.own_ref.as_deref())?;
        Some(branch_tag(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(variables: &[(&str, &str)]) -> CiJob {
        super::super::table::read(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn blank_variables_count_as_absent() {
        assert_eq!(job(&[]), CiJob::default());
        assert_eq!(job(&[("GITHUB_ACTIONS", "false"), ("GITHUB_REF", " "), ("RUNNER_TEMP", "/t")]), CiJob::default());
        assert!(job(&[("GITHUB_ACTIONS", "true")]).is_actions());
        assert!(!job(&[("GITLAB_CI", "true")]).is_actions());
        assert!(job(&[("GITLAB_CI", "true")]).is_ci());
    }

    #[test]
    fn the_branch_of_a_fork_is_not_ours() {
        let check = |ref_name, head: &str, is_from_fork, expected: &str| {
            let variables = [("GITHUB_ACTIONS", "true"), ("GITHUB_REF", ref_name), ("GITHUB_HEAD_REF", head)];
            let event = Event { is_from_fork, ..Event::default() };
            let job = job(&variables).with(&event);
            assert_eq!(job.branch(), Some(expected).filter(|text| !text.is_empty()), "{ref_name} {head}");
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

    #[test]
    fn a_pull_request_that_is_built_on_its_base_branch_is_known_by_its_number() {
        let variables =
            [("GITHUB_ACTIONS", "true"), ("GITHUB_EVENT_NAME", "pull_request"), ("GITHUB_REF", "refs/heads/main")];
        let event = Event { pull_request_number: Some(7), ..Event::default() };
        assert_eq!(job(&variables).with(&event).branch(), Some("pull/7/merge"));
    }
}
