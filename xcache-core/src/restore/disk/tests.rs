//! What a target does to the disk, and that it can take it back.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::XattrFlags;

use super::super::interrupt::Interrupt;
use super::*;
use crate::archive::index::{Metadata, Xattrs};
use crate::paths::PathList;
use crate::temporary;

const POLICY: TargetPolicy =
    TargetPolicy { owners: OwnerPolicy::Own, clean: false, clean_repositories: false, run: 7, threads: 1 };

/// Opens `dir` as the one root, and acts on it.
fn on<T>(dir: &Path, policy: TargetPolicy, act: impl FnOnce(&Target<'_>) -> T) -> T {
    let paths = PathList::parse(&[dir.to_str().unwrap()], Path::new("/"), None).unwrap();
    let wanted = Wanted { line: 0, base: dir.to_owned(), extent: RootExtent::Whole };
    let mut notices = Notices::default();
    act(&Target::open(&[wanted], &paths, policy, &Interrupt::default(), &mut notices).unwrap())
}

fn place(path: &str) -> Place<'_> {
    Place { root: 0, path: path.as_bytes() }
}

fn meta(mode: u16) -> Metadata {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Metadata { mode, mtime_seconds: 1_000_000_000, mtime_nanos: 0, uid, gid }
}

/// Makes a file in place of whatever is there.
fn make(cursor: &mut Cursor<'_>, path: &str, content: &str, meta: &Metadata) {
    let attributes = Attributes { meta, xattrs: &Xattrs::new() };
    cursor.make_file(place(path), true, &attributes, |open| write_at(open, content.as_bytes(), 0)).unwrap();
}

/// All names below `dir`, with the content of files and the targets of links.
fn tree(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stat = path.symlink_metadata().unwrap();
        let shown = match stat.file_type() {
            kind if kind.is_dir() => format!("{:o}", stat.mode() & 0o777),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            _ => fs::read_to_string(&path).unwrap(),
        };
        found.push((path.strip_prefix(dir).unwrap().display().to_string(), shown));
        if stat.is_dir() {
            found.extend(
                tree(&path)
                    .into_iter()
                    .map(|(below, shown)| (format!("{}/{below}", path.file_name().unwrap().display()), shown)),
            );
        }
    }
    found.sort();
    found
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with one of each kind.
fn something(dir: &Path) {
    for name in ["file", "other"] {
        fs::write(dir.join(name), "old").unwrap();
    }
    fs::create_dir_all(dir.join("dir/sub")).unwrap();
    fs::write(dir.join("dir/sub/file"), "old").unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    symlink("old", dir.join("link")).unwrap();
    set_mode(&dir.join("dir/sub"), 0o500);
}

#[test]
fn everything_that_was_there_returns() {
    let dir = tempfile::tempdir().unwrap();
    something(dir.path());
    let before = tree(dir.path());
    let inode = |name: &str| dir.path().join(name).symlink_metadata().unwrap().ino();
    let inodes = || ["file", "other", "dir/sub/file", "link", "empty"].map(inode);
    let old = inodes();
    on(dir.path(), POLICY, |target| {
        let mut cursor = target.cursor();
        cursor.make_directory(place("dir/sub"), 0o755).unwrap();
        for path in ["file", "dir/sub/file", "link", "empty", "new", "dir/new"] {
            make(&mut cursor, path, "new", &meta(0o644));
        }
        // Twice, and something in it.
        make(&mut cursor, "file", "newer", &meta(0o644));
        cursor.make_directory(place("other"), 0o755).unwrap();
        make(&mut cursor, "other/file", "new", &meta(0o644));
        cursor.make_above(place("a/b/c"), &|_| 0o755).unwrap();
        make(&mut cursor, "a/b/c", "new", &meta(0o644));
        cursor.make_link(place("link"), b"new", &Attributes { meta: &meta(0o777), xattrs: &Xattrs::new() }).unwrap();
        let begun = cursor.begin(place("dir/begun"));
        cursor.open_temporary(place("dir/begun"), &begun).unwrap();
        drop(cursor);
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "newer");
        assert_eq!(target.roll_back(), 0);
    });
    assert_eq!(tree(dir.path()), before);
    assert_eq!(inodes(), old, "the very same files");
    set_mode(&dir.path().join("dir/sub"), 0o700);
}

#[test]
fn only_what_this_restore_made_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("replaced"), "old").unwrap();
    on(dir.path(), POLICY, |target| {
        let mut cursor = target.cursor();
        for name in ["replaced", "made", "kept"] {
            make(&mut cursor, name, "ours", &meta(0o644));
        }
        cursor.make_directory(place("dir"), 0o755).unwrap();
        drop(cursor);
        // Meanwhile another process puts its own files there.
        for name in ["replaced", "made", "dir/other"] {
            let other = dir.path().join("other");
            fs::write(&other, "theirs").unwrap();
            fs::rename(other, dir.path().join(name)).unwrap();
        }
        assert_eq!(target.roll_back(), 0);
    });
    let expected = [("dir", "755"), ("dir/other", "theirs"), ("made", "theirs"), ("replaced", "theirs")];
    assert_eq!(tree(dir.path()), expected.map(|(name, shown)| (name.to_owned(), shown.to_owned())));
}

