//! The environments that CI systems give to a job, as recorded in `tests/ci` (see the README there).

use std::fs;
use std::path::Path;

use crate::job::{Invocation, Job};

/// The systems that are recorded.
pub const SYSTEMS: [&str; 8] = ["github", "forgejo", "gitea", "gitlab", "buildkite", "circleci", "azure", "jenkins"];

/// One situation of one system.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `github: pull request from a fork`.
    pub title: String,
    variables: Vec<(String, String)>,
    event: Option<String>,
    columns: Vec<(String, String)>,
}

impl Recorded {
    /// All situations of a system.
    pub fn all(system: &str) -> Vec<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci").join(format!("{system}.txt"));
        let mut all: Vec<Self> = Vec::new();
        for line in fs::read_to_string(path).expect("the system is recorded").lines() {
            if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                let title = format!("{system}: {title}");
                all.push(Self { title, variables: Vec::new(), event: None, columns: Vec::new() });
                continue;
            }
            let Some(last) = all.last_mut() else { continue };
            let pair = |text: &str, separator| {
                let (name, value) = text.split_once(separator).expect("a name and a value");
                (name.to_owned(), value.to_owned())
            };
            match line.split_once(' ') {
                Some(("event", json)) => last.event = Some(json.to_owned()),
                Some((">", column)) => last.columns.push(pair(column, ": ")),
                _ if line.is_empty() => {}
                _ => last.variables.push(pair(line, "=")),
            }
        }
        all
    }

    /// One situation by its title, without the system.
    pub fn one(system: &str, title: &str) -> Self {
        let title = format!("{system}: {title}");
        Self::all(system).into_iter().find(|recorded| recorded.title == title).expect("the situation is recorded")
    }

    /// What must come of it, if that is recorded.
    pub fn column(&self, name: &str) -> Option<&str> {
        self.columns.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The variables that name no directory of the recorded machine.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.filter(|(name, _)| !is_dir(name))
    }

    /// The event file, where the system has one.
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// The command in this environment. Directories of the recorded machine are replaced by those of the job.
    pub fn apply(&self, job: &Job, command: Invocation) -> Invocation {
        let temp = job.work().with_file_name("runner-temp");
        let command = self.variables.iter().fold(command, |command, (name, value)| {
            if is_dir(name) { command.env(name, &temp) } else { command.env(name, value) }
        });
        match &self.event {
            Some(json) => {
                let path = job.work().with_file_name("event.json");
                fs::write(&path, json).expect("the event can be written");
                command.env("GITHUB_EVENT_PATH", path)
            }
            None => command,
        }
    }
}

fn is_dir(name: &str) -> bool {
    matches!(name, "RUNNER_TEMP" | "AGENT_TEMPDIRECTORY" | "WORKSPACE_TMP")
}
