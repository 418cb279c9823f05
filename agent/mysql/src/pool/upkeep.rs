//! What a pool does on a clock: closes what is old or idle, has what sessions left behind settled, keeps a connection ready. Touches
//! the network through [`Idle`](crate::server::Idle).

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Discard, Lease, Pool};
use crate::server::Bucket;

impl Pool {
    /// Closes what has been idle or open for too long or was closed by the server, and keeps `min_idle` ready. Called on a clock.
    pub(crate) async fn maintain(self: &Arc<Self>) {
        for reason in self.sweep() {
            self.count_discard(reason);
        }
        self.settle_insert_ids().await;
        if let Some(bucket) = self.wants_one_ready()
            && let Some(mut place) = self.place_at_once()
        {
            self.lock().open += 1;
            place.counted = true;
            // a server that is away is reported by the monitor
            match self.try_open(&bucket).await {
                Ok((connection, generation)) => {
                    place.generation = generation;
                    Lease { place, connection }.release();
                }
                Err(_) => place.uncount(),
            }
        }
    }

    fn sweep(&self) -> Vec<Discard> {
        let mut inner = self.lock();
        let mut discarded = Vec::new();
        let mut kept = VecDeque::with_capacity(inner.idle.len());
        // newest first, so that the oldest are the ones beyond `min_idle`
        while let Some(mut parked) = inner.idle.pop_back() {
            let idle_too_long = kept.len() >= self.limits.min_idle
                && !parked.is_owed()
                && parked.since.elapsed() > self.limits.idle_timeout.get();
            match self
                .unfit(&mut parked)
                .or_else(|| idle_too_long.then_some(Discard::Idle))
            {
                Some(reason) => discarded.push(reason),
                None => kept.push_front(parked),
            }
        }
        inner.idle = kept;
        inner.open -= discarded.len();
        self.show(&inner);
        discarded
    }

    fn wants_one_ready(&self) -> Option<Bucket> {
        let limit = self.admission.limit();
        let inner = self.lock();
        let room = inner.open < limit;
        (room && !self.is_silent() && inner.idle.len() < self.limits.min_idle)
            .then(|| inner.last_wanted.clone())
            .flatten()
    }
}
