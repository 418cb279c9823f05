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

/// How far behind a server says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lag {
    /// As SHOW REPLICA STATUS says.
    Seconds(u64),
    /// NULL: replication is not running, or nobody knows. Not zero.
    Unknown,
    /// The account may not see it.
    NoRight,
    /// The server replicates from nobody.
    #[default]
    NotAReplica,
}

/// One look at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Observation {
    pub(crate) read_only: bool,
    pub(crate) lag: Lag,
    /// `gtid_mode = ON`: whoever writes hears the GTID of it.
    pub(crate) names_writes: bool,
    /// Transactions become visible in the order in which the source committed them.
    pub(crate) keeps_order: bool,
    /// How many connections the server takes in all.
    pub(crate) max_connections: Option<usize>,
    /// Another number when what sessions begin with is another.
    pub(crate) defaults: u64,
}

/// What is asked of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) lag_max: Duration,
    /// Use it although the account may not see its lag.
    pub(crate) use_unknown: bool,
}

/// What is known beside the look itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Context {
    /// How old the replica's data are at most, by the heartbeat: better than what it says of itself.
    pub(crate) age: Option<Duration>,
    /// The primary does not answer: a replica that is cut off from it keeps what it has.
    pub(crate) primary_is_away: bool,
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
            Self::WritableReplica => "is writable: promoted, or not a replica; SET GLOBAL read_only = ON if it is one".to_owned(),
            Self::Lagging { seconds } => format!("is {seconds} s behind"),
            Self::LagUnknown => "its lag is unknown: replication does not run".to_owned(),
            Self::LagHidden => {
                "its lag cannot be seen, so it gets no reads: GRANT REPLICATION CLIENT (on MariaDB SLAVE MONITOR) to the monitor's account, or set \
                 mysql.monitor.lag_unknown = \"use\"".to_owned()
            }
        }
    }
}

/// What `seen` means for a server with this role, whose verdict was `before`; `None` if it did not answer.
pub(crate) fn judge(
    role: Role,
    seen: Option<&Observation>,
    limits: Limits,
    context: Context,
    before: Option<&Verdict>,
) -> Verdict {
    let Some(seen) = seen else {
        return Verdict::Away;
    };
    match role {
        Role::Primary if seen.read_only => Verdict::ReadOnlyPrimary,
        Role::Primary => Verdict::Fit,
        // whether it still replicates or not: who reads there may read what no other server has
        Role::Replica if !seen.read_only => Verdict::WritableReplica,
        Role::Replica => judge_lag(seen.lag, limits, context, before),
    }
}

fn judge_lag(lag: Lag, limits: Limits, context: Context, before: Option<&Verdict>) -> Verdict {
    let was_fit = before == Some(&Verdict::Fit);
    if context.primary_is_away && was_fit {
        // it cannot fall behind a primary that writes nothing
        return Verdict::Fit;
    }
    let behind = match (context.age, lag) {
        (Some(age), _) => age,
        (None, Lag::Seconds(seconds)) => Duration::from_secs(seconds),
        (None, Lag::NoRight) if limits.use_unknown => return Verdict::Fit,
        (None, Lag::NoRight) => return Verdict::LagHidden,
        (None, Lag::Unknown | Lag::NotAReplica) => return Verdict::LagUnknown,
    };
    // whoever was too far behind has to catch up well, lest it comes and goes
    let was_behind = matches!(before, Some(Verdict::Lagging { .. }));
    let limit = if was_behind {
        limits.lag_max * 3 / 4
    } else {
        limits.lag_max
    };
    if behind > limit {
        Verdict::Lagging {
            seconds: behind.as_secs(),
        }
    } else {
        Verdict::Fit
    }
}

#[cfg(test)]
mod tests;
