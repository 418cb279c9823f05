//! COM_STMT_*: a client's prepared statements are texts; the server connection that happens to run one prepares it when it is
//! not prepared there yet. Only cursors and parameters sent in pieces keep their connection.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::ReplyShape;
use lamplighter_wire::mysql::packet::HEADER_LEN;
use lamplighter_wire::mysql::prepared::{Execute, statement_id};
use lamplighter_wire::mysql::request::payload_prefix;
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{self, Kind, Statement, Traits};

use super::consistency::Way;
use super::execution::{
    Execution, Parameters, TOO_MANY_STATEMENTS, WHOLE_MAX, error_of, is_too_many,
};
use super::insert_id::touches_insert_id;
use super::lease::Leased;
use super::priming::Prime;
use super::relay::{Job, Lost};
use super::{Flow, Session};
use crate::client::Request;
use crate::error::StatementError;
use crate::hold::{Context, Ran, Ties, names_user_variables, runs_program};
use crate::prepared::Template;
use crate::route::Why;
use crate::server::Wanted;

/// ER_UNKNOWN_STMT_HANDLER.
const UNKNOWN_STATEMENT: u16 = 1243;
/// ER_STMT_HAS_NO_OPEN_CURSOR.
const NO_OPEN_CURSOR: u16 = 1421;
/// ER_NET_PACKET_TOO_LARGE.
const PACKET_TOO_LARGE: u16 = 1153;
/// ER_MALFORMED_PACKET.
const MALFORMED_PACKET: u16 = 1835;

