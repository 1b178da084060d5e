//! Everything that a run takes from its surroundings, read once.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use super::env_vars as var;
use super::machine::Machine;
use crate::ci;
use crate::ci::job::CiJob;
use xcache_core::store::s3::options::S3Options;

/// The surroundings of a run: environment, clock and machine. Nothing behind `main` asks for these again.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// When the run began.
    pub now: DateTime<Utc>,
    /// The CI job that this is, if it is one.
    pub ci: CiJob,
    /// What the AWS tools take from the environment.
    pub aws: S3Options,
    /// The user's home, for `~`.
    pub home: Option<PathBuf>,
    /// Where relative paths start: the workspace of a step of GitHub Actions, otherwise the working directory.
    pub base_dir: PathBuf,
    /// The directory for the local default store.
    pub cache_dir: Option<PathBuf>,
    /// The directory for what restore leaves for save: one for each job.
    pub state_dir: Option<PathBuf>,
    /// How many threads can run at once here.
    pub cpus: usize,
    /// What the process may use of it.
    pub machine: Machine,
    /// Whether the user wants no colours.
    pub is_no_color: bool,
    /// Whether the terminal, if there is one, can neither move its cursor nor show colours.
    pub is_dumb_terminal: bool,
}

impl RunContext {
    /// Reads the environment of this process.
    pub fn from_process(cpus: usize, machine: Machine) -> Self {
        let working_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        // Unlike `Utc::now` this also works for a clock that stands before 1970.
        let now = SystemTime::now().into();
        Self { machine, ..Self::new(|name| std::env::var_os(name), now, working_dir, cpus) }
    }

    /// Reads the environment through `lookup`. Blank variables count as not set.
    pub fn new(
        lookup: impl Fn(&str) -> Option<OsString>,
        now: DateTime<Utc>,
        working_dir: PathBuf,
        cpus: usize,
    ) -> Self {
        let ci = ci::table::read(&lookup);
        let dir = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The XDG rules: a relative path in these variables is to be ignored.
        let absolute_dir = |name: &str| dir(name).filter(|path| path.is_absolute());
        let home = dir(var::HOME).or_else(|| dir(var::USERPROFILE));
        let below_home = |tail: &str| home.as_ref().map(|home| home.join(tail));
        let local_app_data = || absolute_dir(var::LOCALAPPDATA);

        let cache_home = absolute_dir(var::XDG_CACHE_HOME).or_else(local_app_data).or_else(|| below_home(".cache"));
        let state_home =
            absolute_dir(var::XDG_STATE_HOME).or_else(local_app_data).or_else(|| below_home(".local/state"));
        let state_home = ci.temp_dir.clone().or(state_home);
        // Jobs that follow each other on one machine never read each other's state.
        let state_dir = state_home.map(|dir| dir.join("xcache")).map(|dir| match &ci.id {
            Some(id) => dir.join("jobs").join(directory_name(id)),
            None => dir,
        });
        Self {
            now,
            aws: S3Options::from_environment(|name| lookup(name)?.into_string().ok()),
            base_dir: ci.workspace.clone().unwrap_or(working_dir),
            cache_dir: cache_home.map(|dir| dir.join("xcache")),
            state_dir,
            home,
            cpus,
            machine: Machine::UNLIMITED,
            is_no_color: lookup(var::NO_COLOR).is_some_and(|value| !value.is_empty()),
            is_dumb_terminal: lookup(var::TERM).is_some_and(|term| term == "dumb"),
            ci,
        }
    }
}

/// The id of a job as the name of a directory. Ids are texts of any length, in which slashes are common.
fn directory_name(id: &str) -> String {
    blake3::hash(id.as_bytes()).to_hex()[..32].to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A context with just these variables.
    pub(crate) fn context(variables: &[(&str, &str)]) -> RunContext {
        let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        RunContext::new(lookup, DateTime::UNIX_EPOCH, PathBuf::from("/work"), 2)
    }

    #[test]
    fn a_clock_before_1970_is_a_time_like_any_other() {
        let now: DateTime<Utc> = (SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(5)).into();
        assert_eq!(now.timestamp(), -5);
    }

    #[test]
    fn directories_follow_the_surroundings() {
        let check = |variables: &[(&str, &str)], cache: Option<&str>, state: Option<&str>, base: &str| {
            let found = context(variables);
            assert_eq!(found.cache_dir, cache.map(PathBuf::from), "{variables:?}");
            assert_eq!(found.state_dir, state.map(PathBuf::from), "{variables:?}");
            assert_eq!(found.base_dir, PathBuf::from(base), "{variables:?}");
        };
        check(&[], None, None, "/work");
        check(&[("HOME", "/h")], Some("/h/.cache/xcache"), Some("/h/.local/state/xcache"), "/work");
        check(
            &[("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("XDG_STATE_HOME", "relative")],
            Some("/c/xcache"),
            Some("/h/.local/state/xcache"),
            "/work",
        );
        let job = [("GITHUB_ACTIONS", "true"), ("RUNNER_TEMP", "/t"), ("GITHUB_WORKSPACE", "/w"), ("HOME", "/h")];
        check(&job, Some("/h/.cache/xcache"), Some("/t/xcache"), "/w");
        check(&job[1..], Some("/h/.cache/xcache"), Some("/h/.local/state/xcache"), "/work");
    }
}
