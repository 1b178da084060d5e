//! From what the user asked for to an open store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt as _};

use super::adapted::Adapted;
use super::local::LocalStore;
use super::probe::{self, Features};
use super::s3::S3Store;
use super::s3::options::S3Options;
use super::url::StoreUrl;
use super::versions::{Purged, Versioning};
use super::{ETag, ObjectName, Result, Store};

/// Objects whose versions are deleted at a time.
const PARALLEL: usize = 16;

/// Which store to open, and how.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where it is.
    pub url: StoreUrl,
    /// For S3 only.
    pub s3: S3Options,
}

/// An open store.
#[derive(Clone, Debug)]
pub struct OpenedStore {
    /// The store. It is asked only for what [`Self::features`] has found that it honours.
    pub store: Arc<dyn Store>,
    /// Whether it must be found out what it honours. Not for AWS and directories, which are taken at their word.
    pub needs_probe: bool,
    /// Whether a probe was not allowed. Clones share it.
    is_untried: Arc<AtomicBool>,
    /// The same as `store`; none for a directory.
    adapted: Option<Adapted>,
    /// What is inside; none for a directory.
    s3: Option<S3Store>,
    /// The same as `store`; none for a bucket.
    local: Option<LocalStore>,
}

impl OpenedStore {
    /// A store of another kind, made by the caller and taken at its word.
    pub fn taken_at_its_word(store: Arc<dyn Store>) -> Self {
        Self { store, needs_probe: false, is_untried: Arc::default(), adapted: None, s3: None, local: None }
    }

    /// What the store honours, from memory or by trying. To be called before anything is written or deleted, and before
    /// two commands of one program would both try.
    pub async fn features(&self) -> Result<Features> {
        match self.adapted.as_ref().filter(|_| self.needs_probe) {
            Some(adapted) => {
                let probe::ProbeFindings { features, is_certain } = probe::find(adapted.inner()).await?;
                adapted.adopt(features);
                self.is_untried.store(!is_certain, Ordering::Relaxed);
                Ok(features)
            }
            None => Ok(Features::all()),
        }
    }

    /// Whether this role may not try what the store honours, so that what [`Self::features`] calls lacking need not be.
    pub fn is_untried(&self) -> bool {
        self.is_untried.load(Ordering::Relaxed)
    }

    /// Whether there is a store: a directory that no save has made yet is none. Of a bucket only requests tell.
    pub fn exists(&self) -> bool {
        self.local.as_ref().is_none_or(LocalStore::exists)
    }

    /// Whether there is a store: a directory that holds nothing of ours is none. Of a bucket only requests tell.
    pub async fn is_store(&self) -> Result<bool> {
        match &self.local {
            Some(local) => local.is_store().await,
            None => Ok(true),
        }
    }

    /// The bucket, if it is one, for what is asked of a bucket only.
    pub fn s3(&self) -> Option<&S3Store> {
        self.s3.as_ref()
    }

    /// Whether a deletion frees space; none for a directory, where it always does. One request.
    pub async fn versioning(&self) -> Option<Versioning> {
        match &self.s3 {
            Some(s3) => Some(s3.versioning().await),
            None => None,
        }
    }

    /// Deletes the versions and delete markers of objects that have been deleted, and nothing that is current. The answers
    /// stand in the order of the objects.
    pub async fn purge(&self, objects: Vec<(ObjectName, ETag)>) -> Vec<Result<Purged>> {
        let purge = |(name, etag): (ObjectName, ETag)| async move {
            match &self.s3 {
                Some(s3) => s3.purge(&name, &etag).await,
                None => Ok(Purged::default()),
            }
        };
        stream::iter(objects).map(purge).buffered(PARALLEL).collect().await
    }

    /// The storage class that was asked for, if the store has refused it and objects are written without one.
    pub fn refused_storage_class(&self) -> Option<&str> {
        self.s3.as_ref().and_then(S3Store::refused_storage_class)
    }

    /// What an earlier run has found that the store honours; everything if none has. Nothing is written.
    pub async fn remembered_features(&self) -> Result<Features> {
        match self.adapted.as_ref().filter(|_| self.needs_probe) {
            Some(adapted) => {
                let found = probe::remembered(adapted.inner()).await?.unwrap_or(Features::all());
                adapted.adopt(found);
                Ok(found)
            }
            None => Ok(Features::all()),
        }
    }
}

/// Opens a store. Sends nothing to it: a wrong bucket or wrong credentials show at the first request.
pub async fn open(config: &StoreConfig) -> Result<OpenedStore> {
    match &config.url {
        StoreUrl::Local(directory) => {
            let store = LocalStore::open(directory.clone()).await?;
            let local = Some(store.clone());
            Ok(OpenedStore {
                store: Arc::new(store),
                needs_probe: false,
                is_untried: Arc::default(),
                adapted: None,
                s3: None,
                local,
            })
        }
        StoreUrl::S3 { bucket, prefix } => {
            let s3 = &config.s3;
            let store = S3Store::open(bucket, prefix, s3).await?;
            // Directory buckets (S3 Express One Zone) have no tags, and some conditions of their own.
            let needs_probe = !store.is_aws() || bucket.ends_with("--x-s3");
            let adapted = Adapted::new(Arc::new(store.clone()), Features::all());
            Ok(OpenedStore {
                store: Arc::new(adapted.clone()),
                needs_probe,
                is_untried: Arc::default(),
                adapted: Some(adapted),
                s3: Some(store),
                local: None,
            })
        }
    }
}
