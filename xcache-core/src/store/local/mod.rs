//! The store in a directory: the embedded default, and a shared folder for machines that have one.
//!
//! Objects are plain files at `DIR/<name>`, so that one can `tar xf` them. What is no object lies in
//! `DIR/.xcache/local/`: drafts in `tmp` and `uploads`, tags in `tags` where files cannot have attributes, a lock, and a reserve.
//!
//! - A write makes a draft, gives it a modification time that no other object has, and puts it in place with one link
//!   (create-only) or one rename. Nobody ever sees half an object, and readers keep the one that they opened.
//! - The ETag is size and modification time, so a copy of the directory that keeps times keeps ETags.
//! - Whoever takes an object away (overwrite, replace, delete) holds the lock, so that its check and its act are one.
//!   Creating needs no lock.
//! - Nothing is flushed to disk: after a power cut an entry may be damaged, which restoring notices.
//!
//! An object and a directory cannot have the same name: of `a` and `a/b` only one can be there.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::{
    ByteRange, Deletion, Download, ETag, Error, ErrorKind, ListPage, ListedObject, ObjectMeta, ObjectName, PutMode,
    Result, Store, Tags, Upload,
};
use crate::buffers::Pool;
use crate::convert;
use crate::naming;

mod directory;
mod draft;
mod file;
mod list;
mod lock;
mod path;
mod refused;
mod reserve;
mod tags;
mod upload;

pub use draft::remove_drafts;
pub use lock::{LockWait, hurry, on_wait};

use directory::Directory;
use draft::Draft;
use list::Walk;
use path::ObjectPath;
use refused::Refused;
use upload::LocalUpload;

/// How much of a file one read brings: large enough that handing the work to another thread costs under 2 %.
const READ_BYTES: u64 = 1024 * 1024;

/// Drafts and uploads that were not written to for this long are left over, also where it cannot be seen whether their writer
/// is alive: it may be another machine's.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Listings whose place is remembered between pages. More at once only cost time.
const REMEMBERED_WALKS: usize = 4;

/// Objects in a directory. Clones share what they remember.
#[derive(Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: Directory,
    walks: Mutex<VecDeque<(String, Walk)>>,
    /// What objects are read into.
    buffers: Pool,
}

impl LocalStore {
    /// Opens the store in `root`, which need not be there: the first write makes it. What dead writers left is removed.
    pub async fn open(root: PathBuf) -> Result<Self> {
        let buffers = Pool::new(convert::in_memory(READ_BYTES));
        let directory = Directory::new(root);
        let store = Self { inner: Arc::new(Inner { directory, walks: Mutex::default(), buffers }) };
        store
            .blocking("open", store.to_string(), |inner| match path::open_root(inner.root()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error.into()),
                Ok(_) => {
                    inner.remove_leftovers();
                    Ok(())
                }
            })
            .await?;
        Ok(store)
    }

    /// Whether the directory is there: only a save makes it.
    pub fn exists(&self) -> bool {
        self.inner.directory.path().exists()
    }

    /// Whether the directory is a store: a save has left our private folder there, or there is an entry, which may have been
    /// copied by itself. An empty directory, and one of something else, is none.
    pub async fn is_store(&self) -> Result<bool> {
        if self.inner.root().join(path::PRIVATE).is_dir() {
            return Ok(true);
        }
        let mut has_entries = false;
        let is_entry = |object: &ListedObject| naming::parse(&object.name).is_some();
        super::each_page(self, "", |objects| has_entries |= objects.iter().any(is_entry)).await?;
        Ok(has_entries)
    }

    /// Runs file work on a thread where it may wait.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        object: impl fmt::Display,
        work: impl FnOnce(&Inner) -> std::result::Result<T, Refused> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        self.inner.directory.blocking(action, object, move |_| work(&inner)).await
    }
}

