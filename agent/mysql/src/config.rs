//! The `[mysql]` table: what each key means, its default and why. Pure; no IO.

mod pool;
mod replicas;

use std::collections::BTreeMap;
use std::time::Duration;

use lamplighter_core::config::{Problem, SecretFile};
use lamplighter_core::net::{HostPort, ListenAddress};
use lamplighter_core::tls::{TlsConfig, Verify};
use lamplighter_core::units::{Bytes, Millis, Percent};
use lamplighter_wire::mysql::compress::Algorithm;
use serde::{Deserialize, Serialize};

pub(crate) use pool::OWN_CONNECTIONS;
pub use pool::Pool;
pub use replicas::{Heartbeat, ReplicaOptions, Rule};

/// The user name under which the agent's own jobs connect; by SO_PEERCRED only.
pub const INTERNAL_USER: &str = "lamplighter";

/// The most digests that may be kept.
const DIGESTS_MAX: usize = 10_000;

/// The local MySQL endpoint.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients connect. Unix sockets and loopback TCP only: the endpoint speaks no TLS to clients.
    #[serde(default = "default_listen")]
    pub listen: Vec<ListenAddress>,
    /// Permission bits of the unix sockets, octal. Default `"0666"`: who may log in is decided by the peer's user id, not by the file.
    #[serde(default = "default_socket_mode")]
    pub socket_mode: String,
    /// The server that takes writes.
    pub primary: HostPort,
    /// Servers that may answer reads outside transactions.
    #[serde(default)]
    pub replicas: Vec<HostPort>,
    /// The agent's own account on the servers.
    pub user: String,
    /// How that account proves itself: `"password"` (default, with `password_file`), or `"managed-identity"` (Microsoft Entra, with
    /// tokens of `[platform.identity]`, over TLS with `verify = "identity"` only).
    #[serde(default)]
    pub auth: Auth,
    /// The file with that account's password; read at each new server connection, so a rotated password is picked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<SecretFile>,
    /// TLS to the servers.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Whether packets to and from the servers are compressed. Default `"none"`: inside one region the network is faster than any
    /// compression; between regions, or where traffic is paid for, `"zstd"` is the cheaper one.
    #[serde(default)]
    pub compression: Compression,
    /// How hard: 1 to 9 for zlib (default 1), 1 to 22 for zstd (default 3). What the server sends is compressed at this level with
    /// zstd only; with zlib it chooses for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_level: Option<u8>,
    /// What a read may miss. Default `"session"`.
    #[serde(default)]
    pub consistency: Consistency,
    /// How long a read waits on a replica for a write that it has to see, before it goes to the primary; 0 not at all. Only where
    /// the servers name what is written (`gtid_mode = ON`). Default 20 ms.
    #[serde(default = "default_read_wait")]
    pub read_wait: Millis,
    /// Clients connected at once; more wait in the kernel's queue. Default 10000.
    #[serde(default = "default_clients_max")]
    pub clients_max: usize,
    /// How long a client may take to log in. Default 10 s.
    #[serde(default = "default_login_timeout")]
    pub login_timeout: Millis,
    /// Limit for reaching a server, TLS and login together. Default 5 s.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Millis,
    /// Let clients send files with LOAD DATA LOCAL. Default false, as in MySQL: a hostile server could ask for any file.
    #[serde(default)]
    pub local_infile: bool,
    /// Statements up to this size are read before they are sent, to see what they do; larger ones go to the primary and keep
    /// their connection. Default 1 MiB.
    #[serde(default = "default_statement_size_max")]
    pub statement_size_max: Bytes,
    /// Digests whose statistics are kept, for `lamplighter mysql top`; 0 keeps none. Default 500, which take 1 to 2 MiB.
    #[serde(default = "default_digests_max")]
    pub digests_max: usize,
    /// Who may connect locally, by user name.
    #[serde(default)]
    pub clients: BTreeMap<String, Client>,
    /// Server connections.
    #[serde(default)]
    pub pool: Pool,
    /// How the servers are watched.
    #[serde(default)]
    pub monitor: Monitor,
    /// The row that is counted up on the primary, to see when it arrives at the replicas.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// What is special about a replica, by its `"host:port"`.
    #[serde(default)]
    pub replica: BTreeMap<String, ReplicaOptions>,
    /// Statements whose reads go elsewhere than their client's other reads; the first one that fits counts.
    #[serde(default)]
    pub rule: Vec<Rule>,
}

