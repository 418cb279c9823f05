//! One connection to a MySQL server. Whether it is between two packets is part of its type: only [`Idle`] can wait in a pool,
//! only [`Busy`] can send and receive, and the one way from busy to idle is [`Busy::finish`] with the [`Boundary`] that the
//! reply's own end made. Everything else (drop, timeout, error, a client that left) closes the socket.

mod login;

use std::io;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{
    Boundary, Completion, Event, Exchange, Outcome, ReplyShape,
};
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::packet;
use lamplighter_wire::mysql::response::ErrPacket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(crate) use login::{Account, ServerFacts};

use crate::error::OpenError;
use crate::variables::Variables;

/// What two clients must share to share a server connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    /// The capabilities that change what statements mean; see [`BUCKET_CAPABILITIES`].
    pub(crate) capabilities: Capabilities,
    /// The collation id of the client's handshake.
    pub(crate) collation: u8,
    /// The default schema.
    pub(crate) schema: Option<Bytes>,
    /// Session variables set since the login.
    pub(crate) variables: Variables,
}

impl Bucket {
    /// For connections that are opened before any client asked for one: utf8mb4_general_ci, which every server knows.
    pub(crate) fn of_nobody() -> Self {
        Self {
            capabilities: Capabilities::empty(),
            collation: 45,
            schema: None,
            variables: Variables::default(),
        }
    }

    /// Whether a connection of this bucket can be made into one of `wanted` without a login.
    pub(crate) fn is_near(&self, wanted: &Self) -> bool {
        self.capabilities == wanted.capabilities
            && self.collation == wanted.collation
            && (self.schema.is_none() || wanted.schema.is_some())
    }
}

/// Capabilities that a client chooses and that change the meaning of its statements.
pub(crate) const BUCKET_CAPABILITIES: Capabilities = Capabilities::CLIENT_FOUND_ROWS
    .union(Capabilities::CLIENT_IGNORE_SPACE)
    .union(Capabilities::CLIENT_MULTI_STATEMENTS)
    .union(Capabilities::CLIENT_LOCAL_FILES)
    .union(Capabilities::CLIENT_NO_SCHEMA)
    .union(Capabilities::CLIENT_INTERACTIVE);

/// Bytes read from a server at once.
const READ_SIZE: usize = 16 * 1024;

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is known of a server connection whatever its state.
#[derive(Debug)]
struct Link {
    stream: Stream,
    capabilities: Capabilities,
    bucket: Bucket,
    status: Status,
    /// Restores what the login set and COM_RESET_CONNECTION forgets; made from the server's own words at login.
    restore: Bytes,
    /// The server runs `init_connect` at a login and at nothing else: what it set cannot be set up again.
    has_init_connect: bool,
    opened: Instant,
    /// Has answered a statement of a client before: a lost connection may then be an old one that the server closed.
    reused: bool,
}

/// A server connection between two packets, with nothing to be read.
#[derive(Debug)]
pub(crate) struct Idle(Box<Link>);

/// A server connection with a command on its way.
#[derive(Debug)]
pub(crate) struct Busy(Box<Link>);

impl Idle {
    /// Connects, agrees on TLS, logs in and switches session tracking on.
    pub(crate) async fn open(account: &Account, bucket: Bucket) -> Result<Self, OpenError> {
        let limit = account.connect_timeout;
        let login = Box::pin(login::login(account, bucket));
        tokio::time::timeout(limit, login)
            .await
            .unwrap_or(Err(OpenError::Timeout(limit)))
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.0.bucket
    }

    pub(crate) fn status(&self) -> Status {
        self.0.status
    }

    pub(crate) fn opened(&self) -> Instant {
        self.0.opened
    }

