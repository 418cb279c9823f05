//! Keeps the verdicts current: decides again at every change and twice a second, and publishes the answers. Writes the mark of
//! the first `Healthy`; touches nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lamplighter_core::fleet::FleetView;
use lamplighter_core::health::{HealthBoard, Snapshot};
use lamplighter_core::lifecycle::{Heartbeats, Phase, Tasks};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::answer::{self, Answers};
use crate::config::Policy;
use crate::locality::Locality;
use crate::marker::Marker;
use crate::metrics::Metrics;
use crate::verdict::{self, Azure, Inputs, Past, Stall, Traffic};
use crate::web::Standing;

/// How often the verdicts are made again when nothing changes: bounds pass, runtimes stall.
const TICK: Duration = Duration::from_millis(250);

/// What the request handlers read. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Bulletin {
    answers: Arc<watch::Sender<Arc<Answers>>>,
    /// Whether a prober has been told that this machine is fit.
    healthy_said: Arc<AtomicBool>,
}

impl Bulletin {
    pub(crate) fn new() -> Self {
        Self {
            answers: Arc::new(watch::Sender::new(Arc::new(answer::undecided()))),
            healthy_said: Arc::default(),
        }
    }

    /// The answers as they are now.
    pub(crate) fn read(&self) -> Arc<Answers> {
        Arc::clone(&self.answers.borrow())
    }

    /// Waits until the load balancer is told to send traffic.
    pub(crate) async fn serving(&self) {
        let mut answers = self.answers.subscribe();
        let serves = |answers: &Arc<Answers>| answers.verdicts.traffic == Traffic::Serve;
        if answers.wait_for(serves).await.is_err() {
            // the sender is ours, so this cannot be
            std::future::pending().await
        }
    }

    /// Application Health has been answered `Healthy`, or a load balancer 200.
    pub(crate) fn note_healthy_said(&self) {
        self.healthy_said.store(true, Ordering::Relaxed);
    }
}

/// What the judge looks at.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) board: HealthBoard,
    pub(crate) phases: watch::Receiver<Phase>,
    pub(crate) web: watch::Receiver<Standing>,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) marker: Marker,
    pub(crate) fleet: FleetView,
}

/// Decides and publishes.
#[derive(Debug)]
pub(crate) struct Judge {
    sources: Sources,
    policy: Policy,
    bulletin: Bulletin,
    metrics: Metrics,
    past: Past,
    shared_outage: Option<Instant>,
    locality: Locality,
    clock: OwnClock,
    marked: bool,
    /// The verdict as it was last logged.
    logged: Option<(bool, &'static str)>,
}

impl Judge {
    /// A judge; the mark in the runtime directory tells it whether the machine has served before.
    pub(crate) fn new(
        sources: Sources,
        policy: Policy,
        bulletin: Bulletin,
        metrics: Metrics,
    ) -> Self {
        let past = sources.marker.past();
        Self {
            sources,
            policy,
            bulletin,
            metrics,
            past,
            shared_outage: None,
            locality: Locality::default(),
            clock: OwnClock::new(Instant::now()),
            marked: past == Past::Served,
            logged: None,
        }
    }

    /// Whether the machine has served since boot.
    pub(crate) const fn past(&self) -> Past {
        self.past
    }

    /// Decides once and publishes.
    pub(crate) fn decide(&mut self) {
        let now = Instant::now();
        let fleet = self.sources.fleet.now();
        let board = self.sources.board.snapshot();
        let board = self.locality.judge(&board, &fleet, now);
        let phase = *self.sources.phases.borrow();
        if verdict::is_shared_outage(&board) {
            self.shared_outage = Some(now);
        }
        let web = self.sources.web.borrow().clone();
        let inputs = Inputs {
            phase,
            board: &board,
            web: &web,
            past: self.past,
            stall: self.stall(now),
            shared_outage: self.shared_outage,
            now,
        };
        let verdicts = verdict::decide(&inputs, &self.policy);
        if verdicts.traffic == Traffic::Serve {
            self.past = Past::Served;
        }
        self.log(&verdicts.traffic, &verdicts.azure);
        self.show(&board, &verdicts);
        let leaving = phase >= Phase::Draining;
        self.bulletin
            .answers
            .send_replace(Arc::new(Answers::new(verdicts, leaving)));
    }

    /// Decides at every change and every [`TICK`] until `tasks` is told to drain.
    pub(crate) async fn run(mut self, tasks: Tasks) {
        let mut board = self.sources.board.watch();
        let mut phases = self.sources.phases.clone();
        let mut web = self.sources.web.clone();
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                planned = ticker.tick() => {
                    self.metrics.loop_lag_seconds.observe(planned.elapsed().as_secs_f64());
                    self.clock.tick(Instant::now());
                    self.mark(&tasks);
                }
                // a sender that is gone leaves the tick to notice what matters
                Ok(()) = board.changed() => {}
                Ok(()) = phases.changed() => {}
                Ok(()) = web.changed() => {}
                () = tasks.stopping() => return,
            }
            self.decide();
        }
    }

    fn stall(&self, now: Instant) -> Option<Stall> {
        let limit = self.policy.stall_after.get();
        if self.clock.awake_for(now) <= limit {
            return None;
        }
        let (runtime, silence) = self.sources.heartbeats.stalled(limit)?;
        Some(Stall { runtime, silence })
    }

    fn show(&self, board: &Snapshot, verdicts: &verdict::Verdicts) {
        self.metrics.show_verdicts(verdicts);
        self.metrics.show_board(board);
    }

    fn log(&mut self, traffic: &Traffic, azure: &Azure) {
        let now = (*traffic == Traffic::Serve, azure.label());
        if self.logged == Some(now) {
            return;
        }
        self.logged = Some(now);
        let reason = match (traffic, azure) {
            (Traffic::Shed(reason), _) | (_, Azure::Unhealthy(reason) | Azure::NoState(reason)) => {
                reason
            }
            (Traffic::Serve, Azure::Healthy) => "",
        };
        tracing::info!(
            serving = now.0,
            azure = now.1,
            reason,
            "the load balancer is told {}, Application Health {}{}{reason}",
            if now.0 { "200" } else { "503" },
            now.1,
            if reason.is_empty() { "" } else { ": " },
        );
    }

    /// Leaves the mark once a prober has been told that this machine is fit.
    fn mark(&mut self, tasks: &Tasks) {
        if self.marked || !self.bulletin.healthy_said.load(Ordering::Relaxed) {
            return;
        }
        self.marked = true;
        let marker = self.sources.marker.clone();
        tasks.spawn("mark", async move {
            let path = marker.path().to_owned();
            let written = tokio::task::spawn_blocking(move || marker.write()).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(path = %path.display(), %error, "cannot leave the mark: the next restart will look like a boot");
            }
        });
    }
}

/// Whether this thread itself has been running: after the whole process or machine was frozen, every heartbeat looks old until
/// its runtime has had its turn, and that must not be taken for a stall.
#[derive(Debug)]
struct OwnClock {
    last_tick: Instant,
    awake_since: Instant,
}

impl OwnClock {
    const fn new(now: Instant) -> Self {
        Self {
            last_tick: now,
            awake_since: now,
        }
    }

    fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last_tick) > TICK * 4 {
            self.awake_since = now;
        }
        self.last_tick = now;
    }

    /// How long this thread has run without a gap.
    fn awake_for(&self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.last_tick) > TICK * 4 {
            return Duration::ZERO;
        }
        now.saturating_duration_since(self.awake_since)
    }
}

#[cfg(test)]
mod tests;
