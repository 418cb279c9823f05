//! The writes that went through this agent, by whom they matter to: for clients who have to see what others of their user and key wrote
//! before they connected. Bounded; what has to go makes way in the safe direction. In memory only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::position::Position;

/// Keys whose writes are known one by one.
const KEYS_MAX: usize = 10_000;

/// Writes by key.
#[derive(Debug, Default)]
pub(crate) struct Positions(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_key: HashMap<u64, Position>,
    /// Keys in the order in which they came, for what has to go first.
    order: VecDeque<u64>,
    /// The writes of all keys that had to go.
    others: Position,
}

impl Positions {
    /// A write for `key`.
    pub(crate) fn add(&self, key: u64, write: &Position) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = inner.by_key.get_mut(&key) {
            known.add(write);
            return;
        }
        if inner.order.len() >= KEYS_MAX
            && let Some(oldest) = inner.order.pop_front()
            && let Some(gone) = inner.by_key.remove(&oldest)
        {
            inner.others.add(&gone);
        }
        let mut position = inner.others.clone();
        position.add(write);
        inner.by_key.insert(key, position);
        inner.order.push_back(key);
    }

    /// Everything a read for `key` has to see.
    pub(crate) fn of(&self, key: u64) -> Position {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.by_key.get(&key).unwrap_or(&inner.others).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn keys_are_apart_until_there_are_too_many() {
        let (positions, begin) = (Positions::default(), Instant::now());
        let at = |seconds| Position::at(begin + Duration::from_secs(seconds));
        positions.add(1, &at(1));
        positions.add(2, &at(2));
        positions.add(1, &at(3));
        assert_eq!(positions.of(1), at(3));
        assert_eq!(positions.of(2), at(2));
        assert!(positions.of(3).is_empty());
        for key in 10..10 + u64::try_from(KEYS_MAX).unwrap() {
            positions.add(key, &at(4));
        }
        // who is not known any more counts as one who wrote when the last of those did
        assert_eq!(positions.of(1), at(3));
        assert_eq!(positions.of(3), at(3));
        assert_eq!(positions.of(10), at(4));
        let inner = positions.0.lock().unwrap();
        assert_eq!(
            (inner.by_key.len(), inner.order.len()),
            (KEYS_MAX, KEYS_MAX)
        );
    }
}
