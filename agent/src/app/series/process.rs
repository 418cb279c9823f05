//! The `process_*` series every Prometheus client library has, under their usual names. Reads `/proc/self` at each scrape.

use std::fs;
use std::sync::Mutex;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts, Registry};

/// Registers the collector.
pub(crate) fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Process::new()?))
}

struct Process {
    cpu_seconds: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    virtual_bytes: Gauge,
    resident_bytes: Gauge,
    start_time: Gauge,
    threads: Gauge,
    /// One scrape at a time, so that the processor time is not added twice.
    collecting: Mutex<()>,
}

/// The fields of `/proc/self/stat` that matter here (proc_pid_stat(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Process {
    fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| Gauge::with_opts(Opts::new(name, help));
        let process = Self {
            cpu_seconds: Counter::with_opts(Opts::new(
                "process_cpu_seconds_total",
                "Processor time spent in user and system mode, in seconds.",
            ))?,
            open_fds: gauge("process_open_fds", "Open file descriptors.")?,
            max_fds: gauge("process_max_fds", "The limit of open file descriptors.")?,
            virtual_bytes: gauge(
                "process_virtual_memory_bytes",
                "Address space in use, in bytes.",
            )?,
            resident_bytes: gauge("process_resident_memory_bytes", "Memory in use, in bytes.")?,
            start_time: gauge(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
            )?,
            threads: gauge("process_threads", "Threads of the process.")?,
            collecting: Mutex::new(()),
        };
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            process.max_fds.set(float(limit));
        }
        Ok(process)
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.open_fds,
            &self.max_fds,
            &self.virtual_bytes,
            &self.resident_bytes,
            &self.start_time,
            &self.threads,
        ]
    }

    fn refresh(&self) {
        if let Ok(dir) = fs::read_dir("/proc/self/fd") {
            // the directory itself is open while it is read
            self.open_fds
                .set(float(dir.count().saturating_sub(1) as u64));
        }
        let Some(stat) = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|text| parse_stat(&text))
        else {
            return;
        };
        let per_second = float(rustix::param::clock_ticks_per_second());
        let spent = float(stat.cpu_ticks) / per_second - self.cpu_seconds.get();
        self.cpu_seconds.inc_by(spent.max(0.0));
        self.threads.set(float(stat.threads));
        self.virtual_bytes.set(float(stat.virtual_bytes));
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        self.resident_bytes.set(float(stat.resident_pages * page));
        if let Some(boot) = boot_time() {
            let start = float(boot) + float(stat.start_ticks) / per_second;
            self.start_time.set(start);
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let alone = self.collecting.lock();
        self.refresh();
        drop(alone);
        self.all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// Exact up to 2^53, which is 285 years of clock ticks or 8 PiB of memory.
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric's value is a float whatever we do"
)]
const fn float(count: u64) -> f64 {
    count as f64
}

fn parse_stat(text: &str) -> Option<Stat> {
    // the second field is the program's name in parentheses and may hold anything, parentheses included
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // fields[0] is field 3 of the manual page
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> Option<u64> {
    fs::read_to_string("/proc/stat")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())
}

#[cfg(test)]
mod tests;
