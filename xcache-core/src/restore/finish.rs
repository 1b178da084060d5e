//! What comes before and after the files: directories first; then links; the times and modes of directories last.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::compare::Have;
use super::imperfections::{Imperfections, Undone};
use super::run::Done;
use super::walker::{Walker, open_directory};
use super::write::{Shared, Writer, publish, set_aside, set_attributes, times};
use super::{Error, Options, Roots};
use crate::archive::index::{Content, Extent, Index, Member, file_name, parent};
use crate::paths::Decision;
use crate::scan::{Signature, metadata, read_xattrs};

/// Makes what directories are missing in roots that held something before, and opens up those that let nobody write. In
/// fresh roots the workers make directories as they come to them: see [`make_missing`].
pub(super) fn make_directories(shared: &Shared<'_>) -> Result<(), Error> {
    each(
        shared,
        |content| matches!(content, Content::Directory),
        |number, path, walker| match is_left_to_workers(shared, number) && !path.is_empty() {
            true => Ok(()),
            false => make_directory(shared, number, path, walker),
        },
    )
}

/// Makes the directories of fresh roots that no worker came to, as no file is in them.
pub(super) fn make_directories_left(shared: &Shared<'_>) -> Result<(), Error> {
    each(
        shared,
        |content| matches!(content, Content::Directory),
        |number, path, walker| {
            let is_left = is_left_to_workers(shared, number) && !shared.journal.is_created(number);
            if is_left && !path.is_empty() { make_directory(shared, number, path, walker) } else { Ok(()) }
        },
    )
}

fn is_left_to_workers(shared: &Shared<'_>, number: u32) -> bool {
    shared.roots.place(shared.index, number).is_some_and(|(_, root)| shared.roots.is_fresh(root))
}

