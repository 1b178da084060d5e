//! Multipart uploads to a directory: one draft that the parts are written into by position.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rustix::fs::{self, AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::super::{ETag, Error, ErrorKind, ObjectName, Payload, PutMode, Result, Tags, Upload};
use super::directory::Directory;
use super::draft::Draft;
use super::path::{self, Missing, open_private};
use super::refused::Refused;
use super::reserve;
use crate::convert;

/// Where uploads are, in the private folder: `<id>` is the data and `<id>.json` says whose.
pub(super) const FOLDER: &str = "uploads";

const NOTE: &str = ".json";

/// What is written down about an upload, so that others can list and abort it.
#[derive(Debug, Serialize, Deserialize)]
struct UploadNote {
    name: String,
    initiated: DateTime<Utc>,
}

/// One upload: our own, or one found in the folder that can only be aborted.
pub(super) struct LocalUpload {
    directory: Directory,
    name: ObjectName,
    id: String,
    initiated: DateTime<Utc>,
    tags: Tags,
    /// None for an upload of somebody else, or one that is done.
    draft: Mutex<Option<Arc<Draft>>>,
    /// Held while a part is written: writes to one file take turns in the kernel anyway, where those that wait their turn
    /// burn the time of the cores that compress.
    turn: tokio::sync::Mutex<()>,
    /// Offset and length of each part.
    parts: Mutex<BTreeMap<u32, (u64, u64)>>,
}

impl LocalUpload {
    pub(super) fn begin(directory: Directory, name: ObjectName, tags: Tags) -> io::Result<Self> {
        let draft = Draft::create(directory.path(), FOLDER)?;
        let initiated = Utc::now();
        let id = draft.name().to_owned();
        let note = serde_json::to_vec(&UploadNote { name: name.to_string(), initiated })?;
        let folder = open_private(directory.path(), &path::private_directories(FOLDER))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::openat(&folder, format!("{id}{NOTE}"), flags, Mode::from_raw_mode(0o666))?;
        File::from(file).write_all(&note)?;
        let draft = Mutex::new(Some(Arc::new(draft)));
        Ok(Self { directory, name, id, initiated, tags, draft, turn: Default::default(), parts: Mutex::default() })
    }

    /// All uploads with a note.
    pub(super) fn under_way(directory: &Directory, prefix: &str) -> io::Result<Vec<Self>> {
        let directories = path::private_directories(FOLDER);
        let chain = match path::open_chain(directory.path(), &directories, Missing::Fail) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            chain => chain?,
        };
        let folder = &chain[chain.len() - 1];
        let mut uploads = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().ok().and_then(|name| name.strip_suffix(NOTE)) else { continue };
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let Ok(file) = fs::openat(folder, entry.file_name(), flags, Mode::empty()) else { continue };
            // A note that is not whole yet is one of an upload that begins right now.
            let Ok(note) = serde_json::from_reader::<_, UploadNote>(io::BufReader::new(File::from(file))) else {
                continue;
            };
            let UploadNote { name, initiated } = note;
            let Ok(name) = ObjectName::new(name) else { continue };
            if name.as_str().starts_with(prefix) {
                uploads.push(Self {
                    directory: directory.clone(),
                    name,
                    id: id.to_owned(),
                    initiated,
                    tags: Tags::new(),
                    draft: Mutex::new(None),
                    turn: Default::default(),
                    parts: Mutex::default(),
                });
            }
        }
        Ok(uploads)
    }

    fn draft(&self, action: &'static str) -> Result<Arc<Draft>> {
        let draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        draft.clone().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, action, &self.name).detail("the upload is over, or another process's")
        })
    }

    /// The length of the object if the parts follow one another without a gap.
    fn length(&self) -> Result<u64> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut end = 0;
        for (expected, (number, (offset, length))) in (1..).zip(parts.iter()) {
            if *number != expected || *offset != end {
                return Err(Error::new(ErrorKind::Invalid, "publish", &self.name)
                    .detail(format!("part {expected} does not begin where the one before ends")));
            }
            end += length;
        }
        Ok(end)
    }

    /// Forgets the upload on disk.
    fn remove(root: &Path, id: &str) -> io::Result<()> {
        let directories = path::private_directories(FOLDER);
        let chain = match path::open_chain(root, &directories, Missing::Fail) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            chain => chain?,
        };
        for name in [id.to_owned(), format!("{id}{NOTE}")] {
            match fs::unlinkat(&chain[chain.len() - 1], name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Upload for LocalUpload {
    fn name(&self) -> &ObjectName {
        &self.name
    }

    fn initiated(&self) -> DateTime<Utc> {
        self.initiated
    }

    async fn part(&self, number: u32, offset: u64, body: Payload) -> Result<()> {
        let draft = self.draft("upload")?;
        let length = convert::length(body.len());
        let write = move |_: &_| {
            let mut position = offset;
            for piece in body.pieces() {
                draft.file.write_all_at(piece, position)?;
                position += convert::length(piece.len());
            }
            Ok(())
        };
        let turn = self.turn.lock().await;
        self.directory.blocking("upload", &self.name, write).await?;
        drop(turn);
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (offset, length));
        Ok(())
    }

    async fn complete(&self, mode: PutMode) -> Result<ETag> {
        let (draft, length) = (self.draft("publish")?, self.length()?);
        let (name, tags, id) = (self.name.clone(), self.tags.clone(), self.id.clone());
        let etag = self
            .directory
            .blocking("publish", &self.name, move |root| {
                draft.file.set_len(length)?;
                let etag = draft.publish(root, &name, &mode, &tags)?;
                Self::remove(root, &id).map_err(Refused::Io)?;
                reserve::keep(root);
                Ok(etag)
            })
            .await?;
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(etag)
    }

    async fn abort(&self) -> Result<()> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).take();
        let id = self.id.clone();
        self.directory.blocking("abort the upload of", &self.name, move |root| Ok(Self::remove(root, &id)?)).await
    }
}

impl fmt::Debug for LocalUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalUpload({} of {} in {})", self.id, self.name, self.directory)
    }
}
