//! Runs the subsystems, moves the process through its phases, and turns an early end of any of them into a failure of all.
//! Every way out (signal, scheduled event, command) comes through [`Control`].

mod restart;
mod steps;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use steps::Steps;

use super::control::{Request, Wanted};
use super::{Budget, Control, Departures, DrainSource, Drained, Phase, Scope, Step, Subsystem};
use crate::fault::{Culprit, Fault, Retry, chain};
use crate::health::HealthBoard;
use crate::metrics::{IntCounterVec, IntGaugeVec, MetricsError, Registry, Section};
use crate::net::Handover;

/// In which order subsystems leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serves the application; drains first ([`Step::Finishing`]).
    Work,
    /// Takes to the shared storage what the application wrote; drains when work has ([`Step::Flushing`]).
    Flush,
    /// Holds what other instances wait for; drains after that ([`Step::Releasing`]).
    Release,
    /// Watches the others (probe, systemd); serves until all of them have ended.
    Watch,
}

impl Stage {
    /// Those that drain one after the other, with the step of leaving that each is.
    const DRAINING: [(Self, Step); 3] = [
        (Self::Work, Step::Finishing),
        (Self::Flush, Step::Flushing),
        (Self::Release, Step::Releasing),
    ];

    const fn index(self) -> usize {
        match self {
            Self::Work => 0,
            Self::Flush => 1,
            Self::Release => 2,
            Self::Watch => 3,
        }
    }
}

/// How long to shed, asked when shedding begins: probe interval x threshold while a load balancer looks, nothing when none does.
pub type ShedTime = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What the supervisor needs to know.
#[derive(Clone)]
pub struct SupervisorConfig {
    /// How long work in flight may take before it is dropped.
    pub drain_deadline: Duration,
    /// The same for a [`DrainSource::Command`], which ends no process and so need not be in such a hurry.
    pub command_deadline: Duration,
    /// How long the load balancer is given to look away.
    pub shed_time: ShedTime,
}

impl fmt::Debug for SupervisorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorConfig")
            .field("drain_deadline", &self.drain_deadline)
            .field("command_deadline", &self.command_deadline)
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
    /// How many subsystems of each stage have not ended.
    left: [usize; 4],
    departures: Departures,
    ready: FuturesUnordered<oneshot::Receiver<()>>,
    tokens: Tokens,
    failure: Option<Fault>,
    handover: Handover,
    /// Who wants the instance away.
    wanted: Wanted,
}

