//! GitHub Actions: what a step is told, and how it answers.
//!
//! Reading: [`mod@env`] (variables) and [`event`] (the webhook's file). Answering: [`output`] (outputs of the step),
//! [`annotation`] (warnings in the log and on the run's page) and [`summary`] (Markdown on the run's page).
//! The rules come from <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>.

pub mod env;
pub mod event;
pub mod output;
pub mod annotation;
pub mod summary;
