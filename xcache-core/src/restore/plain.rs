//! Restoring an object without an index: any `.tar.zst`, such as those that `tar | zstd` made.
//!
//! The same safety as with an index: nothing outside the root, nothing half-written, everything taken back on
//! failure. What is missing is the knowledge of what lies where, so it is read from the first byte to the last.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use crossbeam_channel::{Receiver, Sender, bounded};
use futures_util::{StreamExt as _, TryStreamExt as _};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use tokio::sync::Notify;

use super::fetch::PART_BYTES;
use super::walker::Walker;
use super::write::{set_attributes, times};
use super::{Error, Failed, Options, Restored};
use crate::archive::index::{Content, Member, Metadata, Xattrs, check_path, file_name, parent};
use crate::archive::{self};
use crate::paths::PathList;
use crate::store::{ETag, ObjectName, Store};
use crate::transfer::download::{DownloadLimits, PartRequest, download_part};

/// A zip bomb: no archive of real files shrinks so much.
const MAX_RATIO: u64 = 2000;
/// Small archives may hold this much, whatever their ratio.
const MIN_LIMIT_BYTES: u64 = 1 << 30;
/// Parts fetched ahead of the one being decoded.
const PARTS_AHEAD: usize = 4;
/// What the decoder hands on at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// The object to be restored.
pub struct PlainSource<'a> {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its name.
    pub name: ObjectName,
    /// Which object of that name.
    pub etag: ETag,
    /// Its length.
    pub size: u64,
    /// Bounds of the transfer.
    pub limits: &'a DownloadLimits,
    /// Is told of bytes as they come.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// Restores a `.tar.zst` without an index onto the one root of `paths`. Blocks.
pub fn restore_plain(
    runtime: &tokio::runtime::Handle,
    source: &PlainSource<'_>,
    paths: &PathList,
    options: &Options,
    interrupted: &Notify,
) -> Result<Restored, Failed> {
    let untouched = |error| Failed { error, replaced_files: 0 };
    let [root] = paths.roots() else {
        return Err(untouched(Error::OtherPaths { entry: 1, asked: paths.roots().len() }));
    };
    let base_existed = root.base.is_dir();
    let opened = std::fs::create_dir_all(&root.base).and_then(|()| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Arc::new(rustix::fs::open(&root.base, flags, Mode::empty())?))
    });
    let directory = match opened {
        Ok(directory) => directory,
        Err(source) => return Err(untouched(Error::Write { path: root.base.clone(), source })),
    };
    let mut extractor = Extractor {
        walker: Walker::new(directory.clone()),
        base: &root.base,
        options,
        created: Vec::new(),
        written: HashSet::new(),
        directories: Vec::new(),
        replaced: 0,
        temporary: format!(".xcache-{:016x}", options.run).into_bytes(),
        restored: Restored::default(),
    };
    let umask = rustix::process::umask(Mode::empty());
    let result = stream(runtime, source, interrupted, &mut extractor).and_then(|()| extractor.finish_directories());
    rustix::process::umask(umask);
    match result {
        Ok(()) => {
            extractor.restored.fetched_bytes = source.size;
            extractor.restored.fetched_parts = source.size.div_ceil(PART_BYTES);
            Ok(extractor.restored)
        }
        Err(error) => {
            extractor.roll_back();
            if !base_existed {
                let _ = std::fs::remove_dir(&root.base);
            }
            Err(Failed { error, replaced_files: extractor.replaced })
        }
    }
}

