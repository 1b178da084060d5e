//! What of an entry is on disk already, so that it need not be fetched; and whether anything is in its way.
//!
//! A file whose attributes are those that the last restore left is known unread; others are read and hashed. Of a
//! large file that has changed, the chunks that are still in it are taken over.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::Stat;

use super::destination::{Destination, attributes};
use super::disk::{Cursor, Notices, Place, Temporary, is_directory, is_file, write_at};
use super::error::{Error, catch, check};
use super::old_file::{MOST_READ, Pieces, has_content};
use super::options::Before;
use crate::archive::index::{Content, File, Index, Member, Xattrs, path_order};
use crate::chunk::{ChunkHash, Cutter};
use crate::convert;
use crate::scan::{Signature, read_xattrs};
use crate::threads;

/// What is at the place of a member.
#[derive(Debug)]
pub(super) enum Have {
    /// Nothing, or nothing of use.
    Missing,
    /// A file with the same content.
    Same(Kept),
    /// Another file, which will be replaced.
    Other(Option<Taken>),
    /// Where a hard link will be: some file.
    Name(FileIdentity),
}

/// A file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Whether nothing is to be done to it: its attributes are right, too, or cannot be changed.
    pub(super) is_done: bool,
    /// What it is now.
    pub(super) signature: Signature,
    /// How many names it has, here and elsewhere.
    names: u64,
    /// Whether we may change its attributes.
    is_ours: bool,
}

/// The beginning of a new file, made of the one that is there.
#[derive(Debug)]
pub(super) struct Taken {
    /// Where it is.
    pub(super) temporary: Temporary,
    /// For each of its chunks whether it is there.
    pub(super) chunks: Vec<bool>,
}

/// Device and inode.
type FileIdentity = (u64, u64);

/// How many members a thread takes on together: neighbours share directories.
const BATCH: usize = 64;

/// Compares the members of all roots that held something before. The answers are by number of member; those of fresh
/// roots are [`Have::Missing`].
pub(super) fn compare(
    index: &Index,
    before: Option<&Before<'_>>,
    here: &Destination<'_>,
    notices: &mut Notices,
) -> Result<Vec<Have>, Error> {
    let mut have: Vec<Have> = Vec::new();
    have.resize_with(index.members.len(), || Have::Missing);
    let mut batches: Vec<(usize, &mut [Have])> = Vec::new();
    let mut rest = &mut have[..];
    let mut start = 0;
    for (line, _, range) in here.roots.members() {
        let (_, after) = rest.split_at_mut(range.start - start);
        let (own, after) = after.split_at_mut(range.len());
        rest = after;
        start = range.end;
        if !here.target.is_fresh(line) {
            batches.extend(own.chunks_mut(BATCH).enumerate().map(|(n, slice)| (range.start + n * BATCH, slice)));
        }
    }
    if batches.is_empty() {
        return Ok(have);
    }
    let known = before.map(PathsBefore::new);
    let batches = Mutex::new(batches.into_iter());
    let failed = Mutex::new(None);
    threads::share(here.options.workers, || {
        let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).next();
        let compared = catch(|| {
            let mut comparer =
                Comparer { index, here, known: known.as_ref(), cursor: here.target.cursor(), buffer: Vec::new() };
            while let Some((first, slots)) = next().filter(|_| !here.interrupt.is_raised()) {
                comparer.batch(first, slots)?;
            }
            Ok(())
        });
        if let Err(error) = compared {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    check(here.interrupt)?;
    split_shared_inodes(&mut have);
    write_anew(index, &mut have, here, notices)?;
    Ok(have)
}

/// Files that are one on disk and several in the entry: the first keeps it, the others are made anew.
fn split_shared_inodes(have: &mut [Have]) {
    let mut seen = std::collections::HashSet::new();
    for slot in have {
        if let Have::Same(Kept { signature, .. }) = slot
            && !seen.insert(identity(signature))
        {
            *slot = Have::Other(None);
        }
    }
}

/// Makes copies of those kept files that cannot be set right where they are.
fn write_anew(index: &Index, have: &mut [Have], here: &Destination<'_>, notices: &mut Notices) -> Result<(), Error> {
    let mut cursor = here.target.cursor();
    for number in not_to_be_changed(index, have) {
        let Content::File(file) = &index.members[number as usize].content else { continue };
        let place = here.roots.place(index, number);
        let copied = cursor.open(place).and_then(|old| {
            let temporary = cursor.begin(place);
            cursor.copy(&old, place, &temporary)?;
            Ok(temporary)
        });
        match copied {
            Ok(temporary) => {
                let chunks = vec![true; file.chunks.len()];
                have[number as usize] = Have::Other(Some(Taken { temporary, chunks }));
            }
            // Where no file can be made beside it, it stays as it is.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                notices.add("set the mode and time of", here.target.full_path(place), error);
                if let Have::Same(kept) = &mut have[number as usize] {
                    kept.is_done = true;
                }
            }
            Err(source) => return Err(Error::Write { path: here.target.full_path(place), source }),
        }
    }
    Ok(())
}

/// The kept files that something is to be done to, and that also are files elsewhere, or those of another user. A change
/// of attributes, or one more name, would show outside the asked-for paths.
fn not_to_be_changed(index: &Index, have: &[Have]) -> Vec<u32> {
    // Of each file with several names: how many of these are there, and whether any is to be made.
    let mut names: HashMap<u32, (u64, bool)> = HashMap::new();
    for (member, have_of_name) in index.members.iter().zip(have) {
        let Content::HardLink(first) = member.content else { continue };
        let Have::Same(kept) = &have[first as usize] else { continue };
        let is_there = matches!(have_of_name, Have::Name(found) if *found == identity(&kept.signature));
        let (count, is_any_missing) = names.entry(first).or_default();
        *count += u64::from(is_there);
        *is_any_missing |= !is_there;
    }
    let is_meant = |(number, have): (u32, &Have)| {
        let Have::Same(kept) = have else { return None };
        let (others, is_any_missing) = names.get(&number).copied().unwrap_or_default();
        let is_changed = !kept.is_done || is_any_missing;
        let is_shared = kept.names > 1 + others;
        let is_foreign = !kept.is_done && !kept.is_ours;
        ((is_changed && is_shared) || is_foreign).then_some(number)
    };
    (0..).zip(have).filter_map(is_meant).collect()
}

fn identity(signature: &Signature) -> FileIdentity {
    (signature.device, signature.inode)
}

/// The entry before, by path.
struct PathsBefore<'a> {
    index: &'a Index,
    signatures: &'a [Option<Signature>],
    noted_nanos: i64,
    ranges: Vec<std::ops::Range<usize>>,
}

