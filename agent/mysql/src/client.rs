//! The client's side of a session: its socket, the bytes it has sent and not been answered for, and its login.

mod login;

use std::io;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use lamplighter_core::net::{Peer, Stream, look_for_bytes};
use lamplighter_wire::mysql::ProtocolError;
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::packet;
use lamplighter_wire::mysql::request::RequestScanner;
use lamplighter_wire::mysql::response::{ErrPacket, OkPacket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::near::Awake;
use crate::server::command;

pub(crate) use login::{Greeter, LoginError};

/// Bytes asked from a client's socket at once.
const READ_SIZE: usize = 4 * 1024;

/// What a client may send ahead of its turn, in bytes. Beyond it we stop reading until the current answer is done.
const AHEAD_MAX: usize = 64 * 1024;

/// Who the client is and what was agreed with it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) connection_id: u32,
    pub(crate) user: bytes::Bytes,
    pub(crate) capabilities: Capabilities,
    pub(crate) collation: u8,
    pub(crate) schema: Option<bytes::Bytes>,
    /// The server's flags for a session in which nothing has happened.
    pub(crate) status: Status,
    /// What it shares its writes by, from the connection attribute `lamplighter_key`; see [`session_key`].
    ///
    /// [`session_key`]: lamplighter_wire::sql::session_key
    pub(crate) key: Option<u64>,
    /// The nonce of its greeting; COM_CHANGE_USER answers it again.
    pub(crate) nonce: [u8; 20],
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Stream,
    peer: Peer,
    input: BytesMut,
    scanner: RequestScanner,
    /// How much of `input` the scanner has seen.
    scanned: usize,
    /// Bytes sent to it since its login.
    sent: u64,
    awake: Awake,
}

/// One command of a client, or its beginning.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its packets as they came.
    pub(crate) packets: BytesMut,
    /// Follows the rest, if `packets` is only the beginning.
    pub(crate) rest: Option<RequestScanner>,
    /// The sequence id of the first packet of the answer.
    pub(crate) reply_seq: u8,
}

impl Request {
    /// COM_QUERY with `text`, as if the client had sent it; `attributes` is what it says in front of it.
    pub(crate) fn query(attributes: &[u8], text: &[u8], reply_seq: u8) -> Self {
        Self {
            packets: command(Command::Query, &[attributes, text].concat()),
            rest: None,
            reply_seq,
        }
    }

    /// In the place of a command that the endpoint itself carries out.
    pub(crate) fn nothing(reply_seq: u8) -> Self {
        Self {
            packets: BytesMut::new(),
            rest: None,
            reply_seq,
        }
    }
}

/// Why no request came.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// The client closed its end, or the socket failed.
    Gone,
    /// The client broke the protocol.
    Protocol(ProtocolError),
}

impl From<io::Error> for RequestError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Client {
    pub(crate) fn new(stream: Stream, peer: Peer, awake: Awake) -> Self {
        Self {
            stream,
            peer,
            input: BytesMut::new(),
            scanner: RequestScanner::new(),
            scanned: 0,
            sent: 0,
            awake,
        }
    }

