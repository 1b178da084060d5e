//! Reading a store: intents, marks, entries, and the ends and tags of those entries that matter.
//!
//! The order matters: intents before entries. A saver publishes its delta before it takes its intent away, so whoever
//! finds no intent any more finds the delta.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::document::{self, IntentDocument, MarkDocument};
use super::error::{Error, Result};
use super::inventory::{EntryId, Inventory, State};
use super::pass::Pass;
use crate::archive::footer::{Footer, Ref};
use crate::entry::Kind;
use crate::monitor::{Monitor, chain};
use crate::naming::{self, CONDEMNED_PREFIX, INTENTS_PREFIX};
use crate::object_end::{self, Expected, Verdict};
use crate::store::{self, ByteRange, Deletion, ETag, ErrorKind, ListedObject, ObjectName, Store};
use crate::transfer::download::DownloadLimits;
use crate::transfer::request::fetch;

/// Requests under way at a time.
pub(super) const PARALLEL: usize = 32;
/// Footers whose names and refs are in memory at a time: all deltas of a large store may have to be read.
const BATCH: usize = 4096;
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
    let noted = read_intents(store, standing).await?;
    let marks = read_marks(store, monitor).await?;
    let mut inventory = entries(store).await?;
    noted.iter().for_each(|name| inventory.note(name));
    // What a mark names and the later listing does not show has been deleted, and never comes back.
    let stale: Vec<ObjectName> = marks
        .into_iter()
        .filter(|(_, mark)| !inventory.condemn(&mark.name, &mark.etag))
        .map(|(name, _)| name)
        .collect();
    if pass.is_some() {
        remove_all(store, monitor, stale.into_iter()).await;
    }
    Ok(inventory)
}

/// Lists the entries.
pub(super) async fn entries(store: &dyn Store) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    each_page(store, |objects| objects.iter().for_each(|object| inventory.push(object))).await?;
    inventory.finish();
    Ok(inventory)
}

/// The names of what must stay, besides what `inventory` knows: noted by intents, or refs of deltas published since.
pub(super) async fn needed_since(store: &dyn Store, inventory: &Inventory) -> Result<BTreeSet<String>> {
    let intents = store::list_all(store, INTENTS_PREFIX).await?;
    let mut needed = read_intents(store, intents).await?;
    let mut new = Vec::new();
    let known = |object: &ListedObject| {
        let id = inventory.find(object.name.as_str())?;
        (inventory.etag_text(id) == object.meta.etag.0).then_some(id)
    };
    each_page(store, |objects| {
        let deltas = objects.into_iter().filter(|object| known(object).is_none()).filter(is_delta);
        new.extend(deltas.map(|object| (object.name, object.meta.etag)));
    })
    .await?;
    let mut footers = stream::iter(new)
        .map(|(name, etag)| async move { read_end(store, &name, &etag).await })
        .buffer_unordered(PARALLEL);
    while let Some(end) = footers.try_next().await? {
        if let EntryEnd::Footer(footer) = end {
            needed.extend(footer.refs.into_iter().map(|r| r.name));
        }
    }
    Ok(needed)
}

/// Reads the footers of `ids` into `inventory`, and makes sure of every ref that the listing did not show.
pub(super) async fn read_footers(store: &dyn Store, inventory: &mut Inventory, ids: Vec<EntryId>) -> Result<()> {
    for batch in ids.chunks(BATCH) {
        read_batch(store, inventory, batch).await?;
    }
    Ok(())
}

async fn read_batch(store: &dyn Store, inventory: &mut Inventory, ids: &[EntryId]) -> Result<()> {
    let mut unsure: Vec<(EntryId, Ref)> = Vec::new();
    let requests: Vec<_> = ids.iter().map(|&id| (id, inventory.object_name(id), inventory.etag(id))).collect();
    let mut ends = stream::iter(requests)
        .map(|(id, name, etag)| async move { Ok::<_, Error>((id, read_end(store, &name, &etag).await?)) })
        .buffer_unordered(PARALLEL);
    while let Some((id, end)) = ends.try_next().await? {
        match end {
            EntryEnd::Footer(footer) => {
                inventory.set_footer(id, &footer);
                let listed = |r: &Ref| inventory.find(&r.name).is_some_and(|t| inventory.etag_text(t) == r.etag);
                unsure.extend(footer.refs.into_iter().filter(|r| !listed(r)).map(|r| (id, r)));
            }
            EntryEnd::Plain => inventory.set_state(id, State::Plain),
            EntryEnd::Damaged => inventory.set_state(id, State::Damaged),
            EntryEnd::Gone => inventory.set_state(id, State::Gone),
        }
    }
    // A listing is no snapshot: a ref that came after its page was read is there all the same.
    let mut refs = stream::iter(unsure)
        .map(|(id, r)| async move { Ok::<_, Error>((id, is_there(store, &r).await?)) })
        .buffer_unordered(PARALLEL);
    while let Some((id, is_there)) = refs.try_next().await? {
        if !is_there {
            inventory.set_state(id, State::Dangling);
        }
    }
    Ok(())
}

/// Whether a store knows tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagging {
    /// It does.
    Known,
    /// It does not.
    Unsupported,
}

