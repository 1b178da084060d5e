//! The directories of jobs that are long over.
//!
//! Where the CI system has no directory for temporary files of a job, each job leaves its state below the user's, in a
//! directory that no other job ever reads. On a machine that lives longer than its jobs these add up.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{unfinished, unusable};

/// No job runs for so long.
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The directory that holds those of the jobs.
const JOBS: &str = "jobs";

/// Removes the state of jobs that are over, when the first state of the job of `directory` is about to be left. Nothing but
/// files of ours is removed; what cannot be is left.
pub(super) fn sweep(directory: &Path, now: SystemTime) {
    let Some(jobs) = directory.parent().filter(|jobs| jobs.file_name().is_some_and(|name| name == JOBS)) else {
        return;
    };
    let others = fs::read_dir(jobs).into_iter().flatten().flatten().map(|entry| entry.path());
    for other in others.filter(|other| other != directory && is_of_job(other)) {
        let _ = remove(&other, now);
    }
}

/// Whether a directory has the name of one of a job: what tells the job from others is hashed.
fn is_of_job(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_hash = name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash && path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

fn remove(directory: &Path, now: SystemTime) -> io::Result<()> {
    let is_old = |path: &Path| -> io::Result<bool> {
        let changed = path.symlink_metadata()?.modified()?;
        Ok(now.duration_since(changed).is_ok_and(|age| age > AGE))
    };
    let files = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    for path in [directory].into_iter().chain(files.iter().map(|file| &**file)) {
        if !is_old(path)? || (path != directory && !is_ours(path)) {
            return Ok(());
        }
    }
    for file in files {
        fs::remove_file(file)?;
    }
    fs::remove_dir(directory)
}

/// Whether a file is one that a save or restore leaves, and none at work holds it.
fn is_ours(path: &Path) -> bool {
    let ours = ["state", "tmp", unfinished::EXTENSION, unusable::EXTENSION];
    let is_named = path.extension().is_some_and(|found| ours.iter().any(|extension| found == *extension));
    let is_free = || File::open(path).is_ok_and(|file| file.try_lock().is_ok());
    is_named && path.symlink_metadata().is_ok_and(|found| found.is_file()) && is_free()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_state_of_jobs_goes() {
        let dir = tempfile::tempdir().unwrap();
        let hash = |digit: char| digit.to_string().repeat(32);
        let at = |name: &str| dir.path().join("jobs").join(name);
        let make = |name: &str, files: &[&str]| {
            fs::create_dir_all(at(name)).unwrap();
            files.iter().for_each(|file| fs::write(at(name).join(file), "x").unwrap());
        };
        make(&hash('a'), &["1.state", "2.unfinished", "3.unusable", "4.tmp"]);
        make(&hash('b'), &["1.state", "of another"]);
        make(&hash('c'), &[]);
        make("by-hand", &["1.state"]);
        make(&hash('d'), &["1.state"]);
        make(&hash('e'), &["1.unfinished"]);
        let held = File::open(at(&hash('e')).join("1.unfinished")).unwrap();
        held.lock().unwrap();
        let left = |now| {
            sweep(&at(&hash('d')), now);
            let mut names: Vec<_> =
                fs::read_dir(dir.path().join("jobs")).unwrap().map(|n| n.unwrap().file_name()).collect();
            names.sort();
            names.into_iter().map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
        };
        let now = SystemTime::now();
        assert_eq!(left(now + Duration::from_secs(6 * 24 * 3600)).len(), 6);
        assert_eq!(left(now - Duration::from_secs(60 * 24 * 3600)).len(), 6, "a clock that goes backwards");
        let expected = [hash('b'), "by-hand".to_owned(), hash('d'), hash('e')];
        assert_eq!(left(now + Duration::from_secs(8 * 24 * 3600)), expected);
        // Not in a directory of another name.
        make(&hash('a'), &["1.state"]);
        fs::rename(dir.path().join("jobs"), dir.path().join("others")).unwrap();
        sweep(&dir.path().join("others").join(hash('d')), now + Duration::from_secs(8 * 24 * 3600));
        assert!(dir.path().join("others").join(hash('a')).exists());
    }
}
