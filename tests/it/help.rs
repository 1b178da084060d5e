//! Help texts as golden files below `tests/golden/`. After a change on purpose: `XCACHE_BLESS=1 cargo test help`, and
//! read the diff.

use std::path::Path;

use xcache_tests::job::Job;

const PROGRAMS: [(&str, &str); 2] = [
    ("xcache-save", env!("CARGO_BIN_EXE_save-under-test")),
    ("xcache-restore", env!("CARGO_BIN_EXE_restore-under-test")),
];

#[test]
fn help_is_as_reviewed() {
    for (name, exe) in PROGRAMS {
        let help = Job::new().command(exe).arg("--help").run().ok().stdout;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"));
        if std::env::var_os("XCACHE_BLESS").is_some() {
            std::fs::write(&path, &help).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(help == golden, "the help of {name} differs from {}; it is now:\n{help}", path.display());
    }
}

#[test]
fn completions_and_man_page_are_printed() {
    for (name, exe) in PROGRAMS {
        for shell in ["bash", "zsh", "fish"] {
            let completions = Job::new().command(exe).args(["--completions", shell]).run().ok().stdout;
            assert!(completions.contains(name) && completions.contains("restore-keys"), "{name} {shell}");
        }
        let man = Job::new().command(exe).arg("--man").run().ok().stdout;
        assert!(man.contains(".TH") && man.contains("XCACHE_KEY"), "{name}: {man}");
    }
}
