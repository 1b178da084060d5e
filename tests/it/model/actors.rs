//! Who uses the store: each actor is a program of the product's own functions.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use xcache_core::archive::footer::Footer;
use xcache_core::gc::document::MarkDocument;
use xcache_core::gc::pass::DeleteMode;
use xcache_core::gc::plan::{Cascade, RemovalTarget};
use xcache_core::gc::policy::Policy;
use xcache_core::gc::protocol::{DeltaVerdict, Intent};
use xcache_core::gc::{Effect, Operation, prune, release, remove};
use xcache_core::monitor::Quiet;
use xcache_core::naming::{MarkId, condemned_name};
use xcache_core::object::{ArchiveId, Kind, Ref, RunId};
use xcache_core::store::ETag;
use xcache_core::store::probe::Features;
use xcache_core::store::{ByteRange, ErrorKind, ObjectName, PutMode, Store, Tags, collect};

use super::store::ModelStore;
use super::world::{Violation, World, archive, entry_name, footer, footer_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    /// Has restored the base `b` and saves `key` as a delta on it.
    DeltaSaver { key: &'static str },
    /// Restores `from`, whatever it is by then, and saves `key` as a delta on it.
    ChainSaver { from: &'static str, key: &'static str },
    /// Saves `key` as a base, if it is not there.
    BaseSaver { key: &'static str },
    /// Restores `key` by exact match.
    Restorer { key: &'static str },
    /// Prunes what is older than a week.
    Gc,
    /// Deletes entries that dangle, and no others.
    Tidy,
    /// Restores `b`, finds it damaged, and marks it.
    Marker,
    /// Takes back the marks of `key`.
    Keeper { key: &'static str },
    /// The store itself: a lifecycle rule lets `b` expire.
    Expiry,
    /// An administrator: `b` is encrypted anew, which changes its ETag.
    Copier,
    /// Removes base and delta of `key`.
    Rm { key: &'static str, cascade: Cascade },
}

/// What an actor acts with.
pub(super) struct Hands {
    pub(super) store: ModelStore,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) number: u8,
    pub(super) mode: DeleteMode,
}

impl Hands {
    pub(super) async fn run(self, actor: Actor) {
        match actor {
            Actor::DeltaSaver { key } => {
                let refs = vec![self.initial_ref()];
                self.save_delta(key, refs).await;
            }
            Actor::ChainSaver { from, key } => {
                let refs = self.restore(from).await.map(|(own, footer)| [vec![own], footer.refs].concat());
                self.save_delta(key, refs.unwrap_or_default()).await;
            }
            Actor::BaseSaver { key } => self.save_base(key).await,
            Actor::Restorer { key } => {
                self.restore(key).await;
            }
            Actor::Gc => {
                let policy = Policy { max_age: Some(TimeDelta::days(7)), ..Policy::default() };
                let features = Features { conditional_delete: self.mode == DeleteMode::Conditional, ..Features::all() };
                // A pass that has to give way, or to stop, is as good as none.
                let _ = prune(&self.operation(&self.id()), &features, &policy).await;
            }
            Actor::Tidy => {
                let policy = Policy { dangling: true, ..Policy::default() };
                let _ = prune(&self.operation(&self.id()), &Features::all(), &policy).await;
            }
            Actor::Marker => {
                let (name, r) = (entry_name("b", Kind::Base), self.initial_ref());
                let mark = MarkDocument::new(&name, &r.etag).to_bytes();
                let object = condemned_name(&MarkId::of_archive(&name, r.archive_id));
                let _ = self.store.put(&object, mark, PutMode::Overwrite, &Tags::new()).await;
            }
            Actor::Keeper { key } => {
                let names = [Kind::Base, Kind::Delta].map(|kind| entry_name(key, kind));
                let _ = release(&self.operation(&self.id()), self.mode, &names).await;
            }
            Actor::Expiry => self.store.expire(&entry_name("b", Kind::Base)).await,
            Actor::Copier => self.store.copy(&entry_name("b", Kind::Base)).await,
            Actor::Rm { key, cascade } => {
                {
                    let mut world = self.world.lock().unwrap();
                    world.all_may_go |= cascade == Cascade::Yes;
                    let names = [Kind::Base, Kind::Delta].map(|kind| entry_name(key, kind).to_string());
                    world.names_may_go.extend(names);
                }
                let targets =
                    [Kind::Base, Kind::Delta].map(|kind| RemovalTarget { name: entry_name(key, kind), etag: None });
                let _ = remove(&self.operation(&self.id()), self.mode, &targets, cascade).await;
            }
        }
    }

    fn id(&self) -> RunId {
        RunId([self.number; 16])
    }

    fn operation<'a>(&'a self, run: &'a RunId) -> Operation<'a> {
        Operation { store: &self.store, run, mode: Effect::Real, monitor: &Quiet }
    }

    fn initial_ref(&self) -> Ref {
        let world = self.world.lock().unwrap();
        let name = entry_name("b", Kind::Base);
        let object = &world.objects[name.as_str()];
        reference(&name, object.footer.as_ref().unwrap(), &object.meta.etag)
    }

    async fn save_delta(&self, key: &str, refs: Vec<Ref>) {
        let intent = Intent::note(&self.store, &self.id(), refs).await;
        let used = intent.usable().to_vec();
        if used.is_empty() {
            intent.withdraw(&self.store).await;
            return self.save_base(key).await;
        }
        let name = entry_name(key, Kind::Delta);
        let id = ArchiveId([self.number; 16]);
        let body = archive(footer(Kind::Delta, key, id, used.clone()));
        let Ok(etag) = self.store.put(&name, body, PutMode::Create, &Tags::new()).await else {
            return intent.withdraw(&self.store).await;
        };
        match intent.settle(&self.store, &used).await {
            DeltaVerdict::Stands => self.report(id),
            DeltaVerdict::Withdraw(_) => {
                self.world.lock().unwrap().may_go.insert(id);
                let target = RemovalTarget { name, etag: Some(etag) };
                let _ = remove(&self.operation(&self.id()), self.mode, &[target], Cascade::No).await;
                self.save_base(key).await;
            }
        }
    }

    async fn save_base(&self, key: &str) {
        let id = ArchiveId([self.number + 100; 16]);
        let body = archive(footer(Kind::Base, key, id, Vec::new()));
        if self.store.put(&entry_name(key, Kind::Base), body, PutMode::Create, &Tags::new()).await.is_ok() {
            self.report(id);
        }
    }

    fn report(&self, id: ArchiveId) {
        self.world.lock().unwrap().saved.insert(id);
    }

    /// Finds an entry by exact match and reads all that it needs.
    async fn restore(&self, key: &str) -> Option<(Ref, Footer)> {
        let mut found = None;
        for kind in [Kind::Base, Kind::Delta] {
            let name = entry_name(key, kind);
            if let Ok(download) = self.store.get(&name, ByteRange::Last(8192), None).await {
                let etag = download.meta.etag.clone();
                let footer = footer_of(&collect(download, 8192).await.unwrap()).unwrap();
                found = Some((name, etag, footer));
                break;
            }
        }
        let (name, etag, footer) = found?;
        for r in &footer.refs {
            if self.store.get(&r.name, ByteRange::Full, Some(&r.etag)).await.is_err() {
                // Deleted meanwhile? Then a second look does not find it.
                let still = self.store.head(&name).await;
                let gone = still.as_ref().is_err_and(|e| e.kind() == ErrorKind::NotFound);
                if !gone && still.is_ok_and(|meta| meta.etag == etag) {
                    self.complain(&name, &footer);
                }
                return None;
            }
        }
        Some((reference(&name, &footer, &etag), footer))
    }

    fn complain(&self, name: &ObjectName, footer: &Footer) {
        let mut world = self.world.lock().unwrap();
        if world.saved.contains(&footer.archive_id) {
            world.violation = Some(Violation::NotRestored(name.to_string()));
        }
    }
}

fn reference(name: &ObjectName, footer: &Footer, etag: &ETag) -> Ref {
    Ref {
        name: name.clone(),
        etag: etag.clone(),
        size: 0,
        data_bytes: 0,
        archive_id: footer.archive_id,
        created_nanos: 0,
    }
}
