//! In a cluster: one command that several servers have to hear, and one reply out of theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lamplighter_wire::redis::command::{Access, Command as Known, Keys};
use lamplighter_wire::redis::keys::slot;
use lamplighter_wire::redis::request::RequestScanner;
use lamplighter_wire::redis::write;

use super::ruled::Seen;
use super::{Flow, Lane, Session};
use crate::backoff::random;
use crate::endpoint::local::wrong_arguments;
use crate::endpoint::merge::{Merge, Plan};
use crate::endpoint::scan::Cursor;
use crate::server::{Command, Failure, Server, Target};

impl Session {
    /// In a cluster: commands whose keys lie in several slots, and those that every server has to hear. `None` for all others.
    pub(super) async fn spread(
        &mut self,
        known: &'static Known,
        length: usize,
        seen: &Seen,
        slow: bool,
    ) -> Option<Flow> {
        if seen.crosses {
            // a key without a value: nothing is written, as on one server
            if known.keys == Keys::Pairs && self.scanner.arguments().len().is_multiple_of(2) {
                let reply = wrong_arguments(&known.name.to_lowercase());
                return Some(self.refuse(length, reply, "arity", false));
            }
            let Some((groups, plan)) = self.split(known) else {
                let reply = write::error("CROSSSLOT Keys in request don't hash to the same slot");
                return Some(self.refuse(length, reply, "rule", false));
            };
            if self.lanes.first().is_some_and(|lane| lane.slow != slow) {
                return Some(Flow::Settle);
            }
            self.consume(length);
            let place = self.outbox.reserve();
            let merge = Merge::new(plan, groups.len(), self.who.protocol, self.replies(), place);
            let mut ahead = seen.ahead.clone();
            for (index, (slot, request)) in groups.into_iter().enumerate() {
                self.part(
                    &merge,
                    index,
                    Some(slot),
                    request,
                    known,
                    slow,
                    std::mem::take(&mut ahead),
                )
                .await;
            }
            return Some(Flow::Next);
        }
        self.broadcast(known, length, slow).await
    }

    /// Commands without a key that every server of the cluster has to hear.
    async fn broadcast(
        &mut self,
        known: &'static Known,
        length: usize,
        slow: bool,
    ) -> Option<Flow> {
        let plan = match known.name {
            "DBSIZE" => Plan::Sum,
            "KEYS" => Plan::Concat,
            "FLUSHDB" | "FLUSHALL" => Plan::AllOk,
            "SCRIPT" | "FUNCTION" => Plan::First,
            "RANDOMKEY" => Plan::Any(random()),
            "SCAN" => return self.scan(known, length, slow).await,
            _ => return None,
        };
        let servers = self.shared.router.servers();
        if servers.is_empty() {
            return None;
        }
        if self.lanes.first().is_some_and(|lane| lane.slow != slow) {
            return Some(Flow::Settle);
        }
        let request = self.consume(length);
        let place = self.outbox.reserve();
        let merge = Merge::new(
            plan,
            servers.len(),
            self.who.protocol,
            self.replies(),
            place,
        );
        for (index, server) in servers.into_iter().enumerate() {
            let command = self.part_command(&merge, index, None, request.clone(), known, slow);
            self.send_to(server, command, slow).await;
        }
        Some(Flow::Next)
    }

    /// One step of a walk through the keys of all servers, one server after the other.
    async fn scan(&mut self, known: &'static Known, length: usize, slow: bool) -> Option<Flow> {
        let mut servers = self.shared.router.servers();
        // a walk goes on where it was, whatever order the map came in
        servers.sort_by(|one, other| one.address.cmp(&other.address));
        let arguments: Vec<&[u8]> = self.argument(0..).collect();
        let Some(cursor) = arguments.get(1).and_then(|text| Cursor::read(text)) else {
            let reply = write::error("ERR invalid cursor");
            return Some(self.refuse(length, reply, "rule", false));
        };
        let (index, own) = cursor.at(servers.len())?;
        let own = own.to_string();
        let words = [arguments.get(..1)?, &[own.as_bytes()], arguments.get(2..)?].concat();
        let request = write::request(&words);
        let server = Arc::clone(servers.get(index)?);
        if self.lanes.first().is_some_and(|lane| lane.slow != slow) {
            return Some(Flow::Settle);
        }
        self.consume(length);
        let plan = Plan::Scan {
            index,
            servers: servers.len(),
        };
        let place = self.outbox.reserve();
        let merge = Merge::new(plan, 1, self.who.protocol, self.replies(), place);
        let command = self.part_command(&merge, 0, None, request, known, slow);
        self.send_to(server, command, slow).await;
        Some(Flow::Next)
    }

