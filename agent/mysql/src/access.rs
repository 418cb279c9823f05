//! Who may log in locally: by the kernel's word on a unix socket (SO_PEERCRED, unix(7)), else by a password. Reads secret files
//! and the user database when made; pure afterwards.

use std::collections::{BTreeMap, BTreeSet};

use lamplighter_core::config::SecretDirs;
use lamplighter_core::net::Peer;
use lamplighter_core::secret::{Secret, SecretError};
use lamplighter_wire::mysql::auth::{self, AuthPlugin};

use crate::config::{Client, INTERNAL_USER};

/// The local accounts.
#[derive(Debug)]
pub(crate) struct Access {
    accounts: BTreeMap<Vec<u8>, LocalAccount>,
}

#[derive(Debug)]
struct LocalAccount {
    uids: BTreeSet<u32>,
    password: Option<Secret>,
}

/// What a login attempt may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// In. By the kernel's word, or the password was right.
    Welcome,
    /// The client answered with a plugin we cannot check; ask again with caching_sha2_password.
    AskAgain,
    /// Out.
    Denied,
}

/// Why the accounts could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A password file.
    #[error("the password of client {client:?}")]
    Password {
        /// The client's name.
        client: String,
        /// The reason.
        source: SecretError,
    },
    /// A local user that does not exist.
    #[error("client {client:?} names the local user {user:?}, who does not exist on this machine")]
    NoSuchUser {
        /// The client's name.
        client: String,
        /// The local user.
        user: String,
    },
}

impl Access {
    pub(crate) fn new(
        clients: &BTreeMap<String, Client>,
        dirs: &SecretDirs,
    ) -> Result<Self, AccessError> {
        let mut accounts = BTreeMap::new();
        for (name, client) in clients {
            let mut uids = BTreeSet::new();
            for user in &client.peer_users {
                let uid = uid_of(user).ok_or_else(|| AccessError::NoSuchUser {
                    client: name.clone(),
                    user: user.clone(),
                })?;
                uids.insert(uid);
            }
            let password = match &client.password_file {
                Some(file) => Some(dirs.read(file).map_err(|source| AccessError::Password {
                    client: name.clone(),
                    source,
                })?),
                None => None,
            };
            accounts.insert(name.clone().into_bytes(), LocalAccount { uids, password });
        }
        let own = BTreeSet::from([rustix::process::geteuid().as_raw()]);
        accounts.insert(
            INTERNAL_USER.as_bytes().to_vec(),
            LocalAccount {
                uids: own,
                password: None,
            },
        );
        Ok(Self { accounts })
    }

    /// Judges one answer of a client.
    pub(crate) fn judge(
        &self,
        user: &[u8],
        peer: Peer,
        plugin: Option<&AuthPlugin>,
        nonce: &[u8],
        answer: &[u8],
    ) -> Verdict {
        let Some(account) = self.accounts.get(user) else {
            return Verdict::Denied;
        };
        let plugin = plugin.unwrap_or(&AuthPlugin::NativePassword);
        if !matches!(
            plugin,
            AuthPlugin::CachingSha2Password | AuthPlugin::NativePassword
        ) {
            return Verdict::AskAgain;
        }
        if let Peer::Unix { uid, .. } = peer
            && account.uids.contains(&uid)
        {
            return Verdict::Welcome;
        }
        match &account.password {
            Some(password) if auth::verify(plugin, password.expose(), nonce, answer) => {
                Verdict::Welcome
            }
            _ => Verdict::Denied,
        }
    }
}

fn uid_of(user: &str) -> Option<u32> {
    match user.parse() {
        Ok(uid) => Some(uid),
        Err(_) => nix::unistd::User::from_name(user)
            .ok()
            .flatten()
            .map(|user| user.uid.as_raw()),
    }
}

#[cfg(test)]
mod tests;
