//! One entry's life: a pass at once, then pauses and passes; what each means for health, gate and metrics.

mod flush;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lamplighter_core::fault::{Culprit, Fault, Retry};
use lamplighter_core::health::{Gate, HealthWriter, Reach};
use lamplighter_core::lifecycle::{Call, Duty, Tasks};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::cycle::{Engine, Outcome, Report, seconds_since_epoch};
use crate::hook::Hook;
use crate::names::Refusal;
use crate::pace::{jittered, pause_after};
use crate::store::BlobStore;
use crate::tree::{self, Root};
use crate::work::Worker;
use words::fault;

/// How an entry is, for people and programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct JobStatus {
    /// The entry.
    pub name: String,
    /// `pull`, `push` or `both`; `tree` or `release`.
    pub kind: String,
    /// Where its files are.
    pub path: String,
    /// Whether a pass is under way.
    pub running: bool,
    /// Files worked on in the pass under way, or in the last one.
    pub done_files: u64,
    /// Bytes moved in it.
    pub done_bytes: u64,
    /// How many passes ended so far.
    pub passes: u64,
    /// When the last complete pass ended, in seconds since the epoch; `None` before the first.
    pub last_success: Option<u64>,
    /// Files in place after it.
    pub files: u64,
    /// Files that were put in place, sent, set right or deleted in the last pass.
    pub changed: u64,
    /// Blobs that cannot become files, in the last complete pass.
    pub refused: u64,
    /// The guard that holds deletes back, and how many.
    pub held: Option<(String, u64)>,
    /// The release that is live.
    pub release: Option<String>,
    /// What is published, and was rolled back from.
    pub rolled_back: Option<String>,
    /// What is wrong and what to do; empty when nothing is.
    pub trouble: String,
}

/// What an entry is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Back to an earlier release, or to the one named.
    RollBack(Option<String>, oneshot::Sender<Result<String, String>>),
}

/// One entry at work.
#[derive(Debug)]
pub(crate) struct Job<S> {
    pub(crate) engine: Engine<S>,
    pub(crate) worker: Worker,
    pub(crate) hook: Hook,
    pub(crate) hook_failure: Option<String>,
    pub(crate) health: HealthWriter,
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) status: Arc<watch::Sender<JobStatus>>,
    /// Somebody wants a pass now.
    pub(crate) nudge: Arc<Notify>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) lock_path: PathBuf,
    /// Whether the destination ignores case; found out at the start.
    pub(crate) folds_case: bool,
    /// This instance's share of a pause before its second pass, 0 to 1: instances that start together do not go on together.
    pub(crate) phase: f64,
}

/// The shortest bound of pauses after failures, so that a short interval does not hammer a storage that is down.
const FAILED_PAUSE_MIN: Duration = Duration::from_secs(5);

/// How soon a pass follows a push that could not do all.
const PUSH_AGAIN: Duration = Duration::from_secs(1);

/// How long the first passes of instances that start together are spread over; short, for the instance waits for it.
const START_SPREAD: Duration = Duration::from_millis(800);

/// Why a pause ended.
enum Woken {
    /// It is time for a pass.
    Pass,
    /// Only the operator's command was due.
    Hook,
    /// Something was written here.
    Stirred,
    /// The instance leaves.
    Flush(Call),
}

impl<S: BlobStore> Job<S> {
    /// Lives until `tasks` drain.
    pub(crate) async fn run(mut self, tasks: Tasks) {
        let _mourner = Mourner(self.health.clone());
        let Some(_lock) = self.lock(&tasks).await else {
            return;
        };
        self.look_at_destination().await;
        tokio::select! {
            () = tokio::time::sleep(START_SPREAD.mul_f64(self.phase)) => {}
            () = tasks.draining() => {}
        }
        let mut duty = self.duty(&tasks);
        let (mut failures, mut passes) = (0, 0_u64);
        while !tasks.is_draining() {
            let started = Instant::now();
            self.status.send_modify(|status| status.running = true);
            let (report, called) = self.pass(&mut duty).await;
            let metrics = &self.engine.attempts.metrics;
            metrics
                .cycle_seconds
                .observe(started.elapsed().as_secs_f64());
            if report.changed > 0 {
                self.hook.changed(report.release.as_deref());
            }
            self.run_hook().await;
            passes += 1;
            self.publish(&report, &tasks, started.elapsed(), passes);
            if !report.is_complete() {
                self.open_gate_for_what_is_there(&report).await;
            }
            failures = if matches!(report.outcome, Outcome::Failed(_)) {
                failures + 1
            } else {
                0
            };
            if let Some(call) = called {
                self.flush(Some(&call), &tasks).await;
            } else if !report.again {
                let pause = self.pause_length(failures, passes);
                self.pause(pause, &mut duty, &tasks).await;
            }
        }
        self.flush_at_the_end(duty, &tasks).await;
    }

    fn name(&self) -> &str {
        &self.engine.config.name
    }

