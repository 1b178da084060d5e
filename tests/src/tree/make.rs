//! Makers of trees that are hard to keep, one for each way of being hard. Each fills an existing directory.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, lsetxattr, mkdirat, mknodat, openat,
    utimensat,
};

/// Fills an existing directory.
type Maker = fn(&Path);

/// Everything that a save keeps: all makers but [`specials`] and [`unreadable`], each in a directory of its own.
pub fn everything(dir: &Path) {
    let makers: [(&str, Maker); 9] = [
        ("modes", modes),
        ("times", times),
        ("symlinks", symlinks),
        ("hard-links", hard_links),
        ("empties", empties),
        ("sparse", sparse),
        ("xattrs", xattrs),
        ("names", names),
        ("long-paths", |dir| long_path(dir, 1_500)),
    ];
    for (name, maker) in makers {
        let sub = dir.join(name);
        fs::create_dir(&sub).expect("the directory can be made");
        maker(&sub);
    }
}

/// Files and directories with every kind of mode that their owner can still read.
pub fn modes(dir: &Path) {
    for mode in [0o400, 0o444, 0o600, 0o644, 0o664, 0o666, 0o700, 0o755, 0o777, 0o4755, 0o2755, 0o1644, 0o6711, 0o7777]
    {
        let file = dir.join(format!("file-{mode:04o}"));
        fs::write(&file, format!("{mode:o}")).expect("the file can be written");
        set_mode(&file, mode);
    }
    for mode in [0o500, 0o555, 0o700, 0o755, 0o777, 0o1777, 0o2755, 0o4700, 0o7777] {
        let sub = dir.join(format!("dir-{mode:04o}"));
        fs::create_dir(&sub).expect("the directory can be made");
        fs::write(sub.join("inside"), "x").expect("the file can be written");
        set_mode(&sub, mode);
    }
}

/// What only root reads: a file and a directory without any permission, and a file without read permission.
pub fn unreadable(dir: &Path) {
    fs::write(dir.join("readable"), "can be read").expect("the file can be written");
    for (name, mode) in [("mode-000", 0o000), ("mode-200", 0o200)] {
        fs::write(dir.join(name), "cannot be read").expect("the file can be written");
        set_mode(&dir.join(name), mode);
    }
    let closed = dir.join("closed");
    fs::create_dir(&closed).expect("the directory can be made");
    fs::write(closed.join("inside"), "cannot be reached").expect("the file can be written");
    set_mode(&closed, 0o000);
}

/// Times to the nanosecond: around the epoch, before it, and far ahead; on files, directories and links.
pub fn times(dir: &Path) {
    let times: [(i64, u32); 9] = [
        (0, 0),
        (0, 1),
        (-1, 999_999_999),
        (-1, 1),
        (-2_000_000_000, 123_456_789),
        (1_700_000_000, 100_000_000),
        (1_700_000_000, 1),
        (2_147_483_648, 5),
        (4_000_000_000, 999_999_999),
    ];
    for (number, (seconds, nanos)) in times.into_iter().enumerate() {
        let file = dir.join(format!("file-{number}"));
        fs::write(&file, "x").expect("the file can be written");
        set_mtime(&file, seconds, nanos);
        let link = dir.join(format!("link-{number}"));
        symlink("nowhere", &link).expect("the link can be made");
        set_mtime(&link, seconds, nanos);
        let sub = dir.join(format!("dir-{number}"));
        fs::create_dir(&sub).expect("the directory can be made");
        fs::write(sub.join("inside"), "x").expect("the file can be written");
        set_mtime(&sub, seconds, nanos);
    }
}

/// Links: relative, absolute, up, dangling, to a directory, to themselves, in a circle, and with a long target.
pub fn symlinks(dir: &Path) {
    fs::create_dir(dir.join("sub")).expect("the directory can be made");
    fs::write(dir.join("sub/file"), "target").expect("the file can be written");
    let long = "long/".repeat(200);
    for (target, name) in [
        ("sub/file", "relative"),
        ("../symlinks/sub/file", "up"),
        ("/etc/passwd", "absolute"),
        ("no such file", "dangling"),
        ("sub", "to-dir"),
        ("self", "self"),
        ("circle-b", "circle-a"),
        ("circle-a", "circle-b"),
        (".", "dot"),
        ("sub//file", "not-normal"),
        (long.as_str(), "long"),
    ] {
        symlink(target, dir.join(name)).expect("the link can be made");
    }
    symlink(OsStr::from_bytes(b"odd\xff\n"), dir.join("odd")).expect("the link can be made");
}

