//! `xcache-gc report`: what it counts, and how its page looks and reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::runner::checkout;
use xcache_tests::skip;
use xcache_tests::tree::Rng;

use crate::{GC, SAVE};

/// What those who may save can put into a report: each would run, or break the page, if it were markup.
const HOSTILE: [&str; 4] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "' onmouseover='alert(3)",
    "</style></title><svg onload=alert(4)>",
];

/// A store that has something for each part of a report.
struct Reported {
    job: Job,
    place: Place,
}

impl Reported {
    fn new() -> Self {
        let reported = Self { job: Job::new(), place: Place::local() };
        let tree = reported.job.dir("tree");
        fs::create_dir_all(tree.join("deps/sub")).unwrap();
        (0..6).for_each(|n| reported.write(&format!("deps/file-{n}"), n, 200_000));
        reported.save("deps-1", &["--branch", "main"]);
        for n in 2..6 {
            reported.write(&format!("deps/sub/new-{n}"), n * 100, 50_000 * usize::try_from(n).unwrap());
            reported.save(&format!("deps-{n}"), &["--branch", if n % 2 == 0 { "main" } else { "feature/login" }]);
        }
        reported.save("other-1", &["--full", "--scope", "refs/pull/7/merge"]);
        reported.age("deps-1-base.tar.zst", 40);
        reported.age("deps-2-delta.tar.zst", 20);
        reported
    }

    fn write(&self, path: &str, seed: u64, length: usize) {
        fs::write(self.job.path("tree").join(path), Rng::new(seed).bytes(length)).unwrap();
    }

    fn save(&self, key: &str, args: &[&str]) {
        self.job.command(SAVE).store(&self.place).args(["tree", "--key", key]).args(args).run().ok();
    }

    /// Makes an entry older.
    fn age(&self, name: &str, days: u64) {
        let file = fs::File::options().write(true).open(self.place.dir().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
    }

    fn gc(&self, args: &[&str]) -> xcache_tests::job::Outcome {
        self.job.command(GC).args(args).store(&self.place).run().ok()
    }

    fn json(&self, args: &[&str]) -> Value {
        let all = [args, &["--json"]].concat();
        self.gc(&all).json()
    }

    fn page(&self, args: &[&str]) -> (PathBuf, String) {
        let all = [&["report", "--html", "page.html"], args].concat();
        self.gc(&all);
        let path = self.job.path("page.html");
        (path.clone(), fs::read_to_string(path).unwrap())
    }
}

#[test]
fn a_report_counts_what_du_and_a_dry_run_of_prune_count() {
    let reported = Reported::new();
    let rules = ["--max-age", "30d", "--keep-newest", "2", "--min-age", "1h"];
    let report = reported.json(&[&["report", "--price", "2"], &rules[..]].concat());
    let du = reported.json(&["du", "--price", "2"]);
    let prune = reported.json(&[&["prune", "--dry-run"], &rules[..]].concat());

    let total = &report["total"];
    assert_eq!(total["entries"], du["total"]["entries"]);
    let bytes = |share: &Value| share["base_bytes"].as_u64().unwrap() + share["delta_bytes"].as_u64().unwrap();
    assert_eq!(bytes(total), du["total"]["bytes"].as_u64().unwrap());
    assert_eq!(total["content_bytes"], du["total"]["content_bytes"]);
    assert_eq!(report["price"]["stored"], du["price_per_month"]);
    for share in report["by_branch"].as_array().unwrap() {
        let name = share["name"].as_str().unwrap_or("(none)");
        assert_eq!(bytes(share), du["by_branch"][name]["bytes"].as_u64().unwrap(), "{name}");
    }
    for groups in ["by_branch", "by_family", "by_scope"] {
        assert_eq!(report[groups].as_array().unwrap().iter().map(bytes).sum::<u64>(), bytes(total), "{groups}");
    }
    // What grew is what is there now.
    let last = report["growth"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["entries"], bytes(last)), (&total["entries"], bytes(total)));

    let plan = &report["plan"];
    assert_eq!((&plan["before"], &plan["after"]), (&prune["before"], &prune["after"]));
    let victims = prune["entries"].as_array().unwrap().iter().filter(|entry| entry["decision"] == "delete");
    assert_eq!(plan["deleted"].as_array().unwrap().iter().collect::<Vec<_>>(), victims.collect::<Vec<_>>());
    assert_eq!(plan["rules"].as_array().unwrap().len(), 4, "{plan}");
}

