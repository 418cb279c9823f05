//! Where to listen, and sockets to listen on: inherited from systemd or bound by us.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use listenfd::ListenFd;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use socket2::{Domain, Protocol, Socket, Type};

use super::handover::Handover;
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
    /// Set where who connects during a restart is to wait for the successor.
    pub(super) handover: Option<Handover>,
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
    handover: Handover,
}

impl SocketFile {
    fn new(path: &Path, handover: &Handover) -> Option<Self> {
        Some(Self {
            path: path.to_owned(),
            inode: inode(path)?,
            handover: handover.clone(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.handover.keeps_files() && inode(&self.path) == Some(self.inode) {
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

/// How the names of our own sockets in the service manager's store begin; those of a socket unit have its name.
const KEPT: &str = "kept-";

/// A duplicate of a listening socket, for the service manager to keep.
#[derive(Debug)]
pub struct Kept {
    /// Its name in the manager's store: made of the address, without the characters a name must not have.
    pub name: String,
    socket: OwnedFd,
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn name_of(address: &ListenAddress) -> String {
    let plain = |character: char| if character == ':' { '-' } else { character };
    format!("{KEPT}{address}").chars().map(plain).collect()
}

#[derive(Debug)]
struct Inherited {
    name: String,
    address: ListenAddress,
    kind: Kind,
}

/// The sockets handed over by systemd (sd_listen_fds(3)), from a socket unit or from the store of the agent before this one, and
/// the means to bind those that were not.
#[derive(Debug, Default)]
pub struct Sockets {
    inherited: Vec<Inherited>,
    handover: Handover,
    kept: Vec<Kept>,
}

impl Sockets {
    /// Takes over what systemd handed to this process. If `handover` says that the sockets are kept, what is bound from now on is
    /// collected for [`Self::take_kept`].
    #[must_use]
    pub fn from_env(handover: Handover) -> Self {
        // read before the variables are used up
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut fds = ListenFd::from_env();
        let mut inherited = Vec::new();
        for index in 0..fds.len() {
            let name = names.next().unwrap_or_default();
            let found = if let Ok(Some(listener)) = fds.take_tcp_listener(index)
                && let Ok(address) = listener.local_addr()
            {
                Some((ListenAddress::Tcp(address), Kind::Tcp(listener)))
            } else if let Ok(Some(listener)) = fds.take_unix_listener(index)
                && let Ok(address) = listener.local_addr()
                // a socket whose file somebody removed can be reached by nobody
                && let Some(path) = address.as_pathname().filter(|path| is_socket(path))
            {
                Some((ListenAddress::Unix(path.to_owned()), Kind::Unix(listener)))
            } else {
                None
            };
            inherited.extend(found.map(|(address, kind)| Inherited {
                name,
                address,
                kind,
            }));
        }
        Self {
            inherited,
            handover,
            kept: Vec::new(),
        }
    }

    /// No inherited sockets, and nobody keeps any.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// As [`Self::bind_to_the_end`], for a listener whose new clients wait for the successor once a handover has begun.
    ///
    /// # Errors
    /// If the address is taken or the system refuses.
    pub fn bind(&mut self, address: &ListenAddress, unix_mode: u32) -> Result<Listener, BindError> {
        let handover = self.handover.clone();
        let listener = self.bind_to_the_end(address, unix_mode)?;
        Ok(Listener {
            handover: Some(handover),
            ..listener
        })
    }

    /// Listens on `address`, accepting until the process ends: on the inherited socket with that address if there is one, else on a new one. A stale unix socket
    /// (nobody listens) is replaced. `unix_mode` are the permission bits of a new unix socket.
    ///
    /// # Errors
    /// If the address is taken or the system refuses.
    pub fn bind_to_the_end(
        &mut self,
        address: &ListenAddress,
        unix_mode: u32,
    ) -> Result<Listener, BindError> {
        let failed = |source| BindError::Io {
            address: address.clone(),
            source,
        };
        let inherited = self
            .inherited
            .iter()
            .position(|known| known.address == *address);
        let listener = match inherited {
            Some(index) => self.take(index, unix_mode).map_err(failed)?,
            None => self.bind_new(address, unix_mode)?,
        };
        match &listener.kind {
            Kind::Unix(socket) => socket.set_nonblocking(true),
            Kind::Tcp(socket) => socket.set_nonblocking(true),
        }
        .map_err(failed)?;
        if self.handover.is_kept() {
            let fd = match &listener.kind {
                Kind::Unix(socket) => socket.as_fd(),
                Kind::Tcp(socket) => socket.as_fd(),
            };
            self.kept.push(Kept {
                name: name_of(&listener.local_address()),
                socket: fd.try_clone_to_owned().map_err(failed)?,
            });
        }
        Ok(listener)
    }

    fn take(&mut self, index: usize, unix_mode: u32) -> io::Result<Listener> {
        let Inherited {
            name,
            address,
            kind,
        } = self.inherited.swap_remove(index);
        let mut file = None;
        if let ListenAddress::Unix(path) = &address
            && name.starts_with(KEPT)
        {
            // ours from before, so its mode is ours to set; that of a socket unit's is the unit's
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(unix_mode))?;
            file = SocketFile::new(path, &self.handover);
        }
        Ok(Listener {
            kind,
            address,
            file,
            handover: None,
        })
    }

    fn bind_new(&self, address: &ListenAddress, unix_mode: u32) -> Result<Listener, BindError> {
        match address {
            ListenAddress::Unix(path) => bind_unix(path, unix_mode, address, &self.handover),
            ListenAddress::Tcp(socket) => {
                let listener = bind_tcp(*socket).map_err(|source| match source.kind() {
                    io::ErrorKind::AddrInUse => BindError::Taken {
                        address: address.clone(),
                        holder: holder::of_tcp_port(socket.port()),
                    },
                    _ => BindError::Io {
                        address: address.clone(),
                        source,
                    },
                })?;
                Ok(Listener {
                    kind: Kind::Tcp(listener),
                    address: address.clone(),
                    file: None,
                    handover: None,
                })
            }
        }
    }

    /// Duplicates of every socket bound or taken so far, for the service manager to keep over a restart.
    pub fn take_kept(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }

    /// The inherited addresses nobody has asked for and a socket unit holds: units and configuration do not agree.
    pub fn unused(&self) -> impl Iterator<Item = &ListenAddress> {
        let of_unit = |it: &&Inherited| !it.name.starts_with(KEPT);
        self.inherited.iter().filter(of_unit).map(|it| &it.address)
    }

    /// Closes what an earlier configuration listened on and this one does not, and returns the names under which the service
    /// manager still keeps it.
    pub fn close_forgotten(&mut self) -> Vec<String> {
        let (ours, of_units) = std::mem::take(&mut self.inherited)
            .into_iter()
            .partition(|it| it.name.starts_with(KEPT));
        self.inherited = of_units;
        let ours: Vec<Inherited> = ours;
        ours.into_iter()
            .map(|it| {
                if let ListenAddress::Unix(path) = &it.address {
                    // gone already is as good as removed
                    let _result = std::fs::remove_file(path);
                }
                it.name
            })
            .collect()
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
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

fn bind_unix(
    path: &Path,
    mode: u32,
    address: &ListenAddress,
    handover: &Handover,
) -> Result<Listener, BindError> {
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
        file: SocketFile::new(path, handover),
        handover: None,
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
