//! What is told of each outcome.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use xcache_cli::Exit;
use xcache_cli::caches_report::{Presented as _, Report};
use xcache_cli::report::settings::{ProgressMode, Settings, Verbosity};
use xcache_core::entry::Entry;
use xcache_core::object::Kind;
use xcache_core::store::{ETag, ObjectMeta, ObjectName};

use super::*;
use crate::test_support::config;

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hit(key: &str, matched: Match, restored: Option<RestoreFigures>) -> Outcome {
    let meta = ObjectMeta { size: 500, etag: ETag("e".into()), last_modified: DateTime::UNIX_EPOCH };
    let name = ObjectName::new(format!("{key}-base.tar.zst")).unwrap();
    Outcome::Hit(Hit {
        entry: Entry { scope: None, key: key.parse().unwrap(), kind: Kind::Base, name, meta },
        matched,
        restored,
    })
}

fn prefix() -> Match {
    Match::Prefix { restore_key: None }
}

const RESTORED: RestoreFigures =
    RestoreFigures { files: 3, tree_bytes: 2048, kept_files: 1, removed_files: 0, received_bytes: 1024 };

/// Presents `outcome` of a run with `argv`, and gives what is printed with all else.
fn present<T>(argv: &[&str], outcome: &Outcome, look: impl FnOnce(&Presented<'_>) -> T) -> (String, T, Exit) {
    let config = config(argv, &[("HOME", "/h")]).unwrap();
    let presented =
        Presented { config: &config, outcome, started: DateTime::UNIX_EPOCH, elapsed: Duration::from_millis(2000) };
    let settings = Settings {
        verbosity: Verbosity::Normal,
        is_json: false,
        has_color: false,
        progress: ProgressMode::None,
        commands: xcache_cli::ci::annotation::Commands::None,
    };
    let stderr = Capture::default();
    presented.print(&Reporter::to_writers(settings, Box::new(io::sink()), Box::new(stderr.clone())));
    let text = String::from_utf8(stderr.0.lock().unwrap().clone()).unwrap();
    (text, look(&presented), outcome.exit(&config))
}

/// The report of a run with one cache.
fn one<'a>(presented: &'a Presented<'a>) -> Report<'a, Presented<'a>> {
    Report { caches: std::slice::from_ref(presented), is_list: false }
}

#[test]
fn log_lines_are_those_of_actions_cache() {
    let check = |argv: &[&str], outcome: Outcome, exit, expected: &str| {
        let (text, (), found_exit) = present(argv, &outcome, |_| ());
        assert_eq!((text.as_str(), found_exit), (expected, exit), "{argv:?} {outcome:?}");
    };
    check(
        &[],
        hit("k", Match::Exact, Some(RESTORED)),
        Exit::Done,
        "Cache restored from key: k\n\
         restored `k`: 3 files, 1 unchanged, 2.0 KiB, received 1.0 KiB in 2.0 s (512 B/s)\n",
    );
    check(
        &[],
        hit("k-old", prefix(), Some(RestoreFigures { removed_files: 2, kept_files: 0, ..RESTORED })),
        Exit::Done,
        "Cache restored from key: k-old\n\
         restored `k` from `k-old`: 3 files, 2 removed, 2.0 KiB, received 1.0 KiB in 2.0 s (512 B/s)\n",
    );
    check(
        &["--lookup-only"],
        hit("k", Match::Exact, None),
        Exit::Done,
        "Cache found and can be restored from key: k\n",
    );
    check(
        &["--restore-keys", "r1\nr2"],
        Outcome::Miss(MissReason::NothingThere),
        Exit::Done,
        "Cache not found for input keys: k, r1, r2\nnothing there: no key of an entry equals or begins with one of these\n",
    );
    check(
        &["--fail-on-cache-miss", "--restore-keys", "r1"],
        Outcome::Miss(MissReason::NothingThere),
        Exit::Failed,
        "nothing there: no key of an entry equals or begins with one of these\n\
         error: Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: k\n",
    );
    check(
        &["--fail-on-error"],
        Outcome::Miss(MissReason::Denied),
        Exit::Failed,
        "denied: the store does not allow reading\n\
         error: Failed to restore cache entry. Exiting as fail-on-error is set. Input key: k\n",
    );
    check(
        &["--fail-on-error"],
        Outcome::Miss(MissReason::OtherPaths),
        Exit::Done,
        "Cache not found for input keys: k\nother paths: the entry was saved for other paths\n",
    );
    let off = "Cache not found for input keys: k\noff: mode `write-only`\n";
    check(&["--mode", "write-only", "--fail-on-error"], Outcome::Miss(MissReason::Off), Exit::Done, off);
}

