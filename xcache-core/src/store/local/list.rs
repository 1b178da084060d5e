//! Listing a directory store: a walk in a fixed order that can be taken up again after any file.
//!
//! Memory is bounded: of each directory on the way at most [`WINDOW`] names are held, the smallest ones after the
//! place where the walk stands; a larger directory is read again for the next window. A walk that goes on to a next
//! page is kept, so that a page costs no more than its share; if it is dropped (too many walks at once), the page
//! token, which is the path of the last file, is enough to find the place again.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{self, Dir, FileType};
use rustix::io::Errno;

use super::super::unique::is_maker_dead;
use super::super::{ListPage, ListedObject, ObjectName};
use super::file::{is_regular, meta, status};
use super::path::{self, extend_name, open_directory};

/// At most so many names are held of one directory.
const WINDOW: usize = 65_536;

/// Names on a page, as on S3.
const PAGE_NAMES: usize = 1000;

/// A listing under way.
#[derive(Debug)]
pub(super) struct Walk {
    prefix: String,
    /// Open directories from where the walk began down to where it stands.
    stack: Vec<OpenLevel>,
    window: usize,
}

#[derive(Debug)]
struct OpenLevel {
    directory: OwnedFd,
    /// The part of the object name that this directory stands for.
    so_far: String,
    /// Names not visited yet, the next one last.
    pending: Vec<(String, bool)>,
    /// The last name of a window that was not the end of the directory.
    window_end: Option<String>,
    /// What the walk is in or was at last, for the token.
    current: String,
}

impl Walk {
    /// Begins the walk of all names with `prefix`, after the file of `token` (its pieces below the root).
    pub(super) fn begin(root: &Path, prefix: &str, token: Option<&[String]>) -> io::Result<Option<Self>> {
        Self::begin_with(root, prefix, token, WINDOW)
    }

    fn begin_with(root: &Path, prefix: &str, token: Option<&[String]>, window: usize) -> io::Result<Option<Self>> {
        let mut walk = Self { prefix: prefix.to_owned(), stack: Vec::new(), window };
        let top = match path::open_root(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            top => top?,
        };
        let mut resume = token.unwrap_or_default().iter();
        let mut after = resume.next();
        walk.enter(top, String::new(), after.map(String::as_str))?;
        // Down to the directory that the token's file is in, as far as it is still there.
        while let Some(piece) = after {
            let next = resume.next();
            let Some(level) = walk.stack.last_mut() else { break };
            if next.is_none() {
                break;
            }
            let name = extend_name(&level.so_far, piece, true);
            let Some(directory) = open_if_there(&level.directory, piece)? else { break };
            level.current.clone_from(piece);
            walk.enter(directory, name, next.map(String::as_str))?;
            after = next;
        }
        Ok(Some(walk))
    }

    fn enter(&mut self, directory: OwnedFd, so_far: String, after: Option<&str>) -> io::Result<()> {
        let mut level = OpenLevel { directory, so_far, pending: Vec::new(), window_end: None, current: String::new() };
        level.fill(after, &self.prefix, self.window)?;
        self.stack.push(level);
        Ok(())
    }

    /// The next page, and whether the walk goes on; the token stands in the page.
    pub(super) fn page(&mut self) -> io::Result<ListPage> {
        let mut objects = Vec::new();
        while objects.len() < PAGE_NAMES {
            match self.next()? {
                Some(object) => objects.push(object),
                None => return Ok(ListPage { objects, next: None }),
            }
        }
        let token = self.stack.iter().map(|level| level.current.as_str()).collect::<Vec<_>>().join("/");
        Ok(ListPage { objects, next: Some(token) })
    }

