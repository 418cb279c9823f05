//! One whole request: what it is, what is done with it.

use std::sync::Arc;

use bytes::Bytes;
use lamplighter_wire::redis::command::{self, Class, Command as Known};
use lamplighter_wire::redis::write;

use super::{Flow, Session};
use crate::endpoint::local::{self, Answer, Facts, wrong_arguments};
use crate::endpoint::policy::{Decision, Refusal, Situation, decide};

/// A command of a module, as if it were in the table: its first argument is its key.
pub(super) static OF_MODULE: Known = Known {
    name: "a module's command",
    arity: -1,
    class: Class::Plain,
    access: command::Access::Write,
    keys: command::Keys::One,
};

impl Session {
    /// The request of `length` bytes at the front of the inbox. With `Flow::Settle` it stays there and is looked at again.
    pub(super) async fn request(&mut self, length: usize) -> Flow {
        let arguments = self.scanner.arguments();
        let Some(name) = arguments
            .first()
            .and_then(|name| self.inbox.get(name.clone()))
        else {
            self.consume(length);
            return Flow::Next;
        };
        let known = match command::find(name) {
            Some(known) => known,
            None if command::is_of_module(name) => &OF_MODULE,
            None => {
                let text = unknown(&self.inbox, arguments);
                return self.refuse(length, write::error(&text), "unknown", true);
            }
        };
        if !self.who.known && !matches!(known.name, "AUTH" | "HELLO" | "QUIT" | "RESET") {
            return self.refuse(
                length,
                write::error("NOAUTH Authentication required."),
                "noauth",
                false,
            );
        }
        if !known.takes(arguments.len()) {
            let reply = wrong_arguments(&known.name.to_lowercase());
            return self.refuse(length, reply, "arity", true);
        }
        let first = arguments.get(1).and_then(|at| self.inbox.get(at.clone()));
        let known = command::called(known, first);
        let situation = Situation {
            in_transaction: self.transaction.is_some(),
            watching: self.watching,
            subscribed: self.subscribed,
        };
        let blocks = known.class == Class::Streams && self.has_word(b"BLOCK");
        let allowed = self.shared.allows(known);
        let decision = decide(known, situation, blocks, allowed);
        self.act(known, length, decision).await
    }

    async fn act(&mut self, known: &'static Known, length: usize, decision: Decision) -> Flow {
        match decision {
            Decision::Send { slow } => self.send(known, length, slow).await,
            // what came before them is of another protocol, or of a client that is not reset yet
            Decision::Local
                if matches!(known.name, "HELLO" | "RESET") && self.outbox.outstanding() > 0 =>
            {
                Flow::Settle
            }
            Decision::Local => self.local(known, length),
            Decision::Queue { slow } => self.queue(known, length, slow),
            Decision::Multi => {
                self.consume(length);
                self.transaction = Some(Box::default());
                self.outbox.answer(write::OK);
                Flow::Next
            }
            Decision::Discard => {
                self.consume(length);
                self.transaction = None;
                self.shared.metrics.local();
                if self.private.is_some() {
                    // the watch ends with it
                    return self
                        .send_bytes(write::request(&["UNWATCH"]), None, false, true)
                        .await;
                }
                self.outbox.answer(write::OK);
                Flow::Next
            }
            Decision::Exec => self.exec(length).await,
            Decision::Refuse(refusal) => {
                let text = refusal.text(known.name);
                self.refuse(
                    length,
                    write::error(&text),
                    refusal.label(),
                    refusal.spoils(),
                )
            }
            Decision::NotSubscribed => {
                self.not_subscribed(known, length);
                Flow::Next
            }
            Decision::Pass => self.pass(length),
            Decision::Unwatch if self.private.is_none() => {
                self.consume(length);
                self.outbox.answer(write::OK);
                Flow::Next
            }
            Decision::Unwatch => {
                self.consume(length);
                self.send_bytes(write::request(&["UNWATCH"]), None, false, true)
                    .await
            }
            Decision::Watch | Decision::Block | Decision::Subscribe => {
                Box::pin(self.own_connection(known, length, decision)).await
            }
        }
    }

    /// The request is dealt with.
    pub(super) fn consume(&mut self, length: usize) -> Bytes {
        self.scanner.reset();
        self.inbox.split_to(length).freeze()
    }

    pub(super) fn refuse(
        &mut self,
        length: usize,
        reply: Bytes,
        label: &'static str,
        spoils: bool,
    ) -> Flow {
        self.consume(length);
        self.shared.metrics.refused(label);
        if let Some(transaction) = &mut self.transaction {
            transaction.spoiled |= spoils;
        }
        self.outbox.answer(reply);
        Flow::Next
    }

    /// Whether a word stands among the arguments, before STREAMS.
    fn has_word(&self, word: &[u8]) -> bool {
        self.scanner
            .arguments()
            .iter()
            .skip(1)
            .filter_map(|range| self.inbox.get(range.clone()))
            .take_while(|argument| !argument.eq_ignore_ascii_case(b"STREAMS"))
            .any(|argument| argument.eq_ignore_ascii_case(word))
    }

