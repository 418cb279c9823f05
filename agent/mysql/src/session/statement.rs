//! COM_QUERY: looked through, then answered here, or sent to the server that its text, the session and the monitor choose.

use std::borrow::Cow;

use lamplighter_wire::mysql::attributes::query_text_at;
use lamplighter_wire::mysql::exchange::ReplyShape;
use lamplighter_wire::mysql::flags::Status;
use lamplighter_wire::mysql::request::payload_prefix;
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{self, Kind, LexMode, SessionValue, Statement, Traits};

use super::consistency::Way;
use super::insert_id::touches_insert_id;
use super::keep::Held;
use super::last::FoundRows;
use super::priming::Prime;
use super::{Flow, NOT_SUPPORTED, Session, relay};
use crate::client::Request;
use crate::hold::{Ran, text_matters};
use crate::route::Why;

impl Session<'_> {
    pub(super) async fn query(&mut self, request: Request) -> Flow {
        if request.rest.is_some() || self.hides_text() {
            return self.query_unread(request).await;
        }
        let body = payload_prefix(&request.packets, self.shared.statement_size_max);
        let Ok(at) = query_text_at(&body, self.identity.capabilities) else {
            drop(body);
            return self.query_unread(request).await;
        };
        let text: Cow<'_, [u8]> = match body {
            Cow::Borrowed(body) => Cow::Borrowed(body.get(at..).unwrap_or_default()),
            Cow::Owned(body) => Cow::Owned(body.get(at..).unwrap_or_default().to_vec()),
        };
        let statement = sql::classify(&text, self.lex_mode());
        if statement.kind == Kind::Kill
            && let Some(flow) = self.kill(&text, request.reply_seq).await
        {
            return flow;
        }
        // several statements ask each about the one before it, which is not the last one yet
        let single = !statement.traits.contains(Traits::MULTI_STATEMENT);
        if single
            && statement
                .traits
                .intersects(ANSWERED.union(Traits::LAST_INSERT_ID))
        {
            match self.answer_or_rewrite(&text, &request).await {
                Answer::Given(flow) => return flow,
                Answer::Rewritten(request) => return Box::pin(self.query(request)).await,
                Answer::None => {}
            }
        }
        if single && let Some(refusal) = self.cannot_know(&statement) {
            return self.answer_error(&refusal, request.reply_seq).await;
        }
        let is_set = matches!(
            statement.kind,
            Kind::SetNames | Kind::SetVariables | Kind::SetSessionTransaction
        );
        if is_set && let Some(flow) = self.set_locally(&text, request.reply_seq).await {
            return flow;
        }
        if let Err(refusal) = self.leave_reading(&statement).await {
            return self.answer_error(&refusal, request.reply_seq).await;
        }
        let prime = self.priming(&statement);
        let way = self.way(prime, &statement, &text).await;
        let noted = if text_matters(&statement) {
            text.into_owned()
        } else {
            drop(text);
            Vec::new()
        };
        let job = relay::Job {
            request,
            shape: ReplyShape::Query,
            may_retry: statement.replica_safe() && prime == Prime::Nothing,
            ran: Ran::Statement {
                statement: &statement,
                text: &noted,
                mode: self.lex_mode(),
            },
            execution: None,
            reads_insert_id: touches_insert_id(&statement),
            warnings: None,
            prime,
        };
        self.run_on(way, job).await
    }

    /// A statement that is too large to be looked through, or in a character set that cannot be read: it may do anything.
    async fn query_unread(&mut self, request: Request) -> Flow {
        self.leave_replica().await;
        let job = relay::Job {
            request,
            shape: ReplyShape::Query,
            ran: Ran::Oversized,
            may_retry: false,
            execution: None,
            reads_insert_id: true,
            warnings: None,
            prime: Prime::Nothing,
        };
        self.run_on(Way::primary(Why::NotARead), job).await
    }

    /// Questions that only the session knows the answer to: answered here if that is all that is asked, else in the text.
    async fn answer_or_rewrite(&mut self, text: &[u8], request: &Request) -> Answer {
        let exact = sql::exact_spelling(text).filter(|_| !self.must_hear());
        if exact.is_some_and(|asked| asked.value == SessionValue::LastInsertId)
            && let Err((error, had_state)) = self.learn_insert_id().await
        {
            let lost = relay::Lost::early(error);
            return Answer::Given(self.fail(lost, request.reply_seq, had_state).await);
        }
        if let Some((asked, value)) =
            exact.and_then(|asked| Some((asked, self.known_value(asked.value)?)))
        {
            return Answer::Given(self.answer_value(asked, value, request.reply_seq).await);
        }
        match sql::answer_in_text(text, self.lex_mode(), |asked| self.value_in_text(asked)) {
            None => Answer::None,
            Some(text) => {
                let body = payload_prefix(&request.packets, self.shared.statement_size_max);
                let capabilities = self.identity.capabilities;
                let at = query_text_at(&body, capabilities).unwrap_or(1);
                let attributes = body.get(1..at).unwrap_or_default();
                Answer::Rewritten(Request::query(attributes, &text, request.reply_seq))
            }
        }
    }

    /// A question about the last statement that only its connection could answer, and that is gone.
    pub(super) fn cannot_know(&self, statement: &Statement) -> Option<ErrPacket> {
        let found_rows = statement.traits.contains(Traits::FOUND_ROWS)
            && self.last.found_rows == FoundRows::Lost;
        let diagnostics = self.last.diagnostics_lost
            && (matches!(statement.kind, Kind::ShowDiagnostics | Kind::GetDiagnostics)
                || statement.traits.contains(Traits::DIAGNOSTIC_VARIABLE));
        let text = if found_rows {
            "lamplighter: FOUND_ROWS() is not known any more: others needed the connection that knew; ask right after the statement"
        } else if diagnostics {
            "lamplighter: the warnings of the last statement are not known any more: others needed the connection that knew; ask right after the statement"
        } else {
            return None;
        };
        Some(ErrPacket::new(
            NOT_SUPPORTED,
            *b"42000",
            text.as_bytes().to_vec(),
        ))
    }

    /// In these character sets the second byte of a character may look like a quote or a backslash, so the text cannot be read
    /// ("Character Sets and Collations That MySQL Supports": big5, sjis, gbk, cp932, gb18030).
    pub(super) fn hides_text(&self) -> bool {
        matches!(
            self.identity.collation,
            1 | 84 | 13 | 88 | 28 | 87 | 95 | 96 | 248..=250
        )
    }

    pub(super) fn lex_mode(&self) -> LexMode {
        let modes = self.variables.sql_mode();
        let plain = Status::SERVER_STATUS_NO_BACKSLASH_ESCAPES;
        LexMode {
            ansi_quotes: modes.is_some_and(|modes| modes.ansi_quotes),
            no_backslash_escapes: self.status().contains(plain),
        }
    }

    async fn way(&mut self, prime: Prime, statement: &Statement, text: &[u8]) -> Way {
        match prime {
            Prime::Nothing => self.choose(statement, text).await,
            Prime::Question | Prime::Program => Way::primary(Why::NotARead),
        }
    }

    /// The held connection would go on telling the warnings of the statement before if it did not hear of this one.
    fn must_hear(&self) -> bool {
        let stays = |held: &Held| !held.ties.only_diagnostics();
        self.last.has_warnings && self.hold.as_ref().is_some_and(stays)
    }

    /// A SET whose effect the server has told before: taken over here, and set on a connection when one is needed.
    async fn set_locally(&mut self, text: &[u8], seq: u8) -> Option<Flow> {
        let effect = self.shared.learned.get(text)?;
        let variables = self.variables.with(&effect);
        // what cannot be moved must hear it itself, unless it changes nothing
        let must_hear = self.hold.as_ref().is_some_and(|held| {
            let changes = variables != self.variables;
            held.ties.is_forever() || (!held.ties.only_diagnostics() && changes)
        });
        if must_hear || self.must_hear() {
            return None;
        }
        if self
            .hold
            .as_ref()
            .is_some_and(|held| held.ties.only_diagnostics())
        {
            self.leave_diagnostics().await;
        }
        self.variables = variables;
        self.last.note_local(0);
        self.shared.metrics.sets_local.inc();
        Some(self.answer_ok(seq).await)
    }
}

/// Functions that are answered in the statement's text.
pub(super) const ANSWERED: Traits = Traits::FOUND_ROWS
    .union(Traits::ROW_COUNT)
    .union(Traits::CONNECTION_ID);

/// What has become of a question about the session.
enum Answer {
    Given(Flow),
    /// The same statement with the answers in its text.
    Rewritten(Request),
    /// The server knows.
    None,
}
