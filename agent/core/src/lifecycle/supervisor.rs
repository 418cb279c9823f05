//! Runs the subsystems, moves the process through its phases, and turns an early end of any of them into a failure of all.
//! Every way out (signal, scheduled event, command) comes through [`Control`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Drained, Phase, Scope, Subsystem};
use crate::fault::{Culprit, Fault, Retry, chain};
use crate::health::HealthBoard;
use crate::metrics::{IntCounterVec, IntGaugeVec, MetricsError, Registry, Section};

/// Who asked the instance to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainSource {
    /// SIGTERM: shed, drain, exit.
    Signal,
    /// A scheduled event of the platform: shed, drain, exit.
    Event,
    /// `lamplighter drain`: shed and stay, until `undrain` or a signal.
    Command,
}

/// A request to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Drain(DrainSource),
    Undrain,
    Stop,
}

/// How many requests may wait; more than a person or a signal handler can produce.
const REQUESTS_MAX: usize = 16;

/// The door through which everybody asks the process to leave or to come back.
#[derive(Debug, Clone)]
pub struct Control {
    requests: mpsc::Sender<Request>,
}

impl Control {
    /// Asks to leave. The first call of a kind decides; a [`DrainSource::Signal`] after a [`DrainSource::Command`] goes on to exit.
    pub fn drain(&self, source: DrainSource) {
        self.send(Request::Drain(source));
    }

    /// Takes a [`DrainSource::Command`] back. Too late once draining began.
    pub fn undrain(&self) {
        self.send(Request::Undrain);
    }

    /// Ends the process now; what is in flight is dropped.
    pub fn stop(&self) {
        self.send(Request::Stop);
    }

    fn send(&self, request: Request) {
        if self.requests.try_send(request).is_err() {
            tracing::warn!(
                ?request,
                "the supervisor is gone or flooded; request dropped"
            );
        }
    }
}

/// In which order subsystems leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Does the work; drains first.
    Work,
    /// Watches the others (probe, systemd); serves until all work has ended.
    Watch,
}

/// How long to shed, asked when shedding begins: probe interval x threshold while a load balancer looks, nothing when none does.
pub type ShedTime = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What the supervisor needs to know.
#[derive(Clone)]
pub struct SupervisorConfig {
    /// How long work in flight may take before it is dropped.
    pub drain_deadline: Duration,
    /// How long the load balancer is given to look away.
    pub shed_time: ShedTime,
}

impl fmt::Debug for SupervisorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorConfig")
            .field("drain_deadline", &self.drain_deadline)
            .finish_non_exhaustive()
    }
}

