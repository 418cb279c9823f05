//! When to look for bytes instead of sleeping until they come: only if the peer has answered very soon lately and nobody else
//! needs the processor. Decides; no IO.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
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

/// Whether a client's next command is looked for: only while nobody else is awake, and less and less often when it did not come.
#[derive(Debug)]
pub(crate) struct Attention {
    is_on: bool,
    /// Clients that are logging in, are being answered or are looked at.
    awake: AtomicUsize,
    /// Looks in a row that found nothing.
    misses: AtomicU32,
    /// Looks forgone since the last one.
    forgone: AtomicU32,
}

/// After many looks for nothing, one in so many commands is looked for.
const FORGONE_MAX: u32 = 64;

impl Attention {
    pub(crate) const fn new(is_on: bool) -> Self {
        Self {
            is_on,
            awake: AtomicUsize::new(0),
            misses: AtomicU32::new(0),
            forgone: AtomicU32::new(0),
        }
    }

    /// For how long to look for what the only client that is awake says next; `None` if it is better to sleep.
    fn budget(&self) -> Option<Duration> {
        if !self.is_on || self.awake.load(Ordering::Relaxed) > 1 {
            return None;
        }
        // races between clients lose or add a look of many
        let misses = self.misses.load(Ordering::Relaxed);
        let wanted = FORGONE_MAX.min(1 << misses.min(6)) - 1;
        if self.forgone.fetch_add(1, Ordering::Relaxed) < wanted {
            return None;
        }
        self.forgone.store(0, Ordering::Relaxed);
        Some(NEAR)
    }

    fn looked(&self, came: bool) {
        if came {
            self.misses.store(0, Ordering::Relaxed);
        } else {
            self.misses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A client that is awake.
#[derive(Debug)]
pub(crate) struct Awake(Arc<Attention>);

/// Its sleep.
#[derive(Debug)]
pub(crate) struct Asleep(Arc<Attention>);

impl Awake {
    pub(crate) fn new(attention: Arc<Attention>) -> Self {
        attention.awake.fetch_add(1, Ordering::Relaxed);
        Self(attention)
    }

    /// See [`Attention::budget`].
    pub(crate) fn look_budget(&self) -> Option<Duration> {
        self.0.budget()
    }

    /// A look is over; something came or not.
    pub(crate) fn looked(&self, came: bool) {
        self.0.looked(came);
    }

    /// It has nothing to do until this is dropped.
    pub(crate) fn sleep(&self) -> Asleep {
        self.0.awake.fetch_sub(1, Ordering::Relaxed);
        Asleep(Arc::clone(&self.0))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.awake.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        self.0.awake.fetch_add(1, Ordering::Relaxed);
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
    #[test]
    fn only_one_who_is_alone_is_looked_at() {
        let attention = Arc::new(Attention::new(true));
        let one = Awake::new(Arc::clone(&attention));
        assert_eq!(one.look_budget(), Some(NEAR));
        let two = Awake::new(Arc::clone(&attention));
        assert_eq!(one.look_budget(), None);
        let asleep = two.sleep();
        assert_eq!(one.look_budget(), Some(NEAR));
        drop(asleep);
        assert_eq!(one.look_budget(), None);
        drop(two);
        assert_eq!(one.look_budget(), Some(NEAR));
        let off = Awake::new(Arc::new(Attention::new(false)));
        assert_eq!(off.look_budget(), None);
    }

    #[test]
    fn looks_for_nothing_become_rare_and_one_that_finds_something_brings_them_back() {
        let attention = Attention::new(true);
        let count = |rounds: u32, came: bool| {
            let mut looks = 0;
            for _ in 0..rounds {
                if attention.budget().is_some() {
                    attention.looked(came);
                    looks += 1;
                }
            }
            looks
        };
        assert_eq!(count(100, true), 100);
        assert_eq!(
            count(127, false),
            7,
            "after 0, 1, 3, 7, 15, 31 and 63 commands"
        );
        assert_eq!(count(640, false), 10);
        assert_eq!(count(64 + 9, true), 10);
    }
}
