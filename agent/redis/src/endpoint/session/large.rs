//! A request too long to be held in memory: passed on as it comes, over a connection of the client's own, so that nobody waits behind
//! it and at most a few buffers of it are here at any time.

use bytes::{Bytes, BytesMut};
use lamplighter_wire::redis::command::{self, Class};
use lamplighter_wire::redis::request::Progress;
use lamplighter_wire::redis::write;
use tokio::io::AsyncReadExt;

use super::{Flow, Session};
use crate::endpoint::listener::READ_SIZE;
use crate::endpoint::policy::{Decision, Situation, decide};
use crate::server::{Command, Handle, Target};

impl Session {
    /// Passes the request on whose beginning is in the inbox; every reply before it has been passed on.
    pub(super) async fn pass_large(&mut self) -> Flow {
        match self.way().await {
            Ok(handle) => {
                let place = self.outbox.reserve();
                let first = Command {
                    target: Target::Client {
                        outbox: self.replies(),
                        place,
                        tally: None,
                    },
                    protocol: self.who.protocol,
                    // as long as the client takes to send it; a dead server is noticed by TCP
                    patience: None,
                    ..Command::silent(Bytes::new())
                };
                self.alone = true;
                self.stream_through(Some((handle, first))).await
            }
            Err(reply) => {
                self.shared.metrics.refused("rule");
                if let Some(transaction) = &mut self.transaction {
                    transaction.spoiled = true;
                }
                let flow = self.stream_through(None).await;
                self.outbox.answer(reply);
                flow
            }
        }
    }

    /// A connection for it, or why it is refused.
    async fn way(&mut self) -> Result<Handle, Bytes> {
        let refused = |text: &str| Err(write::error(&format!("ERR lamplighter: {text}")));
        let name = self
            .scanner
            .arguments()
            .first()
            .and_then(|name| self.inbox.get(name.clone()));
        let Some(known) = name.and_then(command::find) else {
            return refused("an unknown command, and more than 1 MiB long");
        };
        let first = self.scanner.arguments().get(1);
        let first = first.and_then(|at| self.inbox.get(at.clone()));
        let known = command::called(known, first);
        let now = Situation {
            in_transaction: self.transaction.is_some(),
            watching: self.watching,
            subscribed: self.subscribed,
        };
        match decide(known, now, false, self.shared.allows(known)) {
            _ if !self.who.known => return Err(write::error("NOAUTH Authentication required.")),
            Decision::Send { .. } if known.class != Class::Denied => {}
            Decision::Refuse(refusal) => return Err(write::error(&refusal.text(known.name))),
            _ => {
                return refused(
                    "a command of more than 1 MiB cannot be part of a transaction or a subscription",
                );
            }
        }
        let seen = self.look(known, self.inbox.len());
        if let Some(refused) = seen.refused {
            return Err(refused);
        }
        if self.shared.router.is_cluster() && known.keys != command::Keys::One {
            return refused("a command with several keys and of more than 1 MiB cannot be split");
        }
        if self.private.is_none() {
            self.open_private(seen.slot).await?;
        }
        let Some(handle) = self.private.as_ref().map(|private| private.handle.clone()) else {
            return refused("no connection");
        };
        let handle = Handle::clone(&handle);
        let ahead = seen.ahead.into_iter().map(Command::silent).collect();
        self.give(&handle, ahead).await;
        Ok(handle)
    }

    /// Takes the request from the client to its end, and passes it on if there is somewhere to pass it to.
    async fn stream_through(&mut self, mut way: Option<(Handle, Command)>) -> Flow {
        let mut follow: Option<Handle> = None;
        loop {
            let progress = self.scanner.feed(&self.inbox);
            let (length, over) = match progress {
                Ok(Progress::NeedMore) => (self.scanner.scanned(), false),
                Ok(Progress::Complete(length)) => (length, true),
                Ok(Progress::Inline(_)) => return Flow::Close,
                Err(error) => {
                    self.outbox.answer(write::error(&format!("ERR {error}")));
                    // the server waits for the rest, which nobody knows
                    self.private = None;
                    return Flow::Close;
                }
            };
            let part = self.inbox.split_to(length).freeze();
            self.scanner.forget(length);
            if !part.is_empty() {
                let command = match way.take() {
                    Some((handle, first)) => {
                        follow = Some(handle);
                        Command {
                            bytes: part,
                            ..first
                        }
                    }
                    None => Command {
                        replies: 0,
                        ..Command::silent(part)
                    },
                };
                if let Some(handle) = &follow
                    && let Err(back) = handle.submit(vec![command]).await
                {
                    // whoever waits for the reply has heard; the rest is thrown away
                    follow = None;
                    for command in back {
                        let failure =
                            crate::server::Failure::Lost("it ended while a value was sent");
                        self.shared.router.fail(command, &failure);
                    }
                }
            }
            if over {
                self.scanner.reset();
                return Flow::Next;
            }
            self.inbox.reserve(READ_SIZE);
            match self.stream.read_buf(&mut self.inbox).await {
                Ok(count) if count > 0 => {}
                _ => {
                    self.private = None;
                    self.inbox = BytesMut::new();
                    self.outbox.close();
                    return Flow::Close;
                }
            }
        }
    }
}
