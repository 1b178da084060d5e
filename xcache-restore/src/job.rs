//! The blocking part of a restore: files and threads.

use std::sync::Arc;

use bytes::Bytes;
use xcache_core::archive::index::Index;
use xcache_core::archive::reader::Archive;
use xcache_core::monitor::Progress;
use xcache_core::object::Ref;
use xcache_core::object_end::Tail;
use xcache_core::paths::PathList;
use xcache_core::restore::{
    Before, Failed, Frames, Interrupt, Options, PlainSource, Restored, RestoredEntry, restore, restore_plain,
};
use xcache_core::scan::Signature;
use xcache_core::state::State;
use xcache_core::store::{ObjectName, Store};
use xcache_core::transfer::limits::DownloadLimits;

/// Everything that it needs.
pub(crate) struct RestoreJob {
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) name: ObjectName,
    pub(crate) tail: Tail,
    pub(crate) options: Options,
    pub(crate) limits: DownloadLimits,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) interrupted: Arc<Interrupt>,
    pub(crate) paths: PathList,
}

/// What is to be restored.
pub(crate) enum RestoreSource {
    /// An archive with an index.
    Indexed(Arc<Indexed>),
    /// One without.
    Plain,
}

/// An index in the order of the paths, and the number that each of its members is stored under.
pub(crate) type Arranged = (Index, Vec<u32>);

/// An archive with an index, as it is stored and as it is restored.
pub(crate) struct Indexed {
    pub(crate) archive: Box<Archive>,
    /// None if it is stored in the order of the paths.
    pub(crate) arranged: Option<Arranged>,
    pub(crate) own: Ref,
    /// The end of the object, and where it begins.
    pub(crate) tail: (Bytes, u64),
}

impl Indexed {
    /// The tree to be restored.
    fn index(&self) -> &Index {
        self.arranged.as_ref().map_or(&self.archive.index, |(index, _)| index)
    }

    /// The index as stored in the object.
    pub(crate) fn stored_index(&self) -> Option<&[u8]> {
        let (bytes, offset) = &self.tail;
        self.archive.footer.stored_index(bytes, *offset)
    }

    /// The signatures of what was restored, by the numbers of the index that is stored.
    pub(crate) fn signatures(&self, restored: &[Option<Signature>]) -> Vec<Option<Signature>> {
        let Some((_, numbers)) = &self.arranged else { return restored.to_vec() };
        let mut signatures = vec![None; self.archive.index.members.len()];
        for (&number, signature) in numbers.iter().zip(restored) {
            if signature.is_some() {
                signatures[number as usize] = *signature;
            }
        }
        signatures
    }
}

impl RestoreJob {
    /// Restores, and takes everything back if that fails. `before` is what was known of the files.
    pub(crate) fn run(self, source: &RestoreSource, before: Option<&State>) -> Result<Restored, Failed> {
        let Self { runtime, store, name, tail, options, limits, progress, interrupted, paths } = self;
        let indexed = match source {
            RestoreSource::Indexed(indexed) => indexed,
            RestoreSource::Plain => {
                let (etag, size) = (tail.meta.etag, tail.meta.size);
                let source = PlainSource { store, name, etag, size, limits: &limits, progress: &*progress };
                return restore_plain(&runtime, &source, &paths, &options, &interrupted);
            }
        };
        let before = before.map(|state| Before {
            index: &state.archive.index,
            signatures: &state.signatures,
            noted_nanos: state.noted_nanos,
        });
        let frames = Frames {
            store,
            own: indexed.own.clone(),
            refs: &indexed.archive.footer.refs,
            tail: (tail.bytes, tail.offset),
            limits: &limits,
            progress: &*progress,
        };
        let entry = RestoredEntry { runtime: &runtime, index: indexed.index(), frames: &frames, before };
        restore(&entry, &paths, &options, &interrupted)
    }
}
