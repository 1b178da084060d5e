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
