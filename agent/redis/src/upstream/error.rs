//! What can go wrong with Redis, by what is to be done about it. Pure; no IO.

use std::time::Duration;

use lamplighter_core::identity::TokenError;
use lamplighter_core::net::DialError;
use lamplighter_core::secret::{NotText, SecretError};
use lamplighter_core::tls::TlsError;
use redis::{ErrorKind, RedisError, ServerError};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "the token does not say whose it is; write user = \"...\" with the identity's object id"
    )]
    NoUser,
    #[error("the password is not text")]
    Password(#[from] NotText),
    #[error("Redis refused the user or password: check user and password_file")]
    Auth(#[source] RedisError),
    #[error("Redis did not accept the connection")]
    Handshake(#[source] RedisError),
    #[error(
        "the server closed the connection at once: does the port belong to Redis, and does it speak TLS as configured?"
    )]
    Closed,
    #[error("no connection to Redis within {0:?}")]
    Timeout(Duration),
}

impl ConnectError {
    /// An error that the server answered with before the connection could be used.
    pub(crate) fn of_setup(error: RedisError) -> Self {
        let refused = error.kind() == ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"));
        if refused {
            Self::Auth(error)
        } else {
            Self::Handshake(error)
        }
    }

    /// Every label, to initialise metrics with.
    pub(crate) const LABELS: [&str; 6] = ["dial", "tls", "secret", "auth", "handshake", "timeout"];

    /// The metric label.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Dial(_) => "dial",
            Self::Tls(_) => "tls",
            Self::Secret(_) | Self::Token(_) | Self::NoUser | Self::Password(_) => "secret",
            Self::Auth(_) => "auth",
            Self::Handshake(_) | Self::Closed => "handshake",
            Self::Timeout(_) => "timeout",
        }
    }

    /// Whether only a change of the configuration or of a right helps.
    pub(crate) const fn is_operators(&self) -> bool {
        matches!(
            self,
            Self::Auth(_) | Self::Secret(_) | Self::NoUser | Self::Password(_) | Self::Tls(_)
        )
    }
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("no connection to Redis")]
    Connect(#[from] ConnectError),
    /// The monitor has no connection either; it says why.
    #[error("Redis is not reachable")]
    Down,
    #[error("the connection to Redis broke")]
    Broken(#[source] RedisError),
    #[error("Redis refused {refused} of {keys} keys: {code} {detail}")]
    Refused {
        refused: usize,
        keys: usize,
        code: String,
        detail: String,
    },
    #[error("Redis refused a command: {code} {detail}")]
    Command { code: String, detail: String },
    #[error("Redis' replies do not fit the commands")]
    Confused,
}

impl UpstreamError {
    /// An error of one command.
    pub(crate) fn of_command(error: RedisError) -> Self {
        if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() {
            return Self::Broken(error);
        }
        match error.code() {
            Some(code) => Self::Command {
                code: code.to_owned(),
                detail: error.detail().unwrap_or_default().to_owned(),
            },
            None => Self::Broken(error),
        }
    }

    /// A batch of `keys` keys of which some were refused.
    pub(crate) fn refused(refused: usize, keys: usize, first: &ServerError) -> Self {
        Self::Refused {
            refused,
            keys,
            code: first.code().to_owned(),
            detail: first.details().unwrap_or_default().to_owned(),
        }
    }

    fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } | Self::Command { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Redis is full and its policy is not to evict (`maxmemory-policy noeviction`).
    pub(crate) fn is_oom(&self) -> bool {
        self.code() == Some("OOM")
    }

    /// The user may not do it.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.code(), Some("NOPERM" | "NOAUTH"))
    }

    /// Whether a new connection, now or in a moment, may succeed: writes of this crate may safely be repeated, because
    /// the last of two equal SETs changes nothing.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connect(error) => !error.is_operators(),
            Self::Down | Self::Broken(_) | Self::Confused => true,
            // READONLY: the primary was demoted, and the name leads to its successor soon
            Self::Refused { .. } | Self::Command { .. } => matches!(
                self.code(),
                Some("LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY")
            ),
        }
    }
}
