//! A picture of a tree with all that a save and a restore must keep, and the comparison of two.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, fgetxattr, flistxattr, fstat, openat, readlinkat, seek, statat,
};
use rustix::io::Errno;

/// The most differences that a failing test prints.
const SHOWN: usize = 12;

/// Something that [`assert_same_tree`] may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// Where the holes of sparse files are. Their content is compared in any case.
    Holes,
    /// Extended attributes.
    Xattrs,
    /// Which files are one.
    HardLinks,
    /// User and group.
    Owners,
    /// The time of the last change.
    Mtimes,
    /// Mode and time of the root itself.
    Root,
}

/// A picture of a tree: each path below the root, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<Vec<u8>, Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: &'static str,
    mode: u32,
    mtime: (i64, i64),
    owner: (u32, u32),
    /// Of files: size and digest of the content, none if it cannot be read.
    content: Option<(u64, u64)>,
    /// Of files: where data is, as the file system tells.
    extents: Vec<(u64, u64)>,
    target: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of files with several names: the first of them.
    group: Option<Vec<u8>>,
}

/// Fails the test, showing the first differences, unless the two trees are the same in everything but `but`.
#[track_caller]
pub fn assert_same_tree(expected: &Path, actual: &Path, but: &[Aspect]) {
    let differences = Snapshot::of(expected).differences(&Snapshot::of(actual), but);
    assert!(
        differences.is_empty(),
        "{} and {} differ in {} places:\n{}",
        expected.display(),
        actual.display(),
        differences.len(),
        differences.iter().take(SHOWN).map(|d| format!("  {d}\n")).collect::<String>()
    );
}

impl Snapshot {
    /// Takes a picture. Paths may be longer than one call takes.
    pub fn of(root: &Path) -> Self {
        let mut walk = Walk { nodes: BTreeMap::new(), inodes: BTreeMap::new() };
        let dir = openat(CWD, root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", root.display()));
        let stat = fstat(&dir).expect("an open directory has a status");
        walk.nodes.insert(Vec::new(), node(&stat, Some(dir.as_fd())));
        walk.dir(&dir, &[]);
        Self(walk.nodes)
    }

    /// The paths below the root.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice)
    }

    /// What is at a path: `file`, `directory`, `link` and so on.
    pub fn kind(&self, path: &[u8]) -> Option<&'static str> {
        self.0.get(path).map(|node| node.kind)
    }

    /// The part of it whose paths `keep` wants.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&[u8]) -> bool) -> Self {
        Self(self.0.iter().filter(|(path, _)| keep(path)).map(|(path, node)| (path.clone(), node.clone())).collect())
    }

    /// All differences, in words; `self` is what was expected.
    pub fn differences(&self, actual: &Self, but: &[Aspect]) -> Vec<String> {
        let mut differences = Vec::new();
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(actual.0.keys()).collect();
        for path in paths {
            let name = Name(path);
            match (self.0.get(path), actual.0.get(path)) {
                (Some(_), None) => differences.push(format!("{name}: missing")),
                (None, Some(node)) => differences.push(format!("{name}: an unexpected {}", node.kind)),
                (Some(a), Some(b)) => {
                    let of_root = |what| path.is_empty() && matches!(what, "mode" | "mtime");
                    let found = compare(a, b).into_iter().filter(|found| {
                        let aspect = if of_root(found.what) { Some(Aspect::Root) } else { None };
                        ![aspect, found.aspect].into_iter().flatten().any(|aspect| but.contains(&aspect))
                    });
                    differences.extend(found.map(|Found { what, expected, actual, .. }| {
                        format!("{name}: {what} should be {expected} but is {actual}")
                    }));
                }
                (None, None) => {}
            }
        }
        differences
    }
}

/// One difference between two files.
struct Found {
    /// What it belongs to, if that may be left out.
    aspect: Option<Aspect>,
    what: &'static str,
    expected: String,
    actual: String,
}

