//! What a client of a random session does: one command each, and how it is shown in a reproduction.

use std::fmt;

use lamplighter_wire::mysql::flags::Capabilities;

use crate::support::mysql::raw::Param;

/// One command, or a connection made anew.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Query(Vec<u8>),
    /// Prepares into a slot; whatever was there is forgotten without being closed.
    Prepare {
        slot: usize,
        sql: String,
    },
    Execute {
        slot: usize,
        params: Vec<Param>,
        types: bool,
        cursor: bool,
    },
    Fetch {
        slot: usize,
        rows: u32,
    },
    LongData {
        slot: usize,
        param: u16,
        bytes: Vec<u8>,
    },
    StmtClose {
        slot: usize,
    },
    StmtReset {
        slot: usize,
    },
    InitDb(String),
    FieldList {
        table: String,
        wildcard: String,
    },
    Statistics,
    Ping,
    SetOption(u16),
    Reset,
    ChangeUser {
        database: String,
        collation: u8,
    },
    Reconnect(Shape),
    /// A command byte that no server knows.
    Unknown(u8),
    /// Every session variable that does not name the server.
    Variables,
    /// CONNECTION_ID() against the number in the greeting.
    ConnectionId,
}

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) capabilities: Capabilities,
    pub(crate) collation: u8,
    /// Names its schema in the login.
    pub(crate) database: bool,
}

/// One step of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) client: usize,
    pub(crate) op: Op,
}

impl Op {
    pub(crate) fn sql(text: impl Into<String>) -> Self {
        Self::Query(text.into().into_bytes())
    }

    /// The text of a statement sent as text; else empty.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Query(sql) => String::from_utf8_lossy(sql).into_owned(),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(sql) => write!(f, "{}", sql.escape_ascii()),
            other => write!(f, "<{other:?}>"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}: {}", self.client, self.op)
    }
}