/// How the agent's account proves itself to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// By a password.
    #[default]
    Password,
    /// By a token of the machine's identity.
    ManagedIdentity,
}

/// Who may log in under one name.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// Local users who need no password on a unix socket; the kernel vouches for them (SO_PEERCRED).
    pub peer_users: Vec<String>,
    /// The file with the password for everybody else (caching_sha2_password or mysql_native_password).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<SecretFile>,
    /// What its reads may miss. Default: as for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Where its reads may go. Default `"replicas"`.
    pub reads: ReadsFrom,
    /// The most that all of its connections together get of each server's connections; at least one. Default 100%.
    pub share: Percent,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            peer_users: Vec::new(),
            password_file: None,
            consistency: None,
            reads: ReadsFrom::default(),
            share: Percent::new(100.0),
        }
    }
}

/// How packets to and from the servers are compressed. A server that does not offer it is spoken to without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As every MySQL and MariaDB can.
    Zlib,
    /// Since MySQL 8.0.18.
    Zstd,
}

impl Compression {
    /// The highest level.
    const fn level_max(self) -> u8 {
        match self {
            // whatever it is, it is not used
            Self::None => 22,
            Self::Zlib => 9,
            Self::Zstd => 22,
        }
    }
}

/// What a read may miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Reads may be as old as `monitor.lag_max` allows.
    Eventual,
    /// A client sees what it wrote since it connected.
    #[default]
    Session,
    /// A client sees what was written through this agent by clients of the same user and key, before it connected, too.
    Instance,
    /// As `instance`, through every agent of the scale set; needs `[redis]`.
    Fleet,
}

/// Where plain reads may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadsFrom {
    /// To a replica, if one is fit and new enough; else to the primary.
    #[default]
    Replicas,
    /// To the primary, always.
    Primary,
}

impl Consistency {
    /// As in the configuration.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Eventual => "eventual",
            Self::Session => "session",
            Self::Instance => "instance",
            Self::Fleet => "fleet",
        }
    }
}

/// How the servers are watched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// Pause between two looks at a server. Default 1 s.
    pub interval: Millis,
    /// A replica further behind gets no reads. Default 10 s.
    pub lag_max: Millis,
    /// What to do with a replica whose lag cannot be seen (no REPLICATION CLIENT right): `"avoid"` (default) or `"use"`.
    pub lag_unknown: LagUnknown,
    /// Another account to watch with. Default: the endpoint's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// That account's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<SecretFile>,
}

impl Monitor {
    /// How old an answer of a replica may be at most: its lag, in whole seconds, when it was looked at last, and the time since.
    #[must_use]
    pub fn behind_max(&self) -> Duration {
        self.lag_max.get() + self.interval.get() + Duration::from_secs(1)
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            interval: Millis::from_secs(1),
            lag_max: Millis::from_secs(10),
            lag_unknown: LagUnknown::Avoid,
            user: None,
            password_file: None,
        }
    }
}

/// What to do with a replica whose lag cannot be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LagUnknown {
    /// Give it no reads.
    #[default]
    Avoid,
    /// Give it reads all the same.
    Use,
}

fn default_listen() -> Vec<ListenAddress> {
    vec![ListenAddress::Unix("/run/lamplighter/mysql.sock".into())]
}

fn default_socket_mode() -> String {
    "0666".to_owned()
}

const fn default_clients_max() -> usize {
    10_000
}

const fn default_login_timeout() -> Millis {
    Millis::from_secs(10)
}

const fn default_connect_timeout() -> Millis {
    Millis::from_secs(5)
}

const fn default_read_wait() -> Millis {
    Millis::new(20)
}

const fn default_digests_max() -> usize {
    500
}

const fn default_statement_size_max() -> Bytes {
    Bytes::from_mib(1)
}

