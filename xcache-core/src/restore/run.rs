//! The course of a restore from an index.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::clean::clean;
use super::compare::{Have, compare};
use super::fetch::{self, Frames};
use super::finish;
use super::imperfections::Imperfections;
use super::journal::Journal;
use super::write::{FrameError, Shared, Writer};
use super::{Before, Error, Failed, Interrupt, Options, Restored, Roots};
use crate::archive;
use crate::archive::index::{Content, Index};
use crate::paths::PathList;
use crate::scan::Signature;

/// A chunk to be fetched, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    frame: u32,
    pub(super) member: u32,
    pub(super) chunk: u32,
    /// Where it begins in the data of the file.
    pub(super) start: u64,
}

/// What is to be fetched and written.
#[derive(Debug)]
pub struct Plan {
    have: Vec<Have>,
    /// Sorted by frame, member, chunk.
    pieces: Vec<Piece>,
    /// The frames needed, in order, and their pieces.
    frames: Vec<(u32, Range<usize>)>,
    /// Pieces still missing of each file that lies in several frames.
    remaining: HashMap<u32, AtomicU32>,
    /// Files with nothing to fetch, to be made from nothing.
    empty: Vec<u32>,
    /// Files whose every chunk was on disk already, under a temporary name.
    taken: Vec<u32>,
}

impl Plan {
    fn new(index: &Index, have: Vec<Have>) -> Self {
        let mut plan = Self {
            have,
            pieces: Vec::new(),
            frames: Vec::new(),
            remaining: HashMap::new(),
            empty: Vec::new(),
            taken: Vec::new(),
        };
        for (member, number) in index.members.iter().zip(0u32..) {
            let Content::File(file) = &member.content else { continue };
            let taken: &[bool] = match &plan.have[number as usize] {
                Have::Same { .. } => continue,
                Have::Missing => &[],
                Have::Other { taken } => taken,
            };
            let before = plan.pieces.len();
            let mut start = 0;
            for (i, chunk) in file.chunks.clone().enumerate() {
                let found = &index.chunks[chunk as usize];
                if !taken.get(i).is_some_and(|&taken| taken) {
                    plan.pieces.push(Piece { frame: found.frame, member: number, chunk, start });
                }
                start += u64::from(found.length);
            }
            let pieces = &plan.pieces[before..];
            let is_scattered = pieces.windows(2).any(|pair| pair[0].frame != pair[1].frame);
            match pieces.len() {
                0 if taken.is_empty() => plan.empty.push(number),
                0 => plan.taken.push(number),
                count if is_scattered || !taken.is_empty() => {
                    plan.remaining.insert(number, AtomicU32::new(u32::try_from(count).unwrap_or(u32::MAX)));
                }
                _ => {}
            }
        }
        plan.pieces.sort_unstable_by_key(|piece| (piece.frame, piece.member, piece.chunk));
        let mut start = 0;
        for pieces in plan.pieces.chunk_by(|a, b| a.frame == b.frame) {
            plan.frames.push((pieces[0].frame, start..start + pieces.len()));
            start += pieces.len();
        }
        plan
    }

    /// The frames that are needed.
    pub fn frames(&self) -> impl Iterator<Item = u32> {
        self.frames.iter().map(|(frame, _)| *frame)
    }

    pub(super) fn pieces_of(&self, frame: u32) -> &[Piece] {
        match self.frames.binary_search_by_key(&frame, |(number, _)| *number) {
            Ok(found) => &self.pieces[self.frames[found].1.clone()],
            Err(_) => &[],
        }
    }

    pub(super) fn have(&self, member: u32) -> &Have {
        &self.have[member as usize]
    }

    pub(super) fn remaining(&self, member: u32) -> Option<&AtomicU32> {
        self.remaining.get(&member)
    }
}

/// Restores the tree of `index` onto `paths`. Blocks; to be called from a thread that may, with the handle of the
/// runtime that the store belongs to. `before` saves reading files, `interrupted` stops it.
///
/// On failure everything is taken back that can be; [`Failed::replaced_files`] tells whether anything is left.
pub fn restore(
    runtime: &tokio::runtime::Handle,
    index: &Index,
    frames: &Frames<'_>,
    paths: &PathList,
    before: Option<&Before<'_>>,
    options: &Options,
    interrupted: &Interrupt,
) -> Result<Restored, Failed> {
    let journal = Journal::new(index.members.len(), options.run);
    let roots = Roots::open(index, paths, &journal);
    let roots = match roots {
        Ok(roots) => roots,
        Err(error) => {
            journal.roll_back_above();
            return Err(Failed { error, replaced_files: 0 });
        }
    };
    let result = run(runtime, index, frames, &roots, paths, before, options, interrupted, &journal);
    result.map_err(|error| Failed { error, replaced_files: journal.replaced_count() })
}

