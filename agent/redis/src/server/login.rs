//! A new connection to a Redis server: TCP, TLS, who we are, which database, and a sign of life. Opens sockets; reads the password
//! file or takes the identity's token at each connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lamplighter_core::config::{SecretDirs, SecretFile};
use lamplighter_core::identity::{Token, TokenError, TokenSource};
use lamplighter_core::net::{DialError, DialOptions, HostPort, dial};
use lamplighter_core::secret::{Passage, Secret, SecretError, wipe_bytes};
use lamplighter_core::tls::{TlsClient, TlsError};
use lamplighter_wire::redis::reply::{ReplyError, ReplyScanner, elements, error, string};
use lamplighter_wire::redis::{Protocol, write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::{Stream, buffered};

/// How the endpoint says who it is.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// Nobody asks.
    None,
    /// A password or access key in a file.
    Password {
        user: Option<String>,
        file: SecretFile,
        dirs: SecretDirs,
    },
    /// Tokens of the machine's identity; the user is the identity's object id unless it is named.
    Identity {
        user: Option<String>,
        tokens: TokenSource,
    },
}

/// How to reach a server.
#[derive(Debug, Clone)]
pub(crate) struct Approach {
    pub(crate) options: DialOptions,
    pub(crate) tls: Option<std::sync::Arc<TlsClient>>,
    pub(crate) credentials: Credentials,
    pub(crate) db: u16,
}

/// Room for what follows a password in the bytes that show it.
const LOGIN_ROOM: usize = 128;

/// Why a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
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
    #[error("the connection broke while it was set up")]
    Io(#[from] std::io::Error),
    #[error(
        "the server closed the connection at once: does the port belong to Redis, and does it speak TLS as configured?"
    )]
    Closed,
    #[error("what answers is no Redis")]
    Reply(#[from] ReplyError),
    #[error("Redis refused the user or password: {0}")]
    Refused(String),
    #[error("Redis is not ready: {0}")]
    NotReady(String),
    #[error("no connection to Redis within {0:?}")]
    Timeout(Duration),
}

impl LoginError {
    /// The metric label; one of `ConnectError::LABELS`.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Dial(_) | Self::Io(_) => "dial",
            Self::Tls(_) => "tls",
            Self::Secret(_) | Self::Token(_) | Self::NoUser => "secret",
            Self::Refused(_) => "auth",
            Self::Closed | Self::Reply(_) | Self::NotReady(_) => "handshake",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// A connection that has just been made.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) stream: Stream,
    /// As the server calls its version; empty if it does not say.
    pub(crate) version: String,
    /// The token it was made with.
    pub(crate) token: Option<Token>,
}

/// AUTH as a request.
pub(crate) fn auth(user: Option<&str>, secret: &Secret) -> bytes::Bytes {
    match user {
        Some(user) => write::request(&[b"AUTH", user.as_bytes(), secret.expose()]),
        None => write::request(&[b"AUTH", secret.expose()]),
    }
}

impl Approach {
    /// Connects to `address`; `name` is what its certificate is expected to say.
    pub(crate) async fn connect(
        &self,
        address: &HostPort,
        name: &str,
        protocol: Protocol,
    ) -> Result<Fresh, LoginError> {
        let limit = self.options.connect_timeout;
        tokio::time::timeout(limit, self.connect_unbounded(address, name, protocol))
            .await
            .unwrap_or(Err(LoginError::Timeout(limit)))
    }

    async fn connect_unbounded(
        &self,
        address: &HostPort,
        name: &str,
        protocol: Protocol,
    ) -> Result<Fresh, LoginError> {
        // first: without it there is no use in a connection
        let (hello, token) = self.introduction().await?;
        let tcp = dial(address, &self.options).await?;
        let mut stream = match &self.tls {
            Some(tls) => Stream::Right(Box::new(tls.connect(name, buffered(tcp)).await?)),
            None => Stream::Left(tcp),
        };
        let mut out = Passage::with_room(hello.len() + LOGIN_ROOM);
        out.extend_from_slice(&hello);
        let is_introduced = !hello.is_empty();
        wipe_bytes(hello);
        let mut replies = 1;
        match protocol {
            Protocol::Resp2 => write::put_request(&mut out, &["HELLO", "2"]),
            Protocol::Resp3 => write::put_request(&mut out, &["HELLO", "3"]),
        }
        if self.db != 0 {
            write::put_request(&mut out, &["SELECT", &self.db.to_string()]);
            replies += 1;
        }
        write::put_request(&mut out, &["PING"]);
        stream.write_all(&out).await?;
        stream.flush().await?;
        let mut answers = Replies::default();
        if is_introduced {
            accept(&answers.next(&mut stream).await?)?;
        }
        let hello = answers.next(&mut stream).await?;
        // before 6.0 there was no HELLO, and RESP2 was all there was
        if protocol == Protocol::Resp3 || !is_unknown(&hello) {
            accept(&hello)?;
        }
        for _ in 0..replies {
            accept(&answers.next(&mut stream).await?)?;
        }
        Ok(Fresh {
            stream,
            version: version(&hello),
            token,
        })
    }

    async fn introduction(&self) -> Result<(Bytes, Option<Token>), LoginError> {
        match &self.credentials {
            Credentials::None => Ok((Bytes::new(), None)),
            Credentials::Password { user, file, dirs } => {
                Ok((auth(user.as_deref(), &dirs.read(file)?), None))
            }
            Credentials::Identity { user, tokens } => {
                let token = tokens.wait(self.options.connect_timeout).await?;
                let user = user.as_deref().or_else(|| token.object_id());
                let hello = auth(Some(user.ok_or(LoginError::NoUser)?), token.secret());
                Ok((hello, Some(token)))
            }
        }
    }
}

/// Replies as they come over a stream.
#[derive(Debug, Default)]
pub(super) struct Replies {
    buffer: BytesMut,
    scanner: ReplyScanner,
    scanned: usize,
}

impl Replies {
    /// The next whole one. Safe to cancel.
    pub(super) async fn next(&mut self, stream: &mut Stream) -> Result<Bytes, LoginError> {
        loop {
            let new = self.buffer.get(self.scanned..).unwrap_or_default();
            let fed = self.scanner.feed(new)?;
            self.scanned += fed.consumed;
            if fed.complete {
                let length = std::mem::take(&mut self.scanned);
                return Ok(self.buffer.split_to(length).freeze());
            }
            self.buffer.reserve(1024);
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(LoginError::Closed);
            }
        }
    }
}

pub(super) fn accept(reply: &[u8]) -> Result<(), LoginError> {
    let Some(text) = error(reply) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let code = text.split(' ').next().unwrap_or_default();
    // "ERR AUTH <password> called without any password configured": the server asks nobody
    if text.starts_with("ERR AUTH") && text.contains("without any password") {
        return Ok(());
    }
    Err(match code {
        "WRONGPASS" | "NOAUTH" | "NOPERM" => LoginError::Refused(text),
        _ if text.starts_with("ERR invalid password") => LoginError::Refused(text),
        _ => LoginError::NotReady(text),
    })
}

fn is_unknown(reply: &[u8]) -> bool {
    error(reply).is_some_and(|text| text.starts_with(b"ERR unknown command"))
}

/// The field `version` in the answer to HELLO.
fn version(hello: &[u8]) -> String {
    let fields = elements(hello).unwrap_or_default();
    fields
        .as_chunks::<2>()
        .0
        .iter()
        .find(|[name, _]| string(name) == Some(b"version"))
        .and_then(|[_, value]| string(value))
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .unwrap_or_default()
}
