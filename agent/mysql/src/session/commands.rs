//! Commands other than statements: those that need a server and those that only change what the session is.

use bytes::BytesMut;
use lamplighter_wire::mysql::attributes::no_attributes;
use lamplighter_wire::mysql::command::{Command, CommandKind};
use lamplighter_wire::mysql::exchange::ReplyShape;
use lamplighter_wire::mysql::flags::Capabilities;
use lamplighter_wire::mysql::packet::HEADER_LEN;
use lamplighter_wire::mysql::prepared::statement_id;
use lamplighter_wire::mysql::response::{EofPacket, ErrPacket};

use super::consistency::{Views, Way};
use super::keep::Held;
use super::priming::Prime;
use super::relay::Lost;
use super::{Flow, Session, relay};
use crate::cancel::{self, CLIENT_IDS, Killed, What};
use crate::client::Request;
use crate::route::Why;

/// ER_KILL_DENIED_ERROR.
const KILL_DENIED: u16 = 1095;
/// ER_QUERY_INTERRUPTED.
const INTERRUPTED: u16 = 1317;

impl Session<'_> {
    /// A command that runs on the held connection or on the primary.
    pub(super) async fn on_primary(&mut self, request: Request, command: Command) -> Flow {
        let CommandKind::Relayed(shape) = command.kind() else {
            return Flow::End;
        };
        self.leave_replica().await;
        // its error is shown with what was before it
        let prime = if command == Command::InitDb && self.last.unheard {
            Prime::Question
        } else {
            Prime::Nothing
        };
        let job = relay::Job {
            // none of them changes what the last one told
            warnings: (!self.is_told_by_connection()).then_some(self.last.told_warnings),
            prime,
            ..relay::Job::command(request, shape, command)
        };
        self.run_on(Way::primary(Why::NotARead), job).await
    }

    /// How many warnings the last command left, a server's error with what was before it, only the held connection knows.
    fn is_told_by_connection(&self) -> bool {
        self.hold.is_some() && self.last.failed && !self.last.unheard
    }

    /// COM_FIELD_LIST: it adds to the warnings that are there, which must not be those of the client before.
    pub(super) async fn field_list(&mut self, request: Request) -> Flow {
        self.leave_replica().await;
        let mut job = relay::Job::command(request, ReplyShape::FieldList, Command::FieldList);
        if self.hold.is_none() || self.last.unheard {
            job.prime = Prime::Question;
        }
        self.run_on(Way::primary(Why::NotARead), job).await
    }

    /// COM_PING: the warnings are those of the last statement, which it leaves as they are. Whoever asks while he keeps a
    /// connection asks about that connection.
    pub(super) async fn ping(&mut self, request: Request) -> Flow {
        let keeps = |held: &Held| !held.ties.only_diagnostics();
        if self.hold.as_ref().is_some_and(keeps) || self.is_told_by_connection() {
            return self.on_primary(request, Command::Ping).await;
        }
        self.last.note_quiet(Command::Ping);
        self.pong(request.reply_seq).await
    }

    /// COM_INIT_DB, as USE where the command itself would leave the warnings of the client before.
    pub(super) async fn init_db(&mut self, request: Request) -> Flow {
        self.leave_replica().await;
        if self.hold.is_some() {
            return self.on_primary(request, Command::InitDb).await;
        }
        if request.rest.is_some() {
            return Flow::End;
        }
        if self.hides_text() {
            let job = relay::Job {
                prime: Prime::Question,
                ..relay::Job::command(request, ReplyShape::OkOrErr, Command::InitDb)
            };
            return self.run_on(Way::primary(Why::NotARead), job).await;
        }
        let name = request.packets.get(HEADER_LEN + 1..).unwrap_or_default();
        let mut text = b"USE `".to_vec();
        for byte in name {
            text.push(*byte);
            if *byte == b'`' {
                text.push(b'`');
            }
        }
        text.push(b'`');
        let attributes = no_attributes(self.identity.capabilities);
        let request = Request::query(attributes, &text, request.reply_seq);
        let job = relay::Job {
            warnings: Some(self.last.told_warnings),
            ..relay::Job::command(request, ReplyShape::Query, Command::InitDb)
        };
        self.run_on(Way::primary(Why::NotARead), job).await
    }

    /// COM_PROCESS_KILL, as KILL.
    pub(super) async fn process_kill(&mut self, request: Request) -> Flow {
        let id = statement_id(request.packets.get(HEADER_LEN..).unwrap_or_default());
        let text = format!("KILL {}", id.unwrap_or(0));
        let attributes = no_attributes(self.identity.capabilities);
        self.query(Request::query(
            attributes,
            text.as_bytes(),
            request.reply_seq,
        ))
        .await
    }

    /// KILL of another client of ours, or of a server connection of ours. `None` if it is about neither: the server knows.
    pub(super) async fn kill(&mut self, text: &[u8], seq: u8) -> Option<Flow> {
        let (what, id) = cancel::parse(text)?;
        let id = u32::try_from(id).ok()?;
        if id == self.identity.connection_id {
            let text = b"Query execution was interrupted".to_vec();
            let interrupted = ErrPacket::new(INTERRUPTED, *b"70100", text);
            let flow = self.answer_error(&interrupted, seq).await;
            let ends = what == What::Connection;
            return Some(if ends { Flow::End } else { flow });
        }
        let killed = if id & CLIENT_IDS != 0 {
            let shared = self.shared;
            shared.clients.kill(what, id, &self.identity.user).await
        } else if self.shared.has_thread(id) {
            // it may be anybody's by the time the server hears of it
            Killed::Denied
        } else {
            Killed::Unknown
        };
        Some(match killed {
            // no server has such an id either, and says so as servers do
            Killed::Unknown => return None,
            Killed::Done => {
                self.last.note_local(0);
                self.answer_ok(seq).await
            }
            Killed::Denied => {
                let text = format!("You are not owner of thread {id}").into_bytes();
                let packet = ErrPacket::new(KILL_DENIED, *b"HY000", text);
                self.answer_error(&packet, seq).await
            }
            Killed::Failed(error) => self.fail(Lost::early(error), seq, false).await,
        })
    }

    /// COM_SET_OPTION: multi-statements on (0) or off (1).
    pub(super) async fn set_option(&mut self, request: Request) -> Flow {
        let body = request.packets.get(HEADER_LEN..).unwrap_or_default();
        let on = body.get(1) == Some(&0);
        let flag = Capabilities::CLIENT_MULTI_STATEMENTS;
        let capabilities = self.identity.capabilities;
        self.identity.capabilities = if on {
            capabilities.union(flag)
        } else {
            capabilities.without(flag)
        };
        if self.hold.is_some() {
            return self.on_primary(request, Command::SetOption).await;
        }
        self.shared.metrics.local.inc();
        self.last.note_quiet(Command::SetOption);
        let seq = request.reply_seq;
        if capabilities.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
            return self.pong(seq).await;
        }
        let (mut out, mut seq) = (BytesMut::with_capacity(16), seq);
        EofPacket {
            warnings: self.last.told_warnings,
            status: self.status(),
        }
        .encode(&mut out, &mut seq);
        self.answer_sent(out).await
    }

    pub(super) async fn reset_connection(&mut self, seq: u8) -> Flow {
        self.forget_session().await;
        // the character set of the login goes too ("mysql_reset_connection()", MySQL C API)
        if let Some(collation) = self.shared.greeter.server_collation() {
            self.identity.collation = collation;
        }
        self.answer_ok(seq).await
    }

    pub(super) async fn change_user(&mut self, request: &Request) -> Flow {
        let body = request.packets.get(HEADER_LEN + 1..).unwrap_or_default();
        self.forget_session().await;
        match self
            .shared
            .greeter
            .change_user(&mut self.client, &self.identity, body, request.reply_seq)
            .await
        {
            Ok(identity) => {
                self.identity = identity;
                self.views = Views::of(self.shared, &self.identity);
                Flow::Continue
            }
            Err(error) => {
                self.shared.metrics.client_refused.inc();
                tracing::info!(%error, "COM_CHANGE_USER refused");
                Flow::End
            }
        }
    }
}
