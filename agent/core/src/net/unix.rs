//! A unix stream socket that is woken for reading only. One socket, no protocol.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A connected unix socket.
///
/// tokio's own stream is registered for reading and writing at once, and the kernel reports a unix socket writable each time its
/// peer has read something (unix(7); `unix_write_space`). In a dialogue that is a second wakeup for each answer, for nothing.
/// This one asks to be told of writability only while a write has found the socket full.
#[derive(Debug)]
pub struct UnixSocket {
    socket: AsyncFd<UnixStream>,
    /// A second descriptor of the same socket, registered for writing while a write waits.
    full: Option<AsyncFd<UnixStream>>,
}

impl UnixSocket {
    /// Registers the socket with the current runtime.
    ///
    /// # Errors
    /// If it cannot be made non-blocking or the runtime's poller refuses it.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: register(socket, Interest::READABLE)?,
            full: None,
        })
    }

    /// Waits until there is something to be read, or the end. May be wrong: the read that follows may still have to wait.
    ///
    /// # Errors
    /// If the poller fails.
    pub async fn readable(&self) -> io::Result<()> {
        let _kept_ready = self.socket.readable().await?;
        Ok(())
    }

    /// As [`super::look_for_bytes`].
    ///
    /// # Errors
    /// What the socket says.
    pub fn look_for_bytes(&self, budget: Duration) -> io::Result<bool> {
        super::look_for_bytes(self.socket.get_ref(), budget)
    }

    fn wait_for_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let full = match &mut self.full {
            Some(full) => full,
            none => none.insert(register(
                self.socket.get_ref().try_clone()?,
                Interest::WRITABLE,
            )?),
        };
        ready!(full.poll_write_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor may change; std's socket owns one descriptor for life"
)]
fn register(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncRead for UnixSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut guard = ready!(this.socket.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            let wanted = room.len();
            match guard.try_io(|socket| socket.get_ref().read(room)) {
                Ok(Ok(count)) => {
                    // less than asked for: the socket is empty, and says so when it is not any more (epoll(7), edge-triggered)
                    if count > 0 && count < wanted {
                        guard.clear_ready();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for UnixSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match this.socket.get_ref().write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(this.wait_for_room(cx))?;
                }
                written => {
                    this.full = None;
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests;
