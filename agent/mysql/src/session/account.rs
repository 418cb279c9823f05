//! What a command cost and what it left behind, for the statistics: opened when the command is there, closed when it is answered.

use std::time::Instant;

use lamplighter_wire::mysql::attributes::query_text_at;
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::flags::Capabilities;
use lamplighter_wire::mysql::packet::HEADER_LEN;
use lamplighter_wire::mysql::prepared::statement_id;
use lamplighter_wire::mysql::request::payload_prefix;
use lamplighter_wire::sql::digest::Mode;

use super::Session;
use crate::client::Request;
use crate::hold::HoldReason;
use crate::prepared::Template;
use crate::statistics::{Key, PinFacts, Tally};

/// As much of a statement as is read for its digest, in bytes: a digest ends sooner, unless the statement is one list of values.
const READ_MAX: usize = 64 * 1024;

/// One command's account.
pub(super) struct Account {
    pub(super) started: Instant,
    /// Only commands that run statements have one.
    key: Option<Key>,
    hold: Option<(HoldReason, Instant)>,
    /// What the client had been sent before.
    sent: u64,
}

impl Session<'_> {
    pub(super) fn open_account(&mut self, command: Command, request: &Request) -> Account {
        self.tally = Tally::default();
        let key = match command {
            Command::Query if !self.hides_text() => {
                let body = payload_prefix(&request.packets, READ_MAX);
                let at = query_text_at(&body, self.identity.capabilities).unwrap_or(1);
                let text = body.get(at..).unwrap_or_default();
                self.shared.statistics.key(text, self.digest_mode())
            }
            Command::StmtExecute => {
                let body = request.packets.get(HEADER_LEN..).unwrap_or_default();
                statement_id(body)
                    .and_then(|id| self.statements.get(id))
                    .and_then(|statement| self.template_key(&statement.template))
            }
            _ => None,
        };
        Account {
            started: Instant::now(),
            key,
            hold: self.holding(),
            sent: self.client.sent(),
        }
    }

    /// The digest of a prepared statement, made from its text once and kept with it.
    fn template_key(&self, template: &Template) -> Option<Key> {
        let statistics = &self.shared.statistics;
        let kept = template.digest.get().copied();
        kept.filter(|key| statistics.knows(*key)).or_else(|| {
            let text = template.text.get(..READ_MAX).unwrap_or(&template.text);
            let key = statistics.key(text, self.digest_mode())?;
            Some(*template.digest.get_or_init(|| key))
        })
    }

    pub(super) fn close_account(&mut self, account: &Account) {
        self.tally.bytes = self.client.sent() - account.sent;
        let elapsed = account.started.elapsed();
        let shared = self.shared;
        shared
            .metrics
            .command_seconds
            .observe(elapsed.as_secs_f64());
        if let Some(key) = account.key {
            shared.statistics.record(key, &self.tally, elapsed);
        }
        let now = self.holding();
        if now == account.hold {
            return;
        }
        let client = self.identity.connection_id;
        if account.hold.is_some() {
            shared.statistics.unpinned(client);
        }
        if let (Some((reason, since)), Some(held)) = (now, &self.hold) {
            let facts = PinFacts {
                reason: reason.label(),
                since,
                key: account.key,
                user: self.identity.user.clone(),
                server: held.lease.pool().name().into(),
            };
            shared.statistics.pinned(client, facts);
        }
    }

    /// Why the client keeps its connection and since when; the right to ask about the last statement does not count.
    fn holding(&self) -> Option<(HoldReason, Instant)> {
        let held = self.hold.as_ref().map(super::keep::Held::since);
        held.filter(|(reason, _)| *reason != HoldReason::Diagnostics)
    }

    fn digest_mode(&self) -> Mode {
        let space = Capabilities::CLIENT_IGNORE_SPACE;
        let modes = self.variables.sql_mode().unwrap_or_default();
        Mode {
            lex: self.lex_mode(),
            ignore_space: modes.ignore_space || self.identity.capabilities.contains(space),
            high_not_precedence: modes.high_not_precedence,
            pipes_as_concat: modes.pipes_as_concat,
            ..Mode::default()
        }
    }
}
