//! Listing a store: intents, marks, entries.
//!
//! The order matters: intents before entries. A saver publishes its delta before it takes its intent away, so a pass that
//! does not find the intent any more finds the delta.
//!
//! Anybody who may save can write an intent, so one that makes no sense must not stop the clean-up. It is reported, and
//! protects what it names, if it names anything.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::bounds::PARALLEL;
use super::document::{self, DocumentError, IntentDocument, MarkDocument};
use super::ends::{EntryEnd, read_end, read_ends};
use super::error::{Error, Result};
use super::inventory::{DeltaWriter, EndState, Inventory};
use super::pass::Pass;
use crate::monitor::{Monitor, Quiet, chain};
use crate::naming::{self, CONDEMNED_PREFIX, INTENTS_PREFIX, MarkId};
use crate::object::{ArchiveId, Kind};
use crate::object_end::Expected;
use crate::store::{self, ByteRange, Deletion, ErrorKind, ListedObject, ObjectName, Store};
use crate::transfer::limits::DownloadLimits;
use crate::transfer::request::fetch;

/// An intent this old belongs to a run that is dead or stalled; a stalled one finds out before it is done.
const INTENT_EXPIRES_AFTER: TimeDelta = TimeDelta::hours(24);

/// Lists a store at the time `now`: expired intents go, then come marks, intents and entries. Without a pass nothing
/// goes, but counts as gone.
pub(super) async fn survey(
    store: &dyn Store,
    monitor: &dyn Monitor,
    now: DateTime<Utc>,
    pass: Option<&Pass<'_>>,
) -> Result<Inventory> {
    let intents = store::list_all(store, INTENTS_PREFIX).await?;
    let (expired, standing): (Vec<_>, Vec<_>) =
        intents.into_iter().partition(|intent| now - intent.meta.last_modified > INTENT_EXPIRES_AFTER);
    if pass.is_some() {
        remove_all(store, monitor, expired.into_iter().map(|intent| intent.name)).await;
    }
    let noted = read_intents(store, standing, Some(monitor)).await?;
    let marks = read_marks(store, monitor).await?;
    let mut inventory = entries(store).await?;
    noted.iter().for_each(|name| inventory.note(name));
    let mut stale = Vec::new();
    let bare = find_bare(&inventory, &marks);
    for (name, mark) in marks {
        let Some(mark) = mark else {
            match naming::parse_condemned(&name).and_then(|id| bare.get(&id)) {
                Some(marked) => inventory.condemn(marked),
                None => stale.push(name),
            }
            continue;
        };
        match is_marked(store, &inventory, &name, &mark).await? {
            Marked::Here => inventory.condemn(&mark.name),
            Marked::Gone => stale.push(name),
            Marked::Unknown => {}
        }
    }
    if pass.is_some() {
        remove_all(store, monitor, stale.into_iter()).await;
    }
    Ok(inventory)
}

/// Lists the entries.
pub(super) async fn entries(store: &dyn Store) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    store::each_page(store, "", |objects| objects.iter().for_each(|object| inventory.push(object))).await?;
    inventory.finish();
    // A store below this one has nothing under `.xcache/` on AWS, unless something is under way there. Its entries show in
    // their ends, and the first one that is found makes known all that lies beside it.
    let samples = inventory.samples();
    read_ends(store, &Quiet, &mut inventory, samples).await?;
    Ok(inventory)
}

/// Whether the object of a mark is there.
enum Marked {
    Here,
    /// The mark is older than the listing, so its object has been deleted, and never comes back.
    Gone,
    Unknown,
}

