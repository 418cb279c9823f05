//! A store in memory that fails as it is told: tests script what happens to the next request for a name. Test code only.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use md5::{Digest, Md5 as Hasher};

use tokio::time::Instant;

use super::{
    Attributes, BlobStore, BlockId, Body, Condition, ETag, Listed, Md5, Page, RemoteFile,
    StoreError, Sum,
};

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is answered with this error.
    Error(fn() -> StoreError),
    /// Throttled, with a wish.
    Throttle(Duration),
    /// The body breaks off with an error after so many bytes.
    Cut(usize),
    /// The body ends after so many bytes as if it were whole.
    Short(usize),
    /// The body sends so many bytes and then nothing, for ever.
    Stall(usize),
    /// There is no answer at all.
    Silence,
    /// The body begins elsewhere than asked.
    WrongStart,
    /// The body goes on beyond what was asked.
    Longer,
    /// The bytes are damaged on the way.
    Damage,
    /// The blob is replaced just before the request is answered.
    Replace(Vec<u8>),
    /// The same, and the new version is served though another one was asked for, as a cache on the way might.
    Sloppy(Vec<u8>),
    /// The blob is deleted just before the request is answered.
    Delete,
    /// A list answers a page that is cut in half, and the request after it fails.
    HalfPage,
}

#[derive(Debug, Clone)]
struct Blob {
    content: Bytes,
    etag: ETag,
    md5: Option<Md5>,
    directory: bool,
    origin: Option<Box<str>>,
}

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<String, Blob>,
    blocks: BTreeMap<String, BTreeMap<Vec<u8>, Bytes>>,
    /// When each request came, if somebody wants to know.
    times: Option<Vec<Instant>>,
    versions: u64,
    faults: BTreeMap<String, VecDeque<Fault>>,
    log: Vec<String>,
    page: usize,
    reversed: bool,
    under_way: usize,
    most_under_way: usize,
    latency: Duration,
    credential: Option<fn() -> StoreError>,
}

/// The store; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

/// The key of list requests among the faults.
pub(crate) const LIST: &str = "(list)";

pub(crate) fn md5_of(content: &[u8]) -> Md5 {
    Md5(Hasher::digest(content).into())
}

impl Fake {
    pub(crate) fn new() -> Self {
        let fake = Self::default();
        fake.state().page = 1000;
        fake
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, name: &str, content: impl Into<Vec<u8>>) {
        let content = content.into();
        let md5 = Some(md5_of(&content));
        self.put_with(name, content, md5, false);
    }

    pub(crate) fn put_without_md5(&self, name: &str, content: impl Into<Vec<u8>>) {
        self.put_with(name, content.into(), None, false);
    }

    pub(crate) fn put_with_md5_of(&self, name: &str, content: &str, claimed: &str) {
        let md5 = Some(md5_of(claimed.as_bytes()));
        self.put_with(name, content.as_bytes().to_vec(), md5, false);
    }

    pub(crate) fn put_stub(&self, name: &str) {
        self.put_with(name, Vec::new(), None, true);
    }

    fn put_with(&self, name: &str, content: Vec<u8>, md5: Option<Md5>, directory: bool) {
        let mut state = self.state();
        state.versions += 1;
        let etag = ETag::new(&format!("0x{:X}", state.versions));
        let blob = Blob {
            content: content.into(),
            etag,
            md5,
            directory,
            origin: None,
        };
        state.blobs.insert(name.to_owned(), blob);
    }

    pub(crate) fn delete(&self, name: &str) {
        self.state().blobs.remove(name);
    }

    /// The next requests for `name` (or [`LIST`]) meet `faults`, in this order.
    pub(crate) fn script(&self, name: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state()
            .faults
            .entry(name.to_owned())
            .or_default()
            .extend(faults);
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        self.state().faults.clear();
    }

    /// How many blobs a page holds.
    pub(crate) fn page_size(&self, size: usize) {
        self.state().page = size;
    }

    /// Lists in the wrong order.
    pub(crate) fn reverse(&self) {
        self.state().reversed = true;
    }

    pub(crate) fn latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    pub(crate) fn credential_fails(&self, error: Option<fn() -> StoreError>) {
        self.state().credential = error;
    }

