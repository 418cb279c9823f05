//! The `[platform]` table. No IO.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lamplighter_core::config::Problem;
use lamplighter_core::tls::CaSource;
use lamplighter_core::units::Millis;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::http::Origin;

/// `[platform]`. Every key has a default, and the table may be left out: systemd is served in any case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The instance metadata service: `"auto"` (default: `http://169.254.169.254` on a machine whose firmware says that it is
    /// Azure's, else none), `"off"`, or an address of its own.
    pub imds: ImdsAddress,
    /// How long a runtime of the agent may stand still before the watchdog of systemd is no longer fed, which restarts the agent
    /// when `WatchdogSec=` has passed. Default `10s`. Without `WatchdogSec=` in the unit it has no effect.
    pub stall_after: Millis,
    /// Whose tokens are shown to servers with `auth = "managed-identity"`.
    pub identity: Identity,
    /// What is done about scheduled events.
    pub events: Events,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            imds: ImdsAddress::Auto,
            stall_after: Millis::from_secs(10),
            identity: Identity::default(),
            events: Events::default(),
        }
    }
}

/// Where the instance metadata service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImdsAddress {
    /// Where Azure has it, if this is a machine of Azure's.
    Auto,
    /// Nobody is asked.
    Off,
    /// There.
    At(String),
}

impl ImdsAddress {
    /// The address in Azure ("Azure Instance Metadata Service").
    pub const AZURE: &'static str = "http://169.254.169.254";
}

impl FromStr for ImdsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => match text.parse::<Origin>() {
                Ok(origin) if !origin.tls => Ok(Self::At(text.to_owned())),
                Ok(_) => Err("the service speaks plain http only".to_owned()),
                Err(error) => Err(format!("{error}, nor \"auto\" nor \"off\"")),
            },
        }
    }
}

impl fmt::Display for ImdsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::At(address) => address,
        })
    }
}

impl<'de> Deserialize<'de> for ImdsAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for ImdsAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `[platform.identity]`: one identity for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// `"managed"` (default): the instance metadata service gives the tokens. `"workload"`: Entra does, against a token that
    /// somebody else keeps fresh in `token_file`.
    pub kind: IdentityKind,
    /// The user-assigned identity, by client id. Left out, with the next two: the system-assigned one. For `"workload"`: required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The user-assigned identity, by object id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
    /// The user-assigned identity, by resource id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// `"workload"`: the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// `"workload"`: the file with the federated token, read at each use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// `"workload"`: Entra. Default `https://login.microsoftonline.com`.
    pub authority: Authority,
    /// `"workload"`: whom to trust for it: `"system"` (default) or a PEM file.
    pub authority_ca: AuthorityCa,
}

/// Who gives tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityKind {
    /// The instance metadata service.
    #[default]
    Managed,
    /// Entra.
    Workload,
}

/// The address of Entra.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Authority(pub String);

impl Default for Authority {
    fn default() -> Self {
        Self("https://login.microsoftonline.com".to_owned())
    }
}

/// Whom to trust for Entra's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct AuthorityCa(pub CaSource);

impl Default for AuthorityCa {
    fn default() -> Self {
        Self(CaSource::System)
    }
}

