//! A job's life on one instance:
//!
//! ```text
//!           fresh result, or not due                    another instance has the lease
//!          ┌──────────────────────┐                    ┌────────────────────────────┐
//!          ▼                      │ due, or asked for  ▼                            │
//!       waiting ──▶ Redis is up ──┴────▶ a free slot ──▶ lease + generation ────────┴──▶ running ──▶ result left ──▶ waiting
//!          ▲                                                                               │
//!          └───────────────────────────── pause with jitter ◀─── failed, lease lost ◀──────┘
//! ```
//! Draining ends it anywhere; a run gives its lease back first, so that another instance goes on at once. An instance that leaves and
//! stays (an event, a command) does the same as soon as it is asked to, so that no statement of a warm-up is waited for, and begins no other
//! run until it is called back. A job that asks the local web server needs neither Redis nor a lease: what it makes warm is this instance.

mod run;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lamplighter_core::fault::chain;
use lamplighter_core::health::{HealthWriter, Reach};
use lamplighter_core::lifecycle::{Duty, Step, Tasks};
use lamplighter_core::load::LoadSource;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::config::{JobConfig, Source};
use super::error::{ErrorKind, RunError};
use super::gate::Doorkeeper;
use super::governor::Governor;
use super::hot::Hot;
use super::lease::{Acquired, JobKeys, Lease, Seen, look};
use super::query::{Query, QueryError};
use super::schedule::{Decision, Done, Facts, decide, describe};
use super::standing::{Standing, State, WarmStatus};
use super::template::{Template, TemplateError};
use crate::backoff::{Backoff, delayed};
use crate::config::ServerKind;
use crate::heat::HotList;
use crate::metrics::Metrics;
use crate::upstream::{Dialer, Link, UpstreamError};

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
    work: Work,
    keys: JobKeys,
    standing: Arc<Standing>,
}

/// What a job is made of, by its source.
#[derive(Debug)]
enum Work {
    Sql(Query, Template),
    HotKeys(Query, Template, Arc<HotList>),
    File(PathBuf, Template),
    Urls,
}

/// Why a table cannot become a job.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error("the query {0}")]
    Query(#[from] QueryError),
    #[error("the key {0}")]
    Key(#[from] TemplateError),
}

/// What somebody asks a job to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A run, whether it is due or not.
    Run,
    /// A run that writes nothing, beside whoever runs it.
    DryRun,
}

/// What a job works with.
pub(crate) struct JobContext {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) link: Link,
    pub(crate) kind: ServerKind,
    pub(crate) write_timeout: Duration,
    pub(crate) socket: PathBuf,
    /// How much MySQL has to do.
    pub(crate) load: Option<LoadSource>,
    /// Prefixes of keys under a hold-off, and how long it is.
    pub(crate) holdoffs: Arc<[(String, Duration)]>,
    /// Unique to this process.
    pub(crate) owner: Arc<str>,
    /// How many jobs may run at a time.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) governor: Arc<Governor>,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    pub(crate) health: HealthWriter,
    pub(crate) gate: Option<Doorkeeper>,
    /// What people ask for.
    pub(crate) errands: mpsc::Receiver<Errand>,
    /// Held as long as the job needs the control connection.
    pub(crate) alive: mpsc::Sender<()>,
}

/// What comes after a step.
enum Next {
    Wait(Duration),
    /// The instance leaves: others may run it.
    Away,
    /// The agent is leaving.
    End,
}

/// What this instance remembers of a job between two steps.
struct Memory {
    started: Instant,
    /// A result has been seen.
    settled: bool,
    /// The last result of a job that only concerns this instance.
    done: Option<Done>,
}

