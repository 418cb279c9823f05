//! What changes from moment to moment: the heartbeat's value and the transactions a server has. One query; what the server does not
//! have, or the account may not see, is left out and tried again later.

use std::time::{Duration, Instant};

use lamplighter_wire::mysql::gtid::{GtidSet, TEXT_MAX};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Row};

use super::watcher::{LookError, number};

/// What is missing is tried again after so long.
const PAUSE: Duration = Duration::from_secs(60);

/// ER_UNKNOWN_SYSTEM_VARIABLE: MariaDB has no `gtid_executed`.
const UNKNOWN_VARIABLE: u16 = 1193;
/// ER_DBACCESS_DENIED_ERROR, ER_BAD_DB_ERROR, ER_BAD_FIELD_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR,
/// ER_NO_SUCH_TABLE.
pub(super) const NO_TABLE: [u16; 6] = [1044, 1049, 1054, 1142, 1143, 1146];

/// What a server has now.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// The heartbeat's value.
    pub(crate) beat: Option<u64>,
    /// Its transactions, if they can be told in a few words.
    pub(crate) executed: GtidSet,
}

/// What can be asked of a server.
#[derive(Debug)]
pub(crate) struct Senses {
    table: String,
    beat: Sense,
    gtids: Sense,
}

#[derive(Debug, Default)]
enum Sense {
    #[default]
    Works,
    Missing {
        since: Instant,
        why: String,
    },
}

impl Sense {
    fn is_tried(&self) -> bool {
        match self {
            Self::Works => true,
            Self::Missing { since, .. } => since.elapsed() >= PAUSE,
        }
    }

    fn missing(why: &sqlx::Error) -> Self {
        Self::Missing {
            since: Instant::now(),
            why: lamplighter_core::fault::chain(why),
        }
    }
}

impl Senses {
    /// `table`: the heartbeat's, quoted.
    pub(crate) fn new(table: String) -> Self {
        Self {
            table,
            beat: Sense::Works,
            gtids: Sense::Works,
        }
    }

    /// Why the heartbeat cannot be read.
    pub(crate) fn no_beat(&self) -> Option<&str> {
        match &self.beat {
            Sense::Works => None,
            Sense::Missing { why, .. } => Some(why),
        }
    }

    fn query(&self) -> String {
        let beat = if self.beat.is_tried() {
            format!("(SELECT beat FROM {} WHERE id = 1)", self.table)
        } else {
            "NULL".to_owned()
        };
        let gtids = if self.gtids.is_tried() {
            format!("IF(LENGTH(@@GLOBAL.gtid_executed) > {TEXT_MAX}, NULL, @@GLOBAL.gtid_executed)")
        } else {
            "NULL".to_owned()
        };
        format!("SELECT {beat}, {gtids}")
    }

    /// Remembers what the server does not have; false if that does not explain the error.
    fn learn(&mut self, error: &sqlx::Error) -> bool {
        match number(error) {
            Some(UNKNOWN_VARIABLE) => self.gtids = Sense::missing(error),
            Some(code) if NO_TABLE.contains(&code) => self.beat = Sense::missing(error),
            _ => return false,
        }
        true
    }

    /// Asks once.
    pub(crate) async fn feel(
        &mut self,
        connection: &mut MySqlConnection,
    ) -> Result<Pulse, LookError> {
        // each of the two may turn out to be missing
        for _ in 0..2 {
            // the table's name is checked by the configuration
            let sql = AssertSqlSafe(self.query());
            match sqlx::raw_sql(sql).fetch_one(&mut *connection).await {
                Ok(row) => {
                    if self.beat.is_tried() {
                        self.beat = Sense::Works;
                    }
                    let gtids: Option<Vec<u8>> = row.try_get_unchecked(1)?;
                    return Ok(Pulse {
                        beat: row.try_get_unchecked(0)?,
                        executed: GtidSet::parse(&gtids.unwrap_or_default()).unwrap_or_default(),
                    });
                }
                Err(error) if self.learn(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Pulse::default())
    }
}