    fn pause_length(&self, failures: u32, passes: u64) -> Duration {
        let config = &self.engine.config;
        let interval = config.interval.get();
        match (failures, passes) {
            (0, 1) => interval.mul_f64(self.phase),
            (0, _) => jittered(interval, config.jitter.fraction()),
            _ => pause_after(failures, interval.max(FAILED_PAUSE_MIN)),
        }
    }

    /// Waits for the next pass.
    async fn pause(&mut self, pause: Duration, duty: &mut Option<Duty>, tasks: &Tasks) {
        let mut end = tokio::time::Instant::now() + pause;
        loop {
            match self.wait(end, duty, tasks).await {
                Woken::Pass => return,
                Woken::Flush(call) => self.flush(Some(&call), tasks).await,
                Woken::Stirred => {
                    let (all, report) = self.worker.push(&self.engine, false).await;
                    if self.pushed(&report, tasks) || all {
                        // the rest, and what failed, is the next pass's; not at once, should it fail again
                        end = end.min(tokio::time::Instant::now() + PUSH_AGAIN);
                    }
                }
                Woken::Hook => {
                    self.run_hook().await;
                    if let Some(failure) = &self.hook_failure {
                        let text = format!("after_change: {failure}");
                        self.health.degraded(Reach::Local, text.clone());
                        self.status.send_modify(|status| status.trouble = text);
                    }
                }
            }
        }
    }

    async fn wait(
        &mut self,
        end: tokio::time::Instant,
        duty: &mut Option<Duty>,
        tasks: &Tasks,
    ) -> Woken {
        let hook_due = self.hook.due_at().unwrap_or(end + FAILED_PAUSE_MIN);
        tokio::select! {
            () = tokio::time::sleep_until(end) => Woken::Pass,
            () = tokio::time::sleep_until(hook_due) => Woken::Hook,
            () = self.nudge.notified() => Woken::Pass,
            () = self.worker.stirred() => Woken::Stirred,
            () = tasks.draining() => Woken::Pass,
            call = flush::called(duty) => Woken::Flush(call),
            Some(command) = self.commands.recv() => match command {
                Command::RollBack(to, reply) => {
                    let done = self.worker.roll_back(to).await;
                    if let Ok(release) = &done {
                        tracing::warn!(job = self.name(), release, "rolled back");
                        self.hook.changed(Some(release));
                    }
                    // whoever asked may have gone
                    let _gone = reply.send(done);
                    Woken::Pass
                }
            },
        }
    }

    /// Takes in what a push did between two passes; whether it failed.
    fn pushed(&mut self, report: &Report, tasks: &Tasks) -> bool {
        if report.changed > 0 {
            self.hook.changed(None);
            tracing::debug!(job = self.name(), files = report.changed, "pushed");
        }
        if let Outcome::Failed(error) = &report.outcome {
            let metrics = &self.engine.attempts.metrics;
            metrics.errors(error.label()).inc();
            tasks.fault(&fault(error));
        }
        report.failed > 0 || matches!(report.outcome, Outcome::Failed(_))
    }

    async fn run_hook(&mut self) {
        let Some(done) = self.hook.run_if_due().await else {
            return;
        };
        self.engine.attempts.metrics.hooks(done.is_ok()).inc();
        self.hook_failure = done.err();
        if let Some(failure) = &self.hook_failure {
            let metrics = &self.engine.attempts.metrics;
            metrics.errors("after_change").inc();
            tracing::error!(job = self.name(), "after_change: {failure}");
        }
    }

    /// A storage that is away must not keep an instance out whose image brought all of its files: they are compared with the
    /// index, byte by byte.
    async fn open_gate_for_what_is_there(&self, report: &Report) {
        let closed = self.gate.as_ref().filter(|gate| !gate.is_open());
        let (Some(gate), Outcome::Failed(error)) = (closed, &report.outcome) else {
            return;
        };
        if error.store_error().is_none() {
            return;
        }
        let found = self.worker.verify(&self.engine).await;
        if let Ok(found) = found
            && found.is_whole()
        {
            tracing::warn!(
                job = self.name(),
                files = found.files,
                "the storage is away; serving the files that are here, all of which are as they were written"
            );
            gate.open();
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
            let pause = pause_after(failures, FAILED_PAUSE_MIN);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = tasks.draining() => {}
            }
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
    fn publish(&self, report: &Report, tasks: &Tasks, took: Duration, passes: u64) {
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
        let (done_files, done_bytes) = self.engine.attempts.progress.read();
        self.status.send_modify(|status| {
            status.running = false;
            status.passes = passes;
            status.changed = report.changed;
            (status.done_files, status.done_bytes) = (done_files, done_bytes);
            if report.release.is_some() {
                status.release.clone_from(&report.release);
                status.rolled_back.clone_from(&report.rolled_back);
            }
            if report.is_complete() {
                status.last_success = Some(whole_seconds(SystemTime::now()));
                status.files = report.in_place;
                status.refused = report.refused.values().sum();
            }
            status.held = report
                .held
                .map(|guard| (guard.label().to_owned(), report.census.deletes));
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

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

pub(crate) fn lock(path: &Path) -> std::io::Result<std::fs::File> {
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