#[test]
fn what_was_replaced_goes_in_the_end_and_no_name_of_ours_stays() {
    let dir = tempfile::tempdir().unwrap();
    something(dir.path());
    on(dir.path(), TargetPolicy { clean: true, ..POLICY }, |target| {
        let mut cursor = target.cursor();
        for path in ["file", "link", "empty", "dir"] {
            make(&mut cursor, path, "new", &meta(0o644));
        }
        drop(cursor);
        let mut notices = Notices::default();
        target.commit(&mut notices);
        assert_eq!(notices.lines(), Vec::<String>::new());
        assert_eq!(target.roll_back(), 1, "nothing is taken back any more");
    });
    let expected = [("dir", "new"), ("empty", "new"), ("file", "new"), ("link", "new"), ("other", "old")];
    assert_eq!(tree(dir.path()), expected.map(|(name, shown)| (name.to_owned(), shown.to_owned())));
}

#[test]
fn a_root_that_was_not_there_goes_again() {
    let dir = tempfile::tempdir().unwrap();
    on(&dir.path().join("a/b/root"), POLICY, |target| {
        make(&mut target.cursor(), "file", "new", &meta(0o644));
        assert_eq!(target.roll_back(), 0);
    });
    assert_eq!(tree(dir.path()), []);
}

/// A list of rights for what is made in a directory: its owner everything, and nothing for all others.
const DEFAULT_ACL: &[u8] =
    b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\0\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

#[test]
fn modes_are_those_of_the_entry_whatever_the_directory_hands_down() {
    let dir = tempfile::tempdir().unwrap();
    if rustix::fs::setxattr(dir.path(), "system.posix_acl_default", DEFAULT_ACL, XattrFlags::empty()).is_err() {
        eprintln!("not tested: no access control lists here");
        return;
    }
    fs::write(dir.path().join("probe"), "").unwrap();
    assert_eq!(fs::metadata(dir.path().join("probe")).unwrap().mode() & 0o777, 0o600, "the list has no effect");
    for mode in [0o644, 0o755, 0o600, 0o444, 0o777] {
        on(dir.path(), POLICY, |target| make(&mut target.cursor(), &format!("{mode:o}"), "", &meta(mode)));
        assert_eq!(fs::metadata(dir.path().join(format!("{mode:o}"))).unwrap().mode() & 0o777, u32::from(mode));
    }
}

#[test]
fn setuid_and_setgid_need_the_owner_that_they_were_meant_for() {
    let dir = tempfile::tempdir().unwrap();
    let own = meta(0o6755);
    let other = |uid, gid| Metadata { uid: own.uid + uid, gid: own.gid + gid, ..own };
    for (name, meta, expected) in [
        ("own", own, 0o6755),
        ("user", other(1, 0), 0o2755),
        ("group", other(0, 1), 0o4755),
        ("both", other(1, 1), 0o755),
    ] {
        let notices = on(dir.path(), POLICY, |target| {
            let mut cursor = target.cursor();
            make(&mut cursor, name, "", &meta);
            std::mem::take(&mut cursor.notices).lines()
        });
        assert_eq!(fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777, expected, "{name}");
        assert_eq!(notices.iter().any(|line| line.contains("setuid or setgid")), expected != 0o6755, "{notices:?}");
    }
}

#[test]
fn leftovers_of_killed_restores_are_removed_and_files_that_look_alike_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let leftover = |number| String::from_utf8(temporary::name(99, number)).unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::create_dir_all(dir.path().join(leftover(3)).join("set/aside")).unwrap();
    let alike = [".xcache-notes", ".xcache-0000000000000063-1", ".xcache-0000000000000063-1-00000000"];
    for name in alike.map(str::to_owned).into_iter().chain([leftover(1), leftover(2)]) {
        fs::write(dir.path().join("a/b").join(&name), "").unwrap();
    }
    fs::write(dir.path().join(leftover(4)), "").unwrap();
    on(dir.path(), POLICY, |target| assert!(!target.is_fresh(0)));
    let names: Vec<_> = tree(&dir.path().join("a/b")).into_iter().map(|(name, _)| name).collect();
    let mut expected = alike;
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // Nothing else was in it.
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    fs::write(dir.path().join(leftover(5)), "").unwrap();
    on(dir.path(), POLICY, |target| assert!(target.is_fresh(0)));
}

#[test]
fn a_restore_that_is_killed_at_any_moment_leaves_a_mark_in_its_root() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let ours = |dir: &Path| tree(dir).iter().filter(|(name, _)| name.contains(".xcache-")).count();
    on(dir.path(), POLICY, |target| {
        let mut cursor = target.cursor();
        make(&mut cursor, "sub/new", "", &meta(0o644));
        assert_eq!(ours(dir.path()), 0, "nothing under a temporary name");
        let begun = cursor.begin(place("sub/begun"));
        assert_eq!(ours(dir.path()), 1, "the mark comes first");
        cursor.open_temporary(place("sub/begun"), &begun).unwrap();
        assert_eq!(ours(dir.path()), 2);
        drop(cursor);
        target.roll_back();
        assert_eq!(ours(dir.path()), 0);
    });
}
