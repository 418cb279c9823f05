//! The tables `[[warm]]`. Pure; no IO.

use std::collections::HashSet;

use lamplighter_core::config::Problem;
use lamplighter_core::units::{Bytes, Millis, Percent};
use serde::{Deserialize, Serialize};

use super::query::Query;
use super::template::Template;

/// The largest value Redis takes (`proto-max-bulk-len`).
const REDIS_VALUE_MAX: Bytes = Bytes::from_mib(512);

/// One table `[[warm]]`: rows of a query become keys.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JobConfig {
    /// The job's name: metric label and part of its keys in Redis. Letters, digits, `-` and `_`, at most 64.
    pub name: String,
    /// One SELECT with one `?`, the keyset parameter, and with ORDER BY and LIMIT (the page), as in
    /// `SELECT id, name FROM products WHERE id > ? ORDER BY id LIMIT 1000`.
    pub query: String,
    /// The schema the query runs in. Default: none; the query then names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// What the `?` is for the first page: a number or a string. Default `""`, which is less than every string and,
    /// for a column of integers, means 0.
    #[serde(default)]
    pub start: Start,
    /// The column whose value in the last row becomes the `?` of the next page. Unique, NOT NULL, an integer, string,
    /// binary or date. Default: the first column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyset: Option<String>,
    /// The Redis key of a row: text with `{column}`; a brace of its own is doubled, as in `{{shop}}:{id}`.
    pub key: String,
    /// The Redis value of a row. Default `"row-json"`.
    #[serde(default)]
    pub value: ValueFormat,
    /// The column whose value is written, with `value = "column"`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// How values are typed. Default `"native"`.
    #[serde(default)]
    pub types: Types,
    /// What happens to binary columns. Default `"refuse"`.
    #[serde(default)]
    pub binary: Binary,
    /// How long a key lives. Default `"1h"`.
    #[serde(default = "default::ttl")]
    pub ttl: Millis,
    /// How far a key's life may differ from `ttl`, both ways, so that the keys do not end together. Default `"10%"`.
    #[serde(default = "default::ttl_jitter")]
    pub ttl_jitter: Percent,
    /// Whether the job runs when the agent starts and no instance has done it. Default true.
    #[serde(default = "default::at_boot")]
    pub at_boot: bool,
    /// How often it runs after that, once for the whole fleet. Default: never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Millis>,
    /// Whether the instance takes no traffic before the job is done, here or elsewhere in the fleet. Default false.
    #[serde(default)]
    pub required: bool,
    /// How long a required job may hold traffic back; after that the instance serves with a cold cache. Default `"60s"`.
    #[serde(default = "default::gate_deadline")]
    pub gate_deadline: Millis,
    /// Limit for one page, from query to last row; MySQL is told it, too. Default `"30s"`.
    #[serde(default = "default::page_timeout")]
    pub page_timeout: Millis,
    /// The most keys in one write. Default 200.
    #[serde(default = "default::batch_keys")]
    pub batch_keys: u16,
    /// The most bytes in one write; one larger row is a write of its own. Default `"256KiB"`.
    #[serde(default = "default::batch_bytes")]
    pub batch_bytes: Bytes,
    /// Rows with a larger value are left out and counted. Default `"1MiB"`; Microsoft advises less than 100 kB.
    #[serde(default = "default::value_max")]
    pub value_max: Bytes,
    /// The job ends with an error at this many rows. Default 10000000.
    #[serde(default = "default::rows_max")]
    pub rows_max: u64,
    /// How long an instance that fell silent keeps the others from taking the job over. Default `"30s"`.
    #[serde(default = "default::lease_ttl")]
    pub lease_ttl: Millis,
}

mod default {
    use super::{Bytes, Millis, Percent};

    pub(super) const fn ttl() -> Millis {
        Millis::from_secs(3600)
    }
    pub(super) const fn ttl_jitter() -> Percent {
        Percent::new(10.0)
    }
    pub(super) const fn at_boot() -> bool {
        true
    }
    pub(super) const fn gate_deadline() -> Millis {
        Millis::from_secs(60)
    }
    pub(super) const fn page_timeout() -> Millis {
        Millis::from_secs(30)
    }
    pub(super) const fn batch_keys() -> u16 {
        200
    }
    pub(super) const fn batch_bytes() -> Bytes {
        Bytes::new(256 * 1024)
    }
    pub(super) const fn value_max() -> Bytes {
        Bytes::from_mib(1)
    }
    pub(super) const fn rows_max() -> u64 {
        10_000_000
    }
    pub(super) const fn lease_ttl() -> Millis {
        Millis::from_secs(30)
    }
}

