//! What a run may do with the cache: the `--mode` argument.
//!
//! Some triggers can be fired, or their code influenced, by people who may not write to the repository. What such a run
//! saves would be restored by runs that hold secrets, so by default it only reads. The modes and their names are those of
//! GitHub's own cache: <https://github.blog/changelog/2026-09-10-control-github-actions-cache-access-with-cache-mode>.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Args, Command};

use super::env_vars as var;
use crate::ci::job::{CiJob, Origin};
use crate::front::Warning;

/// What a run may do with the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Look up and restore.
    Read,
    /// That, and save.
    Write,
    /// Save only.
    WriteOnly,
    /// Nothing.
    None,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Read, Self::Write, Self::WriteOnly, Self::None];

    /// As users write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteOnly => "write-only",
            Self::None => "none",
        }
    }

    /// Whether entries may be looked up and restored.
    pub fn may_read(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    /// Whether anything may be written to the store, or deleted there.
    pub fn may_write(self) -> bool {
        matches!(self, Self::Write | Self::WriteOnly)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::ALL.into_iter().find(|mode| mode.word().eq_ignore_ascii_case(text))
    }
}

/// What the user wrote for a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeChoice {
    /// The CI job decides.
    Auto,
    /// This one.
    Mode(Mode),
}

/// The argument.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct ModeArgs {
    /// What this run may do with the cache: with `auto`, triggers that any user can fire are read-only
    #[arg(long, env = var::MODE, value_name = "MODE", default_value = "auto", value_parser = ModeParser)]
    pub mode: ModeChoice,
}

/// Takes the modes in any case. A blank one is none given, as in a variable.
#[derive(Clone)]
struct ModeParser;

fn words() -> impl Iterator<Item = &'static str> {
    std::iter::once("auto").chain(Mode::ALL.map(Mode::word))
}

impl TypedValueParser for ModeParser {
    type Value = ModeChoice;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<ModeChoice, clap::Error> {
        let text = value.to_string_lossy();
        if let Some(mode) = Mode::parse(&text) {
            return Ok(ModeChoice::Mode(mode));
        }
        if text.trim().is_empty() || text.trim().eq_ignore_ascii_case("auto") {
            return Ok(ModeChoice::Auto);
        }
        // Says what is allowed.
        PossibleValuesParser::new(words()).parse_ref(command, arg, value).map(|_| ModeChoice::Auto)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(words().map(PossibleValue::new)))
    }
}

/// What a run may do, why, and what is worth a warning about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it may do.
    pub mode: Mode,
    /// Why it may not do more, for messages.
    pub reason: String,
    fault: Option<String>,
    risk: Option<String>,
}

impl Access {
    fn new(mode: Mode, reason: impl Into<String>) -> Self {
        Self { mode, reason: reason.into(), fault: None, risk: None }
    }

    /// What is wrong, for any run.
    pub fn fault(&self) -> Vec<Warning> {
        self.fault.iter().map(|text| Warning { text: text.clone(), hint: None }).collect()
    }

    /// What is wrong or dangerous, for a run that saves.
    pub fn warnings(&self) -> Vec<Warning> {
        let hint = Some("leave `mode` at `auto`, and save in a workflow that runs on `push`");
        let risk = self.risk.iter().map(|text| Warning { text: text.clone(), hint });
        self.fault().into_iter().chain(risk).collect()
    }
}

impl ModeArgs {
    /// Decides what a run of `job` may do.
    pub fn resolve(&self, job: &CiJob) -> Access {
        let access = match &self.mode {
            ModeChoice::Mode(mode) => Access::new(*mode, format!("mode `{}`", mode.word())),
            ModeChoice::Auto => by_job(job),
        };
        let risk = if access.mode.may_write() { risk(job) } else { None };
        Access { risk, ..access }
    }
}

