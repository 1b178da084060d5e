//! From the last bytes of an object to its archive, and what it takes to call an object damaged or gone.
//!
//! Everything that reads the end of an object asks here: restores, saves, gc and `verify`. A single answer of a store is
//! never enough where something would be replaced or deleted for it (P11):
//!
//! - [`Verdict::Damaged`]: two fetches brought bytes that are no archive, and a HEAD shows the same object still there;
//! - [`Verdict::Gone`]: two fetches and a HEAD say so (`transfer::request`);
//! - whatever contradicts itself is an error of the store, and says nothing about the object.
//!
//! An object is identified by the random id in its footer. Its ETag only pins requests: copying a store, a new storage
//! class or another encryption change it, so a ref whose ETag differs is looked at once more ([`find_ref`]).

use std::fmt;

use bytes::Bytes;

use crate::archive;
use crate::archive::footer::{End, Footer, Head, decode_end, decode_newer};
use crate::archive::reader::{self, Archive};
use crate::naming;
use crate::object::{ArchiveId, Kind, Pinned, Ref};
use crate::store::{self, ByteRange, ETag, ErrorKind, ObjectMeta, ObjectName, Store};
use crate::transfer::limits::DownloadLimits;
pub use crate::transfer::request::Expected;
use crate::transfer::request::{Fetched, fetch as fetch_range};

/// How much of an object's end is asked for first: the index of a tree of 80,000 files, and for small archives all of
/// it. At 1 Gbit/s these are 34 ms, as much as another request would take.
pub const TAIL_BYTES: u64 = 4 << 20;

/// How much is asked for first where only the footer matters. Holds footer and seek table of all but large archives, which
/// take a second request.
const FOOTER_BYTES: u64 = 8 << 10;

/// The longest footer and seek table together that are looked for in archives of newer formats.
const MAX_END_BYTES: u64 = 64 << 20;

/// The end of an object; the whole object if that is short.
#[derive(Clone)]
pub struct Tail {
    /// The bytes up to the object's end.
    pub bytes: Bytes,
    /// Where in the object they begin.
    pub offset: u64,
    /// Of the whole object.
    pub meta: ObjectMeta,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, offset, meta } = self;
        let mut tail = f.debug_struct("Tail");
        tail.field("bytes", &bytes.len()).field("offset", offset).field("meta", meta).finish()
    }
}

/// What is at the end of an object.
#[derive(Debug)]
pub enum ObjectFormat {
    /// An archive of ours.
    Archive(Box<Archive>),
    /// Something without an index.
    Plain,
}

/// What became of reading an object that was there. Trouble with the store is an error, never a verdict.
#[derive(Debug)]
#[must_use = "what is damaged or gone must not be used"]
pub enum Verdict<T> {
    /// It is what it should be.
    Readable(T),
    /// It is not: two fetches agree, and a HEAD shows that the same object is still there.
    Damaged(archive::Error),
    /// Written by a newer version: neither damaged nor readable.
    Newer(archive::Error),
    /// The object is no longer there: two fetches and a HEAD agree.
    Gone(Gone),
}

/// How an object is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// No object has the name.
    Missing,
    /// Another object has the name.
    Replaced,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is gone",
            Self::Replaced => "has been replaced",
        })
    }
}

impl Gone {
    /// What a proven error says of an object that was there; none for an error of the store.
    pub fn of(error: &store::Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::NotFound => Some(Self::Missing),
            ErrorKind::Changed => Some(Self::Replaced),
            _ => None,
        }
    }
}

/// An object that an entry is made of, and that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// Its name.
    pub name: ObjectName,
    /// Which object of that name.
    pub etag: ETag,
    /// Its archive, if it is one that the entry refers to; the reader of an entry knows that of the entry itself.
    pub archive_id: Option<ArchiveId>,
    /// What is wrong with it.
    pub fault: Defect,
}

/// Why an object cannot be used; proven like a [`Verdict`].
#[derive(Debug)]
pub enum Defect {
    /// Its bytes are not what they should be.
    Damaged(archive::Error),
    /// It is not there any more.
    Gone(Gone),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Defect::Damaged(_) => write!(f, "`{}` is damaged", self.name),
            Defect::Gone(gone) => write!(f, "`{}` {gone}", self.name),
        }
    }
}

impl std::error::Error for Unusable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Defect::Damaged(error) => Some(error),
            Defect::Gone(_) => None,
        }
    }
}

impl<T> Verdict<T> {
    /// The same verdict of something made of what was read.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Self::Readable(read) => Verdict::Readable(make(read)),
            Self::Damaged(error) => Verdict::Damaged(error),
            Self::Newer(error) => Verdict::Newer(error),
            Self::Gone(gone) => Verdict::Gone(gone),
        }
    }
}

