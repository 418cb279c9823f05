//! A command about a prepared statement on its way to a server connection: prepared there if need be, addressed by the id it
//! has there, with the types its parameters need there.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::mysql::flags::Status;
use lamplighter_wire::mysql::packet::{self, HEADER_LEN};
use lamplighter_wire::mysql::prepared::{Execute, set_statement_id};
use lamplighter_wire::mysql::request::payload_prefix;
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{self, Traits};

use super::Session;
use super::relay::Job;
use super::statement::ANSWERED;
use super::stream::Failure;
use crate::client::Request;
use crate::hold::Ties;
use crate::pool::BusyLease;
use crate::prepared::Template;
use crate::server::Wanted;

/// ER_MAX_PREPARED_STMT_COUNT_REACHED.
pub(super) const TOO_MANY_STATEMENTS: u16 = 1461;
/// ER_MALFORMED_PACKET.
const MALFORMED_PACKET: u16 = 1835;

/// A command that has to be read whole may be this large, in bytes: the default of the server's `max_allowed_packet`.
pub(super) const WHOLE_MAX: usize = 64 * 1024 * 1024;

/// A command about a prepared statement, on its way to a connection.
#[derive(Debug)]
pub(super) struct Execution {
    /// The client's id of it.
    pub(super) id: u32,
    pub(super) wanted: Wanted,
    pub(super) command: Command,
    pub(super) parameters: Parameters,
}

/// Where the types of an execution's parameters are.
#[derive(Debug)]
pub(super) enum Parameters {
    /// There are none, or the command is not an execution.
    None,
    /// In the request.
    Sent(Bytes),
    /// In an earlier request of the client's: the connection may not know them.
    Earlier { layout: Execute, types: Bytes },
}

impl Execution {
    /// What the reply says of cursors and of what was sent ahead.
    pub(super) fn note(&self, ties: &mut Ties, completion: &Completion, busy: &mut BusyLease) {
        let failed = matches!(completion.outcome, Outcome::Err { .. });
        let at_end = completion
            .status
            .contains(Status::SERVER_STATUS_LAST_ROW_SENT);
        match self.command {
            Command::StmtExecute => {
                ties.set_cursor(self.id, completion.outcome == Outcome::CursorOpened);
                ties.set_long_data(self.id, false);
            }
            Command::StmtFetch if failed || at_end => ties.set_cursor(self.id, false),
            Command::StmtReset if !failed => {
                ties.set_cursor(self.id, false);
                ties.set_long_data(self.id, false);
            }
            Command::StmtSendLongData => ties.set_long_data(self.id, true),
            _ => {}
        }
        let is_over = !ties.has_cursor(self.id) && !ties.has_long_data(self.id);
        if self.wanted.owner.is_some() && is_over {
            busy.connection.close_prepared(&self.wanted);
        }
    }

    /// Writes what the connection needs to hear into the request.
    fn address(&mut self, busy: &mut BusyLease, request: &mut Request, server_id: u32) {
        if let Some(known) = busy.connection.parameter_types(&self.wanted) {
            match &self.parameters {
                Parameters::None => {}
                Parameters::Sent(types) => known.clone_from(types),
                Parameters::Earlier { types, .. } if known == types => {}
                Parameters::Earlier { layout, types } => {
                    let body = payload_prefix(&request.packets, WHOLE_MAX);
                    let whole = layout.with_types(&body, types);
                    request.packets = BytesMut::with_capacity(whole.len() + HEADER_LEN);
                    packet::write(&mut request.packets, &mut 0, &whole);
                    known.clone_from(types);
                    self.parameters = Parameters::Sent(types.clone());
                }
            }
        }
        // too short to hold an id: the server refuses it itself
        let _written = set_statement_id(&mut request.packets, server_id);
    }
}

impl Session<'_> {
    /// What the statement asks about the session goes into its text, if only the session knows it.
    pub(super) fn answer_execution(&mut self, template: &Template, execution: &mut Execution) {
        let answered = self.with_answers(template, execution.id).map(Arc::new);
        // one that has its connection to itself is asked for its cursor later, by the client's id
        if let Some(known) = execution
            .wanted
            .owner
            .and_then(|id| self.statements.get_mut(id))
        {
            let before = std::mem::replace(&mut known.answered, answered.clone());
            if let (Some(before), Some(held)) = (before, &mut self.hold) {
                held.lease.connection.close_prepared(&Wanted {
                    template: before,
                    owner: execution.wanted.owner,
                });
            }
        }
        if let Some(answered) = answered {
            execution.wanted.template = answered;
        }
    }

    /// The statement with what it asks about the session answered in its text, if only the session knows that.
    fn with_answers(&self, template: &Template, id: u32) -> Option<Template> {
        let traits = template.statement.traits;
        let has_pieces = self
            .hold
            .as_ref()
            .is_some_and(|held| held.ties.has_long_data(id));
        if has_pieces {
            // they were sent to the statement as the client has it, on the connection that knows
            return None;
        }
        if !traits.intersects(ANSWERED) || traits.contains(Traits::MULTI_STATEMENT) {
            return None;
        }
        let value = |asked| self.value_in_text(asked);
        let text = sql::answer_in_text(&template.text, template.mode, value)?;
        Some(Template {
            statement: sql::classify(&text, template.mode),
            text: text.into(),
            mode: template.mode,
            bucket: template.bucket.clone(),
            reply: template.reply.clone(),
            is_private: template.is_private,
            digest: OnceLock::new(),
        })
    }

    /// Sees to it that the statement is prepared on the connection, and addresses the request to it there. What the server
    /// refuses the preparation with is the answer to the command.
    pub(super) async fn make_ready(
        &self,
        busy: &mut BusyLease,
        job: &mut Job<'_>,
    ) -> Result<Option<Completion>, Failure> {
        let Some(execution) = &mut job.execution else {
            return Ok(None);
        };
        let types = match &execution.parameters {
            Parameters::None => Bytes::new(),
            Parameters::Sent(types) | Parameters::Earlier { types, .. } => types.clone(),
        };
        let wanted = &execution.wanted;
        let mut answer = busy.connection.prepare(wanted, &types).await?;
        if matches!(&answer, Err(refused) if is_too_many(refused)) {
            busy.connection.close_all_prepared();
            answer = busy.connection.prepare(wanted, &types).await?;
        }
        match answer {
            Ok(server_id) => {
                execution.address(busy, &mut job.request, server_id);
                Ok(None)
            }
            Err(refused) => Ok(Some(refused)),
        }
    }
}

pub(super) fn is_too_many(refused: &Completion) -> bool {
    matches!(refused.outcome, Outcome::Err { code, .. } if code == TOO_MANY_STATEMENTS)
}

pub(super) fn error_of(refused: &Completion) -> ErrPacket {
    let nothing = || ErrPacket::new(MALFORMED_PACKET, *b"HY000", b"no reply".to_vec());
    refused.outcome.error().unwrap_or_else(nothing)
}
