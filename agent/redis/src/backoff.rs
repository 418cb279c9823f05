//! Pauses between attempts: exponential with full jitter, so that a fleet which lost the same server does not come back
//! in step. Pure but for the source of randomness.

use std::time::Duration;

/// A pause that doubles with each failure, drawn evenly from zero to its current limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The first pause is at most `first`, none is longer than `max`.
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            failures: 0,
        }
    }

    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let limit = self.limit();
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(fraction())
    }

    /// The longest the next pause may be.
    pub(crate) fn limit(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.min(20));
        self.first.saturating_mul(doubled).min(self.max)
    }

    /// Something worked: begin anew.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `base` shortened by up to a fifth, so that instances which started together drift apart.
pub(crate) fn splayed(base: Duration) -> Duration {
    base.mul_f64(1.0 - 0.2 * fraction())
}

/// `base` lengthened by up to a fifth: for waiting until something is due, which it is not a moment earlier.
pub(crate) fn delayed(base: Duration) -> Duration {
    base.mul_f64(1.0 + 0.2 * fraction())
}

/// Any number; 0 without randomness.
pub(crate) fn random() -> usize {
    let random = getrandom::u32().unwrap_or_default();
    usize::try_from(random).unwrap_or_default()
}

/// Evenly from 0 to 1.
pub(crate) fn fraction() -> f64 {
    // without randomness the upper limit is the safe choice
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_up_to_its_maximum_and_starts_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(1500));
        let mut limits = Vec::new();
        for _ in 0..6 {
            let limit = backoff.limit();
            limits.push(limit.as_millis());
            assert!(backoff.next() <= limit);
        }
        assert_eq!(limits, [100, 200, 400, 800, 1500, 1500]);
        backoff.reset();
        assert_eq!(backoff.limit().as_millis(), 100);
    }

    #[test]
    fn pauses_are_spread_from_nothing_to_the_limit() {
        let second = Duration::from_secs(1);
        let pauses = || Backoff::new(second, second).next();
        let some: Vec<Duration> = std::iter::repeat_with(pauses).take(1000).collect();
        for tenth in 0..10 {
            let among =
                |it: &&Duration| (second * tenth..second * (tenth + 1)).contains(&(**it * 10));
            assert!(some.iter().filter(among).count() > 20, "{tenth}: {some:?}");
        }
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        for _ in 0..1000 {
            backoff.next();
        }
        assert_eq!(backoff.limit(), Duration::from_secs(300));
    }

    #[test]
    fn splays_are_at_most_a_fifth() {
        let base = Duration::from_secs(10);
        for _ in 0..100 {
            let (sooner, later) = (splayed(base), delayed(base));
            assert!(
                (Duration::from_secs(8)..=base).contains(&sooner),
                "{sooner:?}"
            );
            assert!(
                (base..=Duration::from_secs(12)).contains(&later),
                "{later:?}"
            );
        }
    }
}
