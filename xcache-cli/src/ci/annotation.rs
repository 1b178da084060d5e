//! Commands: lines of the log that the runner of a CI system turns into annotations.

use std::fmt::Write as _;

use super::system::System;

/// The commands that the runner takes from the log, if it takes any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commands {
    /// None: outside CI, and on GitLab, Buildkite, CircleCI and Jenkins, whose logs show text only.
    None,
    /// `::warning::`, as GitHub, Forgejo and Gitea have it:
    /// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.
    GitHub,
    /// `##vso[task.logissue type=warning]`, as Azure Pipelines has it:
    /// <https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands>.
    Azure,
}

impl Commands {
    /// Those of the system of a job.
    pub fn of(system: Option<System>) -> Self {
        match system {
            Some(System::GitHub | System::Forgejo | System::Gitea) => Self::GitHub,
            Some(System::Azure) => Self::Azure,
            _ => Self::None,
        }
    }

    /// The line that annotates the run with `message`, if the system has one for this.
    pub fn annotate(self, level: Level, message: &str) -> Option<String> {
        match (self, level) {
            (Self::GitHub, _) => Some(annotation(level, None, message)),
            (Self::Azure, Level::Warning | Level::Error) => {
                let mut line = format!("##vso[task.logissue type={}]", level.command());
                escape_azure(&mut line, message);
                Some(line)
            }
            (Self::Azure | Self::None, _) => None,
        }
    }

    /// Breaks up what the runner would take for a command: `##[…]` and `##vso[…]` anywhere in a line, and `::` of GitHub
    /// at its beginning, after white space.
    pub fn disarm(self, line: String) -> String {
        if self == Self::None {
            return line;
        }
        let line = line.replace("##[", "## [").replace("##vso[", "## vso[");
        match line.trim_start().strip_prefix("::") {
            Some(rest) if self == Self::GitHub => format!(": :{rest}"),
            _ => line,
        }
    }
}

/// How much an annotation matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Seen only in debug logs.
    Debug,
    /// Blue.
    Notice,
    /// Yellow.
    Warning,
    /// Red.
    Error,
}

impl Level {
    fn command(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The line, without a line end, that annotates the run with `message`. The message may have several lines.
pub fn annotation(level: Level, title: Option<&str>, message: &str) -> String {
    let mut line = format!("::{}", level.command());
    if let Some(title) = title {
        line.push_str(" title=");
        escape(&mut line, title, &['%', '\r', '\n', ':', ',']);
    }
    line.push_str("::");
    escape(&mut line, message, &['%', '\r', '\n']);
    line
}

/// In the text of a command of Azure.
fn escape_azure(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '%' => line.push_str("%AZP25"),
            '\r' => line.push_str("%0D"),
            '\n' => line.push_str("%0A"),
            c => line.push(c),
        }
    }
}

fn escape(line: &mut String, text: &str, specials: &[char]) {
    for c in text.chars() {
        if specials.contains(&c) {
            write!(line, "%{:02X}", u32::from(c)).expect("a string takes everything");
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_own_form() {
        let check = |system, expected: Option<&str>| {
            let found = Commands::of(system).annotate(Level::Warning, "50%\nhint: x");
            assert_eq!(found.as_deref(), expected, "{system:?}");
        };
        check(Some(System::GitHub), Some("::warning::50%25%0Ahint: x"));
        check(Some(System::Forgejo), Some("::warning::50%25%0Ahint: x"));
        check(Some(System::Azure), Some("##vso[task.logissue type=warning]50%AZP25%0Ahint: x"));
        for system in [None, Some(System::GitLab), Some(System::Jenkins), Some(System::Buildkite)] {
            check(system, None);
        }
    }

    #[test]
    fn no_text_becomes_a_command() {
        let check = |commands: Commands, text: &str, expected: &str| {
            assert_eq!(commands.disarm(text.to_owned()), expected, "{commands:?} {text}");
        };
        check(Commands::GitHub, "a ##[error]x", "a ## [error]x");
        check(Commands::GitHub, "  ::error::x", ": :error::x");
        check(Commands::Azure, "a ##vso[task.setvariable variable=x]y", "a ## vso[task.setvariable variable=x]y");
        check(Commands::Azure, "##[section]x", "## [section]x");
        check(Commands::None, "##vso[x]", "##vso[x]");
    }

    #[test]
    fn what_the_runner_would_read_is_escaped() {
        let check = |level, title, message, expected| assert_eq!(annotation(level, title, message), expected);
        check(Level::Warning, None, "plain: a, b", "::warning::plain: a, b");
        check(Level::Error, None, "100%\r\nsure\n::error::x", "::error::100%25%0D%0Asure%0A::error::x");
        check(Level::Notice, Some("a:b,c%\n"), "m", "::notice title=a%3Ab%2Cc%25%0A::m");
        check(Level::Debug, None, "%0A", "::debug::%250A");
        check(Level::Debug, None, "é", "::debug::é");
    }
}
