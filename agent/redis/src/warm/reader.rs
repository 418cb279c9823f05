//! Pages of SQL through the agent's own MySQL endpoint, one connection for the run. Holds a page's connection open no longer
//! than the page; holds no more than one row beside what the intake holds. Opens connections to the endpoint's unix socket.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection, MySql, MySqlConnection, Row, Type,
    TypeInfo,
};
use tokio::time::Instant;

use super::batch::{Batch, Checkpoint};
use super::config::{JobConfig, ReadFrom, Start};
use super::error::RunError;
use super::intake::{Intake, Read};
use super::keyset::{Cursor, KeysetError};
use super::mapper::Plan;
use super::query::Query;
use super::value::{Column, Kind};
use crate::backoff::Backoff;

/// Who the agent is to its own endpoint, which knows it by its user id (SO_PEERCRED, unix(7)).
const USER: &str = "lamplighter";

/// Limit for connecting to the endpoint, its own waiting for a server included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many times in a row a page is tried again without a new row in between: about ten seconds, a planned failover.
const RETRIES_MAX: u32 = 8;

/// First and longest pause between two tries of a page.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// In front of a query that only the primary may answer.
const PRIMARY_ONLY: &str = "/* lamplighter:primary */ ";

/// Where rows come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) job: &'a JobConfig,
    pub(crate) query: &'a Query,
    pub(crate) socket: &'a Path,
}

/// Everything that goes on from page to page.
struct Progress<'a> {
    intake: Intake<'a>,
    cursor: Cursor,
    plan: Option<Planned>,
    /// When the page at hand was asked for: its rows are as old as that.
    since: Instant,
    /// Rows that this run has seen, those of a cut group each time they come.
    seen: u64,
}

/// How these columns are read.
struct Planned {
    plan: Plan,
    keyset: usize,
}

