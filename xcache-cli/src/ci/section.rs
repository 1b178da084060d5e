//! Sections of a log that its reader can fold: GitLab has them,
//! <https://docs.gitlab.com/ci/jobs/job_logs/#create-custom-collapsible-sections>.

use std::time::{SystemTime, UNIX_EPOCH};

/// A section of the log of this process.
#[derive(Clone, Debug)]
pub struct Section {
    /// The same at both ends, and another one for each process of a job.
    name: String,
}

impl Section {
    /// The section of a program, and the line that begins it.
    pub fn begin(program: &str) -> (Self, String) {
        let name = format!("{}_{}", program.replace('-', "_"), std::process::id());
        let line = format!("\x1b[0Ksection_start:{}:{name}\r\x1b[0K{program}", seconds());
        (Self { name }, line)
    }

    /// The line that ends it.
    pub fn end(&self) -> String {
        format!("\x1b[0Ksection_end:{}:{}\r\x1b[0K", seconds(), self.name)
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