    /// Sends a command to this server, whatever keys it has.
    async fn send_to(&mut self, server: Arc<Server>, command: Command, slow: bool) {
        match Box::pin(server.acquire(self.who.protocol, slow)).await {
            Ok(handle) => {
                let same = |lane: &Lane| Arc::ptr_eq(&lane.handle, &handle);
                let at = self.lanes.iter().position(same).unwrap_or_else(|| {
                    self.lanes.push(Lane {
                        server,
                        slow,
                        handle: Arc::clone(&handle),
                        batch: Vec::new(),
                    });
                    self.lanes.len() - 1
                });
                self.push(at, Vec::new(), None, command);
            }
            Err(failure) => self.shared.router.fail(command, &failure),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a part is what the whole is, and where it belongs"
    )]
    async fn part(
        &mut self,
        merge: &Arc<Merge>,
        index: usize,
        slot: Option<u16>,
        request: Bytes,
        known: &Known,
        slow: bool,
        ahead: Vec<Bytes>,
    ) {
        let command = self.part_command(merge, index, slot, request, known, slow);
        // tombstones lie in slots of their own keys
        for bytes in ahead {
            let router = Arc::clone(&self.shared.router);
            let slot = tombstone_slot(&bytes);
            Box::pin(router.send(Command {
                slot,
                ..Command::silent(bytes)
            }))
            .await;
        }
        match self.lane(slot, slow).await {
            Ok(Some(lane)) => self.push(lane, Vec::new(), slot, command),
            Ok(None) => self.shared.router.fail(command, &Failure::Overloaded),
            Err(failure) => self.shared.router.fail(command, &failure),
        }
    }

    fn part_command(
        &self,
        merge: &Arc<Merge>,
        index: usize,
        slot: Option<u16>,
        request: Bytes,
        known: &Known,
        slow: bool,
    ) -> Command {
        Command {
            target: Target::Part {
                merge: Arc::clone(merge),
                index,
            },
            repeatable: known.access == Access::Read,
            slot,
            slow,
            protocol: self.who.protocol,
            patience: Some(self.shared.patience(slow)),
            ..Command::silent(request)
        }
    }

    /// A request for each slot, and how their replies become one. Only for commands that do the same to each key.
    fn split(&self, known: &Known) -> Option<(Vec<(u16, Bytes)>, Plan)> {
        let step = if known.keys == Keys::Pairs { 2 } else { 1 };
        let arguments: Vec<&[u8]> = self.argument(0..).collect();
        let (name, rest) = arguments.split_first()?;
        let mut groups: BTreeMap<u16, Vec<&[u8]>> = BTreeMap::new();
        for chunk in rest.chunks(step) {
            let group = groups
                .entry(slot(chunk.first()?))
                .or_insert_with(|| vec![*name]);
            group.extend_from_slice(chunk);
        }
        let plan = match known.name {
            "DEL" | "EXISTS" | "UNLINK" | "TOUCH" => Plan::Sum,
            "MSET" => Plan::AllOk,
            "MGET" => {
                let part = |key: &&[u8]| groups.keys().position(|group| *group == slot(key));
                Plan::Gather(rest.iter().map(part).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        let requests = groups
            .into_iter()
            .map(|(slot, arguments)| (slot, write::request(&arguments)))
            .collect();
        Some((requests, plan))
    }
}

/// The slot of the key in `SET key ...` as [`Session::apply`] writes it.
fn tombstone_slot(request: &[u8]) -> Option<u16> {
    let mut scanner = RequestScanner::new();
    scanner.feed(request).ok()?;
    let key = scanner.arguments().get(1)?;
    request.get(key.clone()).map(slot)
}
