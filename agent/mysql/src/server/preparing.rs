//! A client's statement on the connection where it is executed: prepared there if it is not yet, in the schema in which the client
//! prepared it, whatever schema the client uses by now.

use std::io;

use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{Completion, Outcome, ReplyShape};
use lamplighter_wire::mysql::prepared::PrepareReply;

use super::statements::Wanted;
use super::{Busy, command, require_ok};
use crate::prepared::Template;

impl Busy {
    /// Prepares a statement unless it is prepared for parameters of these types; the server's id of it, or the reply by which it refused.
    pub(crate) async fn prepare(
        &mut self,
        wanted: &Wanted,
        types: &[u8],
    ) -> io::Result<Result<u32, Completion>> {
        if let Some(id) = self.0.statements.find(wanted, types) {
            return Ok(Ok(id));
        }
        match self.prepare_where_it_was_read(&wanted.template).await? {
            Ok((id, _, _)) => {
                self.keep_prepared(wanted.clone(), id);
                // what it is executed with from now on
                self.0.statements.find(wanted, types);
                Ok(Ok(id))
            }
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Names without a schema are those of the schema in which the text was prepared first, as on a connection of the client's own.
    async fn prepare_where_it_was_read(
        &mut self,
        template: &Template,
    ) -> io::Result<Result<(u32, PrepareReply, Completion), Completion>> {
        let (then, now) = (template.bucket.schema.clone(), self.0.bucket.schema.clone());
        let (Some(then), Some(now)) = (then, now) else {
            // without a schema then: none is needed; without one now: nothing leads back to that
            return self.prepare_text(&template.text).await;
        };
        if then == now {
            return self.prepare_text(&template.text).await;
        }
        let moved = self.use_schema(&then).await?;
        if matches!(moved.outcome, Outcome::Err { .. }) {
            return Ok(Err(moved));
        }
        let prepared = self.prepare_text(&template.text).await?;
        require_ok(&self.use_schema(&now).await?.outcome)?;
        Ok(prepared)
    }

    async fn use_schema(&mut self, schema: &[u8]) -> io::Result<Completion> {
        self.send(&command(Command::InitDb, schema)).await?;
        self.receive_reply(ReplyShape::OkOrErr).await
    }
}
