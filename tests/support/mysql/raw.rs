//! A MySQL client that sees everything: each command goes out as it is told to, and each packet of the reply comes back as it was, so
//! that two servers can be compared packet by packet. Blocking; follows sequence ids and fails at the first that is wrong.

use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use lamplighter_wire::mysql::auth::{self, AuthPlugin};
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::handshake::{AuthSwitchRequest, Greeting, HandshakeResponse};
use lamplighter_wire::mysql::packet::{self, HEADER_LEN, Header, MAX_PAYLOAD, Reader};
use lamplighter_wire::mysql::response::{ErrPacket, OkPacket};

mod answer;

pub(crate) use answer::{Answer, Param, Part, error_of, execute_body, text_rows};

/// utf8mb4_0900_ai_ci, what libmysqlclient 8 and later announce.
pub(crate) const UTF8MB4_0900: u8 = 255;

/// What any client of today can do.
pub(crate) const BASIC: Capabilities = Capabilities::CLIENT_LONG_PASSWORD
    .union(Capabilities::CLIENT_LONG_FLAG)
    .union(Capabilities::CLIENT_PROTOCOL_41)
    .union(Capabilities::CLIENT_TRANSACTIONS)
    .union(Capabilities::CLIENT_SECURE_CONNECTION)
    .union(Capabilities::CLIENT_MULTI_RESULTS)
    .union(Capabilities::CLIENT_PS_MULTI_RESULTS)
    .union(Capabilities::CLIENT_PLUGIN_AUTH)
    .union(Capabilities::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA);

/// Who connects, and how.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// `/path` of a unix socket, or `host:port`.
    pub(crate) address: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: Option<String>,
    pub(crate) capabilities: Capabilities,
    pub(crate) collation: u8,
    /// No read takes longer, or the connection is given up.
    pub(crate) timeout: Duration,
}

impl Login {
    /// With what most clients ask for.
    pub(crate) fn new(address: impl Into<String>, user: &str, password: &str) -> Self {
        Self {
            address: address.into(),
            user: user.to_owned(),
            password: password.to_owned(),
            database: None,
            capabilities: BASIC | Capabilities::CLIENT_DEPRECATE_EOF,
            collation: UTF8MB4_0900,
            timeout: Duration::from_secs(60),
        }
    }
}

trait Duplex: Read + Write + Send {}
impl Duplex for TcpStream {}
impl Duplex for UnixStream {}

/// A connection.
pub(crate) struct Link {
    stream: BufReader<Box<dyn Duplex>>,
    pub(crate) capabilities: Capabilities,
    /// The server's number for it.
    pub(crate) id: u32,
    nonce: Vec<u8>,
    plugin: AuthPlugin,
    seq: u8,
    /// After how many bytes of replies to give up; for clients that leave midway.
    budget: Option<usize>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Connects and logs in; a refusal is an error with the server's code and text.
    pub(crate) fn open(login: &Login) -> io::Result<Self> {
        let stream: Box<dyn Duplex> = if login.address.starts_with('/') {
            let stream = UnixStream::connect(&login.address)?;
            stream.set_read_timeout(Some(login.timeout))?;
            Box::new(stream)
        } else {
            let stream = TcpStream::connect(&login.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(login.timeout))?;
            Box::new(stream)
        };
        let mut link = Self {
            stream: BufReader::new(stream),
            capabilities: login.capabilities,
            id: 0,
            nonce: Vec::new(),
            plugin: AuthPlugin::NativePassword,
            seq: 0,
            budget: None,
        };
        let first = link.packet()?;
        let greeting = Greeting::parse(refused(&first)?).map_err(io::Error::other)?;
        link.capabilities = login.capabilities.intersection(greeting.capabilities);
        link.id = greeting.connection_id;
        link.nonce = greeting.nonce.to_vec();
        link.plugin = greeting.auth_plugin;
        let response = HandshakeResponse {
            capabilities: link.capabilities,
            max_packet_size: 1 << 30,
            charset: login.collation,
            username: login.user.clone().into(),
            auth_response: auth::scramble(&link.plugin, login.password.as_bytes(), &link.nonce)
                .into(),
            database: login.database.clone().map(Bytes::from),
            auth_plugin: Some(link.plugin.clone()),
            attributes: Vec::new(),
            zstd_level: None,
        };
        let mut out = BytesMut::new();
        response.encode(&mut out, &mut link.seq);
        link.stream.get_mut().write_all(&out)?;
        link.authenticate(&login.password)?;
        Ok(link)
    }