    fn next(&mut self) -> io::Result<Option<ListedObject>> {
        loop {
            let Some(level) = self.stack.last_mut() else { return Ok(None) };
            let Some((name, is_directory)) = level.pending.pop() else {
                match level.window_end.take() {
                    Some(end) => level.fill(Some(&end), &self.prefix, self.window)?,
                    None => {
                        self.stack.pop();
                    }
                }
                continue;
            };
            let full = extend_name(&level.so_far, &name, is_directory);
            if is_directory {
                // Removed since it was read: nothing to list.
                if let Some(directory) = open_if_there(&level.directory, &name)? {
                    level.current = name;
                    self.enter(directory, full, None)?;
                }
                continue;
            }
            let stat = match status(&level.directory, &name) {
                Ok(stat) if is_regular(&stat) => stat,
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            level.current = name;
            if let Ok(name) = ObjectName::new(full) {
                return Ok(Some(ListedObject { name, meta: meta(&stat) }));
            }
        }
    }
}

impl OpenLevel {
    /// Reads the smallest names after `after` that may lead to one with the prefix.
    fn fill(&mut self, after: Option<&str>, prefix: &str, window: usize) -> io::Result<()> {
        if let Some(segment) = self.only_way(prefix) {
            let is_open = after.is_none_or(|after| segment > after);
            self.pending = if is_open { vec![(segment.to_owned(), true)] } else { Vec::new() };
            return Ok(());
        }
        let mut smallest: BTreeSet<(String, bool)> = BTreeSet::new();
        let mut is_cut = false;
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") || after.is_some_and(|after| name <= after) {
                continue;
            }
            if smallest.len() == window && smallest.last().is_some_and(|(largest, _)| name > largest.as_str()) {
                is_cut = true;
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => match status(&self.directory, name) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                },
                kind => kind,
            };
            let is_directory = match kind {
                FileType::Directory => true,
                FileType::RegularFile => false,
                _ => continue,
            };
            let full = extend_name(&self.so_far, name, is_directory);
            let is_wanted = full.starts_with(prefix) || (is_directory && prefix.starts_with(&full));
            if !is_wanted || path::is_private(full.trim_end_matches('/')) {
                continue;
            }
            smallest.insert((name.to_owned(), is_directory));
            if smallest.len() > window {
                smallest.pop_last();
                is_cut = true;
            }
        }
        self.window_end = if is_cut { smallest.last().map(|(name, _)| name.clone()) } else { None };
        self.pending = smallest.into_iter().rev().collect();
        Ok(())
    }
}

impl OpenLevel {
    /// The one directory that the prefix leads into from here, which spares reading this one.
    fn only_way<'a>(&self, prefix: &'a str) -> Option<&'a str> {
        let (segment, _) = prefix.strip_prefix(&self.so_far)?.split_once('/')?;
        let is_piece = path::pieces(segment).is_some_and(|pieces| pieces.len() == 1);
        (is_piece && !path::is_private(&format!("{}{segment}", self.so_far))).then_some(segment)
    }
}

/// Opens a directory that may have been removed, or replaced by something else, meanwhile.
fn open_if_there(parent: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    match open_directory(parent, name) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Removes what writers have left in a private folder: files of dead processes, and those last written before `before`
/// (Unix seconds), whoever made them.
pub(super) fn remove_stale(directory: &OwnedFd, before: i64) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if let Ok(stat) = status(directory, name)
            && is_regular(&stat)
            && (stat.st_mtime < before || is_maker_dead(name))
        {
            let _ = fs::unlinkat(directory, name, fs::AtFlags::empty());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_in_small_windows_sees_each_name_once_wherever_it_is_taken_up() {
        let root = tempfile::tempdir().unwrap();
        let mut expected = BTreeSet::new();
        for directory in ["", "a/", "a/b/", "c/", "a-b/"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
            for number in 0..7 {
                let name = format!("{directory}f{number}");
                std::fs::write(root.path().join(&name), "").unwrap();
                expected.insert(name);
            }
        }
        let mut walk = Walk::begin_with(root.path(), "", None, 2).unwrap().unwrap();
        let mut order = Vec::new();
        while let Some(object) = walk.next().unwrap() {
            order.push(object.name.to_string());
        }
        assert_eq!(order.iter().cloned().collect::<BTreeSet<_>>(), expected);
        assert_eq!(order.len(), expected.len());
        for (at, name) in order.iter().enumerate() {
            let token = path::pieces(name).unwrap();
            let mut walk = Walk::begin_with(root.path(), "", Some(&token), 3).unwrap().unwrap();
            let next = walk.next().unwrap().map(|object| object.name.to_string());
            assert_eq!(next.as_ref(), order.get(at + 1), "after {name}");
        }
    }
}