impl Job {
    pub(crate) fn new(config: JobConfig) -> Result<Self, JobError> {
        let work = match config.source {
            Source::Sql => Work::Sql(Query::parse(&config.query)?, Template::parse(&config.key)?),
            Source::HotKeys => {
                let template = Template::parse(&config.key)?;
                let list = HotList::new(&template.prefix(), config.hot_keys);
                Work::HotKeys(Query::parse_list(&config.query)?, template, Arc::new(list))
            }
            Source::File => Work::File(
                config.file.clone().unwrap_or_default(),
                Template::parse(&config.key)?,
            ),
            Source::Urls => Work::Urls,
        };
        let status = WarmStatus {
            name: config.name.clone(),
            source: config.source.label().to_owned(),
            schedule: describe(&config),
            ..WarmStatus::default()
        };
        Ok(Self {
            work,
            keys: JobKeys::new(&config),
            standing: Arc::new(Standing::new(status)),
            config,
        })
    }

    /// How it is, for people.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// The keys that the endpoint is to count for it.
    pub(crate) fn hot_list(&self) -> Option<Arc<HotList>> {
        match &self.work {
            Work::HotKeys(_, _, list) => Some(Arc::clone(list)),
            Work::Sql(..) | Work::File(..) | Work::Urls => None,
        }
    }

