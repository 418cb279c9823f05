//! How fast: pauses that differ from instance to instance, retries with an end, fewer requests when the storage asks for it.
//! Randomness from the kernel; no other IO.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::StoreError;

/// A random share of one.
fn fraction() -> f64 {
    // without randomness the middle is as good as any
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / f64::from(u32::MAX)
}

/// `base`, shortened or stretched by up to `share` of itself.
pub(crate) fn jittered(base: Duration, share: f64) -> Duration {
    base.mul_f64(1.0 + share * (2.0 * fraction() - 1.0))
}

/// The first pause after a failed pass.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// How long to pause after the `failures`th failed pass in a row: anything up to a bound that doubles up to `max` (full
/// jitter), but never nothing.
pub(crate) fn pause_after(failures: u32, max: Duration) -> Duration {
    let factor = 1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX);
    let bound = PAUSE_FIRST.saturating_mul(factor).min(max);
    bound.mul_f64(fraction()).max(PAUSE_FIRST / 4)
}

/// The most attempts of one request after its first.
const RETRIES_MAX: u32 = 4;
/// The longest pause that one request waits out; whoever asks for more patience gets it from the pause between passes.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(20);
/// The bound of the first pause between two attempts.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// So much progress makes up for earlier failures of the same file.
const PROGRESS: u64 = 1024 * 1024;

/// The retries of one request, or of one file as long as it makes progress.
#[derive(Debug)]
pub(crate) struct Retries {
    failures: u32,
    since: Instant,
    progress: u64,
    /// The longest time after which it is tried again.
    time_max: Duration,
}

impl Retries {
    /// For requests that count as failed after a silence of `stall`: two silences, or 20 s of quicker failures.
    pub(crate) fn new(stall: Duration) -> Self {
        Self {
            failures: 0,
            since: Instant::now(),
            progress: 0,
            time_max: RETRY_WAIT_MAX.max(stall * 2 + RETRY_WAIT_MAX / 4),
        }
    }

    /// How long to wait before the next attempt; `None` if there shall be none.
    pub(crate) fn after(&mut self, error: &StoreError) -> Option<Duration> {
        self.failures += 1;
        if !error.is_passing() || self.failures > RETRIES_MAX {
            return None;
        }
        let bound = RETRY_FIRST.saturating_mul(1_u32 << self.failures.min(10));
        let own = bound.mul_f64(fraction());
        let wait = match error {
            StoreError::Throttled {
                retry_after: Some(asked),
                ..
            } => own.max(*asked),
            _ => own,
        };
        let in_time = self.since.elapsed() + wait <= self.time_max;
        (in_time && wait <= RETRY_WAIT_MAX).then_some(wait)
    }

    /// Notes bytes that came.
    pub(crate) fn progress(&mut self, bytes: u64) {
        self.progress += bytes;
        if self.progress >= PROGRESS {
            self.failures = 0;
            self.progress = 0;
            self.since = Instant::now();
        }
    }
}

/// How many requests may be under way: halved when the storage throttles, one more after as many answers as there are
/// requests under way (additive increase, multiplicative decrease).
#[derive(Debug)]
pub(crate) struct Governor {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    answers: usize,
    lowered: Option<Instant>,
}

/// Answers to requests sent before the limit was lowered say nothing about the lower one.
const LOWER_EVERY: Duration = Duration::from_secs(1);

impl Governor {
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            max,
            state: Mutex::new(State {
                limit: max,
                answers: 0,
                lowered: None,
            }),
        }
    }

    /// How many requests may be under way now.
    pub(crate) fn limit(&self) -> usize {
        self.lock().limit
    }

    /// A request was answered.
    pub(crate) fn answered(&self) {
        let mut state = self.lock();
        state.answers += 1;
        if state.answers >= state.limit && state.limit < self.max {
            state.answers = 0;
            state.limit += 1;
        }
    }

    /// The storage asks for less.
    pub(crate) fn throttled(&self) {
        let mut state = self.lock();
        if state.lowered.is_some_and(|at| at.elapsed() < LOWER_EVERY) {
            return;
        }
        state.limit = (state.limit / 2).max(1);
        state.answers = 0;
        state.lowered = Some(Instant::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // nothing that runs under the lock panics; if it did, the counts are still counts
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// At most so many bytes per second over all transfers of an entry: a bucket that holds a quarter of a second's worth and may
/// go into debt, which the next transfers wait out.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    /// Bytes per second; `None`: unlimited.
    rate: Option<f64>,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Bytes that may still be moved; negative: moved too early.
    credit: f64,
    at: Instant,
}

/// How much of a second's worth may be moved at once.
const BURST_SECONDS: f64 = 0.25;

impl Bandwidth {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate; 2^53 bytes per second do not exist"
        )]
        let rate = bytes_per_second.map(|rate| rate.max(1) as f64);
        Self {
            rate,
            bucket: Mutex::new(Bucket {
                credit: rate.unwrap_or(0.0) * BURST_SECONDS,
                at: Instant::now(),
            }),
        }
    }

    /// Waits until `bytes` more may have been moved.
    pub(crate) async fn take(&self, bytes: u64) {
        let wait = self.debt(bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn debt(&self, bytes: u64) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let mut bucket = self
            .bucket
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.duration_since(bucket.at).as_secs_f64() * rate;
        bucket.at = now;
        #[expect(
            clippy::cast_precision_loss,
            reason = "the length of a chunk; far below 2^53"
        )]
        let bytes = bytes as f64;
        bucket.credit = (bucket.credit + earned).min(rate * BURST_SECONDS) - bytes;
        Duration::from_secs_f64((-bucket.credit / rate).max(0.0))
    }
}

#[cfg(test)]
mod tests;
