//! No accident: a blank, an unknown word, a variable that is not set or is meant for another command, and a store that is
//! not the one that was meant delete nothing. One table over everything that deletes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use xcache_tests::job::{Invocation, Job, Outcome};
use xcache_tests::place::Place;
use xcache_tests::s3;

use crate::gc_cases::{base_and_delta, gc};
use crate::{RESTORE, SAVE, restore, save};

/// What stands where a value was meant: nothing, white space, and words that are none of ours.
const VALUES: [&str; 5] = ["", " ", "\t", "perhaps", "-"];

/// Each flag that selects what is deleted, with its command and what else that needs.
const FLAGS: [(&str, &str, &[&str]); 23] = [
    ("prune", "--keep-newest", &[]),
    ("prune", "--max-age", &[]),
    ("prune", "--max-total-size", &[]),
    ("prune", "--live-branches", &[]),
    ("prune", "--live-branches-from-git", &[]),
    ("prune", "--stale-uploads", &[]),
    ("prune", "--shadowed", &[]),
    ("prune", "--dangling", &[]),
    ("prune", "--group-by", &["--max-total-size", "0B"]),
    ("prune", "--min-age", &["--max-total-size", "0B"]),
    ("prune", "--delete-versions", &[]),
    ("prune", "--dry-run", &["--max-total-size", "0B"]),
    ("rm", "--prefix", &[]),
    ("rm", "--scope", &[]),
    ("rm", "--branch", &[]),
    ("rm", "--repo", &[]),
    ("rm", "--tag", &[]),
    ("rm", "--kind", &[]),
    ("rm", "--older-than", &[]),
    ("rm", "--newer-than", &[]),
    ("rm", "--all", &[]),
    ("rm", "--cascade", &["old"]),
    ("rm", "--dry-run", &["--all"]),
];

/// Variables as other commands have them.
const VARIABLES: [(&str, &str); 19] = [
    ("XCACHE_PREFIX", "o"),
    ("XCACHE_BRANCH", "main"),
    ("XCACHE_SCOPE", "none"),
    ("XCACHE_REPO", "owner/repo"),
    ("XCACHE_TAG", "a=b"),
    ("XCACHE_KIND", "base"),
    ("XCACHE_OLDER_THAN", "0"),
    ("XCACHE_NEWER_THAN", "900d"),
    ("XCACHE_KEY", "old"),
    ("XCACHE_KEYS", "old"),
    ("XCACHE_ALL", "true"),
    ("XCACHE_CASCADE", "true"),
    ("XCACHE_YES", "true"),
    ("XCACHE_RESTORE_KEYS", "o"),
    ("XCACHE_PATH", "."),
    ("XCACHE_DEEP", "true"),
    ("XCACHE_REVERSE", "true"),
    ("XCACHE_SORT", "age"),
    ("XCACHE_FULL", "true"),
];

/// The table: counts its cells and what was tried.
struct Table {
    job: Job,
    place: Place,
    before: BTreeMap<String, Vec<u8>>,
    cells: u32,
}

impl Table {
    fn on(place: Place) -> Self {
        let job = Job::new();
        base_and_delta(&job, &place);
        place.put("own-base.tar.zst", b"made by others");
        let before = entries(&place);
        Self { job, place, before, cells: 0 }
    }

    #[track_caller]
    fn cell(&mut self, what: &str, invocation: Invocation) -> Outcome {
        let outcome = invocation.run();
        assert_eq!(
            entries(&self.place).keys().collect::<Vec<_>>(),
            self.before.keys().collect::<Vec<_>>(),
            "{what}: {outcome:?}"
        );
        assert!(entries(&self.place) == self.before, "{what}: an entry is another one: {outcome:?}");
        self.cells += 1;
        outcome
    }

    fn gc(&self, command: &str) -> Invocation {
        gc(&self.job, &self.place, command)
    }
}

fn entries(place: &Place) -> BTreeMap<String, Vec<u8>> {
    place.entries().into_iter().map(|name| (name.clone(), place.get(&name).unwrap())).collect()
}

