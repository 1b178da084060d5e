//! Large files: a change costs the chunks that it touches, to save and to restore.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use xcache_tests::job::Job;
use xcache_tests::place::Place;
use xcache_tests::proxy::Proxy;
use xcache_tests::s3::{self, S3Server};
use xcache_tests::tree::Rng;

use super::{archive, number, restored_and_settled, save_base, save_delta};
use crate::{restore, restored};

/// The longest chunk; a change may touch one more at each end.
const CHUNK: u64 = 256 << 10;

/// What tells one byte of a file from another is enough to tell where it stands, and is made quickly.
fn write_large(path: &Path, bytes: u64) {
    let mut file = fs::File::create(path).unwrap();
    let block = Rng::new(77).bytes(1 << 20);
    for number in 0..bytes >> 20 {
        let mut block = block.clone();
        for (at, word) in block.chunks_exact_mut(8).enumerate() {
            // Every word of every block is another one: no chunk occurs twice.
            let salt = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(u32::try_from(at % 64).unwrap());
            let mixed = u64::from_le_bytes(word.try_into().unwrap()) ^ salt;
            word.copy_from_slice(&mixed.to_le_bytes());
        }
        file.write_all(&block).unwrap();
    }
}

/// Inserts 1 MiB in the middle and overwrites 64 KiB after three quarters.
fn change(path: &Path) {
    let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.seek(SeekFrom::Start(middle)).unwrap();
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    let at = rest.len() / 2;
    rest[at..at + (64 << 10)].copy_from_slice(&Rng::new(5).bytes(64 << 10));
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&Rng::new(4).bytes(1 << 20)).unwrap();
    file.write_all(&rest).unwrap();
}

fn digest(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path).unwrap()).unwrap();
    hasher.finalize()
}

/// Saves a file of `bytes`, changes it, saves it again, and restores it onto nothing and onto the old one.
fn check(server: &S3Server, bytes: u64) {
    let (job, place) = (Job::new(), Place::on(server));
    let dir = job.dir("dir");
    let file = dir.join("large");
    write_large(&file, bytes);
    save_base(&job, &place, "old", &dir);
    let other = Job::new();
    let target = other.path("target");
    restored_and_settled(&other, &place, "old", &target);

    change(&file);
    let outcome = save_delta(&job, &place, "new", "old", &dir);
    let sent = number(&outcome.json(), "sent_bytes");
    let footer = archive(&place, "new-delta.tar.zst").footer;
    let index_bytes = place.get("new-delta.tar.zst").unwrap().len() as u64 - footer.index_offset;
    let new = (1 << 20) + 2 * CHUNK + (64 << 10) + 2 * CHUNK;
    assert!(sent < new + (64 << 10) + index_bytes, "{sent} sent, of which {index_bytes} are the index");
    // About one entry of forty bytes for each chunk of 64 KiB.
    assert!(index_bytes < bytes / 1000 + 4096, "{index_bytes} bytes of index");

    // Onto the old one: only the new frames, all of which come with the tail.
    let mut proxy = Proxy::recording(server);
    restored(&other, &place.behind(proxy.endpoint()), "new", &target);
    let requests = proxy.requests();
    let received: u64 = requests.iter().filter(|r| r.status == Some(206)).map(|r| r.received).sum();
    assert_eq!(digest(&target.join("large")), digest(&file));
    assert!(received < new + (64 << 10) + index_bytes, "{received} bytes received: {requests:?}");
    assert!(requests.iter().all(|request| !request.target.contains("old-base")), "{requests:?}");

    let fresh = job.path("fresh");
    let outcome = restore(&Job::new(), &place, "new").arg("--json").arg(&fresh).run().ok();
    assert_eq!(outcome.json()["outcome"], "exact");
    assert_eq!(digest(&fresh.join("large")), digest(&file));
}

#[test]
fn an_insertion_into_128_mib_costs_its_chunks() {
    check(s3::server(), 128 << 20);
}

#[test]
#[ignore = "takes 4 GiB of disk and a minute"]
fn an_insertion_into_1_gib_costs_its_chunks() {
    check(s3::server(), 1 << 30);
}

#[test]
fn a_file_that_only_grows_at_its_end_costs_its_end() {
    let (job, place) = (Job::new(), Place::local());
    let dir = job.dir("dir");
    let file = dir.join("log");
    write_large(&file, 16 << 20);
    save_base(&job, &place, "old", &dir);
    let mut open = fs::File::options().append(true).open(&file).unwrap();
    open.write_all(&Rng::new(8).bytes(100_000)).unwrap();
    let sent = number(&save_delta(&job, &place, "new", "old", &dir).json(), "sent_bytes");
    assert!(sent < 100_000 + CHUNK + 24_000, "{sent}");
    let target = job.path("target");
    restored(&Job::new(), &place, "new", &target);
    assert_eq!(digest(&target.join("log")), digest(&file));
}
