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

    /// Makes those directories that are missing and `is_meant`, which is asked by line and path; opens up others.
    pub(super) fn make_directories(&self, index: &Index, is_meant: impl Fn(usize, &[u8]) -> bool) -> Result<(), Error> {
        let mut cursor = self.target.cursor();
        for (place, member) in self.directories(index).filter(|(place, _)| is_meant(place.root, place.path)) {
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
