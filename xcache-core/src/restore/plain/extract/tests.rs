//! Archives onto a directory, and back when they cannot be finished.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::*;
use crate::paths::PathList;
use crate::restore::disk::{OwnerPolicy, RootExtent, TargetPolicy, Wanted};
use crate::restore::interrupt::Interrupt;

type Archive = Builder<Vec<u8>>;

fn member(archive: &mut Archive, kind: EntryType, name: &str, link: &str, content: &str) {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o555);
    header.set_mtime(1_000_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.append(&header, content.as_bytes()).unwrap();
}

fn file(archive: &mut Archive, name: &str, content: &str) {
    member(archive, EntryType::Regular, name, "", content);
}

fn directory(archive: &mut Archive, name: &str) {
    member(archive, EntryType::Directory, name, "", "");
}

const KEEP: bool = false;
const CLEAN: bool = true;

/// Restores what `make` writes, up to `end` bytes of it, onto `target`, and takes it back if that fails. An error comes
/// with the number of things that could not be put back.
fn extract(
    target: &Path,
    clean: bool,
    make: impl FnOnce(&mut Archive),
    end: Option<usize>,
) -> Result<Restored, (Error, u64)> {
    let mut archive = Builder::new(Vec::new());
    make(&mut archive);
    let bytes = archive.into_inner().unwrap();
    let paths = PathList::parse(&[target.to_str().unwrap(), "!**/excluded"], Path::new("/"), None).unwrap();
    let wanted = Wanted { line: 0, base: target.to_owned(), extent: RootExtent::Whole };
    let policy = TargetPolicy { owners: OwnerPolicy::Own, clean, clean_repositories: false, run: 7, threads: 1 };
    let mut notices = Notices::default();
    let target = Target::open(&[wanted], &paths, policy, &Interrupt::default(), &mut notices).unwrap();
    let mut extractor = Extractor::new(&target);
    match extractor.extract(TarStream::new(&bytes[..end.unwrap_or(bytes.len())])) {
        Ok(()) => {
            let extracted = extractor.finish(&mut notices);
            let committed = target.commit(&mut notices);
            let restored = extracted.complete(&target, &committed, &mut notices);
            Ok(Restored { notices: notices.lines(), ..restored })
        }
        Err(error) => {
            drop(extractor);
            Err((error, target.roll_back()))
        }
    }
}

