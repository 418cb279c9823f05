//! KILL. Clients know ids of the endpoint's own; a server connection serves one client now and another one later. So each
//! session says here which server connection works for it, and whoever kills holds that entry still until the server has
//! answered: the connection cannot reach its next client in between. ("KILL Statement", MySQL manual.)

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::error::StatementError;
use crate::pool::Pool;

/// Ids of clients have this bit; ids of server connections have not.
pub(crate) const CLIENT_IDS: u32 = 1 << 31;

/// What a KILL is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// KILL, KILL CONNECTION.
    Connection,
    /// KILL QUERY.
    Query,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Killed {
    Done,
    /// ER_NO_SUCH_THREAD.
    Unknown,
    /// ER_KILL_DENIED_ERROR.
    Denied,
    /// The server could not be told.
    Failed(StatementError),
}

/// A client that can be killed.
#[derive(Debug)]
pub(crate) struct Client {
    user: Bytes,
    running: AsyncMutex<Option<Running>>,
    is_ended: AtomicBool,
    end: Notify,
}

/// The server connection that works for it.
#[derive(Debug)]
struct Running {
    pool: Arc<Pool>,
    thread_id: u32,
    /// The server was told to kill its statement, which may have been over by then: the next one would die of it.
    is_killed: bool,
}

impl Client {
    fn new(user: Bytes) -> Self {
        Self {
            user,
            running: AsyncMutex::new(None),
            is_ended: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    /// Resolves when somebody has killed the connection.
    pub(crate) async fn ended(&self) {
        loop {
            let told = self.end.notified();
            if self.is_ended.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// A server connection begins to work for the client.
    pub(crate) async fn begins(&self, pool: &Arc<Pool>, thread_id: u32) {
        *self.running.lock().await = Some(Running {
            pool: Arc::clone(pool),
            thread_id,
            is_killed: false,
        });
    }

    /// It is done. Returns whether a KILL QUERY was sent meanwhile. Waits for one that is on its way.
    pub(crate) async fn ends(&self) -> bool {
        self.running
            .lock()
            .await
            .take()
            .is_some_and(|running| running.is_killed)
    }

    async fn kill(&self, what: What) -> Killed {
        if what == What::Connection {
            self.is_ended.store(true, Ordering::Release);
            self.end.notify_waiters();
        }
        // held until the server has answered: the statement's end waits for it
        let mut running = self.running.lock().await;
        let Some(running) = running.as_mut() else {
            return Killed::Done;
        };
        running.is_killed = true;
        match running.pool.kill(what, running.thread_id).await {
            Ok(()) => Killed::Done,
            Err(error) => Killed::Failed(error),
        }
    }
}

/// The clients that are connected, by id.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<HashMap<u32, Arc<Client>>>);

/// A client's place among them; it leaves with this.
#[derive(Debug)]
pub(crate) struct Registered<'a> {
    clients: &'a Clients,
    id: u32,
    pub(crate) client: Arc<Client>,
}

impl Clients {
    pub(crate) fn register(&self, id: u32, user: Bytes) -> Registered<'_> {
        let client = Arc::new(Client::new(user));
        self.lock().insert(id, Arc::clone(&client));
        Registered {
            clients: self,
            id,
            client,
        }
    }

    /// Kills a client's statement or connection, if it is one of the same user.
    pub(crate) async fn kill(&self, what: What, id: u32, user: &[u8]) -> Killed {
        let found = self.lock().get(&id).cloned();
        match found {
            None => Killed::Unknown,
            Some(client) if client.user != user => Killed::Denied,
            Some(client) => client.kill(what).await,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<Client>>> {
        // nothing under the lock can leave it half done
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.id);
    }
}

/// Reads `KILL [CONNECTION | QUERY] id`; `None` if the id is not a plain number.
pub(crate) fn parse(text: &[u8]) -> Option<(What, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.trim().trim_end_matches(';').split_ascii_whitespace();
    if !words.next()?.eq_ignore_ascii_case("kill") {
        return None;
    }
    let mut word = words.next()?;
    let mut what = What::Connection;
    if word.eq_ignore_ascii_case("query") {
        what = What::Query;
        word = words.next()?;
    } else if word.eq_ignore_ascii_case("connection") {
        word = words.next()?;
    }
    words.next().is_none().then_some(())?;
    Some((what, word.parse().ok()?))
}

#[cfg(test)]
mod tests;
