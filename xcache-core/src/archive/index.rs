//! The index: the complete tree of an entry, and where each chunk of it lies.
//!
//! An [`Index`] that was read by [`super::reader`] can be acted on without further checks: paths stay inside their
//! root, parents are directories, hard links name files, chunks lie inside frames, and frames inside objects.

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::frame::{MAX_RAW_BYTES, MAX_STORED_BYTES};
use super::{Error, Result, at_most};
use crate::chunk::{ChunkHash, Cutter};
use crate::object::Ref;

/// The longest path of a member below its root, as Linux limits paths.
pub const MAX_PATH_BYTES: usize = 4096;
/// The longest component of a path.
pub const MAX_NAME_BYTES: usize = 255;
/// The most extended attributes of one member, and the most bytes of one value (the limit of Linux).
pub const MAX_XATTR_BYTES: usize = 64 << 10;

/// The tree of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Name and version of the program that wrote it.
    pub writer: String,
    /// How files were cut.
    pub cutter: Cutter,
    /// The paths that were saved, in the order given.
    pub roots: Vec<IndexRoot>,
    /// The frames that hold chunks of this tree.
    pub frames: Vec<Frame>,
    /// The members, those of one root together, in the order of [`path_order`].
    pub members: Vec<Member>,
    /// The chunks of all files, those of one file together and in order.
    pub chunks: Vec<Chunk>,
}

/// A path that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRoot {
    /// The path as the user gave it.
    pub given: String,
    /// What was found there.
    pub kind: RootKind,
    /// How many members it has.
    pub members: u32,
}

/// What a saved path was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootKind {
    /// A directory, itself a member with an empty path.
    Directory,
    /// A pattern: what it matched below its literal leading directory, which is no member.
    Pattern,
    /// A single file or link: the one member, named as it is called.
    File,
    /// Nothing was there.
    Nothing,
}

/// An independent zstd frame in one of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// 0 for the object that the index is part of, n for its n-th ref.
    pub source: u16,
    /// Where it begins in its object.
    pub offset: u64,
    /// Its length there.
    pub stored_bytes: u32,
    /// Its length decompressed.
    pub raw_bytes: u32,
}

impl Frame {
    /// Where it lies in its object.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.stored_bytes)
    }
}

/// A file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Below its root; empty for the root itself. No leading, trailing or double slash, no `.` or `..`.
    pub path: Box<[u8]>,
    /// Mode, times, owner.
    pub meta: Metadata,
    /// Those extended attributes that are kept ([`is_kept_xattr`]), sorted by name.
    pub xattrs: Xattrs,
    /// What it is.
    pub content: Content,
}

/// Whether an extended attribute of this name is kept: those of users, access control lists, and file capabilities.
/// All others belong to the system that a file is on.
pub fn is_kept_xattr(name: &[u8]) -> bool {
    const OF_THE_SYSTEM: [&[u8]; 3] = [b"system.posix_acl_access", b"system.posix_acl_default", b"security.capability"];
    let is_sound = name.len() <= MAX_NAME_BYTES && !name.contains(&0);
    is_sound && (name.starts_with(b"user.") || OF_THE_SYSTEM.contains(&name))
}

/// An extended attribute: name and value.
pub type Xattr = (Box<[u8]>, Box<[u8]>);
/// Extended attributes.
pub type Xattrs = Vec<Xattr>;

/// Mode, times and owner of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits, setuid, setgid and sticky (`0o7777`).
    pub mode: u16,
    /// Seconds since 1970, negative before.
    pub mtime_seconds: i64,
    /// Nanoseconds after [`Metadata::mtime_seconds`], below 10⁹.
    pub mtime_nanos: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A regular file.
    File(File),
    /// A symbolic link to this target.
    Symlink(Box<[u8]>),
    /// Another name of the file that is the member of this number, an earlier one.
    HardLink(u32),
}

