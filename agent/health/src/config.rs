//! The `[health]` table: where to answer, what to check, and when a fault costs this instance its traffic. No IO.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyper::Uri;
use lamplighter_core::config::Problem;
use lamplighter_core::net::{HostPort, ListenAddress};
use lamplighter_core::units::Millis;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `[health]`. Every key has a default, so an empty table is a valid agent that only answers probes.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where `/lb`, `/health/azure`, `/livez` and `/readyz` answer. Default `0.0.0.0:8470`: Azure's probes come from
    /// 168.63.129.16 to the address of the network interface, never to loopback.
    pub listen: ListenAddress,
    /// Where `/metrics` answers, and nothing else. Default `0.0.0.0:9470`.
    pub metrics_listen: ListenAddress,
    /// Where the status page answers, read-only. Default `127.0.0.1:8471`; loopback addresses only.
    pub admin_listen: SocketAddr,
    /// The unix socket for the same page and for `drain`, `undrain` and `reload`. Default
    /// `/run/lamplighter/admin.sock`; its mode is 0660, so root and our own group may use it.
    pub admin_socket: PathBuf,
    /// A folder that is empty after a reboot. Default `/run/lamplighter`. Holds the mark that tells a restart of the agent
    /// from a start of the machine.
    pub runtime_dir: PathBuf,
    /// How often the load balancer asks. Default `5s`, the Azure portal's value.
    pub probe_interval: Millis,
    /// How many answers in a row the load balancer wants before it changes its mind (`probeThreshold`). Default 2.
    pub probe_threshold: u32,
    /// Whether whoever asks `/lb` from this very machine is a load balancer that must be given time to look away. Default
    /// false: it is a person, a script or another agent.
    pub loopback_is_balancer: bool,
    /// The local web server. Left out: none is checked.
    pub web: Option<WebConfig>,
    /// When a fault costs the instance its traffic or its life.
    pub policy: Policy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8470))),
            metrics_listen: ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9470))),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8471)),
            admin_socket: PathBuf::from("/run/lamplighter/admin.sock"),
            runtime_dir: PathBuf::from("/run/lamplighter"),
            probe_interval: Millis::from_secs(5),
            probe_threshold: 2,
            loopback_is_balancer: false,
            web: None,
            policy: Policy::default(),
        }
    }
}

/// `[health.web]`: the check of the local web server, on our own clock and never inside a probe.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    /// What to get, for example `http://127.0.0.1/healthz.php`. A page that runs PHP and asks no server.
    pub url: WebUrl,
    /// The `Host` header. Default: the host of `url`. For sites that are served by name.
    #[serde(default)]
    pub host: Option<String>,
    /// The time between two checks. Default `2s`; after a failure the next check comes after a quarter of it.
    #[serde(default = "default_interval")]
    pub interval: Millis,
    /// How long one check may take in all. Default `1s`.
    #[serde(default = "default_timeout")]
    pub timeout: Millis,
    /// How many failures in a row make the web server bad. Default 3.
    #[serde(default = "default_fall")]
    pub fall: u32,
    /// How many successes in a row make it good again. Default 2; the first verdict after a start needs one only.
    #[serde(default = "default_rise")]
    pub rise: u32,
    /// The status that is good. Default 200.
    #[serde(default = "default_status")]
    pub expect_status: u16,
    /// Text that the body must hold. Default: any body will do. The first 64 KiB are looked at.
    #[serde(default)]
    pub expect_body: Option<String>,
}

impl WebConfig {
    /// The check of `url` with every other key at its default.
    #[must_use]
    pub const fn new(url: WebUrl) -> Self {
        Self {
            url,
            host: None,
            interval: default_interval(),
            timeout: default_timeout(),
            fall: default_fall(),
            rise: default_rise(),
            expect_status: default_status(),
            expect_body: None,
        }
    }
}

const fn default_interval() -> Millis {
    Millis::from_secs(2)
}

const fn default_timeout() -> Millis {
    Millis::from_secs(1)
}

const fn default_fall() -> u32 {
    3
}

const fn default_rise() -> u32 {
    2
}

const fn default_status() -> u16 {
    200
}

