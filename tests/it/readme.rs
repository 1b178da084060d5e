//! What the README says is so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use xcache_cli::Exit;
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
    let codes: Vec<String> = Exit::ALL.iter().map(|exit| exit.code().to_string()).collect();
    assert_eq!(first_cells("Exit codes"), codes);
}

#[test]
fn every_flag_of_the_table_exists() {
    let help: String = ["save", "restore"]
        .iter()
        .map(|name| fs::read_to_string(root().join(format!("tests/golden/xcache-{name}.txt"))).unwrap())
        .collect();
    for cell in first_cells("The three commands") {
        let words = cell.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        for flag in words.filter(|word| word.starts_with("--") && word.contains(char::is_alphabetic)) {
            assert!(help.contains(flag), "{flag}");
        }
    }
}

#[test]
fn every_rule_of_the_clean_up_exists() {
    let help = fs::read_to_string(root().join("tests/golden/xcache-gc-prune.txt")).unwrap();
    let cells = first_cells("Clean-up");
    let flags: Vec<&str> =
        cells.iter().flat_map(|cell| cell.split(['`', ' '])).filter(|w| w.starts_with("--")).collect();
    assert!(flags.len() > 5, "{flags:?}");
    for flag in flags {
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "{flag}");
    }
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
