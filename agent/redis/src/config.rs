//! The table `[redis]`. Pure; no IO.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use lamplighter_core::config::{Problem, SecretFile};
use lamplighter_core::net::{DialOptions, HostPort, ListenAddress};
use lamplighter_core::tls::TlsConfig;
use lamplighter_core::units::Millis;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::endpoint::{EndpointConfig, PrefixConfig, prefix_problems};

/// The table `[redis]`: the one Redis that the fleet shares.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients on this machine reach Redis: unix sockets, or TCP on loopback. Default: nowhere, there is no endpoint.
    #[serde(default)]
    pub listen: Vec<ListenAddress>,
    /// Permission bits of unix sockets, in octal. Default `"0660"`.
    #[serde(default = "default::socket_mode")]
    pub socket_mode: String,
    /// The most clients at once. Default 10000.
    #[serde(default = "default::clients_max")]
    pub clients_max: usize,
    /// The file with the password that clients have to give. Default: none, whoever can reach the socket may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients_password_file: Option<SecretFile>,
    /// The server: `"rediss://host:6380"` (Azure Cache for Redis) or `"rediss://host:10000"` (Azure Managed Redis).
    /// `redis://` (no TLS) is for loopback only. No user and no password in it.
    pub upstream: UpstreamUrl,
    /// What stands behind the address; decides how a batch is fenced. Default `"single"`.
    #[serde(default)]
    pub kind: ServerKind,
    /// Who the agent is to Redis: `"password"` (default; with `password_file`, or nobody) or `"managed-identity"`.
    #[serde(default)]
    pub auth: Auth,
    /// The ACL user. Default: none, which is Redis' user `default`, or the object id of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the password or access key, read again at every connection. Default: none, no authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<SecretFile>,
    /// How to check the server's certificate, for `rediss://`.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The database number; anything but the default 0 costs a SELECT, which Azure Managed Redis refuses.
    #[serde(default)]
    pub db: u16,
    /// Limit for resolving, connecting, TLS and AUTH together. Default `"5s"`, as Microsoft advises.
    #[serde(default = "default::connect_timeout")]
    pub connect_timeout: Millis,
    /// Limit for the answer to one small command. Default `"1500ms"`: a planned failover takes less than a second.
    #[serde(default = "default::command_timeout")]
    pub command_timeout: Millis,
    /// Limit for the answer to one batch of writes. Default `"5s"`.
    #[serde(default = "default::write_timeout")]
    pub write_timeout: Millis,
    /// How often the idle connection is tried with PING. Default `"30s"`; Azure closes after 10 minutes of silence.
    #[serde(default = "default::ping_interval")]
    pub ping_interval: Millis,
    /// How many warm jobs this instance runs at the same time, each with one MySQL and one Redis connection. Default 2.
    #[serde(default = "default::warm_jobs_max")]
    pub warm_jobs_max: u16,
    /// How many rows all warm jobs of this instance read in a second at most; less while MySQL or Redis show strain. Default 50000.
    #[serde(default = "default::warm_rows_per_second")]
    pub warm_rows_per_second: u32,
    /// How clients share the connections.
    #[serde(default)]
    pub endpoint: EndpointConfig,
    /// Rules for keys that begin alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<PrefixConfig>,
}

mod default {
    use super::Millis;

    pub(super) fn socket_mode() -> String {
        "0660".to_owned()
    }
    pub(super) const fn clients_max() -> usize {
        10_000
    }

    pub(super) const fn connect_timeout() -> Millis {
        Millis::from_secs(5)
    }
    pub(super) const fn command_timeout() -> Millis {
        Millis::new(1500)
    }
    pub(super) const fn write_timeout() -> Millis {
        Millis::from_secs(5)
    }
    pub(super) const fn ping_interval() -> Millis {
        Millis::from_secs(30)
    }
    pub(super) const fn warm_jobs_max() -> u16 {
        2
    }
    pub(super) const fn warm_rows_per_second() -> u32 {
        50_000
    }
}

/// What stands behind the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// One primary that holds every key: Azure Cache for Redis without clustering, Azure Managed Redis "non-clustered". Batches
    /// are transactions that watch the job's generation.
    #[default]
    Single,
    /// A proxy in front of shards: Azure Managed Redis with the "Enterprise" policy. A transaction cannot span its
    /// shards, so the generation is only read beside each batch.
    Enterprise,
    /// Shards that clients have to find themselves: Azure Managed Redis with the "OSS" policy, Azure Cache for Redis with
    /// clustering. The endpoint finds them for its clients.
    Cluster,
}

/// Who the agent is to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// A password or access key in a file, or nobody.
    #[default]
    Password,
    /// The machine's managed identity, whose tokens are shown over TLS only.
    ManagedIdentity,
}

impl Config {
    /// Whether there is an endpoint: for clients, or in front of a cluster, whose shards it finds for the agent's own jobs.
    #[must_use]
    pub fn has_endpoint(&self) -> bool {
        !self.listen.is_empty() || self.kind == ServerKind::Cluster
    }

    /// A configuration with everything but the address at its default.
    #[must_use]
    pub fn new(upstream: UpstreamUrl) -> Self {
        Self {
            listen: Vec::new(),
            socket_mode: default::socket_mode(),
            clients_max: default::clients_max(),
            clients_password_file: None,
            auth: Auth::default(),
            endpoint: EndpointConfig::default(),
            prefix: Vec::new(),
            upstream,
            kind: ServerKind::default(),
            user: None,
            password_file: None,
            tls: TlsConfig::default(),
            db: 0,
            connect_timeout: default::connect_timeout(),
            command_timeout: default::command_timeout(),
            write_timeout: default::write_timeout(),
            ping_interval: default::ping_interval(),
            warm_jobs_max: default::warm_jobs_max(),
            warm_rows_per_second: default::warm_rows_per_second(),
        }
    }

