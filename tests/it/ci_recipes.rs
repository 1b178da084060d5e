//! The recipes of `docs/ci` and the examples for other CI systems: their commands, in the environments of `tests/ci`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::Value;
use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::recorded::Recorded;
use xcache_tests::runner::{Runner, checkout};

use crate::actions::PROGRAMS;

/// The first block of code in a page.
fn block(page: &str, language: &str) -> String {
    let text = fs::read_to_string(checkout().join("docs/ci").join(page)).unwrap();
    let block = text.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap();
    assert!(
        block.contains("XCACHE_STORE") && block.contains("XCACHE_S3_REGION"),
        "{page} does not say where entries are"
    );
    block.to_owned()
}

fn yaml(text: &str) -> Value {
    yaml_serde::from_str(text).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// Each system with its commands, and the variable that holds the commit there.
fn recipes() -> [(&'static str, &'static str, Vec<String>); 5] {
    let steps = |value: &Value, key: &str| -> Vec<String> {
        value.as_array().unwrap().iter().filter_map(|step| Some(step.get(key)?.as_str()?.to_owned())).collect()
    };
    let jenkins = block("jenkins.md", "groovy");
    let jenkins = jenkins.lines().filter_map(|line| line.trim().strip_prefix("sh '")?.strip_suffix('\''));
    [
        ("gitlab", "CI_COMMIT_SHA", texts(&yaml(&block("gitlab.md", "yaml"))["build"]["script"])),
        ("buildkite", "BUILDKITE_COMMIT", texts(&yaml(&block("buildkite.md", "yaml"))["steps"][0]["command"])),
        ("circleci", "CIRCLE_SHA1", steps(&yaml(&block("circleci.md", "yaml"))["jobs"]["build"]["steps"], "run")),
        ("azure", "BUILD_SOURCEVERSION", steps(&yaml(&block("azure.md", "yaml"))["steps"], "script")),
        ("jenkins", "GIT_COMMIT", jenkins.map(str::to_owned).collect()),
    ]
}

/// A job with the programs on its search path, and a `cargo` that notes each build in `target/log`.
struct Machine {
    job: Job,
    path: std::ffi::OsString,
}

impl Machine {
    fn new() -> Self {
        let job = Job::new();
        let bin = job.home().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, program) in PROGRAMS {
            symlink(program, bin.join(name)).unwrap();
        }
        fs::write(bin.join("cargo"), "#!/bin/sh\nmkdir -p target && echo built >>target/log\n").unwrap();
        fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
        Self { job, path }
    }

    fn sh(&self, place: &Place, command: &str) -> Invocation {
        self.job.command("sh").args(["-ec", command]).env("PATH", &self.path).env("XCACHE_STORE", place.url())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.job.path("target/log")).unwrap()
    }
}

#[test]
fn the_commands_of_each_recipe_restore_what_an_earlier_job_of_the_same_kind_saved() {
    for (system, commit, commands) in recipes() {
        assert_eq!(commands.len(), 3, "{system}: {commands:?}");
        for recorded in Recorded::all(system) {
            let place = Place::local();
            let may_write = recorded.column("mode") == Some("write");
            for expected in ["built\n", if may_write { "built\nbuilt\n" } else { "built\n" }] {
                let machine = Machine::new();
                for command in &commands {
                    let run = machine.sh(&place, command).env(commit, "c0ffee");
                    let outcome = recorded.apply(&machine.job, run).run().ok();
                    assert!(!outcome.stderr.contains("warning"), "{}: {command}: {}", recorded.title, outcome.stderr);
                }
                assert_eq!(machine.log(), expected, "{}", recorded.title);
            }
            assert_eq!(place.entries().is_empty(), !may_write, "{}", recorded.title);
        }
    }
}

#[test]
fn the_workflow_for_forgejo_and_gitea_runs_in_the_jobs_that_they_start() {
    let dir = tempfile::tempdir().unwrap();
    let workflow = dir.path().join("workflow.yml");
    fs::write(&workflow, block("forgejo.md", "yaml")).unwrap();
    for recorded in ["forgejo", "gitea"].iter().flat_map(|system| Recorded::all(system)) {
        let place = Place::local();
        let may_write = recorded.column("mode") == Some("write");
        for outcome in ["miss", if may_write { "exact" } else { "miss" }] {
            let mut runner = Runner::new(&PROGRAMS);
            let machine = Machine::new();
            runner.set_env("PATH", machine.path.to_str().unwrap());
            runner.apply(&recorded);
            runner.override_env("XCACHE_STORE", place.url());
            runner.run_workflow(workflow.to_str().unwrap(), "build");
            runner.finish("success");
            let is_hit = runner.log().contains("Cache restored from key: target-");
            assert_eq!(is_hit, outcome == "exact", "{}: {}", recorded.title, runner.log());
        }
        assert_eq!(place.entries().is_empty(), !may_write, "{}", recorded.title);
    }
}

