//! Sending: which server and which connection, in the order of what the client asked.

use std::sync::Arc;

use bytes::Bytes;
use lamplighter_wire::redis::command::{Access, Command as Known};

use super::{Flow, Lane, Session};
use crate::endpoint::rules::Rule;
use crate::endpoint::tally::Tally;
use crate::endpoint::transaction::Transaction;
use crate::server::{Command, Failure, Miss, Target};

impl Session {
    /// Sends the request at the front of the inbox over a shared connection, or over the client's own while it watches.
    pub(super) async fn send(&mut self, known: &'static Known, length: usize, slow: bool) -> Flow {
        let seen = self.look(known, length);
        if let Some(refused) = seen.refused {
            return self.refuse(length, refused, "rule", false);
        }
        if self.shared.router.is_cluster()
            && self.private.is_none()
            && let Some(flow) = self.spread(known, length, &seen, slow).await
        {
            return flow;
        }
        if let Some(rule) = seen.rule.as_ref().filter(|_| self.private.is_none())
            && let Some(filler) = self.filler(rule, known)
        {
            return self.lease(filler, length, &seen);
        }
        let tally = self.tally(known, seen.rule.as_ref());
        let (miss, repeatable) = (self.miss(known), known.access == Access::Read);
        let lane = match self.lane(seen.slot, slow).await {
            Ok(Some(lane)) => lane,
            Ok(None) => return Flow::Settle,
            Err(failure) => {
                let bytes = self.consume(length);
                self.fail(bytes, miss, &failure);
                return Flow::Next;
            }
        };
        let bytes = self.consume(length);
        let place = self.outbox.reserve();
        let command = Command {
            replies: 1,
            target: Target::Client {
                outbox: self.replies(),
                place,
                tally,
            },
            repeatable,
            scripted: is_script(known),
            slot: seen.slot,
            miss,
            protocol: self.who.protocol,
            slow,
            patience: Some(self.shared.patience(slow)),
            ..Command::silent(bytes)
        };
        self.push(lane, seen.ahead, seen.slot, command);
        Flow::Next
    }

    /// Puts a command, and what goes before it, at the end of a lane's batch.
    pub(super) fn push(
        &mut self,
        lane: usize,
        ahead: Vec<Bytes>,
        slot: Option<u16>,
        command: Command,
    ) {
        self.shared.metrics.sent(command.slow);
        let Some(lane) = self.lanes.get_mut(lane) else {
            return;
        };
        for bytes in ahead {
            lane.batch.push(Command {
                slot,
                ..Command::silent(bytes)
            });
        }
        lane.batch.push(command);
    }

    /// Sends a request of the endpoint's own in the place of the client's; the client gets its reply.
    pub(super) async fn send_bytes(
        &mut self,
        bytes: Bytes,
        slot: Option<u16>,
        slow: bool,
        private: bool,
    ) -> Flow {
        debug_assert!(!private || self.private.is_some());
        match self.lane(slot, slow).await {
            Ok(Some(lane)) => {
                let place = self.outbox.reserve();
                let command = Command {
                    target: Target::Client {
                        outbox: self.replies(),
                        place,
                        tally: None,
                    },
                    slot,
                    slow,
                    protocol: self.who.protocol,
                    patience: Some(self.shared.patience(slow)),
                    ..Command::silent(bytes)
                };
                self.push(lane, Vec::new(), slot, command);
                if private {
                    self.unwatch();
                }
            }
            // a private connection is always at hand
            Ok(None) => return Flow::Settle,
            Err(failure) => self.fail(bytes, Miss::Error, &failure),
        }
        Flow::Next
    }

