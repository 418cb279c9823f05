//! The series `lamplighter_redis_*`. In memory only.

mod endpoint;

use lamplighter_core::metrics::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, LATENCY_SECONDS, MetricsError,
    Registry, Section,
};
use prometheus::GaugeVec;

pub(crate) use endpoint::EndpointMetrics;

use crate::upstream::ConnectError;
use crate::warm::{ErrorKind, Skip, Strain};

/// What this subsystem counts. Clones share the series.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) up: IntGauge,
    pub(crate) connects: IntCounter,
    pub(crate) connect_errors: IntCounterVec,
    pub(crate) ping_seconds: Histogram,
    pub(crate) rows: IntCounterVec,
    pub(crate) keys: IntCounterVec,
    pub(crate) kept: IntCounterVec,
    pub(crate) bytes: IntCounterVec,
    pub(crate) skipped: IntCounterVec,
    pub(crate) errors: IntCounterVec,
    pub(crate) runs: IntCounterVec,
    pub(crate) running: IntGaugeVec,
    pub(crate) duration: GaugeVec,
    pub(crate) last_success: GaugeVec,
    pub(crate) gate_timeouts: IntCounterVec,
    pub(crate) budget: IntGauge,
    pub(crate) slowdowns: IntCounterVec,
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
        let (budget, slowdowns) = Self::governing(&section)?;
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
            rows: section.counters("warm_rows_total", "Rows read: of MySQL, lines of a file, pages of the web server.", job)?,
            keys: section.counters("warm_keys_total", "Keys written to Redis.", job)?,
            kept: section.counters(
                "warm_kept_keys_total",
                "Keys that were to be written and stayed as they were: they were there (by mode), or changed since their row was read.",
                job,
            )?,
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
            gate_timeouts: Self::gate_timeouts(&section)?,
            budget,
            slowdowns,
            endpoint: EndpointMetrics::register(registry, &connects, &connect_errors)?,
            connects,
            connect_errors,
        };
        metrics.init_labels();
        Ok(metrics)
    }

    fn gate_timeouts(section: &Section<'_>) -> Result<IntCounterVec, MetricsError> {
        section.counters(
            "warm_gate_timeouts_total",
            "Times a required job was not done by its deadline and traffic was let in.",
            &["job"],
        )
    }

    fn governing(section: &Section<'_>) -> Result<(IntGauge, IntCounterVec), MetricsError> {
        let budget = section.gauge(
            "warm_budget_rows_per_second",
            "How many rows a second warm jobs of this instance may read now.",
        )?;
        let slowdowns = section.counters(
            "warm_slowdowns_total",
            "Times the budget was halved, by the sign of strain.",
            &["sign"],
        )?;
        Ok((budget, slowdowns))
    }

    fn init_labels(&self) {
        for label in ConnectError::LABELS {
            self.connect_errors.with_label_values(&[label]);
        }
        for strain in Strain::ALL {
            self.slowdowns.with_label_values(&[strain.label()]);
        }
    }

    /// Makes the series of a job appear at zero.
    pub(crate) fn init_job(&self, job: &str) {
        for counters in [
            &self.rows,
            &self.keys,
            &self.kept,
            &self.bytes,
            &self.gate_timeouts,
        ] {
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

    /// What a run of `job` counts, looked up once and not for each row.
    pub(crate) fn of_job(&self, job: &str) -> JobSeries {
        let labels = &[job];
        JobSeries(Some(Counted {
            rows: self.rows.with_label_values(labels),
            keys: self.keys.with_label_values(labels),
            kept: self.kept.with_label_values(labels),
            bytes: self.bytes.with_label_values(labels),
            job: job.to_owned(),
            skipped: self.skipped.clone(),
            errors: self.errors.clone(),
        }))
    }
}

/// What a run counts; a dry one counts nothing.
#[derive(Debug, Clone)]
pub(crate) struct JobSeries(Option<Counted>);

#[derive(Debug, Clone)]
struct Counted {
    rows: IntCounter,
    keys: IntCounter,
    kept: IntCounter,
    bytes: IntCounter,
    job: String,
    skipped: IntCounterVec,
    errors: IntCounterVec,
}

impl JobSeries {
    /// Of a run that is not counted.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    pub(crate) fn rows(&self, rows: u64) {
        if let Some(counted) = &self.0 {
            counted.rows.inc_by(rows);
        }
    }

    pub(crate) fn written(&self, keys: u64, kept: u64, bytes: u64) {
        if let Some(counted) = &self.0 {
            counted.keys.inc_by(keys);
            counted.kept.inc_by(kept);
            counted.bytes.inc_by(bytes);
        }
    }

    pub(crate) fn skipped(&self, skip: Skip, rows: u64) {
        if let Some(counted) = &self.0 {
            let labels = &[counted.job.as_str(), skip.label()];
            counted.skipped.with_label_values(labels).inc_by(rows);
        }
    }

    pub(crate) fn error(&self, kind: ErrorKind) {
        if let Some(counted) = &self.0 {
            let labels = &[counted.job.as_str(), kind.label()];
            counted.errors.with_label_values(labels).inc();
        }
    }
}
