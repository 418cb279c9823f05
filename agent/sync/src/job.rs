//! One entry's life: a pass at once, then pauses and passes; what each means for health, gate and metrics.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lamplighter_core::fault::{Culprit, Fault, Retry, chain};
use lamplighter_core::health::{Gate, HealthWriter, Reach};
use lamplighter_core::lifecycle::Tasks;
use rustix::fs::FlockOperation;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::cycle::{CycleError, Engine, Outcome, Report, seconds_since_epoch};
use crate::names::Refusal;
use crate::pace::{jittered, pause_after};
use crate::plan::Guard;
use crate::store::BlobStore;
use crate::survey::SurveyError;
use crate::tree::{self, Root};

/// How an entry is, for people.
#[derive(Debug, Clone, Default)]
pub struct JobStatus {
    /// The entry.
    pub name: String,
    /// Whether a pass is under way.
    pub running: bool,
    /// When the last complete pass ended.
    pub last_success: Option<SystemTime>,
    /// Files in place after it.
    pub files: u64,
    /// Blobs that cannot become files, in the last complete pass.
    pub refused: u64,
    /// The guard that holds deletes back, and how many.
    pub held: Option<(Guard, u64)>,
    /// What is wrong and what to do; empty when nothing is.
    pub trouble: String,
}

/// One entry at work.
#[derive(Debug)]
pub(crate) struct Job<S> {
    pub(crate) engine: Engine<S>,
    pub(crate) health: HealthWriter,
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) status: Arc<watch::Sender<JobStatus>>,
    /// Somebody wants a pass now.
    pub(crate) nudge: Arc<Notify>,
    pub(crate) lock_path: PathBuf,
    /// Whether the destination ignores case; found out at the start.
    pub(crate) folds_case: bool,
}

/// The shortest bound of pauses after failures, so that a short interval does not hammer a storage that is down.
const FAILED_PAUSE_MIN: Duration = Duration::from_secs(5);

impl<S: BlobStore> Job<S> {
    /// Lives until `tasks` drain.
    pub(crate) async fn run(mut self, tasks: Tasks) {
        let _mourner = Mourner(self.health.clone());
        let Some(_lock) = self.lock(&tasks).await else {
            return;
        };
        self.look_at_destination().await;
        let mut failures = 0;
        let mut sort = false;
        while !tasks.is_draining() {
            let started = Instant::now();
            self.status.send_modify(|status| status.running = true);
            let report = self.engine.cycle(sort).await;
            self.engine
                .attempts
                .metrics
                .cycle_seconds
                .observe(started.elapsed().as_secs_f64());
            self.publish(&report, &tasks, started.elapsed());
            if unsorted(&report) && !sort {
                tracing::info!(
                    job = self.name(),
                    "the container is not listed in byte order; sorting its list in memory from now on"
                );
                sort = true;
                continue;
            }
            failures = if matches!(report.outcome, Outcome::Failed(_)) {
                failures + 1
            } else {
                0
            };
            if !report.again {
                self.pause(failures, &tasks).await;
            }
        }
    }

    fn name(&self) -> &str {
        &self.engine.config.name
    }

    async fn pause(&self, failures: u32, tasks: &Tasks) {
        let config = &self.engine.config;
        let interval = config.interval.get();
        let pause = if failures == 0 {
            jittered(interval, config.jitter.fraction())
        } else {
            pause_after(failures, interval.max(FAILED_PAUSE_MIN))
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.nudge.notified() => {}
            () = tasks.draining() => {}
        }
    }

