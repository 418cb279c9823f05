//! Pages of SQL through the agent's own MySQL endpoint, one connection for the run. Holds a page's connection open no longer
//! than the page; holds no more than one row and one open batch. Opens connections to the endpoint's unix socket.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use lamplighter_core::metrics::IntCounter;
use lamplighter_wire::redis::keys::beside;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection, MySql, MySqlConnection, Row, Type,
    TypeInfo,
};
use tokio::time::Instant;

use super::batch::{Batcher, Entry, Guard};
use super::config::{JobConfig, Start, ValueFormat};
use super::error::RunError;
use super::keyset::{Cursor, KeysetError};
use super::php::{Format, RowPhp};
use super::query::Query;
use super::queue::Sender;
use super::template::BindError;
use super::template::{KeyPlan, Template};
use super::value::{Cells, Column, Kind, RowJson, Skip};
use crate::backoff::{Backoff, fraction};
use crate::endpoint::TOMBSTONE;
use crate::metrics::Metrics;

/// Who the agent is to its own endpoint, which knows it by its user id (SO_PEERCRED, unix(7)).
const USER: &str = "lamplighter";

/// Limit for connecting to the endpoint, its own waiting for a server included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many times in a row a page is tried again without a new row in between: about ten seconds, a planned failover.
const RETRIES_MAX: u32 = 8;

/// First and longest pause between two tries of a page.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What was read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Read {
    pub(crate) rows: u64,
    pub(crate) skipped: u64,
}

/// Reads the rows of one run.
pub(crate) struct Reader<'a> {
    pub(crate) job: &'a JobConfig,
    pub(crate) query: &'a Query,
    pub(crate) template: &'a Template,
    pub(crate) socket: &'a Path,
    pub(crate) metrics: &'a Metrics,
    /// `metrics.rows` of this job, looked up once and not for each row.
    pub(crate) rows: IntCounter,
    /// Prefixes of keys under a hold-off, and how long it is.
    pub(crate) holdoffs: &'a [(String, Duration)],
}

/// How the rows of this result become entries; known once the first row is there.
struct Plan {
    columns: Vec<Column>,
    keyset: usize,
    key: KeyPlan,
    value: Value,
}

/// How a row becomes a value.
enum Value {
    Json(RowJson),
    Php(RowPhp),
    Column(usize),
}

impl Value {
    fn render(&self, cells: Cells<'_>) -> Result<Vec<u8>, Skip> {
        match self {
            Self::Json(json) => json.render(cells),
            Self::Php(php) => php.render(cells),
            Self::Column(at) => {
                let cell = cells.get(*at).copied().flatten();
                cell.map(<[u8]>::to_vec).ok_or(Skip::NullValue)
            }
        }
    }
}

/// Everything that goes on from page to page.
struct Progress {
    cursor: Cursor,
    plan: Option<Plan>,
    batcher: Batcher,
    read: Read,
    /// When the page at hand was asked for: its rows are as old as that.
    since: Instant,
}

