//! Errors by which a server says that it did nothing, and what a statement needs of its server's role. Decides; waits between two
//! tries.
//!
//! Numbers and texts are those of the "Server Error Message Reference" of MySQL and of MariaDB; the names of options and hooks in
//! the texts are not translated.

use std::time::Duration;

use lamplighter_wire::mysql::exchange::Outcome;
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{Kind, Statement, Traits};
use tokio::time::Instant;

use super::execution::Execution;
use super::relay::Job;
use crate::hold::Ran;
use crate::pool::Need;

/// ER_NEED_REPREPARE: the statement did not run, because the definition of a table changed while it was read.
const NEED_REPREPARE: u16 = 1615;
/// ER_SERVER_SHUTDOWN.
const SHUTDOWN: u16 = 1053;
/// ER_OPTION_PREVENTS_STATEMENT, for read_only and super_read_only.
const OPTION_PREVENTS: u16 = 1290;
/// ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, where transaction_read_only is the server's default.
const READ_ONLY_TRANSACTION: u16 = 1792;
/// ER_READ_ONLY_MODE: innodb_read_only.
const READ_ONLY_MODE: u16 = 1836;
/// ER_RUN_HOOK_ERROR: group replication does not let the transaction begin or commit, and rolls it back.
const HOOK: u16 = 3100;
/// ER_UNKNOWN_COM_ERROR, with which a node of Galera refuses everything while it is not in the primary component.
const UNKNOWN_COMMAND: u16 = 1047;

/// Which errors are not passed on if they are the first thing the server says to a command.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Withhold {
    reprepare: bool,
    shutdown: bool,
    no_primary: bool,
}

/// What a withheld error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The statement has to be prepared again on the same connection.
    Reprepare,
    /// The server leaves; a read does no harm twice.
    Leaving,
    /// The server is not a primary (any more), and did nothing.
    NoPrimary,
}

impl Withhold {
    /// For a command that runs on a connection without anything of its client's, unless it `has_state`; `chose_read_only` if the
    /// client itself has asked for read-only transactions.
    pub(super) fn of(job: &Job<'_>, has_state: bool, chose_read_only: bool) -> Self {
        let is_whole = job.request.rest.is_none();
        let shared = |execution: &Execution| execution.wanted.owner.is_none();
        Self {
            // nothing was sent ahead of it that a new preparation would forget
            reprepare: is_whole && job.execution.as_ref().is_some_and(shared),
            shutdown: is_whole && !has_state && job.may_retry,
            no_primary: is_whole && !has_state && !chose_read_only && is_all_or_nothing(job.ran),
        }
    }

    /// The command may be asked again elsewhere while its client has nothing of the answer.
    pub(super) const fn is_harmless(self) -> bool {
        self.shutdown
    }

    /// The statement is prepared anew once.
    pub(super) const fn without_reprepare(self) -> Self {
        Self {
            reprepare: false,
            ..self
        }
    }

    /// What the error means, if it is one to be withheld.
    pub(super) fn judge(self, outcome: &Outcome) -> Option<Refusal> {
        let Outcome::Err { code, message, .. } = outcome else {
            return None;
        };
        match *code {
            NEED_REPREPARE if self.reprepare => Some(Refusal::Reprepare),
            SHUTDOWN if self.shutdown => Some(Refusal::Leaving),
            code if self.no_primary && says_no_primary(code, message) => Some(Refusal::NoPrimary),
            _ => None,
        }
    }
}

/// A statement that a server has refused, on its way to the next one.
#[derive(Debug)]
pub(super) struct Refused {
    /// What the server said: the client's answer if no other server is found.
    pub(super) packet: ErrPacket,
    pub(super) until: Instant,
    pause: Duration,
}

/// The longest pause between two servers that both refuse; the first is a tenth of it.
const PAUSE_MAX: Duration = Duration::from_millis(250);

