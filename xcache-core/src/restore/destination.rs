//! Where an entry is restored to: the target, and which place in it each member has.

use super::disk::{Attributes, Committed, Cursor, Place, Target};
use super::error::Error;
use super::interrupt::Interrupt;
use super::options::Options;
use super::roots::Roots;
use crate::archive::index::{Content, Index, Member, RootKind, path_order};

/// Where an entry is restored to, and how.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) roots: &'a Roots,
    pub(super) target: &'a Target<'a>,
    pub(super) options: &'a Options,
    pub(super) interrupt: &'a Interrupt,
}

impl Destination<'_> {
    /// The mode that a directory of the entry has.
    pub(super) fn mode_of(&self, index: &Index, place: Place<'_>) -> u16 {
        // All parents of members are members.
        self.roots.member_at(index, place).map_or(0o700, |number| index.members[number as usize].meta.mode)
    }

    /// Makes what directories are missing in roots that held something before, and opens up those that let nothing be
    /// written into them; of fresh roots only the roots themselves. In these the workers make directories as they come to
    /// them.
    pub(super) fn make_directories(&self, index: &Index) -> Result<(), Error> {
        let is_meant = |place: Place<'_>| place.path.is_empty() || !self.target.is_fresh(place.root);
        self.make(self.directories(index).filter(|(place, _)| is_meant(*place)))
    }

    /// Makes those directories of fresh roots that no worker came to, as no file with data is in them.
    pub(super) fn make_directories_left(&self, index: &Index) -> Result<(), Error> {
        for (line, _, range) in self.roots.members().filter(|(line, ..)| self.target.is_fresh(*line)) {
            let members = &index.members[range];
            let left = without_data(members).into_iter().map(|number| &members[number]);
            let left = left.filter(|member| !member.path.is_empty());
            self.make(left.map(|member| (Place { root: line, path: &member.path }, member)))?;
        }
        Ok(())
    }

    fn make<'i>(&self, directories: impl Iterator<Item = (Place<'i>, &'i Member)>) -> Result<(), Error> {
        let mut cursor = self.target.cursor();
        for (place, member) in directories {
            cursor
                .make_directory(place, member.meta.mode)
                .map_err(|source| Error::Write { path: self.target.full_path(place), source })?;
        }
        Ok(())
    }

    /// Removes everything below the roots that is no member. Gives how many files went.
    pub(super) fn clean(&self, index: &Index, cursor: &mut Cursor<'_>) -> u64 {
        let mut removed_files = 0;
        for (line, kind, range) in self.roots.members() {
            // Of a pattern or a file only the matches are ours; what lies beside them is the user's.
            if kind != RootKind::Directory {
                continue;
            }
            let members = &index.members[range];
            let is_member = |path: &[u8]| members.binary_search_by(|member| path_order(&member.path, path)).is_ok();
            for member in members.iter().filter(|member| member.content == Content::Directory) {
                removed_files += cursor.clean_directory(Place { root: line, path: &member.path }, is_member);
            }
        }
        removed_files
    }

    /// Sets modes and times of directories, the deepest first.
    pub(super) fn finish_directories(&self, index: &Index, committed: &Committed, cursor: &mut Cursor<'_>) {
        for (place, member) in self.directories(index).rev() {
            cursor.finish_directory(place, &attributes(member), committed);
        }
    }

    /// The directories of the entry, each before what is in it.
    fn directories<'i>(&'i self, index: &'i Index) -> impl DoubleEndedIterator<Item = (Place<'i>, &'i Member)> {
        let roots: Vec<_> = self.roots.members().collect();
        roots.into_iter().flat_map(|(line, _, range)| {
            let members = index.members[range].iter().filter(|member| member.content == Content::Directory);
            members.map(move |member| (Place { root: line, path: &member.path }, member))
        })
    }
}

/// The attributes of a member.
pub(super) fn attributes(member: &Member) -> Attributes<'_> {
    Attributes { meta: &member.meta, xattrs: &member.xattrs }
}

/// Those of the members of a root that are directories without a file with data anywhere in them.
fn without_data(members: &[Member]) -> Vec<usize> {
    let mut left = Vec::new();
    // The directories that a member lies in, one in the other, and whether data was found in each.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let close = |open: &mut Vec<(usize, bool)>, left: &mut Vec<usize>| {
        let Some((number, has_data)) = open.pop() else { return };
        if !has_data {
            left.push(number);
        } else if let Some(above) = open.last_mut() {
            above.1 = true;
        }
    };
    for (number, member) in members.iter().enumerate() {
        let lies_in = |directory: &Member| {
            directory.path.is_empty()
                || member.path.strip_prefix(&directory.path[..]).is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        while open.last().is_some_and(|&(directory, _)| !lies_in(&members[directory])) {
            close(&mut open, &mut left);
        }
        match &member.content {
            Content::Directory => open.push((number, false)),
            Content::File(file) if !file.chunks.is_empty() => {
                if let Some(above) = open.last_mut() {
                    above.1 = true;
                }
            }
            _ => {}
        }
    }
    while !open.is_empty() {
        close(&mut open, &mut left);
    }
    // A directory comes before what is in it.
    left.sort_unstable();
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::{File, Metadata};

    #[test]
    fn directories_without_data_are_found_at_every_depth() {
        let member = |path: &&str| {
            let content = match path.rsplit('/').next() {
                Some("f") => Content::File(File { size: 1, chunks: 0..1, extents: None }),
                Some("e") => Content::File(File { size: 0, chunks: 0..0, extents: None }),
                _ => Content::Directory,
            };
            Member { path: path.as_bytes().into(), meta: Metadata::default(), xattrs: Vec::new(), content }
        };
        let check = |paths: &[&str], expected: &[&str]| {
            let members: Vec<_> = paths.iter().map(member).collect();
            let found = without_data(&members).into_iter().map(|number| paths[number]).collect::<Vec<_>>();
            assert_eq!(found, expected, "{paths:?}");
        };
        check(&["", "a", "a/f"], &[]);
        check(&["", "a", "a/b", "a/b/c", "a/b/c/f", "a/d", "ab"], &["a/d", "ab"]);
        check(&["", "a", "a/b", "a/b/c", "a/b/c/e", "a/d", "a-b", "a-b/f"], &["a", "a/b", "a/b/c", "a/d"]);
        check(&["a", "a/e", "b", "b/f"], &["a"]);
        check(&[], &[]);
    }
}
