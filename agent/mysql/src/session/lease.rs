//! Where a command gets its server connection from: the one the client keeps, or one from a pool in the state it expects.

use std::time::{Duration, Instant};

use super::Session;
use super::consistency::Way;
use super::keep::Held;
use super::refusal::need_of;
use super::relay::Job;
use crate::error::StatementError;
use crate::hold::{HoldReason, Ran, Ties, asks_about_the_last};
use crate::insert_id::There;
use crate::pool::{Ask, Claim, ClaimKind, Lease};
use crate::position::Position;
use crate::replica::Replica;
use crate::route::Why;

/// A replica that has not said by then whether it has a write is left.
const SILENT: Duration = Duration::from_secs(1);

/// A connection to run a command on, with what it was kept for before.
pub(super) struct Leased {
    pub(super) lease: Lease,
    pub(super) ties: Ties,
    pub(super) insert_id: There,
    /// It was kept: why and since when.
    pub(super) before: Option<(HoldReason, Instant)>,
}

impl Leased {
    fn of(held: Held) -> Self {
        let before = Some(held.since());
        let Held {
            lease,
            ties,
            insert_id,
            ..
        } = held;
        Self {
            lease,
            ties,
            insert_id,
            before,
        }
    }

    /// The client would go on as if it still had what is on this connection.
    pub(super) fn has_state(&self) -> bool {
        !self.ties.is_free() && !self.ties.only_diagnostics()
    }
}