    /// From the client's first answer to the server's OK.
    fn authenticate(&mut self, password: &str) -> io::Result<()> {
        loop {
            let body = self.packet()?;
            let answer = match refused(&body)?.split_first() {
                Some((0, _)) => return Ok(()),
                Some((&0xFE, _)) => {
                    let switch = AuthSwitchRequest::parse(&body).map_err(io::Error::other)?;
                    self.plugin = switch.plugin;
                    self.nonce = switch.data.to_vec();
                    auth::scramble(&self.plugin, password.as_bytes(), &self.nonce)
                }
                Some((1, [auth::FAST_AUTH_SUCCESS])) => continue,
                // only ever over a unix socket here
                Some((1, [auth::PERFORM_FULL_AUTHENTICATION])) => {
                    [password.as_bytes(), &[0]].concat()
                }
                _ => return Err(io::Error::other(format!("login: {body:?}"))),
            };
            self.write_packet(&answer)?;
        }
    }

    /// The connection is given up after so many further bytes of replies, headers included.
    pub(crate) fn read_at_most(&mut self, bytes: usize) {
        self.budget = Some(bytes);
    }

    /// Sends a command without waiting for its reply.
    pub(crate) fn send(&mut self, command: Command, argument: &[u8]) -> io::Result<()> {
        self.seq = 0;
        let mut body = Vec::with_capacity(argument.len() + 1);
        body.push(command.byte());
        body.extend_from_slice(argument);
        self.write_packet(&body)
    }

    fn write_packet(&mut self, body: &[u8]) -> io::Result<()> {
        let mut out = BytesMut::new();
        packet::write(&mut out, &mut self.seq, body);
        self.stream.get_mut().write_all(&out)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if let Some(budget) = &mut self.budget {
            let allowed = bytes.len().min(*budget);
            *budget -= allowed;
            self.stream.read_exact(&mut bytes[..allowed])?;
            if allowed < bytes.len() {
                return Err(io::Error::other("left on purpose"));
            }
            return Ok(());
        }
        self.stream.read_exact(bytes)
    }

    /// One packet's body, joined if it came in several.
    fn packet(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut head = [0; HEADER_LEN];
            self.fill(&mut head)?;
            let header = Header::parse(&head).expect("four bytes");
            if header.seq != self.seq {
                let text = format!("sequence id {} where {} is due", header.seq, self.seq);
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
            self.seq = self.seq.wrapping_add(1);
            let start = body.len();
            body.resize(start + header.len, 0);
            let mut piece = std::mem::take(&mut body);
            self.fill(&mut piece[start..])?;
            body = piece;
            if header.len < MAX_PAYLOAD {
                return Ok(body);
            }
        }
    }

    fn answer(&mut self, read: impl FnOnce(&mut Self, &mut Answer) -> io::Result<()>) -> Answer {
        let mut answer = Vec::new();
        if let Err(error) = read(self, &mut answer) {
            answer.push(Part::Lost(lost(&error)));
        }
        answer
    }

    /// COM_QUERY.
    pub(crate) fn query(&mut self, sql: &[u8]) -> Answer {
        self.ask(Command::Query, sql, Self::results)
    }

    /// COM_INIT_DB, COM_PING, COM_RESET_CONNECTION, COM_SET_OPTION, COM_STMT_RESET and whatever else is answered by one packet.
    pub(crate) fn simple(&mut self, command: Command, argument: &[u8]) -> Answer {
        self.ask(command, argument, |link, answer| {
            let body = link.packet()?;
            answer.push(link.part(&body)?);
            Ok(())
        })
    }

    /// Any command byte, answered by one packet.
    pub(crate) fn raw(&mut self, body: &[u8]) -> Answer {
        self.answer(|link, answer| {
            link.seq = 0;
            link.write_packet(body)?;
            let body = link.packet()?;
            answer.push(link.part(&body)?);
            Ok(())
        })
    }

    fn ask(
        &mut self,
        command: Command,
        argument: &[u8],
        read: impl FnOnce(&mut Self, &mut Answer) -> io::Result<()>,
    ) -> Answer {
        self.answer(|link, answer| {
            link.send(command, argument)?;
            read(link, answer)
        })
    }

