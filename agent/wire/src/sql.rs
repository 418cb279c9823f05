//! What a statement may do, read from its text in one pass without allocating.
//!
//! The text is split as the server's lexer splits it, so that a keyword in a string, a comment or a quoted identifier is
//! none, and code in an executable comment is code. Then a few rules decide, and each errs to the safe side: what is not
//! known to be a plain read is none.
//!
//! What text cannot show: whether a view, a trigger or a table's generated column calls a function that writes (a read-only
//! replica refuses that with an error), and, in character sets where 0x5C may be the second byte of a character (big5, gbk,
//! sjis, gb18030), where a string ends. Statements of such sessions must not be judged by this.

use crate::mysql::flags::flag_set;

mod classifier;
mod cursor;
pub mod digest;
mod head;
mod lexer;
mod objects;
mod questions;
mod sources;
mod words;

use lexer::{Lexer, Token};
pub use objects::{ObjectChange, ObjectKind, ObjectName, object_change};
pub use questions::answer_in_text;
pub use sources::reads_other_tables;

/// Parts of the session's `sql_mode` that change how text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LexMode {
    /// ANSI_QUOTES: `"x"` is an identifier.
    pub ansi_quotes: bool,
    /// NO_BACKSLASH_ESCAPES: `\` in a string is an ordinary character.
    pub no_backslash_escapes: bool,
}

/// What kind of statement it is: by its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Nothing but space and comments.
    Empty,
    /// SELECT, also in parentheses.
    Select,
    /// WITH ... SELECT (WITH ... UPDATE and DELETE are [`Self::Update`] and [`Self::Delete`]).
    With,
    /// TABLE t.
    Table,
    /// VALUES ROW(...).
    Values,
    /// SHOW, but not those of [`Self::ShowDiagnostics`].
    Show,
    /// SHOW WARNINGS, SHOW ERRORS, SHOW COUNT(*) WARNINGS or ERRORS.
    ShowDiagnostics,
    /// EXPLAIN, DESCRIBE, DESC.
    Explain,
    /// INSERT.
    Insert,
    /// REPLACE.
    Replace,
    /// UPDATE, also after WITH.
    Update,
    /// DELETE, also after WITH.
    Delete,
    /// Definition, account and maintenance statements: CREATE, ALTER, DROP, TRUNCATE, RENAME, GRANT, ANALYZE and so on.
    Ddl,
    /// BEGIN, START TRANSACTION.
    Begin {
        /// READ ONLY.
        read_only: bool,
        /// WITH CONSISTENT SNAPSHOT.
        consistent_snapshot: bool,
    },
    /// COMMIT.
    Commit,
    /// ROLLBACK (not to a savepoint).
    Rollback,
    /// SAVEPOINT.
    Savepoint,
    /// ROLLBACK TO SAVEPOINT.
    RollbackToSavepoint,
    /// RELEASE SAVEPOINT.
    ReleaseSavepoint,
    /// SET of session and user variables only.
    SetVariables,
    /// SET TRANSACTION: for the next transaction only.
    SetTransaction,
    /// SET SESSION TRANSACTION.
    SetSessionTransaction,
    /// SET NAMES, SET CHARACTER SET (alone).
    SetNames,
    /// SET with at least one GLOBAL, PERSIST or PERSIST_ONLY.
    SetGlobalOrPersist,
    /// SET ROLE, SET DEFAULT ROLE, SET PASSWORD, SET RESOURCE GROUP, SET STATEMENT.
    SetOther,
    /// USE.
    Use,
    /// CALL.
    Call,
    /// LOCK TABLES.
    LockTables,
    /// UNLOCK TABLES.
    UnlockTables,
    /// LOCK INSTANCE FOR BACKUP, UNLOCK INSTANCE.
    LockInstance,
    /// FLUSH (some forms lock).
    Flush,
    /// PREPARE (as text).
    Prepare,
    /// EXECUTE (as text).
    Execute,
    /// DEALLOCATE PREPARE, DROP PREPARE.
    Deallocate,
    /// XA.
    Xa,
    /// HANDLER.
    Handler,
    /// LOAD DATA, LOAD XML.
    LoadData,
    /// DO.
    Do,
    /// KILL.
    Kill,
    /// GET DIAGNOSTICS.
    GetDiagnostics,
    /// Anything else.
    Other,
}

