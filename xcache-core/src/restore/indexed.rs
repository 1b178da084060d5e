//! The course of a restore from an index.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::compare::compare;
use super::destination::{Destination, attributes};
use super::disk::{Notices, Place};
use super::error::{Error, catch, check};
use super::fetch::{self, Frames};
use super::frames::{FrameError, FrameWriter, WrittenFrames};
use super::links;
use super::options::{Before, Restored};
use super::plan::FetchPlan;
use crate::archive;
use crate::archive::index::Index;
use crate::store::Payload;
use crate::threads;

/// What is restored.
pub struct RestoredEntry<'a> {
    /// The runtime that its store belongs to.
    pub runtime: &'a tokio::runtime::Handle,
    /// Its tree.
    pub index: &'a Index,
    /// Where its frames can be had.
    pub frames: &'a Frames<'a>,
    /// What is known of the directories, which saves reading files.
    pub before: Option<Before<'a>>,
}

/// Restores an entry.
pub(super) fn restore(
    entry: &RestoredEntry<'_>,
    here: &Destination<'_>,
    notices: &mut Notices,
) -> Result<Restored, Error> {
    let index = entry.index;
    let plan = FetchPlan::new(index, compare(index, entry.before.as_ref(), here, notices)?);
    check_space(index, here, &plan)?;
    here.make_directories(index)?;
    check(here.interrupt)?;

    let mut written = WrittenFrames::default();
    let fetched_bytes = fetch_all(entry, here, &plan, &mut written)?;
    check(here.interrupt)?;

    // In fresh roots the workers have made directories as they came to them; those without files are left.
    here.make_directories_left(index)?;
    make_rest(index, here, &plan, &mut written)?;
    links::make(index, here, &mut written)?;
    check(here.interrupt)?;

    // Every file is there. From here on nothing is taken back any more, so nothing may fail: what cannot be done is a notice.
    let committed = here.target.commit(notices);
    let mut cursor = here.target.cursor();
    let removed_files = if here.options.clean { here.clean(index, &mut cursor) } else { 0 };
    let mut signatures = vec![None; index.members.len()];
    for (number, kept) in &plan.kept {
        let member = &index.members[*number as usize];
        signatures[*number as usize] = match kept.is_done {
            true => Some(kept.signature),
            false => cursor.set_right(here.roots.place(index, *number), &attributes(member)),
        };
    }
    here.finish_directories(index, &committed, &mut cursor);
    for (number, signature) in written.signatures {
        signatures[number as usize] = Some(signature);
    }
    notices.append(written.notices);
    notices.append(std::mem::take(&mut cursor.notices));
    Ok(Restored {
        files: index.file_count(),
        bytes: index.content_bytes(),
        kept_files: plan.kept.len() as u64,
        fetched_bytes,
        removed_files,
        notices: Vec::new(),
        signatures,
    })
}

/// Fetches the frames that are needed; those that turn out to be damaged, once more. Gives how many bytes came.
fn fetch_all(
    entry: &RestoredEntry<'_>,
    here: &Destination<'_>,
    plan: &FetchPlan,
    written: &mut WrittenFrames,
) -> Result<u64, Error> {
    let needed: Vec<u32> = plan.frames().collect();
    let first = round(entry, here, plan, Round { needed: &needed, is_second: false }, written)?;
    // Bytes can be spoilt on the way: what comes twice the same is spoilt in the store.
    let again: Vec<u32> = first.damaged.iter().map(|(frame, _)| *frame).collect();
    let second = round(entry, here, plan, Round { needed: &again, is_second: true }, written)?;
    match second.damaged.into_iter().next() {
        Some((frame, error)) => {
            let source = entry.index.frames[frame as usize].source;
            Err(entry.runtime.block_on(fetch::damaged(entry.frames, source, error)))
        }
        None => Ok(first.fetched_bytes + second.fetched_bytes),
    }
}

/// Frames to be fetched.
#[derive(Clone, Copy)]
struct Round<'a> {
    needed: &'a [u32],
    /// Whether all of them were fetched before.
    is_second: bool,
}