    /// Two agents on one destination would undo each other's work. Waits until this one has it; `None` if it leaves before.
    async fn lock(&self, tasks: &Tasks) -> Option<std::fs::File> {
        let mut failures = 0;
        while !tasks.is_draining() {
            let path = self.lock_path.clone();
            let problem = match spawn_blocking(move || lock(&path)).await {
                Ok(Ok(file)) => return Some(file),
                Ok(Err(error)) => error,
                Err(_) => return None,
            };
            failures += 1;
            let text = format!(
                "cannot lock {}: {problem}; is another agent at work on this entry?",
                self.lock_path.display()
            );
            self.engine.attempts.metrics.errors("index").inc();
            self.health.degraded(Reach::Local, text.clone());
            self.status
                .send_modify(|status| status.trouble.clone_from(&text));
            tasks.fault(&Fault::new(Culprit::Platform, Retry::Later, text));
            self.pause(failures, tasks).await;
        }
        None
    }

    /// Says what is known to go wrong on this kind of file system.
    async fn look_at_destination(&mut self) {
        let config = self.engine.config.clone();
        let look = spawn_blocking(move || {
            // what cannot be opened is the first pass's to report
            let folds = Root::open(&config).is_ok_and(|root| root.folds_case());
            (folds, tree::remote_file_system(&config.path))
        });
        let Ok((folds, remote)) = look.await else {
            return;
        };
        self.folds_case = folds;
        let (job, path) = (self.name(), self.engine.config.path.display());
        if folds {
            tracing::warn!(job, %path, "the destination ignores case: blobs whose names differ only in case take turns in one file");
        }
        if let Some(kind) = remote {
            tracing::warn!(job, %path, "the destination is on {kind}: every instance that mounts it pulls into the same files");
        }
    }

    /// Tells everybody how a pass ended.
    fn publish(&self, report: &Report, tasks: &Tasks, took: Duration) {
        let metrics = &self.engine.attempts.metrics;
        let trouble = self.trouble(report);
        let result = match &report.outcome {
            Outcome::Done if report.is_complete() => "complete",
            Outcome::Done => "partial",
            Outcome::Failed(_) => "failed",
            Outcome::Drained => "drained",
        };
        metrics.cycles(result).inc();
        if let Outcome::Failed(error) = &report.outcome {
            if unsorted(report) {
                return;
            }
            metrics.errors(error.label()).inc();
            tasks.fault(&fault(error));
        }
        if matches!(report.outcome, Outcome::Done) {
            for reason in Refusal::ALL {
                let count = report.refused.get(&reason).copied().unwrap_or(0);
                metrics.refused(reason).set(gauge(count));
            }
            let held = report.held.map_or(0, |_| report.census.deletes);
            metrics.deletes_held.set(gauge(held));
            if let Some(guard) = report.held {
                metrics.guard_trips(guard).inc();
            }
            self.log(report, took);
        }
        metrics
            .in_sync
            .set(i64::from(report.is_complete() && report.held.is_none()));
        if report.is_complete() {
            metrics
                .last_success
                .set(seconds_since_epoch(SystemTime::now()));
            metrics.files.set(gauge(report.in_place));
            if let Some(gate) = &self.gate {
                gate.open();
            }
        }
        match &trouble {
            None if matches!(report.outcome, Outcome::Drained) => {}
            None => self.health.ok(),
            Some((reach, text)) => self.health.degraded(*reach, text.clone()),
        }
        self.status.send_modify(|status| {
            status.running = false;
            if report.is_complete() {
                status.last_success = Some(SystemTime::now());
                status.files = report.in_place;
                status.refused = report.refused.values().sum();
            }
            status.held = report.held.map(|guard| (guard, report.census.deletes));
            status.trouble = trouble.map_or_else(String::new, |(_, text)| text);
        });
    }

    fn log(&self, report: &Report, took: Duration) {
        let refused: u64 = report.refused.values().sum();
        if report.changed > 0 || report.failed > 0 || report.held.is_some() {
            tracing::info!(
                job = self.name(),
                files = report.in_place,
                changed = report.changed,
                failed = report.failed,
                refused,
                seconds = took.as_secs_f64(),
                "pass ended"
            );
        } else {
            tracing::debug!(
                job = self.name(),
                files = report.in_place,
                refused,
                "nothing changed"
            );
        }
        if let Some(guard) = report.held {
            tracing::warn!(
                job = self.name(),
                guard = guard.label(),
                files = report.census.deletes,
                "deletes held back"
            );
        }
    }

