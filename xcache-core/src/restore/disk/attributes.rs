//! Owner, mode, times and extended attributes: what is set, in which order, and what is not set for safety.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::notices::Undone;
use crate::archive::index::{Metadata, Xattr, Xattrs};
use crate::scan::{metadata, read_xattrs};

/// What is asked for beyond its content of something in the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'m> {
    /// Mode, time, owner.
    pub(crate) meta: &'m Metadata,
    /// Extended attributes.
    pub(crate) xattrs: &'m Xattrs,
}

/// Whether owners are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerPolicy {
    /// Files belong to the user who restores them.
    Own,
    /// Files belong to the users who had them when they were saved.
    Saved,
}

/// File capabilities. Like setuid they give rights to whoever runs the file.
const CAPABILITIES: &[u8] = b"security.capability";

impl Attributes<'_> {
    /// Whether something that was found has these attributes.
    pub(crate) fn are_those_of(&self, stat: &Stat, xattrs: &Xattrs, owners: OwnerPolicy) -> bool {
        let found = metadata(stat);
        let is_owner = (found.uid, found.gid) == (self.meta.uid, self.meta.gid);
        found.mode == mode_for(self.meta, stat)
            && is_same_time(&found, self.meta)
            && (owners == OwnerPolicy::Own || is_owner)
            && has_same_xattrs(xattrs, self.xattrs)
    }

    /// Sets all of them, in the order in which none undoes another: a new owner takes setuid away, a list of rights
    /// changes the mode. What cannot be set is added to `undone`. Gives what the file is then.
    pub(super) fn set(&self, open: &OwnedFd, owners: OwnerPolicy, undone: &mut Vec<Undone>) -> io::Result<Stat> {
        let Self { meta, xattrs } = *self;
        if owners == OwnerPolicy::Saved {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            note(undone, "set the owner of", rustix::fs::fchown(open, Some(uid), Some(gid)));
        }
        if !xattrs.is_empty() {
            let stat = rustix::fs::fstat(open)?;
            for xattr in xattrs {
                set_xattr(open.as_fd(), xattr, meta, &stat, undone);
            }
        }
        note(undone, "set the time of", rustix::fs::futimens(open, &times(meta)));
        let stat = rustix::fs::fstat(open)?;
        // Umask, list of rights, or file system may have made another mode of the one that it was created with.
        Ok(match set_mode(&stat, meta, undone, |mode| rustix::fs::fchmod(open, mode)) {
            true => {
                let stat = rustix::fs::fstat(open)?;
                check_mode(&stat, meta, undone);
                stat
            }
            false => stat,
        })
    }

    /// Sets those of the directory `name` in `at`, or of `at` itself, that differ; with `is_new` it has no extended
    /// attributes yet. `open` opens it.
    pub(super) fn set_on_directory(
        &self,
        place: DirectoryAt<'_>,
        is_new: bool,
        owners: OwnerPolicy,
        undone: &mut Vec<Undone>,
    ) -> io::Result<()> {
        let Self { meta, xattrs } = *self;
        if !is_new || !xattrs.is_empty() || owners == OwnerPolicy::Saved {
            let open = place.open()?;
            // One that can only be passed through (mode 0311) shows no attributes, and takes none.
            if let Err(error) = drop_xattrs(&open, xattrs)
                && error.raw_os_error() != Some(Errno::BADF.raw_os_error())
            {
                undone.push(("remove an extended attribute of", error));
            }
            if !xattrs.is_empty() || owners == OwnerPolicy::Saved {
                self.set(&open, owners, undone)?;
                return Ok(());
            }
        }
        let stat = place.stat()?;
        if set_mode(&stat, meta, undone, |mode| place.set_mode(mode)) {
            check_mode(&place.stat()?, meta, undone);
        }
        if !is_same_time(&metadata(&stat), meta) {
            note(undone, "set the time of", place.set_times(&times(meta)));
        }
        Ok(())
    }

    /// Whether a link that was found has those that a link can have.
    pub(super) fn are_on_link(&self, found: &Stat, owners: OwnerPolicy) -> bool {
        let found = metadata(found);
        let is_owner = (found.uid, found.gid) == (self.meta.uid, self.meta.gid);
        is_same_time(&found, self.meta) && (owners == OwnerPolicy::Own || is_owner)
    }

    /// Sets those that a link can have on a new one.
    pub(super) fn set_on_link(&self, at: BorrowedFd<'_>, name: &[u8], owners: OwnerPolicy) -> rustix::io::Result<()> {
        let chown = || {
            let (uid, gid) = (Uid::from_raw(self.meta.uid), Gid::from_raw(self.meta.gid));
            rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        };
        // Where owners are not permitted, the time is set all the same.
        let owned = if owners == OwnerPolicy::Saved { chown() } else { Ok(()) };
        rustix::fs::utimensat(at, name, &times(self.meta), AtFlags::SYMLINK_NOFOLLOW).and(owned)
    }
}

