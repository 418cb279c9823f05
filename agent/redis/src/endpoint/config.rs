//! The tables `[redis.endpoint]` and `[[redis.prefix]]`. Pure; no IO.

use lamplighter_core::config::Problem;
use lamplighter_core::units::{Bytes, Millis};
use lamplighter_wire::redis::command::{self, Class};
use serde::{Deserialize, Serialize};

use crate::server::is_azures;

/// The table `[redis.endpoint]`: how clients share the connections to Redis.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointConfig {
    /// Shared connections to each server, beside one for commands that may take long. Default 2.
    pub connections: u16,
    /// The most connections that belong to one client at a time: WATCH, SUBSCRIBE, BLPOP and the like, and values above 1 MiB on
    /// their way in. Default 16.
    pub private_max: u16,
    /// How long a client waits for one of those. Default `"1s"`.
    pub private_wait: Millis,
    /// What a read is answered with while Redis cannot be reached: `"error"` (default) or `"miss"`, as if the key were not there.
    /// Writes are answered with an error in either case.
    pub unavailable: Unavailable,
    /// Commands that are refused by default and allowed here, such as `["FLUSHDB"]`. Default: none.
    pub allow: Vec<String>,
    /// The most bytes of commands between MULTI and EXEC. Default `"16MiB"`.
    pub transaction_max: Bytes,
    /// Whether servers are listened to for what Azure says about their maintenance, on one more connection to each: `"auto"`
    /// (default) is where the name is that of an Azure Cache for Redis; `"always"`; `"never"`.
    pub maintenance_notices: Notices,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            connections: 2,
            private_max: 16,
            private_wait: Millis::from_secs(1),
            unavailable: Unavailable::Error,
            allow: Vec::new(),
            transaction_max: Bytes::from_mib(16),
            maintenance_notices: Notices::Auto,
        }
    }
}

/// Which servers are listened to for notices of their maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notices {
    /// Azure Cache for Redis, known by its name.
    #[default]
    Auto,
    /// Every server.
    Always,
    /// None.
    Never,
}

impl Notices {
    /// Whether the server of this name is listened to.
    pub(crate) fn wanted(self, host: &str) -> bool {
        match self {
            Self::Auto => is_azures(host),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What a read is answered with while Redis cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unavailable {
    /// An error at once.
    #[default]
    Error,
    /// As if the key were not there.
    Miss,
}

/// One table `[[redis.prefix]]`: rules for keys that begin alike. Of several that fit, the longest prefix counts.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixConfig {
    /// What the keys begin with, such as `"shop:product:"`. Also the label of their hits and misses in the metrics.
    pub prefix: String,
    /// After a write or delete, how long whoever fills the cache with what was read before may not write the key: warm jobs, and
    /// clients that hold a lease. Longer than replicas may lag. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdoff: Option<Millis>,
    /// When a key is missing, how long the first client that asked may take to fill it while the others wait. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Millis>,
    /// How long the others wait at most. Default `"200ms"`.
    #[serde(default = "lease_wait")]
    pub lease_wait: Millis,
    /// How much longer than its own life a copy of each value is kept, for those who would wait. Costs a second copy. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Millis>,
    /// Larger values are refused. Default: Redis' own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_value: Option<Bytes>,
    /// Commands refused for these keys, such as `["KEYS", "EXPIRE"]`; `["*"]` is all of them. Default: none.
    #[serde(default)]
    pub deny: Vec<String>,
}

const fn lease_wait() -> Millis {
    Millis::new(200)
}

impl EndpointConfig {
    /// Rules that serde cannot express; keys relative to `[redis]`.
    pub(crate) fn problems(&self, add: &mut impl FnMut(&str, String)) {
        if !(1..=16).contains(&self.connections) {
            add("endpoint.connections", "must be from 1 to 16".into());
        }
        if self.private_max > 1000 {
            add("endpoint.private_max", "must be at most 1000".into());
        }
        if self.transaction_max.get() == 0 || self.transaction_max > Bytes::from_mib(512) {
            add(
                "endpoint.transaction_max",
                "must be from 1B to 512MiB".into(),
            );
        }
        for name in &self.allow {
            let found = command::find(name.as_bytes());
            match found.map(|command| command.class) {
                Some(Class::Denied) => {}
                Some(_) if found.is_some_and(command::is_partly_denied) => {}
                None => add(
                    "endpoint.allow",
                    format!("{name:?} is no command of Redis that is known here"),
                ),
                Some(Class::Never) => add(
                    "endpoint.allow",
                    format!("{name} makes no sense on connections that clients share"),
                ),
                Some(_) => add("endpoint.allow", format!("{name} is allowed anyway")),
            }
        }
    }
}

/// Rules between several prefixes and for each.
pub(crate) fn prefix_problems(prefixes: &[PrefixConfig]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, rule) in prefixes.iter().enumerate() {
        let mut add = |key: &str, message: String| {
            problems.push(Problem::new(format!("prefix.{index}.{key}"), message));
        };
        if rule.prefix.is_empty() {
            add("prefix", "must not be empty".into());
        }
        if rule.prefix.starts_with("lmp:") {
            add(
                "prefix",
                "begins with lmp:, which are the agent's own keys".into(),
            );
        }
        if prefixes
            .iter()
            .take(index)
            .any(|other| other.prefix == rule.prefix)
        {
            add(
                "prefix",
                "is that of an earlier [[redis.prefix]], too".into(),
            );
        }
        for (key, value) in [
            ("holdoff", rule.holdoff),
            ("lease", rule.lease),
            ("stale", rule.stale),
        ] {
            if value.is_some_and(|value| value.as_u64() == 0 || value > Millis::from_secs(3600)) {
                add(key, "must be from 1ms to 1h".into());
            }
        }
        if rule.lease_wait > Millis::from_secs(10) {
            add("lease_wait", "must be at most 10s".into());
        }
        if rule.stale.is_some() && rule.lease.is_none() {
            add(
                "stale",
                "needs lease: the copy is for those who would wait".into(),
            );
        }
        for name in &rule.deny {
            if name != "*" && command::find(name.as_bytes()).is_none() {
                add(
                    "deny",
                    format!("{name:?} is no command of Redis that is known here"),
                );
            }
        }
    }
    problems
}
