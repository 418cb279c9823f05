//! Looking for bytes that are about to come, without going to sleep. One system call at a time, no protocol.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Lifeline;

/// Looks at a non-blocking socket until there is something to be read (or its end), or `budget` is over. Returns whether there
/// is. Takes nothing out, and lets go of the processor only for whoever wants it: for a peer that answers within microseconds,
/// where falling asleep and being woken takes longer than the answer.
///
/// # Errors
/// What the socket says (recv(2)).
pub fn look_for_bytes(socket: &impl AsFd, budget: Duration) -> io::Result<bool> {
    let socket = SockRef::from(socket);
    let begun = Instant::now();
    loop {
        match socket.peek(&mut [MaybeUninit::uninit()]) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if begun.elapsed() >= budget {
            return Ok(false);
        }
        // whoever else wants this processor may be the one who is to answer
        std::thread::yield_now();
    }
}

/// A TCP connection that can be looked at. What a look has found is read at once, without a turn of the poller.
#[derive(Debug)]
pub struct NearSocket {
    stream: TcpStream,
    /// The last look found something.
    has_bytes: bool,
}

impl NearSocket {
    /// Takes over a connection.
    #[must_use]
    pub const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            has_bytes: false,
        }
    }

    /// See [`Lifeline::of`].
    ///
    /// # Errors
    /// As there.
    pub fn lifeline(&self) -> io::Result<Lifeline> {
        Lifeline::of(&self.stream)
    }

    /// As the function [`look_for_bytes`].
    ///
    /// # Errors
    /// What the socket says.
    pub fn look_for_bytes(&mut self, budget: Duration) -> io::Result<bool> {
        self.has_bytes = look_for_bytes(&self.stream, budget)?;
        Ok(self.has_bytes)
    }
}

impl AsyncRead for NearSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_bytes) {
            let socket = SockRef::from(&self.stream);
            match (&*socket).read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for NearSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::{DialOptions, dial};
    use super::*;

    #[test]
    fn what_is_there_is_seen_and_left_there() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        let no_time = Duration::ZERO;
        assert!(!look_for_bytes(&ours, no_time).expect("looked"));
        assert!(!look_for_bytes(&ours, Duration::from_millis(1)).expect("looked"));
        theirs.write_all(b"x").expect("written");
        assert!(look_for_bytes(&ours, no_time).expect("looked"));
        assert!(
            look_for_bytes(&ours, no_time).expect("looked"),
            "still there"
        );
        drop((theirs, std::io::Read::read(&mut &ours, &mut [0; 1])));
        assert!(look_for_bytes(&ours, no_time).expect("looked"), "the end");
    }

    #[tokio::test]
    async fn what_a_look_has_found_is_read_and_so_is_what_comes_after_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let address = address.to_string().parse().expect("an address");
        let options = DialOptions::default();
        let mut theirs = dial(&address, &options).await.expect("connected");
        let mut ours = NearSocket::new(listener.accept().await.expect("accepted").0);
        let mut seen = [0; 16];
        for round in 0..3 {
            theirs.write_all(b"found").await.expect("written");
            assert!(
                ours.look_for_bytes(Duration::from_secs(10))
                    .expect("looked"),
                "{round}"
            );
            assert_eq!(ours.read(&mut seen).await.expect("read"), 5);
            assert!(
                !ours.look_for_bytes(Duration::ZERO).expect("looked"),
                "taken out"
            );
            let (read, written) = tokio::join!(ours.read(&mut seen), theirs.write_all(b"later!"));
            written.expect("written");
            assert_eq!(read.expect("read"), 6);
        }
        drop(theirs);
        assert_eq!(ours.read(&mut seen).await.expect("read"), 0);
    }
}
