//! The series of this crate, `lamplighter_sync_*`, by entry (`job`).

use lamplighter_core::metrics::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, MetricsError,
    Registry, Section,
};
use prometheus::{Gauge, GaugeVec};

use crate::names::Refusal;
use crate::plan::Guard;

/// What is done to objects, for the label `op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Fetched because it was new or another version.
    Get,
    /// Fetched because the local file was edited, truncated, replaced or deleted.
    Repair,
    /// Unpacked from a bundle.
    Bundle,
    /// Linked from the release before.
    Link,
    /// Sent to the storage.
    Put,
    /// Deleted in the storage.
    PutDelete,
    /// Found right by its MD5, without fetching it.
    Adopt,
    /// Mode or owner set again.
    Attributes,
    /// Deleted.
    Delete,
}

impl Op {
    const ALL: [Self; 9] = [
        Self::Get,
        Self::Repair,
        Self::Bundle,
        Self::Link,
        Self::Put,
        Self::PutDelete,
        Self::Adopt,
        Self::Attributes,
        Self::Delete,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Repair => "repair",
            Self::Bundle => "bundle",
            Self::Link => "link",
            Self::Put => "put",
            Self::PutDelete => "put_delete",
            Self::Adopt => "adopt",
            Self::Attributes => "attributes",
            Self::Delete => "delete",
        }
    }
}

/// How a pass ended, for the label `result`.
pub(crate) const RESULTS: [&str; 4] = ["complete", "partial", "failed", "drained"];

/// The kinds of errors, for the label `kind`.
pub(crate) const ERROR_KINDS: [&str; 23] = [
    "unreachable",
    "throttled",
    "server",
    "denied",
    "gone",
    "no_container",
    "changed",
    "leased",
    "rejected",
    "protocol",
    "stalled",
    "credential",
    "abandoned",
    "checksum",
    "disk_full",
    "disk",
    "index",
    "list",
    "manifest",
    "watch",
    "bundle",
    "after_change",
    "bug",
];

/// Pass durations in seconds: a list of one page to a cold pull of a large tree.
const CYCLE_SECONDS: [f64; 12] = [
    0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// The series of all entries.
#[derive(Debug, Clone)]
pub struct Metrics {
    last_success: GaugeVec,
    in_sync: IntGaugeVec,
    files: IntGaugeVec,
    objects: IntCounterVec,
    bytes: IntCounterVec,
    refused: IntGaugeVec,
    guard_trips: IntCounterVec,
    deletes_held: IntGaugeVec,
    cycles: IntCounterVec,
    cycle_seconds: HistogramVec,
    errors: IntCounterVec,
    throttled: IntCounterVec,
    resumed: IntCounterVec,
    restarted: IntCounterVec,
    switches: IntCounterVec,
    conflicts: IntCounterVec,
    queue: IntGaugeVec,
    hooks: IntCounterVec,
    concurrency: IntGaugeVec,
    credential_expiry: GaugeVec,
}

impl Metrics {
    /// Registers the series.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "sync");
        Ok(Self {
            last_success: section.gauges_float(
                "last_success_timestamp_seconds",
                "When the last complete pass ended, in seconds since the epoch; 0 before the first.",
                &["job"],
            )?,
            in_sync: section.gauges(
                "in_sync",
                "1 if the last pass was complete, nothing failed and no guard held deletes back.",
                &["job"],
            )?,
            files: section.gauges("files", "Files of the entry on disk after the last complete pass.", &["job"])?,
            objects: section.counters("objects_total", "Files worked on, by what was done.", &["job", "op"])?,
            bytes: section.counters("bytes_total", "Bytes of files that were fetched and put in place, or sent.", &["job", "op"])?,
            refused: section.gauges(
                "refused_objects",
                "Blobs of the last complete pass that cannot become files, by reason.",
                &["job", "reason"],
            )?,
            guard_trips: section.counters("guard_trips_total", "Passes whose deletes a guard held back.", &["job", "guard"])?,
            deletes_held: section.gauges("deletes_held", "Files that a guard keeps from being deleted now.", &["job"])?,
            cycles: section.counters("cycles_total", "Passes by how they ended.", &["job", "result"])?,
            cycle_seconds: section.histograms("cycle_duration_seconds", "How long a pass took.", &["job"], &CYCLE_SECONDS)?,
            errors: section.counters("errors_total", "Errors that cost a file or a pass, by kind.", &["job", "kind"])?,
            throttled: section.counters("throttled_total", "Answers that asked for fewer requests (429, 503).", &["job"])?,
            resumed: section.counters("resumed_total", "Downloads taken up where they had broken off.", &["job"])?,
            restarted: section.counters("restarted_total", "Downloads begun again because the blob changed under them.", &["job"])?,
            switches: section.counters("release_switches_total", "Times another release became live.", &["job"])?,
            conflicts: section.counters("conflicts_total", "Files that were changed here and in the container.", &["job"])?,
            queue: section.gauges("push_queue_files", "Files that changed here and were not sent yet.", &["job"])?,
            hooks: section.counters("after_change_total", "Runs of after_change, by how they ended.", &["job", "result"])?,
            concurrency: section.gauges("concurrency_limit", "Requests for files that may be under way now.", &["job"])?,
            credential_expiry: section.gauges_float(
                "credential_expiry_timestamp_seconds",
                "When the SAS ends, in seconds since the epoch; 0 if the credential has no end.",
                &["job"],
            )?,
        })
    }

    /// The series of one entry, all of them there from the start.
    pub(crate) fn job(&self, job: &str) -> JobMetrics {
        let metrics = JobMetrics {
            job: job.to_owned(),
            all: self.clone(),
            last_success: self.last_success.with_label_values(&[job]),
            in_sync: self.in_sync.with_label_values(&[job]),
            files: self.files.with_label_values(&[job]),
            deletes_held: self.deletes_held.with_label_values(&[job]),
            cycle_seconds: self.cycle_seconds.with_label_values(&[job]),
            throttled: self.throttled.with_label_values(&[job]),
            resumed: self.resumed.with_label_values(&[job]),
            restarted: self.restarted.with_label_values(&[job]),
            switches: self.switches.with_label_values(&[job]),
            conflicts: self.conflicts.with_label_values(&[job]),
            queue: self.queue.with_label_values(&[job]),
            concurrency: self.concurrency.with_label_values(&[job]),
            credential_expiry: self.credential_expiry.with_label_values(&[job]),
        };
        for op in Op::ALL {
            metrics.objects(op);
        }
        for op in [Op::Get, Op::Repair, Op::Bundle, Op::Put] {
            metrics.bytes(op);
        }
        for reason in Refusal::ALL {
            metrics.refused(reason).set(0);
        }
        for guard in Guard::ALL {
            metrics.guard_trips(guard);
        }
        metrics.hooks(true);
        metrics.hooks(false);
        for result in RESULTS {
            metrics.cycles(result);
        }
        for kind in ERROR_KINDS {
            metrics.errors(kind);
        }
        metrics
    }
}

