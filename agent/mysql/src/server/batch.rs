//! Commands of our own that bring a connection into the state its next client expects: built here, sent and answered in one
//! round trip. Decides; no IO.

use std::io;

use bytes::BytesMut;
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::ReplyShape;
use lamplighter_wire::mysql::flags::Capabilities;
use lamplighter_wire::mysql::packet::{HEADER_LEN, Reader};

use super::{Bucket, Link, command, query};
use crate::error::OpenError;
use crate::insert_id::OfConnection;
use crate::variables::Variables;

/// One of the commands, as far as its reply matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// SELECT LAST_INSERT_ID().
    AskInsertId,
    /// COM_RESET_CONNECTION.
    Wipe,
    /// COM_INIT_DB.
    InitDb,
    /// SET last_insert_id to this.
    SetInsertId(u64),
    /// Any other SET.
    Set,
}

/// Commands and what they are for.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(super) packets: BytesMut,
    pub(super) steps: Vec<Step>,
    pub(super) wanted: Bucket,
    /// How statements begin on the connection.
    agreed: Capabilities,
}

/// The server runs `init_connect` at a login and at nothing else: what it set cannot be set up again.
const NO_WAY_BACK: OpenError =
    OpenError::TooOld("a session that can be wiped: init_connect is set");

impl Step {
    pub(super) const fn reply(self) -> ReplyShape {
        match self {
            Self::Wipe | Self::InitDb => ReplyShape::OkOrErr,
            Self::AskInsertId | Self::SetInsertId(_) | Self::Set => ReplyShape::Query,
        }
    }
}

impl Batch {
    /// What turns a connection into one of `wanted`; `None` if it is one.
    pub(super) fn adapting(
        link: &Link,
        wanted: &Bucket,
        insert_id: Option<u64>,
    ) -> Result<Option<Self>, OpenError> {
        let mut batch = Self::new(link, wanted);
        if link.insert_id.is_wanted_beside(None) {
            batch.say(
                Command::Query,
                b"SELECT LAST_INSERT_ID()",
                Step::AskInsertId,
            );
        }
        let variables = &link.bucket.variables;
        if link.has_init_connect && variables.goes_back(&wanted.variables) {
            return Err(NO_WAY_BACK);
        }
        let wipe = variables
            .statement_to(&wanted.variables, link.capabilities)
            .is_none();
        if wipe {
            batch.wipe(link)?;
        }
        batch.set_up(link, wanted, wipe);
        let is_so = match link.insert_id {
            OfConnection::Known(value) if !wipe => insert_id == Some(value),
            _ => wipe && insert_id == Some(0),
        };
        if let Some(value) = insert_id.filter(|_| !is_so) {
            let sql = format!("SET last_insert_id = {value}");
            batch.say(Command::Query, sql.as_bytes(), Step::SetInsertId(value));
        }
        Ok((!batch.steps.is_empty()).then_some(batch))
    }

    /// What wipes a connection.
    pub(super) fn wiping(link: &Link, wanted: &Bucket) -> Result<Self, OpenError> {
        let mut batch = Self::new(link, wanted);
        batch.wipe(link)?;
        batch.set_up(link, wanted, true);
        Ok(batch)
    }

    fn new(link: &Link, wanted: &Bucket) -> Self {
        Self {
            packets: BytesMut::new(),
            steps: Vec::with_capacity(4),
            wanted: wanted.clone(),
            agreed: link.capabilities,
        }
    }

    fn wipe(&mut self, link: &Link) -> Result<(), OpenError> {
        if link.has_init_connect {
            return Err(NO_WAY_BACK);
        }
        self.say(Command::ResetConnection, &[], Step::Wipe);
        self.say(Command::Query, &link.restore, Step::Set);
        Ok(())
    }

    fn set_up(&mut self, link: &Link, wanted: &Bucket, wiped: bool) {
        if link.bucket.schema != wanted.schema
            && let Some(schema) = &wanted.schema
        {
            self.say(Command::InitDb, schema, Step::InitDb);
        }
        let fresh = Variables::default();
        let current = if wiped {
            &fresh
        } else {
            &link.bucket.variables
        };
        if *current != wanted.variables
            && let Some(sql) = current.statement_to(&wanted.variables, link.capabilities)
        {
            self.say(Command::Query, &sql, Step::Set);
        }
    }

    fn say(&mut self, what: Command, argument: &[u8], step: Step) {
        let packet = match what {
            Command::Query => query(self.agreed, argument),
            _ => command(what, argument),
        };
        self.packets.extend_from_slice(&packet);
        self.steps.push(step);
    }
}

/// Takes in what a step that succeeded has done; `row`: the packet of the row it answered.
pub(super) fn note(link: &mut Link, step: Step, row: &[u8]) -> io::Result<()> {
    match step {
        Step::AskInsertId => {
            let mut reader = Reader::new(row.get(HEADER_LEN..).unwrap_or_default());
            let text = reader.lenenc_bytes().map_err(io::Error::other)?;
            let value = std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(io::ErrorKind::InvalidData)?;
            link.insert_id.tell(value);
        }
        Step::Wipe => {
            link.statements.forget();
            link.insert_id = OfConnection::Known(0);
        }
        Step::SetInsertId(value) => link.insert_id = OfConnection::Known(value),
        Step::InitDb | Step::Set => {}
    }
    Ok(())
}
