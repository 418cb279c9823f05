//! Looking for what is about to come instead of falling asleep: the answer of a near server, the next command of a client. One turn
//! of the thread's poller follows the other, so every socket is seen and nobody waits for the look to end. Yields the processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A server that answers within this is near: falling asleep and being woken takes as long.
const NEAR: Duration = Duration::from_micros(150);

/// A server whose answer took this long is not near, or has so much to do that nobody falls asleep in between.
const BUSY: Duration = Duration::from_micros(450);

/// How long a server stays near without another such answer.
const NEAR_FOR: Duration = Duration::from_secs(10);

/// How long nothing may come before a look ends.
const LOOK: Duration = Duration::from_micros(150);

/// Looks for a client's next command become as rare as one in so many while they find nothing.
const RAREST: u32 = 64;

/// What the tasks of a thread tell whoever looks. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Lookout(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    /// Grows with whatever comes from a client or a server.
    events: AtomicU64,
    /// Connections to servers that owe an answer.
    owing: AtomicUsize,
    /// A server is near, and answers at once.
    near: AtomicBool,
    /// Microseconds from `start` to the last answer of a near server.
    near_at_us: AtomicU64,
    looks: AtomicBool,
    called: Notify,
}

/// A server owes an answer for as long as this lives.
#[derive(Debug)]
pub(crate) struct Owing(Lookout);

impl Drop for Owing {
    fn drop(&mut self) {
        self.0.0.owing.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lookout {
    /// Nothing has happened yet, and no server is near.
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            events: AtomicU64::new(0),
            owing: AtomicUsize::new(0),
            near: AtomicBool::new(false),
            near_at_us: AtomicU64::new(0),
            looks: AtomicBool::new(false),
            called: Notify::new(),
        }))
    }

    /// Something has come: more may be about to.
    pub(crate) fn note(&self) {
        let state = &self.0;
        state.events.fetch_add(1, Ordering::Relaxed);
        if state.near.load(Ordering::Relaxed) && !state.looks.load(Ordering::Relaxed) {
            state.called.notify_one();
        }
    }

    /// A server has answered.
    pub(crate) fn answered(&self, took: Duration) {
        let state = &self.0;
        if took <= NEAR {
            let now = u64::try_from(state.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            state.near_at_us.store(now, Ordering::Relaxed);
            state.near.store(true, Ordering::Relaxed);
        } else if took >= BUSY {
            state.near.store(false, Ordering::Relaxed);
        }
    }

    /// A server owes an answer from now on.
    pub(crate) fn owing(&self) -> Owing {
        self.0.owing.fetch_add(1, Ordering::Relaxed);
        Owing(self.clone())
    }

    /// Looks whenever it is worth it. Never ends; to be run on the thread that it is to keep awake.
    pub(crate) async fn look(&self) {
        let state = &self.0;
        let mut rarity = Rarity::default();
        loop {
            state.called.notified().await;
            state.looks.store(true, Ordering::Relaxed);
            while self.is_near() {
                let owed = state.owing.load(Ordering::Relaxed) > 0;
                if !owed && !rarity.is_due() {
                    break;
                }
                let found = self.event().await;
                if !owed {
                    rarity.learn(found);
                }
                if !found {
                    break;
                }
            }
            state.looks.store(false, Ordering::Relaxed);
        }
    }

    fn is_near(&self) -> bool {
        let state = &self.0;
        let last = Duration::from_micros(state.near_at_us.load(Ordering::Relaxed));
        if state.start.elapsed().saturating_sub(last) >= NEAR_FOR {
            state.near.store(false, Ordering::Relaxed);
        }
        state.near.load(Ordering::Relaxed)
    }

    /// Turns the poller until something comes; false if nothing does.
    async fn event(&self) -> bool {
        let seen = self.0.events.load(Ordering::Relaxed);
        let begun = Instant::now();
        loop {
            // the poller is asked, without waiting, before this goes on (tokio::task::yield_now)
            tokio::task::yield_now().await;
            if self.0.events.load(Ordering::Relaxed) != seen {
                return true;
            }
            if begun.elapsed() >= LOOK {
                return false;
            }
            // whoever else wants this processor may be the one who is to answer
            std::thread::yield_now();
        }
    }
}

/// How often a look that may be in vain is taken.
#[derive(Debug, Default)]
struct Rarity {
    /// Looks left out until the next one.
    left: u32,
    pause: u32,
}

impl Rarity {
    fn is_due(&mut self) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        true
    }

    fn learn(&mut self, found: bool) {
        self.pause = if found {
            0
        } else {
            (self.pause * 2 + 1).min(RAREST - 1)
        };
        self.left = self.pause;
    }
}

#[cfg(test)]
mod tests;