/// Fetches the last `bytes` of an object; a body that breaks is resumed. [`ErrorKind::NotFound`] and
/// [`ErrorKind::Changed`] are proven if the object is [`Expected`].
pub async fn fetch(store: &dyn Store, name: &ObjectName, bytes: u64, expected: Expected<'_>) -> store::Result<Tail> {
    let limits = DownloadLimits::default();
    let fetched = fetch_range(store, (name, expected), ByteRange::Last(bytes), bytes, &limits).await?;
    let Fetched { meta, offset, bytes } = fetched;
    Ok(Tail { bytes, offset, meta })
}

/// Reads the archive that `tail` is the end of. Afterwards `tail` is long enough for the index.
pub async fn open(store: &dyn Store, name: &ObjectName, tail: &mut Tail) -> store::Result<Verdict<ObjectFormat>> {
    judge(store, name, tail, |tail| {
        Ok(match reader::read_tail(&tail.bytes, tail.meta.size)? {
            reader::ReadTail::Archive(archive) => Step::Read(ObjectFormat::Archive(archive)),
            reader::ReadTail::Plain => Step::Read(indexless(name, ObjectFormat::Plain)?),
            reader::ReadTail::NeedsMore(bytes) => Step::NeedsMore(bytes),
        })
    })
    .await
}

/// Reads the footer of the object `name` that has this `etag`; none if it has no index.
pub async fn read_footer(
    store: &dyn Store,
    name: &ObjectName,
    etag: &ETag,
) -> store::Result<Verdict<Option<Box<Footer>>>> {
    let mut tail = match fetch(store, name, FOOTER_BYTES, Expected::This(etag)).await {
        Ok(tail) => tail,
        Err(error) => return Gone::of(&error).map(Verdict::Gone).ok_or(error),
    };
    judge(store, name, &mut tail, |tail| {
        Ok(match decode_end(&tail.bytes, tail.meta.size)? {
            End::Ours { footer, .. } => Step::Read(Some(footer)),
            End::Plain => Step::Read(indexless(name, None)?),
            End::NeedsMore(bytes) => Step::NeedsMore(bytes),
        })
    })
    .await
}

/// What an object of a newer format is and needs, where [`read_footer`] gives [`Verdict::Newer`]; none if its footer does
/// not begin as those of all formats do.
pub async fn read_newer(store: &dyn Store, name: &ObjectName, etag: &ETag) -> store::Result<Option<Head>> {
    let mut bytes = FOOTER_BYTES;
    while bytes <= MAX_END_BYTES {
        let tail = fetch(store, name, bytes, Expected::This(etag)).await?;
        if let Some(head) = decode_newer(&tail.bytes, tail.meta.size) {
            return Ok(Some(head));
        }
        if tail.offset == 0 {
            break;
        }
        bytes *= 64;
    }
    Ok(None)
}

/// The object that `r` means, with the ETag that it has now. [`Verdict::Gone`] if it is not there any more, or another
/// archive has its name.
pub async fn find_ref(store: &dyn Store, r: &Ref) -> store::Result<Verdict<Pinned>> {
    let name = &r.name;
    let meta = match store.head(name).await {
        Ok(meta) => meta,
        // One answer more than a HEAD must say that it is gone.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match fetch(store, name, FOOTER_BYTES, Expected::Present).await {
                Ok(tail) => tail.meta,
                Err(error) => return Gone::of(&error).map(Verdict::Gone).ok_or(error),
            }
        }
        Err(error) => return Err(error),
    };
    Ok(is_ref(store, r, &meta).await?.map(|()| Pinned { name: name.clone(), etag: meta.etag }))
}

/// Whether the object of the name of `r`, of which HEAD has told `meta`, is the one that `r` means. One request if the ETag
/// differs.
pub async fn is_ref(store: &dyn Store, r: &Ref, meta: &ObjectMeta) -> store::Result<Verdict<()>> {
    if meta.etag == r.etag {
        return Ok(Verdict::Readable(()));
    }
    Ok(match read_footer(store, &r.name, &meta.etag).await? {
        Verdict::Readable(Some(footer)) if footer.archive_id == r.archive_id => Verdict::Readable(()),
        Verdict::Readable(_) | Verdict::Newer(_) => Verdict::Gone(Gone::Replaced),
        Verdict::Damaged(error) => Verdict::Damaged(error),
        Verdict::Gone(gone) => Verdict::Gone(gone),
    })
}

