//! One blob to one file, over as many requests as it takes: every request asks for one version (`If-Match`), takes up where the
//! last one broke off, and what it answers is checked before a byte of it counts.

mod sink;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::config::{Config, OnMismatch};
use crate::index::{FileRecord, Kind, Record};
use crate::pace::Retries;
use crate::store::{BlobStore, ETag, Md5, RemoteFile, StoreError};
use crate::tree::{Root, TreeError};
use sink::Sink;

/// The longest range of one request: long enough that its round trip does not count, short enough that a lost one does not
/// either.
const RANGE_MAX: u64 = 32 * 1024 * 1024;
/// How often a file is begun again because its blob changed under it.
const RESTARTS_MAX: u32 = 3;
/// What one file may hold in memory: one buffer on its way to disk, one being filled.
const FILE_BUFFER_MAX: u64 = 2 * sink::FLUSH as u64;

/// Why a file did not get its content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The content is not what the blob's Content-MD5 says.
    #[error("the content has MD5 {got:?}, its Content-MD5 says {expected:?}")]
    Checksum { expected: Md5, got: Md5 },
    /// The checksum was wrong before, and the blob is still the same.
    #[error("its Content-MD5 was wrong before; asked again later")]
    Penalised,
    /// The blob changes faster than it can be read.
    #[error("the blob changed {RESTARTS_MAX} times while it was read")]
    Unsettled,
    /// The blocking pool is gone.
    #[error("writing was cut short")]
    CutShort,
}

/// What every download of one entry needs.
#[derive(Debug)]
pub(crate) struct Fetcher<S> {
    store: Arc<S>,
    prefix: String,
    accept_mismatch: bool,
    range_max: u64,
    buffers: Semaphore,
    penalties: Mutex<Penalties>,
}

impl<S: BlobStore> Fetcher<S> {
    pub(crate) fn new(store: Arc<S>, config: &Config) -> Self {
        Self {
            store,
            prefix: config.prefix.clone(),
            range_max: RANGE_MAX,
            accept_mismatch: config.on_checksum_mismatch == OnMismatch::Accept,
            buffers: Semaphore::new(
                config
                    .bytes_in_flight
                    .as_usize()
                    .min(Semaphore::MAX_PERMITS),
            ),
            penalties: Mutex::default(),
        }
    }

    /// The same with shorter ranges, so that small content crosses them.
    #[cfg(test)]
    pub(crate) const fn with_ranges_of(mut self, bytes: u64) -> Self {
        self.range_max = bytes;
        self
    }