flag_set! {
    /// What else was seen in the statement's code: not in strings, comments or quoted identifiers.
    Traits(u32) {
        /// A second statement follows the first.
        MULTI_STATEMENT = 1;
        /// A user variable (`@x`).
        USER_VARIABLE = 1 << 1;
        /// `:=`.
        ASSIGNMENT = 1 << 2;
        /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
        LOCKING_READ = 1 << 3;
        /// SELECT ... INTO.
        INTO = 1 << 4;
        /// GET_LOCK().
        LOCK_FUNCTION = 1 << 5;
        /// RELEASE_LOCK(), RELEASE_ALL_LOCKS().
        RELEASE_LOCK_FUNCTION = 1 << 6;
        /// LAST_INSERT_ID(), with or without an argument.
        LAST_INSERT_ID = 1 << 7;
        /// ROW_COUNT().
        ROW_COUNT = 1 << 8;
        /// FOUND_ROWS().
        FOUND_ROWS = 1 << 9;
        /// SQL_CALC_FOUND_ROWS.
        SQL_CALC_FOUND_ROWS = 1 << 10;
        /// `@@warning_count`, `@@error_count`.
        DIAGNOSTIC_VARIABLE = 1 << 11;
        /// Any system variable read (`@@x`).
        SESSION_VARIABLE_READ = 1 << 12;
        /// CREATE TEMPORARY TABLE, DROP TEMPORARY TABLE.
        TEMPORARY_TABLE = 1 << 13;
        /// A function that is not a known built-in without side effects: it may write.
        UNKNOWN_FUNCTION = 1 << 14;
        /// `@@identity`, `@@last_insert_id`, or all session variables, of which they are two.
        IDENTITY = 1 << 15;
        /// CONNECTION_ID(), `@@pseudo_thread_id`.
        CONNECTION_ID = 1 << 16;
        /// `/*! ... */` (or MariaDB's `/*M! ... */`): its text was read as code, which depends on the server's version.
        EXECUTABLE_COMMENT = 1 << 17;
        /// `/*+ SET_VAR(...) */`.
        OPTIMIZER_HINT_SET_VAR = 1 << 18;
        /// SLEEP(), BENCHMARK().
        SLEEP = 1 << 19;
        /// A string, comment or quoted identifier without its end.
        UNTERMINATED = 1 << 20;
        /// The answer belongs to one server: WAIT_FOR_EXECUTED_GTID_SET(), LOAD_FILE(), `performance_schema`,
        /// `information_schema`, SHOW STATUS and the like.
        SERVER_SPECIFIC = 1 << 21;
        /// LIMIT with an offset: FOUND_ROWS() counts the rows it skips.
        OFFSET = 1 << 22;
    }
}

/// Where the writer of a statement wants it to go: the word `lamplighter:primary` or `lamplighter:replica` in a comment.
///
/// Looked at are the comments in front of the first word and the first one behind it, if they are written `/* ... */`; not
/// those to the end of a line (`--`, `#`), nor `/*!` and `/*+`, which are code. The word is in small letters and stands between
/// spaces, commas, semicolons or the comment's ends; other words may stand beside it. The first such word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hint {
    /// `/* lamplighter:primary */`: a read that must see everything written so far.
    Primary,
    /// `/* lamplighter:replica */`: a read that need not see what its own client wrote, and may ask a server about itself. It is
    /// no promise: what is not known to be a plain read still goes to the primary.
    Replica,
}

/// What [`classify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// By the first words (of the first statement, if there are several).
    pub kind: Kind,
    /// All that was seen on the way.
    pub traits: Traits,
    /// From a comment.
    pub hint: Option<Hint>,
    /// From a comment `/* lamplighter:key=WORD */`, by the rules of [`Hint`]: whose writes the session's reads have to see from
    /// here on, as [`session_key`] of the word.
    pub key: Option<u64>,
}

/// What comments ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    pub(crate) hint: Option<Hint>,
    pub(crate) key: Option<u64>,
}

impl Wishes {
    /// Adds those of a further comment; the first of each kind counts.
    pub(crate) fn add(&mut self, content: &[u8]) {
        // most comments say something else
        if memchr::memmem::find(content, b"lamplighter:").is_none() {
            return;
        }
        let words = content.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b',' | b';'));
        for word in words {
            match word {
                b"lamplighter:primary" => self.hint = self.hint.or(Some(Hint::Primary)),
                b"lamplighter:replica" => self.hint = self.hint.or(Some(Hint::Replica)),
                _ => {
                    let key = word.strip_prefix(b"lamplighter:key=").map(session_key);
                    self.key = self.key.or(key);
                }
            }
        }
    }
}