    /// Lives until the agent leaves.
    pub(crate) async fn live(self, mut context: JobContext) {
        let mut memory = Memory {
            started: Instant::now(),
            settled: false,
            done: None,
        };
        let mut backoff = Backoff::new(RETRY.0, RETRY.1.min(self.config.interval().get()));
        let name = format!("warm:{}", self.config.name);
        let mut duty = context.tasks.duty(Step::Releasing, &name);
        let mut errand = None;
        loop {
            let pause = match self.step(&mut context, &mut memory, errand.take()).await {
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
                    let floor = match error.kind() {
                        ErrorKind::RedisOom => RETRY_OOM,
                        _ => Duration::ZERO,
                    };
                    self.report(&context, error);
                    backoff.next().max(floor)
                }
            };
            tokio::select! {
                () = context.tasks.draining() => break,
                () = context.tasks.departures().reached(Step::Shedding) => {}
                () = tokio::time::sleep(pause) => {}
                Some(asked) = context.errands.recv() => errand = Some(asked),
            }
        }
        drop(context.alive);
    }

    async fn step(
        &self,
        context: &mut JobContext,
        memory: &mut Memory,
        errand: Option<Errand>,
    ) -> Result<Next, RunError> {
        match (&self.work, errand) {
            (_, Some(Errand::DryRun)) => self.dry_run(context).await,
            (Work::Urls, errand) => self.step_here(context, memory, errand.is_some()).await,
            (_, errand) => self.step_in_fleet(context, memory, errand.is_some()).await,
        }
    }

    /// Looks whether the job is due, and runs it if no other instance does.
    async fn step_in_fleet(
        &self,
        context: &mut JobContext,
        memory: &mut Memory,
        asked: bool,
    ) -> Result<Next, RunError> {
        let departures = context.tasks.departures().clone();
        if asked && context.link.get().is_err() {
            return Err(self.refused(UpstreamError::Down.into()));
        }
        tokio::select! {
            biased;
            () = context.tasks.draining() => return Ok(Next::End),
            // no run is begun that would have to be handed over
            () = departures.reached(Step::Shedding) => return Ok(Next::Away),
            () = context.link.up() => {}
        }
        if let Work::HotKeys(_, template, list) = &self.work {
            self.hot(template, list).publish(&context.link).await?;
        }
        let seen = look(&context.link, &self.keys).await?;
        match self.decide(memory, &seen) {
            _ if asked => {}
            Decision::Run => {}
            Decision::NotYet(pause) => return Ok(Next::Wait(pause)),
            Decision::Fresh(pause) => {
                if let Some(done) = &seen.done {
                    self.satisfied(context, memory, done);
                }
                return Ok(Next::Wait(pause));
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
            Acquired::Busy(left) if asked => return Err(self.refused(RunError::Busy(left))),
            Acquired::Busy(left) => {
                self.standing.rest(State::Elsewhere);
                return Ok(Next::Wait(left.min(BUSY_LOOK)));
            }
        };
        tracing::info!(
            job = self.config.name,
            generation = lease.generation,
            "warming"
        );
        let result = self.counted(context, State::Running, self.run(context, &lease));
        match result.await {
            Ok(done) => {
                self.finished(context, memory, &done);
                Ok(Next::Wait(BUSY_LOOK))
            }
            Err(error) => {
                lease.release().await;
                self.left_off(context, error)
            }
        }
    }

    fn decide(&self, memory: &Memory, seen: &Seen) -> Decision {
        let facts = Facts {
            done: seen.done.as_ref(),
            now_ms: seen.now_ms,
            up: memory.started.elapsed(),
            settled: memory.settled,
            flushed: memory.settled && !seen.sentinel,
        };
        decide(&self.config, facts)
    }

    /// As [`Self::step_in_fleet`], for a job that concerns this instance only.
    async fn step_here(
        &self,
        context: &JobContext,
        memory: &mut Memory,
        asked: bool,
    ) -> Result<Next, RunError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.unwrap_or_default().as_millis();
        let seen = Seen {
            now_ms: u64::try_from(now_ms).unwrap_or(u64::MAX),
            done: memory.done.clone(),
            sentinel: true,
        };
        match self.decide(memory, &seen) {
            _ if asked => {}
            Decision::Run => {}
            Decision::NotYet(pause) | Decision::Fresh(pause) => return Ok(Next::Wait(pause)),
        }
        match self
            .counted(context, State::Running, self.crawl(context, false))
            .await
        {
            Ok(read) => {
                let done = Done {
                    rows: read.0.rows,
                    skipped: read.0.skipped,
                    duration_ms: read.1,
                    finished_ms: seen.now_ms + read.1,
                    ..Done::default()
                };
                self.finished(context, memory, &done);
                memory.done = Some(done);
                Ok(Next::Wait(BUSY_LOOK))
            }
            Err(error) => self.left_off(context, error),
        }
    }

    /// Runs `work` and has it shown.
    async fn counted<T>(
        &self,
        context: &JobContext,
        state: State,
        work: impl Future<Output = Result<T, RunError>>,
    ) -> Result<T, RunError> {
        let running = context
            .metrics
            .running
            .with_label_values(&[&self.config.name]);
        running.set(1);
        self.standing.begin(state);
        let result = work.await;
        running.set(0);
        self.standing
            .end(result.as_ref().err().map(|error| chain(error)));
        result
    }

    /// What somebody asked for cannot be begun.
    fn refused(&self, error: RunError) -> RunError {
        self.standing.end(Some(chain(&error)));
        error
    }

    fn finished(&self, context: &JobContext, memory: &mut Memory, done: &Done) {
        let name = self.config.name.as_str();
        tracing::info!(
            job = name,
            rows = done.rows,
            keys = done.keys,
            kept = done.kept,
            bytes = done.bytes,
            skipped = done.skipped,
            duration_ms = done.duration_ms,
            "warm"
        );
        let runs = &context.metrics.runs;
        runs.with_label_values(&[name, "done"]).inc();
        self.satisfied(context, memory, done);
    }

    /// A run ended early: because the agent leaves, or for a reason to be told.
    fn left_off(&self, context: &JobContext, error: RunError) -> Result<Next, RunError> {
        if !matches!(error, RunError::Leaving) {
            return Err(error);
        }
        let runs = &context.metrics.runs;
        let labels = &[self.config.name.as_str(), "handed_over"];
        runs.with_label_values(labels).inc();
        Ok(match context.tasks.is_draining() {
            true => Next::End,
            false => Next::Away,
        })
    }

    fn hot<'a>(&'a self, template: &'a Template, list: &'a HotList) -> Hot<'a> {
        Hot {
            job: &self.config.name,
            list,
            template,
        }
    }

    /// The job is done, here or elsewhere.
    fn satisfied(&self, context: &JobContext, memory: &mut Memory, done: &Done) {
        memory.settled = true;
        self.standing.rest(State::Waiting);
        self.standing.done(done);
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
        let reach = match self.work {
            Work::Urls => Reach::Local,
            _ => Reach::Shared,
        };
        let reason = format!("job {name}: {}", chain(&error));
        context.health.degraded(reach, reason);
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
