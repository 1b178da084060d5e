//! A store in memory in which every request waits until the test lets it through.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use xcache_core::archive::footer::{End, decode_end};
use xcache_core::gc::document::MarkDocument;
use xcache_core::naming::{self, CONDEMNED_PREFIX, INTENTS_PREFIX, PASSES_PREFIX};
use xcache_core::store::{
    ByteRange, Deletion, Download, ETag, Error, ErrorKind, ListPage, ListedObject, ObjectMeta, ObjectName, PutMode,
    Result, Store, Tags, Upload,
};

use super::world::{World, archive};

/// What one actor is told wrongly, or what is not done for it though it is told so: each takes one protection out of
/// the protocol without a switch in the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// Saver: the intent is not written, and seems to be there.
    DropsIntents,
    /// Saver: nothing seems condemned.
    HidesMarks,
    /// Saver: each ref seems to be what it was.
    HeadsAlwaysMatch,
    /// Saver: HEADs are answered as of the moment before the marks are read.
    HeadsBeforeMarks,
    /// Saver: the intent seems to be there still.
    IntentAlwaysThere,
    /// Gc: the second listing of intents and entries shows what the first did.
    OneListing,
    /// Gc: entries are listed before intents.
    EntriesFirst,
    /// Gc: at the end of a pass all its marks go, also of what it did not delete.
    Uncondemns,
    /// Gc: `If-Match` is ignored on deletion.
    IgnoresIfMatch,
    /// Gc: deltas seem to refer to nothing.
    HidesRefs,
    /// Keeper: no other pass seems to be at work.
    HidesPasses,
    /// Gc: the first deletion of a pass takes place after the second.
    DeletesLate,
}

/// The store as one actor sees it.
pub(super) struct ModelStore {
    world: Arc<Mutex<World>>,
    actor: usize,
    lie: Option<Lie>,
    memory: Mutex<Memory>,
}

/// What a lie needs to remember.
#[derive(Default)]
struct Memory {
    listings: BTreeMap<String, Vec<ListPage>>,
    heads: Option<BTreeMap<String, ObjectMeta>>,
    marks: Vec<ObjectName>,
    late: Option<Deletion>,
}

/// A request that waits.
pub(super) struct Pending {
    pub(super) actor: usize,
    pub(super) id: u64,
    pub(super) what: String,
    pub(super) granted: bool,
    pub(super) waker: Option<Waker>,
}

