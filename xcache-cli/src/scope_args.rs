//! Which entries a run may see: the `--scope` argument.

use clap::Args;

use super::UsageError;
use super::env_vars as var;
use super::mode_args::{Access, Mode};
use crate::ci::job::CiJob;
use xcache_core::scope::{RunRefs, ScopeError, ScopeMode, Scopes};

/// Keeping the entries of one ref apart from those of others.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct ScopeArgs {
    /// Separate entries: `auto` (those of pull requests), `none`, `ref` (by git ref, as GitHub does), or a name
    /// [default: auto in CI, otherwise none]
    ///
    /// With `auto` a pull request saves into a scope of its own and looks there first, then at the shared entries, which
    /// all other runs save and look for. With `ref` or a name, entries are saved to the scope of the run only, and looked
    /// for there, then in the base branch of a pull request, then in the default branch.
    #[arg(long, env = var::SCOPE, value_name = "SCOPE")]
    pub scope: Option<ScopeMode>,
}

impl ScopeArgs {
    /// Works out where this run saves and looks. May leave less of `access` than there was.
    pub fn resolve(&self, job: &CiJob, access: &mut Access) -> Result<Scopes, UsageError> {
        let default = if job.is_ci() { ScopeMode::Auto } else { ScopeMode::None };
        let pull_request = job.pull_request.as_ref();
        let refs = RunRefs {
            own: match pull_request {
                Some(pull) => pull.git_ref.as_deref(),
                None => job.own_ref.as_deref(),
            },
            is_pull_request: pull_request.is_some(),
            base_branch: job.base_branch.as_deref(),
            default_branch: job.default_branch.as_deref(),
        };
        match Scopes::new(self.scope.as_ref().unwrap_or(&default), &refs) {
            // What a pull request saves must not become a shared entry. It may still read those.
            Err(error @ ScopeError::NoPullRequest) => {
                access.mode = if access.mode.may_read() { Mode::Read } else { Mode::None };
                access.reason = error.to_string();
                Ok(Scopes::none())
            }
            scopes => scopes.map_err(UsageError::options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ci::job::{Origin, PullRequest};
    use crate::ci::system::System;
    use crate::mode_args::{ModeArgs, ModeChoice};

    #[test]
    fn a_pull_request_without_a_number_saves_nothing() {
        let job = CiJob {
            system: Some(System::GitHub),
            origin: Origin::PullRequest,
            own_ref: Some("refs/heads/main".to_owned()),
            pull_request: Some(PullRequest::default()),
            ..CiJob::default()
        };
        let check = |scope: Option<ScopeMode>, choice, expected_mode, expected: Option<&str>| {
            let mut access = ModeArgs { mode: choice }.resolve(&job);
            let scopes = ScopeArgs { scope }.resolve(&job, &mut access).ok();
            let write = scopes.map(|scopes| scopes.write.map_or("shared".to_owned(), |scope| scope.to_string()));
            assert_eq!((access.mode, write.as_deref()), (expected_mode, expected));
        };
        check(None, ModeChoice::Auto, Mode::Read, Some("shared"));
        check(None, ModeChoice::Mode(Mode::Write), Mode::Read, Some("shared"));
        check(None, ModeChoice::Mode(Mode::WriteOnly), Mode::None, Some("shared"));
        check("mine".parse().ok(), ModeChoice::Auto, Mode::Write, Some("scope/mine"));
        check(Some(ScopeMode::None), ModeChoice::Auto, Mode::Write, Some("shared"));
        check(Some(ScopeMode::Ref), ModeChoice::Auto, Mode::Write, None);
    }
}
