//! Directories that are more than a cache: `--clean` given for one of them is a mistake far more often than a wish.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why nothing is removed from a directory unless that is asked for expressly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// It is `/`.
    Root,
    /// It is the home directory, or above it.
    Home,
    /// It is the working directory, or above it.
    Working,
    /// It holds `.git`.
    Repository,
}

impl Protected {
    /// Whether a directory is one of these. What is not there yet is none.
    pub fn of(directory: &Path, working: &Path, home: Option<&Path>) -> Option<Self> {
        let real = directory.canonicalize().ok()?;
        let holds = |other: &Path| {
            // Where it cannot be asked where a path really leads, it is taken as it is written.
            let other = other.canonicalize().unwrap_or_else(|_| PathBuf::from(other));
            other.starts_with(&real)
        };
        if real.parent().is_none() {
            Some(Self::Root)
        } else if home.is_some_and(holds) {
            Some(Self::Home)
        } else if holds(working) {
            Some(Self::Working)
        } else if real.join(".git").symlink_metadata().is_ok() {
            Some(Self::Repository)
        } else {
            None
        }
    }
}

impl fmt::Display for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "is the root of the file system",
            Self::Home => "is the home directory, or above it",
            Self::Working => "is the working directory, or above it",
            Self::Repository => "holds `.git`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_are_more_than_a_cache_are_protected_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["home/user/.cargo", "work/repo/target", "other/repo/.git", "other/worktree"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("other/worktree/.git"), "gitdir: elsewhere").unwrap();
        std::os::unix::fs::symlink(at("home/user"), at("link")).unwrap();
        let check = |name: &str, expected| {
            let found = Protected::of(&at(name), &at("work/repo"), Some(&at("home/user")));
            assert_eq!(found, expected, "{name}");
        };
        check("/", Some(Protected::Root));
        check("home/user", Some(Protected::Home));
        check("home/user/.cargo/..", Some(Protected::Home));
        check("home", Some(Protected::Home));
        check("link", Some(Protected::Home));
        check("work/repo", Some(Protected::Working));
        check("work", Some(Protected::Working));
        check("other/repo", Some(Protected::Repository));
        check("other/worktree", Some(Protected::Repository));
        for name in ["home/user/.cargo", "work/repo/target", "other", "none"] {
            check(name, None);
        }
        assert_eq!(Protected::of(&at("work/repo"), &at("none"), None), None);
    }
}
