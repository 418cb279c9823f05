//! What is known of the last statement when its connection is gone: ROW_COUNT(), FOUND_ROWS(), and whether it had warnings.
//! Pure; no IO. (Rules read off MySQL 9.7; "Information Functions" in its manual.)

use std::borrow::Cow;

use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{Kind, LexMode, Statement, Traits, reads_other_tables};

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

impl FoundRows {
    /// What is lost here may be known to the connection.
    fn or_on_connection(self, agrees: bool) -> Self {
        if self == Self::Lost && agrees {
            Self::OnConnection
        } else {
            self
        }
    }
}

/// What is known of the last statement.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) found_rows: FoundRows,
    pub(super) row_count: i64,
    /// Asked for FOUND_ROWS() the connection it ran on would tell this session's, if it is held still.
    agrees: bool,
    /// The held connection has not heard of the last command.
    pub(super) unheard: bool,
    /// What FOUND_ROWS() is behind the next change of data.
    counted: Option<FoundRows>,
    /// It had warnings or failed, and their texts are gone with the connection.
    pub(super) diagnostics_lost: bool,
    pub(super) has_warnings: bool,
    /// How many SHOW WARNINGS tells.
    warnings: u16,
    /// How many the last packet that ended a reply told.
    pub(super) told_warnings: u16,
    /// That packet was a server's error, which does not tell of the warnings before it.
    pub(super) failed: bool,
    /// The error it was refused with, if not by a server: none knows of it.
    pub(super) refused: Option<Box<ErrPacket>>,
}

/// Changes nothing, FOUND_ROWS() neither.
const NOTHING: &[u8] = b"SET SESSION net_retry_count = @@SESSION.net_retry_count";

/// A server counts that many rows by recursion ("cte_max_recursion_depth").
const COUNTED_MAX: u64 = 1000;

impl Default for Last {
    fn default() -> Self {
        // a new session: the login itself is answered by an OK that changed nothing
        Self {
            found_rows: FoundRows::Known(0),
            row_count: 0,
            agrees: false,
            unheard: false,
            counted: None,
            diagnostics_lost: false,
            has_warnings: false,
            warnings: 0,
            told_warnings: 0,
            failed: false,
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
        self.agrees = false;
        self.unheard = false;
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
        self.unheard = true;
        self.diagnostics_lost = false;
        self.has_warnings = false;
        self.warnings = 0;
        self.told_warnings = 0;
        self.failed = false;
        self.refused = None;
    }

    /// A command that was refused without a server.
    pub(super) fn note_refused(&mut self, error: &ErrPacket) {
        self.note_local(-1);
        self.warnings = 1;
        self.told_warnings = 1;
        self.refused = Some(Box::new(error.clone()));
    }

    /// A question was answered here: a statement itself, which found one row.
    pub(super) fn note_answered(&mut self) {
        self.note_local(-1);
        self.found_rows = FoundRows::Known(1);
        self.counted = None;
        self.agrees = false;
    }

    /// The held connection was asked for FOUND_ROWS() before it goes.
    pub(super) fn note_told(&mut self, found_rows: u64) {
        self.found_rows = FoundRows::Known(found_rows);
    }

    /// Only the held connection knows FOUND_ROWS().
    pub(super) fn is_on_connection(&self) -> bool {
        self.found_rows == FoundRows::OnConnection
    }

    /// What a program reads of the statement before it, and leaves as it is, the connection would tell of another client's.
    pub(super) fn misleads_programs(&self, is_held: bool) -> bool {
        // how many rows were changed a CALL tells, and no statement but a change can say it again if they are many
        let is_best_left = self.agrees || (self.row_count > 0 && !self.changed_one());
        !(is_held && is_best_left)
            && matches!(self.found_rows, FoundRows::Known(rows) if rows <= COUNTED_MAX)
    }

    /// One row was changed and one found: a CALL that changes nothing tells of the first.
    pub(super) fn changed_one(&self) -> bool {
        (self.found_rows, self.row_count) == (FoundRows::Known(1), 1)
    }

    /// A statement that makes a server know of the last command what this session knows of it: of the error it was refused with, and
    /// of no other; of FOUND_ROWS(), if a `program` may ask; of ROW_COUNT(), as far as there is a statement for it.
    pub(super) fn statement_to_prime(&mut self, program: bool) -> Cow<'static, [u8]> {
        self.unheard = false;
        if let Some(error) = self.refused.take() {
            self.has_warnings = true;
            return Cow::Owned(signal(&error));
        }
        let rows = match self.found_rows {
            FoundRows::Known(rows) => rows,
            FoundRows::OnConnection | FoundRows::Lost => return Cow::Borrowed(NOTHING),
        };
        let program = program && rows <= COUNTED_MAX;
        // what was counted before, a change of data in a program would not find there
        self.agrees = (rows == 1 || program) && self.counted.is_none();
        match (rows, self.row_count) {
            (1, 1) if program => Cow::Borrowed(b"SELECT 1 INTO @lamplighter"),
            (1, -1) => Cow::Borrowed(b"SELECT 1"),
            (1, _) => Cow::Borrowed(b"DO 0"),
            (0, _) if program => Cow::Borrowed(b"SELECT 1 LIMIT 0"),
            (rows, _) if program => Cow::Owned(
                format!(
                    "SELECT SQL_CALC_FOUND_ROWS 1 FROM (WITH RECURSIVE s (n) AS \
                     (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) SELECT n FROM s) s LIMIT 0"
                )
                .into_bytes(),
            ),
            _ => Cow::Borrowed(NOTHING),
        }
    }