    fn local(&mut self, known: &Known, length: usize) -> Flow {
        self.shared.metrics.local();
        let version = self.shared.router.version();
        let arguments: Vec<&[u8]> = self
            .scanner
            .arguments()
            .iter()
            .filter_map(|range| self.inbox.get(range.clone()))
            .collect();
        let facts = Facts {
            version: &version,
            // asked only where it matters: it is a look at every connection
            up: known.name != "PING" || self.shared.router.is_up(),
            password: self.shared.password.as_ref().map(|secret| secret.expose()),
        };
        let answer = local::answer(&mut self.who, &arguments, facts);
        drop(arguments);
        self.consume(length);
        match answer {
            Answer::Reply(reply) => self.outbox.answer(reply),
            Answer::Reset => {
                self.transaction = None;
                // dropped, not given back: whatever it was watching or hearing ends with it
                self.private = None;
                self.lanes.clear();
                self.subscribed = false;
                self.watching = false;
                self.who.protocol = lamplighter_wire::redis::Protocol::Resp2;
                self.who.name.clear();
                self.who.known = self.shared.password.is_none();
                self.outbox.answer(Bytes::from_static(b"+RESET\r\n"));
            }
            Answer::Quit => {
                self.outbox.answer(write::OK);
                return Flow::Close;
            }
        }
        Flow::Next
    }

    fn queue(&mut self, known: &'static Known, length: usize, slow: bool) -> Flow {
        let seen = self.look(known, length);
        if let Some(refused) = seen.refused {
            return self.refuse(length, refused, "rule", true);
        }
        let max = self.shared.config.transaction_max.as_usize();
        let request = self.consume(length);
        let Some(transaction) = &mut self.transaction else {
            return Flow::Next;
        };
        transaction.ahead.extend(seen.ahead);
        let crosses = seen.crosses;
        transaction.crosses |= crosses;
        let reply = if transaction.add(&request, seen.slot, slow, max) {
            write::QUEUED
        } else {
            write::error(&format!(
                "ERR lamplighter: more than {} of commands between MULTI and EXEC",
                self.shared.config.transaction_max
            ))
        };
        self.outbox.answer(reply);
        Flow::Next
    }

    async fn exec(&mut self, length: usize) -> Flow {
        let Some(transaction) = self.transaction.take() else {
            return Flow::Next;
        };
        let crosses = transaction.crosses && self.shared.router.is_cluster();
        if transaction.spoiled || crosses {
            let reply = if transaction.spoiled {
                write::error("EXECABORT Transaction discarded because of previous errors.")
            } else {
                write::error("CROSSSLOT Keys in request don't hash to the same slot")
            };
            self.consume(length);
            if self.private.is_some() {
                self.unwatch_silently();
            }
            self.outbox.answer(reply);
            return Flow::Next;
        }
        if transaction.is_empty() && self.private.is_none() {
            self.consume(length);
            self.outbox.answer(Bytes::from_static(b"*0\r\n"));
            return Flow::Next;
        }
        let flow = self.send_transaction(&transaction).await;
        if flow == Flow::Settle {
            self.transaction = Some(transaction);
        } else {
            self.consume(length);
        }
        flow
    }

    fn not_subscribed(&mut self, known: &Known, length: usize) {
        let kind = known.name.to_lowercase();
        let channels: Vec<Bytes> = self
            .scanner
            .arguments()
            .iter()
            .skip(1)
            .filter_map(|range| self.inbox.get(range.clone()))
            .map(write::bulk)
            .collect();
        self.consume(length);
        let marker = match self.who.protocol {
            lamplighter_wire::redis::Protocol::Resp2 => '*',
            lamplighter_wire::redis::Protocol::Resp3 => '>',
        };
        let none = [write::null(self.who.protocol)];
        let channels = if channels.is_empty() {
            &none[..]
        } else {
            &channels
        };
        for channel in channels {
            let mut out = format!("{marker}3\r\n${}\r\n{kind}\r\n", kind.len()).into_bytes();
            out.extend_from_slice(channel);
            out.extend_from_slice(b":0\r\n");
            self.outbox.answer(out.into());
        }
    }

    /// The outbox, for whoever answers later.
    pub(super) fn replies(&self) -> Arc<crate::endpoint::Outbox> {
        Arc::clone(&self.outbox)
    }
}

/// As Redis says it.
fn unknown(buffer: &[u8], arguments: &[std::ops::Range<usize>]) -> String {
    let text = |range: &std::ops::Range<usize>| {
        let bytes = buffer.get(range.clone()).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(..bytes.len().min(128)).unwrap_or_default()).into_owned()
    };
    let mut words = arguments.iter().map(text);
    let name = words.next().unwrap_or_default();
    let mut rest = String::new();
    for word in words {
        if rest.len() >= 128 {
            break;
        }
        rest.push_str(&format!("'{word}' "));
    }
    format!("ERR unknown command '{name}', with args beginning with: {rest}")
}

impl Refusal {
    /// Every metric label of a refusal, those of other modules included.
    pub(crate) const LABELS: [&'static str; 10] = [
        "denied",
        "never",
        "in_transaction",
        "subscribed",
        "no_transaction",
        "unknown",
        "noauth",
        "arity",
        "rule",
        "private",
    ];
}