    /// The requests so far, and none from now on.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.state().most_under_way
    }

    fn next_fault(&self, name: &str, request: String) -> Option<Fault> {
        let mut state = self.state();
        state.log.push(request);
        state.faults.get_mut(name)?.pop_front()
    }

    async fn enter(&self) -> Guard {
        let latency = {
            let mut state = self.state();
            state.under_way += 1;
            if let Some(times) = &mut state.times {
                times.push(Instant::now());
            }
            state.most_under_way = state.most_under_way.max(state.under_way);
            state.latency
        };
        let guard = Guard(self.clone());
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        guard
    }

    fn write(
        &self,
        name: &str,
        content: Bytes,
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> Result<ETag, StoreError> {
        let now = self.blob(name).ok().map(|blob| blob.etag);
        let agrees = match condition {
            Condition::Absent => now.is_none(),
            Condition::Is(etag) => now.as_ref() == Some(etag),
        };
        if !agrees {
            return Err(StoreError::Changed);
        }
        let mut state = self.state();
        state.versions += 1;
        let etag = ETag::new(&format!("0x{:X}", state.versions));
        let blob = Blob {
            content,
            etag: etag.clone(),
            md5: attributes.md5,
            directory: false,
            origin: attributes.origin.as_deref().map(Into::into),
        };
        state.blobs.insert(name.to_owned(), blob);
        Ok(etag)
    }

    /// Every blob with its content.
    pub(crate) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state
            .blobs
            .iter()
            .map(|(name, blob)| (name.clone(), blob.content.to_vec()))
            .collect()
    }

    /// Notes from now on when requests come.
    pub(crate) fn note_times(&self) {
        self.state().times = Some(Vec::new());
    }

    /// When requests came since [`Fake::note_times`].
    pub(crate) fn times(&self) -> Vec<Instant> {
        self.state().times.clone().unwrap_or_default()
    }

    fn blob(&self, name: &str) -> Result<Blob, StoreError> {
        self.state()
            .blobs
            .get(name)
            .cloned()
            .ok_or(StoreError::NotFound)
    }
}

struct Guard(Fake);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

