//! A job's life on one instance:
//!
//! ```text
//!           fresh result, or not due                    another instance has the lease
//!          ┌──────────────────────┐                    ┌────────────────────────────┐
//!          ▼                      │ due                ▼                            │
//!       waiting ──▶ Redis is up ──┴────▶ a free slot ──▶ lease + generation ────────┴──▶ running ──▶ result left ──▶ waiting
//!          ▲                                                                               │
//!          └───────────────────────────── pause with jitter ◀─── failed, lease lost ◀──────┘
//! ```
//! Draining ends it anywhere; a run gives its lease back first, so that another instance goes on at once. An instance that leaves and
//! stays (an event, a command) does the same as soon as it is asked to, so that no statement of a warm-up is waited for, and begins no other
//! run until it is called back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::fault::chain;
use lamplighter_core::health::{HealthWriter, Reach};
use lamplighter_core::lifecycle::{Duty, Step, Tasks};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::config::JobConfig;
use super::error::{ErrorKind, RunError};
use super::gate::Doorkeeper;
use super::lease::{Acquired, JobKeys, Lease, look};
use super::query::{Query, QueryError};
use super::queue::queue;
use super::reader::Reader;
use super::schedule::{Decision, Done, decide};
use super::template::{Template, TemplateError};
use super::writer::Writer;
use crate::backoff::{Backoff, delayed};
use crate::config::ServerKind;
use crate::metrics::Metrics;
use crate::upstream::{Dialer, Link};

/// Bytes of rows that may be on their way from MySQL to Redis.
const QUEUE_BYTES: u32 = 8 * 1024 * 1024;

/// How long at most until the next look while another instance runs the job.
const BUSY_LOOK: Duration = Duration::from_secs(2);

/// First and longest pause after a run that failed.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// First pause after Redis was full: it takes longer to change.
const RETRY_OOM: Duration = Duration::from_secs(30);

/// A job whose configuration has been read.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) config: JobConfig,
    query: Query,
    template: Template,
    keys: JobKeys,
}

/// Why a table cannot become a job.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error("the query {0}")]
    Query(#[from] QueryError),
    #[error("the key {0}")]
    Key(#[from] TemplateError),
}

/// What a job works with.
pub(crate) struct JobContext {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) link: Link,
    pub(crate) kind: ServerKind,
    pub(crate) write_timeout: Duration,
    pub(crate) socket: PathBuf,
    /// Prefixes of keys under a hold-off, and how long it is.
    pub(crate) holdoffs: Arc<[(String, Duration)]>,
    /// Unique to this process.
    pub(crate) owner: Arc<str>,
    /// How many jobs may run at a time.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    pub(crate) health: HealthWriter,
    pub(crate) gate: Option<Doorkeeper>,
    /// Held as long as the job needs the control connection.
    pub(crate) alive: mpsc::Sender<()>,
}

/// What comes after a step.
enum Next {
    Wait(Duration),
    /// The instance leaves: others may run it.
    Away,
    /// Nothing more to do, or the agent is leaving.
    End,
}

impl Job {
    pub(crate) fn new(config: JobConfig) -> Result<Self, JobError> {
        Ok(Self {
            query: Query::parse(&config.query)?,
            template: Template::parse(&config.key)?,
            keys: JobKeys::new(&config),
            config,
        })
    }

