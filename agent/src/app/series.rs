//! The series of the process as a whole: which configuration it runs, what it costs. Reads `/proc/self` when it is scraped.

mod process;

use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use process::register as process;

use lamplighter_core::metrics::{Gauge, IntGauge, IntGaugeVec, MetricsError, Registry, Section};

/// Which configuration runs, and how the last reload went.
#[derive(Debug, Clone)]
pub(super) struct ConfigSeries {
    successful: IntGauge,
    success_time: Gauge,
    info: IntGaugeVec,
    restart_needed: IntGauge,
}

impl ConfigSeries {
    /// Registers the series for a configuration that has just been loaded.
    pub(super) fn register(registry: &Registry, digest: &str) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "config");
        let series = Self {
            successful: section.gauge(
                "last_reload_successful",
                "1 if the last attempt to read the configuration gave a valid one, else 0.",
            )?,
            success_time: section.gauge_float(
                "last_reload_success_timestamp_seconds",
                "When the configuration was last read successfully, in seconds since 1970.",
            )?,
            info: section.gauges(
                "info",
                "Always 1; the label is a digest of the configuration file last read successfully.",
                &["digest"],
            )?,
            restart_needed: section.gauge(
                "restart_needed",
                "1 if the configuration last read holds a change that only a restart applies, else 0.",
            )?,
        };
        series.loaded(digest, false);
        Ok(series)
    }

    /// A valid configuration has been read.
    pub(super) fn loaded(&self, digest: &str, restart_needed: bool) {
        self.successful.set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.success_time
            .set(now.map_or(0.0, |since| since.as_secs_f64().trunc()));
        self.info.reset();
        self.info.with_label_values(&[digest]).set(1);
        self.restart_needed.set(i64::from(restart_needed));
    }

    /// The configuration was refused.
    pub(super) fn refused(&self) {
        self.successful.set(0);
    }
}
