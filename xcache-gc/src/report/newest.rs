//! What is new in the newest entries: their indexes against those of the entries before them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use xcache_cli::output::v1::{Changed, ChangedDirectory, LargeFile};
use xcache_core::archive::churn::{self, Changes};
use xcache_core::archive::index::Index;
use xcache_core::chunk::ChunkHash;
use xcache_core::gc::inventory::{EndState, EntryId, Inventory};
use xcache_core::object_end::{self, Expected, ObjectFormat, TAIL_BYTES, Verdict};
use xcache_core::store::{ErrorKind, Store};

use super::entry::entry;

/// How many directories are shown of each entry.
const DIRECTORIES: usize = 8;
/// How many files are shown in all.
const FILES: usize = 15;

/// What the newest entries are made of.
#[derive(Debug, Default)]
pub(super) struct NewestEntries {
    pub(super) newest: Vec<Changed>,
    pub(super) largest_files: Vec<LargeFile>,
}

/// Compares each of the `count` newest entries with the one before of the same family and scope. An entry that cannot be
/// read is left out: it is among the troubles.
pub(super) async fn compare(
    store: &dyn Store,
    inventory: &Inventory,
    ids: &[EntryId],
    count: u32,
) -> anyhow::Result<NewestEntries> {
    let mut ids: Vec<EntryId> = ids.iter().copied().filter(|&id| inventory.state(id) == EndState::Whole).collect();
    ids.sort_by_key(|&id| Reverse(inventory.modified_millis(id)));
    let group = |id: EntryId| (inventory.family(id), inventory.scope(id));
    let mut indexes = Indexes { store, inventory, read: HashMap::new() };
    let mut found = NewestEntries::default();
    let mut groups_seen = HashSet::new();
    for (at, &id) in ids.iter().enumerate().take(usize::try_from(count)?) {
        let before = ids[at + 1..].iter().copied().find(|&other| group(other) == group(id));
        indexes.read(id).await?;
        if let Some(before) = before {
            indexes.read(before).await?;
        }
        let Some(index) = indexes.get(id) else { continue };
        let older = before.and_then(|before| Some((before, indexes.get(before)?)));
        found.newest.push(changed(inventory, (id, index), older));
        // The files of an older entry of the same group are mostly the same ones.
        if groups_seen.insert(group(id)) {
            found.largest_files.extend(large_files(inventory, (id, index), older.map(|(_, index)| index)));
        }
    }
    found.largest_files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    found.largest_files.truncate(FILES);
    Ok(found)
}

fn changed(inventory: &Inventory, newer: (EntryId, &Index), older: Option<(EntryId, &Index)>) -> Changed {
    let (id, index) = newer;
    let known = hashes(older.map(|(_, index)| index));
    let new = churn::new_bytes(index, DIRECTORIES, |chunk| !known.contains(&chunk.hash));
    let files = churn::file_count(index);
    let Changes { added, changed, removed } =
        older.map_or(Changes { added: files, ..Changes::default() }, |(_, older)| churn::changes(index, older));
    let directory = |new: churn::NewIn| ChangedDirectory { path: new.path, files: new.files, new_bytes: new.bytes };
    Changed {
        entry: entry(inventory, id),
        compared_with: older.map(|(id, _)| entry(inventory, id).key),
        files,
        added_files: added,
        changed_files: changed,
        removed_files: removed,
        new_bytes: new.bytes,
        directories: new.directories.into_iter().map(directory).collect(),
    }
}

fn large_files(inventory: &Inventory, newer: (EntryId, &Index), older: Option<&Index>) -> Vec<LargeFile> {
    let (id, index) = newer;
    let known = hashes(older);
    let entry = entry(inventory, id);
    let files = churn::largest_files(index, FILES, |chunk| !known.contains(&chunk.hash));
    let file = |file: churn::FileSize| LargeFile {
        path: file.path,
        key: entry.key.clone(),
        scope: entry.scope.clone(),
        bytes: file.bytes,
        new_bytes: file.new_bytes,
    };
    files.into_iter().map(file).collect()
}

fn hashes(index: Option<&Index>) -> BTreeSet<ChunkHash> {
    index.into_iter().flat_map(|index| &index.chunks).map(|chunk| chunk.hash).collect()
}

/// Indexes that were read, each once: the one before is often among the newest itself.
struct Indexes<'a> {
    store: &'a dyn Store,
    inventory: &'a Inventory,
    read: HashMap<EntryId, Option<Index>>,
}

impl Indexes<'_> {
    fn get(&self, id: EntryId) -> Option<&Index> {
        self.read.get(&id)?.as_ref()
    }

    async fn read(&mut self, id: EntryId) -> anyhow::Result<()> {
        if !self.read.contains_key(&id) {
            let index = self.fetch(id).await?;
            self.read.insert(id, index);
        }
        Ok(())
    }

    /// None if it has no index, or is gone or damaged by now: a report is no reason to fail.
    async fn fetch(&self, id: EntryId) -> anyhow::Result<Option<Index>> {
        let (name, etag) = (self.inventory.object_name(id), self.inventory.etag(id));
        let mut tail = match object_end::fetch(self.store, &name, TAIL_BYTES, Expected::This(&etag)).await {
            Ok(tail) => tail,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(match object_end::open(self.store, &name, &mut tail).await? {
            Verdict::Readable(ObjectFormat::Archive(archive)) => Some(archive.index),
            Verdict::Readable(ObjectFormat::Plain) | Verdict::Damaged(_) | Verdict::Newer(_) | Verdict::Gone(_) => None,
        })
    }
}