/// Download, decoder and extractor, each in a thread of its own.
fn stream(
    runtime: &tokio::runtime::Handle,
    source: &PlainSource<'_>,
    interrupted: &Notify,
    extractor: &mut Extractor<'_>,
) -> Result<(), Error> {
    let (part_sender, parts) = bounded::<Bytes>(1);
    let (block_sender, blocks) = bounded::<io::Result<Bytes>>(4);
    std::thread::scope(|scope| {
        let size = source.size;
        scope.spawn(move || decode(parts, size, &block_sender));
        let extracting = scope.spawn(move || extractor.extract(Blocks { blocks, now: Bytes::new(), zeros: 0 }));
        let fetched = runtime.block_on(async {
            tokio::select! {
                fetched = fetch(source, part_sender) => fetched,
                () = interrupted.notified() => Err(Error::Interrupted),
            }
        });
        let extracted =
            extracting.join().unwrap_or_else(|_| Err(archive::Error::damaged("archive", "cannot be read").into()));
        // A broken download shows as a broken archive, too: the cause is told.
        fetched.and(extracted)
    })
}

/// Hands the parts on in order.
async fn fetch(source: &PlainSource<'_>, sender: Sender<Bytes>) -> Result<(), Error> {
    let starts = (0..source.size).step_by(usize::try_from(PART_BYTES).unwrap_or(usize::MAX));
    let parts = futures_util::stream::iter(starts.map(|start| {
        let end = (start + PART_BYTES).min(source.size);
        let request =
            PartRequest { name: source.name.clone(), etag: source.etag.clone(), range: start..end, cuts: vec![end] };
        async move {
            let mut part = Bytes::new();
            let sink = |_, bytes| {
                part = bytes;
                std::future::ready(())
            };
            download_part(&*source.store, &request, source.limits, sink).await?;
            (source.progress)(part.len() as u64);
            Ok::<_, Error>(part)
        }
    }));
    let mut parts = parts.buffered(PARTS_AHEAD);
    while let Some(part) = parts.try_next().await? {
        let sender = sender.clone();
        // Waits for the decoder in a thread that may wait.
        let sent = tokio::task::spawn_blocking(move || sender.send(part)).await;
        if !matches!(sent, Ok(Ok(()))) {
            break; // the decoder has stopped and says why
        }
    }
    Ok(())
}

fn decode(parts: Receiver<Bytes>, stored_bytes: u64, blocks: &Sender<io::Result<Bytes>>) {
    let limit = stored_bytes.saturating_mul(MAX_RATIO).max(MIN_LIMIT_BYTES);
    let run = || -> io::Result<()> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(Parts { parts, now: Bytes::new() })?;
        // `zstd --long=31` is read, too; a window costs memory only as far as the content reaches.
        decoder.window_log_max(31)?;
        let mut total = 0u64;
        loop {
            let mut block = Vec::with_capacity(BLOCK_BYTES);
            decoder.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
            total += block.len() as u64;
            if total > limit {
                return Err(io::Error::other(format!(
                    "it decompresses to more than {MAX_RATIO} times its {stored_bytes} bytes"
                )));
            }
            if block.is_empty() || blocks.send(Ok(block.into())).is_err() {
                return Ok(());
            }
        }
    };
    if let Err(error) = run() {
        let _ = blocks.send(Err(error)); // nobody there any more: the extractor failed first
    }
}

/// The parts of the object as one stream.
struct Parts {
    parts: Receiver<Bytes>,
    now: Bytes,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = io::BufRead::fill_buf(self)?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.now.advance(length);
        Ok(length)
    }
}

impl io::BufRead for Parts {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.now.is_empty() {
            self.now = self.parts.recv().unwrap_or_default();
        }
        Ok(&self.now)
    }

    fn consume(&mut self, amount: usize) {
        self.now.advance(amount);
    }
}

/// The decompressed blocks as one stream, which knows whether it ends as a tar stream does.
struct Blocks {
    blocks: Receiver<io::Result<Bytes>>,
    now: Bytes,
    zeros: usize,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.now.is_empty() {
            self.now = self.blocks.recv().unwrap_or_else(|_| Ok(Bytes::new()))?;
        }
        let length = self.now.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.now[..length]);
        self.now.advance(length);
        let trailing = buffer[..length].iter().rev().take_while(|&&byte| byte == 0).count();
        self.zeros = if trailing == length { self.zeros + length } else { trailing };
        Ok(length)
    }
}