/// The names of the entries that marks without a document are of: those are named after the object itself.
fn find_bare(inventory: &Inventory, marks: &[(ObjectName, Option<MarkDocument>)]) -> HashMap<MarkId, String> {
    let bare: BTreeSet<MarkId> =
        marks.iter().filter(|(_, mark)| mark.is_none()).filter_map(|(name, _)| naming::parse_condemned(name)).collect();
    if bare.is_empty() {
        return HashMap::new();
    }
    let ids = inventory.ids().map(|id| (MarkId::of_object(&inventory.object_name(id), &inventory.etag(id)), id));
    ids.filter(|(mark, _)| bare.contains(mark)).map(|(mark, id)| (mark, inventory.name(id).to_owned())).collect()
}

/// A mark is about an archive. The ETag tells most of the time; where it differs, the object may have been copied.
async fn is_marked(store: &dyn Store, inventory: &Inventory, name: &ObjectName, mark: &MarkDocument) -> Result<Marked> {
    let Some(id) = inventory.find(&mark.name) else { return Ok(Marked::Gone) };
    if inventory.etag_text(id) == mark.etag {
        return Ok(Marked::Here);
    }
    let marked = naming::parse_condemned(name);
    let is_it = |found: ArchiveId| {
        let found = MarkId::of_archive(&inventory.object_name(id), found);
        if Some(found) == marked { Marked::Here } else { Marked::Gone }
    };
    Ok(match read_end(store, &inventory.object_name(id), &inventory.etag(id)).await? {
        EntryEnd::Footer(footer) => is_it(footer.archive_id),
        EntryEnd::Newer(head) => is_it(head.archive_id),
        EntryEnd::Plain | EntryEnd::Damaged => Marked::Gone,
        EntryEnd::Gone | EntryEnd::Unknown(_) | EntryEnd::Sealed(_) => Marked::Unknown,
    })
}

/// What must stay, besides what an inventory knows.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// Noted by intents, or refs of deltas published since.
    pub(super) names: BTreeSet<String>,
    /// Deltas published since of which it cannot be told what they build on.
    pub(super) unknown: Vec<DeltaWriter>,
}

/// Looks once more: what is needed that `inventory` does not know of.
pub(super) async fn needed_since(store: &dyn Store, inventory: &Inventory) -> Result<Needed> {
    let intents = store::list_all(store, INTENTS_PREFIX).await?;
    let mut needed = Needed { names: read_intents(store, intents, None).await?, unknown: Vec::new() };
    let mut new = Vec::new();
    let mut risen = None;
    store::each_page(store, "", |objects| {
        for object in objects.into_iter().filter(is_delta) {
            let known = inventory.find(object.name.as_str());
            match known.filter(|&id| inventory.etag_text(id) == object.meta.etag.0) {
                None => new.push(object),
                Some(id) if inventory.state(id) == EndState::Gone => risen = Some(id),
                Some(_) => {}
            }
        }
    })
    .await?;
    if let Some(id) = risen {
        let name = inventory.name(id).to_owned();
        return Err(Error::Contradiction { name, what: "whether it is there" });
    }
    let mut ends = stream::iter(new)
        .map(|object| async move { Ok::<_, Error>((read_end(store, &object.name, &object.meta.etag).await?, object)) })
        .buffer_unordered(PARALLEL);
    while let Some((end, object)) = ends.try_next().await? {
        match end {
            EntryEnd::Footer(footer) => needed.names.extend(footer.refs.into_iter().map(|r| r.name.to_string())),
            EntryEnd::Newer(head) => needed.names.extend(head.refs.into_iter().map(|r| r.name.to_string())),
            EntryEnd::Sealed(_) => needed.unknown.extend(DeltaWriter::of(&object)),
            EntryEnd::Plain | EntryEnd::Damaged | EntryEnd::Unknown(_) | EntryEnd::Gone => {}
        }
    }
    Ok(needed)
}

fn is_delta(object: &ListedObject) -> bool {
    matches!(naming::parse(&object.name), Some((_, _, Kind::Delta)))
}

