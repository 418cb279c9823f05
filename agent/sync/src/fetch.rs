//! One blob to one file, over as many requests as it takes: every request asks for one version (`If-Match`), takes up where the
//! last one broke off, and what it answers is checked before a byte of it counts.

mod lane;
mod sink;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::config::{Config, Direction, Fsync, OnMismatch};
use crate::desk::{CutShort, Desk};
use crate::index::{FileRecord, Kind, Record};
use crate::manifest;
use crate::pace::Retries;
use crate::store::{BlobStore, ETag, RemoteFile, StoreError};
use crate::sum::{Sum, Way};
use crate::tree::{Root, TreeError};
use sink::Sink;

/// The longest range of one request: long enough that its round trip does not count. One that breaks off costs nothing that came.
const RANGE_MAX: u64 = 256 * 1024 * 1024;
/// How often a file is begun again because its blob changed under it.
const RESTARTS_MAX: u32 = 3;
/// What one file may hold in memory: buffers on their way to the disk and into its sum, one being filled.
const FILE_BUFFER_MAX: u64 = (sink::BUFFERS_MAX * sink::FLUSH) as u64;

/// Why a file did not get its content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The content is not what the manifest or the blob's Content-MD5 says.
    #[error("the content has {got:?}, {} says {expected:?}", says(*expected))]
    Checksum { expected: Sum, got: Sum },
    /// The checksum was wrong before, and the blob is still the same.
    #[error("its content was not what it should be before; asked again later")]
    Penalised,
    /// The blob changes faster than it can be read.
    #[error("the blob changed {RESTARTS_MAX} times while it was read")]
    Unsettled,
    /// The runtime ends.
    #[error("writing was cut short")]
    CutShort,
}

/// What every download of one entry needs.
#[derive(Debug)]
pub(crate) struct Fetcher<S> {
    store: Arc<S>,
    prefix: String,
    accept_mismatch: bool,
    /// How content is summed up where nobody says what it should be.
    own_way: Way,
    range_max: u64,
    buffers: Semaphore,
    /// Where files are written.
    desk: Desk,
    penalties: Mutex<Penalties>,
}

impl<S: BlobStore> Fetcher<S> {
    pub(crate) fn new(store: Arc<S>, config: &Config) -> Self {
        Self {
            store,
            prefix: config.prefix.clone(),
            range_max: RANGE_MAX,
            accept_mismatch: config.on_checksum_mismatch == OnMismatch::Accept,
            own_way: match config.direction {
                Direction::Pull => Way::Sha256,
                // what is sent is compared with what the container says of it
                Direction::Push | Direction::Both => Way::Md5,
            },
            buffers: Semaphore::new(
                config
                    .bytes_in_flight
                    .as_usize()
                    .min(Semaphore::MAX_PERMITS),
            ),
            desk: writers(config),
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
                Err(FetchError::Store(StoreError::Changed))
                    if restarts < RESTARTS_MAX && !attempts.frozen =>
                {
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
        let (desk, root) = (self.desk.clone(), Arc::clone(root));
        let mut expected = remote.sum;
        let way = expected.map_or(self.own_way, Sum::way);
        let mut sink = Sink::new(desk, root, remote.size, way);
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
        // what a manifest names by its content is nothing else
        let binding = |_: &Sum| !self.accept_mismatch || remote.content.is_some();
        let expected = expected.filter(binding);
        let (sum, fingerprint) = sink.finish(&remote.name, expected).await?;
        let file = FileRecord {
            size: remote.size,
            etag: remote.etag.clone(),
            sum,
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
        expected: &mut Option<Sum>,
        attempts: &Attempts,
    ) -> Result<(), FetchError> {
        // a blob that is named by its content has one version
        let (name, version) = match remote.content {
            Some(sum) => (manifest::content_blob(&self.prefix, sum), None),
            None => (
                format!("{}{}", self.prefix, remote.name),
                Some(&remote.etag),
            ),
        };
        let mut body = attempts
            .once(self.store.get_range(&name, range.clone(), version))
            .await
            .map_err(|error| match error {
                // a blob that a manifest names cannot have been deleted since it was listed
                StoreError::NotFound if remote.content.is_some() => StoreError::Rejected {
                    status: 404,
                    code: "the content is not in the container".to_owned(),
                },
                other => other,
            })?;
        let other_version = version
            .zip(body.etag.as_ref())
            .is_some_and(|(wanted, etag)| wanted != etag);
        if remote.content.is_some() && body.total != remote.size {
            let what = format!(
                "{} bytes where the manifest says {}",
                body.total, remote.size
            );
            return Err(StoreError::Protocol(what).into());
        }
        if other_version || body.total != remote.size {
            return Err(StoreError::Changed.into());
        }
        if body.start != range.start {
            let what = format!("bytes from {} on instead of {}", body.start, range.start);
            return Err(StoreError::Protocol(what).into());
        }
        if let (None, Some(md5)) = (*expected, body.md5) {
            if sink.accepted() > 0 {
                // what came before was not summed up so, and was of a version that said nothing
                return Err(StoreError::Changed.into());
            }
            *expected = Some(Sum::Md5(md5));
            sink.sum_by(Way::Md5);
        }
        while sink.accepted() < range.end {
            let next = async { body.chunks.next().await.transpose() };
            let chunk = attempts.once(next).await?;
            let chunk = chunk
                .ok_or_else(|| StoreError::Unreachable("the answer ended early".to_owned()))?;
            let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            attempts.bandwidth.take(length).await;
            attempts.progress.bytes(length);
            let end = sink.accepted() + length;
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

impl From<CutShort> for FetchError {
    fn from(_: CutShort) -> Self {
        Self::CutShort
    }
}

/// Who says what the content should be.
const fn says(expected: Sum) -> &'static str {
    match expected {
        Sum::Md5(_) => "its Content-MD5",
        Sum::Sha256(_) => "the manifest",
    }
}

/// Who writes: as many as there are processors, or as there are downloads if each waits for the disk.
fn writers(config: &Config) -> Desk {
    match config.fsync {
        Fsync::File => Desk::of(usize::from(config.concurrency)),
        _ => Desk::for_processors(),
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
