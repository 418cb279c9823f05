//! A required job holds back the first traffic until it is done or its deadline has passed; after that it never does again.

use std::time::Duration;

use lamplighter_core::health::Gate;
use lamplighter_core::lifecycle::Tasks;
use prometheus::IntCounter;
use tokio_util::sync::CancellationToken;

/// The right to let traffic in.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    done: CancellationToken,
}

impl Doorkeeper {
    /// Closes `gate` until [`Self::open`] or until `deadline` is over, which is counted in `timeouts`.
    pub(crate) fn new(
        gate: Gate,
        deadline: Duration,
        job: &str,
        timeouts: IntCounter,
        tasks: &Tasks,
    ) -> Self {
        let done = CancellationToken::new();
        let keeper = Self { done: done.clone() };
        let job = job.to_owned();
        let leaving = tasks.clone();
        tasks.spawn("warm gate", async move {
            tokio::select! {
                () = done.cancelled() => {}
                () = leaving.draining() => {}
                () = tokio::time::sleep(deadline) => {
                    timeouts.inc();
                    tracing::warn!(job, ?deadline, "not warm by its deadline; serving with a cold cache");
                }
            }
            gate.open();
        });
        keeper
    }

    /// The job is done.
    pub(crate) fn open(&self) {
        self.done.cancel();
    }
}
