//! Proof that a runtime still turns: a task on it writes the time, another thread reads it. Spawns one task per heartbeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a live runtime writes.
const BEAT: Duration = Duration::from_millis(250);

/// One runtime's heartbeat.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    name: &'static str,
    start: Instant,
    /// Milliseconds since `start` at the last beat.
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            start: Instant::now(),
            last_ms: Arc::default(),
        }
    }

    /// Beats until it is dropped; run it on the runtime it vouches for.
    pub async fn beat(self) {
        let mut ticker = tokio::time::interval(BEAT);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticker.tick().await;
            self.write();
        }
    }

    fn write(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed, Ordering::Relaxed);
    }

    /// Its runtime has ended because it was to: nobody misses a beat from now on.
    pub fn retire(&self) {
        self.last_ms.store(u64::MAX, Ordering::Relaxed);
    }

    /// How long ago the last beat was.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.start
            .elapsed()
            .saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

/// The heartbeats of every runtime that must turn for the agent to be alive.
#[derive(Debug, Clone, Default)]
pub struct Heartbeats(Vec<Heartbeat>);

impl Heartbeats {
    /// Adds a heartbeat; run the returned value's [`Heartbeat::beat`] on the runtime.
    pub fn add(&mut self, name: &'static str) -> Heartbeat {
        let heartbeat = Heartbeat::new(name);
        self.0.push(heartbeat.clone());
        heartbeat
    }

    /// The first runtime that has not beaten for `limit`, with its silence.
    #[must_use]
    pub fn stalled(&self, limit: Duration) -> Option<(&'static str, Duration)> {
        self.0
            .iter()
            .map(|heartbeat| (heartbeat.name, heartbeat.age()))
            .find(|(_, age)| *age > limit)
    }
}
