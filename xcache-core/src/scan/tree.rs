//! What a scan has found.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::attributes::Signature;
use crate::archive::index::{Metadata, RootKind, Xattrs};

/// What was found.
#[derive(Debug)]
pub struct Tree {
    /// One for each line of the path list that is no exclude.
    pub roots: Vec<TreeRoot>,
    /// The members, those of one root together, in the order of [`path_order`](crate::archive::index::path_order).
    pub nodes: Vec<Node>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

/// One path of the list.
#[derive(Debug)]
pub struct TreeRoot {
    /// As the user gave it.
    pub given: String,
    /// What entries call it.
    pub name: String,
    /// What it is.
    pub kind: RootKind,
    /// Where the paths of its nodes begin.
    pub base: PathBuf,
    /// The directory at `base`, open; `None` if nothing is there.
    pub directory: Option<Arc<OwnedFd>>,
    /// Its nodes in [`Tree::nodes`].
    pub nodes: Range<usize>,
}

/// A file, directory or link.
#[derive(Debug)]
pub struct Node {
    /// Number of its root.
    pub root: u32,
    /// Below the root's base; empty for the root directory itself.
    pub path: Box<[u8]>,
    /// Identity and attributes when it was scanned.
    pub stat: Signature,
    /// Whether it had more than one name then, if it is a file or link.
    pub is_linked: bool,
    /// What goes into the archive.
    pub meta: Metadata,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory with these extended attributes.
    Directory(Xattrs),
    /// A regular file.
    File,
    /// A symbolic link to this target.
    Symlink(Box<[u8]>),
    /// Another name of the file that is this node, an earlier one.
    HardLink(u32),
}

/// Something that is there but not saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: SkipReason,
}

/// Why something was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// FIFO, socket or device.
    Special(&'static str),
    /// The path below its root is longer than an archive can hold.
    PathTooLong,
    /// Its name is longer than an archive can hold; some file systems allow that.
    NameTooLong,
    /// It could not be read.
    Unreadable(String),
    /// It changed again and again while it was read; what is saved is one consistent reading.
    Changing,
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Special(kind) => write!(f, "is a {kind}"),
            Self::PathTooLong => f.write_str("its path is longer than 4,096 bytes"),
            Self::NameTooLong => f.write_str("its name is longer than 255 bytes"),
            Self::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Self::Changing => f.write_str("kept changing while it was read"),
        }
    }
}

impl Tree {
    /// Opens the regular file that a node is, without following a link in its place.
    pub fn open(&self, node: &Node) -> io::Result<OwnedFd> {
        let root = &self.roots[node.root as usize];
        let base = root.directory.as_deref().ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(rustix::fs::openat(base, &node.path[..], flags, Mode::empty())?)
    }

    /// What a node is now, without following a link in its place.
    pub fn stat(&self, node: &Node) -> io::Result<Signature> {
        let root = &self.roots[node.root as usize];
        let base = root.directory.as_deref().ok_or(io::ErrorKind::NotFound)?;
        Ok(Signature::of(&rustix::fs::statat(base, &node.path[..], AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Where a node is, for messages.
    pub fn path_of(&self, node: &Node) -> PathBuf {
        join(&self.roots[node.root as usize].base, &node.path)
    }

    /// How many names of symbolic links are hard links, which no archive says.
    pub fn linked_symlinks(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_linked && matches!(node.kind, NodeKind::Symlink(_))).count()
    }

    /// About what a complete archive comes to at most: what all regular files take on disk. File systems that compress
    /// count less than there is to read, but so does an archive.
    pub fn disk_bytes(&self) -> u64 {
        let files = self.nodes.iter().filter(|node| node.kind == NodeKind::File);
        files.map(|node| node.stat.size.min(node.stat.blocks.saturating_mul(512))).fold(0, u64::saturating_add)
    }
}

pub(super) fn join(base: &std::path::Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    if path.is_empty() { base.to_owned() } else { base.join(std::ffi::OsStr::from_bytes(path)) }
}
