//! The one table of the variables that CI systems set: one function per system, one line per column.
//!
//! Each function names the pages that document its variables. The tests read environments that were written from these
//! pages: `tests/ci/`.

use std::ffi::OsString;

use super::env::{Env, without_heads};
use super::identity;
use super::job::{CiJob, Origin, PullRequest};
use super::system::System;

/// Reads the environment through `lookup`. Blank variables are treated as absent, because CI systems set what their
/// expressions leave empty.
pub(crate) fn read(lookup: &dyn Fn(&str) -> Option<OsString>) -> CiJob {
    let env = Env::new(lookup);
    columns(System::detect(&env), &env)
}

/// Reads the columns of `system`.
fn columns(system: Option<System>, env: &Env<'_>) -> CiJob {
    let identity = identity::source(system, env);
    let Some(system) = system else { return CiJob { identity, ..by_hand(env) } };
    let job = match system {
        System::GitHub | System::Forgejo | System::Gitea => actions(env),
        System::GitLab => gitlab(env),
        System::Buildkite => buildkite(env),
        System::CircleCi => circleci(env),
        System::Azure => azure(env),
        System::Jenkins => jenkins(env),
    };
    CiJob { system: Some(system), identity, ..job }
}

/// Outside CI: people set these by hand to tag what they save.
fn by_hand(env: &Env<'_>) -> CiJob {
    CiJob {
        is_debug: env.is_true("RUNNER_DEBUG"),
        own_ref: env.text("GITHUB_REF"),
        base_branch: env.text("GITHUB_BASE_REF"),
        commit: env.text("GITHUB_SHA"),
        repository: env.text("GITHUB_REPOSITORY"),
        ..CiJob::default()
    }
}

