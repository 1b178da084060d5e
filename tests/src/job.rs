//! A job on a runner: a home, directories and an environment of its own, in which the programs are run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::messages;
use crate::place::Place;
use crate::tree::Scratch;

/// A program that has not ended by then hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A job: everything that its programs can leave behind lies in one directory, removed at the end.
#[derive(Debug)]
pub struct Job {
    scratch: Scratch,
    github: bool,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A program about to be run.
#[derive(Debug)]
pub struct Invocation(Command);

impl Job {
    /// A job outside CI.
    pub fn new() -> Self {
        let job = Self { scratch: Scratch::new(), github: false };
        for dir in ["home", "tmp", "work", "runner-temp"] {
            fs::create_dir(job.scratch.path().join(dir)).expect("the directory can be made");
        }
        job
    }

    /// A job of GitHub Actions, on the branch `main`.
    pub fn github() -> Self {
        Self { github: true, ..Self::new() }
    }

    /// The directory in which its programs run, with whatever the test puts there.
    pub fn work(&self) -> PathBuf {
        self.scratch.path().join("work")
    }

    /// A path in [`Self::work`].
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.work().join(name)
    }

    /// A new, empty directory in [`Self::work`].
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("the directory can be made");
        path
    }

    /// The directories that its programs write to: its own, home, work and those for temporary files.
    pub fn dirs(&self) -> Vec<PathBuf> {
        let below = ["home", "tmp", "work", "runner-temp"].map(|dir| self.scratch.path().join(dir));
        std::iter::once(self.scratch.path().to_owned()).chain(below).collect()
    }

    /// Its home.
    pub fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    /// `exe` with the environment of this job, and nothing of ours but the search path.
    pub fn command(&self, exe: impl AsRef<OsStr>) -> Invocation {
        let mut command = Command::new(exe);
        command.env_clear().current_dir(self.work()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home()).env("TMPDIR", self.scratch.path().join("tmp")).env("LC_ALL", "C.UTF-8");
        // No request to an instance's metadata service: no outside network, no waiting.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        if self.github {
            for (name, value) in [
                ("CI", "true"),
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_REF", "refs/heads/main"),
                ("GITHUB_REF_NAME", "main"),
                ("GITHUB_REPOSITORY", "owner/repo"),
                ("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567"),
                ("GITHUB_EVENT_NAME", "push"),
                ("RUNNER_OS", "Linux"),
            ] {
                command.env(name, value);
            }
            command.env("RUNNER_TEMP", self.scratch.path().join("runner-temp")).env("GITHUB_WORKSPACE", self.work());
            for name in ["GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"] {
                command.env(name, self.github_file(name));
            }
        }
        Invocation(command)
    }

    /// One of the files through which a step talks to the runner, such as `GITHUB_OUTPUT`.
    pub fn github_file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The outputs that steps have set, the last value of each name.
    pub fn outputs(&self) -> BTreeMap<String, String> {
        parse_file(&self.github_file("GITHUB_OUTPUT"))
    }
}

/// Reads a file in which steps set outputs or variables: the last value of each name.
pub fn parse_file(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut values = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        // Whichever comes first decides, as in the runner: `name=value` or `name<<delimiter`.
        let equals = line.find('=').unwrap_or(usize::MAX);
        match line.find("<<").filter(|&heredoc| heredoc < equals) {
            Some(heredoc) => {
                let delimiter = &line[heredoc + 2..];
                let value: Vec<&str> = lines.by_ref().take_while(|line| *line != delimiter).collect();
                values.insert(line[..heredoc].to_owned(), value.join("\n"));
            }
            None => {
                let (name, value) = line.split_once('=').expect("a value has a name");
                values.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    values
}

impl Default for Job {
    fn default() -> Self {
        Self::new()
    }
}

impl Invocation {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it in another directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// Names the store, and how to reach it.
    #[must_use]
    pub fn store(mut self, place: &Place) -> Self {
        self.0.args(["--store", place.url()]).envs(place.env());
        self
    }

    /// The command itself, to be started and stopped by the test.
    pub fn into_command(self) -> Command {
        self.0
    }

    /// Runs it to its end. A program that hangs is killed, and the test fails.
    pub fn run(self) -> Outcome {
        self.run_within(PATIENCE)
    }

    /// The same for a run that may take longer than others.
    pub fn run_within(mut self, patience: Duration) -> Outcome {
        let description = format!("{:?}", self.0);
        let child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program can be started");
        let pid = Pid::from_child(&child);
        let (sender, receiver) = mpsc::channel();
        let waiter = std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = receiver.recv_timeout(patience).unwrap_or_else(|_| {
            // The waiter has not reaped it, so the number is still its own.
            let _ = kill_process(pid, Signal::KILL);
            panic!("still running after {patience:?}: {description}");
        });
        let _ = waiter.join();
        let output = output.expect("the program can be waited for");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// Fails the test unless the program ended with `code`, and shows what it said.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code; the program said:\n{}{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the program succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect_code(0)
    }

    /// Fails the test unless its messages, all of standard error, are the next section of the test's golden file.
    #[track_caller]
    pub fn reviewed(self) -> Self {
        messages::review(&self.stderr);
        self
    }

    /// Fails the test unless standard error contains all of `parts`: names and values of the test. The words of a
    /// message belong into its golden file ([`Self::reviewed`]).
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is missing; the program said:\n{}", self.stderr);
        }
        self
    }

    /// The document that `--json` prints.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}):\n{}{}", self.stdout, self.stderr))
    }
}
