//! P6: what a restore that cannot finish leaves, and what one that can does to what it found.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;

use xcache_core::monitor::Progress;
use xcache_core::object::RunId;
use xcache_core::object_end::{self, Expected, ObjectFormat, TAIL_BYTES, Verdict, own_ref};
use xcache_core::paths::PathList;
use xcache_core::restore::{
    Error, Failed, Frames, Interrupt, Options, PlainSource, Restored, RestoredEntry, restore_plain,
};
use xcache_core::store::local::LocalStore;
use xcache_core::store::{ObjectName, Store};
use xcache_core::transfer::limits::DownloadLimits;
use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::tree::{self, Aspect, Snapshot, assert_same_tree};

use crate::fidelity::without_rights;
use crate::{RESTORE, restore, restored, save, saved};

/// A tree with a link, so that what stands in its way is met when all files are there.
fn ends_with_a_link(source: &Path) {
    fs::write(source.join("large"), tree::Rng::new(1).bytes(9 << 20)).unwrap();
    fs::write(source.join("small"), "small").unwrap();
    fs::create_dir(source.join("sub")).unwrap();
    fs::write(source.join("sub/file"), "file").unwrap();
    symlink("small", source.join("z-link")).unwrap();
    fs::write(source.join("z-file"), "new").unwrap();
}

/// Puts what cannot be replaced in the place of that link.
fn block(target: &Path) {
    fs::create_dir(target.join("z-link")).unwrap();
    fs::write(target.join("z-link/precious"), "precious").unwrap();
}

#[test]
fn a_directory_that_was_set_aside_returns() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    ends_with_a_link(&source);
    saved(&job, &place, "key", &source);
    block(&target);
    for name in ["large", "small"] {
        fs::create_dir(target.join(name)).unwrap();
    }
    let before = Snapshot::of(&target);
    let outcome = restore(&job, &place, "key").arg("--json").arg(&target).run().ok().reviewed();
    assert_eq!((&outcome.json()["outcome"], &outcome.json()["reason"]), (&"miss".into(), &"cannot-write".into()));
    assert_eq!(Snapshot::of(&target).differences(&before, &[Aspect::Root]), Vec::<String>::new());
}

#[test]
fn a_directory_with_something_in_it_is_not_replaced_by_a_file_or_link() {
    for name in ["large", "small", "z-link"] {
        let (job, place) = (Job::new(), Place::local());
        let (source, target) = (job.dir("source"), job.dir("target"));
        ends_with_a_link(&source);
        saved(&job, &place, "key", &source);
        fs::create_dir(target.join(name)).unwrap();
        fs::write(target.join(name).join("precious"), "precious").unwrap();
        let outcome = restore(&job, &place, "key").arg("--json").arg(&target).run().ok().reviewed();
        assert_eq!(outcome.json()["outcome"], "miss");
        assert_eq!(fs::read(target.join(name).join("precious")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);

        restore(&job, &place, "key").arg("--clean").arg(&target).run().ok();
        assert_same_tree(&source, &target, &[]);
        fs::remove_file(target.join(name)).unwrap();
        fs::create_dir(target.join(name)).unwrap();
        restored(&job, &place, "key", &target);
        assert_same_tree(&source, &target, &[]);
    }
}

#[test]
fn clean_leaves_what_is_excluded_and_what_that_lies_in() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    fs::write(source.join("file"), "file").unwrap();
    saved(&job, &place, "key", &source);
    fs::create_dir_all(target.join("other/deep/keep")).unwrap();
    fs::create_dir_all(target.join("other/gone")).unwrap();
    for name in ["keep", "gone", "other/keep", "other/deep/keep/file", "other/deep/gone", "other/gone/file"] {
        fs::write(target.join(name), "other").unwrap();
    }
    let lines = format!("{}\n!**/keep", target.display());
    restore(&job, &place, "key").arg("--clean").arg(lines).run().ok();
    for (name, is_there) in [
        ("file", true),
        ("keep", true),
        ("other/keep", true),
        ("other/deep/keep/file", true),
        ("gone", false),
        ("other/deep/gone", false),
        ("other/gone", false),
    ] {
        assert_eq!(target.join(name).exists(), is_there, "{name}");
    }
}

