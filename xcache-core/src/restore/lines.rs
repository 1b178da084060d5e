//! Which root of an entry goes to which line of the path list.
//!
//! By name: a directory is restored to the line that it was saved from, wherever that stands in the list. What no line
//! has the name of is another directory; put into the place of one that happens to stand at the same position, it would
//! be used, and saved on, as what it is not. Only for the exact key, or where the user says so, position decides about
//! what is left over, since that is how an entry is restored elsewhere on purpose.

use std::collections::{HashMap, VecDeque};

use super::roots::OtherPaths;
use crate::archive::index::{Index, IndexRoot};
use crate::paths::PathList;

/// What becomes of roots and lines that do not have the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// The entry is of other paths.
    Refuse,
    /// The first that is left of the entry goes to the first line that is left, and so on.
    ByPosition,
}

/// Where each root of an entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// For each line the number of the root that goes there, if the entry has any.
    roots: Vec<Option<usize>>,
    /// What goes to a line of another name, by position.
    pub moved: Vec<Moved>,
    /// Lines that the entry contains nothing for.
    pub missing: Vec<String>,
    /// What the entry holds that no line asks for.
    pub left_out: Vec<String>,
}

/// A root that goes to a line of another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What it is called in the entry.
    pub entry: String,
    /// The line that it is restored to.
    pub line: String,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` of the entry is restored to `{}`", self.entry, self.line)
    }
}

impl Lines {
    /// Matches the roots of `index` with the lines of `paths`.
    pub fn of(index: &Index, paths: &PathList, leftovers: Leftovers) -> Result<Self, OtherPaths> {
        let (mut roots, rest) = by_name(&index.roots, paths);
        let free: Vec<usize> = (0..roots.len()).filter(|&line| roots[line].is_none()).collect();
        let name = |root: usize| index.roots[root].given.clone();
        let line = |line: usize| paths.roots()[line].given.clone();
        let mut lines = Self { roots: Vec::new(), moved: Vec::new(), missing: Vec::new(), left_out: Vec::new() };
        match (&rest[..], &free[..]) {
            // Without any name in common it is another cache.
            ([], free) if free.len() < roots.len() => lines.missing.extend(free.iter().map(|&free| line(free))),
            (rest, []) if !roots.is_empty() => lines.left_out.extend(rest.iter().map(|&root| name(root))),
            (rest, free) if rest.len() != free.len() => {
                return Err(OtherPaths::Count { entry: index.roots.len(), asked: roots.len() });
            }
            (rest, free) if leftovers == Leftovers::ByPosition => {
                for (&root, &free) in rest.iter().zip(free) {
                    roots[free] = Some(root);
                    lines.moved.push(Moved { entry: name(root), line: line(free) });
                }
            }
            (rest, free) => return Err(OtherPaths::Name { entry: name(rest[0]), asked: line(free[0]) }),
        }
        Ok(Self { roots, ..lines })
    }

    /// The index with one root for each line, in the order of the lines, and for each of its members the number of the
    /// one that it was; none if it is the same index.
    pub fn arrange(&self, index: &Index) -> Option<(Index, Vec<u32>)> {
        let is_same = self.roots.len() == index.roots.len()
            && self.roots.iter().enumerate().all(|(line, root)| *root == Some(line));
        (!is_same).then(|| index.arranged(&self.roots))
    }
}

/// The numbers of the lines that have a text.
type ByText<'a> = HashMap<&'a str, VecDeque<usize>>;

/// The root that has the name of each line, and the roots that are left over.
fn by_name(roots: &[IndexRoot], paths: &PathList) -> (Vec<Option<usize>>, Vec<usize>) {
    // Names first: an absolute path that was saved on another machine means something else here, or nothing.
    let (mut by_name, mut by_full) = (ByText::new(), ByText::new());
    for (number, line) in paths.roots().iter().enumerate() {
        by_name.entry(&line.name).or_default().push_back(number);
        by_full.entry(line.full()).or_default().push_back(number);
    }
    let mut found: Vec<Option<usize>> = vec![None; paths.roots().len()];
    let mut rest: Vec<usize> = Vec::new();
    for (number, root) in roots.iter().enumerate() {
        match by_name.get_mut(root.given.as_str()).and_then(VecDeque::pop_front) {
            Some(line) => found[line] = Some(number),
            None => rest.push(number),
        }
    }
    rest.retain(|&number| {
        let full = paths.full_of(&roots[number].given);
        let lines = full.as_deref().and_then(|full| by_full.get_mut(full));
        let free = lines.and_then(|lines| {
            while lines.front().is_some_and(|&line| found[line].is_some()) {
                lines.pop_front();
            }
            lines.pop_front()
        });
        if let Some(line) = free {
            found[line] = Some(number);
        }
        free.is_none()
    });
    (found, rest)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::archive::index::RootKind;
    use crate::chunk::Cutter;

    fn index(names: &[&str]) -> Index {
        let root = |name: &&str| IndexRoot { given: (*name).to_owned(), kind: RootKind::Nothing, members: 0 };
        Index {
            writer: String::new(),
            cutter: Cutter::FORMAT_1,
            roots: names.iter().map(root).collect(),
            frames: Vec::new(),
            members: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// What goes where: for each line what the entry calls it, or what is wrong.
    #[track_caller]
    fn check(entry: &[&str], lines: &str, leftovers: Leftovers, expected: Result<&[&str], &str>) {
        let paths = PathList::parse(&[lines], Path::new("/work"), Some(Path::new("/home/me"))).unwrap();
        let found = Lines::of(&index(entry), &paths, leftovers)
            .map(|lines| lines.roots.iter().map(|root| root.map_or("-", |root| entry[root])).collect::<Vec<_>>());
        let expected = expected.map(<[&str]>::to_vec).map_err(str::to_owned);
        assert_eq!(found.map_err(|error| error.to_string()), expected, "{entry:?} onto {lines:?}");
    }

    #[test]
    fn roots_go_to_the_lines_of_their_names() {
        for leftovers in [Leftovers::Refuse, Leftovers::ByPosition] {
            check(&["a", "b"], "a\nb", leftovers, Ok(&["a", "b"]));
            check(&["a", "b", "c"], "c\na\nb", leftovers, Ok(&["c", "a", "b"]));
            check(&["a", "~/b"], "/home/me/b/\n./a//", leftovers, Ok(&["~/b", "a"]));
            check(&["./a/", "/work/b"], "b\na", leftovers, Ok(&["/work/b", "./a/"]));
            check(&["a", "a", "b"], "b\na\na", leftovers, Ok(&["b", "a", "a"]));
            check(&["p/*/d", "p/*/e"], "p/*/e\np/*/d/", leftovers, Ok(&["p/*/e", "p/*/d"]));
        }
    }

    #[test]
    fn lines_may_be_added_and_removed() {
        for leftovers in [Leftovers::Refuse, Leftovers::ByPosition] {
            check(&["a", "b"], "new\na\nb", leftovers, Ok(&["-", "a", "b"]));
            check(&["a", "b", "c"], "c\na", leftovers, Ok(&["c", "a"]));
        }
    }

    #[test]
    fn position_decides_only_about_what_is_left_over_and_only_if_it_may() {
        let other = "`pip` of the entry does not have the name of `uv`";
        check(&["a", "pip"], "uv\na", Leftovers::Refuse, Err(other));
        check(&["a", "pip"], "uv\na", Leftovers::ByPosition, Ok(&["pip", "a"]));
        check(
            &["node_modules"],
            "target",
            Leftovers::Refuse,
            Err("`node_modules` of the entry does not have the name of `target`"),
        );
        check(&["node_modules"], "target", Leftovers::ByPosition, Ok(&["node_modules"]));
        for leftovers in [Leftovers::Refuse, Leftovers::ByPosition] {
            let count = Err("the entry holds 3 paths and 2 were asked for");
            check(&["a", "pip", "npm"], "a\nuv", leftovers, count);
            check(&["a", "b"], "c\nd\ne", leftovers, Err("the entry holds 2 paths and 3 were asked for"));
            check(&["a"], "c\nd", leftovers, Err("the entry holds 1 path and 2 were asked for"));
        }
    }

    #[test]
    fn names_of_an_entry_that_are_no_lines_match_nothing() {
        for name in ["!a", "#a", "", "a\nb", "~/x/*/..", "$RUNNER_TEMP/a"] {
            check(&[name], "b", Leftovers::ByPosition, Ok(&[name]));
            let said = format!("`{name}` of the entry does not have the name of `b`");
            check(&[name], "b", Leftovers::Refuse, Err(&said));
        }
    }

    #[test]
    fn ten_thousand_lines_take_no_time() {
        let names: Vec<String> = (0..20_000).map(|n| format!("dir/{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let reversed: Vec<&str> = names.iter().rev().copied().collect();
        check(&names, &reversed.join("\n"), Leftovers::Refuse, Ok(&reversed));
    }
}
