//! Where to listen, and sockets to listen on: inherited from systemd or bound by us.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use listenfd::ListenFd;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use socket2::{Domain, Protocol, Socket, Type};

use super::holder;

/// Connections the kernel queues while we are busy; `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// An address to listen on, written `"unix:/run/lamplighter/mysql.sock"`, `"tcp:127.0.0.1:3306"` or `"127.0.0.1:3306"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A unix stream socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

/// Text that is no listen address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address to listen on; write \"unix:/run/lamplighter/NAME.sock\" or \"127.0.0.1:PORT\""
)]
pub struct AddressError(String);

/// `sun_path` holds 108 bytes with its final NUL (unix(7)).
const UNIX_PATH_MAX: usize = 107;

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') || path.len() > UNIX_PATH_MAX {
                return Err(refused());
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        text.strip_prefix("tcp:")
            .unwrap_or(text)
            .parse()
            .map(Self::Tcp)
            .map_err(|_| refused())
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{address} is taken by {}", holder.as_deref().unwrap_or("another process"))]
    Taken {
        /// The address.
        address: ListenAddress,
        /// The process, if it could be found out: `"mysqld (pid 812)"`.
        holder: Option<String>,
    },
    /// A file that is no socket is in the way.
    #[error("{path} exists and is not a socket; it is left alone")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Anything else the system said.
    #[error("cannot listen on {address}")]
    Io {
        /// The address.
        address: ListenAddress,
        /// The system's reason.
        source: io::Error,
    },
}

#[derive(Debug)]
pub(super) enum Kind {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

/// A bound, listening, non-blocking socket that no runtime owns yet.
#[derive(Debug)]
pub struct Listener {
    pub(super) kind: Kind,
    pub(super) address: ListenAddress,
    pub(super) file: Option<SocketFile>,
}

impl Listener {
    /// The address, with the port the system chose if it was 0.
    #[must_use]
    pub fn local_address(&self) -> ListenAddress {
        match &self.kind {
            Kind::Unix(_) => self.address.clone(),
            Kind::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| self.address.clone(), ListenAddress::Tcp),
        }
    }
}

/// The file of a unix socket that we made; removed when the listener goes, unless another process has replaced it since.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> Option<Self> {
        Some(Self {
            path: path.to_owned(),
            inode: inode(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path) == Some(self.inode) {
            // gone already is as good as removed
            let _result = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path)
        .ok()
        .map(|metadata| metadata.ino())
}

/// The sockets handed over by systemd (sd_listen_fds(3)), and the means to bind those that were not.
#[derive(Debug, Default)]
pub struct Sockets {
    inherited: Vec<(ListenAddress, Kind)>,
}

impl Sockets {
    /// Takes over what systemd handed to this process.
    #[must_use]
    pub fn from_env() -> Self {
        let mut fds = ListenFd::from_env();
        let mut inherited = Vec::new();
        for index in 0..fds.len() {
            if let Ok(Some(listener)) = fds.take_tcp_listener(index)
                && let Ok(address) = listener.local_addr()
            {
                inherited.push((ListenAddress::Tcp(address), Kind::Tcp(listener)));
            } else if let Ok(Some(listener)) = fds.take_unix_listener(index)
                && let Some(path) = listener
                    .local_addr()
                    .ok()
                    .and_then(|address| address.as_pathname().map(Path::to_owned))
            {
                inherited.push((ListenAddress::Unix(path), Kind::Unix(listener)));
            }
        }
        Self { inherited }
    }

    /// No inherited sockets.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Listens on `address`: on the inherited socket with that address if there is one, else on a new one. A stale unix socket
    /// (nobody listens) is replaced. `unix_mode` are the permission bits of a new unix socket.
    ///
    /// # Errors
    /// If the address is taken or the system refuses.
    pub fn bind(&mut self, address: &ListenAddress, unix_mode: u32) -> Result<Listener, BindError> {
        let failed = |source| BindError::Io {
            address: address.clone(),
            source,
        };
        let inherited = self
            .inherited
            .iter()
            .position(|(known, _)| known == address);
        let listener = match inherited {
            Some(index) => {
                let (_, kind) = self.inherited.swap_remove(index);
                Listener {
                    kind,
                    address: address.clone(),
                    file: None,
                }
            }
            None => match address {
                ListenAddress::Unix(path) => bind_unix(path, unix_mode, address)?,
                ListenAddress::Tcp(socket) => {
                    let listener = bind_tcp(*socket).map_err(|source| match source.kind() {
                        io::ErrorKind::AddrInUse => BindError::Taken {
                            address: address.clone(),
                            holder: holder::of_tcp_port(socket.port()),
                        },
                        _ => failed(source),
                    })?;
                    Listener {
                        kind: Kind::Tcp(listener),
                        address: address.clone(),
                        file: None,
                    }
                }
            },
        };
        match &listener.kind {
            Kind::Unix(socket) => socket.set_nonblocking(true),
            Kind::Tcp(socket) => socket.set_nonblocking(true),
        }
        .map_err(failed)?;
        Ok(listener)
    }

    /// The inherited addresses nobody has asked for: units and configuration do not agree.
    pub fn unused(&self) -> impl Iterator<Item = &ListenAddress> {
        self.inherited.iter().map(|(address, _)| address)
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // a restarted agent must not wait for the old connections' TIME_WAIT
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, mode: u32, address: &ListenAddress) -> Result<Listener, BindError> {
    let failed = |source| BindError::Io {
        address: address.clone(),
        source,
    };
    clear_stale(path, address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    let target = socket2::SockAddr::unix(path).map_err(failed)?;
    socket.bind(&target).map_err(failed)?;
    // permissions before listen(): nobody connects in between
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    Ok(Listener {
        kind: Kind::Unix(socket.into()),
        address: address.clone(),
        file: SocketFile::new(path),
    })
}

/// Removes a socket file that nobody listens on any more.
fn clear_stale(path: &Path, address: &ListenAddress) -> Result<(), BindError> {
    let failed = |source| BindError::Io {
        address: address.clone(),
        source,
    };
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket {
            path: path.to_owned(),
        });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(stream) => Err(BindError::Taken {
            address: address.clone(),
            holder: holder::of_unix_peer(&stream),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        // gone in the meantime, full backlog or no permission: let bind() say it
        Err(_) => Ok(()),
    }
}
