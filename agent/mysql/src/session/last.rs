//! What is known of the last statement when its connection is gone: ROW_COUNT(), FOUND_ROWS(), and whether it had warnings.
//! Pure; no IO. (Rules read off MySQL 9.7; "Information Functions" in its manual.)

use std::borrow::Cow;

use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{Kind, Statement, Traits};

use crate::hold::{Ran, leaves_diagnostics};

/// FOUND_ROWS().
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundRows {
    Known(u64),
    /// Only the held connection knows.
    OnConnection,
    /// Its connection is gone.
    Lost,
}

/// What is known of the last statement.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) found_rows: FoundRows,
    pub(super) row_count: i64,
    /// What FOUND_ROWS() is behind the next change of data.
    counted: Option<FoundRows>,
    /// It had warnings or failed, and their texts are gone with the connection.
    pub(super) diagnostics_lost: bool,
    pub(super) has_warnings: bool,
    /// How many SHOW WARNINGS tells.
    warnings: u16,
    /// How many the last packet that ended a reply told.
    pub(super) told_warnings: u16,
    /// The error it was refused with, if not by a server: none knows of it.
    pub(super) refused: Option<Box<ErrPacket>>,
}

impl Default for Last {
    fn default() -> Self {
        // a new session: the login itself is answered by an OK that changed nothing
        Self {
            found_rows: FoundRows::Known(0),
            row_count: 0,
            counted: None,
            diagnostics_lost: false,
            has_warnings: false,
            warnings: 0,
            told_warnings: 0,
            refused: None,
        }
    }
}

/// What a statement did to FOUND_ROWS().
enum Found {
    Unchanged,
    Rows(u64),
    /// It set it, to what only the server knows.
    Set,
    /// It counted rows, as CREATE TABLE ... SELECT does, but FOUND_ROWS() tells them only behind the next change of data.
    Later(FoundRows),
    /// It is what was counted last.
    WhatWasCounted,
    /// Perhaps it set it and perhaps it did not: not even the server's value is this session's.
    Unclear,
}

impl Last {
    /// A command begins on a connection that does not know what was before.
    pub(super) fn move_on(&mut self) {
        if self.found_rows == FoundRows::OnConnection {
            self.found_rows = FoundRows::Lost;
        }
    }

    /// The session begins anew (COM_RESET_CONNECTION, COM_CHANGE_USER), which FOUND_ROWS() outlives.
    pub(super) fn begin_anew(&mut self) {
        self.move_on();
        *self = Self {
            found_rows: self.found_rows,
            counted: self.counted,
            ..Self::default()
        };
    }

    /// The connection that alone knew is given back.
    pub(super) fn lose(&mut self) {
        self.move_on();
        self.diagnostics_lost = self.has_warnings;
    }

    /// A command that was answered without a server and without warnings.
    pub(super) fn note_local(&mut self, row_count: i64) {
        self.row_count = row_count;
        self.diagnostics_lost = false;
        self.has_warnings = false;
        self.warnings = 0;
        self.told_warnings = 0;
        self.refused = None;
    }

    /// A command that was refused without a server.
    pub(super) fn note_refused(&mut self, error: &ErrPacket) {
        self.note_local(-1);
        self.warnings = 1;
        self.told_warnings = 1;
        self.refused = Some(Box::new(error.clone()));
    }

