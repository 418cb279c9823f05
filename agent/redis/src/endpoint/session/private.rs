//! A connection of the client's own: to watch keys, to wait for data, to hear messages.

use std::sync::Arc;

use bytes::Bytes;
use lamplighter_core::fault::chain;
use lamplighter_wire::redis::command::Command as Known;
use lamplighter_wire::redis::write;

use super::{Flow, Lane, Session};
use crate::endpoint::policy::Decision;
use crate::server::{Command, Failure, PinError, Private, Target};

impl Session {
    /// WATCH, SUBSCRIBE, or a command that waits: sent over a connection of the client's own.
    pub(super) async fn own_connection(
        &mut self,
        known: &'static Known,
        length: usize,
        decision: Decision,
    ) -> Flow {
        if self.private.is_none() && self.outbox.outstanding() > 0 {
            return Flow::Settle;
        }
        let seen = self.look(known, length);
        if let Some(refused) = seen.refused {
            return self.refuse(length, refused, "rule", false);
        }
        if seen.crosses {
            let reply = write::error("CROSSSLOT Keys in request don't hash to the same slot");
            return self.refuse(length, reply, "rule", false);
        }
        if self.private.is_none()
            && let Err(reply) = self.open_private(seen.slot).await
        {
            return self.refuse(length, reply, "private", false);
        }
        let Some(lane) = self.own_lane() else {
            return Flow::Settle;
        };
        self.shared.metrics.private();
        let bytes = self.consume(length);
        let target = if decision == Decision::Subscribe {
            self.subscribed = true;
            Target::Messages(self.replies())
        } else {
            self.watching |= decision == Decision::Watch;
            self.alone = true;
            Target::Client {
                outbox: self.replies(),
                place: self.outbox.reserve(),
                tally: None,
            }
        };
        let command = Command {
            target,
            protocol: self.who.protocol,
            patience: (decision != Decision::Block).then(|| self.shared.patience(false)),
            ..Command::silent(bytes)
        };
        self.push(lane, seen.ahead, seen.slot, command);
        Flow::Next
    }

    /// The lane of the client's own connection, behind everything that is to be sent over it; `None` if something else must be
    /// answered first.
    pub(super) fn own_lane(&mut self) -> Option<usize> {
        let private = self.private.as_ref()?;
        let own = |lane: &Lane| Arc::ptr_eq(&lane.handle, &private.handle);
        let at = self.lanes.iter().position(own);
        if at.is_none() && self.outbox.outstanding() == 0 {
            self.lanes.retain(|lane| !lane.batch.is_empty());
        }
        if at.is_none() && self.lanes.is_empty() {
            self.lanes.push(Lane {
                server: Arc::clone(&private.server),
                slow: false,
                handle: Arc::clone(&private.handle),
                batch: Vec::new(),
            });
            return Some(0);
        }
        at
    }

    pub(super) async fn open_private(&mut self, slot: Option<u16>) -> Result<(), Bytes> {
        let opened = match self.shared.router.server_soon(slot).await {
            Ok(server) => Private::open(&server, self.who.protocol).await,
            Err(_) => Err(PinError::Down),
        };
        let private =
            opened.map_err(|error| write::error(&format!("ERR lamplighter: {}", chain(&error))))?;
        self.shared.metrics.private_in_use(private.in_use());
        self.private = Some(private);
        Ok(())
    }

    /// Hands commands to the client's own connection; fails them if it is gone.
    pub(super) async fn give(&self, handle: &crate::server::Handle, batch: Vec<Command>) {
        if let Err(back) = handle.submit(batch).await {
            for command in back {
                let failure = Failure::Lost("it ended before the command was sent");
                self.shared.router.fail(command, &failure);
            }
        }
    }

    /// A request of a client that listens: what the server says to it comes among the messages.
    pub(super) fn pass(&mut self, length: usize) -> Flow {
        let bytes = self.consume(length);
        let Some(lane) = self.own_lane() else {
            return Flow::Close;
        };
        let command = Command {
            replies: 0,
            ..Command::silent(bytes)
        };
        self.push(lane, Vec::new(), None, command);
        Flow::Next
    }

    /// The transaction is over, or UNWATCH is on its way: nothing is watched behind it.
    pub(super) const fn unwatch(&mut self) {
        self.watching = false;
    }

    /// Ends the watch of a transaction that is not executed.
    pub(super) fn unwatch_silently(&mut self) {
        self.watching = false;
        let Some(lane) = self.own_lane() else {
            // unclean, and so not for the next one
            self.private = None;
            self.lanes.clear();
            return;
        };
        let unwatch = Command::silent(write::request(&["UNWATCH"]));
        self.push(lane, Vec::new(), None, unwatch);
    }

    /// Everything is answered: a connection of the client's own that nothing holds is for the next who needs one.
    pub(super) fn let_go(&mut self) {
        // a command that is still to be sent would be sent among the next one's
        if self.watching || self.subscribed || !self.lanes.is_empty() {
            return;
        }
        if let Some(private) = self.private.take() {
            let in_use = private.in_use();
            private.give_back();
            self.shared.metrics.private_in_use(in_use.saturating_sub(1));
        }
    }
}