/// GitHub Actions, Forgejo Actions, Gitea Actions.
///
/// - <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>
/// - <https://forgejo.org/docs/latest/user/actions/reference/#default-environment-variables>
/// - <https://docs.gitea.com/usage/actions/actions-variables>
fn actions(env: &Env<'_>) -> CiJob {
    let trigger = env.text("GITHUB_EVENT_NAME");
    let own_ref = env.text("GITHUB_REF");
    let pull_ref = own_ref.clone().filter(|name| name.starts_with("refs/pull/"));
    let is_pull_request = pull_ref.is_some() || trigger.as_deref() == Some("pull_request");
    CiJob {
        origin: trigger.as_deref().map_or(Origin::Unknown, of_event),
        trigger,
        own_ref,
        base_branch: env.branch("GITHUB_BASE_REF"),
        // In the event file, as is whether a pull request comes from a fork.
        default_branch: None,
        pull_request: is_pull_request.then(|| PullRequest {
            git_ref: pull_ref,
            head_branch: env.branch("GITHUB_HEAD_REF"),
            is_from_fork: None,
        }),
        commit: env.text("GITHUB_SHA"),
        repository: env.text("GITHUB_REPOSITORY"),
        id: env.joined(&["GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "RUNNER_NAME"]),
        temp_dir: env.path("RUNNER_TEMP"),
        workspace: env.path("GITHUB_WORKSPACE"),
        is_debug: env.is_true("RUNNER_DEBUG"),
        cache_mode: env.text("ACTIONS_CACHE_MODE"),
        output: env.path("GITHUB_OUTPUT"),
        step_summary: env.path("GITHUB_STEP_SUMMARY"),
        event_path: env.path("GITHUB_EVENT_PATH"),
        system: None,
        identity: None,
    }
}

/// Who can start a run by an event of GitHub. The same division as GitHub's for its own cache:
/// <https://github.blog/changelog/2026-06-26-read-only-actions-cache-for-untrusted-triggers/>. What is on neither list
/// counts as unknown.
fn of_event(name: &str) -> Origin {
    match name {
        "push"
        | "schedule"
        | "workflow_dispatch"
        | "repository_dispatch"
        | "delete"
        | "registry_package"
        | "page_build"
        | "merge_group" => Origin::Trusted,
        "pull_request" => Origin::PullRequest,
        "pull_request_target" | "issue_comment" | "workflow_run" | "fork" | "watch" => Origin::Anyone,
        name if name.starts_with("pull_request_review") || name.starts_with("discussion") => Origin::Anyone,
        _ => Origin::Unknown,
    }
}

/// GitLab: <https://docs.gitlab.com/ci/variables/predefined_variables/>; sources of pipelines:
/// <https://docs.gitlab.com/ci/jobs/job_rules/#ci_pipeline_source-predefined-variable>.
fn gitlab(env: &Env<'_>) -> CiJob {
    let trigger = env.text("CI_PIPELINE_SOURCE");
    let merge_request = env.text("CI_MERGE_REQUEST_IID").map(|number| PullRequest {
        // One scope for all pipelines of a merge request: its ref is `…/head`, `…/merge` or `…/train` by turns.
        git_ref: Some(format!("refs/merge-requests/{number}/head")),
        head_branch: env.branch("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"),
        is_from_fork: differ(env.text("CI_MERGE_REQUEST_SOURCE_PROJECT_ID"), env.text("CI_MERGE_REQUEST_PROJECT_ID")),
    });
    let pull_request = env.text("CI_EXTERNAL_PULL_REQUEST_IID").map(|number| PullRequest {
        git_ref: Some(format!("refs/pull/{number}/head")),
        head_branch: env.branch("CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME"),
        is_from_fork: differ(
            env.text("CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY"),
            env.text("CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY"),
        ),
    });
    let pull_request = merge_request.or(pull_request);
    let origin = match trigger.as_deref() {
        // Also a child pipeline of a merge request's.
        _ if pull_request.is_some() => Origin::PullRequest,
        Some("push" | "web" | "webide" | "api" | "schedule" | "trigger" | "pipeline" | "parent_pipeline" | "chat") => {
            Origin::Trusted
        }
        _ => Origin::Unknown,
    };
    let own_ref = env.tag_or_branch("CI_COMMIT_TAG", "CI_COMMIT_REF_NAME");
    CiJob {
        trigger,
        origin,
        own_ref: pull_request.as_ref().and_then(|pull| pull.git_ref.clone()).or(own_ref),
        base_branch: env
            .branch("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
            .or_else(|| env.branch("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME")),
        default_branch: env.branch("CI_DEFAULT_BRANCH"),
        pull_request,
        commit: env.text("CI_COMMIT_SHA"),
        repository: env.text("CI_PROJECT_PATH"),
        id: env.joined(&["CI_JOB_ID", "CI_SERVER_HOST"]),
        temp_dir: None,
        is_debug: env.is_true("CI_DEBUG_TRACE"),
        ..CiJob::default()
    }
}

/// Buildkite: <https://buildkite.com/docs/pipelines/configure/environment-variables>.
fn buildkite(env: &Env<'_>) -> CiJob {
    let trigger = env.text("BUILDKITE_SOURCE");
    let pull_request = env.text("BUILDKITE_PULL_REQUEST").filter(|number| number != "false").map(|number| {
        let (from, here) = (env.text("BUILDKITE_PULL_REQUEST_REPO"), env.text("BUILDKITE_REPO"));
        PullRequest {
            git_ref: Some(format!("refs/pull/{number}/head")),
            head_branch: env.branch("BUILDKITE_BRANCH"),
            is_from_fork: differ(from.as_deref().and_then(path_of_url), here.as_deref().and_then(path_of_url)),
        }
    });
    let origin = match trigger.as_deref() {
        _ if pull_request.is_some() => Origin::PullRequest,
        Some("webhook" | "ui" | "api" | "schedule" | "trigger_job") => Origin::Trusted,
        _ => Origin::Unknown,
    };
    let own_ref = env.tag_or_branch("BUILDKITE_TAG", "BUILDKITE_BRANCH");
    CiJob {
        trigger,
        origin,
        own_ref: pull_request.as_ref().and_then(|pull| pull.git_ref.clone()).or(own_ref),
        base_branch: env.branch("BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
        default_branch: env.branch("BUILDKITE_PIPELINE_DEFAULT_BRANCH"),
        pull_request,
        commit: env.text("BUILDKITE_COMMIT"),
        repository: env.text("BUILDKITE_REPO").as_deref().and_then(path_of_url),
        id: env.text("BUILDKITE_JOB_ID"),
        temp_dir: None,
        is_debug: env.is_true("BUILDKITE_AGENT_DEBUG"),
        ..CiJob::default()
    }
}

/// CircleCI: <https://circleci.com/docs/reference/variables/>. It builds branches: that a branch of the repository has
/// a pull request changes nothing, and neither trigger nor default branch are in the environment. Builds of pull
/// requests from forks are known by the number that only these have.
fn circleci(env: &Env<'_>) -> CiJob {
    let from_fork = env.text("CIRCLE_PR_NUMBER").or_else(|| {
        let branch = env.text("CIRCLE_BRANCH")?;
        let number = branch.strip_prefix("pull/")?;
        number.parse::<u64>().is_ok().then(|| number.to_owned())
    });
    let pull_request = from_fork.map(|number| PullRequest {
        git_ref: Some(format!("refs/pull/{number}/head")),
        head_branch: env.branch("CIRCLE_BRANCH"),
        is_from_fork: Some(true),
    });
    let (owner, name) = (env.text("CIRCLE_PROJECT_USERNAME"), env.text("CIRCLE_PROJECT_REPONAME"));
    let by_url = || env.text("CIRCLE_REPOSITORY_URL").as_deref().and_then(path_of_url);
    let own_ref = env.tag_or_branch("CIRCLE_TAG", "CIRCLE_BRANCH");
    CiJob {
        trigger: None,
        origin: if pull_request.is_some() { Origin::PullRequest } else { Origin::Trusted },
        own_ref: pull_request.as_ref().and_then(|pull| pull.git_ref.clone()).or(own_ref),
        base_branch: None,
        default_branch: None,
        pull_request,
        commit: env.text("CIRCLE_SHA1"),
        repository: owner.zip(name).map(|(owner, name)| format!("{owner}/{name}")).or_else(by_url),
        id: env.joined(&["CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_NODE_INDEX"]).or_else(|| env.text("CIRCLE_BUILD_URL")),
        temp_dir: None,
        ..CiJob::default()
    }
}

/// Azure Pipelines: <https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables>. Names are written there
/// with dots and mixed case; in the environment they have underscores and capitals.
fn azure(env: &Env<'_>) -> CiJob {
    let trigger = env.text("BUILD_REASON");
    let own_ref = env.text("BUILD_SOURCEBRANCH");
    let pull_ref = own_ref.clone().filter(|name| name.starts_with("refs/pull/"));
    // GitHub's have a number besides the id that Azure gives them.
    let number = env.first(&["SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"]);
    let git_ref = pull_ref.or_else(|| number.map(|number| format!("refs/pull/{number}/merge")));
    let pull_request = (git_ref.is_some() || trigger.as_deref() == Some("PullRequest")).then(|| PullRequest {
        git_ref,
        head_branch: env.branch("SYSTEM_PULLREQUEST_SOURCEBRANCH"),
        is_from_fork: env.text("SYSTEM_PULLREQUEST_ISFORK").map(|text| !text.eq_ignore_ascii_case("false")),
    });
    let origin = match trigger.as_deref() {
        _ if pull_request.is_some() => Origin::PullRequest,
        Some("Manual" | "IndividualCI" | "BatchedCI" | "Schedule") => Origin::Trusted,
        // Another build has ended, perhaps that of a fork's pull request: as `workflow_run` of GitHub.
        Some("BuildCompletion" | "ResourceTrigger") => Origin::Anyone,
        _ => Origin::Unknown,
    };
    CiJob {
        trigger,
        origin,
        own_ref: pull_request.as_ref().and_then(|pull| pull.git_ref.clone()).or(own_ref),
        base_branch: env.branch("SYSTEM_PULLREQUEST_TARGETBRANCH"),
        default_branch: None,
        pull_request,
        commit: env.text("BUILD_SOURCEVERSION"),
        repository: env.text("BUILD_REPOSITORY_NAME"),
        id: env.joined(&["SYSTEM_JOBID", "SYSTEM_JOBATTEMPT"]),
        temp_dir: env.path("AGENT_TEMPDIRECTORY"),
        is_debug: env.is_true("SYSTEM_DEBUG"),
        ..CiJob::default()
    }
}

/// Jenkins: <https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables>, and for multibranch
/// projects `/env-vars.html` of any controller. `CHANGE_*` stand only in builds of changes. What started a build is
/// not in the environment.
fn jenkins(env: &Env<'_>) -> CiJob {
    let pull_request = env.text("CHANGE_ID").map(|number| PullRequest {
        git_ref: Some(format!("refs/pull/{number}/head")),
        head_branch: env.branch("CHANGE_BRANCH"),
        is_from_fork: Some(env.text("CHANGE_FORK").is_some()),
    });
    let branch = env.text("GIT_BRANCH").map(|name| {
        // The Git plugin names the remote as well where no multibranch project tells the bare name.
        let name = without_heads(&name);
        format!("refs/heads/{}", name.strip_prefix("origin/").unwrap_or(name))
    });
    let own_ref = env.tag_or_branch("TAG_NAME", "BRANCH_NAME").or(branch);
    CiJob {
        trigger: None,
        origin: if pull_request.is_some() { Origin::PullRequest } else { Origin::Trusted },
        own_ref: pull_request.as_ref().and_then(|pull| pull.git_ref.clone()).or(own_ref),
        base_branch: env.branch("CHANGE_TARGET"),
        default_branch: env.is_true("BRANCH_IS_PRIMARY").then(|| env.branch("BRANCH_NAME")).flatten(),
        pull_request,
        commit: env.text("GIT_COMMIT"),
        repository: env.text("GIT_URL").as_deref().and_then(path_of_url),
        // The tag of a build has `-` for each `/` of the job's name, so two jobs may share one; an address is unique.
        id: env.first(&["BUILD_URL", "BUILD_TAG"]),
        // Beside the workspace, and as long-lived; the id tells builds apart.
        temp_dir: env.path("WORKSPACE_TMP"),
        ..CiJob::default()
    }
}

/// Whether two names of repositories differ, which hosts do not tell apart by case; unknown if either is.
fn differ(from: Option<String>, here: Option<String>) -> Option<bool> {
    Some(!from?.eq_ignore_ascii_case(&here?))
}

/// `owner/name` of the URL of a repository: `https://host/owner/name.git`, `git@host:owner/name.git`.
fn path_of_url(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        // `git@host:owner/name`, or a path of this machine, of which the last two names say as much.
        None => url.split_once(':').map_or(url, |(_, path)| path),
    };
    let path = path.split(['?', '#']).next()?.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!path.is_empty()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use xcache_core::scope::Scope;

    use super::super::event::Event;
    use super::*;
    use crate::mode_args::{Access, ModeArgs, ModeChoice};
    use crate::scope_args::ScopeArgs;

    /// One recorded environment.
    struct Recorded {
        title: String,
        variables: BTreeMap<String, String>,
        event: Event,
        expected: Vec<(String, String)>,
    }

    /// Reads a file of `tests/ci`, whose README explains the format.
    fn recorded(system: &str) -> Vec<Recorded> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/ci").join(format!("{system}.txt"));
        let mut all: Vec<Recorded> = Vec::new();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                let (variables, event, expected) = Default::default();
                all.push(Recorded { title: format!("{system}: {title}"), variables, event, expected });
            } else if let Some(json) = line.strip_prefix("event ") {
                all.last_mut().unwrap().event = Event::parse(json.as_bytes()).unwrap();
            } else if let Some(column) = line.strip_prefix("> ") {
                let (name, value) = column.split_once(": ").unwrap();
                all.last_mut().unwrap().expected.push((name.to_owned(), value.to_owned()));
            } else if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                all.last_mut().unwrap().variables.insert(name.to_owned(), value.to_owned());
            }
        }
        all
    }

    /// A column of a job as a recorded environment writes it.
    fn column(job: &CiJob, name: &str) -> Option<String> {
        let pull = job.pull_request.as_ref();
        match name {
            "system" => job.system.map(|system| system.name().to_owned()),
            "ref" => job.own_ref.clone(),
            "base" => job.base_branch.clone(),
            "default" => job.default_branch.clone(),
            "pull request" => pull.and_then(|pull| pull.git_ref.clone()),
            "fork" => pull.and_then(|pull| pull.is_from_fork).map(|is_from_fork| is_from_fork.to_string()),
            "origin" => Some(
                match job.origin {
                    Origin::Trusted => "trusted",
                    Origin::PullRequest => "pull request",
                    Origin::Anyone => "anyone",
                    Origin::Unknown => "unknown",
                }
                .to_owned(),
            ),
            "commit" => job.commit.clone(),
            "repository" => job.repository.clone(),
            "branch" => job.branch().map(str::to_owned),
            "job" => job.id.clone(),
            "temp" => job.temp_dir.as_ref().map(|dir| dir.display().to_string()),
            "writes" => Some(scopes(job).0),
            "reads" => Some(scopes(job).1),
            "mode" => Some(access(job).mode.word().to_owned()),
            name => panic!("unknown column `{name}`"),
        }
    }

    /// What a run may do by default.
    fn access(job: &CiJob) -> Access {
        ModeArgs { mode: ModeChoice::Auto }.resolve(job)
    }

    /// Where a run saves and looks by default.
    fn scopes(job: &CiJob) -> (String, String) {
        let scopes = ScopeArgs { scope: None }.resolve(job, &mut access(job)).unwrap();
        let name = |scope: &Option<Scope>| scope.as_ref().map_or("shared".to_owned(), ToString::to_string);
        (name(&scopes.write), scopes.read.iter().map(name).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn each_column_is_read_as_recorded() {
        for system in ["github", "forgejo", "gitea", "gitlab", "buildkite", "circleci", "azure", "jenkins"] {
            let all = recorded(system);
            assert!(all.len() >= 5, "{system} has {} situations", all.len());
            for Recorded { title, variables, event, expected } in all {
                let job = read(&|name| variables.get(name).map(OsString::from)).with(&event);
                for (name, expected) in
                    expected.iter().filter(|(name, _)| !["writes", "reads", "mode"].contains(&&**name))
                {
                    let found = column(&job, name).unwrap_or_else(|| "-".to_owned());
                    assert_eq!(&found, expected, "{title}: {name}");
                }
            }
        }
    }

    #[test]
    fn the_name_of_a_repository_is_the_path_of_its_url() {
        for (url, expected) in [
            ("https://github.com/Owner/name.git", Some("Owner/name")),
            ("https://user:secret@host/group/sub/name", Some("group/sub/name")),
            ("git@github.com:owner/name.git", Some("owner/name")),
            ("ssh://git@host:22/owner/name.git/", Some("owner/name")),
            ("https://host", None),
            ("https://host/", None),
        ] {
            assert_eq!(path_of_url(url).as_deref(), expected, "{url}");
        }
    }
}