/// What came of a round.
#[derive(Default)]
struct FetchRound {
    fetched_bytes: u64,
    damaged: Vec<(u32, archive::Error)>,
}

/// Fetches frames and has them written.
fn round(
    entry: &RestoredEntry<'_>,
    here: &Destination<'_>,
    plan: &FetchPlan,
    round: Round<'_>,
    written: &mut WrittenFrames,
) -> Result<FetchRound, Error> {
    if round.needed.is_empty() {
        return Ok(FetchRound::default());
    }
    let workers = here.options.workers.max(1);
    let (sender, receiver) = mpsc::channel::<(u32, Payload)>(workers);
    let receiver = Mutex::new(receiver);
    let damaged = Mutex::new(Vec::new());
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let has_failed = Arc::new(Notify::new());
    let all_written = Mutex::new(written);
    let write = || match catch(|| work(FrameWriter::new(entry.index, here, plan)?, &receiver, &damaged)) {
        Ok(done) => all_written.lock().unwrap_or_else(PoisonError::into_inner).append(done),
        Err(error) => {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            // One frame may still be waiting for room in the channel.
            has_failed.notify_one();
        }
    };
    let fetched = std::thread::scope(|scope| {
        if threads::start(scope, workers, &write) == 0 {
            return Err(Error::NoThread);
        }
        // Also if this panics the channel is closed, which ends the workers.
        catch(|| {
            entry.runtime.block_on(async {
                tokio::select! {
                    bytes = fetch::fetch(entry.index, entry.frames, round.needed, round.is_second, sender) => bytes,
                    () = has_failed.notified() => Ok(0),
                    () = here.interrupt.raised() => Err(Error::Interrupted),
                }
            })
        })
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(FetchRound { fetched_bytes: fetched?, damaged })
}

/// Writes frames as they come until there are no more.
fn work(
    mut writer: FrameWriter<'_>,
    receiver: &Mutex<mpsc::Receiver<(u32, Payload)>>,
    damaged: &Mutex<Vec<(u32, archive::Error)>>,
) -> Result<WrittenFrames, Error> {
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some((frame, stored)) = next else { return Ok(writer.finish()) };
        match writer.frame(frame, stored.pieces()) {
            Ok(()) => {}
            Err(FrameError::Damaged(error)) => {
                damaged.lock().unwrap_or_else(PoisonError::into_inner).push((frame, error));
            }
            Err(FrameError::Fatal(error)) => return Err(error),
        }
    }
}

/// Makes the files that needed nothing fetched.
fn make_rest(
    index: &Index,
    here: &Destination<'_>,
    plan: &FetchPlan,
    written: &mut WrittenFrames,
) -> Result<(), Error> {
    let mut writer = FrameWriter::new(index, here, plan)?;
    for number in &plan.empty {
        writer.empty(*number)?;
    }
    for (number, temporary) in &plan.complete {
        writer.complete(*number, temporary)?;
    }
    written.append(writer.finish());
    Ok(())
}

/// Refuses an entry that cannot fit on the disk, before anything of it is written. An index of a few kilobytes may name
/// one chunk as often as it likes.
fn check_space(index: &Index, here: &Destination<'_>, plan: &FetchPlan) -> Result<(), Error> {
    let mut needed: std::collections::BTreeMap<u64, (usize, u64)> = std::collections::BTreeMap::new();
    for piece in plan.pieces() {
        let line = here.roots.place(index, piece.member).root;
        let Some(device) = here.target.device(line) else { continue };
        needed.entry(device).or_insert((line, 0)).1 += u64::from(index.chunks[piece.chunk as usize].length);
    }
    for (line, needed_bytes) in needed.into_values() {
        let Some(free_bytes) = here.target.free_bytes(line).filter(|free| *free < needed_bytes) else { continue };
        let path = here.target.full_path(Place { root: line, path: b"" });
        return Err(Error::NoSpace { path, needed_bytes, free_bytes });
    }
    Ok(())
}