impl BlobStore for Fake {
    async fn list_page(
        &self,
        prefix: &str,
        marker: Option<&str>,
        most: u32,
    ) -> Result<Page, StoreError> {
        let _guard = self.enter().await;
        let fault = self.next_fault(
            LIST,
            format!("list {prefix} {}", marker.unwrap_or_default()),
        );
        let (size, half) = match fault {
            Some(Fault::Error(error)) => return Err(error()),
            Some(Fault::Throttle(after)) => return Err(throttled(after)),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::HalfPage) => (self.state().page / 2, true),
            _ => (self.state().page, false),
        };
        let size = size.min(usize::try_from(most).unwrap_or(usize::MAX));
        let state = self.state();
        let mut names: Vec<_> = state
            .blobs
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .collect();
        if state.reversed {
            names.reverse();
        }
        let start: usize = marker.map_or(0, |marker| marker.parse().unwrap());
        let blobs: Vec<_> = names
            .iter()
            .skip(start)
            .take(size)
            .map(|(name, blob)| Listed {
                name: name.strip_prefix(prefix).unwrap().into(),
                size: blob.content.len() as u64,
                etag: blob.etag.clone(),
                sum: blob.md5.map(Sum::Md5),
                directory: blob.directory,
                content: None,
                origin: blob.origin.clone(),
            })
            .collect();
        let end = start + blobs.len();
        let next = (half || end < names.len()).then(|| end.to_string());
        drop(state);
        if half {
            let broken = || StoreError::Server {
                status: 500,
                code: "InternalError".to_owned(),
            };
            self.script(LIST, vec![Fault::Error(broken); 9]);
        }
        Ok(Page { blobs, next })
    }

    async fn get_range(
        &self,
        name: &str,
        range: Range<u64>,
        if_match: Option<&ETag>,
    ) -> Result<Body, StoreError> {
        let guard = self.enter().await;
        let request = format!("get {name} {}-{}", range.start, range.end);
        let fault = self.next_fault(name, request);
        match &fault {
            Some(Fault::Error(error)) => return Err(error()),
            Some(Fault::Throttle(after)) => return Err(throttled(*after)),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Replace(content) | Fault::Sloppy(content)) => {
                Self::put(self, name, content.clone())
            }
            Some(Fault::Delete) => Self::delete(self, name),
            _ => {}
        }
        let blob = self.blob(name)?;
        if if_match.is_some_and(|etag| *etag != blob.etag)
            && !matches!(fault, Some(Fault::Sloppy(_)))
        {
            return Err(StoreError::Changed);
        }
        let total = blob.content.len();
        let place = |at: u64| usize::try_from(at).unwrap().min(total);
        let (start, end) = (place(range.start), place(range.end));
        let mut part = blob.content.slice(start.min(end)..end);
        let mut tail: Vec<Result<Bytes, StoreError>> = Vec::new();
        let mut stall = false;
        match fault {
            Some(Fault::Cut(count)) => {
                part.truncate(count);
                tail.push(Err(StoreError::Unreachable("connection reset".to_owned())));
            }
            Some(Fault::Short(count)) => part.truncate(count),
            Some(Fault::Stall(count)) => {
                part.truncate(count);
                stall = true;
            }
            Some(Fault::Longer) => tail.push(Ok(Bytes::from_static(b"and more"))),
            Some(Fault::Damage) => {
                let mut bytes = part.to_vec();
                bytes[0] ^= 1;
                part = bytes.into();
            }
            _ => {}
        }
        let wrong_start = matches!(fault, Some(Fault::WrongStart));
        let chunks: Vec<Result<Bytes, StoreError>> = part
            .chunks(16 * 1024)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .chain(tail)
            .collect();
        let end_of_body = stream::once(async move {
            if stall {
                std::future::pending::<()>().await;
            }
            drop(guard);
        })
        .filter_map(|()| async { None });
        Ok(Body {
            start: range.start + u64::from(wrong_start),
            total: total as u64,
            etag: Some(blob.etag),
            md5: blob.md5,
            content_type: None,
            chunks: stream::iter(chunks).chain(end_of_body).boxed(),
        })
    }

    async fn get_if_changed(
        &self,
        name: &str,
        known: Option<&ETag>,
    ) -> Result<Option<Body>, StoreError> {
        let _guard = self.enter().await;
        let fault = self.next_fault(name, format!("read {name}"));
        match fault {
            Some(Fault::Error(error)) => return Err(error()),
            Some(Fault::Throttle(after)) => return Err(throttled(after)),
            Some(Fault::Silence) => std::future::pending().await,
            _ => {}
        }
        let blob = self.blob(name)?;
        if known == Some(&blob.etag) {
            return Ok(None);
        }
        let mut content = blob.content.clone();
        let mut tail: Vec<Result<Bytes, StoreError>> = Vec::new();
        match fault {
            Some(Fault::Cut(count)) => {
                content.truncate(count);
                tail.push(Err(StoreError::Unreachable("connection reset".to_owned())));
            }
            Some(Fault::Short(count)) => content.truncate(count),
            _ => {}
        }
        let chunks: Vec<_> = content
            .chunks(16 * 1024)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .chain(tail)
            .collect();
        Ok(Some(Body {
            start: 0,
            total: blob.content.len() as u64,
            etag: Some(blob.etag),
            md5: blob.md5,
            content_type: None,
            chunks: stream::iter(chunks).boxed(),
        }))
    }

    async fn put(
        &self,
        name: &str,
        content: Bytes,
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> Result<ETag, StoreError> {
        let _guard = self.enter().await;
        match self.next_fault(name, format!("put {name}")) {
            Some(Fault::Error(error)) => return Err(error()),
            Some(Fault::Throttle(after)) => return Err(throttled(after)),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Replace(other)) => Self::put(self, name, other),
            // done, and the answer is lost
            Some(Fault::Cut(_)) => {
                self.write(name, content, condition, attributes)?;
                return Err(StoreError::Unreachable("connection reset".to_owned()));
            }
            _ => {}
        }
        self.write(name, content, condition, attributes)
    }

    async fn put_block(&self, name: &str, id: BlockId, content: Bytes) -> Result<(), StoreError> {
        let _guard = self.enter().await;
        match self.next_fault(name, format!("block {name} {}", id.place)) {
            Some(Fault::Error(error)) => return Err(error()),
            Some(Fault::Throttle(after)) => return Err(throttled(after)),
            _ => {}
        }
        let mut state = self.state();
        let blocks = state.blocks.entry(name.to_owned()).or_default();
        blocks.insert(id.to_bytes(), content);
        Ok(())
    }

    async fn commit_blocks(
        &self,
        name: &str,
        ids: &[BlockId],
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> Result<ETag, StoreError> {
        let _guard = self.enter().await;
        match self.next_fault(name, format!("commit {name}")) {
            Some(Fault::Error(error)) => return Err(error()),
            Some(Fault::Replace(other)) => Self::put(self, name, other),
            _ => {}
        }
        let blocks = self.state().blocks.remove(name).unwrap_or_default();
        let mut content = Vec::new();
        for id in ids {
            let block = blocks
                .get(&id.to_bytes())
                .ok_or_else(|| StoreError::Rejected {
                    status: 400,
                    code: "InvalidBlockList".to_owned(),
                })?;
            content.extend_from_slice(block);
        }
        self.write(name, content.into(), condition, attributes)
    }

    async fn delete(&self, name: &str, if_match: &ETag) -> Result<(), StoreError> {
        let _guard = self.enter().await;
        if let Some(Fault::Error(error)) = self.next_fault(name, format!("delete {name}")) {
            return Err(error());
        }
        if self.blob(name)?.etag != *if_match {
            return Err(StoreError::Changed);
        }
        Self::delete(self, name);
        Ok(())
    }

    async fn head(&self, name: &str) -> Result<RemoteFile, StoreError> {
        self.state().log.push(format!("head {name}"));
        let blob = self.blob(name)?;
        Ok(RemoteFile {
            name: name.into(),
            size: blob.content.len() as u64,
            etag: blob.etag,
            sum: blob.md5.map(Sum::Md5),
            content: None,
            origin: blob.origin,
        })
    }

    async fn refresh_credential(&self) -> Result<Option<SystemTime>, StoreError> {
        let error = self.state().credential;
        error.map_or(Ok(None), |error| Err(error()))
    }
}

fn throttled(after: Duration) -> StoreError {
    StoreError::Throttled {
        status: 503,
        retry_after: Some(after),
    }
}