#[test]
fn blanks_and_unknown_words_delete_nothing() {
    let mut table = Table::on(Place::local());
    for (command, flag, others) in FLAGS {
        for value in VALUES {
            // As shells write it: a value of its own, or behind an equals sign.
            if flag != "--cascade" {
                let split = table.gc(command).args(others).arg(flag).arg(value);
                table.cell(&format!("{command} {flag} {value:?}"), split);
            }
            let joined = table.gc(command).args(others).arg(format!("{flag}={value}"));
            table.cell(&format!("{command} {flag}={value:?}"), joined);
        }
        let last = table.gc(command).args(others.iter().filter(|other| **other != "--all" && **other != "old"));
        let needs_value =
            !matches!(flag, "--all" | "--cascade" | "--shadowed" | "--dangling" | "--dry-run" | "--delete-versions");
        if needs_value {
            let invocation = last.arg(flag);
            table.cell(&format!("{command} {flag} and nothing"), invocation);
        }
    }
    for keys in [
        &[""][..],
        &[" "],
        &["", "old"],
        &["old", ""],
        &["-"],
        &["perhaps"],
        &["OLD"],
        &["old*"],
        &["o"],
        &["*"],
        &["."],
        &["/"],
    ] {
        let invocation = table.gc("rm").args(keys);
        table.cell(&format!("rm {keys:?}"), invocation);
    }
    for commands in [
        &["prune"][..],
        &["rm"],
        &["rm", "--cascade"],
        &["prune", "--min-age", "0s"],
        &["purge"],
        &["rm", "--al"],
        &["prune", "--all"],
        &["rm", "--all", "old"],
        &["rm", "--all", "--prefix", "o"],
    ] {
        let invocation = table.gc(commands[0]).args(&commands[1..]);
        table.cell(&format!("{commands:?}"), invocation).expect_code(2);
    }
    // A number without its unit: `50` is not meant to be bytes.
    for size in ["1", "50", "50 ", "1.5GiB"] {
        let invocation = table.gc("prune").args(["--max-total-size", size, "--min-age", "0s"]);
        table.cell(&format!("--max-total-size {size}"), invocation).expect_code(2);
    }
    // What a shell computes from a variable that is not set: `$((DAYS))`.
    for rule in ["--keep-newest", "--max-age", "--max-total-size", "--stale-uploads"] {
        let invocation = table.gc("prune").args([rule, "0", "--min-age", "0s"]);
        table.cell(&format!("{rule} 0"), invocation).expect_code(2);
    }
    for rule in [&["rm", "--older-than", "0"][..], &["prune", "--max-age", "1s", "--min-age", "0"]] {
        let invocation = table.gc(rule[0]).args(&rule[1..]);
        table.cell(&format!("{rule:?}"), invocation).expect_code(2);
    }
    // The same command line, meant.
    table.gc("rm").args(["--prefix", "o", "--cascade", "--all"]).run().expect_code(2);
    table.gc("rm").args(["--prefix", "o", "--cascade"]).run().ok();
    assert_eq!(table.place.entries(), [""; 0]);
    eprintln!("blanks and unknown words: {} cells", table.cells);
}

#[test]
fn variables_of_other_commands_select_nothing() {
    let mut table = Table::on(Place::local());
    for (name, value) in VARIABLES {
        for command in [
            &["prune"][..],
            &["prune", "--shadowed"],
            &["prune", "--max-age", "900d"],
            &["rm"],
            &["rm", "missing"],
            &["rm", "old"],
            &["rm", "--prefix", "missing"],
        ] {
            let invocation = table.gc(command[0]).args(&command[1..]).env(name, value);
            table.cell(&format!("{name}={value} {command:?}"), invocation);
        }
        // Nor do they hide anything.
        let listed = table.gc("ls").arg("--json").env(name, value);
        let listed = table.cell(&format!("{name}={value} ls"), listed).ok().json();
        assert_eq!(listed["entries"].as_array().unwrap().len(), 3, "{name}");
    }
    eprintln!("variables of other commands: {} cells", table.cells);
}

