//! What changed from one tree to the next, and below which directories.
//!
//! People ask this of a cache that grows: a directory that is new in every entry is usually one that should be excluded.
//! Pure: two indexes in, numbers out.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::index::{Chunk, Content, File, Index, parent};

/// Files of the newer tree against those of the older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that only the newer tree has.
    pub added: u64,
    /// Files whose content differs.
    pub changed: u64,
    /// Files that only the older tree has.
    pub removed: u64,
}

/// How much of a tree is new, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewBytes {
    /// Bytes of new chunks, each counted once however many files hold it.
    pub bytes: u64,
    /// Files with new chunks.
    pub files: u64,
    /// The same by directory, the largest first. They do not overlap, and together they are the whole.
    pub directories: Vec<NewIn>,
}

/// What is new below one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIn {
    /// The directory: a path as it was given, and what is below it. It ends in `/*` for the files right in a directory
    /// whose subdirectories have rows of their own.
    pub path: String,
    /// Bytes of new chunks.
    pub bytes: u64,
    /// Files with new chunks.
    pub files: u64,
}

/// A file, and how much of it is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSize {
    /// The path as it was given, and what is below it.
    pub path: String,
    /// Its length without holes.
    pub bytes: u64,
    /// Bytes of its new chunks.
    pub new_bytes: u64,
}

/// How many regular files a tree has, each hard link once.
pub fn file_count(index: &Index) -> u64 {
    files(index).count() as u64
}

/// Compares two trees by the content of their files. Paths that were given differently have no file in common.
pub fn changes(newer: &Index, older: &Index) -> Changes {
    let mut before: HashMap<(&str, &[u8]), &File> =
        files(older).map(|(root, path, file)| ((root, path), file)).collect();
    let mut changes = Changes::default();
    for (root, path, file) in files(newer) {
        match before.remove(&(root, path)) {
            None => changes.added += 1,
            Some(old) if !is_same(newer.chunks_of(file), older.chunks_of(old)) => changes.changed += 1,
            Some(_) => {}
        }
    }
    changes.removed = before.len() as u64;
    changes
}

/// A file that is not the same in both trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path as it was given, and what is below it.
    pub path: String,
    /// What has happened to it.
    pub change: Change,
    /// Its length, holes included; of a file that was removed, what it was.
    pub bytes: u64,
    /// Bytes of chunks that the older tree does not have anywhere.
    pub new_bytes: u64,
}

/// What has happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the newer tree has it.
    Added,
    /// Its content differs.
    Changed,
    /// Only the older tree has it.
    Removed,
}

/// The files that are not the same in both trees, in the order of the newer one; those that were removed at the end.
pub fn differences(newer: &Index, older: &Index) -> Vec<Difference> {
    let known: HashSet<_> = older.chunks.iter().map(|chunk| chunk.hash).collect();
    let mut before: BTreeMap<(&str, &[u8]), &File> =
        files(older).map(|(root, path, file)| ((root, path), file)).collect();
    let mut found = Vec::new();
    for (root, path, file) in files(newer) {
        let chunks = newer.chunks_of(file);
        let change = match before.remove(&(root, path)) {
            None => Change::Added,
            Some(old) if old.size == file.size && is_same(chunks, older.chunks_of(old)) => continue,
            Some(_) => Change::Changed,
        };
        let new = chunks.iter().filter(|chunk| !known.contains(&chunk.hash)).map(|chunk| u64::from(chunk.length));
        found.push(Difference { path: join([root.as_bytes(), path]), change, bytes: file.size, new_bytes: new.sum() });
    }
    let removed = before.into_iter().map(|((root, path), file)| Difference {
        path: join([root.as_bytes(), path]),
        change: Change::Removed,
        bytes: file.size,
        new_bytes: 0,
    });
    found.extend(removed);
    found
}

fn is_same(new: &[Chunk], old: &[Chunk]) -> bool {
    new.len() == old.len() && new.iter().zip(old).all(|(new, old)| new.hash == old.hash)
}

/// What is new in a tree: the chunks that `is_new` picks. At most `rows` directories, unless there are more paths.
pub fn new_bytes(index: &Index, rows: usize, is_new: impl Fn(&Chunk) -> bool) -> NewBytes {
    let mut seen = HashSet::new();
    let mut leaves: BTreeMap<Vec<&[u8]>, ChurnSum> = BTreeMap::new();
    let mut total = ChurnSum::default();
    for (root, path, file) in files(index) {
        let new = index.chunks_of(file).iter().filter(|chunk| is_new(chunk) && seen.insert(chunk.hash));
        let bytes: u64 = new.map(|chunk| u64::from(chunk.length)).sum();
        if bytes > 0 {
            let below = parent(path).into_iter().flat_map(|dir| dir.split(|&byte| byte == b'/'));
            let directory = std::iter::once(root.as_bytes()).chain(below).collect();
            let sum = ChurnSum { bytes, files: 1 };
            leaves.entry(directory).or_default().add(sum);
            total.add(sum);
        }
    }
    let leaves: Vec<Leaf<'_>> = leaves.into_iter().collect();
    NewBytes { bytes: total.bytes, files: total.files, directories: directories(&leaves, rows) }
}