    /// Whether the server has left it alone: no end, no word nobody asked for. Costs no system call while nothing happened.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        let read = match &mut self.0.stream {
            Stream::Plain(stream) => stream.read(&mut byte).now_or_never(),
            Stream::Tls(stream) => stream.read(&mut byte).now_or_never(),
        };
        read.is_none()
    }

    /// Takes it into use.
    pub(crate) fn start(self) -> Busy {
        Busy(self.0)
    }

    /// Wipes the session as COM_RESET_CONNECTION does, then sets up again what the login had set up. One round trip.
    ///
    /// # Errors
    /// If the server refuses or the connection breaks; the connection is closed.
    pub(crate) async fn reset(self) -> Result<Self, OpenError> {
        let wanted = Bucket {
            variables: Variables::default(),
            ..self.0.bucket.clone()
        };
        self.change(&wanted, true).await
    }

    /// Makes it a connection of `wanted`, which must be near its own bucket. One round trip, the server's word awaited: the
    /// client's statement must not run in another schema or under other variables than it was meant for.
    ///
    /// # Errors
    /// As [`Idle::reset`].
    pub(crate) async fn adapt(self, wanted: &Bucket) -> Result<Self, OpenError> {
        let wipe = self
            .0
            .bucket
            .variables
            .statement_to(&wanted.variables)
            .is_none();
        self.change(wanted, wipe).await
    }

    async fn change(self, wanted: &Bucket, wipe: bool) -> Result<Self, OpenError> {
        if wipe && self.0.has_init_connect {
            return Err(OpenError::TooOld(
                "a session that can be wiped: init_connect is set",
            ));
        }
        let current = self.0.bucket.clone();
        let restore = self.0.restore.clone();
        let mut busy = self.start();
        let mut out = BytesMut::new();
        let mut replies = Vec::with_capacity(4);
        let mut say = |what: Command, argument: &[u8], reply| {
            out.extend_from_slice(&command(what, argument));
            replies.push(reply);
        };
        let mut variables = current.variables;
        if wipe {
            say(Command::ResetConnection, &[], ReplyShape::OkOrErr);
            say(Command::Query, &restore, ReplyShape::Query);
            variables = Variables::default();
        }
        if current.schema != wanted.schema
            && let Some(schema) = &wanted.schema
        {
            say(Command::InitDb, schema, ReplyShape::OkOrErr);
        }
        if variables != wanted.variables
            && let Some(sql) = variables.statement_to(&wanted.variables)
        {
            say(Command::Query, &sql, ReplyShape::Query);
        }
        busy.send(&out).await?;
        let mut last = None;
        for reply in replies {
            let completion = busy.receive_reply(reply).await?;
            if let Outcome::Err {
                code,
                sql_state,
                message,
            } = completion.outcome
            {
                return Err(OpenError::Refused(ErrPacket {
                    code,
                    sql_state,
                    message,
                }));
            }
            last = Some((completion.boundary, completion.status));
        }
        let Some((boundary, status)) = last else {
            return Ok(Self(busy.0));
        };
        let mut idle = busy.finish(boundary, status, None);
        idle.0.bucket = wanted.clone();
        idle.0.reused = false;
        Ok(idle)
    }
}

