//! An emulated runner: runs the steps of workflows, composite and JavaScript actions as the runner of GitHub does, with
//! a shell or node and the files through which steps talk to the runner.
//!
//! Jobs of a workflow run from the files in the checkout, so what is tested is what users run. Actions of this
//! repository are taken from the checkout, under any owner and ref; `actions/checkout` puts the checkout into the
//! workspace; no other action can be used.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::job::{Invocation, Job, Outcome};
use crate::recorded::Recorded;

mod expression;
pub mod file;
mod scope;

use expression::{condition, interpolate};
use file::{Action, Runs, Step, Texts, Workflow};
use scope::Scope;

/// A runner with one job.
#[derive(Debug)]
pub struct Runner {
    job: Job,
    bin_dir: PathBuf,
    env: BTreeMap<String, String>,
    overrides: BTreeMap<String, String>,
    github: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    job_status: &'static str,
    is_background_late: bool,
    posts: Vec<Post>,
    log: String,
}

/// What is to be run at the end of the job.
#[derive(Debug)]
struct Post {
    action: String,
    file: String,
    with: BTreeMap<String, String>,
    state: BTreeMap<String, String>,
}

/// How a step ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepResult {
    /// Whether it failed.
    pub is_failure: bool,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// All it has printed.
    pub log: String,
}

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the checkout is there")
}

