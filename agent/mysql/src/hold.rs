//! Whether a client keeps its server connection after a command, and why. Pure decisions over what the statement's text says and,
//! above all, what the server reports (session tracking, status flags): the server's word is the truth, the text only adds what
//! the server does not track (locks, diagnostics of the last statement).

use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::mysql::flags::Status;
use lamplighter_wire::sql::{Kind, Statement, Traits};

/// Why a client keeps its server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HoldReason {
    /// A transaction is open. Ends with it.
    Transaction,
    /// The next command may ask for this one's diagnostics (SHOW WARNINGS, ROW_COUNT(), FOUND_ROWS()). Ends with the next command.
    Diagnostics,
    /// Session state changed: system variables.
    SessionVariable,
    /// User variables.
    UserVariable,
    /// Temporary tables.
    TemporaryTable,
    /// LOCK TABLES, FLUSH ... WITH READ LOCK, LOCK INSTANCE.
    LockTables,
    /// GET_LOCK().
    UserLock,
    /// Prepared statements, binary or text.
    PreparedStatement,
    /// LAST_INSERT_ID() has a value.
    LastInsertId,
    /// SET TRANSACTION for the next transaction.
    NextTransaction,
    /// HANDLER ... OPEN.
    Handler,
    /// XA transactions.
    Xa,
    /// A stored procedure or function ran: it may have taken locks, which no tracker reports.
    StoredProgram,
    /// Several statements in one command.
    MultiStatement,
    /// A statement too large to be looked through.
    Oversized,
    /// A statement we do not know.
    Unknown,
}

impl HoldReason {
    pub(crate) const ALL: [Self; 16] = [
        Self::Transaction,
        Self::Diagnostics,
        Self::SessionVariable,
        Self::UserVariable,
        Self::TemporaryTable,
        Self::LockTables,
        Self::UserLock,
        Self::PreparedStatement,
        Self::LastInsertId,
        Self::NextTransaction,
        Self::Handler,
        Self::Xa,
        Self::StoredProgram,
        Self::MultiStatement,
        Self::Oversized,
        Self::Unknown,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Diagnostics => "diagnostics",
            Self::SessionVariable => "session_variable",
            Self::UserVariable => "user_variable",
            Self::TemporaryTable => "temporary_table",
            Self::LockTables => "lock_tables",
            Self::UserLock => "user_lock",
            Self::PreparedStatement => "prepared_statement",
            Self::LastInsertId => "last_insert_id",
            Self::NextTransaction => "next_transaction",
            Self::Handler => "handler",
            Self::Xa => "xa",
            Self::StoredProgram => "stored_program",
            Self::MultiStatement => "multi_statement",
            Self::Oversized => "oversized",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a client that is asked to leave would lose something it cannot make again by reconnecting.
    pub(crate) const fn is_worth_waiting_for(self) -> bool {
        matches!(
            self,
            Self::Transaction
                | Self::TemporaryTable
                | Self::LockTables
                | Self::UserLock
                | Self::UserVariable
                | Self::Xa
        )
    }
}

/// What the session knows of a command when its reply is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ran<'a> {
    /// A text statement that was looked through.
    Statement(&'a Statement),
    /// A SET whose effect the connection's bucket has taken over.
    UnderstoodSet,
    /// A text statement too large for that.
    Oversized,
    /// Another command.
    Command(Command),
}

/// What is left on the connection after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing of this client's: anybody may have it.
    Release,
    /// Something that ends by itself: a transaction, or the right to ask about the last statement.
    Hold(HoldReason),
    /// Something that stays until the session is wiped.
    Pin(HoldReason),
}

/// Decides what is left on the connection after a command.
pub(crate) fn after(ran: Ran<'_>, completion: &Completion) -> After {
    if let Some(reason) = pinned_by(ran, completion) {
        After::Pin(reason)
    } else if completion.status.contains(Status::SERVER_STATUS_IN_TRANS) {
        After::Hold(HoldReason::Transaction)
    } else if has_diagnostics(ran, completion) {
        After::Hold(HoldReason::Diagnostics)
    } else {
        After::Release
    }
}

/// State that lasts until the session is wiped.
fn pinned_by(ran: Ran<'_>, completion: &Completion) -> Option<HoldReason> {
    let by_text = match ran {
        Ran::Oversized => Some(HoldReason::Oversized),
        Ran::Statement(statement) => statement_state(statement),
        Ran::UnderstoodSet => None,
        Ran::Command(command) => command_state(command),
    };
    if by_text.is_some() {
        return by_text;
    }
    if completion
        .track
        .transaction_characteristics
        .as_ref()
        .is_some_and(|text| !text.is_empty())
        && !completion.status.contains(Status::SERVER_STATUS_IN_TRANS)
    {
        return Some(HoldReason::NextTransaction);
    }
    if completion.last_insert_id != 0 {
        return Some(HoldReason::LastInsertId);
    }
    if !completion.status.contains(Status::SERVER_STATUS_AUTOCOMMIT) {
        return Some(HoldReason::SessionVariable);
    }
    // USE and COM_INIT_DB change nothing but the schema, which the connection's bucket follows
    let only_schema = completion.track.schema.is_some()
        && matches!(
            ran,
            Ran::Statement(Statement {
                kind: Kind::Use,
                ..
            }) | Ran::Command(Command::InitDb)
        );
    let understood = only_schema || matches!(ran, Ran::UnderstoodSet);
    (completion.track.state_change && !understood).then_some(HoldReason::SessionVariable)
}