impl<'a> PathsBefore<'a> {
    fn new(before: &Before<'a>) -> Self {
        let Before { index, signatures, noted_nanos } = *before;
        Self { index, signatures, noted_nanos, ranges: index.root_ranges() }
    }

    /// The file at this path, if it is certainly still the one that was noted.
    fn unchanged(&self, root: usize, path: &[u8], now: &Signature) -> Option<(&'a File, &'a Xattrs)> {
        let range = self.ranges.get(root)?.clone();
        let members = &self.index.members[range.clone()];
        let found = members.binary_search_by(|member| path_order(&member.path, path)).ok()?;
        let mut number = range.start + found;
        if let Content::HardLink(first) = self.index.members[number].content {
            number = first as usize;
        }
        let Content::File(file) = &self.index.members[number].content else { return None };
        let then = self.signatures.get(number)?.as_ref()?;
        (then == now && then.is_settled(self.noted_nanos)).then_some((file, &self.index.members[number].xattrs))
    }
}

struct Comparer<'a> {
    index: &'a Index,
    here: &'a Destination<'a>,
    known: Option<&'a PathsBefore<'a>>,
    cursor: Cursor<'a>,
    buffer: Vec<u8>,
}

impl Comparer<'_> {
    fn batch(&mut self, first: usize, slots: &mut [Have]) -> Result<(), Error> {
        for (number, slot) in (first..).zip(slots) {
            if self.here.interrupt.is_raised() {
                break;
            }
            let number = convert::number(number);
            let place = self.here.roots.place(self.index, number);
            let found = self.member(number, place);
            *slot = found.map_err(|source| Error::Write { path: self.here.target.full_path(place), source })?;
        }
        Ok(())
    }

    fn member(&mut self, number: u32, place: Place<'_>) -> io::Result<Have> {
        let member = &self.index.members[number as usize];
        let Some(stat) = self.cursor.look(place)? else { return Ok(Have::Missing) };
        let (have, is_in_the_way) = match &member.content {
            Content::File(file) if is_file(&stat) => {
                let have = self.file(place, member, file, &stat)?;
                let is_other = matches!(have, Have::Other(_));
                (have, is_other)
            }
            Content::HardLink(first) if is_file(&stat) => {
                let is_other = self.cursor.check_room(place, &stat).is_err() && !self.has_content_of(*first, place)?;
                (Have::Name(identity(&Signature::of(&stat))), is_other)
            }
            Content::Symlink(target) => (Have::Missing, !self.cursor.is_link_to(place, target)),
            Content::Directory => (Have::Missing, !is_directory(&stat)),
            Content::File(_) | Content::HardLink(_) => (Have::Missing, true),
        };
        if is_in_the_way {
            // Before anything is written: a restore that must fail should not begin.
            self.cursor.check_room(place, &stat)?;
        }
        Ok(have)
    }

    /// Whether the file at a place has the content of member `first`.
    fn has_content_of(&mut self, first: u32, place: Place<'_>) -> io::Result<bool> {
        let Content::File(file) = &self.index.members[first as usize].content else { return Ok(false) };
        let Ok(open) = self.cursor.open(place) else { return Ok(false) };
        has_content(self.index, file, &open, &mut self.buffer, self.here.interrupt)
    }

    fn file(&mut self, place: Place<'_>, member: &Member, file: &File, stat: &Stat) -> io::Result<Have> {
        let signature = Signature::of(stat);
        let wanted = attributes(member);
        let owners = self.here.target.policy().owners;
        let same = |cursor: &mut Cursor<'_>, xattrs: &Xattrs| {
            let euid = rustix::process::geteuid();
            let is_done = wanted.are_those_of(stat, xattrs, owners);
            let is_of_user = euid.is_root() || euid.as_raw() == stat.st_uid;
            let is_ours = is_of_user && (is_done || !cursor.is_mounted(place, stat));
            Have::Same(Kept { is_done, signature, names: stat.st_nlink, is_ours })
        };
        let before = self.known.and_then(|known| {
            known.unchanged(place.root, &member.path, &signature).map(|(file, xattrs)| (known, file, xattrs))
        });
        if let Some((known, before, xattrs)) = before
            && (file.size, &file.extents) == (before.size, &before.extents)
        {
            let pairs = self.index.chunks_of(file).iter().zip(known.index.chunks_of(before));
            let is_same = file.chunks.len() == before.chunks.len() && pairs.into_iter().all(|(a, b)| a.hash == b.hash);
            if is_same {
                return Ok(same(&mut self.cursor, xattrs));
            }
        }
        let Ok(open) = self.cursor.open(place) else { return Ok(Have::Other(None)) };
        let is_candidate = before.is_none() && signature.size == file.size;
        if is_candidate && has_content(self.index, file, &open, &mut self.buffer, self.here.interrupt)? {
            return Ok(same(&mut self.cursor, &read_xattrs(&open)?));
        }
        let is_large = |size: u64| size > u64::from(Cutter::FORMAT_1.whole_bytes);
        if !is_large(file.size) || !is_large(signature.size) || file.extents.is_some() {
            return Ok(Have::Other(None));
        }
        match self.take_chunks(place, file, &open, signature.size) {
            // The directory takes no temporary file before it is opened up.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Have::Other(None)),
            taken => Ok(Have::Other(taken?)),
        }
    }

    /// Copies what the old file has of the new one into a temporary file.
    fn take_chunks(
        &mut self,
        place: Place<'_>,
        file: &File,
        old: &OwnedFd,
        old_bytes: u64,
    ) -> io::Result<Option<Taken>> {
        let chunks = self.index.chunks_of(file);
        let mut places: HashMap<ChunkHash, Vec<(usize, u64)>> = HashMap::with_capacity(chunks.len());
        let mut start = 0;
        for (i, chunk) in chunks.iter().enumerate() {
            places.entry(chunk.hash).or_default().push((i, start));
            start += u64::from(chunk.length);
        }
        let mut new: Option<(Taken, OwnedFd)> = None;
        let mut pieces = Pieces::new(old, old_bytes, file.size.saturating_mul(MOST_READ));
        while let Some((data, ends)) = pieces.next()? {
            let mut used = 0;
            for length in Cutter::FORMAT_1.cut_large(data, ends) {
                let chunk = &data[used..used + length];
                used += length;
                let Some(wanted) = places.get(&ChunkHash::of(chunk)) else { continue };
                for &(i, offset) in wanted.iter().filter(|&&(i, _)| chunks[i].length as usize == length) {
                    if new.is_none() {
                        let temporary = self.cursor.begin(place);
                        let open = self.cursor.open_temporary(place, &temporary)?;
                        new = Some((Taken { temporary, chunks: vec![false; chunks.len()] }, open));
                    }
                    let Some((taken, open)) = &mut new else { continue };
                    write_at(open, chunk, offset)?;
                    taken.chunks[i] = true;
                }
            }
            pieces.used(used);
            if self.here.interrupt.is_raised() {
                break;
            }
        }
        Ok(new.map(|(taken, _)| taken))
    }
}