    /// Rules that serde cannot express.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |key: &str, message: String| problems.push(Problem::new(key, message));
        if self.upstream.holds_credentials {
            add(
                "upstream",
                "holds a user or password; write user = \"...\" and password_file = \"...\" instead"
                    .into(),
            );
        }
        if !self.upstream.tls && !self.upstream.is_loopback() {
            add(
                "upstream",
                format!(
                    "redis:// sends keys, values and the password in the clear; write rediss://{}",
                    self.upstream.address
                ),
            );
        }
        if self.upstream.tls && !self.tls.enabled {
            add(
                "tls.enabled",
                "is false, but the upstream is rediss://; leave it out, or write redis:// for a server on this machine"
                    .into(),
            );
        }
        self.auth_problems(&mut add);
        if self.kind != ServerKind::Single && self.db != 0 {
            add(
                "db",
                "must be 0: there is one database behind shards".into(),
            );
        }
        self.listen_problems(&mut add);
        self.endpoint.problems(&mut add);
        for (key, value) in [
            ("connect_timeout", self.connect_timeout),
            ("command_timeout", self.command_timeout),
            ("write_timeout", self.write_timeout),
            ("ping_interval", self.ping_interval),
        ] {
            if value.as_u64() == 0 {
                add(key, "must be longer than 0".into());
            }
        }
        if self.ping_interval > Millis::from_secs(540) {
            add(
                "ping_interval",
                "must be at most 9m: Azure closes connections after 10 minutes of silence".into(),
            );
        }
        if self.warm_jobs_max == 0 {
            add("warm_jobs_max", "must be at least 1".into());
        }
        if self.warm_rows_per_second == 0 {
            add("warm_rows_per_second", "must be at least 1".into());
        }
        problems.extend(prefix_problems(&self.prefix));
        problems
    }

    fn auth_problems(&self, add: &mut impl FnMut(&str, String)) {
        match self.auth {
            Auth::Password if self.user.is_some() && self.password_file.is_none() => {
                add("password_file", "is needed when user is set".into());
            }
            Auth::ManagedIdentity if self.password_file.is_some() => {
                add(
                    "password_file",
                    "is not used with auth = \"managed-identity\"; leave one of them out".into(),
                );
            }
            Auth::ManagedIdentity if !self.upstream.tls => {
                add(
                    "upstream",
                    "must be rediss:// with auth = \"managed-identity\": a token is shown over TLS only".into(),
                );
            }
            _ => {}
        }
    }

    fn listen_problems(&self, add: &mut impl FnMut(&str, String)) {
        for address in &self.listen {
            if let ListenAddress::Tcp(socket) = address
                && !socket.ip().is_loopback()
            {
                add(
                    "listen",
                    format!(
                        "{address} can be reached from other machines, and nothing there is encrypted; write unix:/run/lamplighter/redis.sock or an address of 127.0.0.1"
                    ),
                );
            }
        }
        if self.socket_mode_bits().is_none() {
            add(
                "socket_mode",
                "must be octal permission bits, such as \"0660\"".into(),
            );
        }
        if self.clients_max == 0 {
            add("clients_max", "must be at least 1".into());
        }
    }

    /// `socket_mode` as bits.
    pub(crate) fn socket_mode_bits(&self) -> Option<u32> {
        u32::from_str_radix(&self.socket_mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
    }

    pub(crate) fn dial_options(&self) -> DialOptions {
        DialOptions {
            connect_timeout: self.connect_timeout.get(),
            ..DialOptions::default()
        }
    }
}

/// Where the server is and whether TLS is spoken, written as `rediss://host:port` or `redis://host:port`.
///
/// A URL with user information parses, but what was in it is dropped and [`Config::problems`] refuses it: an error of
/// the parser would be printed with the line it came from, and so with the password.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// `rediss`.
    pub tls: bool,
    /// Host and port.
    pub address: HostPort,
    holds_credentials: bool,
}

/// Text that is no address of a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No `redis://` or `rediss://` in front.
    #[error("must begin with \"rediss://\" (TLS) or, on loopback, \"redis://\"")]
    Scheme,
    /// A path or query behind the port.
    #[error("must end after the port; the database has a key of its own: db = 0")]
    Rest,
    /// No host and port.
    #[error(
        "must name host and port, as in \"rediss://host:6380\" (Azure Cache for Redis) or \"rediss://host:10000\" (Azure Managed Redis)"
    )]
    Address,
}

impl UpstreamUrl {
    /// Whether the server is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.address.host.as_str();
        host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for UpstreamUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (tls, rest) = match text.split_once("://") {
            Some(("rediss", rest)) => (true, rest),
            Some(("redis", rest)) => (false, rest),
            _ => return Err(UrlError::Scheme),
        };
        // the last one: a password may hold an "@"
        let (holds_credentials, rest) = match rest.rsplit_once('@') {
            Some((_, rest)) => (true, rest),
            None => (false, rest),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(UrlError::Rest);
        }
        Ok(Self {
            tls,
            address: rest.parse().map_err(|_| UrlError::Address)?,
            holds_credentials,
        })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}", self.address)
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for UpstreamUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for UpstreamUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
