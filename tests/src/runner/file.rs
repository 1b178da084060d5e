//! Workflow and action files, with the keys that ours use. An unknown key fails the test: the emulation must not
//! silently leave out what the real runner would do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A map from names to texts.
pub type Texts = BTreeMap<String, Text>;

/// A scalar, which YAML may have read as something else than a text.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Text {
    /// Such as `true`.
    Bool(bool),
    /// Such as `3`.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// An `action.yml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// How it looks in a list of actions.
    pub branding: BTreeMap<String, String>,
    /// What it takes.
    pub inputs: BTreeMap<String, Input>,
    /// What it gives.
    pub outputs: BTreeMap<String, Output>,
    /// How it does it.
    pub runs: Runs,
}

/// An input of an action.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What it is for.
    pub description: String,
    /// Whether it must be given; the runner does not check.
    #[serde(default)]
    pub required: bool,
    /// What it is if not given.
    pub default: Option<Text>,
}

/// An output of an action.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// What it says.
    pub description: String,
    /// An expression, in a composite action.
    pub value: Option<String>,
}

/// What an action runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "using")]
pub enum Runs {
    /// Steps.
    Composite {
        /// In order.
        steps: Vec<Step>,
    },
    /// JavaScript.
    Node24 {
        /// What runs as the step, relative to the action.
        main: String,
        /// What runs at the end of the job.
        post: String,
    },
}

/// A step of an action or a job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// The name under which later steps find its outputs.
    pub id: Option<String>,
    /// What it is called in the log.
    pub name: Option<String>,
    /// When it runs.
    pub r#if: Option<String>,
    /// The action that it uses.
    pub uses: Option<String>,
    /// Inputs of that action.
    #[serde(default)]
    pub with: Texts,
    /// Variables.
    #[serde(default)]
    pub env: Texts,
    /// The shell that runs the script.
    pub shell: Option<String>,
    /// The script.
    pub run: Option<String>,
    /// Where the script runs.
    pub working_directory: Option<String>,
    /// Whether later steps run meanwhile, until one waits for it.
    #[serde(default)]
    pub background: bool,
    /// The background steps to wait for, in a step that does nothing else.
    #[serde(default)]
    pub wait: Vec<String>,
}

/// A workflow. Triggers and permissions are for the linters to check.
#[derive(Clone, Debug, Deserialize)]
pub struct Workflow {
    /// Variables of all jobs.
    #[serde(default)]
    pub env: Texts,
    /// The jobs.
    pub jobs: BTreeMap<String, WorkflowJob>,
}

/// A job of a workflow.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkflowJob {
    /// Variables of all steps.
    #[serde(default)]
    pub env: Texts,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// Reads a YAML file.
pub fn read<T: DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