impl Session<'_> {
    /// The held connection, or one from a pool; one that writes waits until `until` for a server that takes writes, if that is given,
    /// else for as long as is configured. With an error: whether state of the client's was lost.
    pub(super) async fn lease(
        &mut self,
        way: &mut Way,
        job: &Job<'_>,
        until: Option<tokio::time::Instant>,
    ) -> Result<Leased, (StatementError, bool)> {
        self.leave_retired(job).await;
        if let Some(held) = self.take_hold() {
            return self.lease_held(held, job.reads_insert_id).await;
        }
        // the next connection does not know what was before
        self.last.move_on();
        let bucket = self.bucket();
        let mut ask = Ask {
            bucket: &bucket,
            claim: self.claim(way.why),
            session: Some(&self.insert_id),
            left_at: self.insert_id_left_at.as_ref(),
            insert_id: job.reads_insert_id,
            template: job.execution.as_ref().map(|it| &it.wanted.template),
            ahead: job.may_retry
                && job.execution.is_none()
                && job.request.rest.is_none()
                && way.wait.is_none(),
            need: need_of(job.ran, self.variables.autocommit_is_off()),
            until,
        };
        let free = |lease| Leased {
            lease,
            ties: Ties::default(),
            insert_id: There::No,
            before: None,
        };
        if let Some(replica) = way.replica.and_then(|index| self.shared.replica(index)) {
            match self.lease_replica(replica, way.wait.as_ref(), &ask).await {
                Ok(lease) => return Ok(free(lease)),
                Err(why) => {
                    *way = Way::primary(why);
                    ask.claim = self.claim(why);
                }
            }
        }
        match self.shared.primary.acquire(&ask).await {
            Ok(lease) => Ok(free(lease)),
            Err(error) => Err((error, false)),
        }
    }

    /// A connection to a replica that has the writes of `wait`, or why there is none.
    async fn lease_replica(
        &self,
        replica: &Replica,
        wait: Option<&Position>,
        ask: &Ask<'_>,
    ) -> Result<Lease, Why> {
        let lease = replica.acquire(ask).await.map_err(|error| {
            tracing::debug!(%error, "replica not reached; the primary answers");
            Why::ReplicaFailed
        })?;
        match wait {
            None => Ok(lease),
            Some(position) => self.caught_up(replica, lease, position).await,
        }
    }

    /// Waits for a moment until the replica has the writes.
    async fn caught_up(
        &self,
        replica: &Replica,
        lease: Lease,
        position: &Position,
    ) -> Result<Lease, Why> {
        let Some(gtids) = position.gtids() else {
            lease.release();
            return Err(Why::WroteBefore);
        };
        // "GTID Functions": 0 if the server has them all, 1 if the time is over
        let seconds = self.shared.read_wait.as_secs_f64();
        let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', {seconds})");
        let mut busy = lease.start();
        // the server keeps the time itself, unless it has fallen silent; then the connection is closed
        let limit = self.shared.read_wait + SILENT;
        let asked = tokio::time::timeout(limit, busy.connection.ask(sql.as_bytes())).await;
        let Ok(Ok((completion, row))) = asked else {
            replica.note_waited_in_vain();
            return Err(Why::ReplicaFailed);
        };
        let (boundary, status) = (completion.boundary, completion.status);
        let lease = busy.finish(|connection| connection.finish(boundary, status, None));
        let has_all = row.ends_with(b"\x010");
        let outcome = if has_all { "caught_up" } else { "behind" };
        let waits = &self.shared.metrics.read_waits;
        waits.with_label_values(&[outcome]).inc();
        if has_all {
            replica.note_has(position);
            return Ok(lease);
        }
        replica.note_waited_in_vain();
        lease.release();
        Err(Why::WroteBefore)
    }

    /// Gives back a connection that nobody is to use again, if it is kept for nothing but a question that the command is not.
    async fn leave_retired(&mut self, job: &Job<'_>) {
        let asks =
            matches!(job.ran, Ran::Statement { statement, .. } if asks_about_the_last(statement));
        let is_retired = |held: &Held| held.ties.only_diagnostics() && held.lease.is_retired();
        if !asks && self.hold.as_ref().is_some_and(is_retired) {
            self.leave_diagnostics().await;
        }
    }

    /// What the client asks for as. While no replica is fit its reads leave the primary room for writes.
    fn claim(&self, why: Why) -> Claim {
        let wants_replica = matches!(why, Why::NoReplica | Why::ReplicaFailed);
        let kind = if wants_replica && self.shared.has_replicas() {
            ClaimKind::Fallback
        } else {
            ClaimKind::Regular
        };
        Claim {
            tenant: self.views.tenant,
            kind,
        }
    }

    async fn lease_held(
        &mut self,
        held: Held,
        reads_insert_id: bool,
    ) -> Result<Leased, (StatementError, bool)> {
        let leased = Leased::of(held);
        let is_ready = leased.insert_id == There::Certain || leased.ties.has_xa();
        if !reads_insert_id || is_ready {
            return Ok(leased);
        }
        let had_state = leased.has_state();
        self.with_insert_id(leased)
            .await
            .map_err(|error| (error, had_state))
    }

    /// Makes LAST_INSERT_ID() on a held connection the session's, and known to it.
    async fn with_insert_id(&mut self, mut leased: Leased) -> Result<Leased, StatementError> {
        let there = std::mem::take(&mut leased.insert_id);
        if let Some(left) = leased.lease.connection.leave_insert_id(there) {
            self.insert_id = left;
            leased.lease = leased.lease.with_settled_insert_id().await?;
        }
        let left_at = self.insert_id_left_at.as_ref();
        leased.lease = leased
            .lease
            .with_insert_id(&self.insert_id, left_at)
            .await?;
        Ok(leased)
    }

    /// Asks the held connection for LAST_INSERT_ID(), if it alone knows: one round trip, as the client's own question would be.
    pub(super) async fn learn_insert_id(&mut self) -> Result<(), (StatementError, bool)> {
        let alone_knows = |held: &Held| held.insert_id.is_there() && !held.ties.has_xa();
        if !self.hold.as_ref().is_some_and(alone_knows) {
            return Ok(());
        }
        let Some(held) = self.take_hold() else {
            return Ok(());
        };
        let leased = Leased::of(held);
        let had_state = leased.has_state();
        match self.with_insert_id(leased).await {
            Ok(leased) => {
                self.settle(leased.lease, leased.ties, leased.insert_id, leased.before);
                Ok(())
            }
            Err(error) => {
                self.lose_connection(true);
                Err((error, had_state))
            }
        }
    }
}
