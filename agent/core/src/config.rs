//! What a configuration problem looks like, and where secrets are found. The file itself is read by the binary; every
//! crate's own `Config` only says what its keys mean. Touches the file system only to read secrets.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::secret::{self, Secret, SecretError};

/// A rule that several keys break together, or that serde cannot express. `key` is relative to the table of the
/// crate that reports it, with dots (`"tls.ca"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key to point at.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem at `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// The path of a file that holds a secret; the configuration never holds the secret itself.
///
/// An absolute path is taken as it is. A bare name is looked up among the service's credentials (systemd's
/// `LoadCredential=`, systemd.exec(5) "Credentials"), else beside the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// A secret file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// What the configuration says.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// The folders in which relative secret files are looked for.
#[derive(Debug, Clone, Default)]
pub struct SecretDirs {
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// The folder of the configuration file.
    pub config: PathBuf,
}

impl SecretDirs {
    /// Where `file` is.
    #[must_use]
    pub fn resolve(&self, file: &SecretFile) -> PathBuf {
        if file.0.is_absolute() {
            return file.0.clone();
        }
        match self.credentials.as_ref().map(|dir| dir.join(&file.0)) {
            Some(path) if path.exists() => path,
            _ => self.config.join(&file.0),
        }
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// As [`secret::read`].
    pub fn read(&self, file: &SecretFile) -> Result<Secret, SecretError> {
        secret::read(&self.resolve(file))
    }
}

/// One line of `lamplighter check --online`: something that was really connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineCheck {
    /// What was tried (`"mysql primary"`).
    pub what: String,
    /// Where (`"shop.mysql.database.azure.com:3306"`); never with a secret in it.
    pub target: String,
    /// What was found, or what failed and what to do about it.
    pub outcome: Result<String, String>,
}
