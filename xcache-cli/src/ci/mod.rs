//! CI systems: what a job learns from its environment, and how it answers.
//!
//! Reading: `table` is the one place that knows the variables of each [`system`]; it fills a [`job::CiJob`], the only
//! thing that tags, scopes, modes and the state directory are computed from. [`event`] adds what GitHub and its relatives
//! write to a file. Answering: [`output`] (outputs of the step), [`annotation`] (warnings in the form of the system) and
//! [`summary`] (Markdown on the run's page).

mod env;
pub mod system;
pub mod job;
pub(crate) mod table;
pub(crate) mod identity;
pub mod event;
pub mod output;
pub mod section;
pub mod annotation;
pub mod summary;