/// Restores as a user without rights into `target`, which must be an exact hit.
#[track_caller]
fn restored_without_rights(job: &Job, place: &Place, target: &Path, arguments: &[&str]) {
    tree::set_mode(place.dir(), 0o755);
    let restore = without_rights(job, RESTORE, &[]).store(place).args(["--key", "key", "--json"]);
    let outcome = restore.args(arguments).arg(target).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
}

#[test]
fn clean_opens_directories_to_remove_what_is_in_them() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    fs::write(source.join("file"), "file").unwrap();
    saved(&job, &place, "key", &source);
    fs::create_dir_all(target.join("stale/sub")).unwrap();
    fs::write(target.join("stale/sub/file"), "stale").unwrap();
    for name in ["stale/sub", "stale"] {
        tree::set_mode(&target.join(name), 0o555);
    }
    restored_without_rights(&job, &place, &target, &["--clean"]);
    assert_same_tree(&source, &target, &[Aspect::Owners]);
}

#[test]
fn what_was_set_aside_in_a_directory_without_write_permission_goes() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    for dir in [&source, &target] {
        fs::create_dir(dir.join("dir")).unwrap();
        symlink(dir, dir.join("dir/link")).unwrap();
    }
    tree::set_mode(&source.join("dir"), 0o555);
    saved(&job, &place, "key", &source);
    restored_without_rights(&job, &place, &target, &[]);
    assert_same_tree(&source, &target, &[Aspect::Owners]);
}

#[test]
fn what_is_somebody_elses_is_told_and_no_failure() {
    if !xcache_tests::skip::has_root() {
        eprintln!("not tested: only root can make what is somebody else's");
        return;
    }
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    fs::write(source.join("file"), "file").unwrap();
    saved(&job, &place, "key", &source);
    fs::create_dir(target.join("stale")).unwrap();
    fs::write(target.join("stale/file"), "stale").unwrap();
    // Everything else of the job belongs to the user without rights.
    let restore = without_rights(&job, RESTORE, &[]).store(&place).args(["--key", "key", "--json", "--clean"]);
    for name in ["stale/file", "stale", ""] {
        chown(target.join(name), Some(0), Some(0)).unwrap();
    }
    tree::set_mode(&target, 0o1777);
    tree::set_mode(place.dir(), 0o755);
    let outcome = restore.arg(&target).run().ok().reviewed();
    assert_eq!(outcome.json()["outcome"], "exact", "{}", outcome.stderr);
    assert_eq!(fs::read(target.join("file")).unwrap(), b"file");
}

#[test]
fn directories_without_write_permission_restore_again_and_again() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    let content = tree::Rng::new(1).bytes(1 << 20);
    fs::create_dir_all(source.join("dir/none")).unwrap();
    for name in ["dir/large", "dir/none/small"] {
        fs::write(source.join(name), &content).unwrap();
    }
    tree::set_mode(&source.join("dir/none"), 0o600);
    for name in ["dir", ""] {
        tree::set_mode(&source.join(name), 0o555);
    }
    saved(&job, &place, "key", &source);
    restored_without_rights(&job, &place, &target, &[]);
    // Most of it can be taken over, if only it could be written beside.
    fs::write(target.join("dir/large"), [&content[..], b"more"].concat()).unwrap();
    for name in ["dir", ""] {
        tree::set_mode(&target.join(name), 0o555);
    }
    restored_without_rights(&job, &place, &target, &[]);
    assert_same_tree(&source, &target, &[Aspect::Owners]);
}

#[test]
fn directories_that_were_opened_up_are_closed_again_on_failure() {
    let (job, place) = (Job::new(), Place::local());
    let (source, target) = (job.dir("source"), job.dir("target"));
    ends_with_a_link(&source);
    saved(&job, &place, "key", &source);
    block(&target);
    fs::create_dir(target.join("sub")).unwrap();
    for name in ["sub", ""] {
        tree::set_mode(&target.join(name), 0o555);
    }
    let before = Snapshot::of(&target);
    restore(&job, &place, "key").arg(&target).run().ok().reviewed();
    let after = Snapshot::of(&target);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o555);
    assert_eq!(after.differences(&before, &[Aspect::Root, Aspect::Mtimes]), Vec::<String>::new());
}

