//! The steps of leaving, one after the other, each within its time.

use super::Stage;
use crate::lifecycle::{Budget, Departures, Step};

/// The steps of leaving while every part stays alive.
#[derive(Clone)]
pub(super) struct Steps {
    pub(super) departures: Departures,
    pub(super) budget: Budget,
    pub(super) start: tokio::time::Instant,
}

impl Steps {
    /// The load balancer looks away, and whoever tells the local web server has done so.
    pub(super) async fn shed(self) {
        tokio::time::sleep_until(self.start + self.budget.shed).await;
        self.finish(Step::Shedding).await;
    }

    /// Waits for everybody in `step`, within its time.
    async fn finish(&self, step: Step) {
        let end = self.start + self.budget.end(step);
        let done = tokio::time::timeout_at(end, self.departures.done()).await;
        if done.is_err() {
            self.departures.abandon();
        }
    }

    pub(super) async fn all(self) {
        let steps = self.clone();
        self.shed().await;
        for (_, step) in Stage::DRAINING {
            steps.departures.enter(step);
            steps.finish(step).await;
        }
        steps.departures.enter(Step::Left);
        tracing::info!(after = ?steps.start.elapsed(), "nothing of the fleet's hangs on this instance any more");
    }
}
