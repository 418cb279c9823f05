//! Keeping a server connection and giving it back: what is on it, since when, and what has to be known before it goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_wire::mysql::response::ErrPacket;

use super::Session;
use crate::hold::{HoldReason, Ties};
use crate::insert_id::{OfSession, There};
use crate::pool::{Discard, Lease};
use crate::prepared::Statements;
use crate::variables::Variables;

/// ER_CLIENT_INTERACTION_TIMEOUT.
const CLIENT_INTERACTION_TIMEOUT: u16 = 4031;

/// A server connection that the client keeps.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) ties: Ties,
    pub(super) insert_id: There,
    reason: HoldReason,
    since: Instant,
}

impl Held {
    /// The connection must be wiped before anybody else gets it.
    fn must_be_wiped(&self) -> bool {
        !self.ties.only_diagnostics()
    }
}

/// How often it is looked whether somebody waits for an idle connection.
const LOOK: Duration = Duration::from_millis(100);

/// Resolves when the client has kept its connection idle for as long as it may, and others wait for it.
pub(super) async fn idle_too_long(held: Option<&Held>) {
    let Some((held, limit)) = held.and_then(|held| Some((held, held.lease.pool().idle_hold()?)))
    else {
        return std::future::pending().await;
    };
    tokio::time::sleep(limit).await;
    while !held.lease.pool().is_wanted() {
        tokio::time::sleep(LOOK).await;
    }
}