/// The names that intents protect. One that is gone by now has been answered: its delta is published, or given up.
async fn read_intents(
    store: &dyn Store,
    intents: Vec<ListedObject>,
    monitor: Option<&dyn Monitor>,
) -> Result<BTreeSet<String>> {
    let mut answers = stream::iter(intents)
        .map(|intent| async move { (read_small(store, &intent, IntentDocument::protected).await, intent.name) })
        .buffer_unordered(PARALLEL);
    let mut names = BTreeSet::new();
    while let Some((answer, name)) = answers.next().await {
        match answer? {
            Small::Read(protected) => names.extend(protected),
            Small::Gone => {}
            Small::Senseless(why) => {
                if let Some(monitor) = monitor {
                    monitor.notice(&format!("the intent `{name}` cannot be read and protects nothing: {why}"));
                }
            }
        }
    }
    Ok(names)
}

/// The marks of condemned objects; without a document where the disk had no space for one. A mark that cannot be understood
/// is left alone.
async fn read_marks(store: &dyn Store, monitor: &dyn Monitor) -> Result<Vec<(ObjectName, Option<MarkDocument>)>> {
    let marks = store::list_all(store, CONDEMNED_PREFIX).await?;
    let read = async |mark: &ListedObject| {
        let parse = |body: &[u8]| match body {
            // The listing must agree: an answer without a body is easily had.
            [] if mark.meta.size == 0 => Ok(None),
            body => MarkDocument::parse(body).map(Some),
        };
        read_small(store, mark, parse).await
    };
    let mut answers =
        stream::iter(marks).map(|mark| async move { (read(&mark).await, mark.name) }).buffer_unordered(PARALLEL);
    let mut all = Vec::new();
    while let Some((answer, name)) = answers.next().await {
        match answer? {
            Small::Read(mark) => all.push((name, mark)),
            Small::Gone => {}
            Small::Senseless(why) => {
                monitor.notice(&format!("the mark `{name}` cannot be read and is kept: {why}"));
            }
        }
    }
    Ok(all)
}

/// A small document of ours.
enum Small<T> {
    Read(T),
    /// Taken away since it was listed.
    Gone,
    /// It is there, and is not what it should be.
    Senseless(String),
}

/// Reads a small document. What makes no sense is fetched twice.
async fn read_small<T>(
    store: &dyn Store,
    object: &ListedObject,
    parse: impl Fn(&[u8]) -> std::result::Result<T, DocumentError>,
) -> Result<Small<T>> {
    let limits = DownloadLimits::default();
    let mut before: Option<bytes::Bytes> = None;
    loop {
        // Not this very object: another run may write the same mark.
        let expected = (&object.name, Expected::Present);
        let body = match fetch(store, expected, ByteRange::Full, document::MAX_BYTES, &limits).await {
            Ok(fetched) => fetched.bytes,
            Err(error) => match error.kind() {
                ErrorKind::NotFound => return Ok(Small::Gone),
                ErrorKind::Invalid | ErrorKind::Unsupported => return Ok(Small::Senseless(chain(&error))),
                _ => return Err(error.into()),
            },
        };
        match (parse(&body), &before) {
            (Ok(document), _) => return Ok(Small::Read(document)),
            (Err(_), None) => before = Some(body),
            (Err(why), Some(before)) if *before == body => return Ok(Small::Senseless(chain(&why))),
            (Err(_), Some(_)) => {
                return Err(Error::Contradiction { name: object.name.to_string(), what: "what it holds" });
            }
        }
    }
}

/// Deletes small objects of ours; what fails stays for the next pass.
pub(super) async fn remove_all(store: &dyn Store, monitor: &dyn Monitor, names: impl Iterator<Item = ObjectName>) {
    let deletions: Vec<Deletion> = names.map(|name| Deletion { name, if_match: None }).collect();
    if deletions.is_empty() {
        return;
    }
    for error in store.delete(&deletions).await.into_iter().filter_map(std::result::Result::err) {
        monitor.warning(&format!("left to the next clean-up: {}", chain(&error)), error.hint_text());
    }
}
