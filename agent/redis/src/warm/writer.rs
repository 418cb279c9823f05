//! Batches to Redis, on a connection of the run's own. A batch is repeated over new connections until it is written, the
//! lease ends or its time is over; writing it twice does no harm. Opens connections to Redis.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::metrics::IntCounter;
use redis::Pipeline;
use redis::Value;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::batch::{self, Batch, Checkpoint, Entry, Outcome};
use super::error::RunError;
use super::governor::Governor;
use super::lease::Lease;
use super::queue::Queued;
use super::standing::Progress;
use super::value::Skip;
use crate::backoff::Backoff;
use crate::config::ServerKind;
use crate::metrics::JobSeries;
use crate::upstream::{Dialer, UpstreamError};

/// How long one batch is tried before the run gives up.
const TRY_FOR: Duration = Duration::from_secs(30);

/// First and longest pause between two tries of a batch.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// The least time between two notes of how far a run came.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Written {
    /// Keys written, those that were left as they were among them.
    pub(crate) keys: u64,
    pub(crate) kept: u64,
    pub(crate) bytes: u64,
}

/// How far a run came: what it takes to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Saved {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) written: Written,
}

/// Writes the batches of one run.
pub(crate) struct Writer<'a> {
    pub(crate) dialer: &'a Arc<Dialer>,
    pub(crate) kind: ServerKind,
    pub(crate) timeout: Duration,
    pub(crate) lease: &'a Lease,
    pub(crate) series: &'a JobSeries,
    pub(crate) connects: &'a IntCounter,
    pub(crate) tasks: &'a Tasks,
    pub(crate) governor: &'a Governor,
    pub(crate) progress: &'a Progress,
    /// What another run wrote that this one continues.
    pub(crate) written: Written,
    pub(crate) connection: Option<MultiplexedConnection>,
}

impl Writer<'_> {
    /// Writes what comes, until the reader has ended.
    pub(crate) async fn write_all(
        mut self,
        mut batches: mpsc::Receiver<Queued>,
    ) -> Result<Written, RunError> {
        let mut saved = None;
        while let Some(mut queued) = batches.recv().await {
            let batch = &mut queued.batch;
            self.leave_out_what_is_old(batch);
            let kept = match batch.entries.is_empty() {
                true => 0,
                false => self.write(batch).await?,
            };
            self.count(batch, kept);
            if let Some(checkpoint) = batch.checkpoint.take() {
                self.save(checkpoint, &mut saved).await;
            }
        }
        Ok(self.written)
    }

    fn count(&mut self, batch: &Batch, kept: usize) {
        let (keys, bytes) = (count(batch.entries.len()), count(batch.bytes));
        let kept_keys = count(kept);
        self.series.written(keys - kept_keys, kept_keys, bytes);
        self.progress.add_written(batch, kept);
        self.written.keys += keys;
        self.written.kept += kept_keys;
        self.written.bytes += bytes;
    }

    /// Leaves a note from which another run can go on, now and then. One that cannot be left costs no more than time.
    async fn save(&self, checkpoint: Checkpoint, last: &mut Option<Instant>) {
        if last.is_some_and(|at| at.elapsed() < SAVE_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        let written = self.written;
        let saved = Saved {
            checkpoint,
            written,
        };
        if let Err(error) = self.lease.save(&saved).await {
            tracing::debug!(%error, "not noted how far the run came");
        }
    }

    /// A tombstone of a change since a row was read may have ended before the row is written: such rows are left out.
    fn leave_out_what_is_old(&self, batch: &mut Batch) {
        // a batch is tried for so long
        let latest = Instant::now() + self.timeout;
        let before = batch.entries.len();
        batch.entries.retain(|entry| {
            entry
                .guard
                .as_ref()
                .is_none_or(|guard| guard.until > latest)
        });
        let skipped = count(before - batch.entries.len());
        if skipped > 0 {
            batch.bytes = batch.entries.iter().map(Entry::size).sum();
            self.series.skipped(Skip::TooOld, skipped);
            self.progress.add_skipped(skipped);
        }
    }

    /// How many keys were left as they were.
    async fn write(&mut self, batch: &Batch) -> Result<usize, RunError> {
        let deadline = Instant::now() + TRY_FOR;
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            if !self.lease.is_valid() {
                return Err(RunError::LeaseLost("it ran out before a write"));
            }
            let error = match self.write_once(batch).await {
                Ok(kept) => return Ok(kept),
                Err(error) => error,
            };
            // whatever it was, the next attempt starts from a known state
            self.connection = None;
            let pause = backoff.next();
            match error {
                RunError::Redis(inner)
                    if inner.is_transient() && Instant::now() + pause < deadline =>
                {
                    let error = RunError::Redis(inner);
                    tracing::debug!(%error, "batch not written; trying again");
                    self.series.error(error.kind());
                    tokio::time::sleep(pause).await;
                }
                error => return Err(error),
            }
        }
    }

    async fn write_once(&mut self, batch: &Batch) -> Result<usize, RunError> {
        let (kind, generation) = (self.kind, self.lease.generation);
        let keys = batch.entries.len();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let pipeline = batch::write(batch, kind, self.lease.generation_key());
        let sent = Instant::now();
        let replies = send(&mut connection, &pipeline).await?;
        self.governor.batch(sent.elapsed());
        self.connection = Some(connection);
        let outcome = batch::account(&replies, &batch.entries, kind, generation);
        settle(outcome, keys)
    }

    async fn open(&self) -> Result<MultiplexedConnection, RunError> {
        let connected = self
            .dialer
            .connect(self.timeout)
            .await
            .map_err(UpstreamError::from)?;
        self.connects.inc();
        self.tasks.spawn("warm connection", connected.driver);
        let mut connection = connected.connection;
        if self.kind == ServerKind::Single {
            let watch = batch::watch(self.lease.generation_key());
            let replies = send(&mut connection, &watch).await?;
            settle(batch::watched(&replies, self.lease.generation), 0)?;
        }
        Ok(connection)
    }
}

async fn send(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
) -> Result<Vec<Value>, RunError> {
    connection
        .send_packed_commands(pipeline, 0, pipeline.len())
        .await
        .map_err(|error| UpstreamError::of_command(error).into())
}

fn settle(outcome: Outcome, keys: usize) -> Result<usize, RunError> {
    match outcome {
        Outcome::Written { kept } => Ok(kept),
        Outcome::Superseded => Err(RunError::LeaseLost(
            "another instance took the job over, or Redis lost its data",
        )),
        Outcome::Refused { refused, first } => {
            Err(UpstreamError::refused(refused, keys, &first).into())
        }
        Outcome::Confused => Err(UpstreamError::Confused.into()),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
