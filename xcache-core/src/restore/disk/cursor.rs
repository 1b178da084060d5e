//! A place in the target that moves: everything that a restore does below a root.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::aside::{Occupant, swap_in, unlink};
use super::attributes::{Attributes, DirectoryAt, drop_xattrs};
use super::clean::{REPOSITORY, Remover, is_repository};
use super::content::{copy_data, has_same_data};
use super::journal::{Committed, Deed, Log};
use super::leftovers;
use super::look::{is_directory, is_mounted, names, stat};
use super::notices::{Notices, Undone};
use super::place::{Place, is_below, join};
use super::room::may_replace;
use super::state::Target;
use super::walker::{Walker, open_directory};
use crate::archive::index::{file_name, parent};
use crate::paths::PathDecision;
use crate::scan::Signature;

/// See the module.
#[derive(Debug)]
pub(crate) struct Cursor<'t> {
    target: &'t Target<'t>,
    walker: Option<(usize, Walker)>,
    log: Log,
    /// Repositories that were not cleaned: number of the root, and path.
    spared: Vec<(usize, Vec<u8>)>,
    /// What could not be done so far.
    pub(crate) notices: Notices,
}

/// A file in the making. It may grow on several threads, each with a descriptor of its own.
#[derive(Debug)]
pub(crate) struct Temporary(u64);

/// What came of a hard link.
#[derive(Debug)]
pub(crate) enum Linked {
    /// It was made.
    Made,
    /// It was there.
    WasThere,
    /// It cannot be made there, for this reason: on another file system, or on one without hard links.
    Impossible(io::Error),
}

impl<'t> Cursor<'t> {
    fn new(target: &'t Target<'t>) -> Self {
        Self { target, walker: None, log: Log::default(), spared: Vec::new(), notices: Notices::default() }
    }

    pub(super) fn target(&self) -> &'t Target<'t> {
        self.target
    }

