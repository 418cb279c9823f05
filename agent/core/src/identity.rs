//! Tokens of the platform's identity provider, handed from whoever fetches them to whoever shows them to a server. Memory only:
//! fetching is the business of the platform crate, showing that of storage, MySQL and Redis.
//!
//! ```text
//!  platform ── TokenPublisher ──▶ watch channel ──▶ TokenSource (clones) ──▶ mysql, redis, sync
//!       ▲                                               │
//!       └──────────────── reject(token) ────────────────┘   at most one message waits
//! ```
//! A source never waits for the network while it has a token that is valid, and no lock is held over a request anywhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::secret::Secret;

/// What a token is for. Servers refuse a token whose audience is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Azure Storage.
    Storage,
    /// Azure Database for MySQL.
    Mysql,
    /// Azure Managed Redis and Azure Cache for Redis.
    Redis,
}

impl Resource {
    /// Every value, to initialise metrics with.
    pub const ALL: [Self; 3] = [Self::Storage, Self::Mysql, Self::Redis];

    /// The `resource` that is asked for (Azure: "Authorize access with managed identities", "Microsoft Entra authentication for
    /// Azure Database for MySQL", "Use Microsoft Entra for cache authentication").
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Storage => "https://storage.azure.com/",
            Self::Mysql => "https://ossrdbms-aad.database.windows.net",
            Self::Redis => "https://redis.azure.com/",
        }
    }

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
        }
    }
}

/// A token in memory; clones share the bytes, which are wiped when the last one goes.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    secret: Secret,
    expires: Instant,
    object_id: Option<String>,
    /// Tells this token from every other of its source.
    serial: u64,
}

impl Token {
    /// The token itself, to be shown to the server it is for, over verified TLS.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// When it stops being valid, on a clock that does not jump.
    #[must_use]
    pub fn expires(&self) -> Instant {
        self.0.expires
    }

    /// How long it is still valid; zero when it is not.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.expires.saturating_duration_since(Instant::now())
    }

    /// The object id of the identity (claim `oid`), which is the user name for Redis; `None` if the token does not say.
    #[must_use]
    pub fn object_id(&self) -> Option<&str> {
        self.0.object_id.as_deref()
    }

    /// Whether both are the very same token.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("serial", &self.0.serial)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// None came within the time the caller had.
    #[error("no token for {resource} yet: {reason}")]
    Unavailable {
        /// What it is for.
        resource: &'static str,
        /// What the last attempt to get one ended with.
        reason: Arc<str>,
    },
    /// Whoever fetches tokens has ended.
    #[error("no more tokens for {resource}: the agent is leaving")]
    Closed {
        /// What it is for.
        resource: &'static str,
    },
}

/// What the publisher last knew.
#[derive(Debug, Clone, Default)]
struct Shelf {
    token: Option<Token>,
    /// Why there is no newer token, if the last attempt failed.
    failure: Option<Arc<str>>,
}

/// Tokens for one resource. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct TokenSource {
    resource: Resource,
    shelf: watch::Receiver<Shelf>,
    rejected: Arc<Rejected>,
}

#[derive(Default)]
struct Rejected {
    /// The serial of the newest token that a server refused.
    serial: AtomicU64,
    wake: Notify,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource")
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

impl TokenSource {
    /// What its tokens are for.
    #[must_use]
    pub const fn resource(&self) -> Resource {
        self.resource
    }

    /// The token as it is in memory, if there is one and it is valid. Never waits.
    #[must_use]
    pub fn current(&self) -> Option<Token> {
        valid(&self.shelf.borrow())
    }

    /// The token in memory, or the first that comes within `patience`.
    ///
    /// # Errors
    /// If none came in time, with what the last attempt ended with.
    pub async fn wait(&self, patience: Duration) -> Result<Token, TokenError> {
        self.wait_for(patience, |_| true).await
    }

    /// The first token that is not `old`, for whoever had `old` refused: see [`TokenSource::reject`].
    ///
    /// # Errors
    /// As [`TokenSource::wait`].
    pub async fn wait_other(&self, old: &Token, patience: Duration) -> Result<Token, TokenError> {
        self.wait_for(patience, |token| !token.is_same(old)).await
    }

    /// A server refused `token` although it is not expired (401, WRONGPASS, access denied). A new one is fetched, once: however
    /// many connections say so of the same token, it is one refresh. The token itself is served on until the new one is there.
    pub fn reject(&self, token: &Token) {
        if self
            .rejected
            .serial
            .fetch_max(token.0.serial, Ordering::AcqRel)
            < token.0.serial
        {
            self.rejected.wake.notify_one();
        }
    }

