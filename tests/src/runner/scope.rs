//! What expressions in a list of steps can refer to.

use std::collections::BTreeMap;

use super::expression::Context;
use super::{Runner, StepResult};

/// What is known inside a list of steps.
pub(super) struct Scope<'a> {
    pub(super) runner: &'a Runner,
    /// The variables of the step, beside those of the job.
    pub(super) env: BTreeMap<String, String>,
    pub(super) inputs: Option<&'a BTreeMap<String, String>>,
    pub(super) steps: &'a BTreeMap<String, StepResult>,
    pub(super) github: BTreeMap<&'static str, String>,
    pub(super) is_success: bool,
}

impl Context for Scope<'_> {
    fn lookup(&self, path: &[&str]) -> Option<String> {
        match path {
            ["env", name] => self.env.get(*name).or_else(|| self.runner.env.get(*name)).cloned(),
            ["inputs", name] => self.inputs.and_then(|inputs| inputs.get(*name)).cloned(),
            ["steps", id, "outputs", name] => self.steps.get(*id).and_then(|step| step.outputs.get(*name)).cloned(),
            ["steps", id, "outcome"] => {
                self.steps.get(*id).map(|step| if step.is_failure { "failure" } else { "success" }.to_owned())
            }
            ["job", "status"] => Some(self.runner.job_status.to_owned()),
            ["runner", "os"] => Some("Linux".to_owned()),
            ["runner", "temp"] => Some(self.runner.temp().display().to_string()),
            ["github", "workspace"] => Some(self.runner.job.work().display().to_string()),
            ["github", name] => self.github.get(*name).or_else(|| self.runner.github.get(*name)).cloned(),
            ["secrets" | "vars", name] => self.runner.settings.get(*name).cloned(),
            path => panic!("`{}` is not supported", path.join(".")),
        }
    }

    fn is_success(&self) -> bool {
        self.is_success
    }
}