/// A directory by its descriptor, or by its name in another one, which needs no right to read it.
#[derive(Clone, Copy)]
pub(super) struct DirectoryAt<'d> {
    pub(super) at: BorrowedFd<'d>,
    /// Empty for `at` itself.
    pub(super) name: &'d [u8],
}

impl DirectoryAt<'_> {
    pub(super) fn stat(self) -> rustix::io::Result<Stat> {
        match self.name.is_empty() {
            true => rustix::fs::fstat(self.at),
            false => rustix::fs::statat(self.at, self.name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    pub(super) fn set_mode(self, mode: Mode) -> rustix::io::Result<()> {
        match self.name.is_empty() {
            true => rustix::fs::fchmod(self.at, mode),
            false => rustix::fs::chmodat(self.at, self.name, mode, AtFlags::empty()),
        }
    }

    fn set_times(self, times: &Timestamps) -> rustix::io::Result<()> {
        match self.name.is_empty() {
            true => rustix::fs::futimens(self.at, times),
            false => rustix::fs::utimensat(self.at, self.name, times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn open(self) -> io::Result<OwnedFd> {
        match self.name.is_empty() {
            true => self.at.try_clone_to_owned(),
            false => super::walker::open_directory(self.at, self.name),
        }
    }
}

/// The mode that something of this owner gets. Setuid and setgid give the rights of the owner to whoever runs the file:
/// without the owner that they were meant for, they would give away rights of somebody else.
fn mode_for(meta: &Metadata, stat: &Stat) -> u16 {
    let mut mode = meta.mode;
    if stat.st_uid != meta.uid {
        mode &= !0o4000;
    }
    if stat.st_gid != meta.gid {
        mode &= !0o2000;
    }
    mode
}

/// Sets the mode if it is not the one found. Gives whether it was set.
fn set_mode(
    found: &Stat,
    meta: &Metadata,
    undone: &mut Vec<Undone>,
    set: impl FnOnce(Mode) -> rustix::io::Result<()>,
) -> bool {
    let wanted = mode_for(meta, found);
    if wanted != meta.mode {
        undone.push(("set setuid or setgid of", io::Error::other("its owner or group is not the saved one")));
    }
    if metadata(found).mode == wanted {
        return false;
    }
    note(undone, "set the mode of", set(Mode::from_raw_mode(wanted.into())))
}

/// Some file systems have one mode for all files, and take another one without an error.
fn check_mode(now: &Stat, meta: &Metadata, undone: &mut Vec<Undone>) {
    if metadata(now).mode != mode_for(meta, now) {
        undone.push(("set the mode of", io::Error::other("the file system does not keep it")));
    }
}

fn set_xattr(open: BorrowedFd<'_>, (name, value): &Xattr, meta: &Metadata, stat: &Stat, undone: &mut Vec<Undone>) {
    if name[..] == *CAPABILITIES && (stat.st_uid, stat.st_gid) != (meta.uid, meta.gid) {
        return undone.push(("set the capabilities of", io::Error::other("its owner or group is not the saved one")));
    }
    note(undone, "set an extended attribute of", rustix::fs::fsetxattr(open, &name[..], value, XattrFlags::empty()));
}

/// Takes away the attributes of users that are not wanted. Lists of rights and the like, which a directory may hand down
/// to all that is in it, are the target's own.
pub(super) fn drop_xattrs(open: &OwnedFd, wanted: &Xattrs) -> io::Result<()> {
    for (name, _) in read_xattrs(open)? {
        if is_of_users(&name) && !wanted.iter().any(|(wanted, _)| *wanted == name) {
            rustix::fs::fremovexattr(open, &name[..])?;
        }
    }
    Ok(())
}

fn has_same_xattrs(found: &Xattrs, wanted: &Xattrs) -> bool {
    let has_all = wanted.iter().all(|xattr| found.contains(xattr));
    has_all && found.iter().all(|xattr| !is_of_users(&xattr.0) || wanted.contains(xattr))
}

fn is_of_users(name: &[u8]) -> bool {
    name.starts_with(b"user.")
}

fn is_same_time(a: &Metadata, b: &Metadata) -> bool {
    (a.mtime_seconds, a.mtime_nanos) == (b.mtime_seconds, b.mtime_nanos)
}

/// The modification time for both times.
fn times(meta: &Metadata) -> Timestamps {
    let time = Timespec { tv_sec: meta.mtime_seconds, tv_nsec: meta.mtime_nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Notes what could not be done. Gives whether it could.
fn note(undone: &mut Vec<Undone>, what: &'static str, done: rustix::io::Result<()>) -> bool {
    done.map_err(|error| undone.push((what, error.into()))).is_ok()
}
