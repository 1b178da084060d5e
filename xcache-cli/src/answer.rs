//! Reading what the runner says of the run, and answering it: event, outputs, summary, document.

use std::io;

use serde::Serialize;

use super::RunContext;
use crate::ci::event::Event;
use crate::ci::{output, summary};
use crate::report::Reporter;

/// The event of the run; an empty one, with a warning, if its file cannot be read.
pub fn read_event(context: &RunContext, reporter: &Reporter) -> Event {
    match &context.ci.event_path {
        Some(path) if context.ci.is_actions() => Event::read(path).unwrap_or_else(|error| {
            reporter.warning_for(&error);
            Event::default()
        }),
        _ => Event::default(),
    }
}

/// A file of the runner that cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {what} to `{path}`")]
struct Unanswered {
    what: &'static str,
    path: String,
    source: io::Error,
}

/// Writes outputs of the step, if there is a step. That it cannot, [`Reporter::finish`] reports.
pub fn write_outputs(context: &RunContext, reporter: &Reporter, outputs: &[(&str, String)]) {
    if let Some(path) = &context.ci.output
        && context.ci.is_actions()
        && let Err(error) = output::append(path, outputs)
    {
        reporter.unwritten(&Unanswered { what: "outputs", path: path.display().to_string(), source: error });
    }
}

/// Adds to the summary of the step, if there is one, likewise.
pub fn write_summary(context: &RunContext, reporter: &Reporter, markdown: &str) {
    if let Some(path) = &context.ci.step_summary
        && context.ci.is_actions()
        && let Err(error) = summary::append(path, markdown)
    {
        reporter.unwritten(&Unanswered { what: "the summary", path: path.display().to_string(), source: error });
    }
}

/// Prints the document of `--json`, if it was asked for. What it could not print, [`Reporter::finish`] reports.
pub fn print_document(reporter: &Reporter, document: &impl Serialize) {
    reporter.document(document);
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::context;
    use super::*;
    use crate::report::tests::{PLAIN, reporter};

    #[test]
    fn the_runner_is_answered_only_in_a_job() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let text = path.to_str().unwrap();
        let (reporter, _, stderr) = reporter(PLAIN);
        let variables = [("GITHUB_OUTPUT", text), ("GITHUB_STEP_SUMMARY", text), ("GITHUB_ACTIONS", "true")];
        let answer = |context: &RunContext| {
            write_outputs(context, &reporter, &[("a", "1".into())]);
            write_summary(context, &reporter, "# b\n");
        };
        answer(&context(&variables[..2]));
        assert!(!path.exists());
        answer(&context(&variables));
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("a<<") && written.ends_with("# b\n"), "{written}");
        assert_eq!(stderr.text(), "");
    }

    #[test]
    fn trouble_with_files_of_the_runner_is_a_warning() {
        let (reporter, _, stderr) = reporter(PLAIN);
        let job = |name| context(&[("GITHUB_ACTIONS", "true"), (name, "/nonexistent/file")]);
        write_outputs(&job("GITHUB_OUTPUT"), &reporter, &[]);
        write_summary(&job("GITHUB_STEP_SUMMARY"), &reporter, "");
        assert_eq!(read_event(&job("GITHUB_EVENT_PATH"), &reporter), Event::default());
        reporter.finish(crate::Exit::Done, false);
        assert_eq!(stderr.text().matches(": cannot").count(), 3, "{}", stderr.text());
    }
}
