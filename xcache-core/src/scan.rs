//! What lies at the asked-for paths: one pass over directories and attributes, in parallel; no content is read.
//!
//! Directories are opened relative to their parent, so paths may be as long as the archive format allows and a
//! directory that is moved while it is scanned cannot lead elsewhere. Links below a root are never followed.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use crate::archive::index::{MAX_PATH_BYTES, Metadata, RootKind, Xattrs, file_name, path_order};
use crate::paths::{Decision, PathList};

/// What was found.
#[derive(Debug)]
pub struct Tree {
    /// One for each line of the path list that is no exclude.
    pub roots: Vec<TreeRoot>,
    /// The members, those of one root together, in the order of [`path_order`].
    pub nodes: Vec<Node>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

/// One path of the list.
#[derive(Debug)]
pub struct TreeRoot {
    /// As the user gave it.
    pub given: String,
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

/// What tells whether a file is still the one that was seen before. Any write changes the ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Signature {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Its length.
    pub size: u64,
    /// Last change of its content, in nanoseconds since 1970, as far as that reaches.
    pub mtime_nanos: i64,
    /// Last change of content or attributes, likewise. Nobody can set it.
    pub ctime_nanos: i64,
    /// Half a KiB each; fewer than `size` takes mean holes.
    pub blocks: u64,
}

/// File systems tell times no finer than a tick of the kernel: a file that was changed within the same tick after it
/// was noted has the ctime that was noted. The slowest tick is 10 ms.
const TICK_NANOS: i64 = 20_000_000;
/// Some file systems and protocols know whole seconds only, and every second one at that.
const COARSE_NANOS: i64 = 2_000_000_000;

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
    /// It could not be read.
    Unreadable(String),
    /// It changed again and again while it was read; what is saved is one consistent reading, maybe cut short.
    Changing,
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Special(kind) => write!(f, "is a {kind}"),
            Self::PathTooLong => f.write_str("its path is longer than 4,096 bytes"),
            Self::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Self::Changing => f.write_str("kept changing while it was read"),
        }
    }
}

impl Signature {
    /// From what `fstat` tells.
    pub fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_nanos: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime_nanos: nanos(stat.st_ctime, stat.st_ctime_nsec),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        }
    }

    /// Whether a file that had this signature at `noted_nanos`, by the clock that gives files their ctime, and has it
    /// still, cannot have been written to in between: the "racily clean" rule of `git`.
    pub fn is_settled(&self, noted_nanos: i64) -> bool {
        let tick = if self.ctime_nanos % 1_000_000_000 == 0 { COARSE_NANOS } else { TICK_NANOS };
        self.ctime_nanos.checked_add(tick).is_some_and(|settled| settled <= noted_nanos)
    }

    /// Whether the file has holes worth keeping.
    pub fn is_sparse(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }
}

fn nanos(seconds: i64, nanos: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(nanos).unwrap_or(0))
}

/// Mode, times and owner from what `fstat` tells.
pub fn metadata(stat: &Stat) -> Metadata {
    Metadata {
        mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        mtime_seconds: stat.st_mtime,
        mtime_nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        uid: stat.st_uid,
        gid: stat.st_gid,
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

    /// Where a node is, for messages.
    pub fn path_of(&self, node: &Node) -> PathBuf {
        join(&self.roots[node.root as usize].base, &node.path)
    }

    /// Bytes of all regular files, holes included.
    pub fn file_bytes(&self) -> u64 {
        self.nodes.iter().filter(|node| node.kind == NodeKind::File).map(|node| node.stat.size).sum()
    }
}

fn join(base: &std::path::Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    if path.is_empty() { base.to_owned() } else { base.join(std::ffi::OsStr::from_bytes(path)) }
}

/// Scans all roots of `paths` with so many threads.
pub fn scan(paths: &PathList, threads: usize) -> Tree {
    let queue = Queue { state: Mutex::default(), changed: Condvar::new() };
    let mut roots = Vec::new();
    let mut found = Found::default();
    for (number, root) in (0u32..).zip(paths.roots()) {
        let (kind, directory) = match open_root(number, root, paths, &mut found) {
            Ok(opened) => opened,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    found.skip(root.base.clone(), SkipReason::Unreadable(error.to_string()));
                }
                (RootKind::Nothing, None)
            }
        };
        if let Some(directory) = &directory
            && kind != RootKind::File
        {
            let job = Job {
                root: number,
                path: Box::default(),
                parent: directory.clone(),
                opened: true,
                saved: kind == RootKind::Directory,
            };
            queue.push([job]);
        }
        roots.push(TreeRoot { given: root.given.clone(), kind, base: base_of(root, kind), directory, nodes: 0..0 });
    }
    let found = Mutex::new(found);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut mine = Found::default();
                while let Some(job) = queue.pop() {
                    let children = scan_directory(&job, paths, &mut mine);
                    queue.finish(children);
                }
                found.lock().unwrap_or_else(PoisonError::into_inner).merge(mine);
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    arrange(roots, found)
}

