//! What a look at a server means for reads. Pure.

use std::time::Duration;

/// What a server is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    Replica,
}

impl Role {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// How far behind a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lag {
    /// As SHOW REPLICA STATUS says.
    Seconds(u64),
    /// NULL: replication is not running, or nobody knows. Not zero.
    Unknown,
    /// The account may not see it.
    NoRight,
    /// The server replicates from nobody.
    NotAReplica,
}

/// One look at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) read_only: bool,
    pub(crate) lag: Lag,
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Does what its role says.
    Fit,
    /// No answer.
    Away,
    /// A primary that takes no writes.
    ReadOnlyPrimary,
    /// A replica that takes writes: promoted, or never one.
    WritableReplica,
    /// Further behind than allowed.
    Lagging { seconds: u64 },
    /// Nobody knows how far behind.
    LagUnknown,
    /// The account may not see how far behind.
    LagHidden,
}

impl Verdict {
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Away => "away",
            Self::ReadOnlyPrimary => "read_only_primary",
            Self::WritableReplica => "writable_replica",
            Self::Lagging { .. } => "lagging",
            Self::LagUnknown => "lag_unknown",
            Self::LagHidden => "lag_hidden",
        }
    }

    /// For people.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Fit => String::new(),
            Self::Away => "does not answer".to_owned(),
            Self::ReadOnlyPrimary => "the primary is read-only: a failover may be under way".to_owned(),
            Self::WritableReplica => "is writable: promoted, or not a replica".to_owned(),
            Self::Lagging { seconds } => format!("is {seconds} s behind"),
            Self::LagUnknown => "its lag is unknown: replication does not run".to_owned(),
            Self::LagHidden => {
                "its lag cannot be seen: GRANT REPLICATION CLIENT to the monitor's account, or set mysql.monitor.lag_unknown = \"use\"".to_owned()
            }
        }
    }
}

/// What `seen` means for a server with this role; `None` if it did not answer.
pub(crate) fn judge(
    role: Role,
    seen: Option<&Observation>,
    lag_max: Duration,
    use_unknown: bool,
) -> Verdict {
    let Some(seen) = seen else {
        return Verdict::Away;
    };
    match role {
        Role::Primary if seen.read_only => Verdict::ReadOnlyPrimary,
        Role::Primary => Verdict::Fit,
        Role::Replica if !seen.read_only && seen.lag == Lag::NotAReplica => {
            Verdict::WritableReplica
        }
        Role::Replica => match seen.lag {
            Lag::Seconds(seconds) if Duration::from_secs(seconds) > lag_max => {
                Verdict::Lagging { seconds }
            }
            Lag::Seconds(_) => Verdict::Fit,
            Lag::NoRight if use_unknown => Verdict::Fit,
            Lag::NoRight => Verdict::LagHidden,
            Lag::Unknown | Lag::NotAReplica => Verdict::LagUnknown,
        },
    }
}

#[cfg(test)]
mod tests;
