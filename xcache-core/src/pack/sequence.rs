//! Who does what next. Jobs are handed out in order; the data of a large file is read and cut here, one piece after
//! the other, because its cut points depend on what came before, while earlier pieces are being compressed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::file::{ATTEMPTS, DataCursor, OpenedFile, open};
use super::job::{ChunkItem, Job};
use super::links::{LinkTarget, Links};
use crate::archive::frame::TARGET_BYTES;
use crate::chunk::{Cutter, Ends};
use crate::convert;
use crate::scan::{SkipReason, Skipped, Tree};

/// What becomes one frame.
pub(super) enum Work {
    Members(Vec<u32>),
    Segment(FileSegment),
    Chunks(Vec<ChunkItem>),
    End,
}

/// A piece of a large file.
pub(super) struct FileSegment {
    pub(super) node: u32,
    pub(super) file: Arc<OpenedFile>,
    /// Whether the member begins here.
    pub(super) is_first: bool,
    /// Whether the member ends here.
    pub(super) is_last: bool,
    /// Data of whole chunks.
    pub(super) data: Vec<u8>,
    /// Lengths of the chunks.
    pub(super) cuts: Vec<usize>,
}

pub(super) struct Sequence<'a> {
    tree: &'a Tree,
    /// What comes of files with several names.
    pub(super) links: &'a Links,
    window: u64,
    state: Mutex<SequenceState>,
    moved: Condvar,
}

struct SequenceState {
    jobs: VecDeque<Job>,
    large: Option<Large>,
    /// Number of the next frame to be handed out.
    next: u64,
    /// Number of frames that have left.
    written: u64,
    is_stopped: bool,
    skipped: Vec<(u32, Skipped)>,
}

/// A large file that is being read.
struct Large {
    node: u32,
    file: Arc<OpenedFile>,
    cursor: DataCursor,
    is_first: bool,
    /// Data not yet read.
    unread: u64,
    /// Read, but not yet handed out.
    rest: Vec<u8>,
    attempt: u32,
    /// Shorter than it was when it was opened, or not readable to its end: filled up with zeros.
    error: Option<SkipReason>,
}

impl<'a> Sequence<'a> {
    pub(super) fn new(tree: &'a Tree, jobs: Vec<Job>, links: &'a Links, window: u64) -> Self {
        let state = SequenceState {
            jobs: jobs.into(),
            large: None,
            next: 0,
            written: 0,
            is_stopped: false,
            skipped: Vec::new(),
        };
        Self { tree, links, window, state: Mutex::new(state), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, SequenceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next frame to be made, and its number; waits while too many frames are ahead. `None` at the end.
    pub(super) fn next(&self) -> Option<(u64, Work)> {
        let mut state = self.lock();
        while !state.is_stopped && state.next >= state.written + self.window {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let work = if state.is_stopped { None } else { state.advance(self.tree, self.links) }?;
        let number = state.next;
        state.next += 1;
        Some((number, work))
    }

    /// Notes that one more frame has left.
    pub(super) fn written(&self) {
        self.lock().written += 1;
        self.moved.notify_all();
    }

    /// Hands out nothing more, and lets nobody wait.
    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.moved.notify_all();
        self.links.give_up();
    }

    /// Large files that were left out or changed while they were read.
    pub(super) fn take_skipped(&self) -> Vec<(u32, Skipped)> {
        std::mem::take(&mut self.lock().skipped)
    }
}

impl SequenceState {
    fn advance(&mut self, tree: &Tree, links: &Links) -> Option<Work> {
        loop {
            if let Some(large) = self.large.take() {
                return Some(Work::Segment(self.segment(tree, links, large)));
            }
            match self.jobs.pop_front()? {
                Job::Members(nodes) => return Some(Work::Members(nodes)),
                Job::Chunks(chunks) => return Some(Work::Chunks(chunks)),
                Job::End => return Some(Work::End),
                Job::Large(node) => self.begin(tree, links, node, 1),
            }
        }
    }

    fn begin(&mut self, tree: &Tree, links: &Links, node: u32, attempt: u32) {
        match open(tree, &tree.nodes[node as usize]) {
            Ok(file) => {
                let (unread, cursor) = (file.data_bytes(), file.start());
                let file = Arc::new(file);
                self.large =
                    Some(Large { node, file, cursor, is_first: true, unread, rest: Vec::new(), attempt, error: None });
            }
            Err(error) => self.lose(tree, links, node, SkipReason::Unreadable(error.to_string())),
        }
    }

    fn lose(&mut self, tree: &Tree, links: &Links, node: u32, reason: SkipReason) {
        links.settle(tree, node, LinkTarget::Missing);
        self.skip(tree, node, reason);
    }

    fn skip(&mut self, tree: &Tree, node: u32, reason: SkipReason) {
        let path = tree.path_of(&tree.nodes[node as usize]);
        self.skipped.push((node, Skipped { path, reason }));
    }

    /// The next piece of a large file, about as much as a frame is to hold.
    fn segment(&mut self, tree: &Tree, links: &Links, mut large: Large) -> FileSegment {
        let cutter = Cutter::FORMAT_1;
        let wanted = TARGET_BYTES + cutter.max_bytes as usize;
        let mut data = std::mem::take(&mut large.rest);
        large.fill(&mut data, wanted);
        let ends = if large.unread == 0 { Ends::File } else { Ends::Buffer };
        let is_small = large.file.data_bytes() <= cutter.whole_bytes.into();
        let mut cuts = if is_small { cutter.cut_file(&data) } else { cutter.cut_large(&data, ends) };
        let mut end = 0;
        let taken = cuts.iter().take_while(|&&length| {
            let is_room = end < TARGET_BYTES;
            end += if is_room { length } else { 0 };
            is_room
        });
        let taken = taken.count();
        cuts.truncate(taken);
        large.rest = data.split_off(end);
        let is_last = large.unread == 0 && large.rest.is_empty();
        let (node, file, is_first) = (large.node, large.file.clone(), large.is_first);
        large.is_first = false;
        if is_last {
            self.finish(tree, links, large);
        } else {
            self.large = Some(large);
        }
        FileSegment { node, file, is_first, is_last, data, cuts }
    }

    /// All of a large file has been read. If it changed meanwhile it is stored once more: the later member counts.
    fn finish(&mut self, tree: &Tree, links: &Links, large: Large) {
        if let Some(reason @ SkipReason::Unreadable(_)) = large.error {
            return self.lose(tree, links, large.node, reason);
        }
        let is_steady = large.error.is_none() && large.file.is_unchanged().unwrap_or(false);
        if !is_steady && large.attempt < ATTEMPTS {
            return self.begin(tree, links, large.node, large.attempt + 1);
        }
        links.settle(tree, large.node, LinkTarget::Stored(large.node, large.file.signature));
        if !is_steady {
            self.skip(tree, large.node, SkipReason::Changing);
        }
    }
}

impl Large {
    /// Fills `data` up to `wanted` bytes, or to the end of the file.
    fn fill(&mut self, data: &mut Vec<u8>, wanted: usize) {
        let missing = wanted.saturating_sub(data.len());
        let length = convert::in_memory(self.unread).min(missing);
        let end = data.len() + length;
        if self.error.is_none() {
            match self.file.read(&mut self.cursor, data, length) {
                Ok(got) if got == length => {}
                Ok(_) => self.error = Some(SkipReason::Changing),
                Err(error) => self.error = Some(SkipReason::Unreadable(error.to_string())),
            }
        }
        data.resize(end, 0);
        self.unread -= length as u64;
    }
}