struct Extractor<'a> {
    walker: Walker,
    base: &'a std::path::Path,
    options: &'a Options,
    /// What was made where nothing was, and whether it is a directory.
    created: Vec<(Vec<u8>, bool)>,
    /// Everything that came from this archive: a later member of the same name replaces it.
    written: HashSet<Vec<u8>>,
    directories: Vec<Member>,
    replaced: u64,
    temporary: Vec<u8>,
    restored: Restored,
}

impl Extractor<'_> {
    fn extract(&mut self, blocks: Blocks) -> Result<(), Error> {
        let damaged = |error: io::Error| archive::Error::damaged("archive", error.to_string());
        let mut archive = tar::Archive::new(blocks);
        for entry in archive.entries().map_err(damaged)? {
            self.entry(entry.map_err(damaged)?)?;
        }
        let mut blocks = archive.into_inner();
        // The reader stops at the first block of zeros; the mark is two of them.
        let second = crate::archive::header::END_OF_ARCHIVE.len() as u64 / 2;
        io::copy(&mut blocks.by_ref().take(second), &mut io::sink()).map_err(damaged)?;
        if blocks.zeros < crate::archive::header::END_OF_ARCHIVE.len() {
            return Err(archive::Error::damaged("archive", "it ends before its end mark").into());
        }
        // What follows the end mark is read as well: the checksum of the last frame comes after it.
        io::copy(&mut blocks, &mut io::sink()).map_err(damaged)?;
        Ok(())
    }

    fn entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), Error> {
        let raw = entry.path_bytes().into_owned();
        let path = relative(&raw);
        if !path.is_empty() {
            check_path(path)?;
        }
        let mut member =
            Member { path: path.into(), meta: Metadata::default(), xattrs: Vec::new(), content: Content::Directory };
        (member.meta, member.xattrs) = attributes(&mut entry, path)?;
        let kind = entry.header().entry_type();
        let write = |source: io::Error| Error::Write {
            path: self.base.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path)),
            source,
        };
        match kind {
            tar::EntryType::Directory => {
                self.make_directory(path).map_err(write)?;
                self.directories.push(member);
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                self.make_parents(path).map_err(write)?;
                self.file(&mut entry, &member)?;
            }
            tar::EntryType::Symlink => {
                self.make_parents(path).map_err(write)?;
                let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
                self.symlink(&member, &target).map_err(write)?;
            }
            tar::EntryType::Link => {
                let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
                let target = relative(&target);
                check_path(target)?;
                self.make_parents(path).map_err(write)?;
                self.hard_link(path, target).map_err(write)?;
            }
            tar::EntryType::XGlobalHeader => {}
            _ => {
                let name = String::from_utf8_lossy(path).into_owned();
                self.restored.imperfections.push(format!("`{name}` is a device or FIFO and was left out"));
            }
        }
        Ok(())
    }

    fn make_parents(&mut self, path: &[u8]) -> io::Result<()> {
        let Some(above) = parent(path) else { return Ok(()) };
        if self.walker.enter(Some(above)).is_ok() {
            return Ok(());
        }
        self.make_directory(above)
    }

    fn make_directory(&mut self, path: &[u8]) -> io::Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        self.make_parents(path)?;
        let at = self.walker.enter(parent(path))?;
        match rustix::fs::mkdirat(at, file_name(path), Mode::from_raw_mode(0o755)) {
            Ok(()) => self.created.push((path.to_vec(), true)),
            Err(rustix::io::Errno::EXIST) => {
                let stat = rustix::fs::statat(at, file_name(path), AtFlags::SYMLINK_NOFOLLOW)?;
                if !FileType::from_raw_mode(stat.st_mode).is_dir() {
                    return Err(io::Error::new(
                        io::ErrorKind::NotADirectory,
                        "something that is no directory is there",
                    ));
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn file<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, member: &Member) -> Result<(), Error> {
        let path = &member.path[..];
        let (at, name) = (self.walker.enter(parent(path)), file_name(path));
        let full = self.base.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
        let mut damaged = None;
        let run = || -> io::Result<(u64, bool)> {
            let at = at?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = rustix::fs::openat(at, &self.temporary[..], flags, Mode::RUSR | Mode::WUSR)?;
            let mut buffer = vec![0; BLOCK_BYTES];
            let mut size = 0;
            loop {
                let length = match entry.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) => {
                        damaged = Some(archive::Error::damaged("archive", error.to_string()));
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                };
                super::compare::write_at(&open, &buffer[..length], size)?;
                size += length as u64;
            }
            set_attributes(&open, member, self.options, false, &mut self.restored.imperfections)?;
            Ok((size, publish(at, &self.temporary, name)?))
        };
        let result = run();
        if let Some(damaged) = damaged {
            return Err(damaged.into());
        }
        let (size, existed) = result.map_err(|source| Error::Write { path: full, source })?;
        self.note(path, existed);
        self.restored.files += 1;
        self.restored.bytes += size;
        Ok(())
    }

    /// Notes that a member is in place.
    fn note(&mut self, path: &[u8], existed: bool) {
        if self.written.insert(path.to_vec()) {
            match existed {
                true => self.replaced += 1,
                false => self.created.push((path.to_vec(), false)),
            }
        }
    }

    fn symlink(&mut self, member: &Member, target: &[u8]) -> io::Result<()> {
        let path = &member.path[..];
        let at = self.walker.enter(parent(path))?;
        rustix::fs::symlinkat(target, at, &self.temporary[..])?;
        rustix::fs::utimensat(at, &self.temporary[..], &times(&member.meta), AtFlags::SYMLINK_NOFOLLOW)?;
        if self.options.same_owner {
            let (uid, gid) = (Uid::from_raw(member.meta.uid), Gid::from_raw(member.meta.gid));
            let _ = rustix::fs::chownat(at, &self.temporary[..], Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        }
        let existed = publish(at, &self.temporary, file_name(path))?;
        self.note(path, existed);
        Ok(())
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let from = self.walker.enter(parent(target))?.try_clone_to_owned()?;
        let stat = rustix::fs::statat(&from, file_name(target), AtFlags::SYMLINK_NOFOLLOW)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(io::Error::other("the file it is to be a link to is no regular file"));
        }
        let at = self.walker.enter(parent(path))?;
        rustix::fs::linkat(&from, file_name(target), at, &self.temporary[..], AtFlags::empty())?;
        let existed = publish(at, &self.temporary, file_name(path))?;
        // Renaming onto another name of the same file does nothing, and leaves both.
        let _ = rustix::fs::unlinkat(at, &self.temporary[..], AtFlags::empty());
        self.note(path, existed);
        self.restored.files += 1;
        Ok(())
    }

    fn finish_directories(&mut self) -> Result<(), Error> {
        let mut directories = std::mem::take(&mut self.directories);
        directories.sort_by_key(|member| std::cmp::Reverse(member.path.len()));
        for member in directories {
            let full = self.base.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&member.path));
            let path = (!member.path.is_empty()).then_some(&member.path[..]);
            let set = self.walker.enter(path).and_then(|at| {
                let directory = at.try_clone_to_owned()?;
                set_attributes(&directory, &member, self.options, false, &mut self.restored.imperfections)
            });
            set.map_err(|source| Error::Write { path: full, source })?;
        }
        Ok(())
    }

    fn roll_back(&mut self) {
        for (path, is_directory) in std::mem::take(&mut self.created).into_iter().rev() {
            let Ok(at) = self.walker.enter(parent(&path)) else { continue };
            let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let _ = rustix::fs::unlinkat(at, &self.temporary[..], AtFlags::empty());
            let _ = rustix::fs::unlinkat(at, file_name(&path), flags);
        }
        if let Ok(at) = self.walker.enter(None) {
            let _ = rustix::fs::unlinkat(at, &self.temporary[..], AtFlags::empty());
        }
    }
}

