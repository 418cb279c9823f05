//! One server over a connection of the monitor's own: connecting, and what is asked of it. Decides nothing.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use lamplighter_core::config::SecretDirs;
use lamplighter_core::net::HostPort;
use lamplighter_core::tls::{CaSource, TlsConfig, Verify, azure_roots_pem};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, Row};

use super::verdict::{Lag, Observation, Role};
use crate::config::Config;
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

/// A server from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerRun {
    pub(crate) version: String,
    /// By this machine's clock, to the second.
    pub(crate) began: Instant,
}

impl ServerRun {
    /// Whether it began after `before` was seen. Servers count whole seconds.
    pub(crate) fn is_after(&self, before: &Self) -> bool {
        self.began.saturating_duration_since(before.began) > Duration::from_secs(2)
    }
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

    /// The account that it logs in with.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(super) async fn connect(&self) -> Result<MySqlConnection, LookError> {
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

    /// `look`, within the limit for one.
    pub(super) async fn within<T>(
        &self,
        look: impl Future<Output = Result<T, LookError>>,
    ) -> Result<T, LookError> {
        tokio::time::timeout(self.timeout, look)
            .await
            .unwrap_or(Err(LookError::Timeout(self.timeout)))
    }

    /// Asks `what` over `connection`, which is opened if there is none.
    pub(crate) async fn asked<T>(
        &self,
        connection: &mut Option<MySqlConnection>,
        what: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, LookError>,
    ) -> Result<T, LookError> {
        let mut open = match connection.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        let answer = self.within(what(&mut open)).await?;
        // only a connection that answered in time is kept: another may hold half an answer
        *connection = Some(open);
        Ok(answer)
    }

    /// Which program answers, and since when it runs: asked once for each connection, which does not outlive it.
    pub(crate) async fn meet(
        &self,
        connection: &mut Option<MySqlConnection>,
    ) -> Result<ServerRun, LookError> {
        self.asked(connection, async |open| {
            let version = sqlx::raw_sql("SELECT VERSION()")
                .fetch_one(&mut *open)
                .await?;
            let uptime = sqlx::raw_sql("SHOW GLOBAL STATUS LIKE 'Uptime'")
                .fetch_optional(open)
                .await?;
            let uptime: Option<String> = uptime.map(|row| row.try_get(1)).transpose()?;
            let seconds = uptime.and_then(|it| it.parse().ok()).unwrap_or_default();
            let now = Instant::now();
            Ok(ServerRun {
                version: version.try_get(0)?,
                began: now.checked_sub(Duration::from_secs(seconds)).unwrap_or(now),
            })
        })
        .await
    }

    /// One look: who may write there and, on a replica, the lag.
    pub(crate) async fn look(
        &self,
        connection: &mut Option<MySqlConnection>,
    ) -> Result<Observation, LookError> {
        let role = self.role;
        self.asked(connection, async |open| {
            let globals = globals(open).await?;
            let lag = match role {
                Role::Primary => Lag::NotAReplica,
                Role::Replica => lag(open).await?,
            };
            Ok(Observation { lag, ..globals })
        })
        .await
    }
}

/// Global variables that every session begins with and that a server's owner changes while it runs. MariaDB knows some of them by
/// other names, and no super_read_only: SHOW lists those that exist.
const GLOBALS: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', 'innodb_read_only', \
    'sql_mode', 'time_zone', 'init_connect', 'character_set_server', 'collation_server', 'default_collation_for_utf8mb4', \
    'max_connections', 'old_mode', 'transaction_isolation', 'transaction_read_only', 'tx_isolation', 'tx_read_only', 'autocommit', \
    'foreign_key_checks', 'unique_checks', 'wait_timeout', 'interactive_timeout', 'lock_wait_timeout', \
    'innodb_lock_wait_timeout', 'max_execution_time', 'max_statement_time', 'group_concat_max_len', 'sql_select_limit', \
    'max_join_size', 'sql_big_selects', 'sql_safe_updates', 'sql_notes', 'sql_warnings', 'sql_require_primary_key', \
    'default_storage_engine', 'default_week_format', 'lc_time_names', 'div_precision_increment', 'optimizer_switch', \
    'optimizer_search_depth', 'auto_increment_increment', 'auto_increment_offset', 'max_allowed_packet', \
    'net_read_timeout', 'net_write_timeout', 'gtid_mode', 'replica_preserve_commit_order', \
    'slave_preserve_commit_order', 'replica_parallel_workers', 'slave_parallel_workers', 'block_encryption_mode', 'cte_max_recursion_depth', \
    'explicit_defaults_for_timestamp', 'join_buffer_size', 'sort_buffer_size', 'tmp_table_size', 'max_heap_table_size')";

/// What the server's global variables say.
async fn globals(connection: &mut MySqlConnection) -> Result<Observation, LookError> {
    let rows = sqlx::raw_sql(GLOBALS).fetch_all(connection).await?;
    let mut seen = Observation {
        keeps_order: true,
        ..Observation::default()
    };
    let mut defaults = DefaultHasher::new();
    let (mut workers, mut ordered) = (0_u64, true);
    for row in &rows {
        let (name, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let is_on = value == "ON" || value == "1";
        match name.as_str() {
            "read_only" | "super_read_only" | "innodb_read_only" => seen.read_only |= is_on,
            "max_connections" => seen.max_connections = value.parse().ok(),
            "gtid_mode" => seen.names_writes = is_on,
            "replica_parallel_workers" | "slave_parallel_workers" => {
                workers = value.parse().unwrap_or_default();
            }
            "replica_preserve_commit_order" | "slave_preserve_commit_order" => ordered = is_on,
            _ => (name, value).hash(&mut defaults),
        }
    }
    seen.keeps_order = workers <= 1 || ordered;
    seen.defaults = defaults.finish();
    Ok(seen)
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

/// The server's number of an error.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    error
        .as_database_error()?
        .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .map(|error| error.number())
}