#[derive(Default)]
struct Found {
    nodes: Vec<Node>,
    skipped: Vec<Skipped>,
}

impl Found {
    fn skip(&mut self, path: PathBuf, reason: SkipReason) {
        self.skipped.push(Skipped { path, reason });
    }

    fn merge(&mut self, mut other: Self) {
        self.nodes.append(&mut other.nodes);
        self.skipped.append(&mut other.skipped);
    }
}

/// A directory to be read.
struct Job {
    root: u32,
    path: Box<[u8]>,
    /// The directory above, or with `opened` the directory itself.
    parent: Arc<OwnedFd>,
    opened: bool,
    /// Whether it is a member, or only on the way to one.
    saved: bool,
}

/// Directories still to be read, deepest first, which bounds how many are open.
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: Vec<Job>,
    running: usize,
}

impl Queue {
    fn push(&self, jobs: impl IntoIterator<Item = Job>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.extend(jobs);
    }

    /// The next directory; `None` when all have been read.
    fn pop(&self) -> Option<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.jobs.pop() {
                state.running += 1;
                return Some(job);
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, children: Vec<Job>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running -= 1;
        state.jobs.extend(children);
        drop(state);
        self.changed.notify_all();
    }
}

fn base_of(root: &crate::paths::Root, kind: RootKind) -> PathBuf {
    match kind {
        RootKind::File => root.base.parent().map_or_else(|| root.base.clone(), PathBuf::from),
        _ => root.base.clone(),
    }
}

