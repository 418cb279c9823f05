//! The datagram socket of the service manager.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lamplighter_core::net::Kept;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};
use sd_notify::NotifyState;

/// How long a message may wait for room in the manager's queue.
const SEND_TIME: Duration = Duration::from_millis(500);

/// The service manager, if there is one. Clones share it.
#[derive(Debug, Clone)]
pub struct Manager {
    socket: Option<Arc<Socket>>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Socket {
    datagrams: UnixDatagram,
    address: SocketAddr,
    /// Whether the last message could not be sent, so that a manager that is gone is logged once.
    failing: AtomicBool,
}

impl Manager {
    /// What the environment says: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` for this process. Without the first, nothing is ever sent.
    #[must_use]
    pub fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        Self::new(socket.as_deref(), sd_notify::watchdog_enabled())
    }

    /// A manager that listens at `socket` (a path, or `@name` for an abstract socket) and wants to hear from us at least every
    /// `watchdog`.
    pub(crate) fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> Self {
        let socket = socket.and_then(|path| match Socket::new(path) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::warn!(socket = %path.display(), %error, "cannot talk to the service manager");
                None
            }
        });
        let watchdog = watchdog.filter(|interval| socket.is_some() && !interval.is_zero());
        Self { socket, watchdog }
    }

    /// No manager.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            socket: None,
            watchdog: None,
        }
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// How often it wants to hear from us at least, if at all.
    pub(crate) const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends `states` in one message; `false` if they did not arrive. Waits at most half a second.
    pub(crate) fn tell(&self, states: &[NotifyState<'_>]) -> bool {
        let Some(socket) = &self.socket else {
            return true;
        };
        let mut message = String::new();
        for state in states {
            // writing to a string cannot fail
            let _infallible = writeln!(message, "{state}");
        }
        socket.send(message.as_bytes())
    }
}

impl Manager {
    /// Gives `sockets` to the manager to keep: a restarted agent gets them back, and who connects in between waits. Needs
    /// `FileDescriptorStoreMax=` in the unit; without it nothing is kept and nothing breaks. One that is kept already is not kept twice.
    pub fn keep(&self, sockets: &[Kept]) {
        let Some(socket) = &self.socket else { return };
        for kept in sockets {
            let text = format!("FDSTORE=1\nFDNAME={}\n", kept.name);
            if let Err(error) = socket.send_with(text.as_bytes(), kept.as_fd()) {
                tracing::warn!(socket = kept.name, %error, "the service manager does not keep it; a restart will refuse clients");
            }
        }
    }

    /// Has the manager close what it keeps under these names.
    pub fn forget(&self, names: &[String]) {
        let Some(socket) = &self.socket else { return };
        for name in names {
            socket.send(format!("FDSTOREREMOVE=1\nFDNAME={name}\n").as_bytes());
        }
    }
}

impl Socket {
    /// Sends `message` with a descriptor (unix(7), SCM_RIGHTS).
    fn send_with(&self, message: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let address = match (self.address.as_pathname(), self.address.as_abstract_name()) {
            (Some(path), _) => SocketAddrUnix::new(path)?,
            (None, Some(name)) => SocketAddrUnix::new_abstract_name(name)?,
            (None, None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        sendmsg_addr(
            &self.datagrams,
            &address,
            &[IoSlice::new(message)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    fn new(path: &OsStr) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(path)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let datagrams = UnixDatagram::unbound()?;
        datagrams.set_write_timeout(Some(SEND_TIME))?;
        Ok(Self {
            datagrams,
            address,
            failing: AtomicBool::new(false),
        })
    }

    fn send(&self, message: &[u8]) -> bool {
        match self.datagrams.send_to_addr(message, &self.address) {
            Ok(_) => {
                self.failing.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the service manager does not take messages");
                }
                false
            }
        }
    }
}