impl ModelStore {
    pub(super) fn new(world: &Arc<Mutex<World>>, actor: usize, lie: Option<Lie>) -> Self {
        Self { world: Arc::clone(world), actor, lie, memory: Mutex::default() }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// Waits for its turn, then does `act` as one step, and notes what the actor learned.
    ///
    /// The mark of a pass matters to others only as a lease or a clock; where none is needed it costs no step.
    async fn step<T>(&self, what: String, act: impl FnOnce(&mut World) -> (T, String)) -> T {
        if what.contains(PASSES_PREFIX) && !self.world.lock().unwrap().passes_matter {
            return act(&mut self.world.lock().unwrap()).0;
        }
        Turn { world: Arc::clone(&self.world), actor: self.actor, what: what.clone(), id: None }.await;
        let mut world = self.world.lock().unwrap();
        let (answer, learned) = act(&mut world);
        world.learn(self.actor, &what, &learned);
        answer
    }

    async fn list_now(&self, prefix: &str, page: Option<&str>) -> ListPage {
        self.step(format!("LIST {prefix} {}", page.unwrap_or_default()), |world| {
            let mut objects: Vec<ListedObject> = world
                .objects
                .iter()
                .filter(|(name, _)| name.starts_with(prefix) && page.is_none_or(|last| name.as_str() > last))
                .map(|(name, object)| ListedObject { name: object_name(name), meta: object.meta.clone() })
                .take(world.page_size + 1)
                .collect();
            let more = objects.len() > world.page_size;
            objects.truncate(world.page_size);
            let next = more.then(|| objects.last().unwrap().name.to_string());
            // What is no entry is not looked at in a listing of everything.
            let told = objects.iter().filter(|object| !prefix.is_empty() || naming::parse(&object.name).is_some());
            let learned = told.map(|object| format!("{} {}", object.name, object.meta.etag)).collect();
            (ListPage { objects, next }, learned)
        })
        .await
    }

    async fn list_all_now(&self, prefix: &str) -> Vec<ListPage> {
        let mut pages = Vec::new();
        loop {
            let page = self.list_now(prefix, pages.last().and_then(|page: &ListPage| page.next.as_deref())).await;
            let done = page.next.is_none();
            pages.push(page);
            if done {
                return pages;
            }
        }
    }

    /// A listing that was taken before: the pages are served one by one.
    fn remembered(&self, prefix: &str, page: Option<&str>) -> Option<ListPage> {
        let memory = self.memory();
        let pages = memory.listings.get(prefix)?;
        match page {
            None => pages.first().cloned(),
            Some(last) => {
                let at = pages.iter().position(|page| page.next.as_deref() == Some(last))?;
                pages.get(at + 1).cloned()
            }
        }
    }

    /// What the store does by itself: an object expires.
    pub(super) async fn expire(&self, name: &ObjectName) {
        self.step(format!("EXPIRE {name}"), |world| (world.expire(name.as_str()), String::new())).await;
    }

    /// What an administrator does: the same object with another ETag.
    pub(super) async fn copy(&self, name: &ObjectName) {
        self.step(format!("COPY {name}"), |world| (world.copy(name.as_str()), String::new())).await;
    }

    async fn delete_now(&self, deletion: &Deletion) -> Result<()> {
        let Deletion { name, if_match } = deletion;
        self.step(format!("DELETE {name} {if_match:?}"), |world| {
            let result = match (world.objects.get(name.as_str()), if_match) {
                (None, Some(_)) if !world.ignores_if_match => Err(Error::not_found("delete", name)),
                (None, _) => Ok(()),
                (Some(object), Some(etag))
                    if object.meta.etag != *etag && !world.ignores_if_match && !self.lies(Lie::IgnoresIfMatch) =>
                {
                    Err(Error::new(ErrorKind::Changed, "delete", name))
                }
                (Some(_), _) => {
                    world.delete(self.actor, name.as_str());
                    Ok(())
                }
            };
            let learned = told(&result);
            (result, learned)
        })
        .await
    }
}

#[async_trait]
impl Store for ModelStore {
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        let found = self
            .step(format!("GET {name}"), |world| {
                let found = match world.objects.get(name.as_str()) {
                    None => Err(Error::not_found("download", name)),
                    Some(object) if pin.is_some_and(|etag| object.meta.etag != *etag) => {
                        Err(Error::new(ErrorKind::Changed, "download", name))
                    }
                    Some(object) => Ok((object.body.clone(), object.meta.clone())),
                };
                let learned = told(&found.as_ref().map(|(_, meta)| meta));
                (found, learned)
            })
            .await;
        let (mut body, mut meta) = found?;
        if self.lies(Lie::HidesRefs)
            && let Ok(End::Ours { mut footer, .. }) = decode_end(&body, body.len() as u64)
        {
            footer.refs.clear();
            body = archive(*footer);
            meta.size = body.len() as u64;
        }
        assert!(matches!(range, ByteRange::Full | ByteRange::Last(8192)), "the whole object is handed out");
        Ok(Download { meta, offset: 0, body: stream::iter([Ok(body)]).boxed() })
    }

    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta> {
        let is_entry = naming::parse(name).is_some();
        let is_intent = name.as_str().starts_with(INTENTS_PREFIX);
        self.step(format!("HEAD {name}"), |world| {
            let meta = world.objects.get(name.as_str()).map(|object| object.meta.clone());
            let meta = if is_intent && (self.lies(Lie::DropsIntents) || self.lies(Lie::IntentAlwaysThere)) {
                Some(world.meta(b"the intent"))
            } else if is_entry && self.lies(Lie::HeadsAlwaysMatch) {
                world.first.get(name.as_str()).cloned()
            } else if let Some(heads) = self.memory().heads.as_ref().filter(|_| is_entry) {
                heads.get(name.as_str()).cloned()
            } else {
                meta
            };
            // What is deleted late must not be found out before.
            let is_late = self.memory().late.as_ref().is_some_and(|late| late.name == *name);
            let result = meta.filter(|_| !is_late).ok_or_else(|| Error::not_found("head", name));
            let learned = told(&result);
            (result, learned)
        })
        .await
    }

    async fn put(&self, name: &ObjectName, body: Bytes, mode: PutMode, _tags: &Tags) -> Result<ETag> {
        let is_mark = name.as_str().starts_with(CONDEMNED_PREFIX);
        if is_mark {
            let mark = MarkDocument::parse(&body).unwrap();
            assert!(!mark.name.starts_with(".xcache/"), "only entries are condemned");
            self.memory().marks.push(name.clone());
        }
        self.step(format!("PUT {name}"), |world| {
            if self.lies(Lie::DropsIntents) && name.as_str().starts_with(INTENTS_PREFIX) {
                return (Ok(ETag("dropped".into())), String::new());
            }
            let result = match (&mode, world.objects.contains_key(name.as_str())) {
                (PutMode::Create, true) => Err(Error::new(ErrorKind::AlreadyExists, "upload", name)),
                (PutMode::Replace(_), _) => Err(Error::new(ErrorKind::Unsupported, "upload", name)),
                (PutMode::Create, false) | (PutMode::Overwrite, _) => Ok(world.put(self.actor, name.as_str(), body)),
            };
            let learned = told(&result);
            (result, learned)
        })
        .await
    }

