//! What the README says is so.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use xcache_cli::command;
use xcache_tests::job::Job;

use crate::{RESTORE, SAVE};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The first cells of the table below a heading.
fn first_cells(heading: &str) -> Vec<String> {
    let text = readme();
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('|').nth(1).unwrap().trim().to_owned()).collect()
}

#[test]
fn exit_codes_are_those_of_the_programs() {
    let job = Job::new();
    let run = |args: &[&str]| {
        let outcome = job.command(RESTORE).args(args).run();
        format!("{}", outcome.code.unwrap())
    };
    let (done, failed, usage) =
        (run(&["p", "--key", "k"]), run(&["p", "--key", "k", "--fail-on-cache-miss"]), run(&["p"]));
    assert_eq!(first_cells("Exit codes"), [done, failed, usage]);
}

/// The long names of all flags of a command and its subcommands.
fn flags(command: &mut clap::Command, found: &mut BTreeSet<String>) {
    command.build();
    let own = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| arg.get_long());
    found.extend(own.map(|flag| format!("--{flag}")));
    command.get_subcommands_mut().for_each(|subcommand| flags(subcommand, found));
}

/// The words of a text that are flags.
fn flags_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let flag = |word: &&str| word.starts_with("--") && word.len() > 3;
    words.filter(flag).map(|word| word.trim_end_matches('-').to_owned()).collect()
}

#[test]
fn every_flag_is_in_the_readme() {
    let mut all = BTreeSet::new();
    flags(&mut command::<xcache_save::args::Args>(), &mut all);
    flags(&mut command::<xcache_restore::args::Args>(), &mut all);
    flags(&mut command::<xcache_gc::args::Args>(), &mut all);
    let told = flags_in(&readme());
    let missing: Vec<_> = all.iter().filter(|flag| !told.contains(*flag) && *flag != "--version").collect();
    assert_eq!(missing, Vec::<&String>::new());
    let in_tables = [first_cells("The three commands"), first_cells("Clean-up")].concat().join(" ");
    let unknown: Vec<_> = flags_in(&in_tables).into_iter().filter(|flag| !all.contains(flag)).collect();
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn the_first_run_works() {
    let job = Job::new();
    let bin = job.dir("bin");
    symlink(SAVE, bin.join("xcache-save")).unwrap();
    symlink(RESTORE, bin.join("xcache-restore")).unwrap();
    let run = Command::new(root().join("examples/first-run")).env("XCACHE_BIN_DIR", &bin).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(text.contains("demo-2-delta.tar.zst"), "{text}");
}

/// The text of all Rust files below `dir`.
fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

#[test]
fn every_test_of_the_threat_model_exists() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() >= 5, "{rows:?}");
    let crates = ["tests/it", "xcache-core/src", "xcache-cli/src", "xcache-save/src", "xcache-restore/src"];
    let sources: String = crates.iter().map(|name| sources(&root().join(name))).collect();
    for row in rows {
        let tests = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let mut names = tests.split('`').skip(1).step_by(2).peekable();
        assert!(names.peek().is_some(), "no test stands for this attacker: {row}");
        for name in names {
            assert!(sources.contains(&format!("fn {name}()")), "SECURITY.md names `{name}`, which is no test");
        }
    }
}
