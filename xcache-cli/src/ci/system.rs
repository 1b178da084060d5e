//! The CI systems whose variables are understood, and how each is recognised.

use super::env::Env;

/// A CI system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// GitHub Actions, and what imitates it without saying so.
    GitHub,
    /// Forgejo Actions.
    Forgejo,
    /// Gitea Actions.
    Gitea,
    /// GitLab CI/CD.
    GitLab,
    /// Buildkite.
    Buildkite,
    /// CircleCI.
    CircleCi,
    /// Azure Pipelines.
    Azure,
    /// Jenkins.
    Jenkins,
}

impl System {
    /// The system that this environment belongs to; `None` outside CI, and in systems that are not known.
    pub(super) fn detect(env: &Env<'_>) -> Option<Self> {
        // Forgejo sets the variables of Gitea as well, and both set those of GitHub: the most particular one decides.
        [
            ("FORGEJO_ACTIONS", Self::Forgejo),
            ("GITEA_ACTIONS", Self::Gitea),
            ("GITHUB_ACTIONS", Self::GitHub),
            ("GITLAB_CI", Self::GitLab),
            ("BUILDKITE", Self::Buildkite),
            ("CIRCLECI", Self::CircleCi),
            ("TF_BUILD", Self::Azure),
        ]
        .into_iter()
        .find_map(|(name, system)| env.is_true(name).then_some(system))
        // Jenkins has no switch: it gives the address of its controller, where one is configured, and names the build.
        .or_else(|| (env.text("JENKINS_URL").or_else(|| env.text("HUDSON_URL"))).map(|_| Self::Jenkins))
    }

    /// Whether steps answer through files and workflow commands, as in GitHub Actions.
    pub fn is_actions(self) -> bool {
        matches!(self, Self::GitHub | Self::Forgejo | Self::Gitea)
    }

    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub Actions",
            Self::Forgejo => "Forgejo Actions",
            Self::Gitea => "Gitea Actions",
            Self::GitLab => "GitLab CI/CD",
            Self::Buildkite => "Buildkite",
            Self::CircleCi => "CircleCI",
            Self::Azure => "Azure Pipelines",
            Self::Jenkins => "Jenkins",
        }
    }
}
