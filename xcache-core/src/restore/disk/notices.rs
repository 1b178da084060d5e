//! What a restore could not do as it should, without failing because of it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Something that could not be done to a thing, and why.
pub(crate) type Undone = (&'static str, io::Error);

/// What was not done and why, with the first thing that it concerns and how many more there are. There are as many as
/// there are reasons, however many files there are.
#[derive(Debug, Default)]
pub(crate) struct Notices(BTreeMap<(&'static str, String), (PathBuf, u64)>);

impl Notices {
    /// Adds that one could not do `what` ("set the owner of") to the thing at `path`.
    pub(crate) fn add(&mut self, what: &'static str, path: PathBuf, reason: impl ToString) {
        self.0.entry((what, reason.to_string())).or_insert((path, 0)).1 += 1;
    }

    /// Adds several of one thing.
    pub(crate) fn extend(&mut self, undone: Vec<Undone>, path: impl Fn() -> PathBuf) {
        for (what, reason) in undone {
            self.add(what, path(), reason);
        }
    }

    /// Adds those of another worker.
    pub(crate) fn append(&mut self, other: Self) {
        for (reason, (path, count)) in other.0 {
            self.0.entry(reason).or_insert((path, 0)).1 += count;
        }
    }

    /// One line for each reason.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |((what, reason), (path, count)): (&(&str, String), &(PathBuf, u64))| {
            let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            format!("cannot {what} `{}`{more}: {reason}", path.display())
        };
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_with_a_path_and_how_many_more() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let (mut one, mut other) = (Notices::default(), Notices::default());
        one.add("set the owner of", "/t/a".into(), denied());
        one.add("set the owner of", "/t/b".into(), denied());
        other.extend(vec![("set the owner of", denied()), ("remove", denied())], || "/t/c".into());
        one.append(other);
        let expected =
            ["cannot remove `/t/c`: permission denied", "cannot set the owner of `/t/a` and 2 more: permission denied"];
        assert_eq!(one.lines(), expected);
    }
}
