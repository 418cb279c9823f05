//! Connecting to a server: name resolved at each call, every address tried, dead peers noticed in seconds.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

/// A server by name (or address) and port, written `"shop.mysql.database.azure.com:3306"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The name or address; an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Text that is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form \"host:port\"")]
pub struct HostPortError(String);

impl HostPort {
    /// The host is an address, not a name.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let refused = || HostPortError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let host = match host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(inner) => inner,
            // an IPv6 address needs its brackets, or its last group would be taken for the port
            None if host.contains(':') => return Err(refused()),
            None => host,
        };
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(refused)?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@') {
            return Err(refused());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How to connect and how soon a dead peer is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialOptions {
    /// Limit for name resolution and all connection attempts together.
    pub connect_timeout: Duration,
    /// Idle time before the first keepalive probe; two more follow at a third of it.
    pub keepalive: Duration,
    /// How long sent bytes may stay unacknowledged before the connection is given up (TCP_USER_TIMEOUT, tcp(7)).
    pub user_timeout: Duration,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            keepalive: Duration::from_secs(30),
            user_timeout: Duration::from_secs(10),
        }
    }
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's reason.
        source: io::Error,
    },
    /// No address accepted.
    #[error("cannot connect to {address}")]
    Connect {
        /// The server.
        address: HostPort,
        /// The last attempt's reason.
        source: io::Error,
    },
    /// It took too long.
    #[error("no connection to {address} within {limit:?}")]
    Timeout {
        /// The server.
        address: HostPort,
        /// The limit.
        limit: Duration,
    },
}

/// Connects, with TCP_NODELAY, keepalive and TCP_USER_TIMEOUT set.
///
/// # Errors
/// If the name does not resolve, no address answers, or the time is over.
pub async fn dial(address: &HostPort, options: &DialOptions) -> Result<TcpStream, DialError> {
    let limit = options.connect_timeout;
    tokio::time::timeout(limit, try_all(address, options))
        .await
        .unwrap_or_else(|_| {
            Err(DialError::Timeout {
                address: address.clone(),
                limit,
            })
        })
}

/// Where the name leads now, by the machine's resolver (getaddrinfo(3)), in the order in which it is tried.
///
/// # Errors
/// What the resolver says.
pub async fn resolve(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((address.host.as_str(), address.port));
    Ok(found.await?.collect())
}

async fn try_all(address: &HostPort, options: &DialOptions) -> Result<TcpStream, DialError> {
    let unresolved = |source| DialError::Resolve {
        host: address.host.clone(),
        source,
    };
    let targets = resolve(address).await.map_err(unresolved)?;
    let mut last = None;
    for target in targets {
        match connect(target, options).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(source) => Err(DialError::Connect {
            address: address.clone(),
            source,
        }),
        None => Err(unresolved(io::Error::from(io::ErrorKind::NotFound))),
    }
}

async fn connect(target: SocketAddr, options: &DialOptions) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(options.keepalive)
        .with_interval((options.keepalive / 3).max(Duration::from_secs(1)))
        .with_retries(2);
    let reference = SockRef::from(&stream);
    reference.set_tcp_keepalive(&keepalive)?;
    reference.set_tcp_user_timeout(Some(options.user_timeout))?;
    Ok(stream)
}
