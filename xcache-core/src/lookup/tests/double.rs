//! A store in memory that counts requests, lists in reverse order, and fails where it is told to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures_util::StreamExt as _;

use crate::store::{
    ByteRange, Deletion, Download, ETag, Error, ErrorKind, ListPage, ListedObject, ObjectMeta, ObjectName, PutMode,
    Result, Store, Tags, Upload,
};

#[derive(Debug, Default)]
pub(super) struct Double {
    objects: BTreeMap<String, (i64, Bytes)>,
    failure: Option<(String, ErrorKind)>,
    page_failure: Option<(usize, ErrorKind)>,
    repeats_pages: bool,
    shifted: Option<String>,
    requests: Mutex<Vec<&'static str>>,
}

impl Double {
    /// Objects by name without `.tar.zst` and the second of their publishing.
    pub(super) fn of(objects: &[(&str, i64)]) -> Self {
        let object = |&(name, second): &(&str, i64)| (format!("{name}.tar.zst"), (second, Bytes::from_static(b"body")));
        Self { objects: objects.iter().map(object).collect(), ..Self::default() }
    }

    pub(super) fn set_body(&mut self, name: &str, body: &str) {
        self.objects.get_mut(name).unwrap().1 = Bytes::copy_from_slice(body.as_bytes());
    }

    /// Every request for a name, or listing of a prefix, that begins with `start` fails.
    pub(super) fn fail(&mut self, start: &str, kind: ErrorKind) {
        self.failure = Some((start.to_owned(), kind));
    }

    pub(super) fn fail_page(&mut self, page: usize, kind: ErrorKind) {
        self.page_failure = Some((page, kind));
    }

    pub(super) fn repeat_pages(&mut self) {
        self.repeats_pages = true;
    }

    /// The body of this object claims to begin later than it does.
    pub(super) fn shift_tail(&mut self, name: &str) {
        self.shifted = Some(name.to_owned());
    }

    pub(super) fn count(&self, request: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|made| **made == request).count()
    }

    /// Notes a request and waits once, as any network does, so that requests at once are seen to be.
    async fn request(&self, request: &'static str, target: &str) -> Result<()> {
        self.requests.lock().unwrap().push(request);
        tokio::task::yield_now().await;
        match &self.failure {
            Some((start, kind)) if target.starts_with(start) => Err(Error::new(*kind, request, target)),
            _ => Ok(()),
        }
    }

    fn meta(&self, name: &str) -> Option<ObjectMeta> {
        let (second, body) = self.objects.get(name)?;
        let last_modified = DateTime::from_timestamp(*second, 0).unwrap();
        Some(ObjectMeta { size: body.len() as u64, etag: ETag(name.to_owned()), last_modified })
    }
}

impl fmt::Display for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory://")
    }
}

#[async_trait]
impl Store for Double {
    async fn get(&self, name: &ObjectName, range: ByteRange, pin: Option<&ETag>) -> Result<Download> {
        self.request("get", name.as_str()).await?;
        let meta = self.meta(name.as_str()).ok_or_else(|| Error::not_found("get", name))?;
        let body = &self.objects[name.as_str()].1;
        let start = match range {
            ByteRange::Last(limit) => body.len().saturating_sub(usize::try_from(limit).unwrap()),
            // A tail that broke is resumed, pinned.
            ByteRange::Span(span) if pin == Some(&meta.etag) => usize::try_from(span.start).unwrap(),
            other => panic!("a lookup reads tails only: {other:?}"),
        };
        let shift = u64::from(self.shifted.as_deref() == Some(name.as_str()));
        let offset = start as u64 + shift;
        Ok(Download { meta, offset, body: futures_util::stream::iter([Ok(body.slice(start..))]).boxed() })
    }

    async fn head(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.request("head", name.as_str()).await?;
        self.meta(name.as_str()).ok_or_else(|| Error::not_found("head", name))
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        self.request("list", prefix).await?;
        let number: usize = page.map_or(0, |page| page.parse().unwrap());
        if let Some((failing, kind)) = self.page_failure
            && failing == number
        {
            return Err(Error::new(kind, "list", prefix));
        }
        let number = if self.repeats_pages { 0 } else { number };
        let names = self.objects.keys().rev().filter(|name| name.starts_with(prefix));
        let objects: Vec<_> = names
            .skip(number * 1000)
            .take(1000)
            .map(|name| ListedObject { name: ObjectName::new(name).unwrap(), meta: self.meta(name).unwrap() })
            .collect();
        let full = objects.len() == 1000;
        let next = if self.repeats_pages && !objects.is_empty() { Some(1) } else { full.then_some(number + 1) };
        Ok(ListPage { objects, next: next.map(|number| number.to_string()) })
    }

    async fn put(&self, _: &ObjectName, _: Bytes, _: PutMode, _: &Tags) -> Result<ETag> {
        unreachable!("a lookup only reads")
    }

    async fn upload(&self, _: &ObjectName, _: &Tags) -> Result<Box<dyn Upload>> {
        unreachable!("a lookup only reads")
    }

    async fn delete(&self, _: &[Deletion]) -> Vec<Result<()>> {
        unreachable!("a lookup only reads")
    }

    async fn tags(&self, _: &ObjectName) -> Result<Tags> {
        unreachable!("a lookup needs no tags")
    }

    async fn set_tags(&self, _: &ObjectName, _: &Tags) -> Result<()> {
        unreachable!("a lookup only reads")
    }

    async fn uploads(&self, _: &str) -> Result<Vec<Box<dyn Upload>>> {
        unreachable!("a lookup only reads")
    }
}