/// The series of one entry.
#[derive(Debug, Clone)]
pub(crate) struct JobMetrics {
    job: String,
    all: Metrics,
    pub(crate) last_success: Gauge,
    pub(crate) in_sync: IntGauge,
    pub(crate) files: IntGauge,
    pub(crate) deletes_held: IntGauge,
    pub(crate) cycle_seconds: Histogram,
    pub(crate) throttled: IntCounter,
    pub(crate) resumed: IntCounter,
    pub(crate) restarted: IntCounter,
    pub(crate) switches: IntCounter,
    pub(crate) conflicts: IntCounter,
    pub(crate) queue: IntGauge,
    pub(crate) concurrency: IntGauge,
    pub(crate) credential_expiry: Gauge,
}

impl JobMetrics {
    pub(crate) fn objects(&self, op: Op) -> IntCounter {
        self.all
            .objects
            .with_label_values(&[self.job.as_str(), op.label()])
    }

    pub(crate) fn bytes(&self, op: Op) -> IntCounter {
        self.all
            .bytes
            .with_label_values(&[self.job.as_str(), op.label()])
    }

    pub(crate) fn refused(&self, reason: Refusal) -> IntGauge {
        self.all
            .refused
            .with_label_values(&[self.job.as_str(), reason.label()])
    }

    pub(crate) fn guard_trips(&self, guard: Guard) -> IntCounter {
        self.all
            .guard_trips
            .with_label_values(&[self.job.as_str(), guard.label()])
    }

    pub(crate) fn hooks(&self, done: bool) -> IntCounter {
        let result = if done { "done" } else { "failed" };
        self.all
            .hooks
            .with_label_values(&[self.job.as_str(), result])
    }

    pub(crate) fn cycles(&self, result: &str) -> IntCounter {
        self.all
            .cycles
            .with_label_values(&[self.job.as_str(), result])
    }

    pub(crate) fn errors(&self, kind: &str) -> IntCounter {
        self.all
            .errors
            .with_label_values(&[self.job.as_str(), kind])
    }
}
