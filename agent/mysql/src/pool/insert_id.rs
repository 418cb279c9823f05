//! LAST_INSERT_ID() that sessions have left on connections of the pool: asked for on a clock, so that its connection is free, and at
//! once if its session has to have it on another connection. Touches the network through [`Idle`](crate::server::Idle).

use std::sync::Arc;
use std::time::Duration;

use super::{Ask, Discard, Lease, Parked, Pool};
use crate::error::StatementError;
use crate::insert_id::{Awaited, OfSession};
use crate::server::Idle;

/// A connection stays the one that knows a session's LAST_INSERT_ID() for this long; then the server is asked.
const KEPT_BY_CONNECTION: Duration = Duration::from_secs(1);

/// Whoever has the connection that knows the value asks the server himself; after this long it may be back in the pool, unasked.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Pool {
    /// Asks for each LAST_INSERT_ID() that a session has left behind and may want. Called on a clock.
    pub(super) async fn settle_insert_ids(self: &Arc<Self>) {
        let is_due =
            |parked: &Parked| parked.since.elapsed() > KEPT_BY_CONNECTION && parked.is_owed();
        while self.settle_one(is_due).await {}
    }

    /// Has the idle connection that knows the value asked for it now, if it is one of this pool's.
    async fn recall(self: &Arc<Self>, awaited: &Awaited) {
        self.settle_one(|parked| parked.connection.insert_id().is_owed_to(awaited))
            .await;
    }

    /// Asks an idle connection that is `wanted` for what is on it; false if there is none or no right to one.
    async fn settle_one(self: &Arc<Self>, wanted: impl Fn(&Parked) -> bool) -> bool {
        let Some(mut place) = self.place_at_once() else {
            return false;
        };
        let Some(parked) = self.take_one(wanted) else {
            return false;
        };
        place.generation = parked.generation;
        place.counted = true;
        // one that has died is counted out by its place; its session hears that
        if let Ok(connection) = parked.connection.settle_insert_id().await {
            Lease { place, connection }.release();
        }
        true
    }

    fn take_one(&self, wanted: impl Fn(&Parked) -> bool) -> Option<Parked> {
        let mut inner = self.lock();
        let index = inner.idle.iter().position(wanted)?;
        inner.idle.remove(index)
    }

    /// Closes a connection that had to make room, once the server has told what its last session may want to know.
    pub(super) async fn close_evicted(&self, connection: Idle) {
        if connection.insert_id().is_wanted_beside(None) {
            // if the server does not say, the session hears that
            drop(connection.settle_insert_id().await);
        }
        self.count_discard(Discard::Evicted);
    }

    /// What LAST_INSERT_ID() has to be, if it matters and is known to more than the connection.
    pub(super) async fn wanted_insert_id(
        &self,
        connection: &Idle,
        ask: &Ask<'_>,
    ) -> Result<Option<u64>, StatementError> {
        let Some(session) = ask.session.filter(|_| ask.insert_id) else {
            return Ok(None);
        };
        if connection.insert_id().is_of(session) {
            return Ok(session.known());
        }
        match session {
            OfSession::Known(value) => Ok(Some(*value)),
            OfSession::Awaited(awaited) => self.told(awaited, ask.left_at).await.map(Some),
        }
    }

    /// What the connection says that was given back to the pool `left_at`.
    async fn told(
        &self,
        awaited: &Awaited,
        left_at: Option<&Arc<Self>>,
    ) -> Result<u64, StatementError> {
        let told = async {
            loop {
                if awaited.is_on_connection()
                    && let Some(pool) = left_at
                {
                    pool.recall(awaited).await;
                }
                if let Ok(told) = tokio::time::timeout(LOOK_AGAIN, awaited.value()).await {
                    return told;
                }
            }
        };
        let server = || left_at.map_or(&self.name, |pool| &pool.name).clone();
        let limit = self.limits.wait_timeout.get();
        match tokio::time::timeout(limit, told).await {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(StatementError::InsertIdLost { server: server() }),
            Err(_) => Err(StatementError::InsertIdLate {
                server: server(),
                waited: limit,
            }),
        }
    }
}
