//! The roots of an entry on disk. Here they stand in the order of the lines: `lines` has arranged them.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::disk::{Place, RootExtent, Wanted};
use crate::archive::index::{Content, Index, RootKind, path_order};
use crate::paths::{PathDecision, PathList};

/// Why an entry does not fit the paths asked for. To restore it would write, or with `--clean` remove, what nobody named.
#[derive(Debug, thiserror::Error)]
pub enum OtherPaths {
    /// They are not as many.
    #[error("the entry holds {entry} path{} and {asked} were asked for", if *entry == 1 { "" } else { "s" })]
    Count {
        /// Paths of the entry.
        entry: usize,
        /// Paths asked for.
        asked: usize,
    },
    /// None of the lines has the name of a path of the entry, and position does not decide.
    #[error("`{entry}` of the entry does not have the name of `{asked}`")]
    Name {
        /// The path of the entry.
        entry: String,
        /// The line at its position.
        asked: String,
    },
    /// A line with wildcards asks for what matches, a plain one for the path itself.
    #[error("`{entry}` was saved as {}, which `{asked}` does not cover", what(*kind))]
    Kind {
        /// The path of the entry, as it was given.
        entry: String,
        /// What was there.
        kind: RootKind,
        /// The line in its place.
        asked: String,
    },
    /// What matches a pattern can only be told with an index.
    #[error("the entry holds a directory without an index, and `{asked}` asks for something else")]
    Plain {
        /// The line.
        asked: String,
    },
    /// A member is excluded, or matches nothing.
    #[error("the entry contains `{member}`, which `{asked}` does not cover")]
    Member {
        /// Its path below its root.
        member: String,
        /// The line that its root goes to.
        asked: String,
    },
}

impl OtherPaths {
    /// Whether line `root` asks for a member, or for something below it.
    pub(super) fn check_member(paths: &PathList, root: usize, path: &[u8], is_directory: bool) -> Result<(), Self> {
        match paths.decide(root, path, is_directory) {
            PathDecision::Include | PathDecision::DescendOnly => Ok(()),
            PathDecision::Exclude => {
                let member = String::from_utf8_lossy(path).into_owned();
                Err(Self::Member { member, asked: paths.roots()[root].given.clone() })
            }
        }
    }
}

fn what(kind: RootKind) -> &'static str {
    match kind {
        RootKind::Directory => "a directory",
        RootKind::Pattern => "what matches a pattern",
        RootKind::File => "a file",
        RootKind::Nothing => "nothing",
    }
}

/// Where the roots of an entry are restored to.
#[derive(Debug)]
pub struct Roots(Vec<RestoreRoot>);

#[derive(Debug)]
struct RestoreRoot {
    members: Range<usize>,
    kind: RootKind,
    /// Number of the line in the path list.
    line: usize,
    /// The directory that the paths of its members begin at.
    base: PathBuf,
    /// What the one member of a root that is a file is called here.
    file_name: Option<Box<[u8]>>,
}

impl Roots {
    /// Assigns each root of the entry to a line.
    pub(super) fn assign(index: &Index, paths: &PathList) -> Result<Self, OtherPaths> {
        Self::check(index, paths)?;
        let lines = index.roots.iter().zip(index.root_ranges()).zip(paths.roots()).enumerate();
        let roots = lines.map(|(line, ((root, members), asked))| {
            let (base, file_name) = match (root.kind, asked.base.parent(), asked.base.file_name()) {
                (RootKind::File, Some(above), Some(name)) => (above.to_owned(), Some(name.as_bytes().into())),
                _ => (asked.base.clone(), None),
            };
            RestoreRoot { members, kind: root.kind, line, base, file_name }
        });
        Ok(Self(roots.collect()))
    }

    /// Whether the entry can be restored onto these paths.
    pub fn check(index: &Index, paths: &PathList) -> Result<(), OtherPaths> {
        let (entry, asked) = (index.roots.len(), paths.roots().len());
        if entry != asked {
            return Err(OtherPaths::Count { entry, asked });
        }
        let ranges = index.root_ranges().into_iter();
        for (number, ((root, range), target)) in index.roots.iter().zip(ranges).zip(paths.roots()).enumerate() {
            let asked = || target.given.clone();
            if !fits(root.kind, number, paths) {
                return Err(OtherPaths::Kind { entry: root.given.clone(), kind: root.kind, asked: asked() });
            }
            for member in &index.members[range] {
                // The member of a root that is a file goes by the name that the line gives it.
                if root.kind != RootKind::File {
                    let is_directory = matches!(member.content, Content::Directory);
                    OtherPaths::check_member(paths, number, &member.path, is_directory)?;
                }
            }
        }
        Ok(())
    }

    /// Whether an archive without an index, which holds a directory, can be restored onto these paths.
    pub fn check_plain(paths: &PathList) -> Result<(), OtherPaths> {
        match paths.roots() {
            [_] if fits(RootKind::Directory, 0, paths) => Ok(()),
            [root] => Err(OtherPaths::Plain { asked: root.given.clone() }),
            roots => Err(OtherPaths::Count { entry: 1, asked: roots.len() }),
        }
    }