/// Opens what a line names. The path itself may lead through links: it is the user's own.
fn open_root(
    number: u32,
    root: &crate::paths::Root,
    paths: &PathList,
    found: &mut Found,
) -> io::Result<(RootKind, Option<Arc<OwnedFd>>)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(&root.base, flags, Mode::empty()) {
        Ok(directory) => match paths.decide(number as usize, b"", true) {
            Decision::Include => Ok((RootKind::Directory, Some(Arc::new(directory)))),
            Decision::DescendOnly => Ok((RootKind::Pattern, Some(Arc::new(directory)))),
            Decision::Exclude => Ok((RootKind::Nothing, None)),
        },
        // A file; or a link that leads nowhere, or into a loop, which is saved as the link that it is.
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::NOENT | rustix::io::Errno::LOOP)
            if root.base.symlink_metadata().is_ok_and(|found| !found.is_dir()) =>
        {
            if paths.decide(number as usize, b"", false) != Decision::Include {
                return Ok((RootKind::Nothing, None));
            }
            let (Some(base), Some(name)) = (root.base.parent(), root.base.file_name()) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            let above = Arc::new(rustix::fs::open(base, flags, Mode::empty())?);
            let name = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(name))?;
            let job = Job { root: number, path: Box::default(), parent: above.clone(), opened: true, saved: true };
            let stat = rustix::fs::statat(&above, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let before = found.nodes.len();
            add_leaf(&job, name.as_bytes().into(), &name, &above, &stat, base, found);
            let kind = if found.nodes.len() > before { RootKind::File } else { RootKind::Nothing };
            Ok((kind, Some(above)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads one directory; returns the directories in it.
fn scan_directory(job: &Job, paths: &PathList, found: &mut Found) -> Vec<Job> {
    let place = || join(&paths.roots()[job.root as usize].base, &job.path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = if job.opened {
        job.parent.clone()
    } else {
        match rustix::fs::openat(&job.parent, file_name(&job.path), flags, Mode::empty()) {
            Ok(directory) => Arc::new(directory),
            Err(error) => {
                found.skip(place(), SkipReason::Unreadable(error.to_string()));
                // Its own entry is kept, empty, as tar does.
                if let Ok(stat) = rustix::fs::statat(&job.parent, file_name(&job.path), AtFlags::SYMLINK_NOFOLLOW)
                    && job.saved
                    && FileType::from_raw_mode(stat.st_mode).is_dir()
                {
                    found.nodes.push(node(job, job.path.clone(), &stat, NodeKind::Directory(Xattrs::new())));
                }
                return Vec::new();
            }
        }
    };
    let mut children = Vec::new();
    let before = found.nodes.len();
    let read = rustix::fs::Dir::read_from(&directory).and_then(|entries| {
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = match job.path.is_empty() {
                true => name.to_bytes().into(),
                false => [&job.path, &b"/"[..], name.to_bytes()].concat().into_boxed_slice(),
            };
            match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => children.extend(add(job, path, name, &directory, &stat, paths, found)),
                Err(rustix::io::Errno::NOENT) => {} // gone since it was listed
                Err(error) => {
                    found
                        .skip(place().join(name.to_string_lossy().as_ref()), SkipReason::Unreadable(error.to_string()));
                }
            }
        }
        Ok(())
    });
    if let Err(error) = read {
        found.skip(place(), SkipReason::Unreadable(error.to_string()));
    }
    // A directory on the way to a match is a member if the match was found: arrange() drops it otherwise.
    let is_member = job.saved || !job.path.is_empty();
    match rustix::fs::fstat(&directory) {
        Ok(stat) if is_member => {
            let xattrs = read_xattrs(&directory).unwrap_or_default();
            let mut own = node(job, job.path.clone(), &stat, NodeKind::Directory(xattrs));
            if !job.saved {
                own.stat.inode = 0; // marks it as droppable
            }
            found.nodes.insert(before, own);
        }
        _ => {}
    }
    children
}

/// Adds what a directory entry is; returns it as a job if it is a directory to be entered.
fn add(
    job: &Job,
    path: Box<[u8]>,
    name: &CStr,
    directory: &Arc<OwnedFd>,
    stat: &Stat,
    paths: &PathList,
    found: &mut Found,
) -> Option<Job> {
    let base = &paths.roots()[job.root as usize].base;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let decision = paths.decide(job.root as usize, &path, kind.is_dir());
    if decision == Decision::Exclude {
        return None;
    }
    if path.len() > MAX_PATH_BYTES {
        found.skip(join(base, &path), SkipReason::PathTooLong);
        return None;
    }
    if kind.is_dir() {
        let saved = decision == Decision::Include;
        return Some(Job { root: job.root, path, parent: directory.clone(), opened: false, saved });
    }
    if decision == Decision::DescendOnly {
        return None;
    }
    add_leaf(job, path, name, directory, stat, base, found);
    None
}

/// Adds what is no directory. `job` holds the directory that it is in.
fn add_leaf(
    job: &Job,
    path: Box<[u8]>,
    name: &CStr,
    directory: &OwnedFd,
    stat: &Stat,
    base: &std::path::Path,
    found: &mut Found,
) {
    let place = || join(base, &path);
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Symlink => match rustix::fs::readlinkat(directory, name, Vec::new()) {
            Ok(target) => NodeKind::Symlink(target.into_bytes().into()),
            Err(error) => return found.skip(place(), SkipReason::Unreadable(error.to_string())),
        },
        FileType::Fifo => return found.skip(place(), SkipReason::Special("FIFO")),
        FileType::Socket => return found.skip(place(), SkipReason::Special("socket")),
        _ => return found.skip(place(), SkipReason::Special("device")),
    };
    found.nodes.push(node(job, path, stat, kind));
}

fn node(job: &Job, path: Box<[u8]>, stat: &Stat, kind: NodeKind) -> Node {
    Node { root: job.root, path, stat: Signature::of(stat), meta: metadata(stat), kind }
}

/// The extended attributes in the `user.` namespace of an open file, sorted by name. None where the file system has
/// none.
pub fn read_xattrs(file: &OwnedFd) -> io::Result<Xattrs> {
    let length = match rustix::fs::flistxattr_query(file) {
        Ok(0) | Err(rustix::io::Errno::NOTSUP) => return Ok(Xattrs::new()),
        Ok(length) => length,
        Err(error) => return Err(error.into()),
    };
    let mut names = vec![0; length + 1024];
    let length = rustix::fs::flistxattr(file, &mut names[..])?;
    let mut xattrs = Xattrs::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| name.starts_with(b"user.")) {
        let mut value = vec![0; crate::archive::index::MAX_XATTR_BYTES];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                xattrs.push((name.into(), value.into()));
            }
            Err(rustix::io::Errno::NODATA) => {} // removed meanwhile
            Err(error) => return Err(error.into()),
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

/// Sorts the nodes, gives them to their roots, and finds hard links.
fn arrange(mut roots: Vec<TreeRoot>, found: Found) -> Tree {
    let Found { mut nodes, mut skipped } = found;
    nodes.sort_unstable_by(|a, b| a.root.cmp(&b.root).then_with(|| path_order(&a.path, &b.path)));
    drop_empty_ways(&mut nodes);
    let mut first_names: HashMap<(u64, u64), u32> = HashMap::new();
    for (number, node) in (0u32..).zip(&mut nodes) {
        if node.kind != NodeKind::File {
            continue;
        }
        match first_names.entry((node.stat.device, node.stat.inode)) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(number);
            }
            std::collections::hash_map::Entry::Occupied(first) => node.kind = NodeKind::HardLink(*first.get()),
        }
    }
    let mut start = 0;
    for (number, root) in (0u32..).zip(&mut roots) {
        let count = nodes[start..].partition_point(|node| node.root == number);
        root.nodes = start..start + count;
        start += count;
    }
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Tree { roots, nodes, skipped }
}

