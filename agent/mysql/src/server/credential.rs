//! What the agent shows a server to get in: a password that is read from its file each time, or the newest token of the machine's
//! identity ("Microsoft Entra authentication for Azure Database for MySQL"). A token is shown to servers whose certificate and name
//! were checked, and to no plugin but `mysql_clear_password`. A connection keeps what it was opened with; the next one takes the
//! newest token, so a token that a server refuses spoils nothing but the attempt it was refused in.

use std::time::Duration;

use lamplighter_core::config::{SecretDirs, SecretFile};
use lamplighter_core::identity::{Token, TokenSource};
use lamplighter_core::secret::Secret;

use crate::config::{Auth, Config};
use crate::error::OpenError;

/// Where the secret comes from.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    /// A file, read at each login.
    File { file: SecretFile, dirs: SecretDirs },
    /// The machine's identity.
    Identity(TokenSource),
}

/// A secret for one login.
#[derive(Debug)]
pub(crate) struct Shown {
    secret: Secret,
    token: Option<(TokenSource, Token)>,
}

impl Credential {
    /// What `config` asks for; `None` if it is not there, which the rules of the configuration exclude.
    pub(crate) fn of(
        config: &Config,
        dirs: &SecretDirs,
        tokens: Option<TokenSource>,
    ) -> Option<Self> {
        match config.auth {
            Auth::ManagedIdentity => tokens.map(Self::Identity),
            Auth::Password => config.password_file.clone().map(|file| Self::File {
                file,
                dirs: dirs.clone(),
            }),
        }
    }

    /// The secret as it is now. Waits up to `patience` only while there is no token at all.
    ///
    /// # Errors
    /// If the file cannot be read, or there is no token.
    pub(crate) async fn take(&self, patience: Duration) -> Result<Shown, OpenError> {
        match self {
            Self::File { file, dirs } => Ok(Shown {
                secret: dirs.read(file)?,
                token: None,
            }),
            Self::Identity(source) => {
                let token = source.wait(patience).await?;
                Ok(Shown {
                    secret: token.secret().clone(),
                    token: Some((source.clone(), token)),
                })
            }
        }
    }

    /// Whether it is a token, which goes nowhere but to `mysql_clear_password`.
    pub(crate) const fn is_token(&self) -> bool {
        matches!(self, Self::Identity(_))
    }
}

impl Shown {
    /// The secret itself.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The server refused it: if it was a token, another one is fetched, for the next login.
    pub(crate) fn refused(&self) {
        if let Some((source, token)) = &self.token {
            source.reject(token);
        }
    }
}