fn compare(a: &Node, b: &Node) -> Vec<Found> {
    let Node { kind, mode, mtime, owner, content, extents, target, xattrs, group } = a;
    let mut found = Vec::new();
    let mut differ = |same: bool, aspect, what, expected: &dyn fmt::Debug, actual: &dyn fmt::Debug| {
        if !same {
            found.push(Found { aspect, what, expected: format!("{expected:?}"), actual: format!("{actual:?}") });
        }
    };
    differ(*kind == b.kind, None, "type", kind, &b.kind);
    differ(*mode == b.mode, None, "mode", &format_args!("{mode:o}"), &format_args!("{:o}", b.mode));
    differ(*mtime == b.mtime, Some(Aspect::Mtimes), "mtime", mtime, &b.mtime);
    differ(*owner == b.owner, Some(Aspect::Owners), "owner", owner, &b.owner);
    differ(*content == b.content, None, "content (size, digest)", content, &b.content);
    differ(*extents == b.extents, Some(Aspect::Holes), "data extents", extents, &b.extents);
    differ(*target == b.target, None, "target", &Name(target), &Name(&b.target));
    differ(*xattrs == b.xattrs, Some(Aspect::Xattrs), "xattrs", &Names(xattrs), &Names(&b.xattrs));
    let names = |group: &Option<Vec<u8>>| group.as_deref().map(|path| Name(path).to_string());
    differ(*group == b.group, Some(Aspect::HardLinks), "hard link to", &names(group), &names(&b.group));
    found
}

struct Walk {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// The first path of each file with several names, by device and inode.
    inodes: BTreeMap<(u64, u64), Vec<u8>>,
}

impl Walk {
    fn dir(&mut self, dir: &OwnedFd, path: &[u8]) {
        let mut names: Vec<_> = Dir::read_from(dir)
            .expect("an open directory can be read")
            .map(|entry| entry.expect("a directory can be listed").file_name().to_owned())
            .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
            .collect();
        names.sort();
        for name in names {
            let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).expect("what is listed is there");
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.to_bytes());
            let kind = FileType::from_raw_mode(stat.st_mode);
            // Only these two are opened: opening a FIFO would wait for its other end.
            let file = matches!(kind, FileType::RegularFile | FileType::Directory)
                .then(|| openat(dir, &name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()).ok())
                .flatten();
            let mut node = node(&stat, file.as_ref().map(AsFd::as_fd));
            if kind == FileType::Symlink {
                node.target = readlinkat(dir, &name, Vec::new()).expect("a link has a target").into_bytes();
            }
            if kind == FileType::RegularFile && stat.st_nlink > 1 {
                let first = self.inodes.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| below.clone());
                node.group = Some(first.clone());
            }
            self.nodes.insert(below.clone(), node);
            if let (FileType::Directory, Some(file)) = (kind, &file) {
                self.dir(file, &below);
            }
        }
    }
}

fn node(stat: &rustix::fs::Stat, file: Option<BorrowedFd<'_>>) -> Node {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mut node = Node {
        kind: match kind {
            FileType::RegularFile => "file",
            FileType::Directory => "directory",
            FileType::Symlink => "link",
            FileType::Fifo => "FIFO",
            FileType::Socket => "socket",
            _ => "device",
        },
        mode: stat.st_mode & 0o7777,
        mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).expect("less than a second")),
        owner: (stat.st_uid, stat.st_gid),
        content: None,
        extents: Vec::new(),
        target: Vec::new(),
        xattrs: file.map(xattrs).unwrap_or_default(),
        group: None,
    };
    if let (FileType::RegularFile, Some(file)) = (kind, file) {
        let size = u64::try_from(stat.st_size).expect("a size is not negative");
        node.extents = extents(file, size);
        node.content = Some((size, digest(file, &node.extents)));
    }
    node
}

fn extents(file: BorrowedFd<'_>, size: u64) -> Vec<(u64, u64)> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => panic!("cannot look for data: {error}"),
        };
        at = seek(file, SeekFrom::Hole(start)).expect("every file ends in a hole");
        extents.push((start, at));
    }
    extents
}

/// A digest of the content in which zeros count the same whether they are stored or a hole.
fn digest(file: BorrowedFd<'_>, extents: &[(u64, u64)]) -> u64 {
    const BLOCK: u64 = 4096;
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 64 * 4096];
    for &(start, end) in extents {
        let mut at = start;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let count = rustix::io::pread(file, &mut buffer[..most], at).expect("an open file can be read");
            assert!(count > 0, "the file became shorter");
            let mut read = &buffer[..count];
            while !read.is_empty() {
                // To the end of the block of the file, so that the cuts do not depend on the extents.
                let length = usize::try_from(BLOCK - at % BLOCK).expect("a block is small").min(read.len());
                let (block, rest) = read.split_at(length);
                if block.iter().any(|byte| *byte != 0) {
                    (at, block).hash(&mut hasher);
                }
                at += u64::try_from(length).expect("a block is small");
                read = rest;
            }
        }
    }
    hasher.finish()
}

