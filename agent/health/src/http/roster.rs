//! Who sits on a listener's places, in the order in which they have to leave when there is no room. Pure memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// The connections of one listener. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Roster(Arc<Mutex<Seats>>);

#[derive(Debug)]
struct Seats {
    limit: usize,
    next: u64,
    /// First those that never asked (`false`), each group by when it last did something: the first leaves first.
    taken: BTreeMap<(bool, u64), Arc<Eviction>>,
}

/// The message to a connection that it must go.
#[derive(Debug, Default)]
struct Eviction {
    told: AtomicBool,
    waker: AtomicWaker,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    roster: Roster,
    key: (bool, u64),
    eviction: Arc<Eviction>,
}

impl Roster {
    /// Room for `limit` connections.
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Seats {
            limit,
            next: 0,
            taken: BTreeMap::new(),
        })))
    }

    /// A seat for a new connection, and whether another one was told to go for it.
    pub(super) fn sit(&self) -> (Seat, bool) {
        let mut seats = self.lock();
        let evicted = seats.taken.len() >= seats.limit && seats.evict();
        let key = (false, seats.step());
        let eviction = Arc::<Eviction>::default();
        seats.taken.insert(key, Arc::clone(&eviction));
        drop(seats);
        let seat = Seat {
            roster: self.clone(),
            key,
            eviction,
        };
        (seat, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    const fn step(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn evict(&mut self) -> bool {
        let Some((_, eviction)) = self.taken.pop_first() else {
            return false;
        };
        eviction.told.store(true, Ordering::Release);
        eviction.waker.wake();
        true
    }
}

impl Seat {
    /// The connection was answered: it goes to the end of the row.
    pub(super) fn answered(&mut self) {
        let mut seats = self.roster.lock();
        // one that was told to go has no place any more
        if let Some(eviction) = seats.taken.remove(&self.key) {
            self.key = (true, seats.step());
            seats.taken.insert(self.key, eviction);
        }
    }

    /// Whether the connection must go; otherwise `waker` is woken when it must.
    pub(super) fn must_go(&self, waker: &Waker) -> bool {
        if self.eviction.told.load(Ordering::Acquire) {
            return true;
        }
        self.eviction.waker.register(waker);
        self.eviction.told.load(Ordering::Acquire)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.lock().taken.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn must_go(seat: &Seat) -> bool {
        seat.must_go(Waker::noop())
    }

    #[test]
    fn those_that_never_asked_leave_first_then_those_that_asked_longest_ago() {
        let roster = Roster::new(3);
        let (mut first, _) = roster.sit();
        let (mut second, _) = roster.sit();
        let (silent, evicted) = roster.sit();
        assert!(!evicted);
        first.answered();
        second.answered();
        first.answered();

        let (newcomer, evicted) = roster.sit();
        assert!(evicted && must_go(&silent));
        assert!(!must_go(&first) && !must_go(&second) && !must_go(&newcomer));
        drop(newcomer);
        let (mut asking, evicted) = roster.sit();
        assert!(!evicted, "a place was free");
        asking.answered();
        let (_last, evicted) = roster.sit();
        assert!(evicted && must_go(&second), "asked longest ago");
        assert!(!must_go(&first) && !must_go(&asking));
    }

    #[test]
    fn a_connection_that_was_told_to_go_does_not_come_back_by_answering() {
        let roster = Roster::new(1);
        let (mut old, _) = roster.sit();
        let (new, evicted) = roster.sit();
        assert!(evicted);
        old.answered();
        drop(old);
        assert!(!must_go(&new));
        assert_eq!(roster.lock().taken.len(), 1);
    }
}