type Ended = (&'static str, Stage, Result<Drained, Fault>);

/// Runs the subsystems.
#[derive(Debug)]
pub struct Supervisor {
    config: SupervisorConfig,
    board: HealthBoard,
    phase: watch::Sender<Phase>,
    phase_gauge: IntGaugeVec,
    faults: IntCounterVec,
    requests: mpsc::Receiver<Request>,
    control: Control,
    running: JoinSet<Ended>,
    work_left: usize,
    ready: FuturesUnordered<oneshot::Receiver<()>>,
    tokens: Tokens,
    failure: Option<Fault>,
    /// Leave for good once shedding is over; a `drain` command only sheds.
    leaving: bool,
}

#[derive(Debug, Default)]
struct Tokens {
    drain_work: CancellationToken,
    stop_work: CancellationToken,
    drain_watch: CancellationToken,
    stop_watch: CancellationToken,
}

impl Supervisor {
    /// A supervisor with nothing to supervise yet.
    ///
    /// # Errors
    /// If its series are registered already.
    pub fn new(
        config: SupervisorConfig,
        board: HealthBoard,
        registry: &Registry,
    ) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "");
        let phase_gauge = section.gauges(
            "phase",
            "1 for the phase the process is in, 0 for the others.",
            &["phase"],
        )?;
        let faults = section.counters(
            "faults_total",
            "Faults by subsystem and by who has to act.",
            &["subsystem", "culprit"],
        )?;
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let supervisor = Self {
            config,
            board,
            phase: watch::Sender::new(Phase::Starting),
            phase_gauge,
            faults,
            requests,
            control: Control { requests: sender },
            running: JoinSet::new(),
            work_left: 0,
            ready: FuturesUnordered::new(),
            tokens: Tokens::default(),
            failure: None,
            leaving: false,
        };
        supervisor.show_phase();
        Ok(supervisor)
    }

    /// The door for requests.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Follows the phases.
    #[must_use]
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Starts `subsystem`'s life on the current runtime.
    pub fn add(&mut self, stage: Stage, subsystem: impl Subsystem) {
        let name = subsystem.name();
        for culprit in Culprit::ALL {
            self.faults.with_label_values(&[name, culprit.label()]);
        }
        let (ready, is_ready) = oneshot::channel();
        let (drain, stop) = match stage {
            Stage::Work => (&self.tokens.drain_work, &self.tokens.stop_work),
            Stage::Watch => (&self.tokens.drain_watch, &self.tokens.stop_watch),
        };
        let scope = Scope::new(
            name,
            ready,
            self.board.writer(name),
            drain.clone(),
            stop.clone(),
            self.faults.clone(),
        );
        self.ready.push(is_ready);
        if stage == Stage::Work {
            self.work_left += 1;
        }
        // on a task of its own, so that a panic ends this subsystem's life and not the supervisor's
        let life = Box::pin(subsystem.run(scope));
        self.running.spawn(async move { (name, stage, life.await) });
    }

    /// Supervises until everything has ended.
    ///
    /// # Errors
    /// With the first fault of a subsystem that ended before it was asked to.
    pub async fn run(mut self) -> Result<(), Fault> {
        self.start().await;
        if self.phase() < Phase::Draining {
            self.serve().await;
        }
        self.drain().await;
        self.stop().await;
        self.failure.map_or(Ok(()), Err)
    }

    /// Starting: until all are ready, or somebody fails, or we are asked to leave.
    async fn start(&mut self) {
        let mut waiting = self.ready.len();
        while waiting > 0 {
            tokio::select! {
                Some(ready) = self.ready.next() => {
                    // a latch that is dropped unreleased belongs to a subsystem that has ended: `running` tells
                    if ready.is_ok() {
                        waiting -= 1;
                    }
                }
                Some(ended) = self.running.join_next() => {
                    self.note_end(ended);
                    if self.failure.is_some() {
                        return self.enter(Phase::Draining);
                    }
                }
                Some(request) = self.requests.recv() => match request {
                    Request::Drain(DrainSource::Signal | DrainSource::Event) => return self.enter(Phase::Draining),
                    Request::Stop => return self.enter(Phase::Stopping),
                    Request::Drain(DrainSource::Command) | Request::Undrain => {
                        tracing::warn!("not started yet: ask again once the agent is ready");
                    }
                },
            }
        }
        self.enter(Phase::Ready);
    }

    /// Ready and Shedding: until shedding is over and we are leaving.
    async fn serve(&mut self) {
        let mut shed_until: Option<tokio::time::Instant> = None;
        loop {
            let shed_over = async {
                match shed_until {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shed_over => return self.enter(Phase::Draining),
                Some(ended) = self.running.join_next() => {
                    self.note_end(ended);
                    if self.phase() == Phase::Ready {
                        self.enter(Phase::Shedding);
                    }
                    // the process is broken: tell the load balancer, but do not linger
                    return self.enter(Phase::Draining);
                }
                Some(request) = self.requests.recv() => match request {
                    Request::Stop => return self.enter(Phase::Stopping),
                    Request::Drain(source) => {
                        let already = self.phase() == Phase::Shedding;
                        if !already {
                            self.enter(Phase::Shedding);
                        }
                        if source != DrainSource::Command && !self.leaving {
                            self.leaving = true;
                            // whoever sheds already has been looked away from
                            let time = if already { Duration::ZERO } else { (self.config.shed_time)() };
                            shed_until = Some(tokio::time::Instant::now() + time);
                        }
                    }
                    Request::Undrain if self.phase() == Phase::Shedding && !self.leaving => self.enter(Phase::Ready),
                    Request::Undrain => tracing::warn!("nothing to undrain"),
                },
            }
        }
    }

    /// Draining: until all work has ended or the deadline has passed.
    async fn drain(&mut self) {
        self.tokens.drain_work.cancel();
        let start = Instant::now();
        if self.phase() == Phase::Draining {
            let deadline = tokio::time::Instant::now() + self.config.drain_deadline;
            while self.work_left > 0 && self.phase() == Phase::Draining {
                tokio::select! {
                    () = tokio::time::sleep_until(deadline) => {
                        tracing::warn!(after = ?start.elapsed(), "drain deadline passed; dropping what is left");
                        break;
                    }
                    Some(ended) = self.running.join_next() => self.note_end(ended),
                    Some(request) = self.requests.recv() => match request {
                        // a second SIGTERM, or an explicit stop
                        Request::Stop => self.enter(Phase::Stopping),
                        Request::Drain(_) | Request::Undrain => tracing::info!("already draining"),
                    },
                }
            }
        }
        if self.phase() != Phase::Stopping {
            self.enter(Phase::Stopping);
        }
    }

    /// Stopping: first the rest of the work, then those who watch.
    async fn stop(&mut self) {
        self.tokens.stop_work.cancel();
        let deadline = tokio::time::Instant::now() + STOP_DEADLINE;
        while self.work_left > 0 {
            match tokio::time::timeout_at(deadline, self.running.join_next()).await {
                Ok(Some(ended)) => self.note_end(ended),
                Ok(None) | Err(_) => break,
            }
        }
        self.tokens.drain_watch.cancel();
        self.tokens.stop_watch.cancel();
        while let Ok(Some(ended)) =
            tokio::time::timeout_at(deadline, self.running.join_next()).await
        {
            self.note_end(ended);
        }
        self.running.abort_all();
        self.enter(Phase::Stopped);
    }

    fn note_end(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let fault = match ended {
            Ok((name, stage, result)) => {
                if stage == Stage::Work {
                    self.work_left -= 1;
                }
                match result {
                    Ok(Drained { .. }) => return tracing::debug!(subsystem = name, "drained"),
                    Err(fault) => {
                        self.faults
                            .with_label_values(&[name, fault.culprit().label()])
                            .inc();
                        tracing::error!(
                            subsystem = name,
                            culprit = fault.culprit().label(),
                            "{}",
                            chain(&fault)
                        );
                        fault
                    }
                }
            }
            Err(panic) => {
                // which one it was is not known any more; none of the work can be waited for by count
                self.work_left = self.work_left.saturating_sub(1);
                tracing::error!("a subsystem panicked; this is a bug");
                Fault::new(Culprit::Bug, Retry::Never, panic)
            }
        };
        self.failure.get_or_insert(fault);
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    fn enter(&self, next: Phase) {
        let current = self.phase();
        if !current.may_become(next) {
            tracing::error!(
                from = current.label(),
                to = next.label(),
                "no such transition; this is a bug"
            );
            return;
        }
        tracing::info!(from = current.label(), to = next.label(), "phase");
        self.phase.send_replace(next);
        self.show_phase();
    }

    fn show_phase(&self) {
        let current = self.phase();
        for phase in Phase::ALL {
            self.phase_gauge
                .with_label_values(&[phase.label()])
                .set(i64::from(phase == current));
        }
    }
}

/// How long the dropping of what is left may take, tasks that ignore the stop signal included.
const STOP_DEADLINE: Duration = Duration::from_secs(2);