/// Makes the directory `path` of a fresh root and those above it, as far as they are missing.
pub(super) fn make_missing(shared: &Shared<'_>, root: usize, path: &[u8], walker: &mut Walker) -> io::Result<()> {
    match walker.enter(Some(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        entered => return entered.map(drop),
    }
    if let Some(above) = parent(path) {
        make_missing(shared, root, above, walker)?;
    }
    // All parents of members are members.
    let number = shared.roots.member_at(shared.index, root, path).ok_or(io::ErrorKind::NotFound)?;
    make_directory(shared, number, path, walker)
}

fn make_directory(shared: &Shared<'_>, number: u32, path: &[u8], walker: &mut Walker) -> io::Result<()> {
    if path.is_empty() {
        let root = walker.enter(None)?;
        let stat = rustix::fs::fstat(root)?;
        return open_up(shared, number, &stat, |mode| rustix::fs::fchmod(root, mode));
    }
    let (at, name) = (walker.enter(parent(path))?, file_name(path));
    let mode = shared.index.members[number as usize].meta.mode & 0o777 | 0o700;
    match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(mode.into())) {
        Ok(()) => shared.journal.created(number),
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if !FileType::from_raw_mode(stat.st_mode).is_dir() {
                shared.journal.set_aside(at, number, name)?;
                rustix::fs::mkdirat(at, name, Mode::from_raw_mode(mode.into()))?;
                shared.journal.created(number);
            } else {
                let set = |mode| rustix::fs::chmodat(at, name, mode, AtFlags::empty());
                open_up(shared, number, &stat, set)?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Lets us write into a directory that was there before. Its mode is set at the end.
fn open_up(
    shared: &Shared<'_>,
    number: u32,
    stat: &Stat,
    set: impl FnOnce(Mode) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let mode = stat.st_mode & 0o7777;
    if mode & 0o300 == 0o300 {
        return Ok(());
    }
    match set(Mode::from_raw_mode(mode | 0o700)) {
        Ok(()) => shared.journal.opened_up(number, mode),
        // Somebody else's. Its group or all others may be allowed to write, and if not, the first file says so.
        Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Makes the files that needed nothing fetched, then links, then sets right what was kept with other attributes.
pub(super) fn make_rest(shared: &Shared<'_>, done: &mut Done) -> Result<(), Error> {
    let mut writer = Writer::new(shared).map_err(|source| Error::Write { path: "the decompressor".into(), source })?;
    for &number in shared.plan.empty() {
        writer.whole(number, &[], &[]).map_err(|source| writer.error(number, source))?;
    }
    for &number in shared.plan.taken() {
        let completed = writer.reopen(number).and_then(|open| writer.complete(number, &open));
        completed.map_err(|source| writer.error(number, source))?;
    }
    done.signatures.append(&mut writer.signatures);
    done.imperfections.append(writer.imperfections);

    each(
        shared,
        |content| matches!(content, Content::File(_)),
        |number, path, walker| {
            let Have::Same { is_exact, .. } = shared.plan.have(number) else { return Ok(()) };
            let member = &shared.index.members[number as usize];
            if *is_exact && !shared.options.same_owner {
                return Ok(());
            }
            let (at, name) = (walker.enter(parent(path))?, file_name(path));
            let (signature, unset) = set_right(at, name, member, shared)?;
            done.signatures.push((number, signature));
            done.imperfections.extend(unset, || shared.roots.full_path(shared.index, number));
            Ok(())
        },
    )?;
    each(
        shared,
        |content| matches!(content, Content::Symlink(_)),
        |number, path, walker| {
            let (at, name) = (walker.enter(parent(path))?, file_name(path));
            symlink(shared, at, name, number)
        },
    )?;
    hard_links(shared, done)
}

/// Sets mode, time and attributes of a kept file that has not quite those of the entry.
fn set_right(
    at: BorrowedFd<'_>,
    name: &[u8],
    member: &Member,
    shared: &Shared<'_>,
) -> io::Result<(Signature, Vec<Undone>)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(open) => open,
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, name, Mode::from_raw_mode(u32::from(member.meta.mode) | 0o400), AtFlags::empty())?;
            rustix::fs::openat(at, name, flags, Mode::empty())?
        }
        Err(error) => return Err(error.into()),
    };
    drop_xattrs(&open, member)?;
    let unset = set_attributes(&open, member, shared.options, false)?;
    Ok((Signature::of(&rustix::fs::fstat(&open)?), unset))
}

/// Takes away the extended attributes that the member does not have.
fn drop_xattrs(open: &OwnedFd, member: &Member) -> io::Result<()> {
    for (name, _) in read_xattrs(open)? {
        if !member.xattrs.iter().any(|(wanted, _)| *wanted == name) {
            rustix::fs::fremovexattr(open, &name[..])?;
        }
    }
    Ok(())
}

fn symlink(shared: &Shared<'_>, at: BorrowedFd<'_>, name: &[u8], number: u32) -> io::Result<()> {
    let member = &shared.index.members[number as usize];
    let Content::Symlink(target) = &member.content else { return Ok(()) };
    match rustix::fs::symlinkat(&target[..], at, name) {
        Ok(()) => shared.journal.created(number),
        Err(Errno::EXIST) => {
            let is_same =
                rustix::fs::readlinkat(at, name, Vec::new()).is_ok_and(|found| found.as_bytes() == &target[..]);
            if !is_same {
                set_aside(shared, at, number, name)?;
                rustix::fs::symlinkat(&target[..], at, name)?;
                shared.journal.created(number);
            }
        }
        Err(error) => return Err(error.into()),
    }
    if shared.options.same_owner {
        let (uid, gid) = (Uid::from_raw(member.meta.uid), Gid::from_raw(member.meta.gid));
        // Where it is not permitted, files have said so already.
        let _ = rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
    }
    Ok(rustix::fs::utimensat(at, name, &times(&member.meta), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn hard_links(shared: &Shared<'_>, done: &mut Done) -> Result<(), Error> {
    let Shared { index, roots, journal, .. } = *shared;
    let mut firsts: Vec<u32> = Vec::new();
    let mut first_walker: Option<(usize, Walker)> = None;
    each(
        shared,
        |content| matches!(content, Content::HardLink(_)),
        |number, path, walker| {
            let Content::HardLink(first) = index.members[number as usize].content else { return Ok(()) };
            let (first_path, first_root) = roots.place(index, first).ok_or(io::ErrorKind::NotFound)?;
            let from = enter(&mut first_walker, roots, first_root, parent(&first_path))?;
            let first_name = file_name(&first_path);
            let (at, name) = (walker.enter(parent(path))?, file_name(path));
            let link = || rustix::fs::linkat(from, first_name, at, name, AtFlags::empty());
            let linked = match link() {
                Err(Errno::EXIST) => {
                    let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
                    let there = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    let wanted = rustix::fs::statat(from, first_name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if identity(there) == identity(wanted) {
                        return Ok(());
                    }
                    set_aside(shared, at, number, name)?;
                    link()
                }
                linked => linked,
            };
            match linked {
                Ok(()) => journal.created(number),
                // On another file system, or one without hard links, or when the file has as many names as can be.
                Err(error @ (Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::NOTSUP | Errno::NOSYS)) => {
                    let place = || roots.full_path(index, number);
                    done.imperfections.add("make the hard link", place(), format!("{error}; it is a copy"));
                    let unset = copy_file(shared, first, from, first_name, number, at, name)?;
                    done.imperfections.extend(unset, place);
                }
                Err(error) => return Err(error.into()),
            }
            firsts.push(first);
            Ok(())
        },
    )?;
    // A new name changes the ctime of the file.
    firsts.sort_unstable();
    firsts.dedup();
    for first in firsts {
        let Some((path, root)) = roots.place(index, first) else { continue };
        let stat = enter(&mut first_walker, roots, root, parent(&path))
            .and_then(|at| Ok(rustix::fs::statat(at, file_name(&path), AtFlags::SYMLINK_NOFOLLOW)?));
        if let Ok(stat) = stat {
            done.signatures.push((first, Signature::of(&stat)));
        }
    }
    Ok(())
}

/// Makes member `number` as a copy of the file of member `first`, which is there. Gives what is not set.
fn copy_file(
    shared: &Shared<'_>,
    first: u32,
    from: BorrowedFd<'_>,
    first_name: &[u8],
    number: u32,
    at: BorrowedFd<'_>,
    name: &[u8],
) -> io::Result<Vec<Undone>> {
    let Shared { index, journal, options, .. } = *shared;
    let first = &index.members[first as usize];
    let Content::File(file) = &first.content else { return Ok(Vec::new()) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut old = std::fs::File::from(rustix::fs::openat(from, first_name, flags, Mode::empty())?);
    let mut new = std::fs::File::from(journal.open_temporary(at, number)?);
    let whole = [Extent { offset: 0, length: file.size }];
    for &Extent { offset, length } in file.extents.as_deref().unwrap_or(&whole) {
        old.seek(SeekFrom::Start(offset))?;
        new.seek(SeekFrom::Start(offset))?;
        io::copy(&mut (&old).take(length), &mut new)?;
    }
    new.set_len(file.size)?;
    let new = OwnedFd::from(new);
    let unset = set_attributes(&new, first, options, false)?;
    publish(shared, at, number, name)?;
    Ok(unset)
}

/// Sets modes and times of directories, the deepest first. What cannot be set is told: a directory that we may write
/// into can be somebody else's.
pub(super) fn finish_directories(shared: &Shared<'_>, imperfections: &mut Imperfections) {
    let Shared { index, roots, paths, journal, options, .. } = *shared;
    for (root, range) in roots.members() {
        let Some(directory) = roots.directory(root) else { continue };
        let mut walker = Walker::new(directory.clone());
        for number in range.rev() {
            let member = &index.members[number];
            if !matches!(member.content, Content::Directory) {
                continue;
            }
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let Some((path, _)) = roots.place(index, number) else { continue };
            let is_new = journal.is_created(number);
            // On the way to what a pattern matched, directories that were there before are not ours.
            if !is_new && paths.decide(root, &path, true) != Decision::Include {
                journal.close_again(&mut walker, number, &path);
                continue;
            }
            let place = || roots.full_path(index, number);
            match finish_directory(&mut walker, &directory, &path, member, is_new, options) {
                Ok(unset) => imperfections.extend(unset, place),
                Err(error) => imperfections.add("set the mode and time of", place(), error),
            }
        }
    }
}

fn finish_directory(
    walker: &mut Walker,
    root: &OwnedFd,
    path: &[u8],
    member: &Member,
    is_new: bool,
    options: &Options,
) -> io::Result<Vec<Undone>> {
    let (at, name) = (walker.enter(parent(path))?, file_name(path));
    let is_root = path.is_empty();
    let mut unset = Vec::new();
    if !is_new || !member.xattrs.is_empty() || options.same_owner {
        let open = if is_root { root.try_clone()? } else { open_directory(at, name)? };
        // One that can only be passed through (mode 0311) shows no attributes, and takes none.
        if let Err(error) = drop_xattrs(&open, member)
            && error.raw_os_error() != Some(Errno::BADF.raw_os_error())
        {
            unset.push(("remove an extended attribute of", error));
        }
        if !member.xattrs.is_empty() || options.same_owner {
            unset.append(&mut set_attributes(&open, member, options, false)?);
            return Ok(unset);
        }
    }
    let wanted = &member.meta;
    let found = match is_root {
        true => rustix::fs::fstat(root)?,
        false => rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?,
    };
    let found = metadata(&found);
    if found.mode != wanted.mode {
        let mode = Mode::from_raw_mode(wanted.mode.into());
        let set = match is_root {
            true => rustix::fs::fchmod(root, mode),
            false => rustix::fs::chmodat(at, name, mode, AtFlags::empty()),
        };
        unset.extend(set.err().map(|error| ("set the mode of", error.into())));
    }
    if (found.mtime_seconds, found.mtime_nanos) != (wanted.mtime_seconds, wanted.mtime_nanos) {
        let set = match is_root {
            true => rustix::fs::futimens(root, &times(wanted)),
            false => rustix::fs::utimensat(at, name, &times(wanted), AtFlags::SYMLINK_NOFOLLOW),
        };
        unset.extend(set.err().map(|error| ("set the time of", error.into())));
    }
    Ok(unset)
}

fn enter<'a>(
    walker: &'a mut Option<(usize, Walker)>,
    roots: &Roots,
    root: usize,
    path: Option<&[u8]>,
) -> io::Result<BorrowedFd<'a>> {
    if walker.as_ref().is_none_or(|(of, _)| *of != root) {
        *walker = Some((root, Walker::new(roots.directory(root).ok_or(io::ErrorKind::NotFound)?)));
    }
    match walker {
        Some((_, walker)) => walker.enter(path),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Calls `act` with number, path here, and a walker of its root, for each member of the kind asked for.
fn each(
    shared: &Shared<'_>,
    is_wanted: impl Fn(&Content) -> bool,
    mut act: impl FnMut(u32, &[u8], &mut Walker) -> io::Result<()>,
) -> Result<(), Error> {
    let Shared { index, roots, .. } = *shared;
    let index: &Index = index;
    for (root, range) in roots.members() {
        let Some(directory) = roots.directory(root) else { continue };
        let mut walker = Walker::new(directory);
        for number in range {
            if !is_wanted(&index.members[number].content) {
                continue;
            }
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let Some((path, _)) = roots.place(index, number) else { continue };
            act(number, &path, &mut walker)
                .map_err(|source| Error::Write { path: roots.full_path(index, number), source })?;
        }
    }
    Ok(())
}