impl Session<'_> {
    /// Tells a client that kept its connection idle for too long, as MySQL does at `wait_timeout`.
    pub(super) async fn refuse_to_wait(&mut self) {
        self.shared.metrics.idle_holds_ended.inc();
        let reason = self.hold.as_ref().map_or("", |held| held.reason.label());
        tracing::warn!(
            id = self.identity.connection_id,
            reason,
            "a client that kept an idle connection is let go: others wait for it"
        );
        let text = "lamplighter: disconnected because of inactivity: others wait for the server connection that was kept";
        let packet = ErrPacket::new(
            CLIENT_INTERACTION_TIMEOUT,
            *b"HY000",
            text.as_bytes().to_vec(),
        );
        // it need not read it, and may be gone
        let _told = tokio::time::timeout(LOOK, self.client.send_error(&packet, 0)).await;
    }

    /// Keeps or gives back the connection after a command; `before` says why and since when it was kept, if it was.
    pub(super) fn settle(
        &mut self,
        lease: Lease,
        ties: Ties,
        insert_id: There,
        before: Option<(HoldReason, Instant)>,
    ) {
        match before {
            None => self.settle_first(lease, ties, insert_id),
            Some(before) => self.settle_again(lease, ties, insert_id, before),
        }
    }

    fn settle_first(&mut self, lease: Lease, ties: Ties, insert_id: There) {
        let Some(reason) = ties.reason() else {
            return self.give_back(lease, insert_id);
        };
        let label = [reason.label()];
        self.shared.metrics.holds.with_label_values(&label).inc();
        self.shared.metrics.held.with_label_values(&label).inc();
        self.hold = Some(Held {
            lease,
            ties,
            insert_id,
            reason,
            since: Instant::now(),
        });
    }

    /// For a connection that was kept before: it is the same hold that goes on.
    fn settle_again(
        &mut self,
        lease: Lease,
        ties: Ties,
        insert_id: There,
        before: (HoldReason, Instant),
    ) {
        let (was, since) = before;
        match ties.reason() {
            Some(reason) if reason == was => {
                let label = [reason.label()];
                self.shared.metrics.held.with_label_values(&label).inc();
                self.hold = Some(Held {
                    lease,
                    ties,
                    insert_id,
                    reason,
                    since,
                });
            }
            _ => {
                self.note_end(was, since);
                self.settle_first(lease, ties, insert_id);
            }
        }
    }

    fn give_back(&mut self, mut lease: Lease, insert_id: There) {
        if let Some(left) = lease.connection.leave_insert_id(insert_id) {
            self.insert_id = left;
            self.insert_id_left_at = Some(Arc::clone(lease.pool()));
        }
        lease.release();
    }

    /// Gives the held connection back if nothing of the client's is on it any more.
    pub(super) fn release_if_free(&mut self) {
        if self.hold.as_ref().is_some_and(|held| held.ties.is_free())
            && let Some(held) = self.take_hold()
        {
            self.note_end(held.reason, held.since);
            self.give_back(held.lease, held.insert_id);
        }
    }

    /// Takes the connection to run something on it; the hold goes on or ends with that.
    pub(super) fn take_hold(&mut self) -> Option<Held> {
        let held = self.hold.take()?;
        let label = [held.reason.label()];
        self.shared.metrics.held.with_label_values(&label).dec();
        Some(held)
    }

    pub(super) fn note_end(&self, reason: HoldReason, since: Instant) {
        self.shared
            .metrics
            .hold_seconds
            .with_label_values(&[reason.label()])
            .observe(since.elapsed().as_secs_f64());
    }

    /// Gives the held connection back, wiped.
    pub(super) async fn wipe_hold(&mut self) {
        if let Some(held) = self.take_hold() {
            self.note_end(held.reason, held.since);
            held.lease.reset_and_release().await;
        }
    }

    /// As after a new login: nothing held, nothing remembered.
    pub(super) async fn forget_session(&mut self) {
        self.wipe_hold().await;
        self.variables = Variables::default();
        self.statements = Statements::default();
        self.insert_id = OfSession::default();
        self.insert_id_left_at = None;
        self.views.forget();
        self.last.begin_anew();
    }

    /// As [`Session::forget_diagnostics`], once the connection has told what it alone knows and can tell.
    pub(super) async fn leave_diagnostics(&mut self) {
        if self.last.is_on_connection()
            && let Some(held) = self.take_hold()
        {
            let Held {
                lease,
                ties,
                insert_id,
                reason,
                since,
            } = held;
            let mut busy = lease.start();
            // if it does not say, whoever asks hears that
            let Ok((rows, told)) = busy.connection.count(b"SELECT FOUND_ROWS()").await else {
                self.note_end(reason, since);
                return self.lose_connection(insert_id.is_there());
            };
            self.last.note_told(rows);
            let lease =
                busy.finish(|connection| connection.finish(told.boundary, told.status, None));
            self.settle(lease, ties, insert_id, Some((reason, since)));
        }
        self.forget_diagnostics();
    }

    /// The time for questions about the last statement is over.
    pub(super) fn forget_diagnostics(&mut self) {
        let Some(held) = self.take_hold() else { return };
        self.note_end(held.reason, held.since);
        self.last.lose();
        self.give_back(held.lease, held.insert_id);
    }

    /// Gives back a replica's connection that was only held for a question about the last statement.
    pub(super) async fn leave_replica(&mut self) {
        let only_diagnostics = self.hold.as_ref().is_some_and(|held| {
            let on_primary = Arc::ptr_eq(held.lease.pool(), &self.shared.primary);
            held.ties.only_diagnostics() && !on_primary
        });
        if only_diagnostics {
            self.leave_diagnostics().await;
        }
    }

    /// Gives the held connection back, wiped if needed. The client is told by its socket.
    pub(super) async fn end(mut self, draining: bool) {
        self.shared.statistics.unpinned(self.identity.connection_id);
        let held = self.take_hold();
        let Self { client, shared, .. } = self;
        drop(client);
        let Some(held) = held else { return };
        shared
            .metrics
            .hold_seconds
            .with_label_values(&[held.reason.label()])
            .observe(held.since.elapsed().as_secs_f64());
        if !held.must_be_wiped() {
            held.lease.release();
        } else if draining {
            held.lease.close(Discard::Retired);
        } else {
            held.lease.reset_and_release().await;
        }
    }
}

impl Held {
    pub(super) const fn since(&self) -> (HoldReason, Instant) {
        (self.reason, self.since)
    }

    pub(super) const fn reason(&self) -> HoldReason {
        self.reason
    }
}
