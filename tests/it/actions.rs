//! The actions as users meet them: workflows of this repository, step by step in the emulated runner.

use std::collections::BTreeMap;

use xcache_tests::place::Place;
use xcache_tests::runner::{Runner, StepResult};
use xcache_tests::s3;

use crate::{GC, RESTORE, SAVE};

pub(crate) const PROGRAMS: [(&str, &str); 3] = [("xcache-restore", RESTORE), ("xcache-save", SAVE), ("xcache-gc", GC)];

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

/// A job with a fresh home and workspace, as on a runner that is thrown away afterwards.
fn ccache_job(place: &Place, sha: &str) -> BTreeMap<String, StepResult> {
    let mut runner = Runner::new(&PROGRAMS);
    runner.set_github("sha", sha);
    runner.set_setting("XCACHE_STORE", place.url());
    let server = s3::server();
    runner.set_env("XCACHE_S3_ENDPOINT", &server.endpoint);
    runner.set_setting("XCACHE_S3_REGION", server.region);
    runner.set_setting("AWS_ACCESS_KEY_ID", server.access_key);
    runner.set_setting("AWS_SECRET_ACCESS_KEY", server.secret_key);
    runner.run_workflow("examples/ccache/ccache.yml", "build")
}

#[test]
fn a_build_with_ccache_finds_everything_that_an_earlier_job_compiled() {
    let place = Place::on(s3::server());
    let of = |steps: &BTreeMap<String, StepResult>, step: &str, output: &str| steps[step].outputs[output].clone();

    let first = ccache_job(&place, "1111");
    assert_eq!(of(&first, "cache", "outcome"), "miss");
    assert_eq!(of(&first, "build", "hits"), "0");
    let calls: u32 = of(&first, "build", "misses").parse().unwrap();
    assert!(calls > 30, "{calls} calls are no project");
    assert_eq!((of(&first, "save", "outcome"), of(&first, "save", "kind")), ("saved".into(), "base".into()));

    let second = ccache_job(&place, "2222");
    assert_eq!((of(&second, "cache", "outcome"), of(&second, "cache", "cache-hit")), ("prefix".into(), "false".into()));
    assert_eq!((of(&second, "build", "hits"), of(&second, "build", "misses")), (calls.to_string(), "0".into()));
    // What ccache touches at a hit is its statistics.
    assert_eq!((of(&second, "save", "outcome"), of(&second, "save", "kind")), ("saved".into(), "delta".into()));
    let sent: u64 = of(&second, "save", "sent-bytes").parse().unwrap();
    let whole: u64 = of(&first, "save", "sent-bytes").parse().unwrap();
    assert!(sent < whole / 10, "{sent} of {whole} bytes sent again");

    let again = ccache_job(&place, "2222");
    assert_eq!((of(&again, "cache", "cache-hit"), of(&again, "build", "misses")), ("true".into(), "0".into()));
    assert!(!again.contains_key("save"), "an exact hit needs no save");
}