/// As the CI system says, or as its trigger deserves.
fn by_job(job: &CiJob) -> Access {
    if let Some(word) = &job.cache_mode {
        let reason = format!("ACTIONS_CACHE_MODE is `{word}`");
        return match Mode::parse(word) {
            Some(mode) => Access::new(mode, reason),
            None => Access {
                fault: Some(format!("{reason}, which is not a known mode, so this job only reads")),
                ..Access::new(Mode::Read, reason)
            },
        };
    }
    match job.origin {
        Origin::Trusted | Origin::PullRequest => Access::new(Mode::Write, "mode `auto`"),
        Origin::Anyone => {
            Access::new(Mode::Read, format!("people who may not write to the repository can trigger {}", trigger(job)))
        }
        Origin::Unknown => Access::new(Mode::Read, format!("it is not known who can trigger {}", trigger(job))),
    }
}

fn trigger(job: &CiJob) -> String {
    job.trigger.as_ref().map_or_else(|| "this job".to_owned(), |word| format!("`{word}`"))
}

/// What it means that this job writes.
fn risk(job: &CiJob) -> Option<String> {
    let who = match job.origin {
        Origin::Trusted | Origin::PullRequest => return None,
        Origin::Anyone => "people who may not write to the repository can trigger",
        Origin::Unknown => "it is not known who can trigger",
    };
    Some(format!(
        "this job may save, although {who} {}: other branches restore what it saves, and execute it",
        trigger(job)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ci::system::System;

    fn job(trigger: &str, origin: Origin, cache_mode: Option<&str>) -> CiJob {
        CiJob {
            system: Some(System::GitHub),
            trigger: Some(trigger.to_owned()),
            origin,
            cache_mode: cache_mode.map(str::to_owned),
            ..CiJob::default()
        }
    }

    fn choice(text: &str) -> ModeArgs {
        let command = Command::new("test");
        ModeArgs { mode: ModeParser.parse_ref(&command, None, OsStr::new(text)).unwrap() }
    }

    #[test]
    fn the_mode_follows_the_user_then_the_runner_then_the_trigger() {
        use Mode::{None as Off, Read, Write, WriteOnly};
        use Origin::{Anyone, PullRequest, Trusted, Unknown};
        // User, runner, origin; mode, whether something is wrong, whether there is a risk.
        let table = [
            ("auto", None, Trusted, Write, false, false),
            ("auto", None, PullRequest, Write, false, false),
            ("auto", None, Anyone, Read, false, false),
            ("auto", None, Unknown, Read, false, false),
            ("", None, Anyone, Read, false, false),
            (" Auto ", None, Anyone, Read, false, false),
            ("auto", Some("read"), Trusted, Read, false, false),
            ("auto", Some("write"), Anyone, Write, false, true),
            ("auto", Some("write-only"), Trusted, WriteOnly, false, false),
            ("auto", Some("none"), Trusted, Off, false, false),
            ("auto", Some("some"), Trusted, Read, true, false),
            ("read", Some("write"), Trusted, Read, false, false),
            ("write", Some("read"), Trusted, Write, false, false),
            ("write", None, Anyone, Write, false, true),
            ("write-only", None, Unknown, WriteOnly, false, true),
            ("WRITE", None, PullRequest, Write, false, false),
            ("none", None, Trusted, Off, false, false),
        ];
        for (user, runner, origin, mode, is_wrong, is_risky) in table {
            let access = choice(user).resolve(&job("x", origin, runner));
            let found = (access.mode, access.fault.is_some(), access.risk.is_some());
            assert_eq!(found, (mode, is_wrong, is_risky), "{user} {runner:?} {origin:?}");
        }
    }

    #[test]
    fn an_unknown_mode_is_refused() {
        let command = Command::new("test");
        let error = ModeParser.parse_ref(&command, None, OsStr::new("wirte")).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::InvalidValue);
        assert_eq!(choice("auto").resolve(&CiJob::default()).mode, Mode::Write);
    }
}