    /// COM_STATISTICS.
    pub(crate) fn statistics(&mut self) -> Answer {
        self.ask(Command::Statistics, &[], |link, answer| {
            let body = link.packet()?;
            answer.push(Part::Text(body.into()));
            Ok(())
        })
    }

    /// COM_FIELD_LIST.
    pub(crate) fn field_list(&mut self, table: &str, wildcard: &str) -> Answer {
        let argument = [table.as_bytes(), &[0], wildcard.as_bytes()].concat();
        self.ask(Command::FieldList, &argument, |link, answer| {
            loop {
                let body = link.packet()?;
                let ends = matches!(body.first(), Some(0xFE | 0xFF));
                answer.push(if ends {
                    link.part(&body)?
                } else {
                    Part::Column(body.into())
                });
                if ends {
                    return Ok(());
                }
            }
        })
    }

    /// COM_STMT_PREPARE: the id, if there is one, beside the answer.
    pub(crate) fn prepare(&mut self, sql: &[u8]) -> (Option<u32>, Answer) {
        let mut id = None;
        let answer = self.ask(Command::StmtPrepare, sql, |link, answer| {
            let body = link.packet()?;
            if body.first() != Some(&0) {
                answer.push(link.part(&body)?);
                return Ok(());
            }
            let mut reader = Reader::new(&body[1..]);
            let mut head = || {
                let id = reader.u32()?;
                let counts = (reader.u16()?, reader.u16()?);
                reader.u8()?;
                Ok((id, counts, reader.u16()?))
            };
            let (number, (columns, params), warnings) = head()
                .map_err(|error: lamplighter_wire::mysql::ProtocolError| io::Error::other(error))?;
            id = Some(number);
            answer.push(Part::Prepared {
                columns,
                params,
                warnings,
            });
            for count in [params, columns] {
                link.definitions(answer, u64::from(count))?;
            }
            Ok(())
        });
        (id, answer)
    }

    /// COM_STMT_EXECUTE with a body made by [`execute_body`].
    pub(crate) fn execute(&mut self, body: &[u8]) -> Answer {
        self.ask(Command::StmtExecute, body, Self::results)
    }

    /// COM_STMT_FETCH.
    pub(crate) fn fetch(&mut self, id: u32, rows: u32) -> Answer {
        let argument = [id.to_le_bytes(), rows.to_le_bytes()].concat();
        self.ask(Command::StmtFetch, &argument, |link, answer| {
            link.rows(answer)
        })
    }

    /// COM_CHANGE_USER, without what depends on the authentication.
    pub(crate) fn change_user(
        &mut self,
        user: &str,
        password: &str,
        database: &str,
        collation: u8,
    ) -> Answer {
        self.answer(|link, answer| {
            let proof = auth::scramble(&link.plugin, password.as_bytes(), &link.nonce);
            let mut body = BytesMut::new();
            packet::put_nul_bytes(&mut body, user.as_bytes());
            body.put_u8(u8::try_from(proof.len()).expect("a short proof"));
            body.put_slice(&proof);
            packet::put_nul_bytes(&mut body, database.as_bytes());
            body.put_u16_le(u16::from(collation));
            packet::put_nul_bytes(&mut body, link.plugin.name());
            link.send(Command::ChangeUser, &body)?;
            match link.authenticate(password) {
                Ok(()) => {
                    answer.push(Part::Text(Bytes::from_static(b"user changed")));
                    Ok(())
                }
                Err(error) => Err(error),
            }
        })
    }

