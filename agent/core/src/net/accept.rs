//! The accept loop's one step: bounded, and never ended by a full descriptor table.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::handover::Handover;
use super::listen::{Kind, ListenAddress, Listener, SocketFile};
use super::unix::UnixSocket;

/// Pause after a failed accept: from the first value, doubling, to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// An accepted connection of either kind.
#[derive(Debug)]
pub enum Stream {
    /// Over a unix socket.
    Unix(UnixSocket),
    /// Over TCP.
    Tcp(TcpStream),
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A local process, by the kernel's word (SO_PEERCRED, unix(7)).
    Unix {
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
        /// Its process id, if it is in our namespace.
        pid: Option<i32>,
    },
    /// Somebody over TCP.
    Tcp(SocketAddr),
}

/// One accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The bytes.
    pub stream: Stream,
    /// The other end.
    pub peer: Peer,
    /// Its place among the connections allowed at once; drop it with the connection.
    pub permit: OwnedSemaphorePermit,
}

/// Accepts connections for ever, at most so many at once.
#[derive(Debug)]
pub struct Acceptor {
    socket: Socket,
    address: ListenAddress,
    places: Arc<Semaphore>,
    backoff: Duration,
    handover: Option<Handover>,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Acceptor {
    /// Registers the listener with the current runtime.
    ///
    /// # Errors
    /// If the runtime's poller refuses the socket.
    pub fn new(listener: Listener, connections_max: usize) -> io::Result<Self> {
        Self::sharing(listener, Arc::new(Semaphore::new(connections_max)))
    }

    /// As [`Acceptor::new`], with the limit shared by several listeners.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn sharing(listener: Listener, places: Arc<Semaphore>) -> io::Result<Self> {
        let address = listener.local_address();
        if let Some(handover) = &listener.handover {
            handover.count(&places);
        }
        let socket = match listener.kind {
            Kind::Unix(socket) => Socket::Unix(UnixListener::from_std(socket)?),
            Kind::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket)?),
        };
        Ok(Self {
            socket,
            address,
            places,
            backoff: BACKOFF.0,
            handover: listener.handover,
            _file: listener.file,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The next connection. While as many are open as may be, the kernel's queue holds the rest; once a handover has begun, it
    /// holds all of them, for the successor. Safe to cancel.
    pub async fn accept(&mut self) -> Accepted {
        let Some(handover) = self.handover.clone() else {
            return self.next().await;
        };
        tokio::select! {
            biased;
            () = handover.begun() => {}
            accepted = self.next() => return accepted,
        }
        std::future::pending().await
    }

    async fn next(&mut self) -> Accepted {
        let permit = self.place().await;
        loop {
            match self.accept_once().await {
                Ok((stream, peer)) => {
                    self.backoff = BACKOFF.0;
                    return Accepted {
                        stream,
                        peer,
                        permit,
                    };
                }
                // the client was gone before we looked: not our trouble, and the next may be waiting (accept(2))
                Err(error) if is_clients_fault(&error) => {}
                Err(error) => {
                    if self.backoff == BACKOFF.0 {
                        tracing::warn!(address = %self.address, %error, "cannot accept; trying again");
                    }
                    tokio::time::sleep(self.backoff).await;
                    self.backoff = (self.backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(permit) => permit,
            // nobody closes the semaphore; if somebody did, nothing more could be accepted
            Err(_) => std::future::pending().await,
        }
    }

    async fn accept_once(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let credentials = stream.peer_cred()?;
                let peer = Peer::Unix {
                    uid: credentials.uid(),
                    gid: credentials.gid(),
                    pid: credentials.pid(),
                };
                Ok((Stream::Unix(UnixSocket::new(stream.into_std()?)?), peer))
            }
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
        }
    }
}

fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | NotConnected | InvalidInput
    )
}

impl Stream {
    /// Waits until there is something to be read, or the end. May be wrong: the read that follows may still have to wait.
    ///
    /// # Errors
    /// If the poller fails.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.readable().await,
            Self::Tcp(stream) => stream.readable().await,
        }
    }
}

impl Stream {
    /// As [`super::look_for_bytes`].
    ///
    /// # Errors
    /// What the socket says.
    pub fn look_for_bytes(&self, budget: Duration) -> io::Result<bool> {
        match self {
            Self::Unix(stream) => stream.look_for_bytes(budget),
            Self::Tcp(stream) => super::look_for_bytes(stream, budget),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buffer),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
