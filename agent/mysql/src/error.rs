//! What can go wrong between a client and its server, and what the client is told. Error numbers are MySQL's own (Server and
//! Client Error Message Reference), so that applications that know them react as they would without us.

use std::io;
use std::time::Duration;

use lamplighter_core::net::DialError;
use lamplighter_core::secret::SecretError;
use lamplighter_core::tls::TlsError;
use lamplighter_wire::mysql::ProtocolError;
use lamplighter_wire::mysql::response::ErrPacket;

use crate::pool::Exhausted;

/// Why a server connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No TCP connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The password file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The server refused.
    #[error("the server refused the login: {} ({})", String::from_utf8_lossy(&.0.message), .0.code)]
    Refused(ErrPacket),
    /// The server offers no TLS and the configuration wants it.
    #[error("the server offers no TLS; set tls.enabled = false only if it runs on this machine")]
    NoTls,
    /// The account's password would have to be sent in clear.
    #[error("the server asks for the password in clear, which is only sent over TLS")]
    ClearPassword,
    /// There is no token of the machine's identity.
    #[error(transparent)]
    Token(#[from] lamplighter_core::identity::TokenError),
    /// A plugin we do not speak.
    #[error("the server asks for authentication plugin {0:?}, which is not supported")]
    Plugin(String),
    /// The server lacks what the endpoint relies on.
    #[error("the server is too old: it lacks {0}")]
    TooOld(&'static str),
    /// The server broke the protocol.
    #[error("the server broke the protocol")]
    Protocol(#[from] ProtocolError),
    /// The connection broke during the login.
    #[error("the connection broke during the login")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("no login within {0:?}")]
    Timeout(Duration),
}

/// Why a statement could not be answered by a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatementError {
    /// No connection came free in time, or would have.
    #[error("{0}")]
    Exhausted(Box<Exhausted>),
    /// No connection could be opened.
    #[error("cannot connect to {server}")]
    Open { server: String, source: OpenError },
    /// No connection could be opened for as long as a failover may take.
    #[error(
        "cannot connect to {server}, waited {waited:?} for it, and {waiting} more statements wait"
    )]
    Away {
        server: String,
        waited: Duration,
        waiting: usize,
        source: OpenError,
    },
    /// The server answers, but has taken no writes for as long as a failover may take.
    #[error(
        "{server} takes no writes (read_only), waited {waited:?} for one that does, and {waiting} more statements wait"
    )]
    ReadOnly {
        server: String,
        waited: Duration,
        waiting: usize,
    },
    /// The server went away with the statement. Whether it ran is not known.
    #[error("lost connection to {server} during query")]
    ServerLost { server: String, source: io::Error },
    /// The server broke the protocol.
    #[error("{server} broke the protocol")]
    Protocol {
        server: String,
        source: ProtocolError,
    },
    /// The connection that knew the session's LAST_INSERT_ID() was lost before anybody had asked it.
    #[error("LAST_INSERT_ID() was lost with a connection to {server}")]
    InsertIdLost { server: String },
    /// The connection that knows the session's LAST_INSERT_ID() has not told it yet.
    #[error("LAST_INSERT_ID() was not told by {server} within {waited:?}")]
    InsertIdLate { server: String, waited: Duration },
    /// The client went away; nobody is left to tell.
    #[error("the client is gone")]
    ClientGone,
}

/// ER_CON_COUNT_ERROR.
const TOO_MANY_CONNECTIONS: u16 = 1040;
/// ER_OPTION_PREVENTS_STATEMENT.
const OPTION_PREVENTS: u16 = 1290;
/// CR_CONN_HOST_ERROR, as MySQL Router reports it too.
const CANNOT_CONNECT: u16 = 2003;
/// CR_SERVER_LOST.
const SERVER_LOST: u16 = 2013;
/// ER_MALFORMED_PACKET.
const MALFORMED_PACKET: u16 = 1835;

impl StatementError {
    /// The error packet for the client; no secret, no internal address beyond the server's name. `None` if nobody is there.
    pub(crate) fn for_client(&self) -> Option<ErrPacket> {
        let text = |prefix: &str| format!("lamplighter: {prefix}{self}").into_bytes();
        match self {
            Self::Exhausted(_) => Some(ErrPacket::new(TOO_MANY_CONNECTIONS, *b"08004", text(""))),
            // the server's own words: unknown database, access denied
            Self::Open {
                source: OpenError::Refused(packet),
                ..
            } => Some(packet.clone()),
            Self::Open { source, .. } | Self::Away { source, .. } => {
                let message = format!("lamplighter: {self}: {source}");
                Some(ErrPacket::new(
                    CANNOT_CONNECT,
                    *b"HY000",
                    message.into_bytes(),
                ))
            }
            Self::ReadOnly { .. } => Some(ErrPacket::new(OPTION_PREVENTS, *b"HY000", text(""))),
            Self::ServerLost { .. } | Self::InsertIdLost { .. } | Self::InsertIdLate { .. } => {
                Some(ErrPacket::new(SERVER_LOST, *b"HY000", text("")))
            }
            Self::Protocol { .. } => Some(ErrPacket::new(MALFORMED_PACKET, *b"HY000", text(""))),
            Self::ClientGone => None,
        }
    }
}
