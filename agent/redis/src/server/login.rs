//! A new connection to a Redis server: TCP, TLS, who we are, which database, and a sign of life. Opens sockets; reads the password
//! file or takes the identity's token at each connection.

use std::time::Duration;

use bytes::BytesMut;
use lamplighter_core::config::{SecretDirs, SecretFile};
use lamplighter_core::identity::{Token, TokenError, TokenSource};
use lamplighter_core::net::{DialError, DialOptions, HostPort, dial};
use lamplighter_core::secret::{Secret, SecretError};
use lamplighter_core::tls::{TlsClient, TlsError};
use lamplighter_wire::redis::reply::{ReplyError, ReplyScanner, elements, error, string};
use lamplighter_wire::redis::{Protocol, write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::Stream;

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
            Some(tls) => Stream::Right(Box::new(tls.connect(name, tcp).await?)),
            None => Stream::Left(tcp),
        };
        let mut out = BytesMut::new();
        out.extend_from_slice(&hello);
        let mut replies = usize::from(!hello.is_empty());
        match protocol {
            Protocol::Resp2 => write::put_request(&mut out, &["HELLO", "2"]),
            Protocol::Resp3 => write::put_request(&mut out, &["HELLO", "3"]),
        }
        if self.db != 0 {
            write::put_request(&mut out, &["SELECT", &self.db.to_string()]);
            replies += 1;
        }
        write::put_request(&mut out, &["PING"]);
        replies += 2;
        stream.write_all(&out).await?;
        stream.flush().await?;
        let replies = read(&mut stream, replies).await?;
        let mut replies = replies.into_iter();
        if !hello.is_empty() {
            accept(&replies.next().unwrap_or_default())?;
        }
        let hello = replies.next().unwrap_or_default();
        // before 6.0 there was no HELLO, and RESP2 was all there was
        if protocol == Protocol::Resp3 || !is_unknown(&hello) {
            accept(&hello)?;
        }
        for reply in replies {
            accept(&reply)?;
        }
        Ok(Fresh {
            stream,
            version: version(&hello),
            token,
        })
    }

    async fn introduction(&self) -> Result<(bytes::Bytes, Option<Token>), LoginError> {
        match &self.credentials {
            Credentials::None => Ok((bytes::Bytes::new(), None)),
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

/// Reads so many whole replies, and not a byte more than the server has sent for them.
async fn read(stream: &mut Stream, count: usize) -> Result<Vec<Vec<u8>>, LoginError> {
    let mut buffer = BytesMut::with_capacity(4096);
    let mut found = Vec::with_capacity(count);
    let mut scanner = ReplyScanner::new();
    let mut scanned = 0;
    while found.len() < count {
        let fed = scanner.feed(buffer.get(scanned..).unwrap_or_default())?;
        scanned += fed.consumed;
        if fed.complete {
            found.push(buffer.split_to(scanned).to_vec());
            scanned = 0;
            continue;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(LoginError::Closed);
        }
    }
    Ok(found)
}

fn accept(reply: &[u8]) -> Result<(), LoginError> {
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