    /// Sends a whole transaction; nothing is sent if it has to wait.
    pub(super) async fn send_transaction(&mut self, transaction: &Transaction) -> Flow {
        let (bytes, replies) = transaction.block();
        let slot = transaction.slot();
        let slow = transaction.slow && self.private.is_none();
        match self.lane(slot, slow).await {
            Ok(Some(lane)) => {
                let place = self.outbox.reserve();
                let command = Command {
                    replies,
                    target: Target::Client {
                        outbox: self.replies(),
                        place,
                        tally: None,
                    },
                    slot,
                    slow,
                    protocol: self.who.protocol,
                    patience: Some(self.shared.patience(slow)),
                    ..Command::silent(bytes)
                };
                self.push(lane, transaction.ahead.clone(), slot, command);
                self.unwatch();
            }
            Ok(None) => return Flow::Settle,
            Err(failure) => self.fail(bytes, Miss::Error, &failure),
        }
        Flow::Next
    }

    fn fail(&mut self, bytes: Bytes, miss: Miss, failure: &Failure) {
        let place = self.outbox.reserve();
        let command = Command {
            target: Target::Client {
                outbox: self.replies(),
                place,
                tally: None,
            },
            miss,
            protocol: self.who.protocol,
            ..Command::silent(bytes)
        };
        self.shared.router.fail(command, failure);
    }

    /// The lane for a slot; `None` if replies must come first, so that the order of what the client asked is kept.
    pub(super) async fn lane(
        &mut self,
        slot: Option<u16>,
        slow: bool,
    ) -> Result<Option<usize>, Failure> {
        if self.private.is_some() {
            return Ok(self.own_lane());
        }
        let cluster = self.shared.router.is_cluster();
        if let Some(first) = self.lanes.first() {
            // on another connection it might overtake
            if first.slow != slow {
                return Ok(None);
            }
            if !cluster && first.handle.is_open() {
                return Ok(Some(0));
            }
        }
        let server = match self.shared.router.server(slot) {
            Some(server) => server,
            None => Box::pin(self.shared.router.server_soon(slot)).await?,
        };
        let fits = |lane: &Lane| Arc::ptr_eq(&lane.server, &server) && lane.handle.is_open();
        if let Some(at) = self.lanes.iter().position(fits) {
            return Ok(Some(at));
        }
        let handle = match server.choose(self.who.protocol, slow) {
            Some(handle) => handle,
            None => Box::pin(server.acquire(self.who.protocol, slow)).await?,
        };
        self.lanes.push(Lane {
            server,
            slow,
            handle,
            batch: Vec::new(),
        });
        Ok(Some(self.lanes.len() - 1))
    }

    fn tally(&self, known: &Known, rule: Option<&Arc<Rule>>) -> Option<Tally> {
        let series = || Arc::clone(rule.map_or(&self.shared.rules.others, |rule| &rule.series));
        match known.name {
            "GET" | "GETEX" | "GETDEL" | "HGET" => Some(Tally::one(series())),
            "MGET" => Some(Tally::many(series())),
            _ => None,
        }
    }

    /// What stands for the reply when nobody can be asked.
    fn miss(&self, known: &Known) -> Miss {
        if known.access != Access::Read {
            return Miss::Error;
        }
        match known.name {
            "GET" | "HGET" | "ZSCORE" | "LINDEX" | "ZRANK" | "ZREVRANK" | "DUMP" | "RANDOMKEY" => {
                Miss::Null
            }
            "EXISTS" | "HEXISTS" | "SISMEMBER" | "STRLEN" | "LLEN" | "SCARD" | "HLEN" | "ZCARD"
            | "ZCOUNT" | "TOUCH" | "GETBIT" | "BITCOUNT" | "HSTRLEN" => Miss::Zero,
            "HGETALL" | "SMEMBERS" | "LRANGE" | "ZRANGE" | "HKEYS" | "HVALS" | "KEYS"
            | "ZREVRANGE" | "ZRANGEBYSCORE" | "SUNION" | "SINTER" | "SDIFF"
                if self.who.protocol == lamplighter_wire::redis::Protocol::Resp2 =>
            {
                Miss::Empty
            }
            "MGET" => Miss::Nulls(count(self.scanner.arguments().len() - 1)),
            "HMGET" => Miss::Nulls(count(self.scanner.arguments().len().saturating_sub(2))),
            _ => Miss::Error,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Whether the command runs a script or function that may write.
fn is_script(known: &Known) -> bool {
    matches!(known.name, "EVAL" | "EVALSHA" | "FCALL")
}
