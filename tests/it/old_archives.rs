//! Archives of every format ever written restore for ever.
//!
//! `tests/archives/N/` holds objects as a version that wrote format N left them: `old-base`, `new-delta` which builds on
//! it, and `full-base`, which is the tree of `new` saved in full. A change of the format adds a directory.

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
    for directory in fs::read_dir(samples()).unwrap() {
        let directory = directory.unwrap().path();
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