    /// A statement that makes a server know of the error which the last command was refused with, and of no other.
    pub(super) fn statement_to_prime(&mut self) -> Cow<'static, [u8]> {
        let Some(error) = self.refused.take() else {
            return Cow::Borrowed(b"DO 0");
        };
        self.has_warnings = true;
        // "SIGNAL Condition Information Items": a text is cut at 128 characters
        let text = String::from_utf8_lossy(&error.message);
        let hex: String = text
            .chars()
            .take(128)
            .collect::<String>()
            .bytes()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        let state = String::from_utf8_lossy(&error.sql_state);
        let code = error.code;
        let sql = format!(
            "SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = _utf8mb4 x'{hex}'"
        );
        Cow::Owned(sql.into_bytes())
    }

    /// A command that was answered without a server, which leaves what SHOW WARNINGS tells as it is.
    pub(super) fn note_quiet(&mut self, command: Command) {
        self.row_count = match command {
            // its answer is not an OK but an EOF
            Command::SetOption => -1,
            _ => 0,
        };
        if command == Command::StmtReset {
            self.told_warnings = 0;
        }
    }

    /// A reply ended.
    pub(super) fn note(&mut self, ran: Ran<'_>, completion: &Completion) {
        self.found_rows = match found(ran, completion) {
            Found::Unchanged => self.found_rows,
            Found::Later(rows) => {
                self.counted = Some(rows);
                self.found_rows
            }
            found => {
                let counted = self.counted.take();
                match found {
                    Found::Rows(rows) => FoundRows::Known(rows),
                    Found::Set => FoundRows::OnConnection,
                    Found::Unclear => FoundRows::Lost,
                    _ => counted.unwrap_or(self.found_rows),
                }
            }
        };
        let keeps = leaves_diagnostics(ran);
        let only_looks = matches!(
            ran,
            Ran::Statement {
                statement: Statement {
                    kind: Kind::GetDiagnostics,
                    ..
                },
                ..
            }
        );
        self.row_count = match completion.outcome {
            Outcome::Prepared | Outcome::Nothing | Outcome::Text => self.row_count,
            // a condition that is not there is an error of its own, though the reply is an OK
            Outcome::Ok { .. }
                if only_looks && (self.warnings > 0 || completion.warnings_last == 0) =>
            {
                self.row_count
            }
            Outcome::Ok { .. } if only_looks => -1,
            // the OK of CLIENT_DEPRECATE_EOF is an EOF here
            Outcome::Ok { .. } if matches!(ran, Ran::Command(Command::SetOption)) => -1,
            Outcome::Ok { affected_rows, .. } => i64::try_from(affected_rows).unwrap_or(i64::MAX),
            _ => -1,
        };
        let failed = matches!(completion.outcome, Outcome::Err { .. });
        let warned = failed || completion.warnings_last > 0;
        // COM_INIT_DB adds its error to those that were told before
        let adds = failed && matches!(ran, Ran::Command(Command::InitDb));
        self.told_warnings = match completion.outcome {
            Outcome::Nothing | Outcome::Text => self.told_warnings,
            Outcome::Ok { .. } if tells_of_the_last(ran) => self.told_warnings,
            Outcome::Err { .. } if adds => self.told_warnings.saturating_add(1),
            Outcome::Err { .. } => 1,
            _ => completion.warnings_last,
        };
        if !keeps {
            self.warnings = completion.warnings_last.max(u16::from(failed));
            self.refused = None;
        }
        self.has_warnings = warned || (keeps && self.has_warnings);
        self.diagnostics_lost &= keeps;
    }
}

/// Its OK tells the number of warnings that the OK before has told.
const fn tells_of_the_last(ran: Ran<'_>) -> bool {
    matches!(
        ran,
        Ran::Command(Command::InitDb | Command::Ping | Command::SetOption)
    )
}

fn found(ran: Ran<'_>, completion: &Completion) -> Found {
    let (statement, text) = match ran {
        Ran::Statement {
            statement, text, ..
        } => (statement, text),
        Ran::UnderstoodSet
        | Ran::Command(
            Command::StmtPrepare
            | Command::StmtReset
            | Command::StmtFetch
            | Command::Statistics
            | Command::FieldList
            | Command::InitDb
            | Command::Ping
            | Command::SetOption,
        ) => return Found::Unchanged,
        Ran::Oversized | Ran::Command(_) => return Found::Unclear,
    };
    if completion.results != 1 {
        // A procedure's rows are those of a query. Of several statements only the last is seen.
        let ends_in_rows = completion.outcome == Outcome::ResultSet;
        let is_query = statement.kind == Kind::Call || ends_in_rows;
        return if is_query { Found::Set } else { Found::Unclear };
    }
    if matches!(statement.kind, Kind::Call | Kind::Execute) {
        return found_by_program(&completion.outcome);
    }
    match &completion.outcome {
        Outcome::Err { code, .. } => found_by_error(statement.kind, *code),
        Outcome::ResultSet => found_by_rows(statement, text, completion.rows_last),
        // the server has read all of them; how many there are it keeps to itself
        Outcome::CursorOpened if is_query(statement.kind) => Found::Set,
        Outcome::Ok { affected_rows, .. } => found_by_ok(statement.kind, text, *affected_rows),
        _ => Found::Unclear,
    }
}

fn found_by_rows(statement: &Statement, text: &[u8], rows: u64) -> Found {
    let beyond = Traits::SQL_CALC_FOUND_ROWS.union(Traits::OFFSET);
    match statement.kind {
        kind if is_query(kind) && statement.traits.intersects(beyond) => Found::Set,
        kind if is_query(kind) => Found::Rows(rows),
        // SHOW COUNT(*) WARNINGS is a query, SHOW WARNINGS is none
        Kind::ShowDiagnostics if contains(text, b"(") => Found::Rows(rows),
        // CHECK TABLE, CHECKSUM TABLE and HELP are others
        Kind::ShowDiagnostics | Kind::Ddl | Kind::Handler | Kind::Xa | Kind::Other => {
            Found::Unchanged
        }
        Kind::Show => match subject(text) {
            Some(word) if is_one_of(word, &SHOWN_BY_QUERY) => Found::Rows(rows),
            Some(word) if is_one_of(word, &SHOWN_OTHERWISE) => Found::Unchanged,
            _ => Found::Unclear,
        },
        Kind::Explain => match subject(text) {
            Some(word) if is_one_of(word, &EXPLAINED) => Found::Unchanged,
            Some(_) => Found::Rows(rows),
            None => Found::Unclear,
        },
        _ => Found::Unclear,
    }
}