    async fn upload(&self, name: &ObjectName, _tags: &Tags) -> Result<Box<dyn Upload>> {
        Err(Error::new(ErrorKind::Unsupported, "upload", name))
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        let is_hidden = self.lies(Lie::HidesPasses) && prefix == PASSES_PREFIX;
        if is_hidden || self.lies(Lie::HidesMarks) && prefix == CONDEMNED_PREFIX {
            return Ok(ListPage::default());
        }
        if self.lies(Lie::HeadsBeforeMarks) && prefix == CONDEMNED_PREFIX && page.is_none() {
            let heads = self.step("HEAD all".into(), |world| (world.metas(), format!("{:?}", world.metas()))).await;
            self.memory().heads = Some(heads);
        }
        let listed_twice = prefix == INTENTS_PREFIX || prefix.is_empty();
        if self.lies(Lie::OneListing) && listed_twice {
            if !self.memory().listings.contains_key(prefix) {
                let pages = self.list_all_now(prefix).await;
                self.memory().listings.insert(prefix.to_owned(), pages);
            }
            return Ok(self.remembered(prefix, page).unwrap());
        }
        if self.lies(Lie::EntriesFirst) && listed_twice {
            if prefix == INTENTS_PREFIX && page.is_none() {
                let pages = self.list_all_now("").await;
                self.memory().listings.insert(String::new(), pages);
            }
            if prefix.is_empty() {
                return Ok(self.remembered(prefix, page).unwrap());
            }
        }
        Ok(self.list_now(prefix, page).await)
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let mut answers = Vec::new();
        for deletion in deletions {
            let of_entry = deletion.if_match.is_some();
            let ends_pass = deletion.name.as_str().starts_with(PASSES_PREFIX);
            if self.lies(Lie::DeletesLate) && of_entry && self.memory().late.is_none() {
                self.memory().late = Some(deletion.clone());
                answers.push(Ok(()));
                continue;
            }
            answers.push(self.delete_now(deletion).await);
            if of_entry || ends_pass {
                let late = self.memory().late.take();
                if let Some(late) = late {
                    // What it answered has been told already.
                    let _ = self.delete_now(&late).await;
                }
            }
            if ends_pass {
                let marks = std::mem::take(&mut self.memory().marks);
                for name in marks.into_iter().filter(|_| self.lies(Lie::Uncondemns)) {
                    let _ = self.delete_now(&Deletion { name, if_match: None }).await;
                }
            }
        }
        answers
    }

    async fn tags(&self, name: &ObjectName) -> Result<Tags> {
        // Nothing is pinned, and tags never change: no step of its own.
        let _ = name;
        Ok(Tags::new())
    }

    async fn set_tags(&self, name: &ObjectName, _tags: &Tags) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "tag", name))
    }

    async fn uploads(&self, _prefix: &str) -> Result<Vec<Box<dyn Upload>>> {
        Ok(Vec::new())
    }
}

/// Waits until the test lets a request through.
struct Turn {
    world: Arc<Mutex<World>>,
    actor: usize,
    what: String,
    id: Option<u64>,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = Arc::clone(&self.world);
        let mut world = world.lock().unwrap();
        let Some(id) = self.id else {
            let pending = (self.actor, std::mem::take(&mut self.what));
            self.id = Some(world.wait(pending.0, pending.1, context.waker().clone()));
            return Poll::Pending;
        };
        let at = world.pending.iter().position(|pending| pending.id == id).expect("it waits");
        if world.pending[at].granted {
            world.pending.remove(at);
            Poll::Ready(())
        } else {
            world.pending[at].waker = Some(context.waker().clone());
            Poll::Pending
        }
    }
}

impl fmt::Debug for ModelStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelStore({})", self.actor)
    }
}

impl fmt::Display for ModelStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model")
    }
}

pub(super) fn object_name(name: &str) -> ObjectName {
    ObjectName::new(name).unwrap()
}

pub(super) fn etag(body: &[u8]) -> ETag {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    ETag(format!("{:016x}", hasher.finish()))
}

pub(super) fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap()
}

fn told<T: fmt::Debug>(result: &std::result::Result<T, impl fmt::Display>) -> String {
    match result {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => error.to_string(),
    }
}