#[expect(clippy::too_many_arguments, reason = "the parts of one restore, used once")]
fn run(
    runtime: &tokio::runtime::Handle,
    index: &Index,
    frames: &Frames<'_>,
    roots: &Roots,
    paths: &PathList,
    before: Option<&Before<'_>>,
    options: &Options,
    interrupted: &Interrupt,
    journal: &Journal,
) -> Result<Restored, Error> {
    let unfinished = Unfinished { index, roots, journal };
    let have = compare(index, roots, before, journal, options.workers, interrupted)?;
    let plan = Plan::new(index, have);
    let shared = Shared { index, roots, paths, plan: &plan, journal, options };
    let mut done = Done::default();
    finish::make_directories(&shared)?;
    interrupted.check()?;

    let needed: Vec<u32> = plan.frames().collect();
    let damaged = round(runtime, &shared, frames, &needed, false, interrupted, &mut done)?;
    if !damaged.is_empty() {
        // Bytes can be spoilt on the way: what comes twice the same is spoilt in the store.
        let numbers: Vec<u32> = damaged.iter().map(|(frame, _)| *frame).collect();
        let again = round(runtime, &shared, frames, &numbers, true, interrupted, &mut done)?;
        if let Some((frame, error)) = again.into_iter().next() {
            let source = index.frames[frame as usize].source;
            return Err(runtime.block_on(fetch::damaged(frames, source, error)));
        }
    }
    interrupted.check()?;
    finish::make_directories_left(&shared)?;
    finish::make_rest(&shared, &mut done)?;
    interrupted.check()?;
    // Every file is there. From here on nothing is taken back any more, so nothing may fail: what cannot be done is told.
    unfinished.finish();
    journal.commit(index, roots, paths, &mut done.imperfections);
    let removed = if options.clean { clean(&shared, &mut done.imperfections) } else { 0 };
    finish::finish_directories(&shared, &mut done.imperfections);
    Ok(done.summarise(index, &plan, removed))
}

/// Files that are not all there: dropped, also by a panic in a worker, it takes everything back that can be.
struct Unfinished<'a> {
    index: &'a Index,
    roots: &'a Roots,
    journal: &'a Journal,
}

impl Unfinished<'_> {
    /// All files are there.
    fn finish(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.journal.roll_back(self.index, self.roots);
    }
}

/// What workers have done so far.
#[derive(Default)]
pub(super) struct Done {
    pub(super) signatures: Vec<(u32, Signature)>,
    pub(super) imperfections: Imperfections,
    fetched_bytes: u64,
    fetched_parts: u64,
}

impl Done {
    fn summarise(self, index: &Index, plan: &Plan, removed: u64) -> Restored {
        let mut signatures = vec![None; index.members.len()];
        let mut kept_files = 0;
        for (have, signature) in plan.have.iter().zip(&mut signatures) {
            if let Have::Same { signature: found, .. } = have {
                *signature = Some(*found);
                kept_files += 1;
            }
        }
        for (member, signature) in self.signatures {
            signatures[member as usize] = Some(signature);
        }
        Restored {
            files: index.file_count(),
            bytes: index.content_bytes(),
            kept_files,
            fetched_bytes: self.fetched_bytes,
            fetched_parts: self.fetched_parts,
            removed,
            imperfections: self.imperfections.notices(),
            signatures,
        }
    }
}

/// Fetches frames and has them written. Returns those that turned out to be damaged.
fn round(
    runtime: &tokio::runtime::Handle,
    shared: &Shared<'_>,
    frames: &Frames<'_>,
    needed: &[u32],
    is_second: bool,
    interrupted: &Interrupt,
    done: &mut Done,
) -> Result<Vec<(u32, archive::Error)>, Error> {
    if needed.is_empty() {
        return Ok(Vec::new());
    }
    let workers = shared.options.workers.max(1);
    let (sender, receiver) = mpsc::channel::<(u32, Bytes)>(workers);
    let receiver = Mutex::new(receiver);
    let damaged = Mutex::new(Vec::new());
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let has_failed = Arc::new(Notify::new());
    let finished = Mutex::new(&mut *done);
    let fetched = std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let worked = catch_unwind(AssertUnwindSafe(|| work(shared, &receiver, &damaged)));
                let result = worked.unwrap_or_else(|panic| {
                    // Nobody may wait for a worker that is gone. The panic goes on when the others have ended.
                    has_failed.notify_one();
                    resume_unwind(panic)
                });
                let mut finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
                match result {
                    Ok(mut writer) => {
                        finished.signatures.append(&mut writer.signatures);
                        finished.imperfections.append(writer.imperfections);
                    }
                    Err(error) => {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        // One frame may still be waiting for room in the channel.
                        has_failed.notify_one();
                    }
                }
            });
        }
        runtime.block_on(async {
            tokio::select! {
                result = fetch::fetch(shared.index, frames, needed, is_second, sender) => result,
                () = has_failed.notified() => Ok(fetch::Fetched::default()),
                () = interrupted.raised() => Err(Error::Interrupted),
            }
        })
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let fetched = fetched?;
    done.fetched_bytes += fetched.bytes;
    done.fetched_parts += fetched.parts;
    Ok(damaged.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Writes frames as they come until there are no more.
fn work<'a>(
    shared: &'a Shared<'a>,
    receiver: &Mutex<mpsc::Receiver<(u32, Bytes)>>,
    damaged: &Mutex<Vec<(u32, archive::Error)>>,
) -> Result<Writer<'a>, Error> {
    let mut writer = Writer::new(shared).map_err(|source| Error::Write { path: "the decompressor".into(), source })?;
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some((frame, stored)) = next else { return Ok(writer) };
        match writer.frame(frame, &stored) {
            Ok(()) => {}
            Err(FrameError::Damaged(error)) => {
                damaged.lock().unwrap_or_else(PoisonError::into_inner).push((frame, error));
            }
            Err(FrameError::Fatal(error)) => return Err(error),
        }
    }
}

impl Plan {
    pub(super) fn empty(&self) -> &[u32] {
        &self.empty
    }

    pub(super) fn taken(&self) -> &[u32] {
        &self.taken
    }
}
