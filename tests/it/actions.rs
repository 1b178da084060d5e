//! The actions as users meet them: workflows of this repository, step by step in the emulated runner.

use xcache_tests::runner::Runner;
use xcache_tests::s3;

use crate::{GC, RESTORE, SAVE};

const PROGRAMS: [(&str, &str); 3] = [("xcache-restore", RESTORE), ("xcache-save", SAVE), ("xcache-gc", GC)];

#[test]
fn a_cache_goes_round_restore_build_save_restore_and_clean_up() {
    // Started here if it does not run: the workflow finds it.
    s3::server();
    let mut runner = Runner::new(&PROGRAMS);
    let steps = runner.run_workflow(".github/workflows/actions.yml", "round-trip");
    assert!(steps["hit"].log.contains("Cache restored from key: build-Linux-0123"), "{}", steps["hit"].log);
    for title in ["Cache restore", "Cache save", "xcache prune"] {
        assert!(runner.summary().contains(&format!("### {title}")), "{}", runner.summary());
    }
}