    /// The server refused [`Self::statement_to_prime`].
    pub(super) fn note_not_primed(&mut self) {
        self.agrees = false;
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
            self.failed = false;
        }
    }

    /// An OK told again how many warnings there were, which no error tells: the server's own number, if no other was `put` there.
    pub(super) fn note_retold(&mut self, ran: Ran<'_>, put: Option<u16>, completion: &Completion) {
        let is_ok = matches!(completion.outcome, Outcome::Ok { .. });
        if put.is_none() && is_ok && tells_of_the_last(ran) {
            self.told_warnings = completion.warnings_last;
            self.failed = false;
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
                self.agrees |= matches!(found, Found::Rows(_) | Found::Set);
                match found {
                    Found::Rows(rows) => FoundRows::Known(rows),
                    Found::Set => FoundRows::OnConnection,
                    Found::Unclear => FoundRows::Lost.or_on_connection(self.agrees),
                    _ => counted.map_or(self.found_rows, |rows| rows.or_on_connection(self.agrees)),
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
        self.failed = match completion.outcome {
            Outcome::Nothing | Outcome::Text => self.failed,
            Outcome::Ok { .. } if tells_of_the_last(ran) => self.failed,
            Outcome::Err { .. } => true,
            _ => false,
        };
        if !keeps {
            self.warnings = completion.warnings_last.max(u16::from(failed));
            self.refused = None;
            self.unheard = false;
        }
        // it warns that it is out of date, which its reply does not say
        let warns = matches!(ran, Ran::Command(Command::FieldList));
        self.has_warnings = warned || warns || (keeps && self.has_warnings);
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

/// Makes a server tell of this error.
fn signal(error: &ErrPacket) -> Vec<u8> {
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
    format!("SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = _utf8mb4 x'{hex}'")
        .into_bytes()
}

fn found(ran: Ran<'_>, completion: &Completion) -> Found {
    let (statement, text, mode) = match ran {
        Ran::Statement {
            statement,
            text,
            mode,
        } => (statement, text, mode),
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
        // Of several statements only the last is seen. A procedure's rows are those of a query, or its parameters.
        return match completion.outcome {
            Outcome::ResultSet => Found::Set,
            _ => Found::Unclear,
        };
    }
    if matches!(statement.kind, Kind::Call | Kind::Execute) {
        return found_by_program(&completion.outcome);
    }
    match &completion.outcome {
        Outcome::Err { code, .. } => found_by_error(statement.kind, *code),
        Outcome::ResultSet => found_by_rows(statement, text, completion.rows_last),
        // the server has read all of them; how many there are it keeps to itself
        Outcome::CursorOpened if is_query(statement.kind) => Found::Set,
        Outcome::Ok { affected_rows, .. } => match statement.kind {
            Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete => {
                found_by_change(statement.kind, (text, mode), completion.counted)
            }
            kind => found_by_ok(kind, text, *affected_rows),
        },
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
            Some(word) if is_one_of(word, &EXPLAINED) => Found::WhatWasCounted,
            Some(_) => Found::Rows(rows),
            None => Found::Unclear,
        },
        _ => Found::Unclear,
    }
}

/// A query's rows are counted, whatever was counted before.
pub(super) const fn is_query(kind: Kind) -> bool {
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

/// `counted`: the rows that it matched or inserted, as the server told.
fn found_by_change(kind: Kind, (text, mode): (&[u8], LexMode), counted: Option<u64>) -> Found {
    let has_rows = counted.is_some_and(|rows| rows > 0);
    match (kind, reads_other_tables(text, mode)) {
        (Kind::Update, false) if has_rows => Found::Rows(counted.unwrap_or(0)),
        (_, true) if has_rows => Found::Set,
        // with a condition that cannot be met no table is opened, and nothing counted
        (Kind::Update, _) | (_, true) => Found::Unclear,
        (_, false) => Found::WhatWasCounted,
    }
}

fn found_by_ok(kind: Kind, text: &[u8], affected_rows: u64) -> Found {
    match kind {
        Kind::Do | Kind::Select | Kind::With => Found::Rows(1),
        Kind::Ddl if creates_table_by_query(text) => match affected_rows {
            // none, or IF NOT EXISTS
            0 => Found::Later(FoundRows::Lost),
            rows => Found::Later(FoundRows::Known(rows)),
        },
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
