//! The series `lamplighter_redis_*`. In memory only.

mod endpoint;

use lamplighter_core::metrics::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, LATENCY_SECONDS, MetricsError,
    Registry, Section,
};
use prometheus::GaugeVec;

pub(crate) use endpoint::EndpointMetrics;

use crate::upstream::ConnectError;
use crate::warm::{ErrorKind, Skip};

/// What this subsystem counts. Clones share the series.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) up: IntGauge,
    pub(crate) connects: IntCounter,
    pub(crate) connect_errors: IntCounterVec,
    pub(crate) ping_seconds: Histogram,
    pub(crate) rows: IntCounterVec,
    pub(crate) keys: IntCounterVec,
    pub(crate) bytes: IntCounterVec,
    pub(crate) skipped: IntCounterVec,
    pub(crate) errors: IntCounterVec,
    pub(crate) runs: IntCounterVec,
    pub(crate) running: IntGaugeVec,
    pub(crate) duration: GaugeVec,
    pub(crate) last_success: GaugeVec,
    pub(crate) gate_timeouts: IntCounterVec,
    pub(crate) endpoint: EndpointMetrics,
}

/// How a run ended, as the label `outcome`.
pub(crate) const OUTCOMES: [&str; 3] = ["done", "failed", "handed_over"];

impl Metrics {
    /// Registers the series.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "redis");
        let job = &["job"];
        let connects = section.counter(
            "upstream_connects_total",
            "Connections to Redis that were established.",
        )?;
        let connect_errors = section.counters(
            "upstream_connect_errors_total",
            "Connections to Redis that were not established, by reason.",
            &["reason"],
        )?;
        let metrics = Self {
            up: section.gauge(
                "upstream_up",
                "1 while the control connection to Redis answers PING.",
            )?,
            ping_seconds: section.histogram(
                "upstream_ping_seconds",
                "Round trip of PING on the control connection.",
                &LATENCY_SECONDS,
            )?,
            rows: section.counters("warm_rows_total", "Rows read from MySQL.", job)?,
            keys: section.counters("warm_keys_total", "Keys written to Redis.", job)?,
            bytes: section.counters(
                "warm_bytes_total",
                "Bytes of keys and values written to Redis.",
                job,
            )?,
            skipped: section.counters(
                "warm_skipped_rows_total",
                "Rows that became no key, by reason.",
                &["job", "reason"],
            )?,
            errors: section.counters(
                "warm_errors_total",
                "Errors during runs, by kind; those that were overcome, too.",
                &["job", "kind"],
            )?,
            runs: section.counters(
                "warm_runs_total",
                "Runs on this instance, by how they ended.",
                &["job", "outcome"],
            )?,
            running: section.gauges("warm_running", "1 while this instance runs the job.", job)?,
            duration: section.gauges_float(
                "warm_last_duration_seconds",
                "How long the last successful run took, on whichever instance.",
                job,
            )?,
            last_success: section.gauges_float(
                "warm_last_success_timestamp_seconds",
                "When the job last succeeded on any instance, by Redis' clock.",
                job,
            )?,
            gate_timeouts: section.counters(
                "warm_gate_timeouts_total",
                "Times a required job was not done by its deadline and traffic was let in.",
                job,
            )?,
            endpoint: EndpointMetrics::register(registry, &connects, &connect_errors)?,
            connects,
            connect_errors,
        };
        for label in ConnectError::LABELS {
            metrics.connect_errors.with_label_values(&[label]);
        }
        Ok(metrics)
    }

    /// Makes the series of a job appear at zero.
    pub(crate) fn init_job(&self, job: &str) {
        for counters in [&self.rows, &self.keys, &self.bytes, &self.gate_timeouts] {
            counters.with_label_values(&[job]);
        }
        self.running.with_label_values(&[job]);
        for skip in Skip::ALL {
            self.skipped.with_label_values(&[job, skip.label()]);
        }
        for kind in ErrorKind::ALL {
            self.errors.with_label_values(&[job, kind.label()]);
        }
        for outcome in OUTCOMES {
            self.runs.with_label_values(&[job, outcome]);
        }
    }
}
