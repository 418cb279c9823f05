//! What carries the packets of one server connection: TCP, TLS, or either of them compressed. Bytes in and out; knows no packet.

use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use lamplighter_core::net::NearSocket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;

use super::READ_SIZE;
use super::compressed::Compressed;

#[derive(Debug)]
pub(super) enum Stream {
    Plain(NearSocket),
    Tls(Box<TlsStream<NearSocket>>),
    Compressed(Box<Compressed>),
}

impl Stream {
    /// Nothing has come and nothing is on its way out of a buffer of ours. Costs no system call while nothing happened.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        let read = match self {
            Self::Plain(stream) => stream.read(&mut byte).now_or_never(),
            Self::Tls(stream) => stream.read(&mut byte).now_or_never(),
            Self::Compressed(stream) => return stream.is_quiet(),
        };
        read.is_none()
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Compressed(stream) => stream.send(bytes).await,
        }
    }

    /// As [`Stream::write`], for parts of a file: its packets' numbers come round to 0 and begin no command.
    pub(super) async fn write_file(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Compressed(stream) => stream.send_file(bytes).await,
            Self::Plain(_) | Self::Tls(_) => self.write(bytes).await,
        }
    }

    /// Appends at most [`READ_SIZE`] bytes; 0 is the end. Safe to cancel.
    pub(super) async fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        into.reserve(READ_SIZE);
        // a result set of any size passes through a buffer of this one
        let mut room = into.limit(READ_SIZE);
        match self {
            Self::Plain(stream) => stream.read_buf(&mut room).await,
            Self::Tls(stream) => stream.read_buf(&mut room).await,
            Self::Compressed(stream) => stream.receive(room.get_mut(), READ_SIZE).await,
        }
    }

    pub(super) async fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.read_exact(into).await?,
            Self::Tls(stream) => stream.read_exact(into).await?,
            Self::Compressed(stream) => return stream.read_exact(into).await,
        };
        Ok(())
    }

    /// Looks for bytes for so long without sleeping.
    pub(super) fn look_for_bytes(&mut self, budget: Duration) -> io::Result<bool> {
        match self {
            Self::Plain(stream) => stream.look_for_bytes(budget),
            Self::Tls(stream) => stream.get_mut().0.look_for_bytes(budget),
            // whoever compresses is not near
            Self::Compressed(_) => Ok(false),
        }
    }

    /// What comes next answers a command of one packet, one of several that were sent at once.
    pub(super) fn begin_reply(&mut self) {
        if let Self::Compressed(stream) = self {
            stream.begin_reply();
        }
    }

    /// What comes next answers what was sent last.
    pub(super) fn begin_last_reply(&mut self) {
        if let Self::Compressed(stream) = self {
            stream.begin_last_reply();
        }
    }
}