    /// Brings `remote` to its place below `root`, or what it has become meanwhile.
    pub(crate) async fn fetch(
        &self,
        root: &Arc<Root>,
        mut remote: RemoteFile,
        attempts: &Attempts,
    ) -> Result<Record, FetchError> {
        if self.penalties().waits(&remote) {
            return Err(FetchError::Penalised);
        }
        let mut checksum_retried = false;
        let mut restarts = 0;
        loop {
            match self.version(root, &remote, attempts).await {
                Ok(record) => {
                    self.penalties().forgive(&remote.name);
                    return Ok(record);
                }
                Err(FetchError::Store(StoreError::Changed)) if restarts < RESTARTS_MAX => {
                    restarts += 1;
                    attempts.metrics.restarted.inc();
                    remote = self.current(remote, attempts).await?;
                }
                Err(FetchError::Store(StoreError::Changed)) => return Err(FetchError::Unsettled),
                Err(FetchError::Checksum { .. }) if !checksum_retried => checksum_retried = true,
                Err(error @ FetchError::Checksum { .. }) => {
                    self.penalties().punish(&remote);
                    return Err(error);
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// The blob as it is now.
    async fn current(
        &self,
        remote: RemoteFile,
        attempts: &Attempts,
    ) -> Result<RemoteFile, FetchError> {
        let name = format!("{}{}", self.prefix, remote.name);
        let now = attempts.retried(|| self.store.head(&name)).await?;
        Ok(RemoteFile {
            name: remote.name,
            ..now
        })
    }

    /// Reads one version to its end.
    async fn version(
        &self,
        root: &Arc<Root>,
        remote: &RemoteFile,
        attempts: &Attempts,
    ) -> Result<Record, FetchError> {
        let wanted = u32::try_from(remote.size.min(FILE_BUFFER_MAX)).unwrap_or(u32::MAX);
        let _buffers = self
            .buffers
            .acquire_many(wanted)
            .await
            .map_err(|_| FetchError::CutShort)?;
        let mut sink = Sink::new(Arc::clone(root), remote.size);
        let mut expected = remote.md5;
        let mut retries = Retries::new(attempts.stall);
        while sink.accepted() < remote.size {
            let before = sink.accepted();
            let range = before..remote.size.min(before + self.range_max);
            let result = self
                .range(remote, range, &mut sink, &mut expected, attempts)
                .await;
            retries.progress(sink.accepted() - before);
            match result {
                Ok(()) => attempts.governor.answered(),
                Err(FetchError::Store(error)) => {
                    attempts.pause(error, &mut retries).await?;
                    if sink.accepted() > 0 {
                        attempts.metrics.resumed.inc();
                    }
                }
                Err(other) => return Err(other),
            }
        }
        let expected = if self.accept_mismatch { None } else { expected };
        let (md5, fingerprint) = sink.finish(&remote.name, expected).await?;
        let file = FileRecord {
            size: remote.size,
            etag: remote.etag.clone(),
            md5,
            fingerprint,
        };
        Ok(Record {
            name: remote.name.clone(),
            kind: Kind::File(file),
        })
    }

    /// One request. What it brought before it failed is kept.
    async fn range(
        &self,
        remote: &RemoteFile,
        range: Range<u64>,
        sink: &mut Sink,
        expected: &mut Option<Md5>,
        attempts: &Attempts,
    ) -> Result<(), FetchError> {
        let name = format!("{}{}", self.prefix, remote.name);
        let mut body = attempts
            .once(self.store.get_range(&name, range.clone(), &remote.etag))
            .await?;
        let other_version = body.etag.as_ref().is_some_and(|etag| *etag != remote.etag);
        if other_version || body.total != remote.size {
            return Err(StoreError::Changed.into());
        }
        if body.start != range.start {
            let what = format!("bytes from {} on instead of {}", body.start, range.start);
            return Err(StoreError::Protocol(what).into());
        }
        *expected = expected.or(body.md5);
        while sink.accepted() < range.end {
            let next = async { body.chunks.next().await.transpose() };
            let chunk = attempts.once(next).await?;
            let chunk = chunk
                .ok_or_else(|| StoreError::Unreachable("the answer ended early".to_owned()))?;
            let end = sink.accepted() + u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if end > range.end {
                return Err(StoreError::Protocol("more bytes than asked for".to_owned()).into());
            }
            sink.push(chunk).await?;
        }
        Ok(())
    }

    fn penalties(&self) -> std::sync::MutexGuard<'_, Penalties> {
        self.penalties
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blobs whose checksum was wrong are not fetched again at every pass.
#[derive(Debug, Default)]
struct Penalties(HashMap<Box<str>, Penalty>);

#[derive(Debug)]
struct Penalty {
    etag: ETag,
    until: Instant,
    length: Duration,
}

/// More names than this are not remembered; they are fetched again each time.
const PENALTIES_MAX: usize = 1000;
const PENALTY_FIRST: Duration = Duration::from_secs(60);
const PENALTY_MAX: Duration = Duration::from_secs(3600);

impl Penalties {
    fn waits(&self, remote: &RemoteFile) -> bool {
        self.0
            .get(&remote.name)
            .is_some_and(|penalty| penalty.etag == remote.etag && penalty.until > Instant::now())
    }

    fn forgive(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn punish(&mut self, remote: &RemoteFile) {
        let length = match self.0.get(&remote.name) {
            Some(known) if known.etag == remote.etag => (known.length * 2).min(PENALTY_MAX),
            Some(_) => PENALTY_FIRST,
            None if self.0.len() >= PENALTIES_MAX => return,
            None => PENALTY_FIRST,
        };
        let penalty = Penalty {
            etag: remote.etag.clone(),
            until: Instant::now() + length,
            length,
        };
        self.0.insert(remote.name.clone(), penalty);
    }
}

#[cfg(test)]
mod tests;
