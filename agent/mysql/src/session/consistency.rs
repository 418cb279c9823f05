//! Reads that see what they have to: what a session and its like wrote, and on which server all of that is.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{Kind, Statement, Traits, session_key};

use super::last::is_query;
use super::{NOT_SUPPORTED, Session};
use crate::balance::Choice;
use crate::client::Identity;
use crate::config::Consistency;
use crate::endpoint::Shared;
use crate::fleet::Told;
use crate::hold::{Ran, asks_about_the_last, leaves_state};
use crate::position::Position;
use crate::preferences::Preference;
use crate::route::{Why, Wish, route};

/// Where a command goes.
#[derive(Debug)]
pub(super) struct Way {
    /// A replica's index, or `None` for the held connection or the primary.
    pub(super) replica: Option<usize>,
    pub(super) why: Why,
    /// What the replica has to have first.
    pub(super) wait: Option<Position>,
}

impl Way {
    pub(super) const fn primary(why: Why) -> Self {
        Self {
            replica: None,
            why,
            wait: None,
        }
    }
}

/// What its user's name decides for a session, and what its reads have to see.
#[derive(Debug)]
pub(super) struct Views {
    preference: Preference,
    /// Whose share of the connections it uses.
    pub(super) tenant: usize,
    /// Whose writes are its own: of its user and of what the application named.
    key: u64,
    user_key: u64,
    /// What it wrote itself.
    own: Position,
    /// It wrote something that is not committed yet, as far as is known.
    wrote: bool,
    others: Others,
}

/// What other instances wrote.
#[derive(Debug, Default)]
struct Others {
    /// `None`: nobody knows.
    written: Option<Position>,
    /// When they were asked, and for whose writes.
    asked: Option<(Instant, u64)>,
}

/// What others wrote is asked again before a read that comes so much later.
const OTHERS_MAX: Duration = Duration::from_millis(100);

impl Views {
    pub(super) fn of(shared: &Shared, identity: &Identity) -> Self {
        let user_key = session_key(&identity.user);
        let mut views = Self {
            preference: shared.preferences.of(&identity.user),
            tenant: shared.tenants.number(&identity.user),
            key: user_key,
            user_key,
            own: Position::default(),
            wrote: false,
            others: Others::default(),
        };
        views.set_key(identity.key);
        views
    }

    fn set_key(&mut self, key: Option<u64>) {
        if let Some(key) = key {
            self.key = self.user_key.rotate_left(32) ^ key;
        }
    }

    /// As after a new login.
    pub(super) fn forget(&mut self) {
        self.own = Position::default();
        self.wrote = false;
        self.others = Others::default();
    }

    /// A command's reply is over, and its client does not know yet: remembers what it wrote, if anybody's reads have to see that.
    /// What is returned has to be waited for before the client knows.
    pub(super) fn note(
        &mut self,
        shared: &Shared,
        agreed: Capabilities,
        ran: Ran<'_>,
        completion: &Completion,
    ) -> Option<Told> {
        if self.preference.consistency == Consistency::Eventual {
            return None;
        }
        let failed = matches!(completion.outcome, Outcome::Err { .. });
        let in_transaction = completion.status.contains(Status::SERVER_STATUS_IN_TRANS);
        let named = completion.track.gtids.as_ref();
        if let Some(gtids) = named.filter(|gtids| !gtids.is_empty()) {
            self.wrote = in_transaction && may_write(ran);
            let told = self.add(shared, &Position::with_gtids(Instant::now(), gtids));
            if !failed {
                return told;
            }
            // there may be more that was committed before the error and is not named
            self.wrote = true;
        }
        self.wrote |= may_write(ran);
        if in_transaction || !self.wrote {
            return None;
        }
        self.wrote = false;
        // a server that names what is written and names nothing: nothing was
        let says = !failed && tells_at_the_end(agreed, &completion.outcome);
        if says && shared.names_writes() {
            return None;
        }
        self.add(shared, &Position::at(Instant::now()))
    }

    fn add(&mut self, shared: &Shared, write: &Position) -> Option<Told> {
        self.own.add(write);
        match self.preference.consistency {
            Consistency::Eventual | Consistency::Session => None,
            Consistency::Instance => {
                shared.positions.add(self.key, write);
                None
            }
            Consistency::Fleet => {
                shared.positions.add(self.key, write);
                let fleet = shared.fleet.as_ref()?;
                fleet.tell(self.key, &shared.positions, &shared.beats)
            }
        }
    }

    /// Learns what other instances wrote, if that matters and is not known.
    async fn ask_others(&mut self, shared: &Shared) {
        let is_known = self
            .others
            .asked
            .is_some_and(|(asked, key)| key == self.key && asked.elapsed() < OTHERS_MAX);
        if is_known || self.preference.consistency != Consistency::Fleet {
            return;
        }
        let asked = Some((Instant::now(), self.key));
        let written = match &shared.fleet {
            Some(fleet) => fleet.ask(self.key).await,
            None => None,
        };
        self.others = Others { written, asked };
    }

    /// The writes that the next read has to see; `None` if nobody knows.
    fn needed(&self, shared: &Shared) -> Option<Cow<'_, Position>> {
        match self.preference.consistency {
            Consistency::Eventual => Some(Cow::Owned(Position::default())),
            Consistency::Session => Some(Cow::Borrowed(&self.own)),
            Consistency::Instance | Consistency::Fleet => {
                let mut needed = shared.positions.of(self.key);
                needed.add(&self.own);
                if self.preference.consistency == Consistency::Fleet {
                    needed.add(self.others.written.as_ref()?);
                }
                Some(Cow::Owned(needed))
            }
        }
    }
}

