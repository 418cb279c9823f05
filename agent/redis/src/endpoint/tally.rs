//! Hits and misses, counted from replies as they pass. In memory only.

use std::sync::Arc;

use lamplighter_core::metrics::IntCounter;
use lamplighter_wire::redis::reply::{elements, is_null};

/// The counters of one prefix.
#[derive(Debug)]
pub(crate) struct HitSeries {
    pub(crate) hits: IntCounter,
    pub(crate) misses: IntCounter,
}

/// How the reply to one command is counted.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    series: Arc<HitSeries>,
    /// An array with an element for each key.
    many: bool,
}

impl Tally {
    pub(crate) const fn one(series: Arc<HitSeries>) -> Self {
        Self {
            series,
            many: false,
        }
    }

    pub(crate) const fn many(series: Arc<HitSeries>) -> Self {
        Self { series, many: true }
    }

    /// Whether the reply is one value, which needs not be whole to be counted.
    pub(crate) const fn is_single(&self) -> bool {
        !self.many
    }

    /// Counts a reply that is known to be a value.
    pub(crate) fn hit(&self) {
        self.series.hits.inc();
    }

    /// Counts a whole reply; errors are neither.
    pub(crate) fn count(&self, reply: &[u8]) {
        if reply.starts_with(b"-") {
            return;
        }
        if !self.many {
            return if is_null(reply) {
                self.series.misses.inc();
            } else {
                self.series.hits.inc();
            };
        }
        let elements = elements(reply).unwrap_or_default();
        let misses = elements.iter().filter(|element| is_null(element)).count();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.series.misses.inc_by(count(misses));
        self.series.hits.inc_by(count(elements.len() - misses));
    }
}
