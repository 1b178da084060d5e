//! What is told of each outcome.
#![expect(clippy::too_many_lines, reason = "one table of all outcomes")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use xcache_cli::Exit;
use xcache_cli::caches_report::{Presented as _, Report};
use xcache_cli::report::settings::{ProgressMode, Settings, Verbosity};
use xcache_core::delta::plan::Reason;
use xcache_core::object::Kind;
use xcache_core::store::ObjectName;

use super::*;
use crate::outcome::NotSaved;
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

fn saved() -> Saved {
    Saved {
        kind: Kind::Base,
        reason: Some(Reason::NothingRestored),
        object: ObjectName::new("k-base.tar.zst").unwrap(),
        built_on: None,
        files: 3,
        tree_bytes: 2048,
        stored_bytes: 1024,
        sent_bytes: 1024,
        skipped: 0,
        is_pin_lost: false,
        incomplete: 0,
    }
}

/// Presents `outcome` of a run with `argv`, and gives what is printed with all else.
fn present<T>(argv: &[&str], outcome: &Outcome, look: impl FnOnce(&Presented<'_>) -> T) -> (String, T, Exit) {
    let config = config(argv, &[("HOME", "/h"), ("GITHUB_REF", "refs/heads/main")]).unwrap();
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
        Outcome::Saved(saved()),
        Exit::Done,
        "Cache saved with key: k\n\
         saved `k` as base (this job restored nothing to build on): 3 files, 2.0 KiB in 1.0 KiB, sent 1.0 KiB in 2.0 s (512 B/s)\n",
    );
    check(
        &[],
        Outcome::Saved(Saved { kind: Kind::Delta, built_on: "j".parse().ok(), skipped: 1, ..saved() }),
        Exit::Done,
        "Cache saved with key: k\n\
         saved `k` as delta on `j`: 3 files, 1 skipped, 2.0 KiB in 1.0 KiB, sent 1.0 KiB in 2.0 s (512 B/s)\n",
    );
    let unpinned = || Outcome::Saved(Saved { is_pin_lost: true, ..saved() });
    let is_saved = "Cache saved with key: k\n\
                    saved `k` as base (this job restored nothing to build on): 3 files, 2.0 KiB in 1.0 KiB, sent 1.0 KiB in 2.0 s (512 B/s)\n";
    check(&[], unpinned(), Exit::Done, is_saved);
    check(
        &["--fail-on-error"],
        unpinned(),
        Exit::Failed,
        &format!("{is_saved}error: failing because the entry is not pinned and `--fail-on-error` is set\n"),
    );
    let exists = |when| Outcome::AlreadyExists { when, sent_bytes: 1024 };
    let not_saving = "Cache hit occurred on the primary key k, not saving cache.\n";
    check(&[], exists(Existed::Before), Exit::Done, not_saving);
    check(
        &["--if-exists", "fail"],
        exists(Existed::Before),
        Exit::Failed,
        &format!("{not_saving}error: Failed to save cache entry. Exiting as if-exists is set. Input key: k\n"),
    );
    check(
        &["--fail-on-error"],
        exists(Existed::LostRace),
        Exit::Done,
        "another run saved key `k` first, not saving cache (1.0 KiB sent)\n",
    );
    check(
        &[],
        Outcome::NothingToSave { unreadable: 0 },
        Exit::Done,
        "notice: there is nothing at any of the paths that can be saved\n",
    );
    check(
        &[],
        Outcome::NotSaved { reason: NotSaved::Failed, sent_bytes: 0 },
        Exit::Done,
        "Cache not saved with key: k\n",
    );
    let read_only = "not saved: read-only (mode `read`)\n";
    check(&["--mode", "read", "--fail-on-error"], Outcome::ReadOnly, Exit::Done, read_only);
    check(
        &["--fail-on-error"],
        Outcome::NotSaved { reason: NotSaved::Failed, sent_bytes: 0 },
        Exit::Failed,
        "Cache not saved with key: k\n\
         error: Failed to save cache entry. Exiting as fail-on-error is set. Input key: k\n",
    );
}

#[test]
fn outputs_and_summary_hold_the_numbers() {
    let (_, outputs, _) = present(&[], &Outcome::Saved(saved()), |presented| one(presented).outputs());
    let outputs: Vec<String> = outputs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = "outcome=saved reason=nothing-restored kind=base files=3 tree-bytes=2048 stored-bytes=1024 sent-bytes=1024 seconds=2";
    assert_eq!(outputs.join(" "), expected);
    let (_, summary, _) = present(&[], &Outcome::Saved(saved()), |presented| one(presented).summary());
    assert!(summary.contains("| k | saved | base | 3 | 2.0 KiB | 1.0 KiB | 1.0 KiB | 2.0 s |"), "{summary}");
    let (_, summary, _) = present(&[], &Outcome::NothingToSave { unreadable: 0 }, |presented| one(presented).summary());
    assert!(summary.contains("| k | nothing-to-save |  | 0 | 0 B |"), "{summary}");
}

#[test]
fn the_document_has_sizes_in_bytes_and_times_in_utc() {
    let json = |presented: &Presented<'_>| serde_json::to_value(one(presented).document()).unwrap();
    let (_, found, _) = present(&[], &Outcome::Saved(saved()), json);
    assert_eq!(
        found,
        serde_json::json!({
            "format": 1, "command": "save", "outcome": "saved", "reason": "nothing-restored", "key": "k", "store": "file:///h/.cache/xcache",
            "scope": null, "mode": "write", "branch": "main", "kind": "base", "object": "k-base.tar.zst", "built_on": null, "files": 3,
            "skipped": 0, "tree_bytes": 2048, "stored_bytes": 1024, "sent_bytes": 1024,
            "started": "1970-01-01T00:00:00.000Z", "seconds": 2.0
        })
    );
    let (_, found, _) = present(&[], &Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes: 7 }, json);
    assert_eq!((&found["outcome"], &found["sent_bytes"]), (&"exists".into(), &7.into()));
}

#[test]
fn of_several_caches_the_worst_counts() {
    let config = config(&[], &[("HOME", "/h")]).unwrap();
    let (started, elapsed) = (DateTime::UNIX_EPOCH, Duration::from_secs(2));
    let word = |outcomes: &[Outcome]| {
        let present = |outcome| Presented { config: &config, outcome, started, elapsed };
        let caches: Vec<_> = outcomes.iter().map(present).collect();
        let outputs = Report { caches: &caches, is_list: true }.outputs();
        format!("{} {}", outputs[0].1, outputs[6].1)
    };
    let exists = Outcome::AlreadyExists { when: Existed::Before, sent_bytes: 0 };
    assert_eq!(word(&[Outcome::Saved(saved()), Outcome::Saved(saved())]), "saved 2048");
    assert_eq!(word(&[Outcome::Saved(saved()), exists.clone()]), "exists 1024");
    assert_eq!(
        word(&[exists, Outcome::NotSaved { reason: NotSaved::Failed, sent_bytes: 1 }, Outcome::Saved(saved())]),
        "not-saved 1025"
    );
}