    /// Lives until the agent leaves or the job will never be due again.
    pub(crate) async fn live(self, mut context: JobContext) {
        let started = Instant::now();
        let mut backoff = Backoff::new(RETRY.0, RETRY.1.min(self.config.interval().get()));
        let name = format!("warm:{}", self.config.name);
        let mut duty = context.tasks.duty(Step::Releasing, &name);
        loop {
            let pause = match self.step(&mut context, started.elapsed()).await {
                Ok(Next::End) => break,
                Ok(Next::Away) => {
                    stay_away(&mut duty, &context.tasks).await;
                    backoff.reset();
                    continue;
                }
                Ok(Next::Wait(pause)) => {
                    backoff.reset();
                    delayed(pause)
                }
                Err(error) => {
                    let floor = if error.kind() == ErrorKind::RedisOom {
                        RETRY_OOM
                    } else {
                        Duration::ZERO
                    };
                    self.report(&context, error);
                    backoff.next().max(floor)
                }
            };
            tokio::select! {
                () = context.tasks.draining() => break,
                () = context.tasks.departures().reached(Step::Shedding) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        drop(context.alive);
    }

    /// Looks whether the job is due, and runs it if no other instance does.
    async fn step(&self, context: &mut JobContext, up: Duration) -> Result<Next, RunError> {
        let departures = context.tasks.departures();
        tokio::select! {
            biased;
            () = context.tasks.draining() => return Ok(Next::End),
            // no run is begun that would have to be handed over
            () = departures.reached(Step::Shedding) => return Ok(Next::Away),
            () = context.link.up() => {}
        }
        let (now_ms, done) = look(&context.link, &self.keys).await?;
        match decide(&self.config, done.as_ref(), now_ms, up) {
            Decision::Run => {}
            Decision::NotYet(pause) => return Ok(Next::Wait(pause)),
            Decision::Fresh(pause) => {
                if let Some(done) = done {
                    self.satisfied(context, &done);
                }
                return Ok(self.then(pause));
            }
        }
        let slots = Arc::clone(&context.slots);
        let _slot = tokio::select! {
            biased;
            () = context.tasks.draining() => return Ok(Next::End),
            () = departures.reached(Step::Shedding) => return Ok(Next::Away),
            slot = slots.acquire() => slot.map_err(|_| RunError::Leaving)?,
        };
        let ttl = self.config.lease_ttl.get();
        let lease = match Lease::acquire(&context.link, &self.keys, &context.owner, ttl).await? {
            Acquired::Lease(lease) => lease,
            Acquired::Busy(left) => return Ok(Next::Wait(left.min(BUSY_LOOK))),
        };
        let name = self.config.name.as_str();
        tracing::info!(job = name, generation = lease.generation, "warming");
        let running = context.metrics.running.with_label_values(&[name]);
        running.set(1);
        let result = self.run(context, &lease).await;
        running.set(0);
        match result {
            Ok(done) => {
                tracing::info!(
                    job = name,
                    rows = done.rows,
                    keys = done.keys,
                    bytes = done.bytes,
                    skipped = done.skipped,
                    duration_ms = done.duration_ms,
                    "warm"
                );
                context
                    .metrics
                    .runs
                    .with_label_values(&[name, "done"])
                    .inc();
                self.satisfied(context, &done);
                Ok(self.then(BUSY_LOOK))
            }
            Err(error) => {
                lease.release().await;
                if matches!(error, RunError::Leaving) {
                    let runs = &context.metrics.runs;
                    runs.with_label_values(&[name, "handed_over"]).inc();
                    return Ok(match context.tasks.is_draining() {
                        true => Next::End,
                        false => Next::Away,
                    });
                }
                Err(error)
            }
        }
    }

    fn then(&self, pause: Duration) -> Next {
        match self.config.every {
            Some(_) => Next::Wait(pause),
            None => Next::End,
        }
    }

    async fn run(&self, context: &JobContext, lease: &Lease) -> Result<Done, RunError> {
        let started = Instant::now();
        let (sender, batches) = queue(QUEUE_BYTES);
        let reader = Reader {
            job: &self.config,
            query: &self.query,
            template: &self.template,
            socket: &context.socket,
            metrics: &context.metrics,
            rows: context.metrics.rows.with_label_values(&[&self.config.name]),
            holdoffs: &context.holdoffs,
        };
        let writer = Writer {
            dialer: &context.dialer,
            kind: context.kind,
            timeout: context.write_timeout,
            lease,
            metrics: &context.metrics,
            tasks: &context.tasks,
            job: &self.config.name,
            connection: None,
        };
        let work = Box::pin(async {
            tokio::try_join!(reader.read_all(sender), writer.write_all(batches))
        });
        let (read, written) = tokio::select! {
            result = work => result?,
            lost = lease.hold() => return Err(lost),
            () = context.tasks.draining() => return Err(RunError::Leaving),
            () = context.tasks.departures().reached(Step::Shedding) => return Err(RunError::Leaving),
        };
        let done = Done {
            rows: read.rows,
            keys: written.keys,
            bytes: written.bytes,
            skipped: read.skipped,
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            // both are Redis' to say
            finished_ms: 0,
            generation: 0,
        };
        lease.finish(done, self.config.interval().get()).await
    }

    /// The job is done, here or elsewhere.
    fn satisfied(&self, context: &JobContext, done: &Done) {
        let name = self.config.name.as_str();
        let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
        let metrics = &context.metrics;
        metrics
            .last_success
            .with_label_values(&[name])
            .set(seconds(done.finished_ms));
        metrics
            .duration
            .with_label_values(&[name])
            .set(seconds(done.duration_ms));
        context.health.ok();
        if let Some(gate) = &context.gate {
            gate.open();
        }
    }

    fn report(&self, context: &JobContext, error: RunError) {
        let name = self.config.name.as_str();
        let kind = error.kind();
        let metrics = &context.metrics;
        metrics
            .errors
            .with_label_values(&[name, kind.label()])
            .inc();
        let outcome = if kind == ErrorKind::LeaseLost {
            "handed_over"
        } else {
            "failed"
        };
        metrics.runs.with_label_values(&[name, outcome]).inc();
        let reason = format!("job {name}: {}", chain(&error));
        context.health.degraded(Reach::Shared, reason);
        context.tasks.fault(&error.into_fault());
    }
}

/// Until the instance is called back or drains. Whatever was held has been given back.
async fn stay_away(duty: &mut Duty, tasks: &Tasks) {
    loop {
        tokio::select! {
            call = duty.called() => drop(call),
            () = tasks.departures().recalled() => return,
            () = tasks.draining() => return,
        }
    }
}