impl Session<'_> {
    /// COM_STMT_PREPARE.
    pub(super) async fn prepare(&mut self, mut request: Request) -> Flow {
        let seq = match self.read_whole(&mut request).await {
            Ok(()) => request.reply_seq,
            Err(flow) => return flow,
        };
        let body = payload_prefix(&request.packets, WHOLE_MAX);
        let text = Bytes::copy_from_slice(body.get(1..).unwrap_or_default());
        let is_private = self
            .hold
            .as_ref()
            .is_some_and(|held| held.ties.is_private());
        if !is_private
            && !self.hides_text()
            && let Some(template) = self.shared.templates.get(&text, &self.bucket())
        {
            self.shared.metrics.prepares_local.inc();
            return self.answer_prepared(template, seq).await;
        }
        self.prepare_on_server(text, is_private, seq).await
    }

    async fn answer_prepared(&mut self, template: Arc<Template>, seq: u8) -> Flow {
        let reply = template.reply.clone();
        let Some(id) = self.statements.add(template) else {
            let text = b"Can't create more prepared statements in one session".to_vec();
            let packet = ErrPacket::new(TOO_MANY_STATEMENTS, *b"42000", text);
            return self.answer_error(&packet, seq).await;
        };
        let (mut out, mut seq) = (BytesMut::new(), seq);
        let capabilities = self.identity.capabilities;
        reply.encode(id, capabilities, self.status(), &mut out, &mut seq);
        if self.client.send(&mut out).await.is_ok() {
            Flow::Continue
        } else {
            Flow::End
        }
    }

    async fn prepare_on_server(&mut self, text: Bytes, is_private: bool, seq: u8) -> Flow {
        let statement = self.judged(&text);
        // prepared here each time: another connection would not have its variables
        let is_private = is_private || names_user_variables(&statement);
        let mut way = self.choose(&statement, &text).await;
        let nothing = Request::nothing(seq);
        let job = Job::command(nothing, ReplyShape::Prepare, Command::StmtPrepare);
        let mut again = true;
        loop {
            let leased = match self.lease(&mut way, &job, None).await {
                Ok(leased) => leased,
                Err((error, had_state)) => {
                    return self.fail(Lost::early(error), seq, had_state).await;
                }
            };
            let had_state = leased.has_state();
            let alone_knew = leased.insert_id.is_there();
            let prepared = self
                .prepare_leased(leased, &text, statement, is_private)
                .await;
            if prepared.is_err() {
                self.lose_connection(alone_knew);
            }
            match prepared {
                Ok(Ok(template)) => return self.answer_prepared(template, seq).await,
                Ok(Err(packet)) => {
                    return if self.client.send_error(&packet, seq).await.is_ok() {
                        Flow::Continue
                    } else {
                        Flow::End
                    };
                }
                Err(Lost { again: true, .. }) if again && !had_state => {
                    again = false;
                    self.shared.metrics.retries.inc();
                }
                Err(lost) => return self.fail(lost, seq, had_state).await,
            }
        }
    }

    async fn prepare_leased(
        &mut self,
        leased: Leased,
        text: &Bytes,
        statement: Statement,
        is_private: bool,
    ) -> Result<Result<Arc<Template>, ErrPacket>, Lost> {
        let Leased {
            lease,
            mut ties,
            insert_id,
            before,
        } = leased;
        let mut busy = lease.start();
        let mut answer = busy.connection.prepare_text(text).await;
        if matches!(&answer, Ok(Err(refused)) if is_too_many(refused)) {
            busy.connection.close_all_prepared();
            answer = busy.connection.prepare_text(text).await;
        }
        let (prepared, completion) = match answer {
            Err(source) => {
                let server = busy.pool().name().to_owned();
                let again = busy.connection.was_reused();
                let error = StatementError::ServerLost { server, source };
                return Err(Lost {
                    again,
                    ..Lost::early(error)
                });
            }
            Ok(Err(refused)) => (Err(error_of(&refused)), refused),
            Ok(Ok((id, reply, completion))) => {
                let template = Template {
                    text: text.clone(),
                    statement,
                    mode: self.lex_mode(),
                    bucket: self.bucket(),
                    reply,
                    is_private,
                    digest: OnceLock::new(),
                };
                let template = if is_private {
                    Arc::new(template)
                } else {
                    self.shared.templates.put(template)
                };
                let wanted = Wanted {
                    template: Arc::clone(&template),
                    owner: None,
                };
                busy.connection.keep_prepared(wanted, id);
                (Ok(template), completion)
            }
        };
        let context = Context {
            schema: self.identity.schema.as_ref(),
            autocommit_off: self.variables.autocommit_is_off(),
        };
        ties.note(Ran::Command(Command::StmtPrepare), &completion, context);
        ties.note_preparation(&statement);
        self.last
            .note(Ran::Command(Command::StmtPrepare), &completion);
        let (boundary, status) = (completion.boundary, completion.status);
        let lease = busy.finish(|connection| connection.finish(boundary, status, None));
        self.settle(lease, ties, insert_id, before);
        Ok(prepared)
    }

    /// What the text says; in a character set that cannot be read, the worst.
    fn judged(&self, text: &[u8]) -> Statement {
        if self.hides_text() {
            return Statement {
                kind: Kind::Other,
                traits: Traits::empty(),
                hint: None,
                key: None,
            };
        }
        sql::classify(text, self.lex_mode())
    }

    /// COM_STMT_EXECUTE.
    pub(super) async fn execute(&mut self, mut request: Request) -> Flow {
        let seq = request.reply_seq;
        let body = payload_prefix(&request.packets, self.shared.statement_size_max);
        let found = statement_id(&body).and_then(|id| Some((id, self.statements.get(id)?)));
        let Some((id, known)) = found else {
            return self.unknown_statement(&request).await;
        };
        let template = Arc::clone(&known.template);
        let params = template.reply.params;
        let Ok(layout) = Execute::parse(&body, params, self.identity.capabilities) else {
            let text = b"Malformed communication packet".to_vec();
            let packet = ErrPacket::new(MALFORMED_PACKET, *b"HY000", text);
            return self.answer_error(&packet, seq).await;
        };
        let sent = layout.types(&body).map(Bytes::copy_from_slice);
        let relies = layout.relies_on_earlier_types();
        if relies && let Err(flow) = self.read_whole(&mut request).await {
            return flow;
        }
        let has_long_data = self
            .hold
            .as_ref()
            .is_some_and(|held| held.ties.has_long_data(id));
        let owner = (layout.cursor || has_long_data).then_some(id);
        let Some(known) = self.statements.get_mut(id) else {
            return Flow::End;
        };
        if let Some(deferred) = known.deferred.take() {
            return self.answer_error(&deferred, seq).await;
        }
        let parameters = match sent {
            Some(types) => {
                known.types = types.clone();
                Parameters::Sent(types)
            }
            None if relies => Parameters::Earlier {
                layout,
                types: known.types.clone(),
            },
            None => Parameters::None,
        };
        let execution = Execution {
            id,
            wanted: Wanted {
                template: Arc::clone(&template),
                owner,
            },
            command: Command::StmtExecute,
            parameters,
        };
        self.run_execution(request, &template, execution).await
    }

    async fn run_execution(
        &mut self,
        request: Request,
        template: &Template,
        mut execution: Execution,
    ) -> Flow {
        self.answer_execution(template, &mut execution);
        let template = &*Arc::clone(&execution.wanted.template);
        let statement = &template.statement;
        if !statement.traits.contains(Traits::MULTI_STATEMENT)
            && let Some(refusal) = self.cannot_know(statement)
        {
            return self.answer_error(&refusal, request.reply_seq).await;
        }
        if let Err(refusal) = self.leave_reading(statement).await {
            return self.answer_error(&refusal, request.reply_seq).await;
        }
        // it may have to be prepared in the other schema, and the way there is a command that changes nothing
        let is_elsewhere = template.bucket.schema != self.identity.schema;
        let prime = match self.priming(statement) {
            Prime::Nothing
                if is_elsewhere && runs_program(statement) && self.last.changed_one() =>
            {
                Prime::Program
            }
            prime => prime,
        };
        let way = if execution.wanted.owner.is_some() || prime != Prime::Nothing {
            // what keeps its connection must keep one that can do everything
            self.leave_replica().await;
            Way::primary(Why::NotARead)
        } else {
            self.choose(statement, &template.text).await
        };
        // of a request that is passed on as it comes nothing is left to be sent again
        let is_whole = request.rest.is_none();
        let job = Job {
            request,
            shape: ReplyShape::Execute,
            may_retry: statement.replica_safe()
                && execution.wanted.owner.is_none()
                && is_whole
                && prime == Prime::Nothing,
            ran: Ran::Statement {
                statement,
                text: &template.text,
                mode: template.mode,
            },
            execution: Some(execution),
            reads_insert_id: touches_insert_id(statement),
            warnings: None,
            prime,
        };
        self.run_on(way, job).await
    }

    /// COM_STMT_FETCH.
    pub(super) async fn fetch(&mut self, request: Request) -> Flow {
        match self.held_execution(&request, Command::StmtFetch, Ties::has_cursor) {
            Some(execution) => self.run_held(request, ReplyShape::Fetch, execution).await,
            None => self.no_cursor(&request).await,
        }
    }

    /// COM_STMT_RESET: closes the cursor and forgets what was sent in pieces; otherwise there is nothing to be reset.
    pub(super) async fn reset_statement(&mut self, request: Request) -> Flow {
        let body = request.packets.get(HEADER_LEN..).unwrap_or_default();
        let Some(known) = statement_id(body).and_then(|id| self.statements.get_mut(id)) else {
            return self.unknown_statement(&request).await;
        };
        known.deferred = None;
        let has_anything = |ties: &Ties, id| ties.has_cursor(id) || ties.has_long_data(id);
        match self.held_execution(&request, Command::StmtReset, has_anything) {
            Some(execution) => self.run_held(request, ReplyShape::OkOrErr, execution).await,
            None => {
                self.last.note_quiet(Command::StmtReset);
                self.answer_ok(request.reply_seq).await
            }
        }
    }

    /// COM_STMT_CLOSE; it has no reply.
    pub(super) fn close_statement(&mut self, request: &Request) -> Flow {
        let body = request.packets.get(HEADER_LEN..).unwrap_or_default();
        let Some(id) = statement_id(body) else {
            return Flow::Continue;
        };
        let removed = self.statements.remove(id);
        let (Some(held), Some(removed)) = (&mut self.hold, removed) else {
            return Flow::Continue;
        };
        if held.ties.has_cursor(id) || held.ties.has_long_data(id) {
            held.lease.connection.close_prepared(&Wanted {
                template: removed.answered.unwrap_or(removed.template),
                owner: Some(id),
            });
            held.ties.set_cursor(id, false);
            held.ties.set_long_data(id, false);
            self.release_if_free();
        }
        Flow::Continue
    }

    /// COM_STMT_SEND_LONG_DATA; it has no reply, so what goes wrong is told by the execution.
    pub(super) async fn send_long_data(&mut self, request: Request) -> Flow {
        let body = request.packets.get(HEADER_LEN..).unwrap_or_default();
        let found = statement_id(body).and_then(|id| Some((id, self.statements.get(id)?)));
        // MySQL ignores an unknown id as well
        let Some((id, known)) = found else {
            return self.swallow(request).await;
        };
        if known.deferred.is_some() {
            return self.swallow(request).await;
        }
        let template = Arc::clone(&known.template);
        self.leave_replica().await;
        let execution = Execution {
            id,
            wanted: Wanted {
                template,
                owner: Some(id),
            },
            command: Command::StmtSendLongData,
            parameters: Parameters::None,
        };
        let job = Job {
            execution: Some(execution),
            ..Job::command(request, ReplyShape::None, Command::StmtSendLongData)
        };
        self.run_on(Way::primary(Why::NotARead), job).await
    }

    /// A command about a statement that the held connection has something of.
    fn held_execution(
        &self,
        request: &Request,
        command: Command,
        has: impl Fn(&Ties, u32) -> bool,
    ) -> Option<Execution> {
        let id = statement_id(request.packets.get(HEADER_LEN..)?)?;
        let known = self.statements.get(id)?;
        let held = self.hold.as_ref()?;
        has(&held.ties, id).then(|| Execution {
            id,
            wanted: Wanted {
                template: Arc::clone(known.answered.as_ref().unwrap_or(&known.template)),
                owner: Some(id),
            },
            command,
            parameters: Parameters::None,
        })
    }

    async fn run_held(
        &mut self,
        request: Request,
        shape: ReplyShape,
        execution: Execution,
    ) -> Flow {
        let command = execution.command;
        let job = Job {
            execution: Some(execution),
            ..Job::command(request, shape, command)
        };
        self.run_on(Way::primary(Why::Held), job).await
    }

    /// Keeps what went wrong with a command that has no reply for the execution, which has one.
    pub(super) fn defer(&mut self, execution: &Execution, error: ErrPacket) {
        if let Some(known) = self.statements.get_mut(execution.id) {
            known.deferred.get_or_insert(error);
        }
    }

    async fn no_cursor(&mut self, request: &Request) -> Flow {
        let body = request.packets.get(HEADER_LEN..).unwrap_or_default();
        match statement_id(body).filter(|id| self.statements.get(*id).is_some()) {
            None => self.unknown_statement(request).await,
            Some(id) => {
                let text = format!("The statement ({id}) has no open cursor.").into_bytes();
                let packet = ErrPacket::new(NO_OPEN_CURSOR, *b"HY000", text);
                self.answer_error(&packet, request.reply_seq).await
            }
        }
    }

    async fn unknown_statement(&mut self, request: &Request) -> Flow {
        let id = statement_id(request.packets.get(HEADER_LEN..).unwrap_or_default()).unwrap_or(0);
        let text =
            format!("Unknown prepared statement handler ({id}) given to mysql_stmt_precheck");
        let packet = ErrPacket::new(UNKNOWN_STATEMENT, *b"HY000", text);
        if request.rest.is_some() {
            return Flow::End;
        }
        self.answer_error(&packet, request.reply_seq).await
    }

    /// Reads the rest of a command that has to be seen whole.
    async fn read_whole(&mut self, request: &mut Request) -> Result<(), Flow> {
        let Some(scanner) = &mut request.rest else {
            return Ok(());
        };
        loop {
            match self
                .client
                .continue_request(scanner, &mut request.packets)
                .await
            {
                Ok(false) if request.packets.len() > WHOLE_MAX => break,
                Ok(false) => {}
                Ok(true) => {
                    request.reply_seq = scanner.reply_seq();
                    request.rest = None;
                    return Ok(());
                }
                Err(error) => return Err(self.refuse(error).await),
            }
        }
        let text = b"Got a packet bigger than the endpoint reads whole (64 MiB)".to_vec();
        let packet = ErrPacket::new(PACKET_TOO_LARGE, *b"08S01", text);
        let _told = self.answer_error(&packet, 1).await;
        Err(Flow::End)
    }

    /// Reads a command to its end and forgets it.
    async fn swallow(&mut self, mut request: Request) -> Flow {
        while let Some(scanner) = &mut request.rest {
            request.packets.clear();
            match self
                .client
                .continue_request(scanner, &mut request.packets)
                .await
            {
                Ok(true) => request.rest = None,
                Ok(false) => {}
                Err(error) => return self.refuse(error).await,
            }
        }
        Flow::Continue
    }
}
