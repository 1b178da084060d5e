//! A place in a target.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A root, and a path below it: checked, relative, empty for the root itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'p> {
    /// Number of its line in the path list.
    pub(crate) root: usize,
    /// The path below it.
    pub(crate) path: &'p [u8],
}

/// The path of `name` in the directory `path`.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// Whether a path lies below a directory.
pub(super) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    match path.strip_prefix(directory) {
        Some(rest) => directory.is_empty() || rest.first() == Some(&b'/'),
        None => false,
    }
}

/// Where `path` below `base` is, for messages.
pub(crate) fn full_path(base: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { base.to_owned() } else { base.join(std::ffi::OsStr::from_bytes(path)) }
}
