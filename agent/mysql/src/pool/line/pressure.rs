//! Whether a line stands. As CoDel ("Controlling Queue Delay", Nichols and Jacobson, 2012) it looks at how long those waited who were
//! served, and at the shortest of these times in each interval: a burst has somebody who hardly waited, a line that stands has not. As
//! folly's `Codel` for requests it then sheds whoever has waited for longer than twice the target, and so keeps the others short.

use std::time::{Duration, Instant};

/// When a line counts as standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shedding {
    /// Waits below it are in order; zero: nobody is ever shed.
    pub(crate) target: Duration,
    /// For how long every wait has to be above it.
    pub(crate) interval: Duration,
}

impl Shedding {
    /// How long one may wait while the line stands.
    const fn longest(self) -> Duration {
        self.target.saturating_mul(2)
    }
}

/// How the waits of one line have been.
#[derive(Debug)]
pub(super) struct Pressure {
    shedding: Shedding,
    now: Option<Interval>,
    overload: Option<Overload>,
}

/// The interval at hand.
#[derive(Debug)]
struct Interval {
    ends: Instant,
    shortest: Duration,
    served: usize,
}

/// The line stands.
#[derive(Debug)]
struct Overload {
    /// How many places were given in the interval before.
    served: usize,
    /// When it is not known any more whether it does.
    ends: Instant,
}

impl Pressure {
    pub(super) const fn new(shedding: Shedding) -> Self {
        Self {
            shedding,
            now: None,
            overload: None,
        }
    }

    /// Somebody got a place without having to wait for it.
    pub(super) fn relieve(&mut self) {
        self.now = None;
        self.overload = None;
    }

    /// The turn of one has come that has waited for so long. Whether it is refused instead.
    pub(super) fn sheds(&mut self, now: Instant, waited: Duration) -> bool {
        let Shedding { target, interval } = self.shedding;
        if target.is_zero() {
            return false;
        }
        match &mut self.now {
            Some(current) if now < current.ends => current.shortest = current.shortest.min(waited),
            over => {
                let next = Interval {
                    ends: now + interval,
                    shortest: waited,
                    served: 0,
                };
                let over = over.replace(next);
                // one that was over for longer than another says nothing: hardly anybody was served
                let told = over.filter(|over| over.shortest > target && now < over.ends + interval);
                self.overload = told.map(|over| Overload {
                    served: over.served,
                    ends: now + interval * 2,
                });
            }
        }
        let shed = self.overload.is_some() && waited > self.shedding.longest();
        if !shed && let Some(current) = &mut self.now {
            current.served += 1;
        }
        shed
    }

    /// Whether one more behind `waiting` others would be shed by all that is known: there are more than were lately served in the
    /// longest wait.
    pub(super) fn is_hopeless(&self, waiting: usize, now: impl FnOnce() -> Instant) -> bool {
        let Some(overload) = self
            .overload
            .as_ref()
            .filter(|overload| now() < overload.ends)
        else {
            return false;
        };
        let waiting = u128::try_from(waiting).unwrap_or(u128::MAX);
        let served = u128::try_from(overload.served).unwrap_or(u128::MAX);
        let (longest, interval) = (self.shedding.longest(), self.shedding.interval);
        waiting.saturating_mul(interval.as_nanos()) > served.saturating_mul(longest.as_nanos())
    }
}
