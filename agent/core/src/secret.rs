//! Bytes that cannot be printed: passwords, tokens, keys. No `Debug` that shows them, no `Serialize`, wiped when dropped.
//! Reads secret files; touches nothing else.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A secret in memory.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

// by its only field
impl ZeroizeOnDrop for Secret {}

impl Secret {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Every call is a place to look at when a secret leaks, so hand on as little as possible.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, for protocols that want a string.
    ///
    /// # Errors
    /// If the secret is not UTF-8; the error shows no byte of it.
    pub fn expose_str(&self) -> Result<&str, NotText> {
        std::str::from_utf8(&self.0).map_err(|_| NotText)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A buffer that a secret passes through on its way to a server. All it has room for is wiped when it is dropped.
pub struct Passage(BytesMut);

impl Passage {
    /// A buffer with room for so many bytes: one that has to grow leaves its first bytes where they were.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }
}

impl Deref for Passage {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.0
    }
}

impl DerefMut for Passage {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.0
    }
}

impl ZeroizeOnDrop for Passage {}

impl Drop for Passage {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[passage of a secret]")
    }
}

/// Wipes what is in `buffer` and what was in it before.
fn wipe(buffer: &mut BytesMut) {
    let room = buffer.capacity();
    buffer.clear();
    buffer.resize(room, 0);
    buffer.as_mut().zeroize();
}

/// Wipes bytes that held a secret, unless somebody else still holds them; says whether it did.
pub fn wipe_bytes(bytes: Bytes) -> bool {
    let unshared = bytes.try_into_mut();
    unshared.map(|mut bytes| wipe(&mut bytes)).is_ok()
}

/// A secret that should be text is not.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the secret is not valid UTF-8 text")]
pub struct NotText;

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is missing or may not be read.
    #[error("cannot read the secret file {path}")]
    Unreadable {
        /// Where it was looked for.
        path: PathBuf,
        /// The reason the system gave.
        source: std::io::Error,
    },
    /// Anybody on the machine could read it.
    #[error(
        "the secret file {path} is readable by everyone (mode {mode:03o}); run: chmod o-rwx {path}"
    )]
    WorldReadable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing in it.
    #[error("the secret file {path} is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Not what a secret file can be.
    #[error("the secret file {path} is {size} bytes; at most {limit} are read")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// The largest secret file that is read, in bytes; tokens and connection strings stay far below.
const SIZE_MAX: u64 = 64 * 1024;

/// Reads a secret from `path`, without the newline that editors leave at its end.
///
/// # Errors
/// If the file is missing, readable by everyone, empty or larger than 64 KiB.
pub fn read(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(SecretError::WorldReadable {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > SIZE_MAX {
        return Err(SecretError::TooLarge {
            path: path.to_owned(),
            size: metadata.len(),
            limit: SIZE_MAX,
        });
    }
    let mut bytes = std::fs::read(path).map_err(unreadable)?;
    while bytes
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Err(SecretError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(Secret::new(bytes))
}

#[cfg(test)]
mod tests;