/// Names below a directory, with the content of files.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let stat = path.symlink_metadata().unwrap();
        if stat.is_dir() {
            found.push(format!("{name}/"));
            found.extend(tree(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else if stat.is_symlink() {
            found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
        } else {
            found.push(format!("{name} = {}", fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn everything(archive: &mut Archive) {
    directory(archive, "./");
    directory(archive, "./d/");
    file(archive, "./d/f", "content");
    file(archive, "./no/parent/f", "x");
    member(archive, EntryType::Symlink, "./d/l", "../nowhere", "");
    member(archive, EntryType::Link, "./d/h", "./d/f", "");
    member(archive, EntryType::Link, "./d/hl", "d/l", "");
}

#[test]
fn members_become_files_directories_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let restored = extract(dir.path(), KEEP, everything, None).unwrap();
    let expected = [
        "d/",
        "d/f = content",
        "d/h = content",
        "d/hl -> ../nowhere",
        "d/l -> ../nowhere",
        "no/",
        "no/parent/",
        "no/parent/f = x",
    ];
    assert_eq!(tree(dir.path()), expected);
    assert_eq!((restored.files, restored.bytes), (4, 8));
    for path in ["", "d", "d/f", "no/parent/f"] {
        let stat = dir.path().join(path).metadata().unwrap();
        assert_eq!((stat.permissions().mode() & 0o7777, stat.mtime()), (0o555, 1_000_000_000), "{path:?}");
    }
    assert_eq!(fs::metadata(dir.path().join("d/f")).unwrap().nlink(), 2);
}

#[test]
fn an_archive_that_breaks_off_anywhere_leaves_nothing() {
    let length = {
        let mut archive = Builder::new(Vec::new());
        everything(&mut archive);
        archive.into_inner().unwrap().len()
    };
    for end in (0..length).step_by(256) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/kept"), "kept").unwrap();
        let (error, replaced) = extract(dir.path(), KEEP, everything, Some(end)).unwrap_err();
        assert!(matches!(error, Error::Archive(_)), "{error}");
        assert_eq!((replaced, tree(dir.path())), (0, vec!["d/".to_owned(), "d/kept = kept".to_owned()]), "{end}");
    }
}

#[test]
fn what_was_there_is_replaced_whole_and_returns_on_failure() {
    let make = |archive: &mut Archive| {
        file(archive, "f", "new");
        file(archive, "f", "newer");
        member(archive, EntryType::Symlink, "l", "f", "");
        directory(archive, "x/");
        file(archive, "x/below", "new");
        file(archive, "d", "new");
        file(archive, "more", "more");
    };
    let dir = tempfile::tempdir().unwrap();
    for name in ["f", "l", "x"] {
        fs::write(dir.path().join(name), "old").unwrap();
    }
    fs::create_dir(dir.path().join("d")).unwrap();
    let before = tree(dir.path());
    let refused = |archive: &mut Archive| {
        make(archive);
        file(archive, "/refused", "");
    };
    let (error, not_back) = extract(dir.path(), KEEP, refused, None).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert_eq!((not_back, tree(dir.path())), (0, before));
    extract(dir.path(), KEEP, make, None).unwrap();
    assert_eq!(tree(dir.path()), ["d = new", "f = newer", "l -> f", "more = more", "x/", "x/below = new"]);
}

#[test]
fn the_last_member_of_a_name_counts() {
    let dir = tempfile::tempdir().unwrap();
    let make = |archive: &mut Archive| {
        file(archive, "a", "one");
        file(archive, "a", "two");
        file(archive, "b", "file");
        member(archive, EntryType::Symlink, "b", "a", "");
        member(archive, EntryType::Symlink, "c", "..", "");
        directory(archive, "c/");
        file(archive, "c/below", "x");
        member(archive, EntryType::Link, "a", "a", "");
    };
    extract(dir.path(), KEEP, make, None).unwrap();
    assert_eq!(tree(dir.path()), ["a = two", "b -> a", "c/", "c/below = x"]);
}

#[test]
fn members_below_and_links_to_what_is_no_directory_or_no_file_are_refused() {
    let refused = |make: fn(&mut Archive)| {
        let dir = tempfile::tempdir().unwrap();
        let (error, _) = extract(dir.path(), KEEP, make, None).unwrap_err();
        assert!(matches!(error, Error::Archive(archive::Error::BadMember { .. })), "{error}");
        assert!(tree(dir.path()).is_empty());
    };
    refused(|archive| {
        file(archive, "f", "");
        file(archive, "f/below/it", "");
    });
    refused(|archive| {
        member(archive, EntryType::Symlink, "l", "/tmp", "");
        directory(archive, "l/below/");
    });
    refused(|archive| member(archive, EntryType::Link, "h", "none", ""));
    refused(|archive| {
        directory(archive, "d");
        member(archive, EntryType::Link, "h", "d", "");
    });
    refused(|archive| member(archive, EntryType::Symlink, "l", "", ""));
    refused(|archive| file(archive, ".", ""));
}

#[test]
fn directories_that_were_opened_up_are_closed_again_on_failure() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for path in [dir.path().join("d"), dir.path().to_owned()] {
        set_mode(&path, 0o555);
    }
    let make = |archive: &mut Archive| {
        everything(archive);
        file(archive, "/refused", "");
    };
    extract(dir.path(), KEEP, make, None).unwrap_err();
    for path in ["", "d"] {
        assert_eq!(fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777, 0o555, "{path:?}");
    }
    assert_eq!(tree(dir.path()), ["d/"]);
    set_mode(dir.path(), 0o755);
}

#[test]
fn a_directory_with_something_in_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/precious"), "old").unwrap();
    let make = |archive: &mut Archive| file(archive, "d", "new");
    let (error, not_back) = extract(dir.path(), KEEP, make, None).unwrap_err();
    assert!(error.is_about_the_entry(), "{error}");
    assert_eq!((not_back, tree(dir.path())), (0, vec!["d/".to_owned(), "d/precious = old".to_owned()]));
    extract(dir.path(), CLEAN, make, None).unwrap();
    assert_eq!(tree(dir.path()), ["d = new"]);
}

#[test]
fn others_are_removed_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("no/other/deep")).unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    for name in ["d/x", "no/x", "no/other/deep/x", "x"] {
        fs::write(dir.path().join(name), "old").unwrap();
    }
    let restored = extract(dir.path(), CLEAN, everything, None).unwrap();
    assert_eq!(restored.removed_files, 4);
    assert!(tree(dir.path()).iter().all(|name| !name.contains('x') || name == "no/parent/f = x"));
    assert_eq!(tree(dir.path()).len(), 8);
}

#[test]
fn an_archive_that_holds_what_is_excluded_is_one_for_other_paths() {
    let dir = tempfile::tempdir().unwrap();
    let make = |archive: &mut Archive| {
        file(archive, "f", "");
        file(archive, "d/excluded/f", "");
    };
    let (error, _) = extract(dir.path(), KEEP, make, None).unwrap_err();
    assert!(matches!(error, Error::OtherPaths(OtherPaths::Member { .. })), "{error}");
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn devices_are_left_out_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let make = |archive: &mut Archive| member(archive, EntryType::Fifo, "pipe", "", "");
    let restored = extract(dir.path(), KEEP, make, None).unwrap();
    let notice = format!("cannot restore `{}`: it is no file, directory or link", dir.path().join("pipe").display());
    assert_eq!(restored.notices, [notice]);
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn paths_lose_what_means_nothing_and_keep_what_is_wrong() {
    for (raw, path) in [
        ("./", ""),
        (".", ""),
        ("./a/b/", "a/b"),
        ("a", "a"),
        ("/a", "/a"),
        ("././/a", "a"),
        ("a//./b", "a/b"),
        ("../a", "../a"),
        ("a/../..", "a/../.."),
    ] {
        assert_eq!(relative(raw.as_bytes()), path.as_bytes(), "{raw}");
    }
}
