//! The subsystem. A thread of its own tells systemd what is due, so that neither a busy data path nor a manager that does not
//! listen can disturb the other; what concerns Azure runs as tasks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lamplighter_core::fault::{Culprit, Fault, Retry};
use lamplighter_core::health::HealthBoard;
use lamplighter_core::lifecycle::{
    Control, Departures, Drained, Heartbeats, Phase, Scope, Subsystem, Tasks,
};
use lamplighter_core::metrics::{IntCounterVec, MetricsError, Registry, Section};
use tokio::sync::{oneshot, watch};

use crate::azure::{Azure, Leaving};
use crate::config::Config;
use crate::systemd::{Duties, Manager, Reloading, Situation, Told, status_line};

/// What the subsystem works with; made in the application.
#[derive(Debug)]
pub struct Links {
    /// Where every component writes its condition.
    pub board: HealthBoard,
    /// The process's phases.
    pub phases: watch::Receiver<Phase>,
    /// Every runtime that must turn.
    pub heartbeats: Heartbeats,
    /// For leaving when a scheduled event asks for it.
    pub control: Control,
    /// How far leaving is.
    pub departures: Departures,
    /// Azure's side; none: only systemd is served.
    pub azure: Option<Azure>,
}

/// The platform subsystem. `"platform"` in every list.
#[derive(Debug)]
pub struct Platform {
    config: Config,
    manager: Manager,
    links: Links,
    messages: IntCounterVec,
    told: Arc<Mutex<Told>>,
}

/// How a watchdog message can end.
const OUTCOMES: [&str; 3] = ["sent", "withheld", "failed"];

impl Platform {
    /// Tells nothing yet.
    ///
    /// # Errors
    /// If its series are registered already.
    pub fn new(
        config: Config,
        manager: Manager,
        links: Links,
        registry: &Registry,
    ) -> Result<Self, MetricsError> {
        let messages = Section::new(registry, "platform").counters(
            "watchdog_total",
            "Watchdog messages to systemd, sent or failed; withheld counts how often feeding stopped because a runtime stood still.",
            &["outcome"],
        )?;
        for outcome in OUTCOMES {
            messages.with_label_values(&[outcome]);
        }
        Ok(Self {
            config,
            manager,
            links,
            messages,
            told: Arc::default(),
        })
    }

    /// For whoever reloads the configuration.
    #[must_use]
    pub fn reloading(&self) -> Reloading {
        Reloading::new(self.manager.clone(), Arc::clone(&self.told))
    }
}

impl Subsystem for Platform {
    fn name(&self) -> &'static str {
        "platform"
    }

    async fn run(mut self, mut scope: Scope) -> Result<Drained, Fault> {
        scope.ready();
        let late = self.links.azure.take().map(|azure| {
            let leaving = Leaving {
                control: self.links.control.clone(),
                departures: self.links.departures.clone(),
            };
            azure.start(scope.tasks(), &self.links.board, leaving)
        });
        let found_out = async {
            match late {
                Some(late) => late.found_out().await,
                None => std::future::pending().await,
            }
        };
        let tasks = scope.tasks().clone();
        let telling = async {
            if self.manager.is_there() {
                self.tell_on_own_thread(tasks).await
            } else {
                tasks.draining().await;
                Ok(())
            }
        };
        tokio::select! {
            told = telling => told?,
            fault = found_out => return Err(fault),
        }
        scope.finish().await
    }
}

impl Platform {
    /// Tells systemd what is due until draining begins.
    async fn tell_on_own_thread(self, tasks: Tasks) -> Result<(), Fault> {
        let (down, is_down) = oneshot::channel();
        std::thread::Builder::new()
            .name("platform".to_owned())
            .spawn(move || {
                // nobody listens any more when the supervisor has given up on us
                let _late = down.send(self.live(&tasks));
            })
            .map_err(|error| Fault::new(Culprit::Platform, Retry::Never, error))?;
        match is_down.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Fault::new(Culprit::Platform, Retry::Never, error)),
            Err(_) => Err(Fault::bug("the thread that talks to systemd panicked")),
        }
    }
}

impl Platform {
    /// The thread's whole life.
    fn live(self, tasks: &Tasks) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        runtime.block_on(self.tell(tasks));
        Ok(())
    }

    async fn tell(self, tasks: &Tasks) {
        let limit = self.config.stall_after.get();
        let mut duties = Duties::new(limit, self.manager.watchdog(), Instant::now());
        let mut phases = self.links.phases.clone();
        let mut board = self.links.board.watch();
        let mut ticker = tokio::time::interval(duties.pause());
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.step(&mut duties);
            tokio::select! {
                _ = ticker.tick() => {}
                // a sender that is gone leaves the tick to notice what matters
                Ok(()) = phases.changed() => {}
                Ok(()) = board.changed() => {}
                () = tasks.draining() => break,
            }
        }
        self.step(&mut duties);
    }

    fn step(&self, duties: &mut Duties) {
        let (phase, now) = (*self.links.phases.borrow(), Instant::now());
        let board = self.links.board.snapshot();
        let due = duties.due(&Situation {
            phase,
            board: &board,
            stalled: self.links.heartbeats.stalled(self.config.stall_after.get()),
            now,
        });
        if let Some((runtime, silence)) = due.withheld {
            self.count("withheld");
            tracing::error!(
                runtime,
                silence_seconds = silence.as_secs(),
                "a runtime stands still; the watchdog is not fed any more"
            );
        }
        let states = due.states();
        if states.is_empty() {
            return;
        }
        if self.manager.tell(&states) {
            duties.done(&due, phase, now);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.ready = duties.is_ready();
            told.status = status_line(phase, &board);
            drop(told);
            if due.watchdog {
                self.count("sent");
            }
        } else if due.watchdog {
            self.count("failed");
        }
    }

    fn count(&self, outcome: &'static str) {
        self.messages.with_label_values(&[outcome]).inc();
    }
}

#[cfg(test)]
mod tests;
