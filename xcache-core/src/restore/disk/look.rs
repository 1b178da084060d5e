//! Looking at what is in a directory, without changing anything.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

/// What has this name, if anything has.
pub(super) fn stat(at: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether something is a directory.
pub(crate) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_dir()
}

/// In a directory with the sticky bit, such as `/tmp`, only root, its owner and that of the directory may give something
/// another name.
pub(super) fn may_rename(at: BorrowedFd<'_>, found: &Stat) -> io::Result<()> {
    let user = rustix::process::geteuid();
    if user.is_root() || user.as_raw() == found.st_uid {
        return Ok(());
    }
    let above = rustix::fs::fstat(at)?;
    if above.st_mode & 0o1000 == 0 || above.st_uid == user.as_raw() {
        return Ok(());
    }
    let reason = "it belongs to another user, who alone may replace it, since its directory has the sticky bit";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

/// Whether a directory is where another file system, or another part of this one, is mounted.
pub(super) fn is_mounted(at: BorrowedFd<'_>, name: &[u8], found: &Stat, device: u64) -> bool {
    found.st_dev != device || is_mount_root(at, name)
}

/// A bind mount of the same file system has the same device number; only the kernel tells.
#[cfg(target_os = "linux")]
fn is_mount_root(at: BorrowedFd<'_>, name: &[u8]) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags, statx};
    let attributes = statx(at, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::empty());
    attributes
        .is_ok_and(|found| (found.stx_attributes & found.stx_attributes_mask).contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
fn is_mount_root(_: BorrowedFd<'_>, _: &[u8]) -> bool {
    false
}

/// What is in a directory.
pub(super) fn names(at: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
