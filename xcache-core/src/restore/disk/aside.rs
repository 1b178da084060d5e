//! Putting something new in the place of something old, so that the old can return.
//!
//! Where the kernel can exchange two names, that is one step: at no moment is the place empty, and the old thing is where
//! the new one was made, to be removed at the end or put back.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, RenameFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::look::{is_directory, names, stat};
use super::walker::open_directory;

/// What a new thing found in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// Nothing.
    Nothing,
    /// Something that now has the name that the new thing had.
    Exchanged,
    /// Something that now has the spare name.
    MovedTo,
}

/// Gives what is called `new` in `at` the name `name`. What has that name gets the name `new` or `spare`, provided that
/// `may_replace` has nothing against it.
pub(super) fn swap_in(
    at: BorrowedFd<'_>,
    new: &[u8],
    name: &[u8],
    spare: &[u8],
    may_replace: impl FnOnce() -> io::Result<()>,
) -> io::Result<Occupant> {
    match rustix::fs::renameat_with(at, new, at, name, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(Occupant::Nothing),
        Err(Errno::EXIST) => {}
        Err(error) if is_unsupported(error) => {
            if stat(at, name)?.is_none() {
                rustix::fs::renameat(at, new, at, name)?;
                return Ok(Occupant::Nothing);
            }
        }
        Err(error) => return Err(error.into()),
    }
    may_replace()?;
    match rustix::fs::renameat_with(at, new, at, name, RenameFlags::EXCHANGE) {
        Ok(()) => return Ok(Occupant::Exchanged),
        // Overlay file systems do not rename directories of lower layers.
        Err(error) if is_unsupported(error) || error == Errno::XDEV => {}
        Err(error) => return Err(error.into()),
    }
    relocate(at, name, spare)?;
    if let Err(error) = rustix::fs::renameat(at, new, at, name) {
        let _ = relocate(at, spare, name); // as it was a moment ago
        return Err(error.into());
    }
    Ok(Occupant::MovedTo)
}

/// Puts `old` back to `name`, provided that there is nothing or our own thing, of this inode. Gives whether it is back:
/// what another process has put there stays.
pub(super) fn put_back(at: BorrowedFd<'_>, old: &[u8], name: &[u8], inode: u64) -> io::Result<bool> {
    match stat(at, name)? {
        None => {}
        Some(found) if found.st_ino == inode => {
            if rustix::fs::renameat_with(at, old, at, name, RenameFlags::EXCHANGE).is_ok() {
                unlink(at, old, &found)?;
                return Ok(true);
            }
            unlink(at, name, &found)?;
        }
        Some(_) => return Ok(false),
    }
    relocate(at, old, name)?;
    Ok(true)
}

/// Removes a file, link or empty directory.
pub(super) fn unlink(at: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> rustix::io::Result<()> {
    rustix::fs::unlinkat(at, name, if is_directory(stat) { AtFlags::REMOVEDIR } else { AtFlags::empty() })
}

/// Gives something another name. A directory that cannot be renamed is made anew, and what is in it moved one by one.
fn relocate(at: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> io::Result<()> {
    relocate_to(at, from, at, to)
}

fn relocate_to(from_at: BorrowedFd<'_>, from: &[u8], to_at: BorrowedFd<'_>, to: &[u8]) -> io::Result<()> {
    match rustix::fs::renameat(from_at, from, to_at, to) {
        Err(Errno::XDEV) => {}
        renamed => return Ok(renamed?),
    }
    let found = rustix::fs::statat(from_at, from, AtFlags::SYMLINK_NOFOLLOW)?;
    if !is_directory(&found) {
        return Err(Errno::XDEV.into());
    }
    rustix::fs::mkdirat(to_at, to, Mode::RWXU)?;
    let (source, goal) = (open_directory(from_at, from)?, open_directory(to_at, to)?);
    let mut moved = Vec::new();
    for child in names(source.as_fd())? {
        if let Err(error) = relocate_to(source.as_fd(), &child, goal.as_fd(), &child) {
            // All or nothing: what was moved returns.
            for child in moved.iter().rev() {
                let child: &Vec<u8> = child;
                let _ = relocate_to(goal.as_fd(), child, source.as_fd(), child);
            }
            let _ = rustix::fs::unlinkat(to_at, to, AtFlags::REMOVEDIR);
            return Err(error);
        }
        moved.push(child);
    }
    // Only root can keep an owner that is not its own; the mode and the time are ours to set.
    let _ = rustix::fs::fchown(&goal, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)));
    let _ = rustix::fs::fchmod(&goal, Mode::from_raw_mode(found.st_mode & 0o7777));
    let nanos = |nanos| i64::try_from(nanos).unwrap_or(0);
    let _ = rustix::fs::futimens(
        &goal,
        &Timestamps {
            last_access: Timespec { tv_sec: found.st_atime, tv_nsec: nanos(found.st_atime_nsec) },
            last_modification: Timespec { tv_sec: found.st_mtime, tv_nsec: nanos(found.st_mtime_nsec) },
        },
    );
    Ok(rustix::fs::unlinkat(from_at, from, AtFlags::REMOVEDIR)?)
}

/// Old kernels and some file systems know no flags.
fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}
