//! The bytes to a server, plain or over TLS. Reads and writes its socket.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, BufReader, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// A connection to a server: plain on the left, over TLS on the right.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<BufReader<TcpStream>>>>;

/// Bytes asked of the system at once below TLS, which itself would ask for 4 KiB each time.
const READ_SIZE: usize = 64 * 1024;

/// What TLS reads from.
pub(super) fn buffered(tcp: TcpStream) -> BufReader<TcpStream> {
    BufReader::with_capacity(READ_SIZE, tcp)
}

/// Writes some of what waits, and flushes when nothing is left; how much was written. Safe to cancel.
pub(super) async fn push(
    writer: &mut WriteHalf<Stream>,
    out: &mut VecDeque<Bytes>,
    tail: &mut BytesMut,
    unflushed: &mut bool,
) -> std::io::Result<usize> {
    if out.is_empty() && !tail.is_empty() {
        out.push_back(tail.split().freeze());
    }
    let Some(front) = out.front_mut() else {
        writer.flush().await?;
        *unflushed = false;
        return Ok(0);
    };
    let count = writer.write(front).await?;
    *unflushed = true;
    front.advance(count);
    if front.is_empty() {
        out.pop_front();
    }
    if count == 0 {
        return Err(std::io::ErrorKind::WriteZero.into());
    }
    Ok(count)
}
