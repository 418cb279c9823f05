//! The tables `[[warm]]`. Pure; no IO.

mod choices;
mod cron;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use lamplighter_core::config::Problem;
use lamplighter_core::net::HostPort;
use lamplighter_core::units::{Bytes, Millis, Percent};
use serde::{Deserialize, Serialize};

pub use choices::{Binary, Mode, ReadFrom, Source, Start, Types, ValueFormat};
pub use cron::{CronError, CronTimes};

use super::query::Query;
use super::template::Template;

/// The largest value Redis takes (`proto-max-bulk-len`).
const REDIS_VALUE_MAX: Bytes = Bytes::from_mib(512);

/// One table `[[warm]]`: what is made warm, from where, and when.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JobConfig {
    /// The job's name: metric label and part of its keys in Redis. Letters, digits, `-` and `_`, at most 64.
    pub name: String,
    /// Where values come from. Default `"sql"`.
    #[serde(default)]
    pub source: Source,
    /// With `source = "sql"` one SELECT with one `?`, the keyset parameter, and with ORDER BY and LIMIT (the page), as in
    /// `SELECT id, name FROM products WHERE id > ? ORDER BY id LIMIT 1000`. With `source = "hot-keys"` one whose `?` is a list, as in
    /// `SELECT id, name FROM products WHERE id IN (?)`. Default: none; other sources have no query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Which servers the query may ask. Default `"replica"`.
    #[serde(default)]
    pub read_from: ReadFrom,
    /// With `source = "file"`: a JSON object on each line, as if it were a row. With `source = "urls"`: a path on each line, beside
    /// `urls`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// With `source = "urls"`: the paths to ask for, as in `["/", "/shop"]`, in this order. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The local web server that is asked for them. Default `"127.0.0.1:80"`.
    #[serde(default = "default::web")]
    pub web: HostPort,
    /// What the web server is told as `Host`. Default: none; that is the host of `web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How many of the keys that are asked for most are kept warm, with `source = "hot-keys"`. Default 1000.
    #[serde(default = "default::hot_keys")]
    pub hot_keys: u32,
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
    /// The Redis key of a row: text with `{column}`; a brace of its own is doubled, as in `{{shop}}:{id}`. Default: none; needed with
    /// every source but `urls`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
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
    /// What happens to keys that are there already. Default `"replace"`.
    #[serde(default)]
    pub mode: Mode,
    /// With `mode = "refresh"`: a key is written again when less than this of `ttl` is left. Default `"50%"`.
    #[serde(default = "default::refresh_below")]
    pub refresh_below: Percent,
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
    /// When it runs, as in crontab(5) and in UTC, once for the whole fleet, as in `"15 4 * * *"`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<CronTimes>,
    /// Whether it runs again when Redis has lost its data (FLUSHALL, a cache without persistence that was restarted). Default true.
    #[serde(default = "default::after_flush")]
    pub after_flush: bool,
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
    use super::{Bytes, HostPort, Millis, Percent};

    pub(super) fn web() -> HostPort {
        HostPort {
            host: "127.0.0.1".to_owned(),
            port: 80,
        }
    }
    pub(super) const fn hot_keys() -> u32 {
        1000
    }
    pub(super) const fn refresh_below() -> Percent {
        Percent::new(50.0)
    }
    pub(super) const fn after_flush() -> bool {
        true
    }

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

impl JobConfig {
    /// How long a result counts when no time of day says it: until the next run is due, or as long as the keys live.
    #[must_use]
    pub fn interval(&self) -> Millis {
        self.every.unwrap_or(self.ttl)
    }

    /// Whether it may write values that a replica gave, under keys that begin with `prefix`.
    #[must_use]
    pub fn may_be_behind_under(&self, prefix: &str) -> bool {
        let from_replica = self.source.is_sql() && self.read_from == ReadFrom::Replica;
        let own = Template::parse(&self.key).map_or_else(|_| String::new(), |key| key.prefix());
        from_replica && (own.starts_with(prefix) || prefix.starts_with(&own))
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
        match self.source {
            Source::Sql | Source::HotKeys => self.query_problems(&mut add),
            Source::File if self.file.is_none() => {
                add("file", "is needed with source = \"file\"".into());
            }
            Source::File => {}
            Source::Urls => self.url_problems(&mut add),
        }
        if self.source != Source::Urls {
            self.key_problems(&mut add);
        }
        if self.every.is_some() && self.cron.is_some() {
            add("cron", "and every exclude each other".into());
        }
        if self.required && !self.at_boot {
            add(
                "required",
                "needs at_boot = true: traffic would wait for a run that is not due".into(),
            );
        }
        problems
    }

    fn query_problems(&self, add: &mut impl FnMut(&str, String)) {
        let parsed = match self.source {
            Source::HotKeys => Query::parse_list(&self.query),
            _ => Query::parse(&self.query),
        };
        match parsed {
            Err(error) => add("query", error.to_string()),
            Ok(query) if self.value == ValueFormat::RowsJson && self.source == Source::Sql => {
                if query.page_rows().is_none() {
                    add(
                        "query",
                        "needs a LIMIT that is a number, so that a key whose rows a page cuts is noticed".into(),
                    );
                }
            }
            Ok(_) => {}
        }
        if self.source == Source::HotKeys && self.hot_keys == 0 {
            add("hot_keys", "must be at least 1".into());
        }
    }

    fn key_problems(&self, add: &mut impl FnMut(&str, String)) {
        match Template::parse(&self.key) {
            Err(error) => add("key", error.to_string()),
            Ok(template) if self.source == Source::HotKeys && template.only_column().is_none() => {
                let message = "must have one {column}, whose value in a key that is asked for goes into the list of the query";
                add("key", message.into());
            }
            Ok(_) => {}
        }
        if self.value == ValueFormat::Column && self.column.is_none() {
            add("column", "is needed with value = \"column\"".into());
        }
    }

    fn url_problems(&self, add: &mut impl FnMut(&str, String)) {
        if self.urls.is_empty() && self.file.is_none() {
            add("urls", "or file is needed with source = \"urls\"".into());
        }
        if let Some(path) = self.urls.iter().find(|path| !is_path(path)) {
            add(
                "urls",
                format!("{path:?} is no path: it must begin with / and hold no space"),
            );
        }
        let host = self.web.host.as_str();
        if host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            add(
                "web",
                "must be on this machine: by way of a load balancer others would be made warm"
                    .into(),
            );
        }
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

/// Whether `text` can stand in a request line (RFC 9112 section 3).
pub(crate) fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
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
        if !mysql_socket && job.source.is_sql() {
            let message = "warm needs a unix listener in [mysql], as in listen = [\"unix:/run/lamplighter/mysql.sock\"]";
            problems.push((index, Problem::new("query", message)));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
