//! Tests that need more than every machine has: what they skip is counted, and `tests/run` says it.

use std::fs::OpenOptions;
use std::io::Write as _;

/// The file to which each skipped test adds a line.
const SKIPPED: &str = "XCACHE_TEST_SKIPPED";

/// Whether `condition` holds; if not, the test that asks is noted as skipped for lack of `what`.
#[must_use]
pub fn has(what: &str, condition: bool) -> bool {
    if condition {
        return true;
    }
    let thread = std::thread::current();
    let line = format!("{}: needs {what}\n", thread.name().unwrap_or("a test"));
    if let Some(path) = std::env::var_os(SKIPPED) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a skipped test can be noted");
    }
    eprint!("skipped: {line}");
    false
}

/// Whether this is root.
#[must_use]
pub fn has_root() -> bool {
    has("root", rustix::process::geteuid().is_root())
}
