//! One connection to a MySQL server. Whether it is between two packets is part of its type: only [`Idle`] can wait in a pool,
//! only [`Busy`] can send and receive, and the one way from busy to idle is [`Busy::finish`] with the [`Boundary`] that the
//! reply's own end made. Everything else (drop, timeout, error, a client that left) closes the socket.

mod batch;
mod bucket;
mod compressed;
pub(crate) mod credential;
mod login;
mod preparing;
mod statements;
mod stream;
mod threads;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use lamplighter_wire::mysql::attributes::no_attributes;
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{
    Boundary, Completion, Event, Exchange, Outcome, ReplyShape,
};
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::packet;
use lamplighter_wire::mysql::prepared::PrepareReply;

pub(crate) use batch::Batch;
pub(crate) use bucket::{BUCKET_CAPABILITIES, Bucket};
pub(crate) use login::{Account, ServerFacts};
pub(crate) use statements::Wanted;
use stream::Stream;
pub(crate) use threads::Waiting;

use crate::error::OpenError;
use crate::insert_id::{Change, OfConnection, OfSession, There};
use crate::prepared::Template;
use crate::variables::Variables;

/// Bytes read from a server at once.
const READ_SIZE: usize = 16 * 1024;

/// Bytes sent to a server at once: one that takes the next part has not fallen silent, however long all of it takes.
const WRITE_SIZE: usize = 256 * 1024;

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
    /// The server said so at the login.
    read_only: bool,
    opened: Instant,
    /// Has answered a statement of a client before: a lost connection may then be an old one that the server closed.
    reused: bool,
    thread: threads::Thread,
    statements: statements::Statements,
    /// How many statements may be prepared here at once.
    statements_max: usize,
    insert_id: OfConnection,
    /// What goes in front of the next command, its replies read before that command's.
    ahead: Option<Batch>,
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

    /// The server took no writes when the connection was opened.
    pub(crate) fn is_read_only(&self) -> bool {
        self.0.read_only
    }

    /// Where it leads.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.thread.peer()
    }

    /// Whether the server has left it alone: no end, no word nobody asked for. Costs no system call while nothing happened.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.0.stream.is_quiet()
    }

    /// Takes it into use.
    pub(crate) fn start(self) -> Busy {
        Busy(self.0)
    }

    /// LAST_INSERT_ID() on it.
    pub(crate) fn insert_id(&self) -> &OfConnection {
        &self.0.insert_id
    }

    /// A statement that clients share is prepared on it.
    pub(crate) fn has_prepared(&self, template: &Arc<Template>) -> bool {
        self.0.statements.has(template)
    }

    /// Closes a prepared statement, in front of the next command.
    pub(crate) fn close_prepared(&mut self, wanted: &Wanted) {
        self.0.statements.close(wanted);
    }

    /// A session leaves its LAST_INSERT_ID() behind, if it is there; it gets to know it when somebody asks.
    pub(crate) fn leave_insert_id(&mut self, there: There) -> Option<OfSession> {
        there.leave(&mut self.0.insert_id)
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
        let batch = Batch::wiping(&self.0, &wanted)?;
        self.run_batch(batch).await
    }

    /// Only a wipe makes it one of `wanted`.
    pub(crate) fn is_wiped_for(&self, wanted: &Bucket) -> bool {
        let (now, login) = (&self.0.bucket.variables, self.0.capabilities);
        now.statement_to(&wanted.variables, login).is_none()
    }

    /// Makes it a connection of `wanted`, which must be near its own bucket, and, if `insert_id` is given, one on which
    /// LAST_INSERT_ID() is that. One round trip, the server's word awaited, if anything is to be done.
    ///
    /// # Errors
    /// As [`Idle::reset`].
    pub(crate) async fn adapt(
        self,
        wanted: &Bucket,
        insert_id: Option<u64>,
    ) -> Result<Self, OpenError> {
        match Batch::adapting(&self.0, wanted, insert_id)? {
            None => Ok(self),
            Some(batch) => self.run_batch(batch).await,
        }
    }

    /// As [`Idle::adapt`], but what is to be done goes out together with the next command, and its replies are read before
    /// that command's. For commands that do no harm under the wrong state: they run even if the server refuses the rest.
    ///
    /// # Errors
    /// If it cannot be adapted.
    pub(crate) fn adapt_ahead(
        mut self,
        wanted: &Bucket,
        insert_id: Option<u64>,
    ) -> Result<Self, OpenError> {
        if let Some(batch) = Batch::adapting(&self.0, wanted, insert_id)? {
            self.0.bucket = wanted.clone();
            self.0.ahead = Some(batch);
        }
        Ok(self)
    }

    /// Asks for the LAST_INSERT_ID() of a session that has left.
    ///
    /// # Errors
    /// As [`Idle::reset`].
    pub(crate) async fn settle_insert_id(self) -> Result<Self, OpenError> {
        let bucket = self.0.bucket.clone();
        self.adapt(&bucket, None).await
    }

    async fn run_batch(self, batch: Batch) -> Result<Self, OpenError> {
        let mut busy = self.start();
        busy.send(&batch.packets).await?;
        busy.receive_batch(batch).await
    }
}

