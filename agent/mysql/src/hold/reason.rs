//! Why a client keeps its server connection, by name. Pure; no IO.

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
    /// PREPARE as text.
    PreparedStatement,
    /// A cursor of a prepared statement is open. Ends when it is read to its end, reset or closed.
    Cursor,
    /// Pieces of a prepared statement's parameter were sent ahead. Ends with its execution.
    LongData,
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
    pub(crate) const ALL: [Self; 17] = [
        Self::Transaction,
        Self::Diagnostics,
        Self::SessionVariable,
        Self::UserVariable,
        Self::TemporaryTable,
        Self::LockTables,
        Self::UserLock,
        Self::PreparedStatement,
        Self::Cursor,
        Self::LongData,
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
            Self::Cursor => "cursor",
            Self::LongData => "long_data",
            Self::NextTransaction => "next_transaction",
            Self::Handler => "handler",
            Self::Xa => "xa",
            Self::StoredProgram => "stored_program",
            Self::MultiStatement => "multi_statement",
            Self::Oversized => "oversized",
            Self::Unknown => "unknown",
        }
    }

    /// When such a connection is given back, for people.
    pub(crate) const fn until(self) -> &'static str {
        match self {
            Self::Transaction => "COMMIT or ROLLBACK",
            Self::Diagnostics => "the next statement",
            Self::TemporaryTable => "the last temporary table is dropped",
            Self::LockTables => "UNLOCK TABLES or UNLOCK INSTANCE",
            Self::UserLock => "RELEASE_ALL_LOCKS()",
            Self::PreparedStatement => "DEALLOCATE PREPARE",
            Self::Cursor => "the cursor is read to its end or closed",
            Self::LongData => "the statement is executed",
            Self::NextTransaction => "the next transaction is over",
            Self::Handler => "HANDLER ... CLOSE",
            Self::Xa => "the XA transaction is over",
            Self::SessionVariable
            | Self::UserVariable
            | Self::StoredProgram
            | Self::MultiStatement
            | Self::Oversized
            | Self::Unknown => "the client disconnects or resets its session",
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