#[test]
fn outputs_are_those_of_actions_cache_and_ours() {
    let check = |outcome: Outcome, hit: Option<&str>, matched: Option<&str>, word: &str, reason: &str| {
        let (_, outputs, _) = present(&[], &outcome, |presented| one(presented).outputs());
        let output = |name: &str| outputs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        assert_eq!((output("cache-hit"), output("cache-matched-key")), (hit, matched), "{outcome:?}");
        assert_eq!((output("outcome"), output("miss-reason")), (Some(word), Some(reason)));
        assert_eq!(output("seconds"), Some("2"));
    };
    check(hit("k", Match::Exact, Some(RESTORED)), Some("true"), Some("k"), "exact", "");
    check(hit("k", Match::Exact, None), Some("true"), Some("k"), "exact", "");
    check(hit("k-1", prefix(), Some(RESTORED)), Some("false"), Some("k-1"), "prefix", "");
    check(Outcome::Miss(MissReason::NothingThere), None, None, "miss", "nothing-there");
    check(Outcome::Miss(MissReason::Cleared), None, None, "miss", "cleared");
    check(Outcome::Miss(MissReason::Off), None, None, "miss", "off");
}

#[test]
fn the_summary_is_one_row() {
    let (_, summary, _) = present(&[], &hit("k|1", prefix(), Some(RESTORED)), |presented| one(presented).summary());
    assert!(summary.contains("| k | k\\|1 | prefix | 3 | 1 | 2.0 KiB | 1.0 KiB | 2.0 s |"), "{summary}");
    let (_, summary, _) = present(&[], &Outcome::Miss(MissReason::Denied), |presented| one(presented).summary());
    assert!(summary.contains("| k |  | miss (denied) |"), "{summary}");
}

#[test]
fn the_document_has_sizes_in_bytes_and_times_in_utc() {
    let json = |presented: &Presented<'_>| serde_json::to_value(one(presented).document()).unwrap();
    let (_, found, _) = present(&[], &hit("k", Match::Exact, Some(RESTORED)), json);
    assert_eq!(
        found,
        serde_json::json!({
            "format": 1, "command": "restore", "outcome": "exact", "reason": null, "lookup_only": false, "key": "k",
            "matched_key": "k", "store": "file:///h/.cache/xcache", "scope": null, "mode": "write", "kind": "base",
            "object": "k-base.tar.zst", "stored_bytes": 500, "saved_at": "1970-01-01T00:00:00.000Z", "files": 3,
            "kept_files": 1, "removed_files": 0, "tree_bytes": 2048, "received_bytes": 1024,
            "started": "1970-01-01T00:00:00.000Z", "seconds": 2.0
        })
    );
    let (_, found, _) = present(&[], &Outcome::Miss(MissReason::Corrupt), json);
    assert_eq!((&found["outcome"], &found["reason"]), (&"miss".into(), &"corrupt".into()));
    assert!(found["matched_key"].is_null() && found["saved_at"].is_null());
}

/// The outputs of a run with several caches.
fn outputs_of(outcomes: &[Outcome]) -> String {
    let config = config(&[], &[("HOME", "/h")]).unwrap();
    let (started, elapsed) = (DateTime::UNIX_EPOCH, Duration::from_secs(2));
    let present = |outcome| Presented { config: &config, outcome, started, elapsed };
    let caches: Vec<_> = outcomes.iter().map(present).collect();
    let outputs = Report { caches: &caches, is_list: true }.outputs();
    let shown = outputs.iter().filter(|(name, _)| *name != "caches");
    shown.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ").replace('\n', "+")
}

#[test]
fn of_several_caches_the_worst_counts() {
    let exact = || hit("k", Match::Exact, Some(RESTORED));
    let other = || hit("j", prefix(), Some(RESTORED));
    let miss = || Outcome::Miss(MissReason::Denied);
    let sums = "files=6 tree-bytes=4096 received-bytes=2048 seconds=2";
    let check = |outcomes: &[Outcome], expected: &str| assert_eq!(outputs_of(outcomes), expected);
    check(&[exact(), exact()], &format!("cache-hit=true cache-matched-key=k+k outcome=exact miss-reason= {sums}"));
    check(&[other(), exact()], &format!("cache-hit=false cache-matched-key=j+k outcome=prefix miss-reason= {sums}"));
    check(
        &[Outcome::Miss(MissReason::NothingThere), miss()],
        "outcome=miss miss-reason=denied files=0 tree-bytes=0 received-bytes=0 seconds=2",
    );
    check(&[exact(), miss(), other()], &format!("cache-matched-key=k+j outcome=miss miss-reason=denied {sums}"));
    check(&[miss()], "outcome=miss miss-reason=denied files=0 tree-bytes=0 received-bytes=0 seconds=2");
}