/// Where the first page begins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Start {
    /// For a column of integers.
    Number(i64),
    /// For strings and dates.
    Text(String),
}

impl Default for Start {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// What is written for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueFormat {
    /// A JSON object of all columns: `json_decode($value, true)` is `===` the row as PHP would have fetched it.
    #[default]
    RowJson,
    /// `serialize($row)`, as phpredis with SERIALIZER_PHP, Laravel and WordPress store it.
    RowPhp,
    /// `igbinary_serialize($row)`, as phpredis with SERIALIZER_IGBINARY stores it.
    RowIgbinary,
    /// The value of one column, named by `column`, as it is.
    Column,
}

/// How PHP would have typed the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Types {
    /// As PDO does since PHP 8.1, mysqli with prepared statements, and mysqli with MYSQLI_OPT_INT_AND_FLOAT_NATIVE: integers and
    /// floats as numbers; DECIMAL, dates and integers above PHP_INT_MAX as strings.
    #[default]
    Native,
    /// As `mysqli::query()` does otherwise, and PDO with ATTR_STRINGIFY_FETCHES: everything but NULL is a string.
    Strings,
}

/// JSON has no binary strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binary {
    /// A binary column is an error of the job: leave it out, or write HEX(column) in the query.
    #[default]
    Refuse,
    /// Written as base64; PHP says `base64_decode($row["column"])`.
    Base64,
}

impl JobConfig {
    /// How long a result counts: until the next run is due, or as long as the keys live.
    #[must_use]
    pub fn interval(&self) -> Millis {
        self.every.unwrap_or(self.ttl)
    }

    /// Rules that serde cannot express, for this job alone; keys are relative to its table.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.limits();
        let mut add = |key: &str, message: String| problems.push(Problem::new(key, message));
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(allowed) {
            add(
                "name",
                "must be 1 to 64 letters, digits, \"-\" or \"_\"".into(),
            );
        }
        if let Err(error) = Query::parse(&self.query) {
            add("query", error.to_string());
        }
        if let Err(error) = Template::parse(&self.key) {
            add("key", error.to_string());
        }
        if self.value == ValueFormat::Column && self.column.is_none() {
            add("column", "is needed with value = \"column\"".into());
        }
        if !self.at_boot && self.every.is_none() {
            add(
                "every",
                "is needed when at_boot is false, or the job would never run".into(),
            );
        }
        if self.required && !self.at_boot {
            add(
                "required",
                "needs at_boot = true: traffic would wait for a run that is not due".into(),
            );
        }
        problems
    }

    fn limits(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |key: &str, message: &str| problems.push(Problem::new(key, message));
        let second = Millis::from_secs(1);
        for (key, value) in [
            ("ttl", Some(self.ttl)),
            ("every", self.every),
            ("lease_ttl", Some(self.lease_ttl)),
        ] {
            if value.is_some_and(|value| value < second) {
                add(key, "must be at least 1s");
            }
        }
        if self.ttl_jitter.fraction() > 0.5 {
            add("ttl_jitter", "must be at most 50%");
        }
        for (key, value) in [
            ("gate_deadline", self.gate_deadline),
            ("page_timeout", self.page_timeout),
        ] {
            if value.as_u64() == 0 {
                add(key, "must be longer than 0");
            }
        }
        if !(1..=10_000).contains(&self.batch_keys) {
            add("batch_keys", "must be from 1 to 10000");
        }
        if self.batch_bytes.get() == 0 || self.batch_bytes > Bytes::from_mib(64) {
            add("batch_bytes", "must be from 1B to 64MiB");
        }
        if self.value_max.get() == 0 || self.value_max > REDIS_VALUE_MAX {
            add("value_max", "must be from 1B to 512MiB, Redis' own limit");
        }
        if self.rows_max == 0 {
            add("rows_max", "must be at least 1");
        }
        problems
    }
}

/// The problems of all tables together, each with the number of its table from 0. `mysql_socket` says whether the
/// MySQL endpoint listens on a unix socket, through which the queries run.
#[must_use]
pub fn problems(jobs: &[JobConfig], mysql_socket: bool) -> Vec<(usize, Problem)> {
    let mut names = HashSet::new();
    let mut problems = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        problems.extend(job.problems().into_iter().map(|problem| (index, problem)));
        if !names.insert(job.name.as_str()) {
            problems.push((
                index,
                Problem::new("name", "is the name of an earlier [[warm]], too"),
            ));
        }
        if !mysql_socket {
            let message = "warm needs a unix listener in [mysql], as in listen = [\"unix:/run/lamplighter/mysql.sock\"]";
            problems.push((index, Problem::new("query", message)));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
