//! The other end of somebody else's connection: where it leads, and the power to break it. Touches one socket.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use socket2::SockRef;

/// Breaks a TCP connection that another task is waiting on; that task then sees its end (shutdown(2)). Keeps one more file descriptor
/// open, so the connection is closed when both are dropped.
#[derive(Debug)]
pub struct Lifeline {
    socket: OwnedFd,
    peer: SocketAddr,
}

impl Lifeline {
    /// Of a connected TCP socket.
    ///
    /// # Errors
    /// If it is not connected (any more), or there are no more file descriptors.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let not_ip = || io::Error::from(io::ErrorKind::Unsupported);
        let peer = SockRef::from(socket).peer_addr()?;
        Ok(Self {
            socket: socket.as_fd().try_clone_to_owned()?,
            peer: peer.as_socket().ok_or_else(not_ip)?,
        })
    }

    /// Where the connection leads.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whoever waits on the connection sees its end now.
    pub fn cut(&self) {
        // one that is closed already is cut enough
        let _cut = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::super::{DialOptions, dial};
    use super::*;

    #[tokio::test]
    async fn whoever_waits_sees_the_end_when_the_lifeline_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = address.to_string().parse().expect("an address");
        let dialled = dial(&server, &DialOptions::default()).await;
        let mut ours = dialled.expect("connected");
        let (_theirs, _) = listener.accept().await.expect("accepted");
        let lifeline = Lifeline::of(&ours).expect("a lifeline");
        assert_eq!(lifeline.peer(), address);
        let (seen, ()) = tokio::join!(biased; ours.read_u8(), async { lifeline.cut() });
        let seen = seen.map_err(|error| error.kind());
        assert_eq!(seen, Err(io::ErrorKind::UnexpectedEof));
    }
}
