//! When the next token is asked for. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// However often servers refuse tokens, the service is asked no more often than this.
const REJECT_PAUSE: Duration = Duration::from_secs(10);

/// The shortest time between two good answers: a service that gives tokens of no length must not be asked without end.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Half-way through a token's life, a tenth of it earlier or later, so that a fleet that started together does not ask together.
#[derive(Debug)]
pub(super) struct Schedule {
    due: Instant,
    failures: u32,
    last_good: Option<Instant>,
    forced: bool,
}

impl Schedule {
    /// The first token is due at once.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            due: now,
            failures: 0,
            last_good: None,
            forced: false,
        }
    }

    /// When to ask.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// How many attempts in a row have failed.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the next request is for a token that a server refused.
    pub(super) const fn forced(&self) -> bool {
        self.forced
    }

    /// A token came that is valid for `lifetime`; `random` is from 0 to 1.
    pub(super) fn succeeded(&mut self, now: Instant, lifetime: Duration, random: f64) {
        let share = 0.45 + 0.1 * random;
        self.due = now + lifetime.mul_f64(share).max(PAUSE_MIN);
        self.failures = 0;
        self.last_good = Some(now);
        self.forced = false;
    }

    /// None came; `pause` is how long to leave the service alone, made up to a fifth longer.
    pub(super) fn failed(&mut self, now: Instant, pause: Duration, random: f64) {
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause.mul_f64(1.0 + 0.2 * random);
    }

    /// A server refused the token that is in memory.
    pub(super) fn rejected(&mut self, now: Instant) {
        self.forced = true;
        let earliest = self.last_good.map_or(now, |last| last + REJECT_PAUSE);
        // after a failure the pause stands: it is the service that is in trouble
        if self.failures == 0 {
            self.due = self.due.min(earliest.max(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn half_way_and_spread() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert_eq!(schedule.due(), now);
        for (random, seconds) in [(0.0, 38_880), (0.5, 43_200), (1.0, 47_520)] {
            schedule.succeeded(now, 86_400 * SECOND, random);
            let due = schedule.due() - now;
            assert!(
                (due.as_secs_f64() - f64::from(seconds)).abs() < 1.0,
                "{due:?}"
            );
        }
        schedule.succeeded(now, Duration::ZERO, 0.5);
        assert_eq!(schedule.due() - now, PAUSE_MIN);
    }

    #[test]
    fn a_refused_token_is_replaced_at_once_but_not_again_and_again() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.succeeded(now, 3600 * SECOND, 0.5);
        schedule.rejected(now + 60 * SECOND);
        assert!(schedule.forced());
        assert_eq!(schedule.due(), now + 60 * SECOND);
        schedule.succeeded(now + 61 * SECOND, 3600 * SECOND, 0.5);
        schedule.rejected(now + 62 * SECOND);
        assert_eq!(schedule.due(), now + 71 * SECOND);
        schedule.failed(now + 71 * SECOND, 30 * SECOND, 0.0);
        schedule.rejected(now + 72 * SECOND);
        assert_eq!(schedule.due(), now + 101 * SECOND, "the pause stands");
    }
}
