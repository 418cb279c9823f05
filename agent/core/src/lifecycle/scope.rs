//! What a subsystem is given to live in: its health line, its tasks, and the two signals that end it.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::{Departures, Duty, Step};
use crate::fault::{Fault, chain};
use crate::health::HealthWriter;
use crate::metrics::IntCounterVec;

/// Proof that draining began and every task ended; the only way to end [`super::Subsystem::run`] well.
#[derive(Debug)]
pub struct Drained(());

/// What a subsystem lives in.
#[derive(Debug)]
pub struct Scope {
    name: &'static str,
    ready: Option<oneshot::Sender<()>>,
    health: HealthWriter,
    tasks: Tasks,
}

/// The part of a scope that can be cloned into tasks: spawning and the two signals.
#[derive(Debug, Clone)]
pub struct Tasks {
    name: &'static str,
    tracker: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
    departures: Departures,
    faults: IntCounterVec,
    /// Where tasks run; `None`: where they are spawned.
    home: Option<Handle>,
}

impl Scope {
    pub(super) fn new(
        name: &'static str,
        ready: oneshot::Sender<()>,
        health: HealthWriter,
        drain: CancellationToken,
        stop: CancellationToken,
        departures: Departures,
        faults: IntCounterVec,
    ) -> Self {
        let tasks = Tasks {
            name,
            tracker: TaskTracker::new(),
            drain,
            stop,
            departures,
            faults,
            home: None,
        };
        Self {
            name,
            ready: Some(ready),
            health,
            tasks,
        }
    }

    /// The subsystem's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Says that the subsystem does its job from now on. Never calling it keeps the process in `Starting`.
    pub fn ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            // nobody listens any more when the process leaves before it was ready
            let _gone = ready.send(());
        }
    }

    /// The subsystem's line on the health board.
    #[must_use]
    pub const fn health(&self) -> &HealthWriter {
        &self.health
    }

    /// Something to clone into tasks.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// As [`Tasks::spawn`].
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, future);
    }

    /// As [`Tasks::fault`].
    pub fn fault(&self, fault: &Fault) {
        self.tasks.fault(fault);
    }

    /// As [`Tasks::draining`].
    pub async fn draining(&self) {
        self.tasks.draining().await;
    }

    /// Waits until draining began and every task has ended, or the stop signal came.
    ///
    /// # Errors
    /// If draining has not begun: nothing may end early and call it well.
    pub async fn finish(self) -> Result<Drained, Fault> {
        if !self.tasks.drain.is_cancelled() {
            return Err(Fault::bug(format!(
                "{} ended before it was asked to",
                self.name
            )));
        }
        self.tasks.tracker.close();
        tokio::select! {
            () = self.tasks.tracker.wait() => {}
            () = self.tasks.stop.cancelled() => {
                let left = self.tasks.tracker.len();
                if left > 0 {
                    tracing::warn!(subsystem = self.name, tasks = left, "stopped with tasks in flight");
                }
            }
        }
        Ok(Drained(()))
    }
}

impl Tasks {
    /// The same tasks, those spawned from here on on another runtime.
    #[must_use]
    pub fn on(&self, runtime: Handle) -> Self {
        Self {
            home: Some(runtime),
            ..self.clone()
        }
    }

    /// Runs `future` on the current runtime, or on that of [`Tasks::on`], in a span of its own, counted so that drain waits for it. A panic in it is
    /// logged and counted as our bug; it does not take the process down.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let subsystem = self.name;
        let faults = self.faults.clone();
        // no async block: it would keep room for the future twice
        let guarded = AssertUnwindSafe(future).catch_unwind().map(move |ended| {
            if ended.is_err() {
                faults.with_label_values(&[subsystem, "bug"]).inc();
                tracing::error!(subsystem, task = name, "a task panicked; this is a bug");
            }
        });
        let task = guarded.instrument(tracing::debug_span!("task", subsystem, name));
        match &self.home {
            Some(runtime) => self.tracker.spawn_on(task, runtime),
            None => self.tracker.spawn(task),
        };
    }

    /// Counts and logs a fault. The one place that logs a chain of errors.
    pub fn fault(&self, fault: &Fault) {
        self.faults
            .with_label_values(&[self.name, fault.culprit().label()])
            .inc();
        tracing::warn!(
            subsystem = self.name,
            culprit = fault.culprit().label(),
            "{}",
            chain(fault)
        );
    }

    /// Takes part in a step of leaving that comes before draining, or without it (a scheduled event, a command): until `undrain`
    /// the subsystem goes on afterwards, with as little to lose as it can. See [`Departures::duty`].
    pub fn duty(&self, step: Step, name: &str) -> Duty {
        self.departures.duty(step, name)
    }

    /// Whether and how far the instance is leaving.
    #[must_use]
    pub const fn departures(&self) -> &Departures {
        &self.departures
    }

    /// Resolves when draining begins: stop accepting, finish what is in flight.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Whether draining began.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Resolves when the deadline has passed: drop what is left.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// How many tasks run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }
}