/// The object of that name, if it is the archive `id`: what a write whose answer was lost has left. One request if it is.
pub async fn find_archive(store: &dyn Store, name: &ObjectName, id: ArchiveId) -> store::Result<Option<ObjectMeta>> {
    let mut tail = match fetch(store, name, FOOTER_BYTES, Expected::Unknown).await {
        Ok(tail) => tail,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let read = judge(store, name, &mut tail, |tail| {
        Ok(match decode_end(&tail.bytes, tail.meta.size)? {
            End::Ours { footer, .. } => Step::Read(footer.archive_id == id),
            End::Plain => Step::Read(false),
            End::NeedsMore(bytes) => Step::NeedsMore(bytes),
        })
    });
    Ok(match read.await? {
        Verdict::Readable(true) => Some(tail.meta),
        Verdict::Readable(false) | Verdict::Damaged(_) | Verdict::Newer(_) | Verdict::Gone(_) => None,
    })
}

/// Whether the object that had this `etag` is still there: none if so, else how it is gone. Two fetches and a HEAD agree.
pub async fn look_again(store: &dyn Store, name: &ObjectName, etag: &ETag) -> store::Result<Option<Gone>> {
    match store.head(name).await {
        Ok(meta) if meta.etag == *etag => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match fetch(store, name, 1, Expected::This(etag)).await {
        Ok(_) => Ok(None),
        Err(error) => Gone::of(&error).map(Some).ok_or(error),
    }
}

/// One step of reading an object's end.
enum Step<T> {
    Read(T),
    /// The tail is too short: so many bytes of the object's end are needed.
    NeedsMore(u64),
}

/// Reads `tail`, fetching what is missing; what looks damaged is fetched once more.
async fn judge<T>(
    store: &dyn Store,
    name: &ObjectName,
    tail: &mut Tail,
    read: impl Fn(&Tail) -> archive::Result<Step<T>>,
) -> store::Result<Verdict<T>> {
    let mut is_second = false;
    loop {
        let wanted = match read(tail) {
            Ok(Step::Read(read)) => return Ok(Verdict::Readable(read)),
            Err(newer @ archive::Error::NewerFormat { .. }) => return Ok(Verdict::Newer(newer)),
            // Each round asks for more than the one before, and never for more than the object.
            Ok(Step::NeedsMore(bytes)) if bytes > tail.bytes.len() as u64 => bytes,
            Ok(Step::NeedsMore(_)) | Err(_) if !is_second => {
                is_second = true;
                tail.bytes.len().max(1) as u64
            }
            Ok(Step::NeedsMore(_)) => return damaged(store, name, tail, contradiction()).await,
            Err(error) => return damaged(store, name, tail, error).await,
        };
        match fetch(store, name, wanted, Expected::This(&tail.meta.etag)).await {
            Ok(again) => *tail = again,
            Err(error) => return Gone::of(&error).map(Verdict::Gone).ok_or(error),
        }
    }
}

/// What is wrong with an object of which two fetches agree, if a HEAD does, too.
async fn damaged<T>(
    store: &dyn Store,
    name: &ObjectName,
    tail: &Tail,
    error: archive::Error,
) -> store::Result<Verdict<T>> {
    Ok(match look_again(store, name, &tail.meta.etag).await? {
        None => Verdict::Damaged(error),
        Some(gone) => Verdict::Gone(gone),
    })
}

fn contradiction() -> archive::Error {
    archive::Error::Damaged { part: "footer", reason: "it contradicts itself".into() }
}

/// A delta has no use without its index: one of which the end is missing must not pass for an archive without one.
fn indexless<T>(name: &ObjectName, plain: T) -> archive::Result<T> {
    match naming::parse(name) {
        Some((_, _, Kind::Delta)) => {
            Err(archive::Error::Damaged { part: "index", reason: "a delta without an index".into() })
        }
        _ => Ok(plain),
    }
}

/// Whether the object `name`, of which `tail` is the end, is an archive that was saved under another key or as another
/// kind: one of another store, above or below this one. What has no footer, or none that can be read, does not tell.
pub async fn is_foreign(store: &dyn Store, name: &ObjectName, tail: &Tail) -> bool {
    let is_own =
        |tail: &Tail| match decode_end(&tail.bytes, tail.meta.size) {
            Ok(End::Ours { footer, .. }) => Ok(naming::is_name_of(name, &footer.key, footer.kind)),
            Ok(End::NeedsMore(bytes)) => Err(bytes),
            Ok(End::Plain) => Ok(true),
            Err(_) => Ok(decode_newer(&tail.bytes, tail.meta.size)
                .is_none_or(|head| naming::is_name_of(name, &head.key, head.kind))),
        };
    match is_own(tail) {
        Ok(is_own) => !is_own,
        Err(bytes) => match fetch(store, name, bytes, Expected::This(&tail.meta.etag)).await {
            Ok(longer) => is_own(&longer) == Ok(false),
            // Who reads the entry is told the same.
            Err(_) => false,
        },
    }
}

/// When the archive that `tail` is the end of was written, if it tells.
pub fn created_nanos(tail: &Tail) -> Option<i64> {
    match decode_end(&tail.bytes, tail.meta.size) {
        Ok(End::Ours { footer, .. }) => Some(footer.created_nanos),
        _ => None,
    }
}

/// An entry's own object as a ref to it.
pub fn own_ref(name: &ObjectName, etag: &ETag, size: u64, archive: &Archive) -> Ref {
    let footer = &archive.footer;
    Ref {
        name: name.clone(),
        etag: etag.clone(),
        size,
        data_bytes: footer.index_offset,
        archive_id: footer.archive_id,
        created_nanos: footer.created_nanos,
    }
}

#[cfg(test)]
mod tests;
