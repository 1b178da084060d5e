//! The tree of a job, and what builds do to it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use xcache_tests::tree::{Rng, set_mode, set_mtime};

use super::step::Edit;

/// Names are few, so that they come again with other content, or as something else.
const NAMES: usize = 24;
const DIRS: [&str; 4] = ["", "a", "a/b", "c"];

/// The paths below `root`, in order. Directories are only those that are no link.
fn paths(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                todo.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

fn choose(paths: Vec<PathBuf>, number: usize) -> Option<PathBuf> {
    let count = paths.len();
    paths.into_iter().nth(number % count.max(1))
}

fn file(root: &Path, number: usize) -> Option<PathBuf> {
    let files = paths(root).into_iter().filter(|path| path.symlink_metadata().unwrap().is_file()).collect();
    choose(files, number)
}

/// A name that is free, in a directory that is there or can be made.
fn free(root: &Path, number: usize) -> Option<PathBuf> {
    let dir = root.join(DIRS[number % DIRS.len()]);
    fs::create_dir_all(&dir).ok()?;
    let at = |n: usize| dir.join(format!("f{}", n % NAMES));
    (0..NAMES).map(|n| at(number / DIRS.len() + n)).find(|path| path.symlink_metadata().is_err())
}

fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    if rng.below(2) == 0 { rng.bytes(bytes) } else { rng.text(bytes) }
}

/// Does it, or nothing if there is nothing to do it to.
pub(super) fn apply(root: &Path, edit: &Edit) {
    fs::create_dir_all(root).unwrap();
    try_to(root, edit);
}

fn try_to(root: &Path, edit: &Edit) -> Option<()> {
    match *edit {
        Edit::Fill { seed } => {
            let mut rng = Rng::new(seed);
            for number in 0..12 {
                let bytes = 5_000 + rng.below(40_000);
                fs::write(free(root, number)?, content(rng.next_u64(), bytes)).unwrap();
            }
        }
        Edit::Add { dir, bytes, seed } => fs::write(free(root, dir)?, content(seed, bytes)).unwrap(),
        Edit::Change { file: number, seed } => {
            let path = file(root, number)?;
            let (mut bytes, mut rng) = (fs::read(&path).unwrap(), Rng::new(seed));
            let at = rng.below(bytes.len() + 1);
            let end = (at + rng.below(500)).min(bytes.len());
            let new = rng.below(500);
            bytes.splice(at..end, rng.bytes(new));
            fs::write(&path, bytes).unwrap();
        }
        Edit::ChangeInSecret { file: number, seed } => {
            let path = file(root, number)?;
            let before = path.metadata().unwrap();
            fs::write(&path, content(seed, usize::try_from(before.len()).unwrap())).unwrap();
            set_mtime(&path, before.mtime(), u32::try_from(before.mtime_nsec()).unwrap());
        }
        Edit::Touch { file: number, seconds } => set_mtime(&file(root, number)?, seconds, 7),
        Edit::Delete { path } => {
            let path = choose(paths(root), path)?;
            if path.symlink_metadata().unwrap().is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        Edit::Rename { file: number, to } => fs::rename(file(root, number)?, free(root, to)?).unwrap(),
        Edit::Duplicate { file: number } => drop(fs::copy(file(root, number)?, free(root, number + 1)?).unwrap()),
        Edit::Mode { path, mode } => {
            let path = choose(paths(root), path)?;
            if !path.is_symlink() {
                set_mode(&path, mode);
            }
        }
        Edit::Symlink { to } => symlink(format!("f{to}"), free(root, to)?).unwrap(),
        Edit::HardLink { file: number } => {
            let (from, to) = (file(root, number)?, free(root, number + 2)?);
            fs::hard_link(from, to).unwrap();
        }
        Edit::Swap { path, seed } => {
            let path = choose(paths(root), path)?;
            if path.symlink_metadata().unwrap().is_dir() {
                fs::remove_dir_all(&path).unwrap();
                fs::write(&path, content(seed, 2_000)).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
                fs::write(path.join("inside"), content(seed, 2_000)).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    Some(())
}