#[test]
fn directories_on_the_way_to_a_match_keep_their_modes() {
    let place = Place::local();
    let job = Job::new();
    fs::create_dir_all(job.path("packages/a/dist")).unwrap();
    fs::write(job.path("packages/a/dist/file"), "saved").unwrap();
    save(&job, &place, "key").arg("packages/*/dist").run().ok();
    let job = Job::new();
    fs::create_dir_all(job.path("packages/a")).unwrap();
    tree::set_mode(&job.path("packages/a"), 0o555);
    restore(&job, &place, "key").arg("packages/*/dist").run().ok();
    assert_eq!(fs::read(job.path("packages/a/dist/file")).unwrap(), b"saved");
    assert_eq!(fs::metadata(job.path("packages/a")).unwrap().permissions().mode() & 0o7777, 0o555);
}

#[test]
fn hard_links_onto_another_file_system_become_copies() {
    let (job, place) = (Job::new(), Place::local());
    let memory = tempfile::tempdir_in("/dev/shm").ok();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let Some(memory) = memory.filter(|memory| device(memory.path()) != device(&job.work())) else {
        eprintln!("not tested: `/dev/shm` is no other file system");
        return;
    };
    let sources = [job.dir("a"), job.dir("b")];
    tree::sparse_file(&sources[0].join("sparse"), 4 << 20, &[(1 << 20, 100_000)]);
    fs::write(sources[0].join("file"), "linked").unwrap();
    for name in ["file", "sparse"] {
        tree::set_mode(&sources[0].join(name), 0o640);
        tree::set_mtime(&sources[0].join(name), 1_000_000_000, 5);
        fs::hard_link(sources[0].join(name), sources[1].join(name)).unwrap();
    }
    save(&job, &place, "key").args(&sources).run().ok();
    let targets = [job.dir("c"), memory.path().join("d")];
    // Once onto nothing, once onto what the first has made.
    for _ in 0..2 {
        let restore = restore(&job, &place, "key").arg("--json").args(&targets).run().ok();
        let said = format!("cannot make the hard link `{}` and 1 more: ", targets[1].join("file").display());
        assert_eq!(restore.says(&[&said, "it is a copy"]).json()["outcome"], "exact");
        for (source, target) in sources.iter().zip(&targets) {
            assert_same_tree(source, target, &[Aspect::HardLinks]);
        }
    }
}

/// Progress that is told to the test, whenever bytes come.
struct Told<F>(F);

impl<F> std::fmt::Debug for Told<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl<F: Fn() + Send + Sync> Progress for Told<F> {
    fn add(&self, _count: u64) {
        (self.0)();
    }

    fn expect(&self, _total: u64) {}

    fn done(&self) -> u64 {
        0
    }
}

/// Restores as the program does, but in this process, so that the test is told of bytes as they come.
fn restore_here(
    place: &Place,
    target: &Path,
    interrupt: &Interrupt,
    progress: &dyn Progress,
) -> Result<Restored, Failed> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store: Arc<dyn Store> = Arc::new(runtime.block_on(LocalStore::open(place.dir().to_owned())).unwrap());
    let name = ObjectName::new("key-base.tar.zst".to_owned()).unwrap();
    let mut tail = runtime.block_on(object_end::fetch(&*store, &name, TAIL_BYTES, Expected::Present)).unwrap();
    let opened = runtime.block_on(object_end::open(&*store, &name, &mut tail)).unwrap();
    let Verdict::Readable(ObjectFormat::Archive(archive)) = opened else { panic!("{opened:?}") };
    let frames = Frames {
        store,
        own: own_ref(&name, &tail.meta.etag, tail.meta.size, &archive),
        refs: &[],
        tail: (tail.bytes, tail.offset),
        limits: &DownloadLimits::default(),
        progress,
    };
    let paths = PathList::parse(&[target.to_str().unwrap()], Path::new("/"), None).unwrap();
    let options =
        Options { workers: 2, same_owner: false, clean: false, clean_repositories: false, run: RunId([7; 16]) };
    let entry = RestoredEntry { runtime: runtime.handle(), index: &archive.index, frames: &frames, before: None };
    xcache_core::restore::restore(&entry, &paths, &options, interrupt)
}

