//! One connection to Redis: TCP with no delay, keepalive and user timeout, TLS, AUTH. Opens sockets; reads the password file at
//! each connection, so that a rotated key needs no restart.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lamplighter_core::config::SecretDirs;
use lamplighter_core::identity::{Token, TokenSource};
use lamplighter_core::net::{DialError, DialOptions, HostPort, dial};
use lamplighter_core::secret::SecretError;
use lamplighter_core::tls::{TlsClient, TlsError};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};

use super::ConnectError;
use crate::config::{Auth, Config};
use crate::endpoint::Shared;
use crate::server::{Approach, Credentials, Renewal};

/// Plain or TLS.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A connection and the future that moves its bytes, which the caller has to run.
pub(crate) struct Connected {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) driver: Driver,
    /// The tokens that are to be shown on it later.
    pub(crate) renewal: Option<Renewal>,
}

/// Moves the bytes of a connection until it ends.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Asks for a sign of life.
pub(crate) async fn ping(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    redis::cmd("PING").query_async::<()>(connection).await
}

/// Makes connections to one Redis.
#[derive(Debug)]
pub(crate) struct Dialer {
    address: HostPort,
    options: DialOptions,
    tls: Option<Arc<TlsClient>>,
    credentials: Credentials,
    db: u16,
    /// In a cluster connections lead through the endpoint, which knows the shards.
    endpoint: OnceLock<Arc<Shared>>,
}

/// Why there can be no connection, whatever the server does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("auth = \"managed-identity\" needs the tokens of [platform]")]
    NoTokens,
}

impl Dialer {
    /// Reads the CA, and the password once to see that it can be read.
    pub(crate) fn new(
        config: &Config,
        secrets: &SecretDirs,
        tokens: Option<TokenSource>,
    ) -> Result<Self, SetupError> {
        let tls = if config.upstream.tls {
            Some(Arc::new(TlsClient::new(&config.tls)?))
        } else {
            None
        };
        if let Some(file) = &config.password_file {
            secrets.read(file)?;
        }
        let user = config.user.clone();
        let credentials = match (config.auth, &config.password_file) {
            (Auth::ManagedIdentity, _) => Credentials::Identity {
                user,
                tokens: tokens.ok_or(SetupError::NoTokens)?,
            },
            (Auth::Password, None) => Credentials::None,
            (Auth::Password, Some(file)) => Credentials::Password {
                user,
                file: file.clone(),
                dirs: secrets.clone(),
            },
        };
        Ok(Self {
            address: config.upstream.address.clone(),
            options: config.dial_options(),
            tls,
            credentials,
            db: config.db,
            endpoint: OnceLock::new(),
        })
    }

    /// The server, for messages.
    pub(crate) const fn address(&self) -> &HostPort {
        &self.address
    }

    /// Reads the CA again, for the connections to come.
    pub(crate) fn reload_tls(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Connects, authenticates and sees that the server answers. `response_timeout` is the limit for each later answer.
    pub(crate) async fn connect(
        &self,
        response_timeout: Duration,
    ) -> Result<Connected, ConnectError> {
        let limit = self.options.connect_timeout;
        tokio::time::timeout(limit, self.connect_unbounded(response_timeout))
            .await
            .unwrap_or(Err(ConnectError::Timeout(limit)))
    }

    async fn connect_unbounded(
        &self,
        response_timeout: Duration,
    ) -> Result<Connected, ConnectError> {
        let (info, token) = self.connection_info().await?;
        let stream = self.stream().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(response_timeout));
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(ConnectError::of_setup)?;
        let mut driver: Driver = Box::pin(driver);
        // a server that loads its data, or wants a password we do not have, accepts connections and does nothing else
        let mut first = connection.clone();
        tokio::select! {
            pong = ping(&mut first) => pong.map_err(ConnectError::of_setup)?,
            () = &mut driver => return Err(ConnectError::Closed),
        }
        Ok(Connected {
            connection,
            driver,
            renewal: Renewal::of(&self.credentials, token),
        })
    }

    /// A stream on which RESP can be spoken; not yet authenticated.
    async fn stream(&self) -> Result<Box<dyn ByteStream>, ConnectError> {
        if let Some(endpoint) = self.endpoint.get() {
            let socket = endpoint.connect().map_err(|source| DialError::Connect {
                address: self.address.clone(),
                source,
            })?;
            return Ok(Box::new(socket));
        }
        let tcp = dial(&self.address, &self.options).await?;
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.connect(&self.address.host, tcp).await?),
            None => Box::new(tcp),
        })
    }

    /// From here on connections lead through the endpoint.
    pub(crate) fn go_through(&self, endpoint: Arc<Shared>) {
        // set once, at the start
        drop(self.endpoint.set(endpoint));
    }

    /// What the endpoint's own connections are made with.
    pub(crate) fn approach(&self) -> Approach {
        Approach {
            options: self.options,
            tls: self.tls.clone(),
            credentials: self.credentials.clone(),
            db: self.db,
        }
    }

    async fn connection_info(&self) -> Result<(RedisConnectionInfo, Option<Token>), ConnectError> {
        let mut info = RedisConnectionInfo::default()
            .set_db(i64::from(self.db))
            .set_skip_set_lib_name();
        match &self.credentials {
            Credentials::None => Ok((info, None)),
            Credentials::Password { user, file, dirs } => {
                let secret = dirs.read(file)?;
                info = info.set_password(secret.expose_str()?);
                if let Some(user) = user {
                    info = info.set_username(user);
                }
                Ok((info, None))
            }
            Credentials::Identity { user, tokens } => {
                let token = tokens.wait(self.options.connect_timeout).await?;
                info = info.set_password(token.secret().expose_str()?);
                let user = user.as_deref().or_else(|| token.object_id());
                // without a name it would be taken for the default user's password
                info = info.set_username(user.ok_or(ConnectError::NoUser)?);
                Ok((info, Some(token)))
            }
        }
    }
}