impl Inner {
    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn remove_leftovers(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = i64::try_from(now.saturating_sub(STALE).as_secs()).unwrap_or(0);
        for folder in ["tmp", upload::FOLDER] {
            // Nothing there, or not ours to remove: somebody else's turn.
            let chain = path::open_chain(self.root(), &path::private_directories(folder), path::Missing::Fail);
            if let Some(directory) = chain.ok().and_then(|mut chain| chain.pop())
                && let Err(error) = list::remove_stale(&directory, before)
            {
                tracing::debug!(%error, folder, "cannot remove leftovers");
            }
        }
    }

    fn list(&self, prefix: &str, page: Option<&str>) -> std::result::Result<ListPage, Refused> {
        let mut walks = self.walks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = |token: &str| format!("{prefix}\0{token}");
        let place = page.and_then(|token| walks.iter().position(|(at, _)| *at == key(token)));
        let remembered = place.and_then(|place| walks.remove(place)).map(|(_, walk)| walk);
        drop(walks);
        let walk = match remembered {
            Some(walk) => Some(walk),
            None => {
                let token: Option<Vec<String>> = page.map(|token| token.split('/').map(str::to_owned).collect());
                if token.iter().flatten().any(|piece| matches!(piece.as_str(), "" | "." | "..")) {
                    return Err(Refused::Io(io::ErrorKind::InvalidInput.into()));
                }
                Walk::begin(self.root(), prefix, token.as_deref())?
            }
        };
        let Some(mut walk) = walk else { return Ok(ListPage::default()) };
        let page = walk.page()?;
        if let Some(next) = &page.next {
            let mut walks = self.walks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            walks.truncate(REMEMBERED_WALKS - 1);
            walks.push_front((key(next), walk));
        }
        Ok(page)
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        let path = ObjectPath::new("download", name)?;
        let (file, meta) = self.blocking("download", name, move |inner| file::open(inner.root(), &path)).await?;
        if pin.is_some_and(|pin| *pin != meta.etag) {
            return Err(Error::new(ErrorKind::Changed, "download", name));
        }
        let span = match range {
            ByteRange::Full => 0..meta.size,
            ByteRange::Last(bytes) => meta.size.saturating_sub(bytes.max(1))..meta.size,
            ByteRange::Span(span) if span.is_empty() => {
                return Err(Error::new(ErrorKind::Invalid, "download", name).detail("the range is empty"));
            }
            ByteRange::Span(span) if span.start >= meta.size => {
                return Err(Error::new(ErrorKind::Invalid, "download", name)
                    .detail(format!("the range begins past the end of its {} bytes", meta.size)));
            }
            ByteRange::Span(span) => span.start..span.end.min(meta.size),
        };
        let offset = span.start;
        Ok(Download { meta, offset, body: self.read(file, span, name.clone()) })
    }

    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta> {
        let path = ObjectPath::new("look at", name)?;
        self.blocking("look at", name, move |inner| Ok(file::open(inner.root(), &path)?.1)).await
    }

    async fn put(&self, name: &ObjectName, body: Bytes, mode: PutMode, tags: &Tags) -> Result<ETag> {
        ObjectPath::new("upload", name)?;
        let (target, tags) = (name.clone(), tags.clone());
        self.blocking("upload", name, move |inner| {
            let write = || {
                let mut draft = Draft::create(inner.root(), "tmp")?;
                draft.file.write_all(&body)?;
                draft.publish(inner.root(), &target, &mode, &tags)
            };
            match write() {
                // The notes of a clean-up are what frees space in the end.
                Err(Refused::Io(error)) if is_full(&error) && reserve::is_for(&target) => {
                    reserve::release(inner.root());
                    write()
                }
                written => {
                    if written.is_ok() && !path::is_own(&target) {
                        reserve::keep(inner.root());
                    }
                    written
                }
            }
        })
        .await
    }

