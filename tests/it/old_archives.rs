//! Archives of every format ever written restore for ever.
//!
//! `tests/archives/N/` holds objects as a version that wrote format N left them: `old-base`, `new-delta` which builds on
//! it, and `full-base`, which is the tree of `new` saved in full. A change of the format adds a directory. `roots/` holds an
//! entry of several paths, whose names are part of the format.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use xcache_core::archive::footer::FORMAT;
use xcache_core::archive::reader::{ReadTail, read_tail};
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::{Aspect, assert_same_tree};

use crate::restored;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("archives")
}

#[test]
fn every_format_has_samples() {
    for format in 1..=FORMAT {
        for name in ["old-base", "new-delta", "full-base"] {
            let path = samples().join(format.to_string()).join(format!("{name}.tar.zst"));
            assert!(path.exists(), "no {}", path.display());
        }
    }
}

#[test]
fn archives_of_all_versions_restore() {
    for format in 1..=FORMAT {
        let directory = samples().join(format.to_string());
        let (job, place) = (Job::new(), Place::local());
        for object in fs::read_dir(&directory).unwrap() {
            let object = object.unwrap();
            fs::copy(object.path(), place.dir().join(object.file_name())).unwrap();
        }
        give_back_its_etag(&place);
        for key in ["old", "new", "full"] {
            restored(&job, &place, key, &job.path(key));
        }
        assert_same_tree(&job.path("full"), &job.path("new"), &[]);
        // What `tar` makes of them, but for extended attributes, which it restores only when asked.
        for key in ["old", "full"] {
            let plain = job.dir(&format!("{key}-by-tar"));
            let archive = place.dir().join(format!("{key}-base.tar.zst"));
            let tar = Command::new("tar").arg("-xpf").arg(archive).arg("-C").arg(&plain).status().unwrap();
            assert!(tar.success());
            assert_same_tree(&plain, &job.path(key), &[Aspect::Xattrs]);
        }
    }
}

/// What the lines of the sample of roots are called, in the order in which they were saved.
const ROOTS: [&str; 4] = ["target", "~/.cargo", "$RUNNER_TEMP/tool", "*.log"];

/// Their files: where in a job they lie, and what is in them.
fn files_of_roots(job: &Job) -> [(PathBuf, &'static str); 4] {
    let temp = job.home().parent().unwrap().join("runner-temp");
    [
        (job.path("target/out/program"), "built"),
        (job.home().join(".cargo/registry/index"), "index"),
        (temp.join("tool/bin/tool"), "tool"),
        (job.path("build.log"), "log"),
    ]
}

/// Makes the sample anew: `XCACHE_BLESS=1 cargo test roots_of_a_sample`, after a change of the format.
fn make_sample_of_roots(path: &Path) {
    let (job, place) = (Job::github(), Place::local());
    for (path, content) in files_of_roots(&job) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let temp = job.home().parent().unwrap().join("runner-temp/tool");
    let paths = format!("./target/\n~/.cargo\n{}\n*.log", temp.display());
    let outcome = crate::save(&job, &place, "roots").args(["--json", "--path", &paths]).run().ok();
    assert_eq!(outcome.json()["outcome"], "saved", "{}", outcome.stderr);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, place.get("roots-base.tar.zst").unwrap()).unwrap();
}

#[test]
fn roots_of_a_sample_go_by_name_to_where_this_runner_has_them() {
    let sample = samples().join("roots/roots-base.tar.zst");
    if std::env::var_os("XCACHE_BLESS").is_some() {
        make_sample_of_roots(&sample);
    }
    let bytes = fs::read(&sample).unwrap();
    let Ok(ReadTail::Archive(archive)) = read_tail(&bytes, bytes.len() as u64) else { panic!("no index") };
    let names: Vec<_> = archive.index.roots.iter().map(|root| root.given.as_str()).collect();
    assert_eq!(names, ROOTS, "names are part of the format (docs/format.md)");
    let (job, place) = (Job::github(), Place::local());
    place.put("roots-base.tar.zst", &bytes);
    let temp = job.home().parent().unwrap().join("runner-temp//tool");
    let paths = format!("{}\n*.log\n{}/.cargo/\ntarget/.", temp.display(), job.home().display());
    let outcome = crate::restore(&job, &place, "roots").args(["--json", "--path", &paths]).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("is restored to"), "{}", outcome.stderr);
    for (path, content) in files_of_roots(&job) {
        assert_eq!(fs::read_to_string(&path).unwrap(), content, "{}", path.display());
    }
}

/// A directory's ETag is made of length and time, and a checkout does not keep times: the delta says what it was.
fn give_back_its_etag(place: &Place) {
    let delta = fs::read(place.dir().join("new-delta.tar.zst")).unwrap();
    let Ok(ReadTail::Archive(archive)) = read_tail(&delta, delta.len() as u64) else { panic!("no index") };
    for r in &archive.footer.refs {
        let (_, time) = r.etag.0.split_once('-').unwrap();
        let (seconds, nanos) = time.split_at(time.len() - 8);
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(number(seconds)) + Duration::from_nanos(number(nanos));
        fs::File::options().write(true).open(place.dir().join(r.name.as_str())).unwrap().set_modified(time).unwrap();
    }
}