/// Drops directories that were entered only to look for matches, where none was found.
fn drop_empty_ways(nodes: &mut Vec<Node>) {
    let is_way = |node: &Node| node.stat.inode == 0 && matches!(node.kind, NodeKind::Directory(_));
    let mut keep = vec![true; nodes.len()];
    let mut next_kept: Option<usize> = None;
    for i in (0..nodes.len()).rev() {
        if is_way(&nodes[i]) {
            let is_used = next_kept.is_some_and(|next| {
                let below = nodes[next].path.strip_prefix(&nodes[i].path[..]);
                nodes[next].root == nodes[i].root && below.is_some_and(|rest| rest.first() == Some(&b'/'))
            });
            keep[i] = is_used;
        }
        if keep[i] {
            next_kept = Some(i);
        }
    }
    let mut keep = keep.iter();
    nodes.retain(|_| keep.next().copied().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settled_when_its_ctime_is_clearly_past() {
        let check = |ctime_nanos: i64, noted_nanos: i64, expected: bool| {
            let signature = Signature { ctime_nanos, ..Signature::default() };
            assert_eq!(signature.is_settled(noted_nanos), expected, "{ctime_nanos} at {noted_nanos}");
        };
        let now = 1_700_000_000_123_456_789;
        check(now, now, false);
        check(now, now + TICK_NANOS - 1, false);
        check(now, now + TICK_NANOS, true);
        // From the future: the clock was set back, or is another one.
        check(now + 1, now, false);
        // Whole seconds may be all that the file system knows.
        let second = 1_700_000_000_000_000_000;
        check(second, second + COARSE_NANOS - 1, false);
        check(second, second + COARSE_NANOS, true);
        // Hostile numbers.
        check(i64::MAX, i64::MAX, false);
        check(i64::MIN, i64::MIN, false);
        check(now, i64::MIN, false);
    }
}