    async fn upload(&self, name: &ObjectName, tags: &Tags) -> Result<Box<dyn Upload>> {
        ObjectPath::new("upload", name)?;
        let (target, tags, store) = (name.clone(), tags.clone(), self.clone());
        let upload = self
            .blocking("upload", name, move |_| Ok(LocalUpload::begin(store.inner.directory.clone(), target, tags)?))
            .await?;
        Ok(Box::new(upload))
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        let (prefix, page) = (prefix.to_owned(), page.map(str::to_owned));
        let shown = format!("{self}/{prefix}");
        self.blocking("list", shown, move |inner| inner.list(&prefix, page.as_deref())).await
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let mut answers = Vec::with_capacity(deletions.len());
        for deletion in deletions {
            let Deletion { name, if_match } = deletion.clone();
            let deleted = match ObjectPath::new("delete", &name) {
                Err(error) => Err(error),
                Ok(path) => {
                    let target = name.clone();
                    let expected = if_match.clone();
                    self.blocking("delete", &name, move |inner| {
                        file::delete(inner.root(), &target, &path, expected.as_ref())?;
                        if !path::is_own(&target) {
                            reserve::keep(inner.root());
                        }
                        Ok(())
                    })
                    .await
                }
            };
            answers.push(match deleted {
                Err(error) if error.kind() == ErrorKind::NotFound && if_match.is_none() => Ok(()),
                other => other,
            });
        }
        answers
    }

    async fn tags(&self, name: &ObjectName) -> Result<Tags> {
        let path = ObjectPath::new("read tags of", name)?;
        let target = name.clone();
        self.blocking("read tags of", name, move |inner| {
            let (file, meta) = file::open(inner.root(), &path)?;
            Ok(tags::read_tags(inner.root(), &file, &target, &meta.etag)?)
        })
        .await
    }

    async fn set_tags(&self, name: &ObjectName, tags: &Tags) -> Result<()> {
        let path = ObjectPath::new("tag", name)?;
        let (target, tags) = (name.clone(), tags.clone());
        self.blocking("tag", name, move |inner| {
            let (file, meta) = file::open(inner.root(), &path)?;
            Ok(tags::write_tags(inner.root(), &file, &target, &meta.etag, &tags)?)
        })
        .await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Box<dyn Upload>>> {
        let (prefix, store) = (prefix.to_owned(), self.clone());
        let shown = format!("{self}/{prefix}");
        let uploads = self
            .blocking("list uploads of", shown, move |_| Ok(LocalUpload::under_way(&store.inner.directory, &prefix)?))
            .await?;
        Ok(uploads.into_iter().map(|upload| Box::new(upload) as Box<dyn Upload>).collect())
    }
}

impl LocalStore {
    /// The bytes of an open file, a piece at a time, each read on a thread where it may wait.
    fn read(
        &self,
        file: std::fs::File,
        span: std::ops::Range<u64>,
        name: ObjectName,
    ) -> BoxStream<'static, Result<Bytes>> {
        let store = self.clone();
        stream::try_unfold((store, Some(file), span), move |(store, file, span)| {
            let name = name.clone();
            async move {
                let Some(mut file) = file.filter(|_| !span.is_empty()) else { return Ok(None) };
                let wanted = (span.end - span.start).min(READ_BYTES);
                let start = span.start;
                let (file, piece) = store
                    .blocking("download", &name, move |inner| {
                        let mut piece = inner.buffers.take();
                        file.seek(io::SeekFrom::Start(start))?;
                        (&mut file).take(wanted).read_to_end(&mut piece)?;
                        Ok((file, inner.buffers.freeze(piece)))
                    })
                    .await?;
                let read = u64::try_from(piece.len()).unwrap_or(0);
                if read < wanted {
                    return Err(Error::new(ErrorKind::Corrupt, "download", &name)
                        .detail(format!("the file was cut off at {} bytes while it was read", start + read)));
                }
                Ok(Some((piece, (store, Some(file), start + read..span.end))))
            }
        })
        .boxed()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.directory.fmt(f)
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({self})")
    }
}