impl Runner {
    /// A runner for a job on the branch `main`. The programs are those given, each with the name that users know.
    pub fn new(programs: &[(&str, &str)]) -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let job = Job::github();
        let bin_dir = job.home().join("bin");
        fs::create_dir(&bin_dir).expect("the directory can be made");
        for (name, program) in programs {
            symlink(program, bin_dir.join(name)).expect("the program can be linked");
        }
        // Unique, as on GitHub, also among test runs that share a server.
        let now = chrono::Utc::now().timestamp_micros();
        let run_id = format!("{now}{}", RUNS.fetch_add(1, Ordering::Relaxed));
        let github = [
            ("ref", "refs/heads/main"),
            ("ref_name", "main"),
            ("sha", "0123456789abcdef0123456789abcdef01234567"),
            ("repository", "owner/repo"),
            ("event_name", "push"),
            ("run_id", &run_id),
            ("run_attempt", "1"),
        ];
        let github = github.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (env, overrides, settings) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (posts, log) = (Vec::new(), String::new());
        let (job_status, is_background_late) = ("success", false);
        Self { job, bin_dir, env, overrides, github, settings, job_status, is_background_late, posts, log }
    }

    /// Sets a variable for all steps.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.to_owned(), value.into());
    }

    /// Sets a variable or secret of the repository.
    pub fn set_setting(&mut self, name: &str, value: impl Into<String>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Sets what is known of the run, such as `sha`.
    pub fn set_github(&mut self, name: &str, value: &str) {
        self.github.insert(name.to_owned(), value.to_owned());
    }

    /// Sets a variable for all steps, whatever the workflow says.
    pub fn override_env(&mut self, name: &str, value: impl Into<String>) {
        self.overrides.insert(name.to_owned(), value.into());
    }

    /// Makes the job one of a recorded environment.
    pub fn apply(&mut self, recorded: &Recorded) {
        for (name, value) in recorded.variables() {
            self.env.insert(name.to_owned(), value.to_owned());
        }
        if let Some(event) = recorded.event() {
            let path = self.job.home().join("event.json");
            fs::write(&path, event).expect("the event can be written");
            self.set_env("GITHUB_EVENT_PATH", path.display().to_string());
        }
    }

    /// Runs background steps as late as they may run, when they are waited for, rather than as early, where they stand.
    /// What holds for both holds for all that a runner may do, if steps that overlap share no files.
    pub fn run_background_late(&mut self) {
        self.is_background_late = true;
    }

    /// The job, with the workspace and the files of the runner.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What the runner's page would show, in plain text.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The step summaries, rendered one below the other on the page of the run.
    pub fn summary(&self) -> String {
        fs::read_to_string(self.job.github_file("GITHUB_STEP_SUMMARY")).unwrap_or_default()
    }

    fn temp(&self) -> PathBuf {
        self.job.work().with_file_name("runner-temp")
    }

    /// Runs all steps of a job of a workflow in the checkout, which must succeed.
    #[track_caller]
    pub fn run_workflow(&mut self, path: &str, job: &str) -> BTreeMap<String, StepResult> {
        let workflow: Workflow = file::read(&checkout().join(path));
        let job = workflow.jobs.get(job).unwrap_or_else(|| panic!("no job `{job}` in {path}"));
        for env in [&workflow.env, &job.env] {
            let texts = self.texts(env);
            self.env.extend(texts);
        }
        let (steps, is_success) = self.run_steps(&job.steps, None, &BTreeMap::new());
        assert!(is_success, "{path} failed:\n{}", self.log);
        steps
    }

    /// Uses an action of the checkout as a step of the job: `restore`, or the one at the root, whose name is blank.
    pub fn uses(&mut self, action: &str, with: &[(&str, &str)]) -> StepResult {
        let with = with.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.run_action(action, with)
    }

    /// Ends the job with this status: runs what actions have left for the end, the last one first.
    pub fn finish(&mut self, job_status: &'static str) -> Vec<StepResult> {
        self.job_status = job_status;
        let mut results = Vec::new();
        while let Some(Post { action, file, with, state }) = self.posts.pop() {
            let inputs = self.inputs(&read_action(&action), with);
            let state = state.into_iter().map(|(name, value)| (format!("STATE_{name}"), value)).collect();
            results.push(self.run_node(&action, &file, &inputs, state).0);
        }
        results
    }

    /// Changes an input of the last action before the end of the job, as an expression may that is evaluated again.
    pub fn change_input(&mut self, name: &str, value: &str) {
        let post = self.posts.last_mut().expect("an action has something to run at the end");
        post.with.insert(name.to_owned(), value.to_owned());
    }

    /// The values of `texts` in the environment of the job.
    fn texts(&self, texts: &Texts) -> BTreeMap<String, String> {
        let scope = Scope {
            runner: self,
            env: BTreeMap::new(),
            inputs: None,
            steps: &BTreeMap::new(),
            github: BTreeMap::new(),
            is_success: true,
        };
        texts.iter().map(|(name, text)| (name.clone(), interpolate(&text.to_string(), &scope))).collect()
    }

    fn run_steps(
        &mut self,
        steps: &[Step],
        inputs: Option<&BTreeMap<String, String>>,
        github: &BTreeMap<&'static str, String>,
    ) -> (BTreeMap<String, StepResult>, bool) {
        let mut results = BTreeMap::new();
        let mut is_success = true;
        let mut waiting: Vec<&Step> = Vec::new();
        for step in steps {
            let mut due: Vec<&Step> =
                waiting.extract_if(.., |late| late.id.as_ref().is_some_and(|id| step.wait.contains(id))).collect();
            match step.background && self.is_background_late {
                true => waiting.push(step),
                false if step.wait.is_empty() => due.push(step),
                false => {}
            }
            for step in due {
                let Some(result) = self.run_step(step, inputs, github, &results, is_success) else { continue };
                is_success &= !result.is_failure;
                if let Some(id) = &step.id {
                    results.insert(id.clone(), result);
                } else {
                    results.entry(String::new()).or_insert_with(StepResult::default).log.push_str(&result.log);
                }
            }
        }
        assert!(waiting.is_empty(), "no step waits for {waiting:?}");
        (results, is_success)
    }

    /// Runs a step, unless its condition does not hold.
    fn run_step(
        &mut self,
        step: &Step,
        inputs: Option<&BTreeMap<String, String>>,
        github: &BTreeMap<&'static str, String>,
        results: &BTreeMap<String, StepResult>,
        is_success: bool,
    ) -> Option<StepResult> {
        let github = github.clone();
        let mut scope = Scope { runner: self, env: BTreeMap::new(), inputs, steps: results, github, is_success };
        scope.env =
            step.env.iter().map(|(name, text)| (name.clone(), interpolate(&text.to_string(), &scope))).collect();
        if !condition(step.r#if.as_deref().unwrap_or("success()"), &scope) {
            return None;
        }
        let value = |text: &String| interpolate(text, &scope);
        let with = step.with.iter().map(|(name, text)| (name.clone(), value(&text.to_string()))).collect();
        let (run, dir) = (step.run.as_ref().map(value), step.working_directory.as_ref().map(value));
        let (mut env, github) = (scope.env, scope.github);
        let title = step.name.as_ref().or(step.uses.as_ref()).or(step.id.as_ref()).or(step.run.as_ref());
        if inputs.is_none() {
            let title = title.map_or("", |title| title.lines().next().unwrap_or(""));
            writeln!(self.log, "▶ {title}").expect("a string takes everything");
        }
        Some(match (&step.uses, run) {
            (Some(uses), None) => self.run_uses(uses, with),
            (None, Some(script)) => {
                // The runner leaves these to scripts, whatever the step says.
                env.extend(
                    github.iter().map(|(name, value)| (format!("GITHUB_{}", name.to_uppercase()), value.clone())),
                );
                self.run_script(&script, step.shell.as_deref(), dir.as_deref(), &env)
            }
            _ => panic!("a step either uses or runs something: {step:?}"),
        })
    }

    fn run_uses(&mut self, uses: &str, with: BTreeMap<String, String>) -> StepResult {
        let name = uses.split_once('@').map_or(uses, |(name, _)| name);
        let name = name.strip_prefix("https://github.com/").unwrap_or(name);
        if name == "actions/checkout" {
            link_tree(&checkout(), &self.job.work());
            return StepResult::default();
        }
        let action = name.strip_prefix("$/").or(name.strip_prefix("./")).or(name.strip_prefix("OWNER/xcache"));
        let action = action.map(|name| name.trim_start_matches('/'));
        self.run_action(action.unwrap_or_else(|| panic!("`{uses}` is not in this repository")), with)
    }

    fn run_action(&mut self, name: &str, with: BTreeMap<String, String>) -> StepResult {
        let action = read_action(name);
        for input in with.keys() {
            assert!(action.inputs.contains_key(input), "`{name}` has no input `{input}`");
        }
        let inputs = self.inputs(&action, with.clone());
        match &action.runs {
            Runs::Composite { steps } => self.run_composite(name, &action, steps, &inputs),
            Runs::Node24 { main, post } => {
                let (result, state) = self.run_node(name, main, &inputs, BTreeMap::new());
                self.posts.push(Post { action: name.to_owned(), file: post.clone(), with, state });
                result
            }
        }
    }

    /// The inputs of an action: those given, and the defaults of the others.
    fn inputs(&self, action: &Action, with: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let default = |input: &file::Input| input.default.clone().unwrap_or(file::Text::Text(String::new()));
        let defaults = action.inputs.iter().map(|(name, input)| (name.clone(), default(input))).collect();
        let mut inputs = self.texts(&defaults);
        inputs.extend(with);
        inputs
    }

    fn run_composite(
        &mut self,
        name: &str,
        action: &Action,
        steps: &[Step],
        inputs: &BTreeMap<String, String>,
    ) -> StepResult {
        let github = BTreeMap::from([("action_path", checkout().join(name).display().to_string())]);
        let (steps, is_success) = self.run_steps(steps, Some(inputs), &github);
        let scope = Scope {
            runner: self,
            env: BTreeMap::new(),
            inputs: Some(inputs),
            steps: &steps,
            github: BTreeMap::new(),
            is_success,
        };
        let value = |output: &file::Output| interpolate(output.value.as_deref().expect("it has a value"), &scope);
        let outputs = action.outputs.iter().map(|(name, output)| (name.clone(), value(output))).collect();
        StepResult { is_failure: !is_success, outputs, log: steps.values().map(|step| step.log.as_str()).collect() }
    }

    /// Runs a file of a JavaScript action, and says what it left in the state.
    fn run_node(
        &mut self,
        action: &str,
        file: &str,
        inputs: &BTreeMap<String, String>,
        mut env: BTreeMap<String, String>,
    ) -> (StepResult, BTreeMap<String, String>) {
        // Spaces become underscores, hyphens stay.
        env.extend(
            inputs
                .iter()
                .map(|(name, value)| (format!("INPUT_{}", name.to_uppercase().replace(' ', "_")), value.clone())),
        );
        env.insert("GITHUB_ACTION_REPOSITORY".into(), "OWNER/xcache".into());
        let command = self.job.command("node").arg(checkout().join(action).join(file));
        let mut result = self.run_command(command, &env);
        // An output that was not set is blank to expressions.
        for name in read_action(action).outputs.into_keys() {
            result.outputs.entry(name).or_default();
        }
        (result, crate::job::parse_file(&self.job.github_file("GITHUB_STATE")))
    }

    fn run_script(
        &mut self,
        script: &str,
        shell: Option<&str>,
        dir: Option<&str>,
        env: &BTreeMap<String, String>,
    ) -> StepResult {
        let path = self.temp().join("step.sh");
        fs::write(&path, script).expect("the script can be written");
        let (shell, options): (_, &[&str]) = match shell {
            Some("bash") => ("bash", &["--noprofile", "--norc", "-eo", "pipefail"]),
            Some("sh") => ("sh", &["-e"]),
            None => ("bash", &["-e"]),
            Some(shell) => panic!("shell `{shell}` is not supported"),
        };
        let mut command = self.job.command(shell).args(options).arg(&path);
        if let Some(dir) = dir {
            command = command.current_dir(self.job.path(dir));
        }
        self.run_command(command, env)
    }

    fn run_command(&mut self, mut command: Invocation, env: &BTreeMap<String, String>) -> StepResult {
        for name in ["GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STATE"] {
            fs::write(self.job.github_file(name), "").expect("the file can be written");
        }
        // What steps start must be found by other tests and by whoever stops it: the servers.
        command = command.env("TMPDIR", std::env::temp_dir());
        if let Some(home) = std::env::var_os("XCACHE_TEST_HOME") {
            command = command.env("XCACHE_TEST_HOME", home);
        }
        command = command.env("XCACHE_BIN_DIR", &self.bin_dir);
        for (name, value) in self.env.iter().chain(env).chain(&self.overrides) {
            command = command.env(name, value);
        }
        let Outcome { code, stdout, stderr } = command.run();
        let log = stderr + &stdout;
        self.log.push_str(&log);
        let outputs = self.job.outputs();
        let set = crate::job::parse_file(&self.job.github_file("GITHUB_ENV"));
        self.env.extend(set);
        StepResult { is_failure: code != Some(0), outputs, log }
    }
}

/// The action of this name in the checkout.
fn read_action(name: &str) -> Action {
    file::read(&checkout().join(name).join("action.yml"))
}

/// Makes the files of `from` visible below `to`, in directories of their own, so that steps can write beside them and
/// never into the checkout.
fn link_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the checkout can be listed") {
        let entry = entry.expect("the checkout can be listed");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "target" || entry.file_name() == ".git" {
            continue;
        }
        if entry.file_type().expect("a file has a type").is_dir() {
            fs::create_dir(&target).expect("the directory can be made");
            link_tree(&source, &target);
        } else {
            symlink(&source, &target).expect("the file can be linked");
        }
    }
}
