//! One client from its login to its end: reads commands, answers the few that need no server, sends the others to one, and
//! keeps or gives back the server connection as [`crate::hold`] decides. Owns the client's socket and at most one lease.
//!
//! ```text
//!            command                      reply over, nothing left behind
//!   Free ───────────────▶ (on a lease) ───────────────────────────────────▶ Free
//!    ▲                          │ ties: a transaction, a lock, a cursor       ▲
//!    │                          └──────────────▶ Held ── all of them ended ───┘
//!    │                                            │ COM_RESET_CONNECTION, COM_CHANGE_USER or the client's end:
//!    └────────────────────────────────────────────┘ the connection is wiped before anybody else gets it
//! ```

mod account;
mod commands;
mod consistency;
mod delivery;
mod execution;
mod insert_id;
mod keep;
mod last;
mod lease;
mod local;
mod prepared;
mod priming;
mod refusal;
mod relay;
mod statement;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lamplighter_core::lifecycle::Tasks;
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::response::{ErrPacket, OkPacket};

use crate::cancel::Registered;
use crate::client::{Client, Identity, Request, RequestError};
use crate::endpoint::Shared;
use crate::hold::HoldReason;
use crate::insert_id::OfSession;
use crate::pool::Pool;
use crate::prepared::Statements;
use crate::server::{BUCKET_CAPABILITIES, Bucket};
use crate::statistics::Tally;
use crate::variables::Variables;

use consistency::Views;
use keep::{Held, idle_too_long};
use last::Last;

/// ER_UNKNOWN_COM_ERROR.
const UNKNOWN_COMMAND: u16 = 1047;
/// ER_MALFORMED_PACKET.
const MALFORMED_PACKET: u16 = 1835;
/// ER_NOT_SUPPORTED_YET.
const NOT_SUPPORTED: u16 = 1235;

/// How long the server connection of a write is kept for a question about it; afterwards only what was captured is answered.
const DIAGNOSTICS_TIME: Duration = Duration::from_millis(50);

/// The same after a warning or an error, whose texts are not captured, at least; longer while nobody waits for a connection.
const WARNINGS_TIME: Duration = Duration::from_millis(200);

/// The flags that say something of the session and not of one result.
const SESSION_STATUS: Status = Status::SERVER_STATUS_AUTOCOMMIT
    .union(Status::SERVER_STATUS_IN_TRANS)
    .union(Status::SERVER_STATUS_IN_TRANS_READONLY)
    .union(Status::SERVER_STATUS_NO_BACKSLASH_ESCAPES);

/// A client's life.
pub(crate) struct Session<'a> {
    client: Client,
    identity: Identity,
    shared: &'a Shared,
    tasks: &'a Tasks,
    registered: Registered<'a>,
    hold: Option<Held>,
    /// What the client has set since its login.
    variables: Variables,
    /// What it has prepared.
    statements: Statements,
    insert_id: OfSession,
    /// The pool of the connection that last kept it.
    insert_id_left_at: Option<Arc<Pool>>,
    /// What its reads have to see.
    views: Views,
    last: Last,
    /// What the command at hand came to.
    tally: Tally,
}