#[derive(Debug, Default)]
struct Tokens {
    /// By stage.
    drain: [CancellationToken; 4],
    stop_work: CancellationToken,
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
        let (control, requests) = Control::new();
        let supervisor = Self {
            config,
            board,
            phase: watch::Sender::new(Phase::Starting),
            phase_gauge,
            faults,
            requests,
            control,
            running: JoinSet::new(),
            left: [0; 4],
            departures: Departures::default(),
            ready: FuturesUnordered::new(),
            tokens: Tokens::default(),
            failure: None,
            handover: Handover::default(),
            wanted: Wanted::default(),
        };
        supervisor.show_phase();
        Ok(supervisor)
    }

    /// The door for requests.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Whether and how far the instance is leaving.
    #[must_use]
    pub fn departures(&self) -> Departures {
        self.departures.clone()
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
        let drain = &self.tokens.drain[stage.index()];
        let stop = match stage {
            Stage::Work | Stage::Flush | Stage::Release => &self.tokens.stop_work,
            Stage::Watch => &self.tokens.stop_watch,
        };
        let scope = Scope::new(
            name,
            ready,
            self.board.writer(name),
            drain.clone(),
            stop.clone(),
            self.departures.clone(),
            self.faults.clone(),
        );
        self.ready.push(is_ready);
        self.left[stage.index()] += 1;
        // on a task of its own, so that a panic ends this subsystem's life and not the supervisor's
        let life = Box::pin(subsystem.run(scope));
        self.running.spawn(async move { (name, stage, life.await) });
    }

    /// Supervises until everything has ended.
    ///
    /// # Errors
    /// With the first fault of a subsystem that ended before it was asked to.
    pub async fn run(mut self) -> Result<(), Fault> {
        let event = self.start().await;
        if self.phase() == Phase::Ready {
            self.serve(event).await;
        }
        if self.phase() == Phase::HandingOver {
            self.finish_for_the_connected().await;
        }
        self.drain().await;
        self.stop().await;
        self.failure.map_or(Ok(()), Err)
    }

    /// Starting: until all are ready, or somebody fails, or we are asked to leave.
    /// Says within which time an event that came meanwhile wants the instance away.
    async fn start(&mut self) -> Option<Option<Duration>> {
        let mut event = None;
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
                        self.enter(Phase::Draining);
                        return None;
                    }
                }
                Some(request) = self.requests.recv() => match request {
                    Request::Drain(DrainSource::Signal, _) | Request::Restart => {
                        self.enter(Phase::Draining);
                        return None;
                    }
                    Request::Stop => {
                        self.enter(Phase::Stopping);
                        return None;
                    }
                    Request::Drain(DrainSource::Event, limit) => event = Some(limit),
                    Request::Undrain(DrainSource::Event) => event = None,
                    Request::Drain(DrainSource::Command | DrainSource::Restart, _) | Request::Undrain(_) => {
                        tracing::warn!("not started yet: ask again once the agent is ready");
                    }
                },
            }
        }
        self.enter(Phase::Ready);
        event
    }

    /// Ready and Shedding: until shedding is over and we are leaving.
    async fn serve(&mut self, event: Option<Option<Duration>>) {
        let mut leaving = event.and_then(|limit| self.leave(DrainSource::Event, limit));
        loop {
            let step_over = async {
                match &mut leaving {
                    Some(steps) => steps.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = step_over => {
                    leaving = None;
                    if self.wanted.signal {
                        return self.enter(Phase::Draining);
                    }
                }
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
                    Request::Restart if self.phase() == Phase::Ready => return self.enter(Phase::HandingOver),
                    // the load balancer has been told already: it may as well be given its time
                    Request::Restart => leaving = self.leave(DrainSource::Signal, None).or(leaving),
                    Request::Drain(source, limit) => {
                        if let Some(steps) = self.leave(source, limit) {
                            leaving = Some(steps);
                        }
                    }
                    Request::Undrain(source) => {
                        if self.come_back(source) {
                            leaving = None;
                        }
                    }
                },
            }
        }
    }

    /// The steps to take for `source`, unless they are under way already.
    fn leave(
        &mut self,
        source: DrainSource,
        limit: Option<Duration>,
    ) -> Option<BoxFuture<'static, ()>> {
        let already = self.phase() == Phase::Shedding;
        let news = self.wanted.set(source, true);
        let shorter = limit.is_some_and(|limit| self.departures.is_later_than(limit));
        if !news && !shorter {
            return None;
        }
        if !already {
            self.enter(Phase::Shedding);
        }
        // whoever sheds already has been looked away from
        let shed = match already {
            true => Duration::ZERO,
            false => (self.config.shed_time)(),
        };
        let budget = match limit {
            Some(limit) => Budget::within(limit, shed),
            None => Budget::after(self.deadline(source), shed),
        };
        tracing::info!(
            source = source.label(),
            shed_seconds = budget.shed.as_secs_f64(),
            limit_seconds = budget.end(Step::Left).as_secs_f64(),
            "leaving"
        );
        self.departures.begin(source, budget.end(Step::Left));
        let steps = Steps {
            departures: self.departures.clone(),
            budget,
            start: tokio::time::Instant::now(),
        };
        Some(match source {
            // the parts themselves end in the same order: see `drain`
            DrainSource::Signal => Box::pin(steps.shed()),
            DrainSource::Event | DrainSource::Command | DrainSource::Restart => {
                Box::pin(steps.all())
            }
        })
    }

    /// How long leaving may take if whoever asked did not say.
    const fn deadline(&self, source: DrainSource) -> Duration {
        match source {
            DrainSource::Command => self.config.command_deadline,
            DrainSource::Signal | DrainSource::Event | DrainSource::Restart => {
                self.config.drain_deadline
            }
        }
    }

    /// Whether nobody wants the instance away any more.
    fn come_back(&mut self, source: DrainSource) -> bool {
        if !self.wanted.set(source, false) {
            tracing::warn!(source = source.label(), "nothing to take back");
            return false;
        }
        if self.wanted.any() {
            tracing::info!(
                source = source.label(),
                "taken back; still wanted away by somebody else"
            );
            return false;
        }
        self.departures.recall();
        self.enter(Phase::Ready);
        true
    }

    /// Draining: part by part, until all have ended or the deadline has passed.
    async fn drain(&mut self) {
        let start = tokio::time::Instant::now();
        let budget = Budget::after(self.config.drain_deadline, Duration::ZERO);
        if self.departures.progress().is_none() {
            let source = match self.phase() {
                Phase::HandingOver => DrainSource::Restart,
                _ => DrainSource::Signal,
            };
            self.departures.begin(source, budget.end(Step::Left));
        }
        for (stage, step) in Stage::DRAINING {
            if !self.drains() {
                break;
            }
            self.departures.enter(step);
            self.tokens.drain[stage.index()].cancel();
            if !self.drained(&[stage], start + budget.end(step)).await {
                self.departures.abandon();
            }
        }
        let all = Stage::DRAINING.map(|(stage, _)| stage);
        for stage in all {
            self.tokens.drain[stage.index()].cancel();
        }
        if !self.drained(&all, start + budget.end(Step::Left)).await {
            tracing::warn!(after = ?start.elapsed(), "drain deadline passed; dropping what is left");
        }
        self.departures.enter(Step::Left);
        // who hands over keeps that phase: probes that come in the last moments hear what the successor will say
        if self.phase() == Phase::Draining {
            self.enter(Phase::Stopping);
        }
    }

    /// Whether what is in flight is given its time.
    fn drains(&self) -> bool {
        matches!(self.phase(), Phase::Draining | Phase::HandingOver)
    }

    /// Waits for the subsystems of `stages` to end, and for the duties of the present step; `false` when it was in vain.
    async fn drained(&mut self, stages: &[Stage], end: tokio::time::Instant) -> bool {
        let departures = self.departures.clone();
        loop {
            if !self.drains() {
                return true;
            }
            let ended = stages.iter().all(|stage| self.left[stage.index()] == 0);
            tokio::select! {
                biased;
                () = departures.done(), if ended => return true,
                () = tokio::time::sleep_until(end) => return false,
                Some(ended) = self.running.join_next() => self.note_end(ended),
                Some(request) = self.requests.recv() => match request {
                    // a second SIGTERM, or an explicit stop
                    Request::Stop => self.enter(Phase::Stopping),
                    Request::Drain(..) | Request::Undrain(_) | Request::Restart => tracing::info!("already draining"),
                },
            }
        }
    }

    /// Stopping: first the rest of the work, then those who watch.
    async fn stop(&mut self) {
        self.tokens.stop_work.cancel();
        let deadline = tokio::time::Instant::now() + STOP_DEADLINE;
        while self.work_left() > 0 {
            match tokio::time::timeout_at(deadline, self.running.join_next()).await {
                Ok(Some(ended)) => self.note_end(ended),
                Ok(None) | Err(_) => break,
            }
        }
        self.tokens.drain[Stage::Watch.index()].cancel();
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
                let left = &mut self.left[stage.index()];
                *left = left.saturating_sub(1);
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
                // which one it was is not known any more, so none of them can be waited for by count
                self.left = [0; 4];
                tracing::error!("a subsystem panicked; this is a bug");
                Fault::new(Culprit::Bug, Retry::Never, panic)
            }
        };
        self.failure.get_or_insert(fault);
    }

    fn work_left(&self) -> usize {
        self.left[..Stage::Watch.index()].iter().sum()
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