#[test]
fn a_blank_store_is_not_the_default_one() {
    let mut table = Table::on(Place::local());
    // The default store of this user holds the same entries.
    let default = table.job.home().join(".cache/xcache");
    fs::create_dir_all(&default).unwrap();
    for (name, bytes) in &table.before {
        fs::write(default.join(name), bytes).unwrap();
    }
    for store in [
        &["--store", ""][..],
        &["--store= "],
        &["--s3-bucket", ""],
        &["--s3-bucket", "b", "--s3-prefix", ""],
        &["--s3-prefix="],
    ] {
        for command in
            [&["rm", "old", "--cascade"][..], &["rm", "--all"], &["prune", "--max-total-size", "0B", "--min-age", "0s"]]
        {
            let invocation = table.job.command(crate::GC).args(command).args(store);
            table.cell(&format!("{command:?} {store:?}"), invocation).expect_code(2);
            assert_eq!(fs::read_dir(&default).unwrap().count(), table.before.len(), "{store:?}");
        }
    }
    eprintln!("blank stores: {} cells", table.cells);
}

#[test]
fn another_store_than_the_one_that_was_meant_loses_nothing() {
    for outer in [Place::local(), Place::on(s3::ministack())] {
        let mut table = Table::on(outer.below("ci"));
        let wrong = [
            ("parent", outer),
            ("child", table.place.below("deps")),
            ("inside of ours", table.place.below(".xcache")),
            ("typo", table.place.below("../ic")),
        ];
        for (which, place) in &wrong {
            if *which == "typo" && place.url().starts_with("s3:") {
                continue;
            }
            for command in [
                &["prune", "--max-total-size", "0B", "--min-age", "0s"][..],
                &["prune", "--max-age", "0s", "--min-age", "0s"],
                &["prune", "--max-total-size", "0B", "--min-age", "0s"],
                &["prune", "--dangling", "--shadowed", "--stale-uploads", "0s", "--min-age", "0s"],
                &["rm", "--all", "--cascade"],
                &["rm", "old", "--cascade"],
                &["rm", "ci/old", "--cascade"],
                &["rm", "--prefix", "ci/", "--cascade"],
            ] {
                let invocation = gc(&table.job, place, command[0]).args(&command[1..]);
                table.cell(&format!("{which} {command:?}"), invocation);
            }
        }
        eprintln!("wrong stores: {} cells", table.cells);
    }
}