#[test]
fn the_back_end_for_buildkite_keeps_to_the_protocol_of_the_cache_plugin() {
    let place = Place::local();
    let machine = Machine::new();
    let backend = checkout().join("examples/buildkite/cache_xcache").display().to_string();
    let call = |arguments: &str| machine.sh(&place, &format!("{backend} {arguments}")).run();
    let exists = |key| call(&format!("exists {key}")).code == Some(0);
    fs::create_dir(machine.job.path("node_modules")).unwrap();
    fs::write(machine.job.path("node_modules/file"), "first").unwrap();
    assert!(!exists("file-ab12"));
    call("save file-ab12 node_modules").ok();
    assert!(exists("file-ab12"));
    // Only the key itself.
    assert!(!exists("file-ab") && !exists("file-ab123"));
    fs::remove_dir_all(machine.job.path("node_modules")).unwrap();
    call("get file-ab12 node_modules").ok();
    assert_eq!(fs::read_to_string(machine.job.path("node_modules/file")).unwrap(), "first");
    // A file, too; and to another place.
    fs::write(machine.job.path("archive"), "one file").unwrap();
    call("save step-1 archive").ok();
    call("get step-1 elsewhere").ok();
    assert_eq!(fs::read_to_string(machine.job.path("elsewhere")).unwrap(), "one file");
    // `force` saves again: the first one wins, and no build fails.
    call("save step-1 archive").ok();
    for wrong in ["", "remove key", "Exists key"] {
        let outcome = call(wrong).expect_code(255);
        assert_eq!(outcome.stdout + &outcome.stderr, "");
    }
}

#[test]
fn the_component_for_gitlab_saves_what_a_successful_job_has_built() {
    let text = fs::read_to_string(checkout().join("examples/gitlab/templates/xcache.yml")).unwrap();
    let (spec, body) = text.split_once("\n---\n").unwrap();
    let place = Place::local();
    for (status, expected) in [("failed", "built\n"), ("success", "built\n"), ("success", "built\nbuilt\n")] {
        let mut body = body.to_owned();
        for (name, input) in yaml(spec)["spec"]["inputs"].as_object().unwrap() {
            let value = match name.as_str() {
                "store" => place.url(),
                "path" => "target",
                _ => input["default"].as_str().unwrap(),
            };
            body = body.replace(&format!("$[[ inputs.{name} ]]"), value);
        }
        assert!(!body.contains("[["), "{body}");
        let job = &yaml(&body)[".xcache"];
        let machine = Machine::new();
        // Each list of lines has a shell of its own. The runner expands variables in variables.
        for script in [texts(&job["before_script"]), vec!["cargo build".to_owned()], texts(&job["after_script"])] {
            let variables = job["variables"].as_object().unwrap().iter();
            let variables: String = variables.map(|(name, value)| format!("export {name}={value}\n")).collect();
            let run = machine.sh(&place, &(variables + &script.join("\n")));
            let run = Recorded::one("gitlab", "push").apply(&machine.job, run);
            run.env("CI_JOB_NAME", "build").env("CI_JOB_STATUS", status).run().ok();
        }
        assert_eq!(machine.log(), expected);
    }
    assert_eq!(place.entries().len(), 1);
}

#[test]
fn the_orb_for_circleci_restores_and_saves() {
    let orb = yaml(&fs::read_to_string(checkout().join("examples/circleci/orb.yml")).unwrap());
    let place = Place::local();
    for (revision, expected) in [("1", "built\n"), ("2", "built\nbuilt\n")] {
        let machine = Machine::new();
        let given = BTreeMap::from([("path", "target"), ("key", revision), ("restore-keys", "target-")]);
        let run = |command: &str| {
            let command = &orb["commands"][command];
            let step = &command["steps"][0]["run"];
            let fill = |text: &Value| {
                let mut text = text.as_str().unwrap().to_owned();
                for name in command["parameters"].as_object().unwrap().keys() {
                    let value =
                        if name == "key" { format!("target-{revision}") } else { given[name.as_str()].to_owned() };
                    text = text.replace(&format!("<< parameters.{name} >>"), &value);
                }
                text
            };
            let run = machine.sh(&place, &fill(&step["command"]));
            let environment = step["environment"].as_object().unwrap();
            let run = environment.iter().fold(run, |run, (name, value)| run.env(name, fill(value)));
            Recorded::one("circleci", "push").apply(&machine.job, run).run().ok();
        };
        run("restore");
        machine.sh(&place, "cargo build").run().ok();
        run("save");
        assert_eq!(machine.log(), expected);
    }
    assert_eq!(place.entries().len(), 2);
}

#[test]
fn every_system_that_is_recorded_has_a_recipe_in_the_list() {
    let list = fs::read_to_string(checkout().join("docs/ci/README.md")).unwrap();
    for page in fs::read_dir(checkout().join("docs/ci")).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || list.contains(&format!("]({name})")), "{name}");
    }
    for link in list.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(Path::new(&checkout()).join("docs/ci").join(link).exists(), "{link}");
    }
}