    /// Resolves with each token other than `shown`, the newest first, also if it came before now; for whoever has to tell a
    /// connection that was made with `shown`.
    #[must_use]
    pub fn changes_after(&self, shown: &Token) -> TokenChanges {
        let mut shelf = self.shelf.clone();
        shelf.mark_changed();
        TokenChanges {
            shelf,
            seen: shown.clone(),
        }
    }

    async fn wait_for(
        &self,
        patience: Duration,
        mut fits: impl FnMut(&Token) -> bool,
    ) -> Result<Token, TokenError> {
        let resource = self.resource.label();
        let mut shelf = self.shelf.clone();
        let found = shelf.wait_for(|shelf| valid(shelf).is_some_and(|token| fits(&token)));
        let found = tokio::time::timeout(patience, found).await;
        match found {
            Ok(Ok(shelf)) => shelf.token.clone().ok_or(TokenError::Closed { resource }),
            Ok(Err(_)) => Err(TokenError::Closed { resource }),
            Err(_) => {
                let reason = self.shelf.borrow().failure.clone();
                Err(TokenError::Unavailable {
                    resource,
                    reason: reason.unwrap_or_else(|| Arc::from("none has arrived")),
                })
            }
        }
    }
}

fn valid(shelf: &Shelf) -> Option<Token> {
    let token = shelf.token.as_ref()?;
    (!token.remaining().is_zero()).then(|| token.clone())
}

/// Follows the tokens of one source.
#[derive(Debug)]
pub struct TokenChanges {
    shelf: watch::Receiver<Shelf>,
    seen: Token,
}

impl TokenChanges {
    /// The next token; `None` when no more will come. Safe to cancel.
    pub async fn next(&mut self) -> Option<Token> {
        loop {
            self.shelf.changed().await.ok()?;
            let token = self.shelf.borrow_and_update().token.clone();
            if let Some(token) = token
                && !self.seen.is_same(&token)
            {
                self.seen = token.clone();
                return Some(token);
            }
        }
    }
}

/// The side that fetches tokens. When it is dropped, sources serve what they have until it expires.
pub struct TokenPublisher {
    resource: Resource,
    shelf: watch::Sender<Shelf>,
    rejected: Arc<Rejected>,
    serial: u64,
}

impl fmt::Debug for TokenPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPublisher")
            .field("resource", &self.resource)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl TokenPublisher {
    /// A publisher without a token yet, and the source that is handed to whoever needs tokens for `resource`.
    #[must_use]
    pub fn new(resource: Resource) -> (Self, TokenSource) {
        let (sender, shelf) = watch::channel(Shelf::default());
        let rejected = Arc::new(Rejected::default());
        let source = TokenSource {
            resource,
            shelf,
            rejected: Arc::clone(&rejected),
        };
        let publisher = Self {
            resource,
            shelf: sender,
            rejected,
            serial: 0,
        };
        (publisher, source)
    }

    /// What its tokens are for.
    #[must_use]
    pub const fn resource(&self) -> Resource {
        self.resource
    }

    /// Another source of the same tokens.
    #[must_use]
    pub fn source(&self) -> TokenSource {
        TokenSource {
            resource: self.resource,
            shelf: self.shelf.subscribe(),
            rejected: Arc::clone(&self.rejected),
        }
    }

    /// Puts a new token in the place of the old one. `object_id` is the claim `oid`, if known.
    pub fn publish(&mut self, secret: Secret, expires: Instant, object_id: Option<String>) {
        self.serial += 1;
        let token = Token(Arc::new(Inner {
            secret,
            expires,
            object_id,
            serial: self.serial,
        }));
        self.shelf.send_replace(Shelf {
            token: Some(token),
            failure: None,
        });
    }

    /// An attempt failed: whoever waits in vain is told why. The token in memory stays.
    pub fn fail(&self, reason: impl Into<Arc<str>>) {
        let reason = reason.into();
        self.shelf.send_modify(|shelf| shelf.failure = Some(reason));
    }

    /// The token that is served now, expired or not.
    #[must_use]
    pub fn published(&self) -> Option<Token> {
        self.shelf.borrow().token.clone()
    }

    /// Whether a server has refused the token that is served now.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.serial > 0 && self.rejected.serial.load(Ordering::Acquire) >= self.serial
    }

    /// Resolves when a server refuses the token that is served now; at once if it has. Safe to cancel.
    pub async fn rejected(&self) {
        while !self.is_rejected() {
            self.rejected.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
