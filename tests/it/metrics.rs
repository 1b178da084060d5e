//! `--metrics`: what a run writes, read by the reference parser of OpenMetrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use xcache_tests::job::{Invocation, Job};
use xcache_tests::place::Place;
use xcache_tests::runner::checkout;
use xcache_tests::s3;
use xcache_tests::tree::Rng;

use crate::{RESTORE, SAVE};

/// The samples of a file.
fn samples(path: &Path) -> Vec<Value> {
    let output = Command::new(s3::support("openmetrics")).arg(path).output().unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs something with `--metrics`; its samples by name and labels, and its document.
fn measured(job: &Job, run: Invocation) -> (BTreeMap<String, f64>, Value) {
    let outcome = run.args(["--metrics", "metrics.prom", "--json"]).run().ok();
    let path = job.path("metrics.prom");
    let name = |sample: &Value| {
        let labels = sample["labels"].as_object().unwrap().iter();
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
        format!("{}{{{}}}", sample["name"].as_str().unwrap(), labels.join(","))
    };
    let all = samples(&path).iter().map(|sample| (name(sample), sample["value"].as_f64().unwrap())).collect();
    (all, outcome.json())
}

#[test]
fn metrics_say_what_the_document_says() {
    let (job, place) = (Job::new(), Place::local());
    fs::create_dir(job.path("tree")).unwrap();
    for n in 0..4 {
        fs::write(job.path(format!("tree/{n}")), Rng::new(n).bytes(100_000)).unwrap();
    }
    let save = |key: &str| job.command(SAVE).store(&place).args(["tree", "--key", key]);
    let restore =
        |key: &str| job.command(RESTORE).store(&place).args(["tree", "--key", key, "--restore-keys", "deps-"]);

    let (saved, document) = measured(&job, save("deps-1"));
    assert_eq!(
        saved["xcache_saves_total{family=deps-*,kind=base,outcome=saved,reason=nothing-restored}"], 1.0,
        "{saved:?}"
    );
    for (field, expected) in [("files", 4.0), ("tree_bytes", 400_000.0)] {
        assert_eq!(saved[&format!("xcache_save_{field}_total{{}}")], expected, "{saved:?}");
    }
    for field in ["stored_bytes", "sent_bytes", "skipped"] {
        assert_eq!(saved[&format!("xcache_save_{field}_total{{}}")], document[field].as_f64().unwrap(), "{field}");
    }
    let phases = |all: &BTreeMap<String, f64>| {
        let names = all.keys().filter_map(|name| name.split_once("phase=")?.1.strip_suffix('}').map(str::to_owned));
        names.collect::<Vec<_>>()
    };
    assert_eq!(phases(&saved), ["look", "scan", "write"]);

    let (hit, document) = measured(&job, restore("deps-1"));
    assert_eq!(hit["xcache_restores_total{family=deps-*,kind=base,outcome=exact}"], 1.0, "{hit:?}");
    assert_eq!(hit["xcache_restore_kept_files_total{}"], 4.0);
    assert_eq!(hit["xcache_restore_received_bytes_total{}"], document["received_bytes"].as_f64().unwrap());
    assert_eq!(phases(&hit), ["look", "write"]);
    let (miss, _) = measured(&job, job.command(RESTORE).store(&place).args(["tree", "--key", "none"]));
    assert_eq!(miss["xcache_restores_total{family=none,outcome=miss,reason=nothing-there}"], 1.0, "{miss:?}");
}

#[test]
fn the_book_has_every_metric() {
    let (job, place) = (Job::new(), Place::local());
    fs::write(job.path("file"), "content").unwrap();
    let mut written = BTreeSet::new();
    for program in [SAVE, RESTORE] {
        job.command(program).store(&place).args(["file", "--key", "key", "--metrics", "metrics.prom"]).run().ok();
        let all = samples(&job.path("metrics.prom"));
        written.extend(all.iter().map(|sample| {
            (sample["family"].as_str().unwrap().to_owned(), sample["type"].as_str().unwrap().to_owned())
        }));
    }
    let page = fs::read_to_string(checkout().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `xcache_"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>());
    let told: BTreeSet<(String, String)> = cells.map(|cells| (cells[1].clone(), cells[2].clone())).collect();
    assert_eq!(told, written);
}

#[test]
fn several_caches_and_odd_keys_are_counted_apart() {
    let (job, place) = (Job::new(), Place::local());
    let list = r#"[{path: a, key: "quote\"back\\slash-1"}, {path: b, key: deps-1}, {path: c, key: deps-2}]"#;
    let (all, _) = measured(&job, job.command(RESTORE).store(&place).args(["--caches", list]));
    let of = |family: &str| all[&format!("xcache_restores_total{{family={family},outcome=miss,reason=nothing-there}}")];
    assert_eq!((of("deps-*"), of("quote\"back\\slash-*")), (2.0, 1.0), "{all:?}");
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning() {
    let (job, place) = (Job::new(), Place::local());
    let run =
        job.command(RESTORE).store(&place).args(["tree", "--key", "key", "--metrics", "no/where.prom"]).run().ok();
    assert!(run.stderr.contains("warning: cannot write metrics to `"), "{}", run.stderr);
    let run = job.command(RESTORE).store(&place).args(["tree", "--key", "key"]).env("XCACHE_METRICS", "").run().ok();
    assert!(!run.stderr.contains("metrics"), "{}", run.stderr);
}
