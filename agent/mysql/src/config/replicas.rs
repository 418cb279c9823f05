//! The tables about replicas and reads: `[mysql.replica]`, `[mysql.heartbeat]`, `[[mysql.rule]]`. Pure; no IO.

use lamplighter_core::config::Problem;
use lamplighter_core::net::HostPort;
use lamplighter_core::units::Millis;
use serde::{Deserialize, Serialize};

use super::{Config, ReadsFrom};

/// What is special about one replica.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicaOptions {
    /// How much it can take, compared with the others. Default 100.
    pub weight: u32,
    /// Its availability zone (`"1"`). Replicas of this machine's own zone, and those without one, are read first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Further behind it gets no reads. Default: `monitor.lag_max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_max: Option<Millis>,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            weight: 100,
            zone: None,
            lag_max: None,
        }
    }
}

/// Where the reads of some statements go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// One of the statements: it stands for all of its digest, whatever the values in them.
    pub statement: String,
    /// For these clients only. Default: for all.
    #[serde(default)]
    pub users: Vec<String>,
    /// Where they go.
    pub reads: ReadsFrom,
}

/// The row that is counted up on the primary, to see when it arrives at the replicas: `CREATE TABLE lamplighter.heartbeat (id INT
/// PRIMARY KEY, beat BIGINT UNSIGNED NOT NULL)`. Agents create no table; without it they go on with what they know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// The table, with its schema. Default `lamplighter.heartbeat`.
    pub table: String,
    /// Pause between two counts, and between two looks at them. Default 500 ms.
    pub interval: Millis,
    /// Count it up, if no other agent does. Default true.
    pub write: bool,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            table: "lamplighter.heartbeat".to_owned(),
            interval: Millis::new(500),
            write: true,
        }
    }
}

impl Heartbeat {
    /// The table as it is written into statements; `None` if its name is not `schema.table` of letters, digits, `_` and `$`.
    #[must_use]
    pub fn quoted_table(&self) -> Option<String> {
        let (schema, table) = self.table.split_once('.')?;
        let plain = |name: &str| {
            let fits = |it: char| it.is_alphanumeric() || matches!(it, '_' | '$');
            !name.is_empty() && name.chars().all(fits)
        };
        (plain(schema) && plain(table)).then(|| format!("`{schema}`.`{table}`"))
    }
}

impl Config {
    pub(super) fn replica_problems(&self) -> impl Iterator<Item = Problem> {
        [self.heartbeat_problem(), self.read_wait_problem()]
            .into_iter()
            .flatten()
            .chain(self.option_problems())
            .chain(self.rule_problems())
    }

    fn heartbeat_problem(&self) -> Option<Problem> {
        let Heartbeat {
            table, interval, ..
        } = &self.heartbeat;
        if self.heartbeat.quoted_table().is_none() {
            let text = format!("{table:?} is not of the form schema.table");
            return Some(Problem::new("heartbeat.table", text));
        }
        let text = "is shorter than 50ms; it would load the servers".to_owned();
        (interval.as_u64() < 50).then(|| Problem::new("heartbeat.interval", text))
    }

    fn read_wait_problem(&self) -> Option<Problem> {
        let text = "is longer than 10s; the primary has the answer at once".to_owned();
        (self.read_wait > Millis::from_secs(10)).then(|| Problem::new("read_wait", text))
    }

    fn option_problems(&self) -> impl Iterator<Item = Problem> {
        let named = self.replica.iter();
        named.filter_map(|(name, options)| {
            let key = format!("replica.{name:?}");
            let is_one = |it: &HostPort| it.to_string() == *name;
            if !self.replicas.is_empty() && !self.replicas.iter().any(is_one) {
                let text = "is none of mysql.replicas; write it as there, with its port".to_owned();
                return Some(Problem::new(&key, text));
            }
            let text = "must be from 1 to 10000; leave the replica out instead".to_owned();
            let fits = (1..=10_000).contains(&options.weight);
            (!fits).then(|| Problem::new(format!("{key}.weight"), text))
        })
    }

    fn rule_problems(&self) -> impl Iterator<Item = Problem> {
        let users = self
            .rule
            .iter()
            .enumerate()
            .flat_map(|(index, rule)| rule.users.iter().map(move |user| (index, user)));
        users
            .filter(|(_, user)| !self.clients.contains_key(*user))
            .map(|(index, user)| {
                let text = format!("{user:?} is none of mysql.clients");
                Problem::new(format!("rule.{index}.users"), text)
            })
    }
}