/// The content of a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Length, holes included.
    pub size: u64,
    /// Its chunks in [`Index::chunks`]; they hold its data without holes.
    pub chunks: Range<u32>,
    /// Where the data lies in a file with holes; `None` if it has none.
    pub extents: Option<Box<[Extent]>>,
}

/// A run of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length, not zero.
    pub length: u64,
}

/// A verified run of file bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its BLAKE3.
    pub hash: ChunkHash,
    /// Its length, not zero.
    pub length: u32,
    /// The frame that holds it, a number into [`Index::frames`].
    pub frame: u32,
    /// Where it begins in the decompressed frame.
    pub offset: u32,
}

/// The order of members: by path, with the slash before every other byte, so that a directory is followed by all
/// that is below it.
pub fn path_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    // Neighbours share most of their paths: that is passed over in steps that the compiler turns into wide compares.
    const STEP: usize = 16;
    let steps = a.chunks_exact(STEP).zip(b.chunks_exact(STEP)).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[steps * STEP..], &b[steps * STEP..]);
    let slash_first = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    a.iter().map(slash_first).cmp(b.iter().map(slash_first))
}

/// The directory part of a member's path; `None` for what lies directly below the root.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|&byte| byte == b'/').map(|slash| &path[..slash])
}

/// The last component of a member's path.
pub fn file_name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

/// Checks that a path is no longer than any system has them.
pub(super) fn check_path_length(path: &[u8]) -> Result<()> {
    if path.len() > MAX_PATH_BYTES {
        let reason = "has a path longer than 4,096 bytes";
        return Err(Error::BadMember { path: path[..path.len().min(200)].to_vec(), reason });
    }
    Ok(())
}