/// State that a statement's text gives away and the server may not report, or not by name.
fn statement_state(statement: &Statement) -> Option<HoldReason> {
    const BY_TRAIT: [(Traits, HoldReason); 8] = [
        (Traits::MULTI_STATEMENT, HoldReason::MultiStatement),
        (Traits::UNTERMINATED, HoldReason::Unknown),
        (Traits::LOCK_FUNCTION, HoldReason::UserLock),
        (Traits::TEMPORARY_TABLE, HoldReason::TemporaryTable),
        (Traits::USER_VARIABLE, HoldReason::UserVariable),
        (Traits::ASSIGNMENT, HoldReason::UserVariable),
        (Traits::LAST_INSERT_ID, HoldReason::LastInsertId),
        (Traits::UNKNOWN_FUNCTION, HoldReason::StoredProgram),
    ];
    if let Some((_, reason)) = BY_TRAIT
        .iter()
        .find(|(flag, _)| statement.traits.intersects(*flag))
    {
        return Some(*reason);
    }
    match statement.kind {
        Kind::LockTables | Kind::Flush => Some(HoldReason::LockTables),
        Kind::Handler => Some(HoldReason::Handler),
        Kind::Xa => Some(HoldReason::Xa),
        Kind::Call => Some(HoldReason::StoredProgram),
        Kind::Prepare | Kind::Execute | Kind::Deallocate => Some(HoldReason::PreparedStatement),
        Kind::SetVariables
        | Kind::SetNames
        | Kind::SetOther
        | Kind::SetSessionTransaction
        | Kind::SetGlobalOrPersist => Some(HoldReason::SessionVariable),
        Kind::SetTransaction => Some(HoldReason::NextTransaction),
        Kind::Empty
        | Kind::Select
        | Kind::With
        | Kind::Table
        | Kind::Values
        | Kind::Show
        | Kind::ShowDiagnostics
        | Kind::Explain
        | Kind::Insert
        | Kind::Replace
        | Kind::Update
        | Kind::Delete
        | Kind::Ddl
        | Kind::Begin { .. }
        | Kind::Commit
        | Kind::Rollback
        | Kind::Savepoint
        | Kind::RollbackToSavepoint
        | Kind::ReleaseSavepoint
        | Kind::Use
        | Kind::UnlockTables
        | Kind::LoadData
        | Kind::Do
        | Kind::Kill
        | Kind::GetDiagnostics => None,
        _ => Some(HoldReason::Unknown),
    }
}

fn command_state(command: Command) -> Option<HoldReason> {
    match command {
        Command::InitDb
        | Command::FieldList
        | Command::Statistics
        | Command::Ping
        | Command::ProcessInfo
        | Command::Query => None,
        Command::StmtPrepare
        | Command::StmtExecute
        | Command::StmtSendLongData
        | Command::StmtClose
        | Command::StmtReset
        | Command::StmtFetch => Some(HoldReason::PreparedStatement),
        Command::SetOption => Some(HoldReason::SessionVariable),
        _ => Some(HoldReason::Unknown),
    }
}

/// The next command may ask about this one, and only this connection knows the answer.
fn has_diagnostics(ran: Ran<'_>, completion: &Completion) -> bool {
    if completion.warnings_last > 0 || matches!(completion.outcome, Outcome::Err { .. }) {
        return true;
    }
    match ran {
        // what a plain read leaves behind (the number of its rows) is captured
        Ran::Statement(statement) => {
            !is_plain_read(statement) || statement.traits.contains(Traits::SQL_CALC_FOUND_ROWS)
        }
        Ran::Oversized => true,
        // without warnings it leaves nothing to ask about but a ROW_COUNT() of 0, which is captured
        Ran::UnderstoodSet | Ran::Command(_) => false,
    }
}

fn is_plain_read(statement: &Statement) -> bool {
    matches!(
        statement.kind,
        Kind::Select
            | Kind::With
            | Kind::Table
            | Kind::Values
            | Kind::Show
            | Kind::Explain
            | Kind::Use
            | Kind::Empty
    ) && !statement.traits.intersects(Traits::INTO)
}

/// A statement whose text says that it leaves state on its connection.
pub(crate) fn leaves_state(statement: &Statement) -> bool {
    statement_state(statement).is_some()
}

/// A statement that asks about the one before it.
pub(crate) fn asks_about_the_last(statement: &Statement) -> bool {
    matches!(statement.kind, Kind::ShowDiagnostics | Kind::GetDiagnostics)
        || statement.traits.intersects(
            Traits::ROW_COUNT
                .union(Traits::FOUND_ROWS)
                .union(Traits::DIAGNOSTIC_VARIABLE),
        )
}

#[cfg(test)]
mod tests;
