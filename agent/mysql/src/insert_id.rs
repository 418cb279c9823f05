//! LAST_INSERT_ID() of a session whose server connections come and go. An OK packet does not tell it (for a value that the
//! client gave itself it reports that value, which LAST_INSERT_ID() does not; "mysql_insert_id()", MySQL C API), so it is
//! asked for only if somebody needs it: a released connection remembers whose value it holds, and the next client to use it,
//! the pool's clock, or the session itself asks the server first. No IO here; only who knows what.

use std::sync::Arc;

use tokio::sync::watch;

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its connection knows.
    OnConnection,
    Known(u64),
    /// Its connection was lost before anybody asked.
    Lost,
}

/// A session's value that is still on a connection, seen from the session. Dropped, nobody needs the value any more.
#[derive(Debug, Clone)]
pub(crate) struct Awaited(Arc<watch::Sender<State>>);

/// The same seen from the connection. Dropped without an answer, the value is lost.
#[derive(Debug)]
pub(crate) struct Owed(Arc<watch::Sender<State>>);

/// Both ends.
pub(crate) fn pending() -> (Awaited, Owed) {
    let shared = Arc::new(watch::Sender::new(State::OnConnection));
    (Awaited(Arc::clone(&shared)), Owed(shared))
}

impl Owed {
    /// The session that wants to know still exists.
    pub(crate) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) fn is_of(&self, awaited: &Awaited) -> bool {
        Arc::ptr_eq(&self.0, &awaited.0)
    }

    /// The server said.
    pub(crate) fn tell(self, value: u64) {
        self.0.send_replace(State::Known(value));
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.send_if_modified(|state| {
            let lost = *state == State::OnConnection;
            if lost {
                *state = State::Lost;
            }
            lost
        });
    }
}

impl Awaited {
    /// The value once somebody has asked the server; `None` if its connection was lost.
    pub(crate) async fn value(&self) -> Option<u64> {
        let mut receiver = self.0.subscribe();
        let state = receiver
            .wait_for(|state| *state != State::OnConnection)
            .await
            .ok()?;
        match *state {
            State::Known(value) => Some(value),
            State::OnConnection | State::Lost => None,
        }
    }

    /// The value, if it is known already.
    pub(crate) fn known(&self) -> Option<u64> {
        match *self.0.borrow() {
            State::Known(value) => Some(value),
            State::OnConnection | State::Lost => None,
        }
    }
}

/// A session's LAST_INSERT_ID().
#[derive(Debug, Clone)]
pub(crate) enum OfSession {
    Known(u64),
    Awaited(Awaited),
}

impl Default for OfSession {
    fn default() -> Self {
        // of a new session
        Self::Known(0)
    }
}

impl OfSession {
    /// The connection that alone knew it is gone.
    pub(crate) fn lost() -> Self {
        Self::Awaited(pending().0)
    }

    /// The value, if no server has to be asked.
    pub(crate) fn known(&self) -> Option<u64> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Awaited(awaited) => awaited.known(),
        }
    }
}

/// What LAST_INSERT_ID() is on a server connection.
#[derive(Debug)]
pub(crate) enum OfConnection {
    Known(u64),
    /// A session's that has left the connection.
    Owed(Owed),
    Unknown,
}

impl OfConnection {
    /// It is what the session expects.
    pub(crate) fn is_of(&self, session: &OfSession) -> bool {
        match (self, session) {
            (Self::Owed(owed), OfSession::Awaited(awaited)) => owed.is_of(awaited),
            (Self::Known(value), session) => session.known() == Some(*value),
            _ => false,
        }
    }

    /// Somebody else still wants to know it.
    pub(crate) fn is_wanted_beside(&self, session: Option<&OfSession>) -> bool {
        match (self, session) {
            (Self::Owed(owed), Some(OfSession::Awaited(awaited))) if owed.is_of(awaited) => false,
            (Self::Owed(owed), _) => owed.is_wanted(),
            _ => false,
        }
    }

    /// The server said.
    pub(crate) fn tell(&mut self, value: u64) {
        if let Self::Owed(owed) = std::mem::replace(self, Self::Known(value)) {
            owed.tell(value);
        }
    }
}

#[cfg(test)]
mod tests;