/// Whether the last packet of such a reply says what has been written, to a client with whom so much is agreed.
fn tells_at_the_end(agreed: Capabilities, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Ok { .. } => true,
        Outcome::ResultSet => {
            agreed.contains(Capabilities::CLIENT_DEPRECATE_EOF)
                || !agreed.contains(Capabilities::CLIENT_MULTI_STATEMENTS)
        }
        _ => false,
    }
}

impl Session<'_> {
    /// Where a statement goes. Gives a connection back that was held only for a question this statement is not, unless the
    /// statement can run on it.
    pub(super) async fn choose(&mut self, statement: &Statement, text: &[u8]) -> Way {
        self.views.set_key(statement.key);
        let Some(held) = &self.hold else {
            return self.choose_free(statement, text).await;
        };
        if !held.ties.only_diagnostics() || asks_about_the_last(statement) {
            return Way::primary(Why::Held);
        }
        let on_primary = Arc::ptr_eq(held.lease.pool(), &self.shared.primary);
        let way = self.choose_free(statement, text).await;
        if way.replica.is_some() || !on_primary {
            if is_query(statement.kind) {
                self.forget_diagnostics();
            } else {
                self.leave_diagnostics().await;
            }
        }
        way
    }

    async fn choose_free(&mut self, statement: &Statement, text: &[u8]) -> Way {
        // what would keep its connection must keep one that can do everything
        // and without autocommit a read begins a transaction
        if leaves_state(statement) || self.variables.autocommit_is_off() {
            return Way::primary(Why::NotARead);
        }
        let preferences = &self.shared.preferences;
        let ruled = preferences.ruled(&self.identity.user, text, self.lex_mode());
        let reads = ruled.unwrap_or(self.views.preference.reads);
        let needed = match route(Some(statement), reads) {
            Wish::Primary(why) => return Way::primary(why),
            Wish::AnyReplica => Cow::Owned(Position::default()),
            Wish::Replica => {
                self.views.ask_others(self.shared).await;
                match self.views.needed(self.shared) {
                    Some(needed) => needed,
                    None => return Way::primary(Why::OthersUnknown),
                }
            }
        };
        let to = |replica, wait| Way {
            replica: Some(replica),
            why: Why::Read,
            wait,
        };
        match self.shared.choose_replica(&needed) {
            Choice::Fresh(replica) => to(replica, None),
            Choice::Soon(replica) if self.shared.waits_for(&needed) => {
                to(replica, Some(needed.into_owned()))
            }
            Choice::Soon(_) | Choice::Behind => Way::primary(Why::WroteBefore),
            Choice::None => Way::primary(Why::NoReplica),
        }
    }

    /// A connection broke on which something may have been written and committed.
    pub(super) fn note_lost_writes(&mut self) {
        if self.views.preference.consistency != Consistency::Eventual {
            self.views.wrote = false;
            let lost = Position::at(Instant::now());
            // nobody is told an answer that could be waited for
            drop(self.views.add(self.shared, &lost));
        }
    }

    /// Whether the session is in a transaction on a replica, in which it can only read.
    fn reads_on_replica(&self) -> bool {
        self.hold.as_ref().is_some_and(|held| {
            let on_primary = Arc::ptr_eq(held.lease.pool(), &self.shared.primary);
            !on_primary && !held.ties.only_diagnostics()
        })
    }

    /// What comes behind a transaction on a replica, without an end of it, needs the primary: the transaction is ended as the statement
    /// would. What would keep the replica's connection beyond the transaction is refused.
    pub(super) async fn leave_reading(&mut self, statement: &Statement) -> Result<(), ErrPacket> {
        if !self.reads_on_replica() {
            return Ok(());
        }
        let ends_it = matches!(
            statement.kind,
            Kind::Begin {
                read_only: false,
                ..
            } | Kind::LockTables
        );
        if ends_it && !statement.traits.contains(Traits::MULTI_STATEMENT) {
            self.wipe_hold().await;
            return Ok(());
        }
        if !leaves_state(statement) {
            return Ok(());
        }
        let text = "lamplighter: this cannot be done in a READ ONLY transaction on a replica: its connection would have to be kept beyond the \
            transaction; write START TRANSACTION READ ONLY /* lamplighter:primary */";
        Err(ErrPacket::new(
            NOT_SUPPORTED,
            *b"42000",
            text.as_bytes().to_vec(),
        ))
    }
}

/// Whether later reads must see what the command did.
fn may_write(ran: Ran<'_>) -> bool {
    match ran {
        Ran::Statement { statement, .. } => writes(statement),
        Ran::Oversized => true,
        Ran::UnderstoodSet | Ran::Command(_) => false,
    }
}

/// Whether a statement may write.
fn writes(statement: &Statement) -> bool {
    let reads = matches!(
        statement.kind,
        Kind::Empty
            | Kind::Select
            | Kind::With
            | Kind::Table
            | Kind::Values
            | Kind::Show
            | Kind::ShowDiagnostics
            | Kind::GetDiagnostics
            | Kind::Explain
            | Kind::Begin { .. }
            | Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::RollbackToSavepoint
            | Kind::ReleaseSavepoint
            | Kind::SetVariables
            | Kind::SetNames
            | Kind::SetTransaction
            | Kind::SetSessionTransaction
            | Kind::Use
            | Kind::LockTables
            | Kind::UnlockTables
    );
    !reads
        || statement
            .traits
            .intersects(Traits::UNKNOWN_FUNCTION.union(Traits::MULTI_STATEMENT))
}