    /// Goes to the directory of a place. Gives it, and the name in it; for a root itself, the root and no name.
    pub(super) fn enter<'p>(&mut self, place: Place<'p>) -> io::Result<(BorrowedFd<'_>, &'p [u8])> {
        enter(&mut self.walker, self.target, place)
    }

    /// What is at a place; nothing where a directory above it is missing, or is none, or cannot be entered yet.
    pub(crate) fn look(&mut self, place: Place<'_>) -> io::Result<Option<Stat>> {
        let (at, name) = match self.enter(place) {
            Ok(entered) => entered,
            Err(_) => return Ok(None),
        };
        if name.is_empty() {
            return Ok(Some(rustix::fs::fstat(at)?));
        }
        match stat(at, name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            found => found,
        }
    }

    /// Whether a directory is at a place.
    pub(crate) fn is_directory(&mut self, place: Place<'_>) -> bool {
        self.walker_of(place.root).is_ok_and(|walker| walker.enter(Some(place.path)).is_ok())
    }

    /// Whether something new may come to a place: an error if what is there must stay.
    pub(crate) fn check_room(&mut self, place: Place<'_>, found: &Stat) -> io::Result<()> {
        let target = self.target;
        let (at, name) = self.enter(place)?;
        may_replace(target, place, at, name, found)
    }

    /// Opens the file at a place for reading.
    pub(crate) fn open(&mut self, place: Place<'_>) -> io::Result<OwnedFd> {
        let (at, name) = self.enter(place)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
    }

    /// Makes the directories above a place that are missing, with the modes that `mode` gives for their paths.
    pub(crate) fn make_above(&mut self, place: Place<'_>, mode: &dyn Fn(&[u8]) -> u16) -> io::Result<()> {
        let Some(above) = parent(place.path) else { return Ok(()) };
        let above = Place { path: above, ..place };
        match self.walker_of(place.root)?.enter(Some(above.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entered => return entered.map(drop),
        }
        self.make_above(above, mode)?;
        self.make_directory(above, mode(above.path))
    }

    /// Makes a directory, whose own directory is there; or lets us write into the one that is there. What is no directory
    /// is set aside.
    pub(crate) fn make_directory(&mut self, place: Place<'_>, mode: u16) -> io::Result<()> {
        let target = self.target;
        let (at, name) = enter(&mut self.walker, target, place)?;
        if name.is_empty() {
            let stat = rustix::fs::fstat(at)?;
            return open_up(&mut self.log, place, DirectoryAt { at, name }, &stat);
        }
        let mode = Mode::from_raw_mode(u32::from(mode & 0o777 | 0o700));
        match rustix::fs::mkdirat(at, name, mode) {
            Ok(()) => {
                self.log.add(place, Deed::Directory);
                return Ok(());
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let found = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is_directory(&found) {
            return open_up(&mut self.log, place, DirectoryAt { at, name }, &found);
        }
        let temporary = self.begin(place);
        let (at, _) = enter(&mut self.walker, target, place)?;
        let new = target.temporary_name(temporary.0);
        rustix::fs::mkdirat(at, &new[..], mode)?;
        let inode = rustix::fs::statat(at, &new[..], AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
        self.publish(place, &temporary, inode)?;
        self.log.add(place, Deed::Directory);
        Ok(())
    }

    /// Makes a file: `fill` writes its content. Where nothing is expected it has its name from the beginning.
    pub(crate) fn make_file(
        &mut self,
        place: Place<'_>,
        is_vacant: bool,
        attributes: &Attributes<'_>,
        fill: impl Fn(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<Signature> {
        let target = self.target;
        if is_vacant {
            let (at, name) = enter(&mut self.walker, target, place)?;
            match rustix::fs::openat(at, name, OFlags::EXCL | new_file(), created_mode(attributes)) {
                Ok(open) => {
                    let mut undone = Vec::new();
                    let set = fill(&open).and_then(|()| attributes.set(&open, target.policy.owners, &mut undone));
                    let stat = match set {
                        Ok(stat) => stat,
                        Err(error) => {
                            remove_if_own(at, name, &open);
                            return Err(error);
                        }
                    };
                    self.log.add(place, Deed::File { inode: stat.st_ino });
                    self.note(place, undone);
                    return Ok(Signature::of(&stat));
                }
                // Whatever came in between: it is replaced, as tar would.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let temporary = self.begin(place);
        let open = self.open_temporary(place, &temporary)?;
        fill(&open)?;
        self.finish_file(place, &temporary, &open, None, attributes)
    }

    /// Gives a file in the making its length, if one is given, its attributes and its name.
    pub(crate) fn finish_file(
        &mut self,
        place: Place<'_>,
        temporary: &Temporary,
        open: &OwnedFd,
        size: Option<u64>,
        attributes: &Attributes<'_>,
    ) -> io::Result<Signature> {
        if let Some(size) = size {
            rustix::fs::ftruncate(open, size)?;
        }
        let mut undone = Vec::new();
        let stat = attributes.set(open, self.target.policy.owners, &mut undone)?;
        self.note(place, undone);
        if let Err(error) = self.publish(place, temporary, stat.st_ino) {
            return self.keep_if_same(place, temporary, ("set the mode and time of", error));
        }
        // A new name is a change of the file to some file systems.
        Ok(Signature::of(&rustix::fs::fstat(open)?))
    }

    /// Begins a file beside a place.
    pub(crate) fn begin(&mut self, place: Place<'_>) -> Temporary {
        let target = self.target;
        if let Some(root) = target.root(place.root) {
            leftovers::mark(root, || {
                let number = target.next_number();
                (number, target.temporary_name(number))
            });
        }
        let number = target.next_number();
        self.log.add(place, Deed::Temporary { number });
        Temporary(number)
    }

    /// Opens a file in the making, and makes it the first time.
    pub(crate) fn open_temporary(&mut self, place: Place<'_>, temporary: &Temporary) -> io::Result<OwnedFd> {
        let name = self.target.temporary_name(temporary.0);
        let (at, _) = self.enter(place)?;
        Ok(rustix::fs::openat(at, &name[..], new_file(), Mode::RUSR | Mode::WUSR)?)
    }

    /// Makes a symbolic link, or sets right the one that is there.
    pub(crate) fn make_link(&mut self, place: Place<'_>, target: &[u8], attributes: &Attributes<'_>) -> io::Result<()> {
        let (owners, tree) = (self.target.policy.owners, self.target);
        let (at, name) = enter(&mut self.walker, tree, place)?;
        match rustix::fs::symlinkat(target, at, name) {
            Ok(()) => {
                let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let set = attributes.set_on_link(at, name, owners);
                self.log.add(place, Deed::File { inode: stat.st_ino });
                self.note_link(place, set);
                return Ok(());
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let found = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_same = reads_as(at, name, target);
        if is_same && attributes.are_on_link(&found, owners) {
            return Ok(());
        }
        let temporary = self.begin(place);
        let remade = self.remake_link(place, &temporary, target, attributes);
        match remade {
            // A link of another user that leads to the right place.
            Err(error) if is_same && error.kind() == io::ErrorKind::PermissionDenied => {
                let name = tree.temporary_name(temporary.0);
                let (at, _) = enter(&mut self.walker, tree, place)?;
                let _ = rustix::fs::unlinkat(at, &name[..], AtFlags::empty());
                self.note(place, vec![("set the time of", error)]);
                Ok(())
            }
            remade => remade,
        }
    }

    /// Makes a link anew in the place of one that may have other names, or belong to another user.
    fn remake_link(
        &mut self,
        place: Place<'_>,
        temporary: &Temporary,
        target: &[u8],
        attributes: &Attributes<'_>,
    ) -> io::Result<()> {
        let name = self.target.temporary_name(temporary.0);
        let owners = self.target.policy.owners;
        let (at, _) = self.enter(place)?;
        rustix::fs::symlinkat(target, at, &name[..])?;
        let set = attributes.set_on_link(at, &name, owners);
        let inode = rustix::fs::statat(at, &name[..], AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
        self.note_link(place, set);
        self.publish(place, temporary, inode)?;
        Ok(())
    }

    /// Makes a place another name of the file at `first`, which is there. `first_cursor` moves among such files.
    pub(crate) fn link(
        &mut self,
        place: Place<'_>,
        first: Place<'_>,
        first_cursor: &mut Cursor<'_>,
    ) -> io::Result<Linked> {
        let target = self.target;
        let (from, first_name) = first_cursor.enter(first)?;
        let wanted = rustix::fs::statat(from, first_name, AtFlags::SYMLINK_NOFOLLOW)?;
        let (at, name) = enter(&mut self.walker, target, place)?;
        match rustix::fs::linkat(from, first_name, at, name, AtFlags::empty()) {
            Ok(()) => {
                self.log.add(place, Deed::File { inode: wanted.st_ino });
                return Ok(Linked::Made);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return impossible(error),
        }
        let there = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino) {
            return Ok(Linked::WasThere);
        }
        let temporary = self.begin(place);
        let (at, _) = enter(&mut self.walker, target, place)?;
        let new = target.temporary_name(temporary.0);
        if let Err(error) = rustix::fs::linkat(from, first_name, at, &new[..], AtFlags::empty()) {
            return impossible(error);
        }
        if let Err(error) = self.publish(place, &temporary, wanted.st_ino) {
            self.keep_if_same(place, &temporary, ("make the hard link", error))?;
            return Ok(Linked::WasThere);
        }
        Ok(Linked::Made)
    }

    /// After something new could not take its place: where what is there is the same but for its attributes, that is
    /// kept, with a notice. Otherwise the error is given back.
    fn keep_if_same(&mut self, place: Place<'_>, temporary: &Temporary, undone: Undone) -> io::Result<Signature> {
        let new = self.target.temporary_name(temporary.0);
        let (at, name) = self.enter(place)?;
        let is_refusal = matches!(undone.1.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy);
        if !is_refusal || !is_same(at, name, &new) {
            return Err(undone.1);
        }
        let found = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::unlinkat(at, &new[..], AtFlags::empty())?;
        self.note(place, vec![undone]);
        Ok(Signature::of(&found))
    }

    /// Whether another file system, or a file of one, is mounted at a place, so that what is there lies elsewhere.
    pub(crate) fn is_mounted(&mut self, place: Place<'_>, found: &Stat) -> bool {
        let device = self.target.device(place.root).unwrap_or(found.st_dev);
        self.enter(place).is_ok_and(|(at, name)| !name.is_empty() && is_mounted(at, name, found, device))
    }

    /// Whether a symbolic link with this target is at a place.
    pub(crate) fn is_link_to(&mut self, place: Place<'_>, target: &[u8]) -> bool {
        self.enter(place).is_ok_and(|(at, name)| reads_as(at, name, target))
    }

    /// Writes what is at `from`, a file, to a file in the making: its data, and where it has holes.
    pub(crate) fn copy(&mut self, from: &OwnedFd, place: Place<'_>, temporary: &Temporary) -> io::Result<OwnedFd> {
        let open = self.open_temporary(place, temporary)?;
        copy_data(from, &open)?;
        Ok(open)
    }

    /// Sets the attributes of a file that is kept. What cannot be set is a notice: its content is right.
    pub(crate) fn set_right(&mut self, place: Place<'_>, attributes: &Attributes<'_>) -> Option<Signature> {
        let mut undone = Vec::new();
        let owners = self.target.policy.owners;
        let set = self.enter(place).and_then(|(at, name)| {
            let open = open_or_open_up(at, name, attributes)?;
            if let Err(error) = drop_xattrs(&open, attributes.xattrs) {
                undone.push(("remove an extended attribute of", error));
            }
            attributes.set(&open, owners, &mut undone)
        });
        let signature =
            set.map(|stat| Signature::of(&stat)).map_err(|error| undone.push(("set the mode and time of", error)));
        self.note(place, undone);
        signature.ok()
    }

    /// Sets mode, time and attributes of a directory when everything in it is done. What cannot be set is a notice: a
    /// directory that we may write into can be another user's.
    pub(crate) fn finish_directory(&mut self, place: Place<'_>, attributes: &Attributes<'_>, committed: &Committed) {
        let target = self.target;
        let is_new = committed.is_new(place);
        // On the way to what a pattern matched, directories that were there before are not ours.
        if !is_new && target.paths.decide(place.root, place.path, true) != PathDecision::Include {
            if let Some(mode) = committed.mode_before(place) {
                let _ = self.close(place, mode); // it was ours to open up
            }
            return;
        }
        let mut undone = Vec::new();
        let owners = target.policy.owners;
        let set = self
            .enter(place)
            .and_then(|(at, name)| attributes.set_on_directory(DirectoryAt { at, name }, is_new, owners, &mut undone));
        undone.extend(set.err().map(|error| ("set the mode and time of", error)));
        self.note(place, undone);
    }

    /// Removes from a directory what `is_kept`, which is asked by path, does not keep. Gives how many files went. Directories
    /// are to be cleaned from the outside in: nothing is removed from a repository that the entry does not hold.
    pub(crate) fn clean_directory(&mut self, place: Place<'_>, is_kept: impl Fn(&[u8]) -> bool) -> u64 {
        let (target, mut notices) = (self.target, Notices::default());
        let Some(root) = target.root(place.root) else { return 0 };
        if self.spared.iter().any(|(line, path)| *line == place.root && is_below(place.path, path)) {
            return 0;
        }
        let mut is_spared = false;
        let mut remover = Remover::new(target, place.root, root, &mut notices);
        let cleaned = self.enter(place).and_then(|(above, name)| {
            let opened = match name.is_empty() {
                true => above.try_clone_to_owned()?,
                false => {
                    let found = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if is_mounted(above, name, &found, root.device) {
                        return Err(io::Error::other("another file system is mounted there"));
                    }
                    open_directory(above, name)?
                }
            };
            let names = names(opened.as_fd())?;
            let is_foreign = |name: &Vec<u8>| name == REPOSITORY && !is_kept(&join(place.path, name));
            is_spared = !target.policy.clean_repositories && names.iter().any(is_foreign);
            if is_spared {
                return Err(is_repository());
            }
            for name in names.into_iter().filter(|name| !target.is_own_name(name)) {
                let path = join(place.path, &name);
                if !is_kept(&path) {
                    remover.remove(&path);
                }
            }
            Ok(())
        });
        if let Err(error) = cleaned {
            remover.failed("clean", place.path, error);
        }
        let removed_files = remover.removed_files;
        if is_spared {
            self.spared.push((place.root, place.path.to_vec()));
        }
        self.notices.append(notices);
        removed_files
    }

    /// Gives what was made under a temporary name its own.
    fn publish(&mut self, place: Place<'_>, temporary: &Temporary, inode: u64) -> io::Result<Occupant> {
        let target = self.target;
        let spare = target.next_number();
        let (at, name) = enter(&mut self.walker, target, place)?;
        let (new, spare_name) = (target.temporary_name(temporary.0), target.temporary_name(spare));
        let found = swap_in(at, &new, name, &spare_name, || match stat(at, name)? {
            Some(found) => may_replace(target, place, at, name, &found),
            None => Ok(()),
        })?;
        let deed = match found {
            Occupant::Nothing => Deed::File { inode },
            Occupant::Exchanged => Deed::Replaced { old: temporary.0, inode },
            Occupant::MovedTo => Deed::Replaced { old: spare, inode },
        };
        self.log.add(place, deed);
        Ok(found)
    }

    fn walker_of(&mut self, root: usize) -> io::Result<&mut Walker> {
        walker_of(&mut self.walker, self.target, root)
    }

    fn note(&mut self, place: Place<'_>, undone: Vec<Undone>) {
        let target = self.target;
        self.notices.extend(undone, || target.full_path(place));
    }

    fn note_link(&mut self, place: Place<'_>, set: rustix::io::Result<()>) {
        self.note(place, set.err().map(|error| ("set owner and time of", error.into())).into_iter().collect());
    }
}

impl Target<'_> {
    /// A place in the tree that moves, for one thread.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor::new(self)
    }
}

impl Drop for Cursor<'_> {
    /// Also when a thread panics: what it has done is taken back then.
    fn drop(&mut self) {
        self.target.journal.add(std::mem::take(&mut self.log));
    }
}

fn enter<'w, 'p>(
    walker: &'w mut Option<(usize, Walker)>,
    target: &Target<'_>,
    place: Place<'p>,
) -> io::Result<(BorrowedFd<'w>, &'p [u8])> {
    let walker = walker_of(walker, target, place.root)?;
    Ok((walker.enter(parent(place.path))?, file_name(place.path)))
}

fn walker_of<'w>(
    walker: &'w mut Option<(usize, Walker)>,
    target: &Target<'_>,
    root: usize,
) -> io::Result<&'w mut Walker> {
    if walker.as_ref().is_none_or(|(of, _)| *of != root) {
        let directory = target.root(root).ok_or(io::ErrorKind::NotFound)?.directory.clone();
        *walker = Some((root, Walker::new(directory, target.levels)));
    }
    walker.as_mut().map(|(_, walker)| walker).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Lets us write into a directory that was there before. Its mode is set at the end.
fn open_up(log: &mut Log, place: Place<'_>, directory: DirectoryAt<'_>, stat: &Stat) -> io::Result<()> {
    let mode = stat.st_mode & 0o7777;
    if mode & 0o300 == 0o300 {
        return Ok(());
    }
    match directory.set_mode(Mode::from_raw_mode(mode | 0o700)) {
        Ok(()) => log.add(place, Deed::OpenedUp { mode }),
        // Another user's. Its group or all others may be allowed to write, and if not, the first file shows it.
        Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Opens a kept file for setting its attributes, one that cannot be read, or not be written where that is needed, too.
fn open_or_open_up(at: BorrowedFd<'_>, name: &[u8], attributes: &Attributes<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mode = |more: u32| Mode::from_raw_mode(u32::from(attributes.meta.mode & 0o777) | more);
    let open = match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, name, mode(0o400), AtFlags::empty())?;
            rustix::fs::openat(at, name, flags, Mode::empty())?
        }
        open => open?,
    };
    if !attributes.xattrs.is_empty() {
        // Extended attributes can be set only on a file that its owner may write.
        let _ = rustix::fs::fchmod(&open, mode(0o600));
    }
    Ok(open)
}

fn new_file() -> OFlags {
    OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn created_mode(attributes: &Attributes<'_>) -> Mode {
    // Extended attributes can be set only on a file that its owner may write.
    let mode = if attributes.xattrs.is_empty() { attributes.meta.mode & 0o777 } else { 0o600 };
    Mode::from_raw_mode(mode.into())
}

fn reads_as(at: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> bool {
    rustix::fs::readlinkat(at, name, Vec::new()).is_ok_and(|found| found.as_bytes() == target)
}

/// Whether two names are files of the same content, or links with the same target.
fn is_same(at: BorrowedFd<'_>, name: &[u8], other: &[u8]) -> bool {
    if let Ok(target) = rustix::fs::readlinkat(at, name, Vec::new()) {
        return reads_as(at, other, target.as_bytes());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = |name| rustix::fs::openat(at, name, flags, Mode::empty());
    let compared = open(name).and_then(|one| Ok((one, open(other)?)));
    compared.is_ok_and(|(one, other)| has_same_data(&one, &other).unwrap_or(false))
}

/// Removes a file that could not be finished, unless its name has gone to another one.
fn remove_if_own(at: BorrowedFd<'_>, name: &[u8], open: &OwnedFd) {
    if let (Ok(own), Ok(Some(found))) = (rustix::fs::fstat(open), stat(at, name))
        && (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino)
    {
        let _ = unlink(at, name, &found);
    }
}

fn impossible(error: Errno) -> io::Result<Linked> {
    match error {
        // On another file system, or one without hard links, or when the file has as many names as can be. Or a file of
        // another user, which the kernel lets nobody else link.
        Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::NOTSUP | Errno::NOSYS => Ok(Linked::Impossible(error.into())),
        error => Err(error.into()),
    }
}

/// Whether something is a regular file.
pub(crate) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
}