/// `[platform.events]`: what is done about scheduled events that name this machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Whether events are asked for, each second. Default true. Asking is what makes Azure announce them.
    pub enabled: bool,
    /// The machine stands still for some seconds. Default `"acknowledge"`: it may begin at once, nothing is drained.
    pub freeze: Action,
    /// The longest freeze that `freeze` is about; a longer one, or one of unknown length, is treated as a reboot. Default `9s`.
    pub freeze_limit: Millis,
    /// Default `"drain"`.
    pub reboot: Action,
    /// The machine moves to other hardware and loses its temporary disk. Default `"drain"`.
    pub redeploy: Action,
    /// The machine is deleted. Default `"drain"`.
    pub terminate: Action,
    /// A Spot machine is taken away, 30 s after it was said. Default `"drain"`.
    pub preempt: Action,
    /// How long leaving may take from the moment an event is seen. Default `4m`; never beyond the moment at which Azure acts anyway.
    pub drain_deadline: Millis,
    /// The same for events that a person asked for (`EventSource` is `User`), who waits. Default `2m`.
    pub user_deadline: Millis,
    /// The same for `preempt`. Default `25s`.
    pub preempt_deadline: Millis,
    /// How long an event must be gone before traffic comes back. Default `10s`.
    pub settle: Millis,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            enabled: true,
            freeze: Action::Acknowledge,
            freeze_limit: Millis::from_secs(9),
            reboot: Action::Drain,
            redeploy: Action::Drain,
            terminate: Action::Drain,
            preempt: Action::Drain,
            drain_deadline: Millis::from_secs(240),
            user_deadline: Millis::from_secs(120),
            preempt_deadline: Millis::from_secs(25),
            settle: Millis::from_secs(10),
        }
    }
}

/// What an event of one kind means for this instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is logged and counted.
    Ignore,
    /// Azure may begin at once; nothing is drained.
    Acknowledge,
    /// Leave; Azure acts at the moment it announced.
    Leave,
    /// Leave, then tell Azure that it may begin.
    Drain,
}

impl Config {
    /// Rules that serde cannot express.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |key: &str, message: &str| problems.push(Problem::new(key, message));
        if self.stall_after.get() < Duration::from_secs(1) {
            add(
                "stall_after",
                "must be at least 1s: a live runtime shows itself four times a second",
            );
        }
        let events = &self.events;
        for (key, deadline) in [
            ("events.drain_deadline", events.drain_deadline),
            ("events.user_deadline", events.user_deadline),
            ("events.preempt_deadline", events.preempt_deadline),
        ] {
            if deadline.get() < Duration::from_secs(1) {
                add(key, "must be at least 1s");
            }
        }
        if events.preempt_deadline.get() > Duration::from_secs(29) {
            add(
                "events.preempt_deadline",
                "must be less than the 30s that Azure gives",
            );
        }
        self.identity.problems(&mut add);
        problems
    }
}

impl Identity {
    fn problems(&self, add: &mut impl FnMut(&str, &str)) {
        let named = [&self.client_id, &self.object_id, &self.resource_id];
        if named.iter().filter(|it| it.is_some()).count() > 1 {
            add(
                "identity",
                "client_id, object_id and resource_id exclude each other: name the identity once",
            );
        }
        match self.kind {
            IdentityKind::Managed => {
                if self.tenant_id.is_some() || self.token_file.is_some() {
                    add(
                        "identity.kind",
                        "kind = \"managed\" and tenant_id or token_file exclude each other",
                    );
                }
            }
            IdentityKind::Workload => {
                let plain = |text: &Option<String>| {
                    text.as_deref().is_some_and(|text| {
                        !text.is_empty()
                            && text
                                .bytes()
                                .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.'))
                    })
                };
                if !plain(&self.client_id) {
                    add("identity.client_id", "kind = \"workload\" needs it");
                }
                if !plain(&self.tenant_id) {
                    add(
                        "identity.tenant_id",
                        "kind = \"workload\" needs it: an id or a domain",
                    );
                }
                if self.token_file.as_ref().is_none_or(|it| !it.is_absolute()) {
                    add(
                        "identity.token_file",
                        "kind = \"workload\" needs it: an absolute path",
                    );
                }
                if self.authority().is_none() {
                    add(
                        "identity.authority",
                        "must be an https address; http only for one on this machine",
                    );
                }
            }
        }
    }

    /// Where Entra is, if the address is one: over https, or on this machine.
    pub(crate) fn authority(&self) -> Option<Origin> {
        let origin: Origin = self.authority.0.parse().ok()?;
        let local = ["127.0.0.1", "::1", "localhost"].contains(&&*origin.server.host);
        (origin.tls || local).then_some(origin)
    }
}

#[cfg(test)]
mod tests;