/// The `count` largest files of a tree.
pub fn largest_files(index: &Index, count: usize, is_new: impl Fn(&Chunk) -> bool) -> Vec<FileSize> {
    let length = |chunks: &[Chunk]| chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>();
    let mut all: Vec<(u64, &str, &[u8], &File)> =
        files(index).map(|(root, path, file)| (length(index.chunks_of(file)), root, path, file)).collect();
    all.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    all.truncate(count);
    let size = |(bytes, root, path, file): (u64, &str, &[u8], &File)| FileSize {
        path: join([root.as_bytes(), path]),
        bytes,
        new_bytes: index.chunks_of(file).iter().filter(|chunk| is_new(chunk)).map(|c| u64::from(c.length)).sum(),
    };
    all.into_iter().map(size).collect()
}

/// The regular files of a tree, each with its root and its path below that.
fn files(index: &Index) -> impl Iterator<Item = (&str, &[u8], &File)> {
    let roots = index.roots.iter().zip(index.root_ranges());
    roots.flat_map(|(root, range)| {
        index.members[range].iter().filter_map(|member| match &member.content {
            Content::File(file) => Some((root.given.as_str(), &*member.path, file)),
            Content::Directory | Content::Symlink(_) | Content::HardLink(_) => None,
        })
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct ChurnSum {
    bytes: u64,
    files: u64,
}

impl ChurnSum {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.files += other.files;
    }
}

/// A directory by its components, the first of which is the path as given, and what is new right in it.
type Leaf<'a> = (Vec<&'a [u8]>, ChurnSum);

/// Leaves that have their first `depth` components in common.
struct LeafGroup<'l, 'a> {
    leaves: &'l [Leaf<'a>],
    depth: usize,
    sum: ChurnSum,
}

impl<'l, 'a> LeafGroup<'l, 'a> {
    fn new(leaves: &'l [Leaf<'a>], depth: usize) -> Self {
        let mut sum = ChurnSum::default();
        leaves.iter().for_each(|(_, leaf)| sum.add(*leaf));
        Self { leaves, depth, sum }
    }

    /// Whether these are the files right in one directory.
    fn is_leaf(&self) -> bool {
        self.leaves.iter().all(|(path, _)| path.len() <= self.depth)
    }

    /// One component deeper. The leaf of the directory itself sorts first and is a group of its own.
    fn split(&self) -> Vec<Self> {
        let same = |a: &Leaf<'a>, b: &Leaf<'a>| a.0.get(self.depth) == b.0.get(self.depth);
        let deeper = |leaves: &'l [Leaf<'a>]| {
            let is_itself = leaves.iter().all(|(path, _)| path.len() == self.depth);
            Self::new(leaves, if is_itself { self.depth } else { self.depth + 1 })
        };
        self.leaves.chunk_by(same).map(deeper).collect()
    }

    fn row(&self, is_split: bool) -> NewIn {
        let path = join(self.leaves.first().into_iter().flat_map(|(path, _)| path.iter().take(self.depth).copied()));
        let path = if is_split { format!("{}/*", path.trim_end_matches('/')) } else { path };
        NewIn { path, bytes: self.sum.bytes, files: self.sum.files }
    }
}