/// A place with an entry, and a target that holds some of it and something else.
fn half_there(job: &Job) -> (Place, std::path::PathBuf) {
    let place = Place::local();
    let (source, target) = (job.dir("source"), job.dir("target"));
    ends_with_a_link(&source);
    saved(job, &place, "key", &source);
    // One of each: the same, replaced by a file, by a directory and by a link, and not in the entry.
    fs::write(target.join("small"), "small").unwrap();
    fs::create_dir(target.join("large")).unwrap();
    fs::write(target.join("sub"), "old").unwrap();
    fs::write(target.join("z-link"), "old").unwrap();
    fs::write(target.join("z-file"), "old").unwrap();
    fs::write(target.join("other"), "other").unwrap();
    (place, target)
}

#[test]
fn an_interrupted_restore_leaves_everything_as_it_was() {
    let job = Job::new();
    let (place, target) = half_there(&job);
    let before = Snapshot::of(&target);
    let check = |interrupt: &Interrupt, progress: &dyn Progress| {
        let failed = restore_here(&place, &target, interrupt, progress).unwrap_err();
        assert!(matches!(failed, Failed { error: Error::Interrupted, replaced_files: 0 }), "{failed:?}");
        assert_eq!(Snapshot::of(&target).differences(&before, &[Aspect::Root]), Vec::<String>::new());
    };
    // While files are fetched, and while what is there is compared.
    let interrupt = Interrupt::default();
    check(&interrupt, &Told(|| interrupt.raise()));
    let interrupt = Interrupt::default();
    interrupt.raise();
    check(&interrupt, &Told(|| panic!("bytes were fetched")));
}

#[test]
fn a_panic_leaves_everything_as_it_was() {
    let job = Job::new();
    let (place, target) = half_there(&job);
    let before = Snapshot::of(&target);
    // A panic with a payload that is no message leaves stderr quiet.
    let panic = Told(|| resume_unwind(Box::new(())));
    let failed = restore_here(&place, &target, &Interrupt::default(), &panic).unwrap_err();
    assert!(matches!(failed, Failed { error: Error::Panic { .. }, replaced_files: 0 }), "{failed:?}");
    assert_eq!(Snapshot::of(&target).differences(&before, &[Aspect::Root]), Vec::<String>::new());
}

#[test]
fn a_panic_says_nothing_about_an_archive_without_an_index() {
    let job = Job::new();
    let (place, target) = half_there(&job);
    let before = Snapshot::of(&target);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store: Arc<dyn Store> = Arc::new(runtime.block_on(LocalStore::open(place.dir().to_owned())).unwrap());
    let name = ObjectName::new("key-base.tar.zst".to_owned()).unwrap();
    let meta = runtime.block_on(store.head(&name)).unwrap();
    let (etag, size, limits) = (meta.etag, meta.size, DownloadLimits::default());
    let progress = Told(|| resume_unwind(Box::new(())));
    // An archive with an index is one without, too.
    let source = PlainSource { store, name, etag, size, limits: &limits, progress: &progress };
    let paths = PathList::parse(&[target.to_str().unwrap()], Path::new("/"), None).unwrap();
    let options =
        Options { workers: 2, same_owner: false, clean: false, clean_repositories: false, run: RunId([7; 16]) };
    let failed = restore_plain(runtime.handle(), &source, &paths, &options, &Interrupt::default()).unwrap_err();
    assert!(matches!(failed, Failed { error: Error::Panic { .. }, replaced_files: 0 }), "{failed:?}");
    assert_eq!(Snapshot::of(&target).differences(&before, &[Aspect::Root]), Vec::<String>::new());
}
