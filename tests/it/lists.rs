//! Lists of `xcache-gc`: tables for people on a terminal, values between tabs for programs.

use std::fs;

use xcache_tests::job::{Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::tree::Rng;

use crate::{GC, save};

/// Two entries, the second of which builds on the first: one file is the same, one has changed, one is new, one is gone.
fn entries() -> (Job, Place) {
    let (job, place) = (Job::new(), Place::local());
    let tree = job.dir("tree");
    for (name, seed, length) in [("same", 1, 600_000), ("changed", 2, 100_000), ("gone", 3, 100_000)] {
        fs::write(tree.join(name), Rng::new(seed).bytes(length)).unwrap();
    }
    save(&job, &place, "deps-linux-0123456789abcdef").args(["--branch", "main", "--repo", "o/r", "tree"]).run().ok();
    fs::write(tree.join("changed"), Rng::new(4).bytes(30_000)).unwrap();
    fs::write(tree.join("added"), Rng::new(5).bytes(20_000)).unwrap();
    fs::remove_file(tree.join("gone")).unwrap();
    let second = save(&job, &place, "deps-linux-fedcba9876543210").args([
        "--branch",
        "topic/x",
        "--repo",
        "o/r",
        "--base-key",
        "deps-linux-0123456789abcdef",
    ]);
    second.arg("tree").run().ok();
    (job, place)
}

/// Runs it on a terminal that has so many columns.
fn on_a_terminal(job: &Job, place: &Place, columns: u32, arguments: &str) -> Outcome {
    let line = format!("stty cols {columns}; '{GC}' {arguments} --store '{}'", place.url());
    let outcome = job.command("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]).run().ok();
    Outcome { stdout: outcome.stdout.replace('\r', ""), ..outcome }
}

fn in_a_pipe(job: &Job, place: &Place, arguments: &str) -> Vec<Vec<String>> {
    let outcome = job.command(GC).args(arguments.split(' ')).store(place).run().ok();
    outcome.stdout.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[track_caller]
fn assert_first_words(outcome: &Outcome, expected: &[&str]) {
    let words: Vec<&str> = outcome.stdout.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(words, expected, "{}", outcome.stdout);
}

#[test]
fn a_terminal_gets_tables_with_headings_within_its_width() {
    let (job, place) = entries();
    for (arguments, headings) in [
        ("ls", &["SIZE", "MODIFIED", "KIND", "KEY"][..]),
        ("list --long", &["SIZE", "LOGICAL", "MODIFIED", "KIND", "REFS", "BRANCH", "KEY"]),
        ("du", &["BY", "STORED", "LOGICAL", "ENTRIES", "KIND"]),
        ("du --by family", &["BY", "STORED", "LOGICAL", "ENTRIES", "FAMILY"]),
        ("show deps-linux-0123456789abcdef", &["FIELD", "VALUE"]),
        ("diff deps-linux-0123456789abcdef deps-linux-fedcba9876543210", &["CHANGE", "SIZE", "NEW", "PATH"]),
        ("prune --keep-newest 1 --min-age 0s --group-by scope --dry-run", &["GROUPS", "ENTRIES", "KEPT"]),
    ] {
        let outcome = on_a_terminal(&job, &place, 200, arguments);
        assert_first_words(&outcome, headings);
        assert!(!outcome.stdout.contains('\t'), "{}", outcome.stdout);
    }
    for (columns, key) in [(80, "deps-linux-fedcba9876543210"), (40, "deps-l…543210")] {
        let listed = on_a_terminal(&job, &place, columns, "ls --limit 1").stdout;
        let row = listed.lines().nth(1).unwrap();
        assert!(row.ends_with(key) && row.contains(" ago  delta  "), "{listed}");
        assert!(listed.lines().all(|line| line.chars().count() <= columns as usize), "{listed}");
    }
    let planned = on_a_terminal(&job, &place, 200, "prune --max-total-size 0B --min-age 0s --dry-run").stdout;
    assert!(planned.contains("would delete"), "{planned}");
}

#[test]
fn a_pipe_gets_values_between_tabs() {
    let (job, place) = entries();
    let listed = in_a_pipe(&job, &place, "ls --sort key");
    let [first, second] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((&*first[2], &*first[3], &*first[4]), ("base", "", "deps-linux-0123456789abcdef"));
    assert_eq!(second[4], "deps-linux-fedcba9876543210");
    let size = fs::metadata(place.dir().join("deps-linux-0123456789abcdef-base.tar.zst")).unwrap().len();
    assert_eq!(first[0], size.to_string());
    assert!(first[1].len() == 20 && first[1].ends_with('Z'), "{first:?}");
    let long = in_a_pipe(&job, &place, "ls --long --sort key");
    assert_eq!((&*long[0][1], &*long[1][4], &*long[1][5]), ("800000", "1", "topic/x"));

    let used = in_a_pipe(&job, &place, "du --by branch,repo");
    let rows: Vec<_> = used.iter().map(|row| (&*row[0], &*row[2], &*row[3], &*row[4])).collect();
    let expected = [
        ("branch", "800000", "1", "main"),
        ("branch", "650000", "1", "topic/x"),
        ("total", "1450000", "2", ""),
        ("repo", "1450000", "2", "o/r"),
        ("total", "1450000", "2", ""),
    ];
    assert_eq!(rows, expected);

    let shown = in_a_pipe(&job, &place, "show deps-linux-0123456789abcdef --files");
    assert!(shown.contains(&vec!["size".to_owned(), size.to_string()]), "{shown:?}");
    let row = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for expected in ["0 directory tree", "100000 file tree/changed", "600000 file tree/same"] {
        assert!(shown.contains(&row(expected)), "{expected}: {shown:?}");
    }

    let planned = in_a_pipe(&job, &place, "prune --max-total-size 0B --min-age 0s --dry-run");
    let verbs: Vec<_> = planned.iter().map(|row| (&*row[0], row[1].parse::<u64>().is_ok())).collect();
    assert_eq!(verbs, [("would delete", true), ("would delete", true)]);
}

#[test]
fn diff_lists_what_was_added_changed_and_removed() {
    let (job, place) = entries();
    let rows = in_a_pipe(&job, &place, "diff deps-linux-0123456789abcdef deps-linux-fedcba9876543210");
    let expected = [
        ["added", "20000", "20000", "tree/added"],
        ["changed", "30000", "30000", "tree/changed"],
        ["removed", "100000", "0", "tree/gone"],
    ];
    assert_eq!(rows, expected);
    let rows = in_a_pipe(&job, &place, "diff deps-linux-fedcba9876543210 deps-linux-fedcba9876543210");
    assert_eq!(rows, [[""; 0]; 0]);
    let missing = ["diff", "deps-linux-fedcba9876543210", "missing"];
    job.command(GC).args(missing).store(&place).run().expect_code(1).reviewed();
    // An archive that others made has no list of its files.
    place.put("plain-base.tar.zst", b"made by others");
    let plain = ["diff", "plain", "deps-linux-fedcba9876543210"];
    job.command(GC).args(plain).store(&place).run().expect_code(1).reviewed();
}
