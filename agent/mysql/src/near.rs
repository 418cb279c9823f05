//! When to look for bytes instead of sleeping until they come: only if the peer has answered very soon lately and nobody else
//! needs the processor. Decides; no IO.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Beyond this a sleep is the cheaper way to wait.
const NEAR: Duration = Duration::from_micros(150);

/// An answer that took longer says nothing more than that.
const FAR_MICROS: u32 = 100_000;

/// How soon a peer answers, averaged over the last few answers.
#[derive(Debug)]
pub(crate) struct Nearness(AtomicU32);

impl Default for Nearness {
    fn default() -> Self {
        // nothing is known: far
        Self(AtomicU32::new(FAR_MICROS))
    }
}

impl Nearness {
    /// It took so long.
    pub(crate) fn note(&self, took: Duration) {
        let took = u32::try_from(took.as_micros())
            .unwrap_or(FAR_MICROS)
            .min(FAR_MICROS);
        let average = self.0.load(Ordering::Relaxed);
        // a race loses one measurement of many
        self.0
            .store(average - average / 8 + took / 8, Ordering::Relaxed);
    }

    /// For how long to look; `None` if the peer is not near.
    pub(crate) fn budget(&self) -> Option<Duration> {
        let average = Duration::from_micros(self.0.load(Ordering::Relaxed).into());
        (average < NEAR).then_some(NEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_peer_is_looked_for_and_a_far_one_is_not() {
        let nearness = Nearness::default();
        assert_eq!(nearness.budget(), None, "nothing is known");
        for _ in 0..100 {
            nearness.note(Duration::from_micros(60));
        }
        assert_eq!(nearness.budget(), Some(NEAR));
        nearness.note(Duration::from_secs(5));
        assert_eq!(nearness.budget(), None, "one slow answer is enough to stop");
        for _ in 0..100 {
            nearness.note(Duration::from_micros(400));
        }
        assert_eq!(nearness.budget(), None, "a network is between");
    }
}