impl Reader<'_> {
    /// Reads page after page until one is empty, and hands full batches to `queue`.
    pub(crate) async fn read_all(self, queue: Sender) -> Result<Read, RunError> {
        let mut progress = Progress {
            cursor: Cursor::new(self.job.start.clone()),
            plan: None,
            batcher: Batcher::new(
                usize::from(self.job.batch_keys),
                self.job.batch_bytes.as_usize(),
            ),
            read: Read::default(),
            since: Instant::now(),
        };
        let mut connection = None;
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut failures = 0;
        loop {
            let before = progress.read.rows;
            let error = match self.page(&mut connection, &mut progress, &queue).await {
                Ok(()) if progress.read.rows == before => break,
                Ok(()) => {
                    failures = 0;
                    backoff.reset();
                    continue;
                }
                Err(error) => error,
            };
            connection = None;
            failures = if progress.read.rows > before {
                1
            } else {
                failures + 1
            };
            if !error.is_transient_mysql() || failures > RETRIES_MAX {
                return Err(error);
            }
            let kind = error.kind().label();
            tracing::debug!(job = self.job.name, %error, "page not read; going on from its last row");
            self.metrics
                .errors
                .with_label_values(&[&self.job.name, kind])
                .inc();
            tokio::time::sleep(backoff.next()).await;
        }
        if let Some(batch) = progress.batcher.take() {
            self.hand_over(&queue, batch).await?;
        }
        if progress.read.rows == 0 {
            self.check_start(connection.as_mut()).await?;
        }
        if let Some(connection) = connection {
            // the pages are read; how the farewell goes changes nothing
            drop(tokio::time::timeout(CONNECT_TIMEOUT, connection.close()).await);
        }
        Ok(progress.read)
    }

    async fn page(
        &self,
        connection: &mut Option<MySqlConnection>,
        progress: &mut Progress,
        queue: &Sender,
    ) -> Result<(), RunError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.connect().await?),
        };
        let limit = self.job.page_timeout.get();
        progress.since = Instant::now();
        let sql = self.query.page(&progress.cursor.literal(), limit);
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection);
        let mut deadline = Instant::now() + limit;
        let mut rows_in_page = 0_u64;
        loop {
            let row = tokio::time::timeout_at(deadline, rows.next())
                .await
                .map_err(|_| RunError::MysqlTimeout(limit))?;
            let Some(row) = row else { break };
            let row = row.map_err(|error| RunError::of_query(error, limit))?;
            rows_in_page += 1;
            if let Some(batch) = self.row(&row, progress)? {
                // waiting for Redis is not the page's fault
                let waited = Instant::now();
                self.hand_over(queue, batch).await?;
                deadline += waited.elapsed();
            }
        }
        if let (Some(plan), true) = (&progress.plan, rows_in_page > 0) {
            progress.cursor.end_page(&plan.columns[plan.keyset])?;
        }
        Ok(())
    }

    /// No rows at all, and a start that is a number: MySQL compares text with a number by reading the text as a number,
    /// mostly 0, and says nothing. A job that silently does nothing for ever must not pass for one well done.
    async fn check_start(&self, connection: Option<&mut MySqlConnection>) -> Result<(), RunError> {
        let (Some(connection), Start::Number(_)) = (connection, &self.job.start) else {
            return Ok(());
        };
        let limit = self.job.page_timeout.get();
        let least = Cursor::new(Start::default()).literal();
        let sql = self.query.page(&least, limit);
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection);
        // a column that cannot be compared with a string is none of text
        if let Ok(Some(Ok(row))) = tokio::time::timeout(limit, rows.next()).await {
            let plan = self.plan(&row)?;
            let column = &plan.columns[plan.keyset];
            if !matches!(column.kind, Kind::Integer | Kind::ZeroFilled) {
                return Err(KeysetError::Start(column.name.clone()).into());
            }
        }
        Ok(())
    }

    /// Takes a row in; gives back the batch that is full because of it.
    fn row(
        &self,
        row: &MySqlRow,
        progress: &mut Progress,
    ) -> Result<Option<super::batch::Batch>, RunError> {
        let plan = match &mut progress.plan {
            Some(plan) => plan,
            none => none.insert(self.plan(row)?),
        };
        let cells = (0..plan.columns.len())
            .map(|index| row.try_get_unchecked::<Option<&[u8]>, usize>(index))
            .collect::<Result<Vec<_>, _>>()
            .map_err(RunError::MysqlQuery)?;
        progress
            .cursor
            .advance(&plan.columns[plan.keyset], cells[plan.keyset])?;
        progress.read.rows += 1;
        self.rows.inc();
        if progress.read.rows > self.job.rows_max {
            return Err(RunError::TooManyRows(self.job.rows_max));
        }
        let entry = plan.key.render(&cells).and_then(|key| {
            let value = plan.value.render(&cells)?;
            if value.len() > self.job.value_max.as_usize() {
                return Err(Skip::ValueTooLarge);
            }
            let guard = self.guard(&key, progress.since);
            Ok(Entry {
                key,
                value,
                ttl_ms: self.ttl_ms(),
                guard,
            })
        });
        match entry {
            Ok(entry) => Ok(progress.batcher.add(entry)),
            Err(skip) => {
                progress.read.skipped += 1;
                self.metrics
                    .skipped
                    .with_label_values(&[&self.job.name, skip.label()])
                    .inc();
                Ok(None)
            }
        }
    }

    fn plan(&self, row: &MySqlRow) -> Result<Plan, RunError> {
        let columns: Vec<_> = row
            .columns()
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
            .collect();
        let keyset = match &self.job.keyset {
            None => 0,
            Some(name) => columns
                .iter()
                .position(|column| column.name == *name)
                .ok_or_else(|| KeysetError::NoColumn(name.clone()))?,
        };
        let key = self.template.bind(&columns)?;
        let value = self.value(&columns)?;
        Ok(Plan {
            columns,
            keyset,
            key,
            value,
        })
    }

    fn value(&self, columns: &[Column]) -> Result<Value, RunError> {
        let (types, max) = (self.job.types, self.job.value_max.as_usize());
        let php = |format| Value::Php(RowPhp::plan(columns, format, types, max));
        Ok(match self.job.value {
            ValueFormat::RowJson => {
                Value::Json(RowJson::plan(columns, types, self.job.binary, max)?)
            }
            ValueFormat::RowPhp => php(Format::Serialize),
            ValueFormat::RowIgbinary => php(Format::Igbinary),
            ValueFormat::Column => {
                let name = self.job.column.as_deref().unwrap_or_default();
                let at = columns.iter().rposition(|column| column.name == name);
                Value::Column(at.ok_or_else(|| BindError::NoValue(name.to_owned()))?)
            }
        })
    }

    /// What protects a key under a hold-off from a value that was read at `since`.
    fn guard(&self, key: &[u8], since: Instant) -> Option<Guard> {
        let (_, holdoff) = self
            .holdoffs
            .iter()
            .find(|(prefix, _)| key.starts_with(prefix.as_bytes()))?;
        Some(Guard {
            tombstone: beside(TOMBSTONE, key)?,
            until: since + *holdoff,
        })
    }

    /// The job's `ttl`, longer or shorter by up to `ttl_jitter`; at least a millisecond.
    fn ttl_ms(&self) -> u64 {
        let ttl = self.job.ttl.get();
        let jitter = self.job.ttl_jitter.fraction();
        let ttl = ttl.mul_f64(1.0 + jitter * (2.0 * fraction() - 1.0));
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    async fn hand_over(&self, queue: &Sender, batch: super::batch::Batch) -> Result<(), RunError> {
        // a writer that has gone says itself why
        queue.send(batch).await.map_err(|_| RunError::Leaving)
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
