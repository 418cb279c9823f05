//! Batches to Redis, on a connection of the run's own. A batch is repeated over new connections until it is written, the
//! lease ends or its time is over; writing it twice does no harm. Opens connections to Redis.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::lifecycle::Tasks;
use redis::Pipeline;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::batch::{self, Batch, Outcome};
use super::error::RunError;
use super::lease::Lease;
use super::queue::Queued;
use super::value::Skip;
use crate::backoff::Backoff;
use crate::config::ServerKind;
use crate::metrics::Metrics;
use crate::upstream::{Dialer, UpstreamError};

/// How long one batch is tried before the run gives up.
const TRY_FOR: Duration = Duration::from_secs(30);

/// First and longest pause between two tries of a batch.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// What was written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

/// Writes the batches of one run.
pub(crate) struct Writer<'a> {
    pub(crate) dialer: &'a Arc<Dialer>,
    pub(crate) kind: ServerKind,
    pub(crate) timeout: Duration,
    pub(crate) lease: &'a Lease,
    pub(crate) metrics: &'a Metrics,
    pub(crate) tasks: &'a Tasks,
    pub(crate) job: &'a str,
    pub(crate) connection: Option<MultiplexedConnection>,
}

impl Writer<'_> {
    /// Writes what comes, until the reader has ended.
    pub(crate) async fn write_all(
        mut self,
        mut batches: mpsc::Receiver<Queued>,
    ) -> Result<Written, RunError> {
        let mut written = Written::default();
        let keys = self.metrics.keys.with_label_values(&[self.job]);
        let bytes = self.metrics.bytes.with_label_values(&[self.job]);
        while let Some(mut queued) = batches.recv().await {
            self.leave_out_what_is_old(&mut queued.batch);
            self.write(&queued.batch).await?;
            let (new_keys, new_bytes) =
                (count(queued.batch.entries.len()), count(queued.batch.bytes));
            keys.inc_by(new_keys);
            bytes.inc_by(new_bytes);
            written.keys += new_keys;
            written.bytes += new_bytes;
        }
        Ok(written)
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
            let label = Skip::TooOld.label();
            self.metrics
                .skipped
                .with_label_values(&[self.job, label])
                .inc_by(skipped);
        }
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), RunError> {
        let deadline = Instant::now() + TRY_FOR;
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            if !self.lease.is_valid() {
                return Err(RunError::LeaseLost("it ran out before a write"));
            }
            let error = match self.write_once(batch).await {
                Ok(()) => return Ok(()),
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
                    let kind = error.kind().label();
                    tracing::debug!(%error, "batch not written; trying again");
                    self.metrics
                        .errors
                        .with_label_values(&[self.job, kind])
                        .inc();
                    tokio::time::sleep(pause).await;
                }
                error => return Err(error),
            }
        }
    }

    async fn write_once(&mut self, batch: &Batch) -> Result<(), RunError> {
        let (kind, generation) = (self.kind, self.lease.generation);
        let keys = batch.entries.len();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let pipeline = batch::write(batch, kind, self.lease.generation_key());
        let replies = send(&mut connection, &pipeline).await?;
        self.connection = Some(connection);
        settle(batch::account(&replies, keys, kind, generation), keys)
    }

    async fn open(&self) -> Result<MultiplexedConnection, RunError> {
        let connected = self
            .dialer
            .connect(self.timeout)
            .await
            .map_err(UpstreamError::from)?;
        self.metrics.connects.inc();
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

fn settle(outcome: Outcome, keys: usize) -> Result<(), RunError> {
    match outcome {
        Outcome::Written => Ok(()),
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
