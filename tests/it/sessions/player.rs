//! Plays steps on one side: directly on a server, or through the endpoint. Keeps what differs by nature (connection and statement
//! ids) to itself, so that the answers of both sides can be compared as they are.

use std::time::Duration;

use bytes::Bytes;
use lamplighter_wire::mysql::command::Command;

use super::steps::{Op, Shape};
use crate::support::mysql::raw::{Answer, Link, Login, Part, execute_body};

/// Prepared statements a client may have.
pub(crate) const SLOTS: usize = 4;

/// An id that no server gives out.
const NO_STATEMENT: u32 = 0x00F0_0000;

/// A server to talk to, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) address: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// One client of one side.
#[derive(Debug)]
pub(crate) struct Player {
    side: Side,
    schema: String,
    link: Option<Link>,
    statements: [Option<u32>; SLOTS],
    /// What they were prepared from.
    texts: [String; SLOTS],
}

impl Player {
    /// Not connected yet.
    pub(crate) fn new(side: &Side, schema: String) -> Self {
        Self {
            side: side.clone(),
            schema,
            link: None,
            statements: [None; SLOTS],
            texts: Default::default(),
        }
    }

    /// The text that `op` is about: its own, or that of the statement it executes.
    pub(crate) fn statement(&self, op: &Op) -> String {
        match op {
            Op::Execute { slot, .. } | Op::Fetch { slot, .. } => self.texts[*slot].clone(),
            other => other.text(),
        }
    }

    /// Does `op` and returns what came back.
    pub(crate) fn play(&mut self, op: &Op) -> Answer {
        if let Op::Reconnect(shape) = op {
            return self.connect(*shape);
        }
        let id_of = |slot: usize| self.statements[slot].unwrap_or(NO_STATEMENT);
        let Some(link) = &mut self.link else {
            return vec![Part::Lost("not connected".to_owned())];
        };
        let mut answer = match op {
            Op::Query(sql) => link.query(sql),
            Op::Prepare { slot, sql } => {
                let (id, answer) = link.prepare(sql.as_bytes());
                self.statements[*slot] = id;
                self.texts[*slot].clone_from(sql);
                answer
            }
            Op::Execute {
                slot,
                params,
                types,
                cursor,
            } => link.execute(&execute_body(id_of(*slot), *cursor, params, *types)),
            Op::Fetch { slot, rows } => link.fetch(id_of(*slot), *rows),
            Op::LongData { slot, param, bytes } => {
                let id = id_of(*slot).to_le_bytes();
                let body = [id.as_slice(), &param.to_le_bytes(), bytes].concat();
                sent(link.send(Command::StmtSendLongData, &body))
            }
            Op::StmtClose { slot } => {
                let id = id_of(*slot);
                self.statements[*slot] = None;
                sent(link.send(Command::StmtClose, &id.to_le_bytes()))
            }
            Op::StmtReset { slot } => link.simple(Command::StmtReset, &id_of(*slot).to_le_bytes()),
            Op::InitDb(name) => link.simple(Command::InitDb, name.as_bytes()),
            Op::FieldList { table, wildcard } => link.field_list(table, wildcard),
            Op::Statistics => link.statistics(),
            Op::Ping => link.simple(Command::Ping, &[]),
            Op::SetOption(option) => link.simple(Command::SetOption, &option.to_le_bytes()),
            Op::Reset => {
                self.statements = [None; SLOTS];
                link.simple(Command::ResetConnection, &[])
            }
            Op::ChangeUser {
                database,
                collation,
            } => {
                self.statements = [None; SLOTS];
                link.change_user(&self.side.user, &self.side.password, database, *collation)
            }
            Op::Unknown(byte) => link.raw(&[*byte]),
            Op::Variables => variables(link),
            Op::ConnectionId => connection_id(link),
            Op::Reconnect(_) => Vec::new(),
        };
        for part in &mut answer {
            normalise(part);
        }
        answer
    }

    fn connect(&mut self, shape: Shape) -> Answer {
        self.link = None;
        self.statements = [None; SLOTS];
        let login = Login {
            capabilities: shape.capabilities,
            collation: shape.collation,
            database: shape.database.then(|| self.schema.clone()),
            timeout: Duration::from_secs(60),
            ..Login::new(&self.side.address, &self.side.user, &self.side.password)
        };
        match Link::open(&login) {
            Ok(link) => {
                self.link = Some(link);
                vec![Part::Text(Bytes::from_static(b"connected"))]
            }
            Err(error) => vec![Part::Lost(error.to_string())],
        }
    }
}

fn sent(result: std::io::Result<()>) -> Answer {
    match result {
        Ok(()) => Vec::new(),
        Err(error) => vec![Part::Lost(error.to_string())],
    }
}

/// Variables that name the server, its files or the connection, by the beginning of their names.
const OF_THE_SERVER: [&str; 22] = [
    "admin_",
    "auto_generate",
    "basedir",
    "caching_sha2",
    "datadir",
    "external_user",
    "general_log",
    "gtid_",
    "hostname",
    "innodb_",
    "log_",
    "pid_file",
    "port",
    "proxy_user",
    "pseudo_",
    "rand_seed",
    "relay_log",
    "server_",
    "session_track_",
    "slow_query_log",
    "socket",
    "ssl_",
];

/// The same, by their whole names.
const OF_THE_SERVER_TOO: [&str; 7] = [
    "timestamp",
    "tmpdir",
    "replica_load_tmpdir",
    "slave_load_tmpdir",
    "report_host",
    "report_port",
    "statement_id",
];

fn variables(link: &mut Link) -> Answer {
    let of_the_server = |name: &str| {
        OF_THE_SERVER.iter().any(|start| name.starts_with(start))
            || OF_THE_SERVER_TOO.contains(&name)
    };
    let mut answer = link.query(b"SHOW SESSION VARIABLES");
    answer.retain(|part| match part {
        // a name as text, its length in front
        Part::Row(body) => {
            let len = body.first().map_or(0, |len| usize::from(*len));
            let name = body.get(1..=len).unwrap_or_default();
            !of_the_server(&String::from_utf8_lossy(name))
        }
        _ => true,
    });
    answer
}

fn connection_id(link: &mut Link) -> Answer {
    let mut answer = link.query(b"SELECT CONNECTION_ID()");
    let own = link.id.to_string();
    for part in &mut answer {
        if let Part::Row(body) = part {
            let same = body.get(1..).is_some_and(|value| value == own.as_bytes());
            *part = Part::Text(if same {
                Bytes::from_static(b"the id of the greeting")
            } else {
                Bytes::from_static(b"another id than the greeting's")
            });
        }
    }
    answer
}

/// Takes out what cannot be equal: statement ids in messages, uptime.
fn normalise(part: &mut Part) {
    match part {
        Part::Err {
            message,
            code: 1210 | 1243 | 1295 | 1421,
            ..
        } => message.retain(|letter| !letter.is_ascii_digit()),
        Part::Text(text) if text.starts_with(b"Uptime") => {
            *text = Bytes::from_static(b"Uptime");
        }
        _ => {}
    }
}