/// Goes deeper where most is, as long as there are rows to show it in: three rows of 1 GiB in all say more than one.
fn directories(leaves: &[Leaf<'_>], rows: usize) -> Vec<NewIn> {
    let mut open = LeafGroup::new(leaves, 0).split();
    let mut shown = Vec::new();
    while let Some(largest) = (0..open.len()).max_by_key(|&n| open[n].sum.bytes) {
        let group = open.swap_remove(largest);
        let parts = if group.is_leaf() { Vec::new() } else { group.split() };
        if parts.is_empty() || open.len() + shown.len() + parts.len() > rows {
            shown.push(group.row(false));
            continue;
        }
        let has_siblings = parts.len() > 1;
        for part in parts {
            if part.is_leaf() && part.depth == group.depth && has_siblings {
                shown.push(part.row(true));
            } else {
                open.push(part);
            }
        }
    }
    shown.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    shown
}

/// A path of these components. A root may be `/` or end in a slash.
/// A path of these components; an empty one adds nothing.
pub fn join<'a>(components: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut path = String::new();
    for component in components.into_iter().filter(|component| !component.is_empty()) {
        if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(&String::from_utf8_lossy(component));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::index::{IndexRoot, Member, Metadata, RootKind};
    use super::*;
    use crate::chunk::{ChunkHash, Cutter};

    /// A tree of files, each one chunk with this text repeated to this length.
    fn tree(roots: &[(&str, &[(&str, u32)])]) -> Index {
        let cutter = Cutter { whole_bytes: 1 << 20, min_bytes: 1, avg_bytes: 1, max_bytes: 1 << 20 };
        let (roots_of, mut members, mut chunks) = (roots, Vec::new(), Vec::new());
        let mut roots = Vec::new();
        for (given, files) in roots_of {
            for &(path, length) in *files {
                let at = u32::try_from(chunks.len()).unwrap();
                let hash = ChunkHash::of(&length.to_le_bytes());
                chunks.push(Chunk { hash, length, frame: 0, offset: 0 });
                let content = Content::File(File { size: length.into(), chunks: at..at + 1, extents: None });
                let (path, meta) = (path.as_bytes().into(), Metadata::default());
                members.push(Member { path, meta, xattrs: Vec::new(), content });
            }
            let members = u32::try_from(files.len()).unwrap();
            roots.push(IndexRoot { given: (*given).to_owned(), kind: RootKind::Directory, members });
        }
        Index { writer: String::new(), cutter, roots, frames: Vec::new(), members, chunks }
    }

    fn rows(index: &Index, count: usize) -> Vec<(String, u64, u64)> {
        let new = new_bytes(index, count, |_| true);
        assert_eq!(new.directories.iter().map(|row| row.bytes).sum::<u64>(), new.bytes);
        assert_eq!(new.directories.iter().map(|row| row.files).sum::<u64>(), new.files);
        new.directories.into_iter().map(|row| (row.path, row.bytes, row.files)).collect()
    }

    #[test]
    fn changes_are_counted_by_content() {
        let old = tree(&[("a", &[("kept", 1), ("other", 2), ("gone", 3)]), ("b", &[("x", 4)])]);
        let new = tree(&[("a", &[("kept", 1), ("other", 5), ("new", 3)]), ("c", &[("x", 4)])]);
        assert_eq!(changes(&new, &old), Changes { added: 2, changed: 1, removed: 2 });
        assert_eq!(changes(&new, &new), Changes::default());
    }

    #[test]
    fn a_chunk_that_several_files_hold_is_new_once() {
        let new = new_bytes(&tree(&[("a", &[("one", 7), ("two", 7), ("three", 9)])]), 8, |_| true);
        assert_eq!((new.bytes, new.files), (16, 2));
        let new = new_bytes(&tree(&[("a", &[("one", 7), ("two", 9)])]), 8, |chunk| chunk.length == 9);
        assert_eq!((new.bytes, new.files), (9, 1));
    }

    #[test]
    fn directories_are_told_apart_where_most_is_new() {
        let index = tree(&[
            ("target", &[("debug/deps/a", 100), ("debug/deps/b", 90), ("debug/build/c", 50), ("debug/d", 3), ("e", 1)]),
            ("~/.cargo", &[("registry/f", 40)]),
        ]);
        let row = |path: &str, bytes, files| (path.to_owned(), bytes, files);
        assert_eq!(rows(&index, 2), [row("target", 244, 5), row("~/.cargo/registry", 40, 1)]);
        assert_eq!(
            rows(&index, 8),
            [
                row("target/debug/deps", 190, 2),
                row("target/debug/build", 50, 1),
                row("~/.cargo/registry", 40, 1),
                row("target/debug/*", 3, 1),
                row("target/*", 1, 1),
            ]
        );
    }

    #[test]
    fn more_paths_than_rows_are_all_shown() {
        let index = tree(&[("a", &[("x/y", 1)]), ("b", &[("x/y", 2)]), ("/", &[("x", 3)])]);
        assert_eq!(rows(&index, 1).len(), 3);
        assert_eq!(rows(&tree(&[]), 8), []);
    }

    #[test]
    fn the_largest_files_come_first() {
        let index = tree(&[("/", &[("small", 1), ("large", 9)]), ("b/", &[("medium", 5)])]);
        let files = largest_files(&index, 2, |chunk| chunk.length < 9);
        let file = |path: &str, bytes, new_bytes| FileSize { path: path.to_owned(), bytes, new_bytes };
        assert_eq!(files, [file("/large", 9, 0), file("b/medium", 5, 5)]);
    }
}