impl Busy {
    /// Sends packets as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Appends what the server sent next; an end of the stream is an error. Safe to cancel.
    pub(crate) async fn receive(&mut self, into: &mut BytesMut) -> io::Result<()> {
        into.reserve(READ_SIZE);
        // a result set of any size passes through a buffer of this one
        let mut room = into.limit(READ_SIZE);
        let count = match &mut self.0.stream {
            Stream::Plain(stream) => stream.read_buf(&mut room).await?,
            Stream::Tls(stream) => stream.read_buf(&mut room).await?,
        };
        if count == 0 {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    pub(crate) fn status(&self) -> Status {
        self.0.status
    }

    pub(crate) fn was_reused(&self) -> bool {
        self.0.reused
    }

    /// A SET of the client's has been understood.
    pub(crate) fn set_variables(&mut self, variables: Variables) {
        self.0.bucket.variables = variables;
    }

    /// The client switched multi-statements on or off for this connection.
    pub(crate) fn set_capabilities(&mut self, capabilities: Capabilities) {
        self.0.bucket.capabilities = capabilities;
    }

    /// The reply is over and proved to be: the connection may be used by anybody whose bucket it is in.
    pub(crate) fn finish(
        mut self,
        _proof: Boundary,
        status: Status,
        schema: Option<Bytes>,
    ) -> Idle {
        self.0.status = status;
        self.0.reused = true;
        if let Some(schema) = schema {
            self.0.bucket.schema = Some(schema).filter(|name| !name.is_empty());
        }
        Idle(self.0)
    }

    /// Runs a statement of our own to its end; its rows are dropped.
    pub(crate) async fn run(&mut self, sql: &[u8]) -> io::Result<Completion> {
        self.send(&command(Command::Query, sql)).await?;
        self.receive_reply(ReplyShape::Query).await
    }

    /// The packet of the only row that a query of our own gives, header included; it has so many columns.
    async fn one_row(&mut self, sql: &[u8], columns: usize) -> io::Result<BytesMut> {
        self.send(&command(Command::Query, sql)).await?;
        let capabilities = self.capabilities();
        let mut exchange = Exchange::new(ReplyShape::Query, capabilities, capabilities);
        let mut sink = BytesMut::new();
        let mut row = BytesMut::new();
        // the number of columns, the columns, the row, the end
        for step in 0..=columns + 2 {
            let packet = self.receive_packet().await?;
            sink.clear();
            match exchange
                .feed(&packet, &mut sink)
                .map_err(io::Error::other)?
                .event
            {
                Event::NeedMore => {}
                Event::LocalInfile { .. } => break,
                Event::Done(completion) => {
                    require_ok(&completion.outcome)?;
                    return Ok(row);
                }
            }
            if step == columns + 1 {
                row = packet;
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Reads one reply that no client sees.
    async fn receive_reply(&mut self, shape: ReplyShape) -> io::Result<Completion> {
        // replies of our own commands are read packet by packet, because another one may follow in the same segment
        let mut exchange = Exchange::new(shape, self.capabilities(), self.capabilities())
            .with_status(self.status());
        let mut sink = BytesMut::new();
        loop {
            let packet = self.receive_packet().await?;
            sink.clear();
            let fed = exchange
                .feed(&packet, &mut sink)
                .map_err(io::Error::other)?;
            match fed.event {
                Event::Done(completion) => return Ok(completion),
                Event::NeedMore => {}
                Event::LocalInfile { .. } => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// One whole packet, header included, at most 64 KiB: logins and replies to our own commands.
    async fn receive_packet(&mut self) -> io::Result<BytesMut> {
        let mut header = [0; packet::HEADER_LEN];
        self.read_exact(&mut header).await?;
        let length = packet::Header::parse(&header).map_or(0, |header| header.len);
        if length > OWN_PACKET_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut whole = BytesMut::with_capacity(header.len() + length);
        whole.extend_from_slice(&header);
        whole.resize(header.len() + length, 0);
        if let Some(body) = whole.get_mut(header.len()..) {
            self.read_exact(body).await?;
        }
        Ok(whole)
    }

    async fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        match &mut self.0.stream {
            Stream::Plain(stream) => stream.read_exact(into).await?,
            Stream::Tls(stream) => stream.read_exact(into).await?,
        };
        Ok(())
    }
}

/// The largest packet that a reply to one of our own commands may hold, in bytes.
const OWN_PACKET_MAX: usize = 64 * 1024;

/// A command packet.
pub(crate) fn command(command: Command, argument: &[u8]) -> BytesMut {
    let mut body = BytesMut::with_capacity(1 + argument.len());
    body.put_u8(command.byte());
    body.put_slice(argument);
    let mut out = BytesMut::with_capacity(packet::HEADER_LEN + body.len());
    let mut seq = 0;
    packet::write(&mut out, &mut seq, &body);
    out
}

/// An answer to a command of our own that must have succeeded.
fn require_ok(outcome: &Outcome) -> io::Result<()> {
    match outcome {
        Outcome::Err { code, message, .. } => {
            let text = String::from_utf8_lossy(message);
            Err(io::Error::other(format!(
                "the server answered {code}: {text}"
            )))
        }
        _ => Ok(()),
    }
}
