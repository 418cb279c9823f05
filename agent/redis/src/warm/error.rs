//! Why a run of a job ended early: what is counted, who has to act, and how long to wait. Pure; no IO.

use std::time::Duration;

use lamplighter_core::fault::{Culprit, Fault, Retry};

use super::crawl::PageError;
use super::keyset::KeysetError;
use super::lines::LineError;
use super::template::BindError;
use super::value::BinaryColumn;
use crate::upstream::UpstreamError;

/// The metric label of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// No connection to the MySQL endpoint.
    MysqlConnect,
    /// The query failed, or the connection in its middle.
    MysqlQuery,
    /// A page took longer than `page_timeout`.
    MysqlTimeout,
    /// The query's result, or the file, does not fit the job.
    Job,
    /// The local web server.
    Web,
    /// No connection to Redis, or it broke.
    Redis,
    /// Redis refused a write: out of memory.
    RedisOom,
    /// Redis refused for another reason.
    RedisRefused,
    /// Another instance took the job over, or the lease could not be renewed.
    LeaseLost,
}

impl ErrorKind {
    pub(crate) const ALL: [Self; 9] = [
        Self::MysqlConnect,
        Self::MysqlQuery,
        Self::MysqlTimeout,
        Self::Job,
        Self::Web,
        Self::Redis,
        Self::RedisOom,
        Self::RedisRefused,
        Self::LeaseLost,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::MysqlConnect => "mysql_connect",
            Self::MysqlQuery => "mysql_query",
            Self::MysqlTimeout => "mysql_timeout",
            Self::Job => "job",
            Self::Web => "web",
            Self::Redis => "redis",
            Self::RedisOom => "redis_oom",
            Self::RedisRefused => "redis_refused",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot connect to the MySQL endpoint {socket}")]
    MysqlConnect { socket: String, source: sqlx::Error },
    #[error("no answer from the MySQL endpoint {socket} within {limit:?}")]
    MysqlSilent { socket: String, limit: Duration },
    #[error("the query failed")]
    MysqlQuery(#[source] sqlx::Error),
    #[error("a page took longer than {0:?}")]
    MysqlTimeout(Duration),
    #[error(transparent)]
    Keyset(#[from] KeysetError),
    #[error(transparent)]
    Key(#[from] BindError),
    #[error(transparent)]
    Value(#[from] BinaryColumn),
    #[error(transparent)]
    Lines(#[from] LineError),
    #[error("the web server is left alone")]
    Web(#[from] PageError),
    #[error("more than {0} rows: raise rows_max, or have the query select fewer")]
    TooManyRows(u64),
    #[error(transparent)]
    Redis(#[from] UpstreamError),
    #[error("the lease was lost: {0}")]
    LeaseLost(&'static str),
    #[error("another instance runs it now; its lease lasts for {0:?}")]
    Busy(Duration),
    /// The agent is leaving: no error to report, the others go on.
    #[error("the agent is leaving")]
    Leaving,
}

impl RunError {
    /// An error of the server in the middle of a page, or the end of the time it was given.
    pub(crate) fn of_query(error: sqlx::Error, limit: Duration) -> Self {
        if mysql_number(&error) == Some(ER_QUERY_TIMEOUT) {
            Self::MysqlTimeout(limit)
        } else {
            Self::MysqlQuery(error)
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::MysqlConnect { .. } | Self::MysqlSilent { .. } => ErrorKind::MysqlConnect,
            Self::MysqlQuery(_) => ErrorKind::MysqlQuery,
            Self::MysqlTimeout(_) => ErrorKind::MysqlTimeout,
            Self::Keyset(_)
            | Self::Key(_)
            | Self::Value(_)
            | Self::Lines(_)
            | Self::TooManyRows(_) => ErrorKind::Job,
            Self::Web(_) => ErrorKind::Web,
            Self::Redis(error) if error.is_oom() => ErrorKind::RedisOom,
            Self::Redis(UpstreamError::Refused { .. }) => ErrorKind::RedisRefused,
            Self::Redis(_) => ErrorKind::Redis,
            Self::LeaseLost(_) | Self::Busy(_) | Self::Leaving => ErrorKind::LeaseLost,
        }
    }

    /// Whether the page may be tried again at once, from the row it came to.
    pub(crate) fn is_transient_mysql(&self) -> bool {
        match self {
            Self::MysqlConnect { .. } | Self::MysqlSilent { .. } => true,
            Self::MysqlQuery(error) => match mysql_number(error) {
                Some(number) => TRANSIENT_MYSQL.contains(&number),
                None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)),
            },
            _ => false,
        }
    }

    pub(crate) fn into_fault(self) -> Fault {
        let culprit = match self.kind() {
            ErrorKind::Job => Culprit::Operator,
            ErrorKind::RedisRefused if matches!(&self, Self::Redis(error) if error.is_denied()) => {
                Culprit::Operator
            }
            _ => Culprit::Upstream,
        };
        Fault::new(culprit, Retry::Later, self)
    }
}

/// The number of an error that MySQL itself sent.
fn mysql_number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    error
        .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .map(sqlx::mysql::MySqlDatabaseError::number)
}

/// The statement ran into MAX_EXECUTION_TIME.
const ER_QUERY_TIMEOUT: u16 = 3024;

/// Errors of MySQL that another connection or a moment later may not have (MySQL error reference): too many connections, server
/// shutdown, lock wait timeout, deadlock, connection killed or lost, no server to route to.
const TRANSIENT_MYSQL: [u16; 8] = [1040, 1053, 1205, 1213, 1927, 2006, 2013, 3169];