/// Whether the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    End,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        client: Client,
        identity: Identity,
        shared: &'a Arc<Shared>,
        tasks: &'a Tasks,
    ) -> Self {
        let registered = shared
            .clients
            .register(identity.connection_id, identity.user.clone());
        let views = Views::of(shared, &identity);
        Self {
            client,
            identity,
            shared,
            tasks,
            registered,
            hold: None,
            variables: Variables::default(),
            statements: Statements::default(),
            insert_id: OfSession::default(),
            insert_id_left_at: None,
            views,
            last: Last::default(),
            tally: Tally::default(),
        }
    }

    /// Serves the client until it leaves, breaks the protocol, or we drain and it has nothing in flight.
    pub(crate) async fn run(mut self: Box<Self>) {
        let tasks = self.tasks;
        let me = Arc::clone(&self.registered.client);
        // made once: each is an entry in a list that all sessions share
        let mut killed = std::pin::pin!(me.ended());
        let mut draining = std::pin::pin!(tasks.draining());
        let mut stopping = std::pin::pin!(tasks.stopping());
        let mut asked_to_leave = false;
        loop {
            if asked_to_leave && self.may_leave() && !self.client.has_spoken() {
                break;
            }
            let request = tokio::select! {
                biased;
                request = self.client.next_request(self.shared.statement_size_max) => request,
                () = expiry(self.hold.as_ref(), self.last.has_warnings) => {
                    Box::pin(self.leave_diagnostics()).await;
                    continue;
                }
                () = idle_too_long(self.hold.as_ref()) => {
                    self.refuse_to_wait().await;
                    break;
                }
                () = &mut draining, if !asked_to_leave => {
                    asked_to_leave = true;
                    continue;
                }
                () = &mut killed => break,
                () = &mut stopping => break,
            };
            let flow = match request {
                // boxed: a client between two commands does not keep the room of one
                Ok(request) => tokio::select! {
                    biased;
                    flow = Box::pin(self.serve(request)) => flow,
                    () = &mut killed => Flow::End,
                    () = &mut stopping => Flow::End,
                },
                Err(error) => self.refuse(error).await,
            };
            if flow == Flow::End {
                break;
            }
        }
        Box::pin(self.end(tasks.is_draining())).await;
    }

    /// Nothing is lost if the client has to connect again now.
    fn may_leave(&self) -> bool {
        self.hold
            .as_ref()
            .is_none_or(|held| !held.reason().is_worth_waiting_for())
    }

    async fn refuse(&mut self, error: RequestError) -> Flow {
        if let RequestError::Protocol(error) = error {
            let text = format!("lamplighter: malformed packet: {error}");
            // the client may be gone; it is let go in any case
            let _told = self
                .client
                .send_error(
                    &ErrPacket::new(MALFORMED_PACKET, *b"08S01", text.into_bytes()),
                    1,
                )
                .await;
        }
        Flow::End
    }

    async fn serve(&mut self, request: Request) -> Flow {
        let body = request
            .packets
            .get(lamplighter_wire::mysql::packet::HEADER_LEN..)
            .unwrap_or_default();
        let Some(command) = body.first().copied().and_then(Command::from_byte) else {
            return self.unknown_command(request.reply_seq).await;
        };
        let account = self.open_account(command, &request);
        let flow = match command {
            Command::Quit => Flow::End,
            Command::Ping => self.ping(request).await,
            Command::Query => self.query(request).await,
            Command::InitDb => self.init_db(request).await,
            Command::FieldList => self.field_list(request).await,
            Command::Statistics | Command::ProcessInfo => self.on_primary(request, command).await,
            Command::SetOption => self.set_option(request).await,
            Command::ResetConnection => self.reset_connection(request.reply_seq).await,
            Command::ChangeUser => self.change_user(&request).await,
            Command::ProcessKill => self.process_kill(request).await,
            Command::StmtPrepare => self.prepare(request).await,
            Command::StmtExecute => self.execute(request).await,
            Command::StmtFetch => self.fetch(request).await,
            Command::StmtReset => self.reset_statement(request).await,
            Command::StmtClose => self.close_statement(&request),
            Command::StmtSendLongData => self.send_long_data(request).await,
            _ => self.unknown_command(request.reply_seq).await,
        };
        self.close_account(&account);
        flow
    }

    fn bucket(&self) -> Bucket {
        let agreed = self.identity.capabilities.intersection(BUCKET_CAPABILITIES);
        // With it a result's end says what the session has become. Without it what a result begins with says whether more
        // results follow, which an old client with several statements looks at.
        let new_ends = Capabilities::CLIENT_DEPRECATE_EOF;
        let capabilities = if agreed.contains(Capabilities::CLIENT_MULTI_STATEMENTS) {
            agreed
        } else {
            agreed.union(new_ends)
        };
        Bucket {
            capabilities,
            collation: self.identity.collation,
            schema: self.identity.schema.clone(),
            variables: self.variables.clone(),
        }
    }

    /// The status flags of the session.
    fn status(&self) -> Status {
        if let Some(held) = self.hold.as_ref() {
            return held.lease.status().intersection(SESSION_STATUS);
        }
        let mut status = self.identity.status;
        if let Some(modes) = self.variables.sql_mode() {
            let plain = Status::SERVER_STATUS_NO_BACKSLASH_ESCAPES;
            status = status.without(plain);
            if modes.no_backslash_escapes {
                status = status.union(plain);
            }
        }
        if self.variables.autocommit_is_off() {
            status = status.without(Status::SERVER_STATUS_AUTOCOMMIT);
        }
        status
    }

    fn note_schema(&mut self, schema: Option<&Bytes>) {
        if let Some(schema) = schema {
            self.identity.schema = Some(schema.clone()).filter(|name| !name.is_empty());
        }
    }

    async fn unknown_command(&mut self, seq: u8) -> Flow {
        let before = self.last.told_warnings;
        let error = ErrPacket::new(UNKNOWN_COMMAND, *b"08S01", b"Unknown command".to_vec());
        let flow = self.answer_error(&error, seq).await;
        self.last.told_warnings = before.saturating_add(1);
        flow
    }

    async fn answer_ok(&mut self, seq: u8) -> Flow {
        self.shared.metrics.local.inc();
        let sent = self
            .client
            .send_ok(self.identity.capabilities, self.status(), seq)
            .await;
        if sent.is_ok() {
            Flow::Continue
        } else {
            Flow::End
        }
    }

    /// An OK with the warnings of the last statement.
    async fn pong(&mut self, seq: u8) -> Flow {
        self.shared.metrics.local.inc();
        let (mut out, mut seq) = (BytesMut::with_capacity(16), seq);
        OkPacket {
            status: self.status(),
            warnings: self.last.told_warnings,
            ..OkPacket::default()
        }
        .encode(self.identity.capabilities, &mut out, &mut seq);
        self.answer_sent(out).await
    }

    async fn answer_sent(&mut self, mut out: BytesMut) -> Flow {
        if self.client.send(&mut out).await.is_ok() {
            Flow::Continue
        } else {
            Flow::End
        }
    }

    async fn answer_error(&mut self, error: &ErrPacket, seq: u8) -> Flow {
        self.last.note_refused(error);
        self.tally.failed = true;
        self.shared
            .metrics
            .errors
            .with_label_values(&[error.code.to_string().as_str()])
            .inc();
        if self.client.send_error(error, seq).await.is_ok() {
            Flow::Continue
        } else {
            Flow::End
        }
    }
}

/// Resolves when a connection held only for diagnostics has been held long enough.
async fn expiry(held: Option<&Held>, has_warnings: bool) {
    let Some(held) = held.filter(|held| held.reason() == HoldReason::Diagnostics) else {
        return std::future::pending().await;
    };
    if !has_warnings {
        return tokio::time::sleep(DIAGNOSTICS_TIME).await;
    }
    // only the server has their texts: kept for as long as nobody else needs the connection
    let pool = held.lease.pool();
    loop {
        tokio::time::sleep(WARNINGS_TIME).await;
        if pool.is_wanted() || held.since().1.elapsed() > pool.idle_timeout() {
            return;
        }
    }
}
