//! An entry's part in leaving: what was written here must not go away with the machine. Whoever waits for it sets the time; what is
//! not sent by then is sent beside the next steps, as long as the process lives.

use std::time::Duration;

use futures_util::FutureExt;
use lamplighter_core::lifecycle::{Call, DrainSource, Duty, Step, Tasks};

use super::Job;
use crate::cycle::{Outcome, Report};
use crate::pace::pause_after;
use crate::store::BlobStore;

/// The longest pause before what could not be sent is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// How often a file is tried that neither fails nor goes: it changes as it is read, or there can be no blob of its name.
const TRIES_MAX: u32 = 3;

/// How often people are told how many files are left.
const TELL: Duration = Duration::from_millis(100);

/// Resolves when the entry has to send what was written here; never for one that sends nothing. Safe to cancel.
pub(super) async fn called(duty: &mut Option<Duty>) -> Call {
    match duty {
        Some(duty) => duty.called().await,
        None => std::future::pending().await,
    }
}

impl<S: BlobStore> Job<S> {
    /// An entry that only pulls has none.
    pub(super) fn duty(&self, tasks: &Tasks) -> Option<Duty> {
        let name = format!("sync:{}", self.name());
        self.worker
            .sends()
            .then(|| tasks.duty(Step::Flushing, &name))
    }

    /// One pass. A call to send what was written here cuts it short: what others wrote may be long on its way.
    pub(super) async fn pass(&mut self, duty: &mut Option<Duty>) -> (Report, Option<Call>) {
        let quit = self.engine.attempts.quit.clone();
        let cut = quit.child_token();
        self.engine.attempts.quit = cut.clone();
        let pass = self.worker.pass(&self.engine);
        let (report, call) = {
            let mut pass = std::pin::pin!(pass);
            tokio::select! {
                report = &mut pass => (report, None),
                call = called(duty) => {
                    cut.cancel();
                    (pass.await, Some(call))
                }
            }
        };
        self.engine.attempts.quit = quit;
        (report, call)
    }

    /// Sends what was written here, and tries again until nothing is left or the step is over. Without a call: once.
    pub(super) async fn flush(&mut self, call: Option<&Call>, tasks: &Tasks) {
        for tries in 1.. {
            let queue = self.engine.attempts.metrics.queue.clone();
            let tell = async {
                loop {
                    tokio::time::sleep(TELL).await;
                    if let Some(call) = call {
                        call.left(u64::try_from(queue.get()).unwrap_or(0));
                    }
                }
            };
            let (left, report) = tokio::select! {
                flushed = self.worker.flush(&self.engine) => flushed,
                () = tell => return,
            };
            let failed =
                self.pushed(&report, tasks) || matches!(report.outcome, Outcome::Failed(_));
            let Some(call) = call else { return };
            if !failed && (left == 0 || tries >= TRIES_MAX) {
                return;
            }
            call.left(u64::try_from(left).unwrap_or(u64::MAX));
            tokio::select! {
                () = tokio::time::sleep(pause_after(tries, AGAIN)) => {}
                () = call.over() => return,
            }
        }
    }

    /// The last that an entry does.
    pub(super) async fn flush_at_the_end(&mut self, mut duty: Option<Duty>, tasks: &Tasks) {
        let progress = tasks.departures().progress();
        if progress.is_some_and(|it| it.source == DrainSource::Restart) {
            // the next agent finds the rest; only what is known already is sent
            let (_, report) = self.worker.push(&self.engine, true).await;
            self.pushed(&report, tasks);
            return;
        }
        if self.worker.sends() {
            let call = called(&mut duty).now_or_never();
            self.flush(call.as_ref(), tasks).await;
        }
    }
}
