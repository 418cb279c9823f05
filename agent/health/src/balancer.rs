//! Who asked when: whether a load balancer is looking at this instance, and so how long it must be given to look away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lamplighter_core::net::Peer;

use crate::config::Config;

/// When `/lb` and `/health/azure` were last asked. Clones share it; made before the supervisor, which needs
/// [`LastProbe::shed_time`].
#[derive(Debug, Clone)]
pub struct LastProbe {
    interval: Duration,
    threshold: u32,
    loopback_counts: bool,
    start: Instant,
    /// Milliseconds after `start`, plus one; 0 is never.
    balancer: Arc<AtomicU64>,
    azure: Arc<AtomicU64>,
}

impl LastProbe {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            interval: config.probe_interval.get(),
            threshold: config.probe_threshold,
            loopback_counts: config.loopback_is_balancer,
            start: Instant::now(),
            balancer: Arc::default(),
            azure: Arc::default(),
        }
    }

    /// How long the load balancer must see 503 before it sends nothing more: interval x threshold if one has asked within the
    /// last two intervals, else nothing.
    #[must_use]
    pub fn shed_time(&self) -> Duration {
        match self.balancer_age() {
            Some(age) if age <= self.interval * 2 => self.interval * self.threshold,
            _ => Duration::ZERO,
        }
    }

    /// How long ago a load balancer last asked `/lb`.
    #[must_use]
    pub fn balancer_age(&self) -> Option<Duration> {
        self.age(&self.balancer)
    }

    /// How long ago anybody last asked `/health/azure`.
    #[must_use]
    pub fn azure_age(&self) -> Option<Duration> {
        self.age(&self.azure)
    }

    /// `/lb` was asked by `peer`.
    pub(crate) fn note_balancer(&self, peer: Peer) {
        let local = match peer {
            Peer::Unix { .. } => true,
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
        };
        if !local || self.loopback_counts {
            self.balancer.store(self.stamp(), Ordering::Relaxed);
        }
    }

    /// `/health/azure` was asked.
    pub(crate) fn note_azure(&self) {
        self.azure.store(self.stamp(), Ordering::Relaxed);
    }

    fn stamp(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    fn age(&self, stamp: &AtomicU64) -> Option<Duration> {
        let at = stamp.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.start
                .elapsed()
                .saturating_sub(Duration::from_millis(at)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Tcp(format!("{address}:4711").parse().unwrap())
    }

    #[test]
    fn only_a_balancer_from_elsewhere_is_given_time() {
        let mut config = Config::default();
        let probe = LastProbe::new(&config);
        assert_eq!(probe.shed_time(), Duration::ZERO);
        for local in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
            probe.note_balancer(peer(local));
            assert_eq!(probe.shed_time(), Duration::ZERO, "{local}");
        }
        probe.note_azure();
        assert_eq!(probe.shed_time(), Duration::ZERO);
        probe.note_balancer(peer("168.63.129.16"));
        assert_eq!(probe.shed_time(), Duration::from_secs(10));

        config.loopback_is_balancer = true;
        let probe = LastProbe::new(&config);
        probe.note_balancer(peer("127.0.0.1"));
        assert_eq!(probe.shed_time(), Duration::from_secs(10));
    }

    #[test]
    fn a_balancer_that_stopped_asking_is_not_waited_for() {
        let config = Config {
            probe_interval: lamplighter_core::units::Millis::new(10),
            ..Config::default()
        };
        let mut probe = LastProbe::new(&config);
        probe.note_balancer(peer("168.63.129.16"));
        assert_eq!(probe.shed_time(), Duration::from_millis(20));
        // as if the process had started, and the balancer asked, a minute earlier
        let Some(earlier) = probe.start.checked_sub(Duration::from_secs(60)) else {
            panic!("the machine has been up for a minute");
        };
        probe.start = earlier;
        assert_eq!(probe.shed_time(), Duration::ZERO);
    }
}