/// A number for a name that an application gives to whatever shares its writes: a user, a basket, an order. The same on every
/// machine: the first 8 bytes of the name's SHA-256. Two names with one number see each other's writes as well.
#[must_use]
pub fn session_key(name: &[u8]) -> u64 {
    let hash = <sha2::Sha256 as sha2::Digest>::digest(name);
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Traits that a read may have and still run on any server: neither sleeping nor skipping rows is an effect.
const HARMLESS: Traits = Traits::SLEEP.union(Traits::OFFSET);

impl Statement {
    /// A plain read that any replica may answer outside a transaction. What was not understood is not one.
    #[must_use]
    pub const fn replica_safe(&self) -> bool {
        let plain = matches!(
            self.kind,
            Kind::Select | Kind::With | Kind::Table | Kind::Values | Kind::Show | Kind::Explain
        );
        plain && self.traits.without(HARMLESS).is_empty()
    }

    /// As [`Self::replica_safe`], and asked for by [`Hint::Replica`]: then it may be a question about a server, because the one
    /// that answers is the one that is meant. For whoever routes: a hint takes nothing else away, neither an open transaction
    /// nor state that must stay on its connection.
    #[must_use]
    pub fn replica_wanted(&self) -> bool {
        let traits = self.traits.without(Traits::SERVER_SPECIFIC);
        self.hint == Some(Hint::Replica) && Self { traits, ..*self }.replica_safe()
    }

    /// As [`Self::replica_safe`], but SQL_CALC_FOUND_ROWS is let through: the statement may run on a replica if the next
    /// one, which may ask for FOUND_ROWS(), goes to the same connection.
    #[must_use]
    pub const fn replica_safe_if_held(&self) -> bool {
        let traits = self.traits.without(Traits::SQL_CALC_FOUND_ROWS);
        Self { traits, ..*self }.replica_safe()
    }
}

/// Reads `sql` once. Never fails: what it cannot understand becomes a kind or trait that is not safe for a replica.
#[must_use]
pub fn classify(sql: &[u8], mode: LexMode) -> Statement {
    classifier::classify(sql, mode)
}

/// A value of the session that can be answered without a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionValue {
    /// FOUND_ROWS().
    FoundRows,
    /// LAST_INSERT_ID().
    LastInsertId,
    /// ROW_COUNT().
    RowCount,
    /// CONNECTION_ID().
    ConnectionId,
}

impl SessionValue {
    fn of_function(name: &[u8]) -> Option<Self> {
        [
            (&b"found_rows"[..], Self::FoundRows),
            (b"last_insert_id", Self::LastInsertId),
            (b"row_count", Self::RowCount),
            (b"connection_id", Self::ConnectionId),
        ]
        .into_iter()
        .find_map(|(known, value)| name.eq_ignore_ascii_case(known).then_some(value))
    }
}

/// A statement that asks for one session value and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactSpelling<'a> {
    /// Which value.
    pub value: SessionValue,
    /// The name a server would give the column: the alias, or the expression as it was written.
    pub column: &'a [u8],
}

/// Recognises `SELECT FOUND_ROWS()`, `SELECT LAST_INSERT_ID()`, `SELECT ROW_COUNT()` and `SELECT CONNECTION_ID()` in any case, with any space, an
/// alias and a final `;`. Anything else is `None`.
#[must_use]
pub fn exact_spelling(sql: &[u8]) -> Option<ExactSpelling<'_>> {
    let mut lexer = Lexer::new(sql, LexMode::default());
    let Some(Token::Word(select)) = lexer.next() else {
        return None;
    };
    let Some(Token::Word(function)) = lexer.next() else {
        return None;
    };
    let start = lexer.position() - function.len();
    let value = SessionValue::of_function(function)?;
    if !select.eq_ignore_ascii_case(b"select")
        || lexer.next() != Some(Token::Open)
        || lexer.next() != Some(Token::Close)
    {
        return None;
    }
    let mut column = sql.get(start..lexer.position())?;
    let mut token = lexer.next();
    let explicit = matches!(token, Some(Token::Word(word)) if word.eq_ignore_ascii_case(b"as"));
    if explicit {
        token = lexer.next();
    }
    match token {
        // A word that is no alias makes more of the statement, and is followed by more; one keyword could end it here.
        Some(Token::Word(alias)) if explicit => column = alias,
        Some(Token::Quoted(alias)) if !alias.contains(&b'`') => column = alias,
        None | Some(Token::Semicolon) if !explicit => {
            return done(&mut lexer, token, ExactSpelling { value, column });
        }
        _ => return None,
    }
    token = lexer.next();
    done(&mut lexer, token, ExactSpelling { value, column })
}

/// `token` and what follows it are only a semicolon, or nothing.
fn done<'a>(
    lexer: &mut Lexer<'a>,
    token: Option<Token<'a>>,
    found: ExactSpelling<'a>,
) -> Option<ExactSpelling<'a>> {
    let ended = match token {
        None => true,
        Some(Token::Semicolon) => lexer.next().is_none(),
        Some(_) => false,
    };
    (ended && lexer.traits.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests;
