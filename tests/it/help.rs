//! Help texts as golden files below `tests/golden/`. After a change on purpose: `XCACHE_BLESS=1 cargo test help`, and
//! read the diff.

use std::path::Path;

use xcache_tests::job::Job;

/// Each program, a flag that only it has, and its commands.
const PROGRAMS: [(&str, &str, &str, &[&str]); 3] = [
    ("xcache-save", env!("CARGO_BIN_EXE_save-under-test"), "rebase-after", &[]),
    ("xcache-restore", env!("CARGO_BIN_EXE_restore-under-test"), "fail-on-cache-miss", &[]),
    (
        "xcache-gc",
        env!("CARGO_BIN_EXE_gc-under-test"),
        "live-branches",
        &["prune", "ls", "show", "rm", "verify", "du", "keep"],
    ),
];

#[test]
fn help_is_as_reviewed() {
    for (name, exe, _, commands) in PROGRAMS {
        let own = std::iter::once((name.to_owned(), None));
        let of_commands = commands.iter().map(|command| (format!("{name}-{command}"), Some(*command)));
        for (name, command) in own.chain(of_commands) {
            let help = Job::new().command(exe).args(command).arg("--help").run().ok().stdout;
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"));
            if std::env::var_os("XCACHE_BLESS").is_some() {
                std::fs::write(&path, &help).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(help == golden, "the help of {name} differs from {}; it is now:\n{help}", path.display());
        }
    }
}

#[test]
fn completions_and_man_page_are_printed() {
    for (name, exe, flag, _) in PROGRAMS {
        for shell in ["bash", "zsh", "fish"] {
            let completions = Job::new().command(exe).args(["--completions", shell]).run().ok().stdout;
            assert!(completions.contains(name) && completions.contains(flag), "{name} {shell}");
        }
        let man = Job::new().command(exe).arg("--man").run().ok().stdout;
        assert!(man.contains(".TH") && man.contains(name), "{name}: {man}");
    }
}
