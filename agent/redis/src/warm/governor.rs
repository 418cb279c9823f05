//! How fast this instance may read rows to warm with: a budget that halves at every sign of strain and recovers slowly. The decision
//! is pure ([`Budget`], [`Trend`]); the governor around it is told the signs, has the clock and makes readers wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lamplighter_core::load::{LoadSource, MysqlLoad};
use lamplighter_core::metrics::{IntCounterVec, IntGauge};
use tokio::time::Instant;

use crate::upstream::Link;

/// However great the strain, so many rows a second are read: a job must end.
const FLOOR: f64 = 50.0;

/// The least time between two halvings: the first must show before there is another.
const SETTLE: Duration = Duration::from_secs(1);

/// Without a sign of strain for so long, the budget grows again.
const CALM: Duration = Duration::from_secs(3);

/// How much of the ceiling it grows by in a second.
const GROWTH: f64 = 0.02;

/// What was not used of so long is saved up: the time that a page took counts, and there are no bursts.
const SAVED: Duration = Duration::from_millis(100);

/// How often others are asked how they are.
const LOOK: Duration = Duration::from_secs(1);

/// A latency is a strain when it is this many times what it was at its best, and by [`NOISE`] more.
const RISE: f64 = 2.0;

/// Differences below this mean nothing.
const NOISE: Duration = Duration::from_millis(20);

/// Statements of the application that wait so long for a connection, on average.
const POOL_WAIT: Duration = Duration::from_millis(5);

/// A sign that somebody has too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strain {
    /// Pages take longer until their first row.
    MysqlLatency,
    /// A replica falls behind.
    ReplicaLag,
    /// The application waits for connections to MySQL.
    PoolWait,
    /// Writes take longer.
    RedisLatency,
    /// Redis throws keys away to make room.
    Evictions,
}

impl Strain {
    pub(crate) const ALL: [Self; 5] = [
        Self::MysqlLatency,
        Self::ReplicaLag,
        Self::PoolWait,
        Self::RedisLatency,
        Self::Evictions,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::MysqlLatency => "mysql_latency",
            Self::ReplicaLag => "replica_lag",
            Self::PoolWait => "pool_wait",
            Self::RedisLatency => "redis_latency",
            Self::Evictions => "evictions",
        }
    }
}

/// Rows per second, and what of them is left. Times are since an arbitrary beginning.
#[derive(Debug)]
struct Budget {
    ceiling: f64,
    rate: f64,
    /// Below 0 while what was read has still to be waited for, and no more than [`SAVED`] is above it.
    left: f64,
    at: Duration,
    halved: Option<Duration>,
}

impl Budget {
    const fn new(ceiling: f64) -> Self {
        Self {
            ceiling,
            rate: ceiling,
            left: 0.0,
            at: Duration::ZERO,
            halved: None,
        }
    }

    fn advance(&mut self, now: Duration) {
        let calm_since = self.halved.map_or(Duration::ZERO, |at| at + CALM);
        let growing = now.saturating_sub(calm_since.max(self.at)).as_secs_f64();
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.rate = (self.rate + growing * GROWTH * self.ceiling).min(self.ceiling);
        let most = SAVED.as_secs_f64() * self.rate;
        self.left = (self.left + passed * self.rate).min(most);
        self.at = self.at.max(now);
    }

    /// `rows` were read; how long to wait before more are.
    fn take(&mut self, rows: f64, now: Duration) -> Duration {
        self.advance(now);
        self.left -= rows;
        Duration::from_secs_f64((-self.left / self.rate).max(0.0))
    }

    /// Whether it halved.
    fn strain(&mut self, now: Duration) -> bool {
        self.advance(now);
        if self.halved.is_some_and(|at| now < at + SETTLE) {
            return false;
        }
        self.halved = Some(now);
        self.rate = (self.rate / 2.0).max(FLOOR.min(self.ceiling));
        true
    }
}

/// A latency and what it was at its best, which is slowly forgotten.
#[derive(Debug, Default)]
struct Trend {
    best: Option<f64>,
    recent: f64,
}

impl Trend {
    /// Whether it has risen.
    fn note(&mut self, latency: Duration) -> bool {
        let latency = latency.as_secs_f64();
        let Some(best) = self.best else {
            (self.best, self.recent) = (Some(latency), latency);
            return false;
        };
        let best = latency.min(best * 1.01);
        self.best = Some(best);
        self.recent = 0.5 * self.recent + 0.5 * latency;
        self.recent > best * RISE + NOISE.as_secs_f64()
    }
}

#[derive(Debug)]
struct Inner {
    budget: Budget,
    mysql: Trend,
    redis: Trend,
}

/// Keeps all jobs of this instance within one budget.
#[derive(Debug)]
pub(crate) struct Governor {
    inner: Mutex<Inner>,
    since: Instant,
    rate: IntGauge,
    slowdowns: IntCounterVec,
}

