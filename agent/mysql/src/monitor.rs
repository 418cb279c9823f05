//! Watches the servers over connections of its own (sqlx): who answers, who is writable, how far behind each replica is. Writes
//! what it sees to the endpoint's view, the health board and the metrics; decides nothing about statements.

mod verdict;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::config::SecretDirs;
use lamplighter_core::health::{HealthWriter, Reach};
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::HostPort;
use lamplighter_core::tls::{CaSource, TlsConfig, Verify, azure_roots_pem};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, Row};

pub(crate) use verdict::{Lag, Observation, Role, Verdict, judge};

use crate::config::{Config, LagUnknown};
use crate::endpoint::Shared;
use crate::error::OpenError;
use crate::server::credential::Credential;

/// ER_SPECIFIC_ACCESS_DENIED_ERROR: no REPLICATION CLIENT.
const ACCESS_DENIED: u16 = 1227;
/// ER_PARSE_ERROR: the other spelling of SHOW REPLICA STATUS.
const PARSE_ERROR: u16 = 1064;

/// How to look at one server.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    pub(crate) server: HostPort,
    pub(crate) role: Role,
    user: String,
    credential: Credential,
    tls: TlsConfig,
    timeout: Duration,
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Credential(#[from] OpenError),
    #[error("the password is not text")]
    NotText(#[from] lamplighter_core::secret::NotText),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl Watcher {
    /// `endpoint` is how the endpoint itself logs in.
    pub(crate) fn new(
        config: &Config,
        dirs: &SecretDirs,
        endpoint: &Credential,
        server: &HostPort,
        role: Role,
    ) -> Self {
        let monitor = &config.monitor;
        let own = monitor.password_file.clone().map(|file| Credential::File {
            file,
            dirs: dirs.clone(),
        });
        Self {
            server: server.clone(),
            role,
            user: monitor.user.clone().unwrap_or_else(|| config.user.clone()),
            credential: own.unwrap_or_else(|| endpoint.clone()),
            tls: config.tls.clone(),
            timeout: config.connect_timeout.get(),
        }
    }

    async fn connect(&self) -> Result<MySqlConnection, LookError> {
        let shown = self.credential.take(self.timeout).await?;
        let mut options = MySqlConnectOptions::new()
            .host(&self.server.host)
            .port(self.server.port)
            .username(&self.user)
            .password(shown.secret().expose_str()?)
            .enable_cleartext_plugin(self.credential.is_token())
            .ssl_mode(self.ssl_mode())
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            .disable_statement_logging();
        options = match &self.tls.ca {
            CaSource::File(path) => options.ssl_ca(path),
            CaSource::System => options.ssl_ca_from_pem(azure_roots_pem()),
        };
        let connected = self
            .within(async { Ok(MySqlConnection::connect_with(&options).await?) })
            .await;
        if matches!(connected, Err(LookError::Sql(sqlx::Error::Database(_)))) {
            shown.refused();
        }
        connected
    }

    /// sqlx expects the host's own name in the certificate and nothing else; where the configuration names another, it can check
    /// the chain only. The endpoint's own connections check the name.
    fn ssl_mode(&self) -> MySqlSslMode {
        match (self.tls.enabled, self.tls.verify, &self.tls.server_name) {
            (false, _, _) => MySqlSslMode::Disabled,
            (true, Verify::Identity, None) => MySqlSslMode::VerifyIdentity,
            (true, _, _) => MySqlSslMode::VerifyCa,
        }
    }

    async fn within<T>(
        &self,
        look: impl Future<Output = Result<T, LookError>>,
    ) -> Result<T, LookError> {
        tokio::time::timeout(self.timeout, look)
            .await
            .unwrap_or(Err(LookError::Timeout(self.timeout)))
    }

    /// One look: read_only and, on a replica, the lag; and a number for what sessions begin with.
    pub(crate) async fn look(
        &self,
        connection: &mut Option<MySqlConnection>,
    ) -> Result<(Observation, u64), LookError> {
        let mut open = match connection.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        let seen = self
            .within(async {
                let (read_only, defaults) = globals(&mut open).await?;
                let lag = match self.role {
                    Role::Primary => Lag::NotAReplica,
                    Role::Replica => lag(&mut open).await?,
                };
                Ok((Observation { read_only, lag }, defaults))
            })
            .await?;
        // only a connection that answered in time is kept: another may hold half an answer
        *connection = Some(open);
        Ok(seen)
    }
}

/// Global variables that every session begins with and that a server's owner changes while it runs. MariaDB knows some of them by
/// other names, and no super_read_only: SHOW lists those that exist.
const GLOBALS: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', 'innodb_read_only', \
    'sql_mode', 'time_zone', 'init_connect', 'character_set_server', 'collation_server', 'default_collation_for_utf8mb4', \
    'old_mode', 'transaction_isolation', 'transaction_read_only', 'tx_isolation', 'tx_read_only', 'autocommit', \
    'foreign_key_checks', 'unique_checks', 'wait_timeout', 'interactive_timeout', 'lock_wait_timeout', \
    'innodb_lock_wait_timeout', 'max_execution_time', 'max_statement_time', 'group_concat_max_len', 'sql_select_limit', \
    'max_join_size', 'sql_big_selects', 'sql_safe_updates', 'sql_notes', 'sql_warnings', 'sql_require_primary_key', \
    'default_storage_engine', 'default_week_format', 'lc_time_names', 'div_precision_increment', 'optimizer_switch', \
    'optimizer_search_depth', 'auto_increment_increment', 'auto_increment_offset', 'max_allowed_packet', \
    'net_read_timeout', 'net_write_timeout', 'block_encryption_mode', 'cte_max_recursion_depth', \
    'explicit_defaults_for_timestamp', 'join_buffer_size', 'sort_buffer_size', 'tmp_table_size', 'max_heap_table_size')";

/// Whether the server refuses writes, and a number that is another one when a default of its sessions is.
async fn globals(connection: &mut MySqlConnection) -> Result<(bool, u64), LookError> {
    let rows = sqlx::raw_sql(GLOBALS).fetch_all(connection).await?;
    let mut read_only = false;
    let mut defaults = DefaultHasher::new();
    for row in &rows {
        let (name, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if name.ends_with("read_only") && !name.starts_with('t') {
            read_only |= value == "ON" || value == "1";
        } else {
            (name, value).hash(&mut defaults);
        }
    }
    Ok((read_only, defaults.finish()))
}

async fn lag(connection: &mut MySqlConnection) -> Result<Lag, LookError> {
    // the first since MySQL 8.0.22, the second before and on MariaDB
    for (sql, column) in [
        ("SHOW REPLICA STATUS", "Seconds_Behind_Source"),
        ("SHOW SLAVE STATUS", "Seconds_Behind_Master"),
    ] {
        match sqlx::raw_sql(sql).fetch_optional(&mut *connection).await {
            Ok(None) => return Ok(Lag::NotAReplica),
            Ok(Some(row)) => return Ok(seconds(&row, column)),
            Err(error) => match number(&error) {
                Some(ACCESS_DENIED) => return Ok(Lag::NoRight),
                Some(PARSE_ERROR) => {}
                _ => return Err(error.into()),
            },
        }
    }
    Ok(Lag::Unknown)
}

fn seconds(row: &MySqlRow, column: &str) -> Lag {
    // the text protocol gives text for a number as well
    let value = row
        .try_get_unchecked::<Option<u64>, _>(column)
        .or_else(|_| row.try_get_unchecked::<Option<u64>, _>("Seconds_Behind_Master"));
    match value {
        Ok(Some(seconds)) => Lag::Seconds(seconds),
        Ok(None) | Err(_) => Lag::Unknown,
    }
}

fn number(error: &sqlx::Error) -> Option<u16> {
    error
        .as_database_error()?
        .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .map(|error| error.number())
}

/// Watches one server until we drain.
pub(crate) async fn watch(
    watcher: Watcher,
    index: Option<usize>,
    shared: Arc<Shared>,
    health: HealthWriter,
    tasks: Tasks,
) {
    let name = watcher.server.to_string();
    let mut connection = None;
    let (mut last, mut defaults) = (None, None);
    let mut ticker = tokio::time::interval(shared.monitor.interval.get());
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticker.tick() => {}
            () = tasks.draining() => break,
        }
        let seen = watcher.look(&mut connection).await.map(|(seen, now)| {
            if defaults.replace(now).is_some_and(|before| before != now) {
                tracing::info!(
                    server = name,
                    "a global default has changed: connections are opened anew"
                );
                shared.defaults_changed(index);
            }
            seen
        });
        let lag_max = shared.monitor.lag_max.get();
        let verdict = judge(
            watcher.role,
            seen.as_ref().ok(),
            lag_max,
            shared.monitor.lag_unknown == LagUnknown::Use,
        );
        publish(&shared, index, &name, &verdict, seen.as_ref().ok());
        let reason = match &seen {
            Ok(_) => verdict.reason(),
            Err(error) => lamplighter_core::fault::chain(error),
        };
        report(&health, watcher.role, &verdict, &reason);
        if last.as_ref() != Some(&verdict) {
            tracing::info!(
                server = name,
                role = watcher.role.label(),
                verdict = verdict.label(),
                reason,
                "server"
            );
            if last.replace(verdict).is_some() {
                // behind the same name there may be another server now, with other rules for SET
                shared.learned.forget();
            }
        }
    }
}

fn publish(
    shared: &Shared,
    index: Option<usize>,
    name: &str,
    verdict: &Verdict,
    seen: Option<&Observation>,
) {
    if let Some(index) = index {
        shared.set_fit(index, *verdict == Verdict::Fit);
    }
    let metrics = &shared.metrics;
    metrics
        .server_up
        .with_label_values(&[name])
        .set(i64::from(seen.is_some()));
    metrics
        .server_readable
        .with_label_values(&[name])
        .set(i64::from(*verdict == Verdict::Fit));
    if index.is_some() {
        let lag = match seen.map(|seen| seen.lag) {
            Some(Lag::Seconds(seconds)) => i64::try_from(seconds).unwrap_or(i64::MAX),
            _ => -1,
        };
        metrics.replica_lag.with_label_values(&[name]).set(lag);
    }
}

/// A server that is away is away for every instance, as far as anybody here can know.
fn report(health: &HealthWriter, role: Role, verdict: &Verdict, reason: &str) {
    match (role, verdict) {
        (_, Verdict::Fit) => health.ok(),
        (Role::Primary, Verdict::Away) => health.down(Reach::Shared, reason),
        (Role::Primary | Role::Replica, _) => health.degraded(Reach::Shared, reason),
    }
}