    /// What a COM_QUERY or COM_STMT_EXECUTE is answered with: one or more results.
    fn results(&mut self, answer: &mut Answer) -> io::Result<()> {
        loop {
            let body = self.packet()?;
            let mut out_params = false;
            let head = match body.first() {
                Some(0 | 0xFF) => self.part(&body)?,
                Some(0xFB) => {
                    // no file is ever sent: an empty one
                    answer.push(Part::Infile(Bytes::copy_from_slice(&body[1..])));
                    self.write_packet(&[])?;
                    continue;
                }
                _ => {
                    let count = Reader::new(&body).lenenc_int().map_err(io::Error::other)?;
                    answer.push(Part::Columns(count));
                    self.definitions(answer, count)?;
                    // in the old form only this EOF says so, and the one behind the row not that the CALL's own OK follows
                    out_params = matches!(answer.last(), Some(Part::Eof { status, .. }) if status.contains(Status::SERVER_PS_OUT_PARAMS));
                    // with a cursor the rows are fetched later: the definitions' end was all
                    if !self.opened_cursor(answer) {
                        self.rows(answer)?;
                    }
                    match answer.pop() {
                        Some(last) => last,
                        None => return Err(io::Error::other("an empty result")),
                    }
                }
            };
            let more = match &head {
                Part::Ok { status, .. } | Part::Eof { status, .. } => {
                    status.contains(Status::SERVER_MORE_RESULTS_EXISTS)
                }
                _ => false,
            };
            answer.push(head);
            if !more && !out_params {
                return Ok(());
            }
        }
    }

    fn opened_cursor(&self, answer: &[Part]) -> bool {
        !self
            .capabilities
            .contains(Capabilities::CLIENT_DEPRECATE_EOF)
            && matches!(answer.last(), Some(Part::Eof { status, .. }) if status.contains(Status::SERVER_STATUS_CURSOR_EXISTS))
    }

    fn definitions(&mut self, answer: &mut Answer, count: u64) -> io::Result<()> {
        for _ in 0..count {
            let body = self.packet()?;
            answer.push(Part::Column(body.into()));
        }
        if count > 0
            && !self
                .capabilities
                .contains(Capabilities::CLIENT_DEPRECATE_EOF)
        {
            let body = self.packet()?;
            answer.push(self.part(&body)?);
        }
        Ok(())
    }

    /// Rows up to and with what ends them.
    fn rows(&mut self, answer: &mut Answer) -> io::Result<()> {
        loop {
            let body = self.packet()?;
            let ends = match body.first() {
                Some(0xFF) => true,
                // the first byte of a row may be 0xFE only where the row is huge
                Some(0xFE) => body.len() < MAX_PAYLOAD,
                _ => false,
            };
            if ends {
                answer.push(self.part(&body)?);
                return Ok(());
            }
            answer.push(Part::Row(body.into()));
        }
    }

    /// An OK, ERR or EOF.
    fn part(&self, body: &[u8]) -> io::Result<Part> {
        match body.first() {
            Some(0xFF) => {
                let error = ErrPacket::parse(body).map_err(io::Error::other)?;
                Ok(Part::Err {
                    code: error.code,
                    state: error.sql_state,
                    message: String::from_utf8_lossy(&error.message).into_owned(),
                })
            }
            // COM_SET_OPTION and COM_FIELD_LIST are answered by a real EOF whatever was agreed
            Some(0xFE) if body.len() == 5 => {
                let word = |at: usize| u16::from_le_bytes([body[at], body[at + 1]]);
                Ok(Part::Eof {
                    warnings: word(1),
                    status: Status(word(3)),
                })
            }
            Some(0 | 0xFE) => {
                let ok = OkPacket::parse(body, self.capabilities).map_err(io::Error::other)?;
                let tracked = self
                    .capabilities
                    .contains(Capabilities::CLIENT_SESSION_TRACK)
                    && ok.status.contains(Status::SERVER_SESSION_STATE_CHANGED);
                Ok(Part::Ok {
                    affected: ok.affected_rows,
                    insert_id: ok.last_insert_id,
                    status: ok.status,
                    warnings: ok.warnings,
                    info: ok.info,
                    track: if tracked {
                        format!("{:?}", ok.track).into()
                    } else {
                        Bytes::new()
                    },
                })
            }
            _ => Err(io::Error::other(format!(
                "neither OK nor ERR nor EOF: {body:?}"
            ))),
        }
    }
}

/// A refusal as an error.
fn refused(body: &[u8]) -> io::Result<&[u8]> {
    match body.first() {
        Some(0xFF) => {
            let error = ErrPacket::parse(body).map_err(io::Error::other)?;
            let text = String::from_utf8_lossy(&error.message).into_owned();
            Err(io::Error::other(format!("refused: {} {text}", error.code)))
        }
        _ => Ok(body),
    }
}

/// In words that do not depend on how a connection is ended.
fn lost(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "connection closed".to_owned()
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}