#[test]
fn a_report_of_a_bucket_has_branches_and_prices() {
    for place in Place::each() {
        let job = Job::new();
        fs::write(job.path("file"), Rng::new(1).bytes(100_000)).unwrap();
        for (key, branch) in [("deps-1", "main"), ("deps-2", "feature/login")] {
            job.command(SAVE).store(&place).args(["file", "--key", key, "--branch", branch]).run().ok();
        }
        let report = job.command(GC).args(["report", "--json", "--price", "1"]).store(&place).run().ok().json();
        let names: BTreeSet<_> =
            report["by_branch"].as_array().unwrap().iter().map(|share| share["name"].to_string()).collect();
        assert_eq!(names.len(), 2, "{place:?}: {report}");
        assert_eq!(report["total"]["entries"], 2, "{place:?}");
        assert_eq!(report["newest"].as_array().unwrap().len(), 2);
        assert!(report["price"]["stored"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_report_names_what_changed_in_the_newest_entries() {
    let report = Reported::new().json(&["report"]);
    let newest = report["newest"].as_array().unwrap();
    let of = |key: &str| newest.iter().find(|changed| changed["entry"]["key"] == key).unwrap();
    let changed = of("deps-5");
    assert_eq!((&changed["compared_with"], &changed["added_files"]), (&"deps-4".into(), &1.into()), "{changed}");
    assert_eq!((&changed["changed_files"], &changed["removed_files"]), (&0.into(), &0.into()));
    assert_eq!(changed["directories"][0]["path"], "tree/deps/sub");
    assert_eq!(changed["new_bytes"], 250_000);
    assert_eq!(of("deps-1")["compared_with"], Value::Null);
    // Another scope is another line of entries.
    assert_eq!(of("other-1")["compared_with"], Value::Null);
    let files = report["largest_files"].as_array().unwrap();
    assert_eq!((&files[0]["path"], &files[0]["bytes"]), (&"tree/deps/sub/new-5".into(), &250_000.into()));
    assert!(report["plan"].is_null() && report["price"].is_null(), "{report}");
}

#[test]
fn a_report_names_what_is_wrong_with_entries() {
    let reported = Reported::new();
    fs::remove_file(reported.place.dir().join("deps-1-base.tar.zst")).unwrap();
    fs::write(reported.place.dir().join("deps-2-delta.tar.zst"), "no archive").unwrap();
    reported.save("deps-3", &["--full"]);
    let report = reported.json(&["report"]);
    let troubles = report["troubles"].as_array().unwrap();
    let of = |name: &str| {
        let row = troubles.iter().find(|row| row["name"] == name);
        row.map_or("fine", |row| row["trouble"].as_str().unwrap()).to_owned()
    };
    assert_eq!(of("deps-2-delta.tar.zst"), "damaged");
    assert_eq!(of("deps-4-delta.tar.zst"), "dangling");
    assert_eq!(of("other-1-base.tar.zst"), "fine");
    let (_, page) = reported.page(&[]);
    assert!(page.contains("<strong>dangling</strong>") && page.contains("<strong>damaged</strong>"), "{page}");
    let lines = reported.gc(&["report"]).stdout;
    assert!(lines.contains(&format!("{} entries with trouble", troubles.len())), "{lines}");
}

#[test]
fn what_others_have_named_is_text_in_every_form_of_a_report() {
    let reported = Reported::new();
    for (n, text) in HOSTILE.iter().enumerate() {
        let name = format!("{}{n}", text.replace('/', "∕"));
        reported.write(&name, 7, 300_000);
        reported.save(&format!("{text}{n}"), &["--branch", text]);
    }
    let (_, page) = reported.page(&["--max-age", "0s", "--min-age", "0s"]);
    for text in HOSTILE {
        assert!(!page.contains(text), "{text} is markup in the page");
    }
    // Each in a key, a branch and a file.
    assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count() >= 2, "{page}");
    assert!(page.matches("&#39; onmouseover=&#39;alert(3)").count() >= 3, "{page}");
    let tags: Vec<&str> = page.split('<').skip(1).map(|tag| tag.split([' ', '>']).next().unwrap()).collect();
    let foreign: Vec<_> = tags.iter().filter(|tag| matches!(**tag, "script" | "img")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let markdown = reported.gc(&["report", "--markdown", "--max-age", "0s", "--min-age", "0s"]).stdout;
    assert!(markdown.contains("&lt;script&gt;") && !markdown.contains("<script"), "{markdown}");
    assert!(!markdown.contains("<img") && !markdown.contains("<svg"), "{markdown}");
}

#[test]
fn markdown_goes_to_the_summary_of_a_step() {
    let Reported { place, .. } = &Reported::new();
    let (job, github) = (Job::new(), Job::github());
    let outcome = job.command(GC).args(["report", "--markdown"]).store(place).run().ok();
    assert!(outcome.stdout.starts_with("### xcache report"), "{}", outcome.stdout);
    let outcome = github.command(GC).args(["report", "--markdown"]).store(place).run().ok();
    assert!(!outcome.stdout.contains("###"), "{}", outcome.stdout);
    let summary = fs::read_to_string(github.github_file("GITHUB_STEP_SUMMARY")).unwrap();
    assert!(summary.contains("### xcache report") && summary.contains("### Newest entries"), "{summary}");
}

#[test]
fn a_report_changes_nothing_and_an_empty_store_has_one_too() {
    let reported = Reported::new();
    let before = reported.place.entries();
    reported.page(&["--max-age", "0s", "--min-age", "0s"]);
    assert_eq!(reported.place.entries(), before);

    let Reported { job, place } = &reported;
    reported.gc(&["rm", "--all", "--yes"]);
    let outcome = job.command(GC).args(["report", "--html", "-"]).store(place).run().ok();
    assert!(outcome.stdout.starts_with("<!doctype html>") && outcome.stdout.contains("no entry yet"));
    job.command(GC).args(["report", "--html", ""]).store(place).run().expect_code(2);
    let outcome = job.command(GC).args(["report", "--html", "no/where.html"]).store(place).run().expect_code(1);
    assert!(outcome.stderr.contains("cannot write the page of `--html`"), "{}", outcome.stderr);
}

fn is_installed(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program} >/dev/null")]).status().unwrap().success()
}

/// Opens a page as different readers see it; what is wrong in each view.
fn look(page: &Path) -> Option<Vec<Value>> {
    let program = ["chromium", "chromium-browser", "google-chrome", "chrome"].into_iter().any(is_installed);
    if !skip::has("chromium, node and npm", program && is_installed("node") && is_installed("npm")) {
        return None;
    }
    let shots = page.parent().unwrap();
    let script = checkout().join("tests/support/browser/look");
    let output = Command::new(script).arg(page).arg(shots).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Where `XCACHE_TEST_SHOTS` names a directory, the pictures are kept for people.
    if let Some(kept) = std::env::var_os("XCACHE_TEST_SHOTS") {
        for view in ["light", "dark", "narrow", "narrow-dark"] {
            let name = format!("{view}.png");
            fs::copy(shots.join(&name), Path::new(&kept).join(&name)).unwrap();
        }
    }
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_page_can_be_seen_read_and_used_in_every_view() {
    let reported = Reported::new();
    for (n, text) in HOSTILE.iter().enumerate() {
        reported.save(&format!("{text}{n}"), &["--branch", text]);
    }
    fs::remove_file(reported.place.dir().join("deps-2-delta.tar.zst")).unwrap();
    let (path, _) = reported.page(&["--price", "0.023", "--max-age", "30d", "--keep-newest", "1", "--min-age", "1h"]);
    let Some(views) = look(&path) else { return };
    assert_eq!(views.len(), 4);
    for view in views {
        let name = &view["name"];
        assert_eq!(view["violations"], serde_json::json!([]), "{name}");
        assert_eq!(view["messages"], serde_json::json!([]), "{name}: messages on the console");
        assert_eq!(view["requests"], serde_json::json!([]), "{name}: requests for other files");
        assert_eq!((&view["overflow"], &view["scripts"]), (&0.into(), &0.into()), "{name}");
        assert_eq!(view["reached"], view["tabbable"], "{name}: what the keyboard reaches");
        let rules = view["passes"].as_array().unwrap();
        for rule in ["color-contrast", "heading-order", "svg-img-alt", "landmark-one-main"] {
            assert!(rules.contains(&rule.into()), "{name}: {rule} was not tried");
        }
        let picture = fs::read(path.with_file_name(format!("{}.png", name.as_str().unwrap()))).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{name}: an empty picture");
    }
}
