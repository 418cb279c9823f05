//! What is known of the last statement when its connection is gone: ROW_COUNT(), FOUND_ROWS(), and whether it had warnings.
//! Pure; no IO. (Rules read off MySQL 9.7; "Information Functions" in its manual.)

use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::sql::{Kind, Statement, Traits};

use crate::hold::{Ran, was_refused_before_it_ran};

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
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    pub(super) found_rows: FoundRows,
    pub(super) row_count: i64,
    /// It had warnings or failed, and their texts are gone with the connection.
    pub(super) diagnostics_lost: bool,
    pub(super) has_warnings: bool,
}

impl Default for Last {
    fn default() -> Self {
        // a new session: ROW_COUNT() is -1 until something ran, FOUND_ROWS() is 0
        Self {
            found_rows: FoundRows::Known(0),
            row_count: -1,
            diagnostics_lost: false,
            has_warnings: false,
        }
    }
}

/// What a statement did to FOUND_ROWS().
enum Found {
    Unchanged,
    Rows(u64),
    Unclear,
}

impl Last {
    /// A command begins on a connection that does not know what was before.
    pub(super) fn move_on(&mut self) {
        if self.found_rows == FoundRows::OnConnection {
            self.found_rows = FoundRows::Lost;
        }
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
    }

    /// A reply ended.
    pub(super) fn note(&mut self, ran: Ran<'_>, completion: &Completion) {
        match found(ran, completion) {
            Found::Unchanged => {}
            Found::Rows(rows) => self.found_rows = FoundRows::Known(rows),
            Found::Unclear => self.found_rows = FoundRows::OnConnection,
        }
        // a question about the diagnostics leaves them as they are
        let keeps = matches!(
            ran,
            Ran::Statement {
                statement: Statement {
                    kind: Kind::ShowDiagnostics | Kind::GetDiagnostics,
                    ..
                },
                ..
            }
        );
        self.row_count = match completion.outcome {
            Outcome::Ok { affected_rows, .. } => i64::try_from(affected_rows).unwrap_or(i64::MAX),
            _ => -1,
        };
        let failed = matches!(completion.outcome, Outcome::Err { .. });
        let warned = failed || completion.warnings_last > 0;
        self.has_warnings = warned || (keeps && self.has_warnings);
        self.diagnostics_lost &= keeps;
    }
}

fn found(ran: Ran<'_>, completion: &Completion) -> Found {
    let statement = match ran {
        Ran::Statement { statement, .. } => statement,
        Ran::UnderstoodSet | Ran::Command(Command::StmtPrepare | Command::StmtReset) => {
            return Found::Unchanged;
        }
        Ran::Oversized | Ran::Command(_) => return Found::Unclear,
    };
    if completion.results != 1 {
        return Found::Unclear;
    }
    match (&completion.outcome, statement.kind) {
        (Outcome::Err { .. }, _) if was_refused_before_it_ran(statement, completion) => {
            Found::Unchanged
        }
        (Outcome::ResultSet, Kind::Select | Kind::With | Kind::Table | Kind::Values) => {
            let beyond = Traits::SQL_CALC_FOUND_ROWS.union(Traits::OFFSET);
            if statement.traits.intersects(beyond) {
                Found::Unclear
            } else {
                Found::Rows(completion.rows_last)
            }
        }
        (Outcome::ResultSet, Kind::ShowDiagnostics | Kind::Ddl) => Found::Unchanged,
        (Outcome::Ok { .. }, Kind::Do | Kind::Select) => Found::Rows(1),
        (
            Outcome::Ok { .. },
            Kind::Begin { .. }
            | Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::RollbackToSavepoint
            | Kind::ReleaseSavepoint
            | Kind::SetVariables
            | Kind::SetNames
            | Kind::SetTransaction
            | Kind::SetSessionTransaction
            | Kind::SetGlobalOrPersist
            | Kind::Use
            | Kind::Ddl
            | Kind::LockTables
            | Kind::UnlockTables
            | Kind::GetDiagnostics,
        ) => Found::Unchanged,
        _ => Found::Unclear,
    }
}