    /// What is wrong after a pass, how far it reaches, and what to do.
    fn trouble(&self, report: &Report) -> Option<(Reach, String)> {
        match &report.outcome {
            Outcome::Failed(error) => Some(explain(error)),
            Outcome::Drained => None,
            Outcome::Done => match (report.held, &report.first_failure) {
                (Some(guard), _) => Some((
                    Reach::Shared,
                    self.explain_guard(guard, report.census.deletes),
                )),
                (None, Some(first)) if report.failed > 0 => Some((
                    Reach::Shared,
                    format!("{} files failed, the first: {first}", report.failed),
                )),
                _ if self.folds_case => Some((
                    Reach::Local,
                    format!(
                        "{} ignores case; blobs whose names differ only in case are not kept apart",
                        self.engine.config.path.display()
                    ),
                )),
                _ => None,
            },
        }
    }

    fn explain_guard(&self, guard: Guard, count: u64) -> String {
        let config = &self.engine.config;
        let (what, key) = match guard {
            Guard::EmptyList => {
                return format!(
                    "the container lists no file under prefix {:?}, so the {count} files on disk stay; check the container, the prefix \
                     and the right to list, or empty {} by hand",
                    config.prefix,
                    config.path.display()
                );
            }
            Guard::MaxDelete => (
                format!("more than max_delete = {}", config.max_delete),
                "max_delete",
            ),
            Guard::MaxDeletePercent => (
                format!(
                    "more than max_delete_percent = {}",
                    config.max_delete_percent
                ),
                "max_delete_percent",
            ),
        };
        format!(
            "{count} files would be deleted, {what}, so none is; if the container is right, raise {key} for a while"
        )
    }
}

/// Says on the board that the entry is dead if a bug of ours kills its task: the line it wrote last would stand for ever.
struct Mourner(HealthWriter);

impl Drop for Mourner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = "stopped by a bug; the files stay as they are until the agent is restarted";
            self.0.down(Reach::Local, text);
        }
    }
}

fn unsorted(report: &Report) -> bool {
    matches!(
        &report.outcome,
        Outcome::Failed(CycleError::Survey(SurveyError::Unsorted))
    )
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn explain(error: &CycleError) -> (Reach, String) {
    match error.store_error() {
        Some(store) => (
            Reach::Shared,
            format!("{}; {}", chain(error), store.advice()),
        ),
        None if error.label() == "disk_full" => (
            Reach::Local,
            format!(
                "{}; the old files stay; free space, or lower min_free",
                chain(error)
            ),
        ),
        None => (Reach::Local, chain(error)),
    }
}

fn fault(error: &CycleError) -> Fault {
    let culprit = match (error.store_error(), error.label()) {
        (Some(store), _) => store.culprit(),
        (None, "bug") => Culprit::Bug,
        (None, _) => Culprit::Platform,
    };
    Fault::new(culprit, Retry::Later, chain(error))
}

fn lock(path: &Path) -> std::io::Result<std::fs::File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Opens `gate` when the entry's deadline has passed: a storage fault must not keep every new instance out.
pub(crate) async fn open_after_deadline(
    config: Config,
    gate: Arc<Gate>,
    status: watch::Receiver<JobStatus>,
    tasks: Tasks,
) {
    tokio::select! {
        () = tokio::time::sleep(config.required_deadline.get()) => {
            if status.borrow().last_success.is_none() {
                tracing::warn!(
                    job = config.name,
                    deadline = %config.required_deadline,
                    "no complete pass before required_deadline; serving without it"
                );
            }
            gate.open();
        }
        () = tasks.draining() => {}
    }
}
