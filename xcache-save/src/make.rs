//! Making the archive of an entry: everything that happens on plain threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use xcache_core::archive::reader::Archive;
use xcache_core::archive::writer::{Title, finish};
use xcache_core::delta::{Assembled, Known, KnownEntries, TreeFacts, assemble, select};
use xcache_core::object::Kind;
use xcache_core::pack::{Job, PackSettings, Packed, pack};
use xcache_core::scan::{Signature, Skipped, Tree};
use xcache_core::transfer::upload::Piece;

/// What to write.
pub(crate) enum What {
    /// Everything, as an object of this kind: a complete one has the name of a delta where that of the base is taken by
    /// one that cannot be read.
    Complete { kind: Kind, jobs: Vec<Job> },
    /// What is not in the refs that stay.
    Delta { known: Arc<Known>, facts: Arc<TreeFacts>, keep: Vec<bool> },
}

impl What {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Complete { kind, .. } => *kind,
            Self::Delta { .. } => Kind::Delta,
        }
    }
}

/// What came out of packing.
pub(crate) struct Made {
    pub(crate) archive: Archive,
    pub(crate) end: Bytes,
    pub(crate) signatures: Vec<Option<Signature>>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Makes an archive, on plain threads.
pub(crate) struct Maker {
    pub(crate) settings: PackSettings,
    /// Takes the pieces of the archive as they are made.
    pub(crate) sender: mpsc::Sender<Piece>,
    /// Whether to give up.
    pub(crate) stop: Arc<AtomicBool>,
    /// How far it is.
    pub(crate) extent: Arc<PackProgress>,
}

/// How much there is to pack, and how much has been packed. The size of the object is known only at the end, so progress
/// is told in bytes of tar.
#[derive(Debug, Default)]
pub(crate) struct PackProgress {
    /// Bytes of tar that will be packed.
    expected_bytes: AtomicU64,
    /// Bytes of tar that have been packed.
    raw_bytes: AtomicU64,
    /// What they were compressed to.
    stored_bytes: AtomicU64,
}

impl PackProgress {
    fn expect(&self, tree: &Tree, jobs: &[Job]) {
        let bytes: u64 = jobs.iter().map(|job| job.raw_bytes(tree)).sum();
        self.expected_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of tar that the first `sent` bytes of the object stand for, and how many there will be.
    pub(crate) fn progress(&self, sent: u64) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (expected, raw, stored) = (load(&self.expected_bytes), load(&self.raw_bytes), load(&self.stored_bytes));
        let done = u128::from(raw) * u128::from(sent.min(stored)) / u128::from(stored.max(1));
        (u64::try_from(done).unwrap_or(raw), expected.max(raw))
    }
}

impl Maker {
    /// Packs the tree, puts the index together and ends the archive.
    pub(crate) fn make(self, tree: &Tree, what: What, title: Title) -> std::io::Result<Made> {
        let Self { settings, sender, stop, extent } = self;
        let mut send = |bytes: Bytes, raw_bytes: u32| {
            if stop.load(Ordering::Relaxed) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            extent.stored_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            extent.raw_bytes.fetch_add(u64::from(raw_bytes), Ordering::Relaxed);
            sender.blocking_send(Piece::Data(bytes)).map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
        };
        let mut packed = Packed::default();
        let delta;
        let (jobs, earlier) = match what {
            What::Complete { jobs, .. } => (jobs, None),
            What::Delta { known, facts, keep } => {
                delta = (known, facts, keep);
                let (known, facts, keep) = (&*delta.0, &*delta.1, &delta.2[..]);
                (select(tree, known, facts, keep), Some(KnownEntries::new(known, facts, keep)))
            }
        };
        extent.expect(tree, &jobs);
        pack(tree, jobs, settings, &mut packed, &mut send)?;
        let writer = concat!("xcache ", env!("CARGO_PKG_VERSION"));
        let assembled = loop {
            // Changed since they were compared or planned: as they are now. Each file gets here twice at most.
            let rest = std::mem::take(&mut packed.rest).into_jobs();
            if !rest.is_empty() {
                extent.expect(tree, &rest);
                pack(tree, rest, settings, &mut packed, &mut send)?;
                continue;
            }
            match assemble(tree, &packed, earlier.as_ref(), writer) {
                Ok(assembled) => break assembled,
                Err(rest) => packed.rest = rest,
            }
        };
        // All of it is in the index now.
        packed.files = HashMap::new();
        pack(tree, vec![Job::End], settings, &mut packed, &mut send)?;
        let Assembled { index, refs, signatures } = assembled;
        let end = finish(title, index, refs, packed.seeks())?;
        send(end.bytes.clone(), 0)?;
        let archive = end.read_back()?;
        let broken = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        sender.blocking_send(Piece::Finish).map_err(broken)?;
        let mut skipped = tree.skipped.clone();
        if let Some(earlier) = earlier {
            skipped.extend(earlier.skipped().iter().cloned());
        }
        skipped.append(&mut packed.skipped);
        Ok(Made { archive, end: end.bytes, signatures, skipped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_what_has_arrived_of_what_is_to_be_packed() {
        let check = |[expected, raw, stored]: [u64; 3], sent, (done, total)| {
            let extent = PackProgress {
                expected_bytes: AtomicU64::new(expected),
                raw_bytes: AtomicU64::new(raw),
                stored_bytes: AtomicU64::new(stored),
            };
            assert_eq!(extent.progress(sent), (done, total));
        };
        check([0, 0, 0], 0, (0, 0));
        check([1000, 400, 100], 0, (0, 1000));
        check([1000, 400, 100], 50, (200, 1000));
        // More than planned, since files grew; and the request has sent more than was packed, since it was tried twice.
        check([1000, 1200, 300], 600, (1200, 1200));
    }
}