impl Governor {
    /// At most `rows_per_second` in all.
    pub(crate) fn new(rows_per_second: u32, rate: IntGauge, slowdowns: IntCounterVec) -> Self {
        rate.set(i64::from(rows_per_second));
        Self {
            inner: Mutex::new(Inner {
                budget: Budget::new(f64::from(rows_per_second)),
                mysql: Trend::default(),
                redis: Trend::default(),
            }),
            since: Instant::now(),
            rate,
            slowdowns,
        }
    }

    /// `rows` were read: waits until more may be.
    pub(crate) async fn pace(&self, rows: u64) {
        let now = self.since.elapsed();
        let pause = {
            let mut inner = self.lock();
            let pause = inner.budget.take(count(rows), now);
            self.show(&inner.budget);
            pause
        };
        tokio::time::sleep(pause).await;
    }

    /// How long a page took until its first row.
    pub(crate) fn page(&self, latency: Duration) {
        if self.lock().mysql.note(latency) {
            self.strain(Strain::MysqlLatency);
        }
    }

    /// How long a batch took.
    pub(crate) fn batch(&self, latency: Duration) {
        if self.lock().redis.note(latency) {
            self.strain(Strain::RedisLatency);
        }
    }

    fn strain(&self, strain: Strain) {
        let now = self.since.elapsed();
        let mut inner = self.lock();
        if inner.budget.strain(now) {
            self.slowdowns.with_label_values(&[strain.label()]).inc();
            tracing::info!(
                sign = strain.label(),
                rows_per_second = inner.budget.rate,
                "warming more slowly"
            );
        }
        self.show(&inner.budget);
    }

    fn show(&self, budget: &Budget) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a rate between 0 and a u32 that was given"
        )]
        self.rate.set(budget.rate as i64);
    }

    /// Asks MySQL's endpoint and Redis how they are, for as long as a run lasts.
    pub(crate) async fn watch(&self, link: &Link, load: Option<&LoadSource>) {
        let mut before: Option<MysqlLoad> = None;
        let mut evicted = None;
        loop {
            if let Some(load) = load {
                let now = load.read();
                if let Some(before) = &before {
                    self.compare(before, &now);
                }
                before = Some(now);
            }
            if let Some(now) = evictions(link).await {
                if evicted.is_some_and(|before| now > before) {
                    self.strain(Strain::Evictions);
                }
                evicted = Some(now);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn compare(&self, before: &MysqlLoad, now: &MysqlLoad) {
        if before.mean_wait_until(now) > POOL_WAIT {
            self.strain(Strain::PoolWait);
        }
        // half of what takes a replica out: the application should not lose it to us
        if now.lag.is_some_and(|lag| lag > now.lag_max / 2) {
            self.strain(Strain::ReplicaLag);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a page has far fewer than 2^52 rows"
)]
const fn count(rows: u64) -> f64 {
    rows as f64
}

/// Keys evicted since the server's start; unknown where INFO is not allowed.
async fn evictions(link: &Link) -> Option<u64> {
    let mut connection = link.get().ok()?;
    let info: String = redis::cmd("INFO")
        .arg("stats")
        .query_async(&mut connection)
        .await
        .ok()?;
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix("evicted_keys:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_budget_halves_once_a_second_and_recovers_slowly() {
        let mut budget = Budget::new(1000.0);
        assert_eq!(budget.take(1100.0, seconds(10)), seconds(1));
        assert!(budget.strain(seconds(11)));
        assert!(!budget.strain(seconds(11) + Duration::from_millis(900)));
        assert_eq!(budget.rate, 500.0);
        assert!(budget.strain(seconds(12)));
        assert_eq!(budget.rate, 250.0);
        for at in 13..40 {
            budget.strain(seconds(at));
        }
        assert_eq!(budget.rate, FLOOR, "a job must end");
        // calm for three seconds, then 2% of the ceiling each second
        budget.advance(seconds(42));
        assert_eq!(budget.rate, FLOOR);
        budget.advance(seconds(52));
        assert_eq!(budget.rate, FLOOR + 200.0);
        budget.advance(seconds(500));
        assert_eq!(budget.rate, 1000.0);
    }

    #[test]
    fn the_time_that_a_page_took_counts_and_no_more_is_saved_up() {
        let millis = Duration::from_millis;
        let mut budget = Budget::new(1000.0);
        assert_eq!(budget.take(150.0, seconds(3600)), millis(50));
        // the next page took 30 ms after that pause
        let asked = seconds(3600) + millis(80);
        assert_eq!(budget.take(50.0, asked), millis(20));
        // what is owed is kept
        assert_eq!(budget.take(50.0, asked), millis(70));
    }

    #[test]
    fn a_latency_that_doubles_is_noticed_and_noise_is_not() {
        let mut trend = Trend::default();
        let millis = Duration::from_millis;
        for _ in 0..20 {
            assert!(!trend.note(millis(30)));
            assert!(!trend.note(millis(45)));
        }
        let risen = (0..5).any(|_| trend.note(millis(200)));
        assert!(risen);
        let mut quick = Trend::default();
        for latency in [1, 5, 2, 10, 1, 15] {
            assert!(!quick.note(millis(latency)), "below the noise");
        }
    }
}
