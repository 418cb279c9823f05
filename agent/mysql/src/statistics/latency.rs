//! A histogram of durations, log-linear: eight buckets for each power of two, from 1 us to about 18 minutes, so that a percentile is
//! at most an eighth too high. 900 bytes, no allocation after it is made.

use std::time::Duration;

/// Buckets for each power of two, as a power of two.
const FINE_BITS: u32 = 3;
const FINE: u64 = 1 << FINE_BITS;
/// The last power of two: 2^30 us.
const LAST: u32 = 30;
/// Whole durations below `FINE` us have a bucket each; then `FINE` for each power of two up to `LAST`.
const BUCKETS: usize = 8 + 8 * (30 - 3);

/// How often which duration was seen.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            total: 0,
        }
    }

    pub(super) fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// The duration that this share of all was within, in seconds; 0 if there was none.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let mut left = self.total;
        let beyond = whole(as_float(self.total) * (1.0 - share));
        for (index, count) in self.counts.iter().enumerate().rev() {
            left -= u64::from(*count).min(left);
            if *count > 0 && self.total - left > beyond {
                return as_float(upper(index)) / 1e6;
            }
        }
        0.0
    }
}

/// The bucket of a duration in microseconds.
fn bucket(micros: u64) -> usize {
    let micros = micros.min((1 << LAST) - 1);
    let power = micros.checked_ilog2().unwrap_or(0);
    let index = if power < FINE_BITS {
        micros
    } else {
        let shift = power - FINE_BITS;
        FINE * u64::from(shift) + (micros >> shift)
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The end of a bucket in microseconds.
fn upper(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    if index < FINE {
        return index + 1;
    }
    let shift = (index - FINE) / FINE;
    (index - FINE * shift + 1) << shift
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and microseconds for people: 52 bits are enough"
)]
const fn as_float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count: positive, and never above it"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests;