impl Reader<'_> {
    /// Reads page after page until one is empty.
    pub(crate) async fn read_all(
        self,
        mut intake: Intake<'_>,
        from: Option<Checkpoint>,
    ) -> Result<Read, RunError> {
        let start = self.job.start.clone();
        let cursor = match from {
            Some(from) => {
                intake.resume(&from);
                Cursor::resume(start, from.last)
            }
            None => Cursor::new(start),
        };
        let mut progress = Progress {
            intake,
            cursor,
            plan: None,
            since: Instant::now(),
            seen: 0,
        };
        let mut connection = None;
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut failures = 0;
        loop {
            let before = progress.seen;
            let error = match self.page(&mut connection, &mut progress).await {
                Ok(()) if progress.seen == before => break,
                Ok(()) => {
                    failures = 0;
                    backoff.reset();
                    let rows = progress.seen - before;
                    progress.intake.governor.pace(rows).await;
                    continue;
                }
                Err(error) => error,
            };
            connection = None;
            failures = match progress.seen > before {
                true => 1,
                false => failures + 1,
            };
            if !error.is_transient_mysql() || failures > RETRIES_MAX {
                return Err(error);
            }
            progress.break_off();
            tracing::debug!(job = self.job.name, %error, "page not read; going on from its last row");
            progress.intake.series.error(error.kind());
            tokio::time::sleep(backoff.next()).await;
        }
        let read = progress.intake.end().await?;
        if read.rows == 0 {
            self.check_start(connection.as_mut()).await?;
        }
        if let Some(connection) = connection {
            // the pages are read; how the farewell goes changes nothing
            drop(tokio::time::timeout(CONNECT_TIMEOUT, connection.close()).await);
        }
        Ok(read)
    }

    async fn page(
        &self,
        connection: &mut Option<MySqlConnection>,
        progress: &mut Progress<'_>,
    ) -> Result<(), RunError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.connect().await?),
        };
        let limit = self.job.page_timeout.get();
        let sql = self.sql(&progress.cursor.literal());
        progress.since = Instant::now();
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection);
        let mut deadline = progress.since + limit;
        let mut rows_in_page = 0_u64;
        loop {
            let row = tokio::time::timeout_at(deadline, rows.next())
                .await
                .map_err(|_| RunError::MysqlTimeout(limit))?;
            let Some(row) = row else { break };
            let row = row.map_err(|error| RunError::of_query(error, limit))?;
            if rows_in_page == 0 {
                progress.intake.governor.page(progress.since.elapsed());
            }
            rows_in_page += 1;
            if let Some(batch) = progress.row(&row)? {
                // waiting for Redis is not the page's fault
                let waited = Instant::now();
                progress.intake.hand_over(batch).await?;
                deadline += waited.elapsed();
            }
        }
        drop(rows);
        if rows_in_page > 0 {
            let cut = self.query.page_rows().is_none_or(|max| rows_in_page >= max);
            if let Some(batch) = progress.end_page(rows_in_page, cut)? {
                progress.intake.hand_over(batch).await?;
            }
        }
        Ok(())
    }

    fn sql(&self, literal: &str) -> String {
        let comment = match self.job.read_from {
            ReadFrom::Primary => PRIMARY_ONLY,
            ReadFrom::Replica => "",
        };
        let limit = self.job.page_timeout.get();
        self.query.page(literal, limit, comment)
    }

    /// Reads the rows whose `column` is one of a list of `literals`, if any. Not read page by page.
    pub(crate) async fn read_list(
        self,
        mut intake: Intake<'_>,
        literals: &[String],
    ) -> Result<Read, RunError> {
        let limit = self.job.page_timeout.get();
        let mut connection = self.connect().await?;
        for chunk in literals.chunks(LIST_MAX) {
            let since = Instant::now();
            let before = intake.rows();
            let sql = self.sql(&chunk.join(","));
            let mut plan = None;
            let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&mut connection);
            loop {
                let row = tokio::time::timeout_at(since + limit, rows.next())
                    .await
                    .map_err(|_| RunError::MysqlTimeout(limit))?;
                let Some(row) = row else { break };
                let row = row.map_err(|error| RunError::of_query(error, limit))?;
                let plan = match &plan {
                    Some(plan) => plan,
                    None => plan.insert(intake.mapper.plan(columns(&row))?),
                };
                if let Some(batch) = intake.row(plan, &cells(&row)?, since)? {
                    intake.hand_over(batch).await?;
                }
            }
            let rows = intake.rows() - before;
            intake.governor.page(since.elapsed());
            intake.governor.pace(rows).await;
        }
        intake.end().await
    }

    /// No rows at all, and a start that is a number: MySQL compares text with a number by reading the text as a number,
    /// mostly 0, and says nothing. A job that silently does nothing for ever must not pass for one well done.
    async fn check_start(&self, connection: Option<&mut MySqlConnection>) -> Result<(), RunError> {
        let (Some(connection), Start::Number(_)) = (connection, &self.job.start) else {
            return Ok(());
        };
        let limit = self.job.page_timeout.get();
        let sql = self.sql(&Cursor::new(Start::default()).literal());
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection);
        // a column that cannot be compared with a string is none of text
        if let Ok(Some(Ok(row))) = tokio::time::timeout(limit, rows.next()).await {
            let columns = columns(&row);
            let column = &columns[keyset(self.job, &columns)?];
            if !matches!(column.kind, Kind::Integer | Kind::ZeroFilled) {
                return Err(KeysetError::Start(column.name.clone()).into());
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<MySqlConnection, RunError> {
        // nothing that would make the client send SET statements: they would give the session a state of its own
        let mut options = MySqlConnectOptions::new()
            .socket(self.socket)
            .username(USER)
            .ssl_mode(MySqlSslMode::Disabled)
            .charset("utf8mb4")
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            .statement_cache_capacity(0)
            // statements hold values of rows
            .disable_statement_logging();
        if let Some(database) = &self.job.database {
            options = options.database(database);
        }
        let socket = || self.socket.display().to_string();
        tokio::time::timeout(CONNECT_TIMEOUT, options.connect())
            .await
            .map_err(|_| RunError::MysqlSilent {
                socket: socket(),
                limit: CONNECT_TIMEOUT,
            })?
            .map_err(|source| RunError::MysqlConnect {
                socket: socket(),
                source,
            })
    }
}

/// The most values in one list.
const LIST_MAX: usize = 500;

impl Progress<'_> {
    /// Takes a row in; gives back the batch that is full because of it.
    fn row(&mut self, row: &MySqlRow) -> Result<Option<Batch>, RunError> {
        let Self {
            intake,
            cursor,
            plan,
            since,
            seen,
        } = self;
        let Planned { plan, keyset } = match plan {
            Some(plan) => plan,
            none => none.insert({
                let columns = columns(row);
                let keyset = keyset(intake.mapper.job, &columns)?;
                let plan = intake.mapper.plan(columns)?;
                Planned { plan, keyset }
            }),
        };
        let cells = cells(row)?;
        let column = &plan.columns[*keyset];
        *seen += 1;
        if !intake.is_grouped() {
            cursor.advance(column, cells[*keyset])?;
            return intake.row(plan, &cells, *since);
        }
        let begins = cursor.advance_group(column, cells[*keyset])?;
        // a row without a key belongs to no group
        if let Ok(key) = plan.key(&cells)
            && intake.is_in_group(&key) == begins
            && (begins || intake.has_group())
        {
            return Err(KeysetError::Groups(column.name.clone()).into());
        }
        intake.row(plan, &cells, *since)
    }

    /// A page of `rows` has ended; if it may have been `cut`, the last group comes again.
    fn end_page(&mut self, rows: u64, cut: bool) -> Result<Option<Batch>, RunError> {
        let Some(Planned { plan, keyset }) = &self.plan else {
            return Ok(None);
        };
        let mut full = None;
        if self.intake.is_grouped() {
            if !cut {
                full = self.intake.end_group()?;
            } else {
                self.intake.forget_group();
                if !self.cursor.step_back() {
                    return Err(KeysetError::OneGroup(rows).into());
                }
            }
        }
        self.cursor.end_page(&plan.columns[*keyset])?;
        if let Some(last) = self.cursor.last() {
            self.intake.mark(last.clone());
        }
        Ok(full)
    }

    /// The page has broken off: a group that was not whole comes again.
    fn break_off(&mut self) {
        if self.intake.is_grouped() && self.intake.has_group() {
            self.intake.forget_group();
            self.cursor.step_back();
        }
    }
}

fn keyset(job: &JobConfig, columns: &[Column]) -> Result<usize, KeysetError> {
    match &job.keyset {
        None => Ok(0),
        Some(name) => columns
            .iter()
            .position(|column| column.name == *name)
            .ok_or_else(|| KeysetError::NoColumn(name.clone())),
    }
}

fn cells(row: &MySqlRow) -> Result<Vec<Option<&[u8]>>, RunError> {
    (0..row.len())
        .map(|index| row.try_get_unchecked::<Option<&[u8]>, usize>(index))
        .collect::<Result<_, _>>()
        .map_err(RunError::MysqlQuery)
}

fn columns(row: &MySqlRow) -> Vec<Column> {
    row.columns()
        .iter()
        .map(|column| {
            let info = column.type_info();
            let is_text = <str as Type<MySql>>::compatible(info);
            // the library shows the flags nowhere else
            let zero_filled = format!("{info:?}").contains("ZEROFILL");
            Column {
                name: column.name().to_owned(),
                kind: Kind::of(info.name(), is_text, zero_filled),
            }
        })
        .collect()
}