/// `[health.policy]`: the bounds of the policy table in [`crate::verdict`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How long a fault that only this machine has must stand before `/lb` says 503. Default `5s`.
    pub shed_after: Millis,
    /// How long it, or a failing web server, must stand before Application Health is told `Unhealthy`, upon which the scale set
    /// replaces the machine. Default `5m`.
    pub unhealthy_after: Millis,
    /// How long a runtime of the agent may stand still before `/lb` says 503. Default `5s`.
    pub stall_after: Millis,
    /// How long it may stand still before Application Health gets no state any more. Default `60s`: the watchdog of systemd
    /// has restarted the agent long before.
    pub stall_unknown_after: Millis,
    /// Whether a web server that is slow or answers badly *while a shared server is down* is left in the pool: every
    /// instance has the same trouble then. One that refuses connections is taken out in any case. Default true.
    pub shared_outage_excuses_web: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            shed_after: Millis::from_secs(5),
            unhealthy_after: Millis::from_secs(300),
            stall_after: Millis::from_secs(5),
            stall_unknown_after: Millis::from_secs(60),
            shared_outage_excuses_web: true,
        }
    }
}

/// Ports that Azure's load balancer cannot probe (Azure Load Balancer, "health probes", limitations).
const UNPROBEABLE: [u16; 9] = [19, 21, 25, 70, 110, 119, 143, 220, 993];

impl Config {
    /// Rules that serde cannot express.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let ListenAddress::Tcp(address) = &self.listen
            && UNPROBEABLE.contains(&address.port())
        {
            problems.push(Problem::new(
                "listen",
                format!(
                    "Azure Load Balancer refuses to probe port {}; choose another",
                    address.port()
                ),
            ));
        }
        if !self.admin_listen.ip().is_loopback() {
            problems.push(Problem::new(
                "admin_listen",
                format!(
                    "{} is not a loopback address; the status page is for this machine only",
                    self.admin_listen.ip()
                ),
            ));
        }
        for (key, path) in [
            ("admin_socket", &self.admin_socket),
            ("runtime_dir", &self.runtime_dir),
        ] {
            if !path.is_absolute() {
                problems.push(Problem::new(key, "write an absolute path"));
            }
        }
        if self.probe_interval.as_u64() == 0 {
            problems.push(Problem::new("probe_interval", "must be more than 0"));
        }
        if !(1..=100).contains(&self.probe_threshold) {
            problems.push(Problem::new("probe_threshold", "must be from 1 to 100"));
        }
        if let Some(web) = &self.web {
            web.problems(&mut problems);
        }
        let policy = &self.policy;
        if policy.stall_after.get() < Duration::from_secs(1) {
            problems.push(Problem::new(
                "policy.stall_after",
                "must be at least 1s: a live runtime shows itself four times a second",
            ));
        }
        if policy.stall_unknown_after < policy.stall_after {
            problems.push(Problem::new(
                "policy.stall_unknown_after",
                "must not be less than stall_after",
            ));
        }
        if policy.unhealthy_after < policy.shed_after {
            problems.push(Problem::new(
                "policy.unhealthy_after",
                "must not be less than shed_after: the machine would be replaced before its traffic is taken away",
            ));
        }
        problems
    }
}

impl WebConfig {
    fn problems(&self, problems: &mut Vec<Problem>) {
        for (key, millis) in [
            ("web.interval", self.interval),
            ("web.timeout", self.timeout),
        ] {
            if millis.get() < Duration::from_millis(10) {
                problems.push(Problem::new(key, "must be at least 10ms"));
            }
        }
        for (key, count) in [("web.fall", self.fall), ("web.rise", self.rise)] {
            if !(1..=1000).contains(&count) {
                problems.push(Problem::new(key, "must be from 1 to 1000"));
            }
        }
        if !(100..=599).contains(&self.expect_status) {
            problems.push(Problem::new(
                "web.expect_status",
                format!("{} is not an HTTP status", self.expect_status),
            ));
        }
        if let Some(host) = &self.host
            && hyper::header::HeaderValue::from_str(host).is_err()
        {
            problems.push(Problem::new("web.host", "holds characters a header cannot"));
        }
    }
}

/// The URL of the web check: `http` only, because the check never leaves the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl {
    text: String,
    server: HostPort,
    path: String,
    host: String,
}

/// Text that is no URL for the web check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not of the form \"http://127.0.0.1/healthz.php\" (http only: the web server is on this machine)"
)]
pub struct WebUrlError(String);

impl WebUrl {
    /// Whom to connect to.
    #[must_use]
    pub const fn server(&self) -> &HostPort {
        &self.server
    }

    /// The request target: path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The `Host` header as the URL has it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for WebUrl {
    type Err = WebUrlError;

    fn from_str(text: &str) -> Result<Self, WebUrlError> {
        let refused = || WebUrlError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?;
        if uri.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(refused());
        }
        let port = authority.port_u16().unwrap_or(80);
        let server = format!("{}:{port}", authority.host())
            .parse()
            .map_err(|_| refused())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            text: text.to_owned(),
            server,
            path: path.to_owned(),
            host: authority.as_str().to_owned(),
        })
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for WebUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for WebUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