fn xattrs(file: BorrowedFd<'_>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 64 * 1024];
    let length = match flistxattr(file, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => panic!("cannot list extended attributes: {error}"),
    };
    let names = list[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    names
        .map(|name| {
            let mut value = vec![0; 64 * 1024];
            let length = fgetxattr(file, name, value.as_mut_slice()).expect("what is listed is there");
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}

/// A path or another run of bytes, legible; long ones shortened.
struct Name<'a>(&'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            0 => f.write_str("."),
            1..=120 => write!(f, "{}", self.0.escape_ascii()),
            length => write!(f, "{}… ({length} bytes)", self.0[..100].escape_ascii()),
        }
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Extended attributes, legible.
struct Names<'a>(&'a BTreeMap<Vec<u8>, Vec<u8>>);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (Name(name), Name(value)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::{Scratch, everything, random, set_mode, set_mtime, set_xattr, sparse_file};
    use super::*;

    /// The words in which the comparison of two small trees differs, after `change` was done to the second.
    fn check(change: fn(&Path), expected: &[&str]) {
        let trees = [Scratch::new(), Scratch::new()];
        for tree in trees.each_ref().map(Scratch::path) {
            fs::write(tree.join("file"), "content").unwrap();
            fs::write(tree.join("other"), "content").unwrap();
            symlink("file", tree.join("link")).unwrap();
            sparse_file(&tree.join("sparse"), 1 << 20, &[(1 << 19, 4096)]);
            for name in ["file", "other", "link", "sparse"] {
                set_mtime(&tree.join(name), 1_000_000_000, 7);
            }
        }
        change(trees[1].path());
        set_mtime(trees[0].path(), 1_000_000_000, 0);
        set_mtime(trees[1].path(), 1_000_000_000, 0);
        let found = Snapshot::of(trees[0].path()).differences(&Snapshot::of(trees[1].path()), &[]);
        let found: Vec<_> = found.iter().map(|text| text.split(" should").next().unwrap()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_trees_have_no_differences() {
        check(|_| (), &[]);
    }

    #[test]
    fn every_aspect_of_a_file_is_compared() {
        check(|tree| set_mode(&tree.join("file"), 0o4644), &["file: mode"]);
        check(|tree| set_mtime(&tree.join("file"), 1_000_000_000, 8), &["file: mtime"]);
        check(|tree| set_mtime(&tree.join("link"), -1, 7), &["link: mtime"]);
        check(|tree| set_xattr(&tree.join("file"), "user.a", b"b"), &["file: xattrs"]);
        check(|tree| fs::remove_file(tree.join("link")).unwrap(), &["link: missing"]);
        check(|tree| fs::create_dir(tree.join("new")).unwrap(), &["new: an unexpected directory"]);
    }

    #[test]
    fn content_holes_links_and_targets_are_compared() {
        fn replace(path: &Path, make: impl Fn(&Path)) {
            fs::remove_file(path).unwrap();
            make(path);
            set_mtime(path, 1_000_000_000, 7);
        }
        check(
            |tree| replace(&tree.join("file"), |path| fs::write(path, "CONTENT").unwrap()),
            &["file: content (size, digest)"],
        );
        check(|tree| replace(&tree.join("link"), |path| symlink("other", path).unwrap()), &["link: target"]);
        check(
            |tree| replace(&tree.join("sparse"), |path| sparse_file(path, 1 << 20, &[(1 << 18, 4096)])),
            &["sparse: content (size, digest)", "sparse: data extents"],
        );
        check(
            |tree| {
                let full = fs::read(tree.join("sparse")).unwrap();
                replace(&tree.join("sparse"), |path| fs::write(path, &full).unwrap());
            },
            &["sparse: data extents"],
        );
        check(
            |tree| replace(&tree.join("other"), |path| fs::hard_link(tree.join("file"), path).unwrap()),
            &["file: hard link to", "other: hard link to"],
        );
    }

    #[test]
    fn makers_give_the_same_tree_each_time_and_copies_compare_equal() {
        let [a, b, copy] = [Scratch::new(), Scratch::new(), Scratch::new()];
        random(a.path(), 7, 50);
        random(b.path(), 7, 50);
        assert_same_tree(a.path(), b.path(), &[Aspect::Mtimes]);
        let hard = a.path().join("hard");
        fs::create_dir(&hard).unwrap();
        everything(&hard);
        let status = std::process::Command::new("cp").arg("-a").arg(&hard).arg(copy.path()).status().unwrap();
        assert!(status.success());
        assert_same_tree(&hard, &copy.path().join("hard"), &[]);
    }
}
