//! A server that is away for a moment: who wants a connection waits for it, in the order of asking, and only the first in line
//! tries. Decides and waits; the trying is the pool's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lamplighter_core::metrics::{Histogram, IntGauge};
use tokio::sync::{Mutex, MutexGuard};

use crate::error::OpenError;

/// The pause after the first attempt that failed; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(20);

/// The longest pause: how late a server that is back is noticed.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The line in front of a server that is away.
#[derive(Debug)]
pub(super) struct Outage {
    /// Whoever is first holds it; attempts that failed in a row.
    turn: Mutex<u32>,
    waiting: AtomicUsize,
    gauge: IntGauge,
    held: Histogram,
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    line: &'a Outage,
    since: Instant,
}

/// The first in line.
#[derive(Debug)]
pub(super) struct First<'a>(MutexGuard<'a, u32>);

impl Outage {
    /// `gauge` counts those who wait, `held` takes for how long each did.
    pub(super) fn new(gauge: IntGauge, held: Histogram) -> Self {
        Self {
            turn: Mutex::new(0),
            waiting: AtomicUsize::new(0),
            gauge,
            held,
        }
    }

    /// Somebody waits for the server to come back.
    pub(super) fn is_on(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Joins the line.
    pub(super) fn join(&self) -> Waiter<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.gauge.inc();
        Waiter {
            line: self,
            since: Instant::now(),
        }
    }
}

impl<'a> Waiter<'a> {
    /// Waits until everybody before has had a turn.
    pub(super) async fn first(&self) -> First<'a> {
        First(self.line.turn.lock().await)
    }

    /// How many others wait.
    pub(super) fn others(&self) -> usize {
        self.line.waiting.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.line.waiting.fetch_sub(1, Ordering::Relaxed);
        self.line.gauge.dec();
        self.line.held.observe(self.since.elapsed().as_secs_f64());
    }
}

impl First<'_> {
    /// It is back: those behind try at once.
    pub(super) fn succeeded(mut self) {
        *self.0 = 0;
    }

    /// How long to wait before the next attempt.
    pub(super) fn failed(&mut self) -> Duration {
        let pause = PAUSE_FIRST.saturating_mul(1 << (*self.0).min(8));
        *self.0 = self.0.saturating_add(1);
        pause.min(PAUSE_MAX)
    }
}

/// Whether the next attempt may go better: nobody answers, or the server is on its way up or down ("Server Error Message
/// Reference": ER_CON_COUNT_ERROR, ER_SERVER_SHUTDOWN, ER_SERVER_ISNT_AVAILABLE).
pub(super) fn may_pass(error: &OpenError) -> bool {
    match error {
        OpenError::Dial(_) | OpenError::Io(_) | OpenError::Timeout(_) => true,
        OpenError::Refused(packet) => matches!(packet.code, 1040 | 1053 | 3168),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use lamplighter_core::metrics::Registry;
    use lamplighter_wire::mysql::response::ErrPacket;

    use super::*;
    use crate::metrics::Metrics;

    fn outage() -> Outage {
        let metrics = Metrics::register(&Registry::new()).expect("the series");
        Outage::new(metrics.away.with_label_values(&["s"]), metrics.held_seconds)
    }

    #[tokio::test]
    async fn pauses_grow_to_a_bound_and_end_with_the_outage() {
        let outage = outage();
        let waiter = outage.join();
        let mut first = waiter.first().await;
        let pauses: Vec<_> = (0..6).map(|_| first.failed().as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 100, 100, 100]);
        drop(first);
        let mut first = waiter.first().await;
        assert_eq!(
            first.failed(),
            PAUSE_MAX,
            "the next in line goes on where the first gave up"
        );
        first.succeeded();
        assert_eq!(waiter.first().await.failed(), PAUSE_FIRST);
        assert!(outage.is_on());
        drop(waiter);
        assert!(!outage.is_on());
        assert_eq!(outage.gauge.get(), 0);
    }

    #[test]
    fn what_will_not_pass_is_not_waited_for() {
        let refused = |code| OpenError::Refused(ErrPacket::new(code, *b"HY000", Vec::new()));
        assert!(may_pass(&refused(1040)));
        assert!(!may_pass(&refused(1045)), "access denied");
        assert!(may_pass(&OpenError::Timeout(PAUSE_MAX)));
        assert!(!may_pass(&OpenError::NoTls));
    }
}