    /// The directories that are restored to.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let there = self.0.iter().filter(|root| root.kind != RootKind::Nothing);
        there
            .map(|root| Wanted {
                line: root.line,
                base: root.base.clone(),
                extent: match root.kind {
                    RootKind::Directory => RootExtent::Whole,
                    RootKind::Pattern | RootKind::Nothing => RootExtent::Matches,
                    RootKind::File => RootExtent::One,
                },
            })
            .collect()
    }

    /// Where a member is restored to.
    pub(super) fn place<'a>(&'a self, index: &'a Index, member: u32) -> Place<'a> {
        let number = member as usize;
        // Roots and members add up, which the index was checked for.
        let root = &self.0[self.0.partition_point(|root| root.members.end <= number)];
        let path = match &root.file_name {
            Some(name) => &name[..],
            None => &index.members[number].path[..],
        };
        Place { root: root.line, path }
    }

    /// The member that is restored to a place, if it is not a root that is a file.
    pub(super) fn member_at(&self, index: &Index, place: Place<'_>) -> Option<u32> {
        let range = self.0.iter().find(|root| root.line == place.root)?.members.clone();
        let found =
            index.members[range.clone()].binary_search_by(|member| path_order(&member.path, place.path)).ok()?;
        u32::try_from(range.start + found).ok()
    }

    /// The members of each root that is there: its line in the path list, what it is, and their numbers.
    pub(super) fn members(&self) -> impl Iterator<Item = (usize, RootKind, Range<usize>)> {
        let there = self.0.iter().filter(|root| root.kind != RootKind::Nothing);
        there.map(|root| (root.line, root.kind, root.members.clone()))
    }
}

/// Whether a root of `kind` can go where line `number` says.
fn fits(kind: RootKind, number: usize, paths: &PathList) -> bool {
    match kind {
        RootKind::Directory => paths.decide(number, b"", true) == PathDecision::Include,
        RootKind::Pattern => paths.decide(number, b"", true) == PathDecision::DescendOnly,
        // `/` has no name that a file could be given.
        RootKind::File => {
            paths.decide(number, b"", false) == PathDecision::Include
                && paths.roots()[number].base.file_name().is_some()
        }
        RootKind::Nothing => true,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::archive::index::{IndexRoot, Member, Metadata};
    use crate::chunk::Cutter;

    /// An index of one root with these members; a trailing slash makes one a directory.
    fn index(kind: RootKind, members: &[&str]) -> Index {
        let member = |path: &&str| Member {
            path: path.trim_end_matches('/').as_bytes().into(),
            meta: Metadata::default(),
            xattrs: Vec::new(),
            content: match path.is_empty() || path.ends_with('/') {
                true => Content::Directory,
                false => Content::Symlink(Box::from(&b"x"[..])),
            },
        };
        let count = u32::try_from(members.len()).unwrap();
        Index {
            writer: String::new(),
            cutter: Cutter::FORMAT_1,
            roots: vec![IndexRoot { given: "saved".into(), kind, members: count }],
            frames: Vec::new(),
            members: members.iter().map(member).collect(),
            chunks: Vec::new(),
        }
    }

    fn paths(lines: &str) -> PathList {
        PathList::parse(&[lines], Path::new("/work"), None).unwrap()
    }

    #[track_caller]
    fn check(kind: RootKind, members: &[&str], lines: &str, expected: Result<(), &str>) {
        let found = Roots::check(&index(kind, members), &paths(lines)).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{members:?} onto {lines:?}");
    }

    #[test]
    fn plain_lines_take_directories_and_files_and_patterns_take_matches() {
        use RootKind::{Directory, File, Nothing, Pattern};
        let other = |kind: &str, asked: &str| format!("`saved` was saved as {kind}, which `{asked}` does not cover");
        for (kind, members) in [(Directory, &["", "a"][..]), (File, &["a"]), (Nothing, &[])] {
            check(kind, members, "plain", Ok(()));
        }
        check(Pattern, &["a"], "plain", Err(&other("what matches a pattern", "plain")));
        for (kind, members) in [(Pattern, &["a"][..]), (Nothing, &[])] {
            check(kind, members, "*", Ok(()));
        }
        check(Directory, &["", "a"], "packages/*/dist", Err(&other("a directory", "packages/*/dist")));
        check(File, &["build.log"], "build*", Err(&other("a file", "build*")));
        check(File, &["a"], "/", Err(&other("a file", "/")));
        check(Directory, &[""], "plain\n!plain", Err(&other("a directory", "plain")));
        check(Directory, &[""], "a\nb", Err("the entry holds 1 path and 2 were asked for"));
    }

    #[test]
    fn every_member_must_be_one_that_is_asked_for() {
        use RootKind::{Directory, File, Pattern};
        let other =
            |member: &str, asked: &str| format!("the entry contains `{member}`, which `{asked}` does not cover");
        check(Directory, &["", "a/", "a/x"], "dir\n!dir/b", Ok(()));
        check(Directory, &["", "a/", "a/x"], "dir\n!dir/a", Err(&other("a", "dir")));
        check(Directory, &["", "a/", "a/x"], "dir\n!**/x", Err(&other("a/x", "dir")));
        check(Pattern, &["a/", "a/dist/", "a/dist/x"], "packages/*/dist", Ok(()));
        check(Pattern, &["a/", "a/dist/", "a/other"], "packages/*/dist", Err(&other("a/other", "packages/*/dist")));
        check(Pattern, &["a", "b.log"], "*.log", Err(&other("a", "*.log")));
        // A file has the name that the line gives it, whatever it was called.
        check(File, &["was.log"], "is.log", Ok(()));
    }

    #[test]
    fn an_archive_without_an_index_goes_onto_one_directory() {
        let is_fit = |lines| Roots::check_plain(&paths(lines)).is_ok();
        assert!(is_fit("dir") && is_fit("dir\n!dir/x"));
        assert!(!is_fit("dir/*") && !is_fit("a\nb") && !is_fit("dir\n!dir"));
    }
}
