//! Registering series under the right name. The registry is made in `app.rs` and handed down; there is none per process. A
//! series is called `lamplighter_<subsystem>_<name>`, as the tables of the configuration are. Pure memory.

pub use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry,
};

pub use prometheus::local::LocalHistogram;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts};

/// A series could not be registered: a bug (twice the same name, or an invalid one).
#[derive(Debug, thiserror::Error)]
#[error("cannot register the metric {name}")]
pub struct MetricsError {
    name: String,
    source: prometheus::Error,
}

/// Latency buckets in seconds, 50 us to 10 s: the range between a local socket and a query that hurts.
pub const LATENCY_SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    2.0, 10.0,
];

/// The part of the registry that belongs to one subsystem.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    registry: &'a Registry,
    subsystem: &'a str,
}

impl<'a> Section<'a> {
    /// The section for `subsystem`, which is also its configuration table's name.
    #[must_use]
    pub const fn new(registry: &'a Registry, subsystem: &'a str) -> Self {
        Self {
            registry,
            subsystem,
        }
    }

    /// A counter; `name` ends in `_total`.
    ///
    /// # Errors
    /// If the name is taken or invalid.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.register(name, IntCounter::with_opts(self.opts(name, help)))
    }

    /// A counter by labels; `name` ends in `_total`. Initialise every combination you know with `with_label_values`.
    ///
    /// # Errors
    /// As [`Section::counter`].
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricsError> {
        self.register(name, IntCounterVec::new(self.opts(name, help), labels))
    }

    /// A gauge of whole numbers.
    ///
    /// # Errors
    /// As [`Section::counter`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.register(name, IntGauge::with_opts(self.opts(name, help)))
    }

    /// A gauge of fractions; seconds, ratios.
    ///
    /// # Errors
    /// As [`Section::counter`].
    pub fn gauge_float(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        self.register(name, Gauge::with_opts(self.opts(name, help)))
    }

    /// A gauge of whole numbers by labels.
    ///
    /// # Errors
    /// As [`Section::counter`].
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, MetricsError> {
        self.register(name, IntGaugeVec::new(self.opts(name, help), labels))
    }

    /// A gauge of fractions by labels.
    ///
    /// # Errors
    /// As [`Section::counter`].
    pub fn gauges_float(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, MetricsError> {
        self.register(name, GaugeVec::new(self.opts(name, help), labels))
    }

    /// A histogram; `name` ends in its unit, `_seconds` or `_bytes`.
    ///
    /// # Errors
    /// As [`Section::counter`].
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, MetricsError> {
        self.register(
            name,
            Histogram::with_opts(self.histogram_opts(name, help, buckets)),
        )
    }

    /// A histogram by labels.
    ///
    /// # Errors
    /// As [`Section::counter`].
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricsError> {
        self.register(
            name,
            HistogramVec::new(self.histogram_opts(name, help, buckets), labels),
        )
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(self.full(name), help)
    }

    fn histogram_opts(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::new(self.full(name), help).buckets(buckets.to_vec())
    }

    fn full(&self, name: &str) -> String {
        if self.subsystem.is_empty() {
            format!("lamplighter_{name}")
        } else {
            format!("lamplighter_{}_{name}", self.subsystem)
        }
    }

    fn register<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        collector: Result<C, prometheus::Error>,
    ) -> Result<C, MetricsError> {
        let failed = |source| MetricsError {
            name: self.full(name),
            source,
        };
        let collector = collector.map_err(failed)?;
        self.registry
            .register(Box::new(collector.clone()))
            .map_err(failed)?;
        Ok(collector)
    }
}

/// The whole registry in Prometheus' text format 0.0.4.
///
/// # Errors
/// If a collector holds something the format cannot express: a bug.
pub fn encode(registry: &Registry) -> Result<String, MetricsError> {
    prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .map_err(|source| MetricsError {
            name: "all".to_owned(),
            source,
        })
}