/// Checks a path below a root: it cannot lead outside, whatever it is joined to.
pub fn check_path(path: &[u8]) -> Result<()> {
    check_path_length(path)?;
    let bad = |reason| Err(Error::BadMember { path: path[..path.len().min(200)].to_vec(), reason });
    if path.contains(&0) {
        return bad("has a zero byte in its path");
    }
    if path.first() == Some(&b'/') {
        return bad("has an absolute path");
    }
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b".." => return bad("leads out of its directory"),
            b"" | b"." => return bad("has an empty component in its path"),
            _ if name.len() > MAX_NAME_BYTES => return bad("has a component longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

impl Index {
    /// The chunks of a file.
    pub fn chunks_of(&self, file: &File) -> &[Chunk] {
        &self.chunks[file.chunks.start as usize..file.chunks.end as usize]
    }

    /// The members of each root, as ranges of numbers.
    pub fn root_ranges(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        self.roots
            .iter()
            .map(|root| {
                let range = start..start + root.members as usize;
                start = range.end;
                range
            })
            .collect()
    }

    /// Bytes of all files, without holes.
    pub fn content_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    /// Number of regular files, hard links included.
    pub fn file_count(&self) -> u64 {
        self.members.iter().filter(|m| matches!(m.content, Content::File(_) | Content::HardLink(_))).count() as u64
    }

    /// Checks everything that a reader relies on. `data_bytes` is how much of the index's own object is frames.
    pub(super) fn check(&self, refs: &[Ref], data_bytes: u64) -> Result<()> {
        self.check_frames(refs, data_bytes)?;
        let Cutter { whole_bytes, min_bytes, avg_bytes, max_bytes } = self.cutter;
        if whole_bytes > max_bytes || min_bytes > avg_bytes || avg_bytes > max_bytes || max_bytes > MAX_RAW_BYTES {
            return Err(Error::damaged("index", "files cannot have been cut as it says"));
        }
        for chunk in &self.chunks {
            at_most("the length of a chunk", chunk.length.into(), max_bytes.into())?;
            let frame = self.frames.get(chunk.frame as usize);
            let inside = frame.is_some_and(|frame| {
                chunk.length > 0 && chunk.offset.checked_add(chunk.length).is_some_and(|end| end <= frame.raw_bytes)
            });
            if !inside {
                return Err(Error::damaged("index", "a chunk lies outside of its frame"));
            }
        }
        let members: u64 = self.roots.iter().map(|root| u64::from(root.members)).sum();
        if members != self.members.len() as u64 {
            return Err(Error::damaged("index", "roots and members do not add up"));
        }
        for (root, range) in self.roots.iter().zip(self.root_ranges()) {
            self.check_root(root, range)?;
        }
        self.check_contents()
    }

    /// The same tree with its roots in another order: for each of `order` the root of that number, or one that is
    /// nothing. Roots that are not named are left out. Also gives the number that each member had before.
    ///
    /// A file of several names is stored under the one that comes first now.
    pub fn arranged(&self, order: &[Option<usize>]) -> (Self, Vec<u32>) {
        let ranges = self.root_ranges();
        let (mut members, mut chunks, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        let mut first_names: HashMap<u32, u32> = HashMap::new();
        let mut roots = Vec::with_capacity(order.len());
        for &root in order {
            let Some(root) = root else {
                roots.push(IndexRoot { given: String::new(), kind: RootKind::Nothing, members: 0 });
                continue;
            };
            roots.push(self.roots[root].clone());
            for old in ranges[root].clone() {
                let mut member = self.members[old].clone();
                let old = u32::try_from(old).expect("an index has fewer members");
                let file = match member.content {
                    Content::File(_) => Some(old),
                    Content::HardLink(first) => Some(first),
                    Content::Directory | Content::Symlink(_) => None,
                };
                let new = u32::try_from(members.len()).expect("no more members than before");
                match file.map(|file| (file, first_names.get(&file))) {
                    Some((_, Some(&first))) => member.content = Content::HardLink(first),
                    Some((file, None)) => {
                        first_names.insert(file, new);
                        let stored = &self.members[file as usize];
                        (member.meta, member.xattrs) = (stored.meta, stored.xattrs.clone());
                        member.content = self.file_with(stored, &mut chunks);
                    }
                    None => {}
                }
                numbers.push(file.filter(|_| matches!(member.content, Content::File(_))).unwrap_or(old));
                members.push(member);
            }
        }
        let (writer, cutter, frames) = (self.writer.clone(), self.cutter, self.frames.clone());
        (Self { writer, cutter, roots, frames, members, chunks }, numbers)
    }

    /// The content of the file `member`, its chunks appended to `chunks`.
    fn file_with(&self, member: &Member, chunks: &mut Vec<Chunk>) -> Content {
        let Content::File(file) = &member.content else { return member.content.clone() };
        let number = |at: usize| u32::try_from(at).expect("no more chunks than before");
        let start = number(chunks.len());
        chunks.extend_from_slice(self.chunks_of(file));
        Content::File(File { size: file.size, chunks: start..number(chunks.len()), extents: file.extents.clone() })
    }

    fn check_frames(&self, refs: &[Ref], data_bytes: u64) -> Result<()> {
        let mut before = (0, 0);
        for &Frame { source, offset, stored_bytes, raw_bytes } in &self.frames {
            let limit = match source {
                0 => data_bytes,
                n => refs.get(usize::from(n) - 1).map_or(0, |r| r.data_bytes.min(r.size)),
            };
            let end = offset.checked_add(stored_bytes.into()).filter(|&end| end <= limit);
            let end = end.ok_or_else(|| Error::damaged("index", "a frame lies outside of its object"))?;
            if (source, offset) < before {
                return Err(Error::damaged("index", "frames overlap or are out of order"));
            }
            before = (source, end);
            at_most("the length of a frame", stored_bytes.into(), MAX_STORED_BYTES.into())?;
            at_most("the length of a frame decompressed", raw_bytes.into(), MAX_RAW_BYTES.into())?;
        }
        Ok(())
    }

    /// Order, uniqueness and parents of the members of one root.
    fn check_root(&self, root: &IndexRoot, range: Range<usize>) -> Result<()> {
        let members = &self.members[range];
        match root.kind {
            RootKind::Directory => match members.first() {
                Some(Member { path, content: Content::Directory, .. }) if path.is_empty() => {}
                _ => return Err(Error::damaged("index", "a root directory is missing")),
            },
            RootKind::File => match members {
                [Member { path, content, .. }] if !path.contains(&b'/') && *content != Content::Directory => {}
                _ => return Err(Error::damaged("index", "a root that is a file has other members")),
            },
            RootKind::Nothing if !members.is_empty() => {
                return Err(Error::damaged("index", "a root that is nothing has members"));
            }
            _ => {}
        }
        let mut open: Vec<&[u8]> = Vec::new();
        let mut previous: Option<&[u8]> = None;
        for member in members {
            if previous.is_some_and(|previous| path_order(previous, &member.path).is_ge()) {
                return Err(Error::BadMember { path: member.path.to_vec(), reason: "is out of order or there twice" });
            }
            previous = Some(&member.path);
            if member.path.is_empty() {
                if root.kind != RootKind::Directory || !matches!(member.content, Content::Directory) {
                    return Err(Error::damaged("index", "a root is not what it should be"));
                }
                continue;
            }
            check_path(&member.path)?;
            if let Some(parent) = parent(&member.path) {
                while open.last().is_some_and(|&directory| directory != parent) {
                    open.pop();
                }
                if open.is_empty() {
                    return Err(Error::BadMember { path: member.path.to_vec(), reason: "has no parent directory" });
                }
            }
            if matches!(member.content, Content::Directory) {
                open.push(&member.path);
            }
        }
        Ok(())
    }

    fn check_contents(&self) -> Result<()> {
        let mut next_chunk = 0;
        for (number, member) in self.members.iter().enumerate() {
            let bad = |reason| Err(Error::BadMember { path: member.path.to_vec(), reason });
            if member.meta.mtime_nanos >= 1_000_000_000 || member.meta.mode > 0o7777 {
                return bad("has an impossible mode or time");
            }
            let is_bad = |(name, value): &Xattr| !is_kept_xattr(name) || value.len() > MAX_XATTR_BYTES;
            if member.xattrs.iter().any(is_bad) {
                return bad("has an extended attribute that is not to be restored");
            }
            match &member.content {
                Content::Directory => {}
                Content::Symlink(target) => {
                    if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains(&0) {
                        return bad("is a link without a usable target");
                    }
                }
                Content::HardLink(first) => {
                    let first = usize::try_from(*first).ok().filter(|&first| first < number);
                    if !first.is_some_and(|first| matches!(self.members[first].content, Content::File(_))) {
                        return bad("is a hard link to something that is no earlier file");
                    }
                }
                Content::File(file) => {
                    if file.chunks.start != next_chunk || file.chunks.end < next_chunk {
                        return bad("has chunks that are not its own");
                    }
                    next_chunk = file.chunks.end;
                    if next_chunk as usize > self.chunks.len() {
                        return bad("has chunks that are not there");
                    }
                    let data: u64 = self.chunks_of(file).iter().map(|chunk| u64::from(chunk.length)).sum();
                    if !file.is_consistent(data) {
                        return bad("has a size that its chunks do not come to");
                    }
                }
            }
        }
        if next_chunk as usize != self.chunks.len() {
            return Err(Error::damaged("index", "chunks that belong to no file"));
        }
        Ok(())
    }
}

impl File {
    /// Whether `data` bytes of chunks fill size and extents exactly.
    fn is_consistent(&self, data: u64) -> bool {
        let Some(extents) = &self.extents else { return data == self.size };
        let mut end = 0u64;
        let mut sum = 0u64;
        for extent in extents {
            let Some(next) = extent.offset.checked_add(extent.length) else { return false };
            if extent.length == 0 || extent.offset < end {
                return false;
            }
            end = next;
            sum += extent.length;
        }
        end <= self.size && sum == data && i64::try_from(self.size).is_ok()
    }

    /// Splits the data bytes `start..start + length` into the pieces of the file that they lie at:
    /// (offset in the file, length).
    pub fn place(&self, start: u64, length: u64) -> Vec<(u64, u64)> {
        let Some(extents) = &self.extents else { return vec![(start, length)] };
        let (mut pieces, mut before, end) = (Vec::new(), 0u64, start + length);
        for extent in extents {
            let (from, to) = (start.max(before), end.min(before + extent.length));
            if from < to {
                pieces.push((extent.offset + (from - before), to - from));
            }
            before += extent.length;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_followed_by_its_members() {
        let mut paths: Vec<&[u8]> = vec![b"a-b", b"a", b"a/z", b"a/b/c", b"a/b", b"ab", b"a b"];
        paths.sort_by(|a, b| path_order(a, b));
        let expected: Vec<&[u8]> = vec![b"a", b"a/b", b"a/b/c", b"a/z", b"a b", b"a-b", b"ab"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn paths_that_lead_outside_are_refused() {
        for bad in ["/a", "..", "a/../b", "a//b", "./a", "a/", "a\0b", "a/.", &"n".repeat(256), &"a/".repeat(3000)] {
            assert!(check_path(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", "...", "-x", "a\nb", "\u{1F600}", "..a/b.."] {
            assert!(check_path(good.as_bytes()).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn data_is_placed_into_extents() {
        let extents = [Extent { offset: 10, length: 5 }, Extent { offset: 100, length: 10 }];
        let file = File { size: 200, chunks: 0..0, extents: Some(Box::new(extents)) };
        assert_eq!(file.place(0, 15), [(10, 5), (100, 10)]);
        assert_eq!(file.place(3, 4), [(13, 2), (100, 2)]);
        assert_eq!(file.place(6, 1), [(101, 1)]);
        assert_eq!(File { extents: None, ..file }.place(7, 3), [(7, 3)]);
    }

    #[test]
    fn roots_can_be_put_into_another_order_and_a_file_is_stored_under_its_first_name() {
        let member = |path: &[u8], content| Member {
            path: path.into(),
            meta: Metadata { mode: u16::try_from(path.len()).unwrap(), ..Metadata::default() },
            xattrs: Vec::new(),
            content,
        };
        let file = |chunks: Range<u32>| {
            Content::File(File { size: u64::from(chunks.end - chunks.start), chunks, extents: None })
        };
        let root = |given: &str, members| IndexRoot { given: given.into(), kind: RootKind::Directory, members };
        let chunk = |byte: u8| Chunk { hash: ChunkHash::of(&[byte]), length: 1, frame: 0, offset: byte.into() };
        let index = Index {
            writer: "test".into(),
            cutter: Cutter::FORMAT_1,
            roots: vec![root("a", 3), root("b", 3)],
            frames: vec![Frame { source: 0, offset: 0, stored_bytes: 9, raw_bytes: 9 }],
            members: vec![
                member(b"", Content::Directory),
                member(b"one", file(0..2)),
                member(b"three", file(2..3)),
                member(b"", Content::Directory),
                member(b"again", Content::HardLink(1)),
                member(b"b", file(3..4)),
            ],
            chunks: (0..4).map(chunk).collect(),
        };
        index.check(&[], 9).unwrap();

        let (swapped, numbers) = index.arranged(&[Some(1), None, Some(0)]);
        swapped.check(&[], 9).unwrap();
        assert_eq!(numbers, [3, 1, 5, 0, 1, 2]);
        assert_eq!(swapped.members[1].content, file(0..2));
        assert_eq!(swapped.members[1].meta.mode, 3, "what the file had under the name that it is stored under");
        assert_eq!(swapped.members[4].content, Content::HardLink(1));
        assert_eq!(swapped.chunks, [0, 1, 3, 2].map(chunk));

        let (only, numbers) = index.arranged(&[Some(1)]);
        only.check(&[], 9).unwrap();
        assert_eq!((numbers, only.chunks), (vec![3, 1, 5], [0, 1, 3].map(chunk).to_vec()));
        assert_eq!(index.arranged(&[Some(0), Some(1)]), (index.clone(), vec![0, 1, 2, 3, 4, 5]));
    }
}
