//! Authentication plugins: what a client answers to the server's nonce, and how a server checks it. "Native
//! Authentication", "Caching_sha2_password information", "Clear Text Authentication".

use core::fmt;

use bytes::Bytes;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes in a nonce (the manual: "auth-plugin-data", 20 bytes and a zero byte on the wire).
pub const NONCE_LEN: usize = 20;

/// First byte of the `AuthMoreData` that says: the fast path worked, an OK follows (caching_sha2_password).
pub const FAST_AUTH_SUCCESS: u8 = 0x03;

/// First byte of the `AuthMoreData` that asks for the password itself (caching_sha2_password).
pub const PERFORM_FULL_AUTHENTICATION: u8 = 0x04;

/// A client's request for the server's RSA key (caching_sha2_password); we refuse it and use TLS or a unix socket.
pub const REQUEST_PUBLIC_KEY: u8 = 0x02;

/// An authentication plugin by its name on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AuthPlugin {
    /// `mysql_native_password`.
    NativePassword,
    /// `caching_sha2_password`.
    CachingSha2Password,
    /// `mysql_clear_password`: the password itself; only over TLS or a unix socket.
    ClearPassword,
    /// Any other.
    Other(Bytes),
}

impl AuthPlugin {
    /// The plugin for a name on the wire.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        match name {
            b"mysql_native_password" => Self::NativePassword,
            b"caching_sha2_password" => Self::CachingSha2Password,
            b"mysql_clear_password" => Self::ClearPassword,
            _ => Self::Other(Bytes::copy_from_slice(name)),
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self {
            Self::NativePassword => b"mysql_native_password",
            Self::CachingSha2Password => b"caching_sha2_password",
            Self::ClearPassword => b"mysql_clear_password",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for AuthPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.name()))
    }
}

/// The client's answer. The nonce may carry its zero byte from the wire. An empty password has an empty answer (a single
/// zero byte for `mysql_clear_password`). For a plugin we do not know the answer is empty.
#[must_use]
pub fn scramble(plugin: &AuthPlugin, password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let nonce = nonce.get(..NONCE_LEN).unwrap_or(nonce);
    match plugin {
        AuthPlugin::NativePassword | AuthPlugin::CachingSha2Password if password.is_empty() => {
            Vec::new()
        }
        AuthPlugin::NativePassword => {
            let once = Sha1::digest(password);
            let twice = Sha1::digest(once);
            let mask = Sha1::new()
                .chain_update(nonce)
                .chain_update(twice)
                .finalize();
            once.iter().zip(mask).map(|(a, b)| a ^ b).collect()
        }
        AuthPlugin::CachingSha2Password => {
            let once = Sha256::digest(password);
            let twice = Sha256::digest(once);
            let mask = Sha256::new()
                .chain_update(twice)
                .chain_update(nonce)
                .finalize();
            once.iter().zip(mask).map(|(a, b)| a ^ b).collect()
        }
        AuthPlugin::ClearPassword => {
            let mut answer = Vec::with_capacity(password.len() + 1);
            answer.extend_from_slice(password);
            answer.push(0);
            answer
        }
        AuthPlugin::Other(_) => Vec::new(),
    }
}

/// Whether `response` proves knowledge of `password`. Takes the same time wherever they differ. An empty password is
/// proved by an empty answer or by a single zero byte (clients send either), and never by anything else. A plugin we do
/// not know proves nothing.
#[must_use]
pub fn verify(plugin: &AuthPlugin, password: &[u8], nonce: &[u8], response: &[u8]) -> bool {
    let expected = match plugin {
        AuthPlugin::Other(_) => return false,
        AuthPlugin::ClearPassword => password.to_vec(),
        AuthPlugin::NativePassword | AuthPlugin::CachingSha2Password => {
            scramble(plugin, password, nonce)
        }
    };
    let response = match plugin {
        AuthPlugin::ClearPassword => response.strip_suffix(&[0]).unwrap_or(response),
        _ if response == [0] => &[],
        _ => response,
    };
    same(&expected, response)
}

/// Equality whose time depends on neither content nor on where the first difference is: digests are compared, so that a
/// difference in length shows no more than any other.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = Sha256::digest(a)
        .iter()
        .zip(Sha256::digest(b))
        .fold(0, |acc, (x, y)| acc | (x ^ y));
    core::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests;