/// `[ci-clear-cache]` says what was deleted, and what was not.
#[test]
fn what_a_commit_message_could_not_clear_is_said() {
    let server = s3::server();
    let place = Place::on(server);
    let job = Job::github();
    fs::write(job.path("file"), "text").unwrap();
    save(&job, &place, "key").args(["--scope", "none", "file"]).run().ok();
    fs::write(job.path("event.json"), r#"{"head_commit": {"message": "x [ci-clear-cache]", "id": "1"}}"#).unwrap();
    for (rules, cleared) in [(&["DELETE key-base status:403"][..], 0), (&[], 1)] {
        let proxy = xcache_tests::proxy::Proxy::with_rules(server, rules);
        let outcome = restore(&job, &place.behind(proxy.endpoint()), "key")
            .env("GITHUB_EVENT_PATH", job.path("event.json"))
            .env("GITHUB_EVENT_NAME", "push")
            .args(["--scope", "none", "--clear-token", "[ci-clear-cache]", "file"])
            .run();
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        let entries = if cleared == 1 { "1 entry" } else { "0 entries" };
        assert!(all.contains(&format!("cleared {entries} for key `key`")), "{all}");
        assert_eq!(all.contains("`key-base.tar.zst` is not cleared"), cleared == 0, "{all}");
        assert_eq!(place.entries().len(), 1 - cleared, "{all}");
    }
}

/// A workspace whose files must be as before.
fn workspace(job: &Job) -> (PathBuf, impl Fn(&str)) {
    let dir = job.dir("workspace");
    fs::create_dir(dir.join("sub")).unwrap();
    for name in ["a", "sub/b"] {
        fs::write(dir.join(name), name).unwrap();
    }
    let kept = dir.clone();
    let check = move |what: &str| {
        for name in ["a", "sub/b"] {
            assert_eq!(fs::read_to_string(kept.join(name)).ok().as_deref(), Some(name), "{what}");
        }
    };
    (dir, check)
}

#[test]
fn restores_and_saves_delete_nothing_by_accident() {
    let mut table = Table::on(Place::local());
    let job = Job::github();
    let (dir, check) = workspace(&job);
    let args = |invocation: Invocation, more: &[&str], path: &Path| invocation.args(more).arg(path);
    // A restore that cleans, without an entry or without a clear wish.
    for (key, more) in [
        ("missing", &["--clean"][..]),
        (" ", &["--clean"]),
        ("", &["--clean"]),
        ("own", &["--clean=perhaps"]),
        ("missing", &["--clean", "--restore-keys", ""]),
        ("missing", &["--clean", "--restore-keys", " "]),
        ("missing", &["--clean", "--lookup-only"]),
    ] {
        let what = format!("restore {key:?} {more:?}");
        let invocation = args(restore(&job, &table.place, key), more, &dir);
        table.cell(&what, invocation);
        check(&what);
    }
    // A blank word in the commit message is in every commit message.
    fs::write(job.path("event.json"), r#"{"head_commit": {"message": "fix x [ci-skip]", "id": "1"}}"#).unwrap();
    for token in ["", " ", "[ci-clear-cache]", "perhaps"] {
        let target = job.path(format!("target-{}", token.len()));
        let invocation = restore(&job, &table.place, "old").env("GITHUB_EVENT_PATH", job.path("event.json"));
        let invocation = invocation.env("GITHUB_EVENT_NAME", "push").args(["--clear-token", token]).arg(target);
        table.cell(&format!("--clear-token {token:?}"), invocation);
    }
    // A save never replaces what is there, whatever it is asked for.
    for more in [
        &[][..],
        &["--full"],
        &["--if-exists", ""],
        &["--if-exists", "perhaps"],
        &["--if-exists=skip"],
        &["--full", "--base-key", ""],
    ] {
        let invocation = args(save(&job, &table.place, "old"), more, &dir);
        table.cell(&format!("save {more:?}"), invocation);
        let invocation = args(save(&job, &table.place, ""), more, &dir);
        table.cell(&format!("save of no key {more:?}"), invocation);
    }
    for (exe, name) in [(SAVE, "save"), (RESTORE, "restore")] {
        for (variable, value) in VARIABLES.iter().filter(|(name, _)| !matches!(*name, "XCACHE_KEY" | "XCACHE_PATH")) {
            let invocation = job.command(exe).store(&table.place).env(variable, value).args(["--key", "old"]).arg(&dir);
            table.cell(&format!("{name} {variable}"), invocation);
        }
    }
    eprintln!("restores and saves: {} cells", table.cells);
}

/// On a terminal much is deleted only after a yes; `--yes` answers.
#[test]
fn on_a_terminal_a_question_comes_first() {
    let (job, place) = (Job::new(), Place::local());
    let names: Vec<String> = (0..5).map(|n| format!("k{n}-base.tar.zst")).collect();
    let fill = || names.iter().for_each(|name| place.put(name, b"made by others"));
    let on_terminal = |arguments: &str, answer: &str| {
        // `script` gives the program a terminal.
        let line = format!("'{}' {arguments} --store '{}'", crate::GC, place.url());
        let input = job.path("answer");
        fs::write(&input, answer).unwrap();
        let line = format!("printf '{answer}' | script --quiet --return --command \"{line}\" /dev/null");
        job.command("/bin/sh").args(["-c", &line]).run()
    };
    for command in ["rm --all", "prune --max-total-size 0B --min-age 0s"] {
        fill();
        for no in ["n\\n", "\\n", "perhaps\\n"] {
            let outcome = on_terminal(command, no);
            assert!(outcome.stdout.contains("delete 5 entries, 70 B? [y/N]"), "{command} {no}: {outcome:?}");
            assert_eq!(place.entries().len(), 5, "{command} {no}: {outcome:?}");
        }
        on_terminal(command, "y\\n");
        assert_eq!(place.entries(), [""; 0], "{command}");
        fill();
        let outcome = on_terminal(&format!("{command} --yes"), "");
        assert!(!outcome.stdout.contains("[y/N]"), "{outcome:?}");
        assert_eq!(place.entries(), [""; 0], "{command} --yes");
    }
}
