//! A server connection whose packets travel compressed, from the end of its login on. What was received and not asked for yet waits
//! here, at most one read of it.

use std::fmt::Debug;
use std::io;

use bytes::BytesMut;
use futures_util::FutureExt;
use lamplighter_wire::mysql::compress::{Algorithm, Codec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::READ_SIZE;

/// What carries the compressed bytes: TCP or TLS.
trait Carrier: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug> Carrier for T {}

#[derive(Debug)]
pub(super) struct Compressed {
    carrier: Box<dyn Carrier>,
    codec: Codec,
    /// Received, still compressed.
    input: BytesMut,
}

impl Compressed {
    pub(super) fn new(
        carrier: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug + 'static,
        algorithm: Algorithm,
    ) -> io::Result<Self> {
        Ok(Self {
            carrier: Box::new(carrier),
            codec: Codec::new(algorithm)?,
            input: BytesMut::new(),
        })
    }

    /// Sends commands, or the rest of one.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.codec.begin_command();
        self.send_file(bytes).await
    }

    /// Sends part of a file that the server asked for.
    pub(super) async fn send_file(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = BytesMut::new();
        self.codec.encode(bytes, &mut out)?;
        self.carrier.write_all(&out).await?;
        self.carrier.flush().await
    }

    /// What comes next answers a command of one packet, one of several that were sent at once.
    pub(super) const fn begin_reply(&mut self) {
        self.codec.begin_reply();
    }

    /// What comes next answers what was sent last.
    pub(super) const fn begin_last_reply(&mut self) {
        self.codec.begin_last_reply();
    }

    /// Appends at most `room` bytes of what the server sent; 0 is its end. Safe to cancel.
    pub(super) async fn receive(&mut self, into: &mut BytesMut, room: usize) -> io::Result<usize> {
        let before = into.len();
        loop {
            self.codec
                .decode(&mut self.input, into, room)
                .map_err(io::Error::other)?;
            if into.len() > before {
                if self.input.is_empty() {
                    // an idle connection holds no room
                    self.input = BytesMut::new();
                }
                return Ok(into.len() - before);
            }
            self.input.reserve(READ_SIZE);
            if self.carrier.read_buf(&mut self.input).await? == 0 {
                return Ok(0);
            }
        }
    }

    pub(super) async fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut bytes = BytesMut::with_capacity(into.len());
        while bytes.len() < into.len() {
            let missing = into.len() - bytes.len();
            if self.receive(&mut bytes, missing).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        into.copy_from_slice(&bytes);
        Ok(())
    }

    /// See [`super::Idle::is_quiet`].
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        self.input.is_empty()
            && self.codec.is_between_packets()
            && self.carrier.read(&mut byte).now_or_never().is_none()
    }
}