impl Refused {
    /// Refused for the first time, with `until` for the whole wait, or once more.
    pub(super) fn again(this: &mut Option<Self>, packet: ErrPacket, until: Instant) -> &mut Self {
        let refused = this.get_or_insert_with(|| Self {
            packet: packet.clone(),
            until,
            pause: Duration::ZERO,
        });
        refused.packet = packet;
        refused
    }

    /// Waits a little if not even the first new connection took the statement. False if the time is over.
    pub(super) async fn pause(&mut self) -> bool {
        let next = Instant::now() + self.pause;
        if next >= self.until {
            return false;
        }
        tokio::time::sleep_until(next).await;
        self.pause = (self.pause * 2).clamp(PAUSE_MAX / 10, PAUSE_MAX);
        true
    }
}

/// An error that a client gets all the same shows that the server is no primary (any more). Not one of a read-only transaction, which
/// the client may have asked for.
pub(super) fn shows_no_primary(outcome: &Outcome) -> bool {
    let Outcome::Err { code, message, .. } = outcome else {
        return false;
    };
    *code != READ_ONLY_TRANSACTION && says_no_primary(*code, message)
}

/// The server is read-only or outside its cluster's majority.
fn says_no_primary(code: u16, message: &[u8]) -> bool {
    let names = |word: &[u8]| message.windows(word.len()).any(|at| at == word);
    match code {
        // the same number is used for --skip-grant-tables, --secure-file-priv and others
        OPTION_PREVENTS => names(b"read-only") || names(b"read_only"),
        READ_ONLY_MODE | READ_ONLY_TRANSACTION => true,
        HOOK => names(b"before_commit") || names(b"before_dml") || names(b"trans_begin"),
        UNKNOWN_COMMAND => names(b"WSREP"),
        _ => false,
    }
}

/// Outside a transaction the statement does all it does or, after an error, nothing. A procedure may have committed before it failed.
fn is_all_or_nothing(ran: Ran<'_>) -> bool {
    let Ran::Statement { statement, .. } = ran else {
        return false;
    };
    matches!(
        statement.kind,
        Kind::Select
            | Kind::With
            | Kind::Table
            | Kind::Values
            | Kind::Insert
            | Kind::Replace
            | Kind::Update
            | Kind::Delete
            | Kind::LoadData
            | Kind::Ddl
            | Kind::Begin { .. }
            | Kind::LockTables
    )
}

/// What a command needs of its server's role, if it runs on a connection that has nothing of the client's.
pub(super) fn need_of(ran: Ran<'_>, autocommit_off: bool) -> Need {
    match ran {
        Ran::Statement { statement, .. } => match statement_need(statement) {
            // it begins a transaction, which may write later
            Need::Any if autocommit_off => Need::Primary,
            need => need,
        },
        Ran::Oversized => Need::Primary,
        Ran::UnderstoodSet | Ran::Command(_) => Need::Any,
    }
}

fn statement_need(statement: &Statement) -> Need {
    const PERHAPS: Traits = Traits::UNKNOWN_FUNCTION
        .union(Traits::MULTI_STATEMENT)
        .union(Traits::LOCK_FUNCTION);
    match statement.kind {
        Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete | Kind::LoadData => Need::Write,
        Kind::Begin { read_only, .. } if !read_only => Need::Primary,
        // a read-only server lets temporary tables be made, and procedures run that write nothing
        Kind::Ddl | Kind::Call | Kind::Xa | Kind::LockTables | Kind::Other => Need::Primary,
        _ if statement.traits.intersects(PERHAPS) => Need::Primary,
        _ => Need::Any,
    }
}

/// The error as the client gets it if no primary is found in time.
pub(super) fn packet_of(outcome: &Outcome) -> ErrPacket {
    outcome
        .error()
        .unwrap_or_else(|| ErrPacket::new(OPTION_PREVENTS, *b"HY000", b"read-only".to_vec()))
}

#[cfg(test)]
mod tests;