/// Hard links: in one directory, across directories, of an empty file, and of a large one.
pub fn hard_links(dir: &Path) {
    for sub in ["a", "b", "b/c"] {
        fs::create_dir(dir.join(sub)).expect("the directory can be made");
    }
    fs::write(dir.join("a/file"), "linked").expect("the file can be written");
    fs::write(dir.join("a/empty"), "").expect("the file can be written");
    fs::write(dir.join("b/large"), super::Rng::new(1).bytes(300_000)).expect("the file can be written");
    for (old, new) in [
        ("a/file", "a/again"),
        ("a/file", "b/c/other"),
        ("a/empty", "b/empty"),
        ("b/large", "a/large"),
        // The link comes before what it was made from, in the order of the alphabet.
        ("b/large", "0-large"),
    ] {
        fs::hard_link(dir.join(old), dir.join(new)).expect("the link can be made");
    }
}

/// Empty files and directories, down to empty directories in empty directories.
pub fn empties(dir: &Path) {
    fs::write(dir.join("file"), "").expect("the file can be written");
    fs::create_dir_all(dir.join("dir/in/dir")).expect("the directory can be made");
    fs::create_dir(dir.join("dir/beside")).expect("the directory can be made");
}

/// Sparse files of a few MiB: a hole at the start, in the middle, at the end, and nothing but a hole.
pub fn sparse(dir: &Path) {
    const MIB: u64 = 1 << 20;
    sparse_file(&dir.join("start"), 4 * MIB, &[(3 * MIB, 100_000)]);
    sparse_file(&dir.join("middle"), 5 * MIB, &[(0, 10_000), (4 * MIB, 4096)]);
    sparse_file(&dir.join("end"), 6 * MIB, &[(0, 4096)]);
    sparse_file(&dir.join("hole"), 3 * MIB, &[]);
    sparse_file(&dir.join("odd"), 2 * MIB + 1, &[(MIB + 4096 + 7, 1)]);
}

/// A sparse file of `size` bytes with random data at the given places (offset, length).
pub fn sparse_file(path: &Path, size: u64, extents: &[(u64, usize)]) {
    let file = File::create(path).expect("the file can be made");
    file.set_len(size).expect("the file can be made longer");
    for &(offset, length) in extents {
        file.write_all_at(&super::Rng::new(offset).bytes(length), offset).expect("the file can be written");
    }
}

/// Files and directories with extended attributes of the user: text, bytes, empty, many and long.
pub fn xattrs(dir: &Path) {
    fs::write(dir.join("file"), "x").expect("the file can be written");
    fs::create_dir(dir.join("dir")).expect("the directory can be made");
    for path in [dir.join("file"), dir.join("dir")] {
        set_xattr(&path, "user.text", b"value");
        set_xattr(&path, "user.bytes", b"\0\xff=\n");
        set_xattr(&path, "user.empty", b"");
        set_xattr(&path, "user.name with = and space", b"odd");
        set_xattr(&path, "user.long", &[b'x'; 2_000]);
    }
}

/// Names that are hard to write down.
pub fn names(dir: &Path) {
    let long = [b'n'; 255];
    let names: [&[u8]; 18] = [
        b"new\nline",
        b"tab\t",
        b"carriage\r",
        b"-rf",
        b"--help",
        b"back\\slash",
        b"quote\"'",
        b" leading",
        b"trailing ",
        b"\xff\xfe not UTF-8",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
        "\u{1F980}".as_bytes(),
        b"*?[a]",
        b"...",
        b"#comment",
        b"!not",
        &long,
    ];
    for name in names {
        let name = OsStr::from_bytes(name);
        fs::write(dir.join(name), name.as_bytes()).expect("the file can be written");
    }
    for name in [b"dir\n\xff".as_slice(), b"-dir", b"dir\\"] {
        let sub = dir.join(OsStr::from_bytes(name));
        fs::create_dir(&sub).expect("the directory can be made");
        fs::write(sub.join("inside"), "x").expect("the file can be written");
    }
}

/// A file whose path below `dir` has exactly `bytes` bytes, in components of at most 200. Made step by step, so that
/// the whole path may be longer than any one call takes.
pub fn long_path(dir: &Path, bytes: usize) {
    let mut parent = open_dir(dir);
    let mut left = bytes;
    while left > 200 {
        let length = (left - 2).min(200);
        let name = "p".repeat(length);
        mkdirat(&parent, &name, Mode::from_raw_mode(0o755)).expect("the directory can be made");
        parent = openat(&parent, &name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("it is there");
        left -= length + 1;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(&parent, "f".repeat(left), flags, Mode::from_raw_mode(0o644)).expect("the file can be made");
    rustix::io::write(&file, b"deep").expect("the file can be written");
}

/// What cannot be saved: a FIFO and a socket, beside a file that can.
pub fn specials(dir: &Path) {
    fs::write(dir.join("file"), "x").expect("the file can be written");
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        mknodat(CWD, dir.join(name), kind, Mode::from_raw_mode(0o644), 0).expect("the special file can be made");
    }
}

/// Sets the mode of a file or directory.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode can be set");
}

/// Sets the time of the last change of anything, links included.
pub fn set_mtime(path: &Path, seconds: i64, nanos: u32) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("the time can be set");
}

/// Sets an extended attribute.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .expect("user xattrs work here; if not, set TMPDIR to a file system that has them");
}

fn open_dir(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("the directory can be opened")
}