impl Config {
    /// The permission bits of `socket_mode`.
    #[must_use]
    pub fn socket_mode_bits(&self) -> Option<u32> {
        u32::from_str_radix(&self.socket_mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
    }

    /// Rules that serde cannot express.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |key: &str, message: String| problems.push(Problem::new(key, message));
        if self.listen.is_empty() {
            add("listen", "needs at least one address".to_owned());
        }
        for address in &self.listen {
            if let ListenAddress::Tcp(socket) = address
                && !socket.ip().is_loopback()
            {
                add(
                    "listen",
                    format!(
                        "{address} is not loopback; clients are not encrypted here, so listen on 127.0.0.1 or a unix socket"
                    ),
                );
            }
        }
        self.auth_problems(&mut add);
        if self.socket_mode_bits().is_none() {
            add(
                "socket_mode",
                format!("{:?} is no octal mode such as \"0666\"", self.socket_mode),
            );
        }
        if self.clients.is_empty() {
            add("clients", "nobody may connect; add for example [mysql.clients.web] with peer_users = [\"www-data\"]".to_owned());
        }
        for (name, client) in &self.clients {
            let key = format!("clients.{name}");
            if name == INTERNAL_USER {
                add(&key, "is the agent's own name; choose another".to_owned());
            } else if client.peer_users.is_empty() && client.password_file.is_none() {
                add(&key, "needs peer_users or password_file".to_owned());
            }
        }
        if self.clients_max == 0 {
            add("clients_max", "must be at least 1".to_owned());
        }
        if self.monitor.interval.as_u64() < 100 {
            add(
                "monitor.interval",
                "is shorter than 100ms; it would load the servers".to_owned(),
            );
        }
        if self.monitor.user.is_some() != self.monitor.password_file.is_some() {
            add(
                "monitor.user",
                "and monitor.password_file go together".to_owned(),
            );
        }
        if self.replicas.contains(&self.primary) {
            add(
                "replicas",
                format!("{} is the primary; leave it out", self.primary),
            );
        }
        problems.extend(self.smaller_problems());
        problems
    }

    /// What packets to and from the servers are compressed with.
    pub(crate) fn compression_algorithm(&self) -> Option<Algorithm> {
        match self.compression {
            Compression::None => None,
            Compression::Zlib => Some(Algorithm::Zlib(self.compression_level.unwrap_or(1))),
            Compression::Zstd => Some(Algorithm::Zstd(self.compression_level.unwrap_or(3))),
        }
    }

    fn smaller_problems(&self) -> impl Iterator<Item = Problem> {
        [self.digests_problem(), self.compression_problem()]
            .into_iter()
            .flatten()
            .chain(self.pool.problems())
            .chain(self.replica_problems())
    }

    fn compression_problem(&self) -> Option<Problem> {
        let level = self.compression_level?;
        let max = self.compression.level_max();
        let text = format!("is {level}; it goes from 1 to {max}");
        let fits = (1..=max).contains(&level);
        (!fits).then(|| Problem::new("compression_level", text))
    }

    /// Whether anybody's reads have to see what was written through other agents.
    #[must_use]
    pub fn wants_fleet(&self) -> bool {
        let of_clients = self.clients.values().filter_map(|it| it.consistency);
        std::iter::once(self.consistency)
            .chain(of_clients)
            .any(|it| it == Consistency::Fleet)
    }

    /// Whether the account proves itself by tokens of the machine's identity.
    #[must_use]
    pub fn wants_tokens(&self) -> bool {
        self.auth == Auth::ManagedIdentity
    }

    fn auth_problems(&self, add: &mut impl FnMut(&str, String)) {
        match self.auth {
            Auth::Password if self.password_file.is_none() => add(
                "password_file",
                "is needed, or auth = \"managed-identity\"".to_owned(),
            ),
            Auth::Password => {}
            Auth::ManagedIdentity => {
                if self.password_file.is_some() {
                    add(
                        "password_file",
                        "and auth = \"managed-identity\" exclude each other".to_owned(),
                    );
                }
                if !self.tls.enabled || self.tls.verify != Verify::Identity {
                    add(
                        "tls.verify",
                        "a token is only shown to a server whose certificate and name are checked: enabled = true, verify = \"identity\""
                            .to_owned(),
                    );
                }
            }
        }
    }

    fn digests_problem(&self) -> Option<Problem> {
        let message = format!("is more than {DIGESTS_MAX}; each takes about 3 KiB");
        (self.digests_max > DIGESTS_MAX).then(|| Problem::new("digests_max", message))
    }

    /// Every secret file it names, with its key.
    #[must_use]
    pub fn secret_files(&self) -> Vec<(String, &SecretFile)> {
        let mut files = Vec::new();
        if let Some(file) = &self.password_file {
            files.push(("password_file".to_owned(), file));
        }
        for (name, client) in &self.clients {
            if let Some(file) = &client.password_file {
                files.push((format!("clients.{name}.password_file"), file));
            }
        }
        if let Some(file) = &self.monitor.password_file {
            files.push(("monitor.password_file".to_owned(), file));
        }
        files
    }
}

#[cfg(test)]
mod tests;
