//! Commands other than statements: those that need a server and those that only change what the session is.

use lamplighter_wire::mysql::command::{Command, CommandKind};
use lamplighter_wire::mysql::flags::Capabilities;

use super::{Flow, Session, relay};
use crate::client::Request;
use crate::hold::Ran;
use crate::route::Why;

impl Session<'_> {
    /// A command that runs on the held connection or on the primary.
    pub(super) async fn on_primary(&mut self, request: Request, command: Command) -> Flow {
        let CommandKind::Relayed(shape) = command.kind() else {
            return Flow::End;
        };
        self.leave_replica();
        let job = relay::Job {
            request,
            shape,
            ran: Ran::Command(command),
            may_retry: false,
            execution: None,
            reads_insert_id: false,
        };
        self.run_on(None, job, Why::NotARead).await
    }

    /// COM_SET_OPTION: multi-statements on (0) or off (1).
    pub(super) async fn set_option(&mut self, request: Request) -> Flow {
        let body = request
            .packets
            .get(lamplighter_wire::mysql::packet::HEADER_LEN..)
            .unwrap_or_default();
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
        let sent = self.client.send_eof(self.status(), request.reply_seq).await;
        if sent.is_ok() {
            Flow::Continue
        } else {
            Flow::End
        }
    }

    pub(super) async fn reset_connection(&mut self, seq: u8) -> Flow {
        self.forget_session().await;
        self.answer_ok(seq).await
    }

    pub(super) async fn change_user(&mut self, request: &Request) -> Flow {
        let body = request
            .packets
            .get(lamplighter_wire::mysql::packet::HEADER_LEN + 1..)
            .unwrap_or_default();
        self.forget_session().await;
        match self
            .shared
            .greeter
            .change_user(&mut self.client, &self.identity, body, request.reply_seq)
            .await
        {
            Ok(identity) => {
                self.identity = identity;
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