/// Reads the tags of `ids` into `inventory`. A store that is known to have none is not asked.
pub(super) async fn read_tags(
    store: &dyn Store,
    monitor: &dyn Monitor,
    inventory: &mut Inventory,
    mut tagging: Tagging,
    ids: Vec<EntryId>,
) -> Result<Tagging> {
    if tagging == Tagging::Unsupported {
        ids.into_iter().for_each(|id| inventory.set_tags(id, Some(&store::Tags::new())));
        return Ok(tagging);
    }
    let requests: Vec<_> = ids.into_iter().map(|id| (id, inventory.object_name(id))).collect();
    let mut answers = stream::iter(requests)
        .map(|(id, name)| async move { (id, store.tags(&name).await) })
        .buffer_unordered(PARALLEL);
    while let Some((id, answer)) = answers.next().await {
        match answer {
            Ok(tags) => inventory.set_tags(id, Some(&tags)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => {
                    inventory.set_state(id, State::Gone);
                    inventory.set_tags(id, None);
                }
                ErrorKind::Unsupported => {
                    tagging = Tagging::Unsupported;
                    inventory.set_tags(id, Some(&store::Tags::new()));
                }
                ErrorKind::Denied => return Err(Error::TagsDenied(error)),
                ErrorKind::Unauthenticated => return Err(error.into()),
                _ => {
                    let text = format!("an entry whose tags cannot be read is kept: {}", chain(&error));
                    monitor.warning(&text, error.hint_text());
                    inventory.set_tags(id, None);
                }
            },
        }
    }
    Ok(tagging)
}

/// What the end of an entry's object is.
pub(super) enum EntryEnd {
    Footer(Box<Footer>),
    Plain,
    Damaged,
    /// No longer there, or no longer the same object.
    Gone,
}

/// Reads the end of the object `name` that has this `etag`.
pub(super) async fn read_end(store: &dyn Store, name: &ObjectName, etag: &ETag) -> Result<EntryEnd> {
    match object_end::read_footer(store, name, etag).await? {
        Verdict::Readable(Some(footer)) => Ok(EntryEnd::Footer(footer)),
        Verdict::Readable(None) => Ok(EntryEnd::Plain),
        Verdict::Damaged(_) => Ok(EntryEnd::Damaged),
        Verdict::Newer(source) => Err(Error::NewerEntry { name: name.to_string(), source }),
        Verdict::Gone(_) => Ok(EntryEnd::Gone),
    }
}

/// Whether an error says that the object is no longer there, or another one is.
pub(super) fn is_gone(error: &store::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed)
}

async fn is_there(store: &dyn Store, r: &Ref) -> Result<bool> {
    Ok(matches!(object_end::find_ref(store, r).await?, Verdict::Readable(_)))
}

fn is_delta(object: &ListedObject) -> bool {
    matches!(naming::parse(&object.name), Some((_, _, Kind::Delta)))
}

/// The names that intents protect. One that is gone by now has been answered: its delta is published, or given up.
async fn read_intents(store: &dyn Store, intents: Vec<ListedObject>) -> Result<BTreeSet<String>> {
    let mut bodies = stream::iter(intents)
        .map(|intent| async move { Ok::<_, Error>((read_small(store, &intent.name).await?, intent.name)) })
        .buffer_unordered(PARALLEL);
    let mut names = BTreeSet::new();
    while let Some((body, name)) = bodies.try_next().await? {
        let Some(body) = body else { continue };
        let intent = IntentDocument::parse(&body).map_err(|source| Error::Intent { name: name.to_string(), source })?;
        names.extend(intent.refs.into_iter().map(|r| r.name));
    }
    Ok(names)
}

/// The marks of condemned objects. One that cannot be understood is left alone.
async fn read_marks(store: &dyn Store, monitor: &dyn Monitor) -> Result<Vec<(ObjectName, MarkDocument)>> {
    let marks = store::list_all(store, CONDEMNED_PREFIX).await?;
    let mut bodies = stream::iter(marks)
        .map(|mark| async move { Ok::<_, Error>((read_small(store, &mark.name).await?, mark.name)) })
        .buffer_unordered(PARALLEL);
    let mut all = Vec::new();
    while let Some((body, name)) = bodies.try_next().await? {
        match body.as_deref().map(MarkDocument::parse) {
            Some(Ok(mark)) => all.push((name, mark)),
            Some(Err(error)) => {
                monitor
                    .warning(&format!("cannot read the mark `{name}`, which is left alone: {}", chain(&error)), None);
            }
            None => {}
        }
    }
    Ok(all)
}

async fn read_small(store: &dyn Store, name: &ObjectName) -> Result<Option<bytes::Bytes>> {
    let limits = DownloadLimits::default();
    match fetch(store, (name, Expected::Present), ByteRange::Full, document::MAX_BYTES, &limits).await {
        Ok(fetched) => Ok(Some(fetched.bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Hands over the whole listing, a page at a time.
async fn each_page(store: &dyn Store, mut take: impl FnMut(Vec<ListedObject>)) -> Result<()> {
    let mut page: Option<String> = None;
    loop {
        let answer = store.list("", page.as_deref()).await?;
        take(answer.objects);
        match answer.next {
            Some(next) if Some(&next) == page.as_ref() => {
                let error = store::Error::new(ErrorKind::Corrupt, "list", store);
                return Err(error.detail("the store sent the same page twice").into());
            }
            Some(next) => page = Some(next),
            None => return Ok(()),
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
