//! Counts the heartbeat up on the primary. Of all agents one does: the one that holds a lock on the primary for as long as its connection
//! lives (GET_LOCK). When it is gone the next one takes over.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::lifecycle::Tasks;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Row};

use super::pulse::NO_TABLE;
use super::watcher::{LookError, Watcher, number};
use crate::endpoint::Shared;

/// Whoever holds this lock counts.
const LOCK: &str = "SELECT GET_LOCK('lamplighter.heartbeat', 0)";

/// How long another agent may be gone before somebody notices.
const PAUSE: Duration = Duration::from_secs(3);

/// After a refusal: somebody has to grant something, or make a table.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// Counts whenever nobody else does, until we drain.
pub(crate) async fn run(
    watcher: Watcher,
    table: String,
    interval: Duration,
    shared: Arc<Shared>,
    tasks: Tasks,
) {
    loop {
        let pause = tokio::select! {
            ended = turn(&watcher, &table, interval, &shared) => ended,
            () = tasks.draining() => return,
        };
        shared.metrics.heartbeat_writer.set(0);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = tasks.draining() => return,
        }
    }
}

/// One attempt: counts for as long as it can; then how long to wait before the next.
async fn turn(watcher: &Watcher, table: &str, interval: Duration, shared: &Shared) -> Duration {
    match count(watcher, table, interval, shared).await {
        Ok(()) => PAUSE,
        Err(error) => {
            let code = match &error {
                LookError::Sql(error) => number(error),
                _ => None,
            };
            let refused = code.is_some_and(|code| NO_TABLE.contains(&code));
            tracing::debug!(
                server = %watcher.server,
                "no heartbeat from here: {}",
                lamplighter_core::fault::chain(&error)
            );
            if refused { LONG_PAUSE } else { PAUSE }
        }
    }
}

/// Counts until something fails; returns at once if another agent does.
async fn count(
    watcher: &Watcher,
    table: &str,
    interval: Duration,
    shared: &Shared,
) -> Result<(), LookError> {
    let mut connection = watcher.connect().await?;
    if !watcher.within(lock(&mut connection)).await? {
        return Ok(());
    }
    let beat = beat(table);
    let mut ticker = tokio::time::interval(interval);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticker.tick().await;
        watcher
            .within(async {
                // the table's name is checked by the configuration
                let beat = AssertSqlSafe(beat.as_str());
                sqlx::raw_sql(beat).execute(&mut connection).await?;
                Ok(())
            })
            .await?;
        shared.metrics.heartbeat_writer.set(1);
        shared.metrics.heartbeats.inc();
    }
}

/// One beat more.
fn beat(table: &str) -> String {
    format!("INSERT INTO {table} (id, beat) VALUES (1, 1) ON DUPLICATE KEY UPDATE beat = beat + 1")
}

/// Why this account could not count, if it could not. Counts nothing: to have it explained takes the same rights as to do it ("EXPLAIN
/// Statement").
pub(crate) async fn cannot_count(
    connection: &mut MySqlConnection,
    table: &str,
) -> Result<Option<String>, LookError> {
    // the table's name is checked by the configuration
    let asked = AssertSqlSafe(format!("EXPLAIN {}", beat(table)));
    match sqlx::raw_sql(asked).fetch_all(connection).await {
        Ok(_) => Ok(None),
        Err(error) if number(&error).is_some_and(|code| NO_TABLE.contains(&code)) => {
            Ok(Some(lamplighter_core::fault::chain(&error)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether this connection is the one that counts from now on.
async fn lock(connection: &mut MySqlConnection) -> Result<bool, LookError> {
    let limits = "SET SESSION innodb_lock_wait_timeout = 1, SESSION lock_wait_timeout = 1";
    sqlx::raw_sql(limits).execute(&mut *connection).await?;
    let row = sqlx::raw_sql(LOCK).fetch_one(connection).await?;
    let got: Option<i64> = row.try_get_unchecked(0)?;
    Ok(got == Some(1))
}
