//! `--metrics`: numbers of a run as OpenMetrics text, for the textfile collector of a node exporter or a push gateway.
//!
//! A run is one process, so counters begin at zero each time: whoever collects them adds them up. They are made of the
//! documents of `--json`, so that both say the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use xcache_core::gc::family::family;

use crate::report::human::seconds;

/// A run, as far as metrics tell of it.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// `save` or `restore`.
    pub command: &'a str,
    /// The document of each cache.
    pub caches: &'a [Value],
    /// How long each phase took, in all caches together.
    pub phases: &'a BTreeMap<&'static str, Duration>,
    /// How long the run took.
    pub elapsed: Duration,
    /// When it began.
    pub started: DateTime<Utc>,
}

/// Numbers that are added up over the caches of a run: the field of the document, and what it is.
const RESTORED: [(&str, &str); 5] = [
    ("files", "Files in the entries."),
    ("kept_files", "Files that were there already."),
    ("removed_files", "Files that were removed because they are not in the entry."),
    ("tree_bytes", "Bytes of the files."),
    ("received_bytes", "Bytes fetched from the store."),
];
const SAVED: [(&str, &str); 5] = [
    ("files", "Files in the trees."),
    ("skipped", "Files that were left out."),
    ("tree_bytes", "Bytes of the files."),
    ("stored_bytes", "Bytes of the objects."),
    ("sent_bytes", "Bytes sent to the store."),
];

impl Measured<'_> {
    /// The text, with its end mark.
    pub fn text(&self) -> String {
        let Self { command, caches, phases, elapsed, started } = self;
        let mut text = Text::default();
        text.family("xcache_build", "info", "Which version this is.");
        text.sample("xcache_build_info", &[("version", env!("CARGO_PKG_VERSION"))], "1");
        self.outcomes(&mut text);
        let numbers = if *command == "restore" { RESTORED } else { SAVED };
        for (field, help) in numbers {
            let name = format!("xcache_{command}_{field}");
            text.family(&name, "counter", help);
            let sum: u64 = caches.iter().filter_map(|cache| cache.get(field)?.as_u64()).sum();
            text.sample(&format!("{name}_total"), &[], &sum.to_string());
        }
        text.family("xcache_phase_seconds", "gauge", "How long each phase took, in all caches together.");
        for (phase, elapsed) in *phases {
            let labels = [("command", *command), ("phase", phase)];
            text.sample("xcache_phase_seconds", &labels, &seconds(*elapsed).to_string());
        }
        text.family("xcache_run_seconds", "gauge", "How long the run took.");
        text.sample("xcache_run_seconds", &[("command", command)], &seconds(*elapsed).to_string());
        text.family("xcache_run_timestamp_seconds", "gauge", "When the run began.");
        text.sample("xcache_run_timestamp_seconds", &[("command", command)], &started.timestamp().to_string());
        text.0 + "# EOF\n"
    }

    /// Hits and misses, entries and none, with their reasons. The key is one of many, so its family stands for it.
    fn outcomes(&self, text: &mut Text) {
        let name = format!("xcache_{}s", self.command);
        let help = match self.command {
            "restore" => "Restores: exact, prefix or miss, and why.",
            _ => "Saves: how they ended, and why.",
        };
        text.family(&name, "counter", help);
        let mut counts: BTreeMap<[String; 4], u64> = BTreeMap::new();
        for cache in self.caches {
            let field = |name: &str| cache.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            *counts.entry([field("outcome"), field("reason"), field("kind"), family(&field("key"))]).or_default() += 1;
        }
        for ([outcome, reason, kind, family], count) in counts {
            let labels = [("outcome", &*outcome), ("reason", &*reason), ("kind", &*kind), ("family", &*family)];
            text.sample(&format!("{name}_total"), &labels, &count.to_string());
        }
    }
}

/// OpenMetrics text under way.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# TYPE {name} {kind}").expect("a string takes everything");
        for unit in ["seconds", "bytes"] {
            if name.ends_with(&format!("_{unit}")) {
                writeln!(self.0, "# UNIT {name} {unit}").expect("a string takes everything");
            }
        }
        writeln!(self.0, "# HELP {name} {help}").expect("a string takes everything");
    }

    /// Labels that are blank say nothing.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.0, "{name}{labels} {value}").expect("a string takes everything");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes the file in one step: a collector may read it at any time.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(name);
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path).inspect_err(|_| drop(std::fs::remove_file(&draft)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_counted_by_outcome_and_family() {
        let miss = json!({"outcome": "miss", "reason": "denied", "key": "a\"b\\c-1", "files": 0});
        let hit = json!({"outcome": "exact", "reason": null, "kind": "delta", "key": "deps-1", "files": 7});
        let phases = BTreeMap::from([("lookup", Duration::from_millis(1500))]);
        let started = DateTime::from_timestamp(1_795_843_800, 0).unwrap();
        let caches = [miss, hit.clone(), hit];
        let elapsed = Duration::from_secs(2);
        let text = Measured { command: "restore", caches: &caches, phases: &phases, elapsed, started }.text();
        for line in [
            "xcache_restores_total{outcome=\"exact\",kind=\"delta\",family=\"deps-*\"} 2\n",
            "xcache_restores_total{outcome=\"miss\",reason=\"denied\",family=\"a\\\"b\\\\c-*\"} 1\n",
            "# TYPE xcache_restore_received_bytes counter\n# UNIT xcache_restore_received_bytes bytes\n",
            "xcache_restore_files_total 14\n",
            "xcache_phase_seconds{command=\"restore\",phase=\"lookup\"} 1.5\n",
            "xcache_run_seconds{command=\"restore\"} 2\n",
            "xcache_run_timestamp_seconds{command=\"restore\"} 1795843800\n# EOF\n",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("xcache.prom");
        write(&path, "first").unwrap();
        write(&path, "second").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&dir.path().join("no/where"), "text").is_err());
    }
}
