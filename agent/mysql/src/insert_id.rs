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
pub(crate) struct Owed {
    session: Arc<watch::Sender<State>>,
    candidates: Option<Candidates>,
}

/// Numbers that OK packets told on a connection whose LAST_INSERT_ID() was another session's before. It is one of them if the
/// server made one of them; if the client gave them all itself, nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidates {
    told: Vec<u64>,
    /// The session's own value before, if that was known.
    before: Option<u64>,
}

/// More of them are not remembered; what was told first goes first.
const CANDIDATES_MAX: usize = 32;

impl Candidates {
    fn new(session: &OfSession) -> Self {
        Self {
            told: Vec::new(),
            before: session.known(),
        }
    }

    fn and(mut self, told: u64) -> Self {
        if self.told.len() >= CANDIDATES_MAX {
            self.told.remove(0);
            // it may be the one that was made
            self.before = None;
        }
        self.told.push(told);
        self
    }

    /// What the session's value is when the connection's is `value`.
    fn resolve(&self, value: u64) -> Option<u64> {
        if self.told.contains(&value) {
            Some(value)
        } else {
            self.before
        }
    }
}

/// Whether the connection that a client has alone knows its LAST_INSERT_ID().
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum There {
    /// The session knows it, or another connection.
    #[default]
    No,
    /// It is what the server says.
    Certain,
    /// Only if the server says one of these.
    Perhaps(Candidates),
}

/// What a command did to LAST_INSERT_ID().
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// It is the session's, whatever it is: the command ran where it was the session's before.
    Certain,
    /// An OK told this number, which the server may have made.
    Told(u64),
}

impl There {
    pub(crate) fn is_there(&self) -> bool {
        *self != Self::No
    }

    /// After a command on `connection`.
    pub(crate) fn after(
        self,
        change: Change,
        connection: &OfConnection,
        session: &OfSession,
    ) -> Self {
        match (change, self) {
            (Change::None, there) => there,
            (Change::Certain, _) | (Change::Told(_), Self::Certain) => Self::Certain,
            (Change::Told(told), Self::Perhaps(candidates)) => Self::Perhaps(candidates.and(told)),
            (Change::Told(told), Self::No) => match connection {
                OfConnection::Owed(owed) if connection.is_of(session) => owed
                    .candidates
                    .clone()
                    .map_or(Self::Certain, |known| Self::Perhaps(known.and(told))),
                _ if connection.is_of(session) => Self::Certain,
                _ => Self::Perhaps(Candidates::new(session).and(told)),
            },
        }
    }

    /// Leaves the value behind on the connection: what the session has of it then.
    pub(crate) fn leave(self, connection: &mut OfConnection) -> Option<OfSession> {
        let candidates = match self {
            Self::No => return None,
            Self::Certain => None,
            Self::Perhaps(candidates) => Some(candidates),
        };
        let (awaited, owed) = pending(candidates);
        *connection = OfConnection::Owed(owed);
        Some(OfSession::Awaited(awaited))
    }
}

/// Both ends.
fn pending(candidates: Option<Candidates>) -> (Awaited, Owed) {
    let session = Arc::new(watch::Sender::new(State::OnConnection));
    let awaited = Awaited(Arc::clone(&session));
    (
        awaited,
        Owed {
            session,
            candidates,
        },
    )
}

impl Owed {
    /// The session that wants to know still exists.
    pub(crate) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.session) > 1
    }

    pub(crate) fn is_of(&self, awaited: &Awaited) -> bool {
        Arc::ptr_eq(&self.session, &awaited.0)
    }

    /// The server said.
    pub(crate) fn tell(self, value: u64) {
        let known = match &self.candidates {
            None => Some(value),
            Some(candidates) => candidates.resolve(value),
        };
        self.session
            .send_replace(known.map_or(State::Lost, State::Known));
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.session.send_if_modified(|state| {
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

    /// Nobody has asked its connection yet.
    pub(crate) fn is_on_connection(&self) -> bool {
        *self.0.borrow() == State::OnConnection
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
        Self::Awaited(pending(None).0)
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

    /// It is what this session has left here.
    pub(crate) fn is_owed_to(&self, awaited: &Awaited) -> bool {
        matches!(self, Self::Owed(owed) if owed.is_of(awaited))
    }

    /// The server has to be asked before it is certain that what the connection says is the session's.
    pub(crate) fn is_uncertain(&self) -> bool {
        matches!(
            self,
            Self::Owed(Owed {
                candidates: Some(_),
                ..
            })
        )
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