const fn is_query(kind: Kind) -> bool {
    matches!(kind, Kind::Select | Kind::With | Kind::Table | Kind::Values)
}

/// What SHOW answers by a query on INFORMATION_SCHEMA, which counts its rows.
const SHOWN_BY_QUERY: [&str; 18] = [
    "tables",
    "columns",
    "fields",
    "index",
    "indexes",
    "keys",
    "table",
    "triggers",
    "events",
    "collation",
    "charset",
    "character",
    "variables",
    "status",
    "plugins",
    "engines",
    "databases",
    "schemas",
];

/// What it answers otherwise.
const SHOWN_OTHERWISE: [&str; 9] = [
    "create",
    "processlist",
    "grants",
    "binary",
    "privileges",
    "engine",
    "replica",
    "profiles",
    "replicas",
];

/// What follows EXPLAIN when it explains a statement; any other word is a table that it describes.
const EXPLAINED: [&str; 11] = [
    "select", "insert", "update", "delete", "replace", "with", "table", "values", "analyze",
    "format", "for",
];

fn is_one_of(word: &[u8], words: &[&str]) -> bool {
    words
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

/// The word after SHOW or EXPLAIN that says what it is about; `None` if it is not a plain word.
fn subject(text: &[u8]) -> Option<&[u8]> {
    text.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .filter(|word| !word.is_empty())
        .skip(1)
        .find(|word| {
            !is_one_of(
                word,
                &["full", "extended", "global", "session", "local", "open"],
            )
        })
}

/// A stored program or a statement prepared as text, which is not seen.
fn found_by_program(outcome: &Outcome) -> Found {
    /// ER_SP_DOES_NOT_EXIST, ER_UNKNOWN_STMT_HANDLER: nothing ran.
    const NOT_THERE: [u16; 2] = [1305, 1243];
    match outcome {
        Outcome::Err { code, .. } if NOT_THERE.contains(code) => Found::Unchanged,
        Outcome::ResultSet => Found::Set,
        _ => Found::Unclear,
    }
}

/// A change of data that failed midway has counted rows as well.
fn found_by_error(kind: Kind, code: u16) -> Found {
    /// ER_BAD_FIELD_ERROR, ER_PARSE_ERROR, ER_NO_SUCH_TABLE: it did not begin.
    const BEFORE: [u16; 3] = [1054, 1064, 1146];
    let changes = matches!(
        kind,
        Kind::Update | Kind::Delete | Kind::Insert | Kind::Replace
    );
    if changes && !BEFORE.contains(&code) {
        Found::Later(FoundRows::Lost)
    } else {
        Found::Unchanged
    }
}

fn found_by_ok(kind: Kind, text: &[u8], affected_rows: u64) -> Found {
    let has = |words: &[&str]| words.iter().any(|word| contains(text, word.as_bytes()));
    match kind {
        Kind::Do | Kind::Select | Kind::With => Found::Rows(1),
        Kind::Update => Found::Set,
        Kind::Insert | Kind::Replace if has(&["select", "table", "with"]) => Found::Set,
        Kind::Delete if has(&["join", "using", ",", "with"]) => Found::Set,
        Kind::Ddl if creates_table_by_query(text) => match affected_rows {
            // none, or IF NOT EXISTS
            0 => Found::Later(FoundRows::Lost),
            rows => Found::Later(FoundRows::Known(rows)),
        },
        Kind::Insert | Kind::Replace | Kind::Delete => Found::WhatWasCounted,
        Kind::LoadData | Kind::Other => Found::Unclear,
        _ => Found::Unchanged,
    }
}

fn creates_table_by_query(text: &[u8]) -> bool {
    let mut words = text
        .split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .filter(|word| !word.is_empty());
    words
        .next()
        .is_some_and(|word| is_one_of(word, &["create"]))
        && words
            .find(|word| !is_one_of(word, &["temporary"]))
            .is_some_and(|word| is_one_of(word, &["table"]))
        && words.any(|word| is_one_of(word, &["select", "table", "values"]))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|part| part.eq_ignore_ascii_case(word))
}