impl Busy {
    /// Sends packets as they are, behind what has to go in front of them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let closing = self.0.statements.take_closing();
        let ahead = self.0.ahead.as_ref().map(|batch| &batch.packets);
        if closing.is_none() && ahead.is_none_or(BytesMut::is_empty) {
            return self.write(bytes).await;
        }
        // one write: they are to arrive together
        let mut all = closing.unwrap_or_default();
        if let Some(batch) = &mut self.0.ahead {
            all.extend_from_slice(&batch.packets.split());
        }
        all.extend_from_slice(bytes);
        self.write(&all).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(WRITE_SIZE) {
            self.0.thread.sends(part.len());
            let written = self.0.stream.write(part).await;
            self.0.thread.rests();
            written?;
        }
        Ok(())
    }

    /// Reads the replies to what went in front of the command, if anything did.
    ///
    /// # Errors
    /// If the server refused any of it: the command's own reply, which is still to come, means nothing then.
    pub(crate) async fn receive_ahead(&mut self) -> Result<(), OpenError> {
        match self.0.ahead.take() {
            None => Ok(()),
            Some(batch) => {
                if let Some((_, status)) = self.receive_replies(&batch).await? {
                    self.0.status = status;
                }
                Ok(())
            }
        }
    }

    async fn receive_batch(mut self, batch: Batch) -> Result<Idle, OpenError> {
        let Some((boundary, status)) = self.receive_replies(&batch).await? else {
            return Ok(Idle(self.0));
        };
        let mut idle = self.finish(boundary, status, None);
        idle.0.bucket = batch.wanted;
        idle.0.reused = false;
        Ok(idle)
    }

    async fn receive_replies(
        &mut self,
        batch: &Batch,
    ) -> Result<Option<(Boundary, Status)>, OpenError> {
        let mut last = None;
        for step in &batch.steps {
            let (completion, row) = self.receive_row(step.reply()).await?;
            if let Some(error) = completion.outcome.error() {
                return Err(OpenError::Refused(error));
            }
            batch::note(&mut self.0, *step, &row)?;
            last = Some((completion.boundary, completion.status));
        }
        Ok(last)
    }

    /// Looks for the answer for so long without sleeping.
    ///
    /// # Errors
    /// If the socket fails.
    pub(crate) fn look_for_answer(&mut self, budget: Duration) -> io::Result<bool> {
        self.0.stream.look_for_bytes(budget)
    }

    /// The reply to what was sent last comes next.
    pub(crate) fn begin_last_reply(&mut self) {
        self.0.stream.begin_last_reply();
    }

    /// Sends part of a file that the server asked for: its packets' numbers come round to 0 and begin no command.
    pub(crate) async fn send_file(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.stream.write_file(bytes).await
    }

    /// Appends what the server sent next; an end of the stream is an error. Safe to cancel.
    pub(crate) async fn receive(&mut self, into: &mut BytesMut) -> io::Result<()> {
        self.0.thread.waits();
        if self.0.stream.read(into).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.thread.hears();
        Ok(())
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
        // how results end and how statements begin was agreed at the login
        let fixed = Capabilities::CLIENT_DEPRECATE_EOF.union(Capabilities::CLIENT_QUERY_ATTRIBUTES);
        self.0.bucket.capabilities = capabilities
            .without(fixed)
            .union(self.0.capabilities.intersection(fixed));
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
        self.send(&query(self.0.capabilities, sql)).await?;
        self.receive_reply(ReplyShape::Query).await
    }

    /// As [`Busy::run`], for a query that gives one number.
    pub(crate) async fn count(&mut self, sql: &[u8]) -> io::Result<(u64, Completion)> {
        self.send(&query(self.0.capabilities, sql)).await?;
        let (completion, row) = self.receive_row(ReplyShape::Query).await?;
        require_ok(&completion.outcome)?;
        let mut reader = packet::Reader::new(row.get(packet::HEADER_LEN..).unwrap_or_default());
        let text = reader.lenenc_bytes().map_err(io::Error::other)?;
        let count = std::str::from_utf8(text)
            .ok()
            .and_then(|it| it.parse().ok());
        Ok((count.ok_or(io::ErrorKind::InvalidData)?, completion))
    }

    /// What is waited for may be asked again elsewhere, or not.
    pub(crate) fn set_harmless(&self, harmless: bool) {
        self.0.thread.set_harmless(harmless);
    }

    /// The packet of the only row that a query of our own gives, header included.
    async fn one_row(&mut self, sql: &[u8]) -> io::Result<BytesMut> {
        let (completion, row) = self.ask(sql).await?;
        require_ok(&completion.outcome)?;
        Ok(row)
    }

    /// Runs a query of our own; how it ended, and the packet of its only row, header included, if it gave one.
    pub(crate) async fn ask(&mut self, sql: &[u8]) -> io::Result<(Completion, BytesMut)> {
        self.send(&query(self.0.capabilities, sql)).await?;
        self.receive_row(ReplyShape::Query).await
    }

    /// Prepares a text; the server's id of the statement and what it says of it, or the reply by which it refused.
    pub(crate) async fn prepare_text(
        &mut self,
        text: &[u8],
    ) -> io::Result<Result<(u32, PrepareReply, Completion), Completion>> {
        let mut out = BytesMut::new();
        packet::write_with(&mut out, &mut 0, |out| {
            out.put_u8(Command::StmtPrepare.byte());
            out.put_slice(text);
        });
        self.send(&out).await?;
        self.receive_ahead().await.map_err(io::Error::other)?;
        self.begin_last_reply();
        let capabilities = self.capabilities();
        let mut exchange = Exchange::new(ReplyShape::Prepare, capabilities, capabilities)
            .with_status(self.status());
        let (mut reply, mut sink) = (BytesMut::new(), BytesMut::new());
        loop {
            let before = reply.len();
            self.receive(&mut reply).await?;
            let fresh = reply.get(before..).unwrap_or_default();
            sink.clear();
            match exchange
                .feed(fresh, &mut sink)
                .map_err(io::Error::other)?
                .event
            {
                Event::NeedMore => {}
                Event::LocalInfile { .. } => return Err(io::ErrorKind::InvalidData.into()),
                Event::Done(completion) if completion.prepared.is_some() => {
                    let (id, said) =
                        PrepareReply::parse(&reply, capabilities).map_err(io::Error::other)?;
                    return Ok(Ok((id, said, completion)));
                }
                Event::Done(completion) => return Ok(Err(completion)),
            }
        }
    }

    /// A statement has been prepared; beyond the limit others are closed for it.
    pub(crate) fn keep_prepared(&mut self, wanted: Wanted, id: u32) {
        let max = self.0.statements_max;
        self.0.statements.add(wanted, id, max);
    }

    /// The types with which the statement's parameters were sent last.
    pub(crate) fn parameter_types(&mut self, wanted: &Wanted) -> Option<&mut Bytes> {
        self.0.statements.types(wanted)
    }

    /// Forgets a statement and has the server forget it.
    pub(crate) fn close_prepared(&mut self, wanted: &Wanted) {
        self.0.statements.close(wanted);
    }

    /// Forgets every statement that is not somebody's own, and has the server forget them.
    pub(crate) fn close_all_prepared(&mut self) {
        self.0.statements.close_shared();
    }

    /// The server's id of it.
    pub(crate) fn thread_id(&self) -> u32 {
        self.0.thread.id()
    }

    /// LAST_INSERT_ID() may have changed: whether it is the session's now.
    pub(crate) fn note_insert_id(
        &mut self,
        there: There,
        change: Change,
        session: &OfSession,
    ) -> There {
        let there = there.after(change, &self.0.insert_id, session);
        if change != Change::None {
            self.0.insert_id = OfConnection::Unknown;
        }
        there
    }

    /// Reads one reply that no client sees.
    async fn receive_reply(&mut self, shape: ReplyShape) -> io::Result<Completion> {
        self.receive_row(shape)
            .await
            .map(|(completion, _)| completion)
    }

    /// Reads one reply that no client sees, and its only row's packet, if it has one: the last but one.
    async fn receive_row(&mut self, shape: ReplyShape) -> io::Result<(Completion, BytesMut)> {
        self.0.stream.begin_reply();
        // replies of our own commands are read packet by packet, because another one may follow in the same segment
        let mut exchange = Exchange::new(shape, self.capabilities(), self.capabilities())
            .with_status(self.status());
        let (mut sink, mut before) = (BytesMut::new(), BytesMut::new());
        loop {
            let packet = self.receive_packet().await?;
            sink.clear();
            let fed = exchange
                .feed(&packet, &mut sink)
                .map_err(io::Error::other)?;
            match fed.event {
                Event::Done(completion) => return Ok((completion, before)),
                Event::NeedMore => before = packet,
                Event::LocalInfile { .. } => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// One whole packet, header included, at most 64 KiB: logins and replies to our own commands.
    async fn receive_packet(&mut self) -> io::Result<BytesMut> {
        let mut header = [0; packet::HEADER_LEN];
        self.0.thread.waits();
        self.0.stream.read_exact(&mut header).await?;
        let length = packet::Header::parse(&header).map_or(0, |header| header.len);
        if length > OWN_PACKET_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut whole = BytesMut::with_capacity(header.len() + length);
        whole.extend_from_slice(&header);
        whole.resize(header.len() + length, 0);
        if let Some(body) = whole.get_mut(header.len()..) {
            self.0.stream.read_exact(body).await?;
        }
        self.0.thread.hears();
        Ok(whole)
    }
}

/// The largest packet that a reply to one of our own commands may hold, in bytes.
const OWN_PACKET_MAX: usize = 64 * 1024;

/// A statement of our own on a connection with these capabilities.
fn query(capabilities: Capabilities, sql: &[u8]) -> BytesMut {
    command(Command::Query, &[no_attributes(capabilities), sql].concat())
}

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