    /// Bytes sent to it so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) const fn peer(&self) -> Peer {
        self.peer
    }

    /// Some of a next command has arrived, if only in the kernel's buffer.
    pub(crate) fn has_spoken(&mut self) -> bool {
        if self.input.is_empty() {
            // an end of the stream is no command; the next read tells it
            let _seen = self.read_more().now_or_never();
        }
        !self.input.is_empty()
    }

    /// The next command: whole if it is no larger than `limit` bytes, else its beginning. Safe to cancel.
    pub(crate) async fn next_request(&mut self, limit: usize) -> Result<Request, RequestError> {
        loop {
            let fresh = self.input.get(self.scanned..).unwrap_or_default();
            if !fresh.is_empty() {
                let seen = self.scanner.feed(fresh).map_err(RequestError::Protocol)?;
                self.scanned += seen.consumed;
                if seen.complete {
                    return Ok(self.take_request(false));
                }
                if self.scanned > limit {
                    return Ok(self.take_request(true));
                }
            }
            if self.read_next().await? == 0 {
                return Err(RequestError::Gone);
            }
        }
    }

    fn take_request(&mut self, unfinished: bool) -> Request {
        let packets = self.input.split_to(std::mem::take(&mut self.scanned));
        if self.input.is_empty() {
            // an idle client holds no buffer
            self.input = BytesMut::new();
        }
        let scanner = std::mem::take(&mut self.scanner);
        let reply_seq = scanner.reply_seq();
        Request {
            packets,
            rest: unfinished.then_some(scanner),
            reply_seq,
        }
    }

    /// Reads more of an unfinished command into `into`; returns whether it is complete.
    pub(crate) async fn continue_request(
        &mut self,
        scanner: &mut RequestScanner,
        into: &mut BytesMut,
    ) -> Result<bool, RequestError> {
        if self.input.is_empty() && self.read_more().await? == 0 {
            return Err(RequestError::Gone);
        }
        let seen = scanner.feed(&self.input).map_err(RequestError::Protocol)?;
        into.extend_from_slice(&self.input.split_to(seen.consumed));
        Ok(seen.complete)
    }

    /// Whatever the client sends next, as it comes (the packets of LOAD DATA LOCAL).
    pub(crate) async fn next_bytes(&mut self) -> io::Result<BytesMut> {
        if self.input.is_empty() && self.read_more().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.input.split())
    }

    /// Resolves when the client has closed its end. What it sends ahead is kept, within a limit. Safe to cancel.
    pub(crate) async fn gone(&mut self) {
        loop {
            if self.input.len() >= AHEAD_MAX {
                return std::future::pending().await;
            }
            match self.read_more().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// What comes when it is the client's turn: it is looked for a little while before everybody sleeps.
    async fn read_next(&mut self) -> io::Result<usize> {
        if let Some(budget) = self.awake.look_budget() {
            let came = match &self.stream {
                Stream::Unix(stream) => stream.look_for_bytes(budget)?,
                Stream::Tcp(stream) => look_for_bytes(stream, budget)?,
            };
            self.awake.looked(came);
        }
        let _asleep = self.awake.sleep();
        self.read_more().await
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        if self.input.capacity() == 0 {
            // an idle client holds no buffer
            self.stream.readable().await?;
        }
        self.input.reserve(READ_SIZE);
        self.stream.read_buf(&mut self.input).await
    }

    /// Sends what is in `out` and empties it.
    pub(crate) async fn send(&mut self, out: &mut BytesMut) -> io::Result<()> {
        while out.has_remaining() {
            let sent = self.stream.write(out).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            out.advance(sent);
            self.sent += u64::try_from(sent).unwrap_or_default();
        }
        out.clear();
        Ok(())
    }

    /// Answers OK.
    pub(crate) async fn send_ok(
        &mut self,
        capabilities: Capabilities,
        status: Status,
        seq: u8,
    ) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(16);
        let mut seq = seq;
        OkPacket {
            status,
            ..OkPacket::default()
        }
        .encode(capabilities, &mut out, &mut seq);
        self.send(&mut out).await
    }

    /// Answers with an error.
    pub(crate) async fn send_error(&mut self, error: &ErrPacket, seq: u8) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(64);
        let mut seq = seq;
        error.encode(&mut out, &mut seq);
        self.send(&mut out).await
    }

    /// One packet's body during login; at most `limit` bytes.
    async fn read_packet(&mut self, limit: usize) -> io::Result<(BytesMut, u8)> {
        loop {
            if let Some(header) = packet::Header::parse(&self.input) {
                if header.len > limit {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if self.input.len() >= packet::HEADER_LEN + header.len {
                    self.input.advance(packet::HEADER_LEN);
                    return Ok((self.input.split_to(header.len), header.seq));
                }
            }
            if self.read_next().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
