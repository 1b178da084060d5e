//! Restores and saves that overlap with other steps and with each other: what `docs/overlap.md` says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Child;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::runner::{Runner, StepResult, checkout};
use xcache_tests::tree::assert_same_tree;

use crate::actions::PROGRAMS;
use crate::{restore, save, saved};

fn workflow(place: &Place, sha: &str, is_late: bool) -> (Runner, BTreeMap<String, StepResult>) {
    let mut runner = Runner::new(&PROGRAMS);
    runner.set_github("sha", sha);
    runner.set_setting("XCACHE_STORE", place.url());
    if is_late {
        runner.run_background_late();
    }
    let steps = runner.run_workflow("examples/overlap/overlap.yml", "build");
    (runner, steps)
}

#[test]
fn background_steps_restore_and_save_whenever_the_runner_runs_them() {
    for [first, second] in [[false, false], [true, true], [false, true]] {
        let place = Place::local();
        let (_, steps) = workflow(&place, "1111", first);
        let outcomes = |steps: &BTreeMap<String, StepResult>| {
            ["build-cache", "package-cache", "save-build", "save-packages"]
                .map(|id| steps[id].outputs["outcome"].clone())
        };
        assert_eq!(outcomes(&steps), ["miss", "miss", "saved", "saved"]);
        let (runner, steps) = workflow(&place, "2222", second);
        assert_eq!(outcomes(&steps), ["prefix", "exact", "saved", "exists"]);
        assert_eq!(fs::read_to_string(runner.job().path("out/log")).unwrap(), "miss:miss\nprefix:exact\n");
    }
}

/// The script in the page, with other programs and steps that are only named there.
#[test]
fn the_script_of_the_page_works() {
    let text = fs::read_to_string(checkout().join("docs/overlap.md")).unwrap();
    let script = text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let place = Place::local();
    for expected in ["built\n", "built\nbuilt\n"] {
        let job = Job::new();
        let bin = job.dir("bin");
        for (name, program) in PROGRAMS {
            symlink(program, bin.join(name)).unwrap();
        }
        let steps = "mkdir -p target\necho built >>target/log\n";
        for (name, text) in [("install-tools", ""), ("build", steps), ("test", "cat target/log\n")] {
            fs::write(job.path(name), format!("#!/bin/sh\n{text}")).unwrap();
            fs::set_permissions(job.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let run = job.command("sh").args(["-euc", script]).env("PATH", path).env("XCACHE_STORE", place.url());
        let outcome = run.env("COMMIT", expected.len().to_string()).run().ok();
        assert_eq!(outcome.stdout, expected, "{outcome:?}");
    }
    assert_eq!(place.entries().len(), 2);
}

#[test]
fn programs_of_one_job_at_the_same_time_do_not_disturb_each_others_state() {
    let place = Place::local();
    let names = ["a", "b", "c", "d", "e", "f"];
    let job = Job::github();
    for name in names {
        let dir = job.dir(name);
        fs::write(dir.join("kept"), format!("{name}\n").repeat(300_000)).unwrap();
        saved(&job, &place, &format!("{name}-1"), name.as_ref());
    }
    let job = Job::github();
    let run = |commands: Vec<std::process::Command>| {
        let children: Vec<Child> = commands.into_iter().map(|mut command| command.spawn().unwrap()).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
    };
    run(names.map(|name| restore(&job, &place, &format!("{name}-1")).arg(name).into_command()).into());
    for name in names {
        fs::write(job.path(name).join("new"), name).unwrap();
    }
    run(names.map(|name| save(&job, &place, &format!("{name}-2")).arg(name).into_command()).into());
    // Each builds on what it restored itself, and nothing of another is in it.
    let other = Job::github();
    for name in names {
        assert!(place.entries().contains(&format!("{name}-2-delta.tar.zst")), "{:?}", place.entries());
        restore(&other, &place, &format!("{name}-2")).arg(name).run().ok();
        assert_same_tree(&job.path(name), &other.path(name), &[]);
    }
}
