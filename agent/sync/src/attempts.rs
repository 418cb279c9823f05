//! One request, tried as often as its patience allows: with a time limit, pauses, and an end when the process leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::JobMetrics;
use crate::pace::{Bandwidth, Governor, Retries};
use crate::store::StoreError;

/// How far the pass under way has come, for people who watch.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// A pass begins.
    pub(crate) fn begin(&self) {
        self.files.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// One more file was put in place, sent, set right or deleted.
    pub(crate) fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more bytes were moved.
    pub(crate) fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    /// Files and bytes so far.
    pub(crate) fn read(&self) -> (u64, u64) {
        (
            self.files.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

/// What the requests of one entry have in common. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    /// Longest silence.
    pub(crate) stall: Duration,
    pub(crate) governor: Arc<Governor>,
    pub(crate) bandwidth: Arc<Bandwidth>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) metrics: JobMetrics,
    /// Only the version asked for is wanted; another one belongs to another release.
    pub(crate) frozen: bool,
    /// The process leaves: no more pauses.
    pub(crate) quit: CancellationToken,
    /// The pass has failed: no more waiting for the network. What is being written is still written or removed.
    pub(crate) abandon: CancellationToken,
}

impl Attempts {
    /// The same for one pass, to be abandoned on its own.
    pub(crate) fn for_one_pass(&self) -> Self {
        Self {
            abandon: CancellationToken::new(),
            ..self.clone()
        }
    }

    /// One attempt; silence is an error.
    pub(crate) async fn once<T>(
        &self,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::select! {
            answer = timeout(self.stall, request) => answer.unwrap_or_else(|_| Err(StoreError::Stalled(self.stall))),
            () = self.abandon.cancelled() => Err(StoreError::Abandoned),
        }
    }

    /// As many attempts as one request gets.
    pub(crate) async fn retried<T, F>(
        &self,
        mut request: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut retries = Retries::new(self.stall);
        loop {
            match self.once(request()).await {
                Ok(answer) => {
                    self.governor.answered();
                    return Ok(answer);
                }
                Err(error) => self.pause(error, &mut retries).await?,
            }
        }
    }

    /// Waits before the next attempt, or gives the error back if there shall be none.
    pub(crate) async fn pause(
        &self,
        error: StoreError,
        retries: &mut Retries,
    ) -> Result<(), StoreError> {
        if matches!(error, StoreError::Throttled { .. }) {
            self.metrics.throttled.inc();
            self.governor.throttled();
        }
        let Some(wait) = retries.after(&error) else {
            return Err(error);
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.quit.cancelled() => Err(error),
            () = self.abandon.cancelled() => Err(error),
        }
    }
}