/// Gives the temporary file its name; tells whether something was there before.
fn publish(at: BorrowedFd<'_>, temporary: &[u8], name: &[u8]) -> io::Result<bool> {
    let existed = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    rustix::fs::renameat(at, temporary, at, name)?;
    Ok(existed)
}

/// The path of a member below the root: without `./` and trailing slashes. What leads outside is left for the check.
fn relative(raw: &[u8]) -> &[u8] {
    let mut path = raw;
    while let Some(rest) = path.strip_prefix(b"./") {
        path = rest.trim_ascii_start_slashes();
    }
    while let Some(rest) = path.strip_suffix(b"/").filter(|rest| !rest.is_empty()) {
        path = rest;
    }
    if path == b"." { &[] } else { path }
}

trait TrimSlashes {
    fn trim_ascii_start_slashes(&self) -> &Self;
}

impl TrimSlashes for [u8] {
    fn trim_ascii_start_slashes(&self) -> &[u8] {
        let start = self.iter().position(|&byte| byte != b'/').unwrap_or(self.len());
        &self[start..]
    }
}

/// Mode, times, owner and extended attributes, from the header and the pax records before it.
fn attributes<R: Read>(entry: &mut tar::Entry<'_, R>, path: &[u8]) -> Result<(Metadata, Xattrs), Error> {
    let damaged = |error: io::Error| archive::Error::damaged("archive", error.to_string());
    let header = entry.header();
    let mut meta = Metadata {
        mode: u16::try_from(header.mode().map_err(damaged)? & 0o7777).unwrap_or(0),
        mtime_seconds: header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0),
        mtime_nanos: 0,
        uid: header.uid().ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0),
        gid: header.gid().ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0),
    };
    let mut xattrs = Xattrs::new();
    for record in entry.pax_extensions().map_err(damaged)?.into_iter().flatten() {
        let record = record.map_err(damaged)?;
        let (Ok(key), value) = (record.key(), record.value_bytes()) else { continue };
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        match key {
            "mtime" => {
                if let Some((seconds, nanos)) = parse_time(value) {
                    (meta.mtime_seconds, meta.mtime_nanos) = (seconds, nanos);
                }
            }
            "uid" => meta.uid = number().unwrap_or(meta.uid),
            "gid" => meta.gid = number().unwrap_or(meta.gid),
            "GNU.sparse.major" | "GNU.sparse.map" | "GNU.sparse.numblocks" => {
                let reason = "is a sparse file in a format that can only be restored from an archive with an index";
                return Err(archive::Error::BadMember { path: path.to_vec(), reason }.into());
            }
            _ => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.").filter(|name| name.starts_with("user.")) {
                    xattrs.push((name.as_bytes().into(), value.into()));
                }
            }
        }
    }
    Ok((meta, xattrs))
}

/// `-1.5` as seconds and nanoseconds after them.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    match text.starts_with('-') && nanos > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        false => Some((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_exact() {
        assert_eq!(parse_time(b"1.000000005"), Some((1, 5)));
        assert_eq!(parse_time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(parse_time(b"-0.000000001"), Some((-1, 999_999_999)));
        assert_eq!(parse_time(b"-7"), Some((-7, 0)));
        assert_eq!(parse_time(b"x"), None);
    }

    #[test]
    fn paths_lose_what_means_nothing_and_keep_what_is_wrong() {
        for (raw, path) in
            [("./", ""), (".", ""), ("./a/b/", "a/b"), ("a", "a"), ("/a", "/a"), ("././/a", "a"), ("../a", "../a")]
        {
            assert_eq!(relative(raw.as_bytes()), path.as_bytes(), "{raw}");
        }
    }
}
