//! The shape of the code, as far as clippy does not hold it.

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn the_figures_of_the_structure_are_within_their_limits() {
    // The script needs Python, and git to list the files.
    let is_checkout = root().join(".git").exists() && Command::new("python3").arg("--version").output().is_ok();
    if !xcache_tests::skip::has("a checkout and python3", is_checkout) {
        return;
    }
    let output = Command::new(root().join("tests/support/structure")).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_core_builds_without_what_only_programs_need() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["tree", "--offline", "--package", "xcache-core", "--edges", "normal", "--prefix", "none"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"tokio"), "no tree: {tree}");
    let is_of_programs = |name: &&&str| {
        matches!(**name, "clap" | "indicatif" | "tracing-subscriber" | "schemars") || name.contains("yaml")
    };
    assert_eq!(names.iter().find(is_of_programs), None);
}
