//! What a counter that is written on the primary and read everywhere says about replicas. Pure.
//!
//! Somebody counts a row up on the primary, about twice a second. Whoever sees value `n` on the primary at a time `t` knows that value
//! `n + 1` was committed after `t`; a replica that has `n + 1` has everything that was committed before it, and so everything that was
//! answered before `t`. No two machines' clocks are compared.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Values remembered: at two each second, for eight minutes. A replica that is further behind is just far behind.
const KEPT_MAX: usize = 1_024;

/// What was seen of the counter on the primary.
#[derive(Debug, Default)]
pub(crate) struct Beats(Mutex<VecDeque<Beat>>);

#[derive(Debug, Clone, Copy)]
struct Beat {
    value: u64,
    first_seen: Instant,
    /// When the question was sent whose answer was this value for the last time.
    last_seen: Instant,
}

impl Beats {
    /// The primary answered `value` to a question that was sent at `sent`.
    pub(crate) fn seen_on_primary(&self, value: u64, sent: Instant) {
        let mut beats = self.lock();
        // another table than before, or a primary that has lost some
        if beats.back().is_some_and(|newest| value < newest.value) {
            beats.clear();
        }
        match beats.back_mut() {
            Some(newest) if newest.value == value => newest.last_seen = newest.last_seen.max(sent),
            _ => beats.push_back(Beat {
                value,
                first_seen: sent,
                last_seen: sent,
            }),
        }
        if beats.len() > KEPT_MAX {
            beats.pop_front();
        }
    }

    /// What a replica with `value` covers: everything that was answered here before.
    pub(crate) fn covered_by(&self, value: u64) -> Option<Instant> {
        let beats = self.lock();
        let newer = beats.partition_point(|beat| beat.value < value);
        beats.get(newer.checked_sub(1)?).map(|beat| beat.last_seen)
    }

    /// How old the data of a replica with `value` are at least, if the next value is older than anything remembered.
    pub(crate) fn at_least_as_old(&self, value: u64) -> Option<Duration> {
        let beats = self.lock();
        let oldest = beats.front().filter(|oldest| value < oldest.value)?;
        Some(oldest.first_seen.elapsed())
    }

    /// A value that was, or will be, written after everything that was answered here before `written`; `None` if the primary has
    /// not been asked since.
    pub(crate) fn after(&self, written: Instant) -> Option<u64> {
        let beats = self.lock();
        let at = beats.partition_point(|beat| beat.last_seen < written);
        beats.get(at).map(|beat| beat.value + 1)
    }

    /// Since when the primary's value is the same.
    pub(crate) fn unchanged_since(&self) -> Option<Instant> {
        self.lock().back().map(|newest| newest.first_seen)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Beat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
