//! Which server a statement goes to. A pure function of the statement, the session and what the monitor knows.

use lamplighter_wire::sql::{Hint, Statement};

use crate::config::Consistency;

/// Why a command went where it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// A plain read outside a transaction, and a replica is fit.
    Read,
    /// It writes, locks or is not understood.
    NotARead,
    /// The client holds a connection to the primary.
    Held,
    /// The client wrote before and must see its own writes.
    WroteBefore,
    /// A hint in the statement asks for the primary.
    Hint,
    /// No replica is fit.
    NoReplica,
    /// The chosen replica could not be reached.
    ReplicaFailed,
}

impl Why {
    pub(crate) const ALL: [Self; 7] = [
        Self::Read,
        Self::NotARead,
        Self::Held,
        Self::WroteBefore,
        Self::Hint,
        Self::NoReplica,
        Self::ReplicaFailed,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::NotARead => "not_a_read",
            Self::Held => "held",
            Self::WroteBefore => "wrote_before",
            Self::Hint => "hint",
            Self::NoReplica => "no_replica",
            Self::ReplicaFailed => "replica_failed",
        }
    }

    pub(crate) const fn target_label(self) -> &'static str {
        match self {
            Self::Read => "replica",
            _ => "primary",
        }
    }
}

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The server that takes writes.
    Primary(Why),
    /// The replica with this index.
    Replica(usize),
}

/// Chooses for a statement of a client that holds no connection. A statement with [`Hint::Replica`] may go to a replica although
/// its client wrote before, or although it asks about the server itself. `fit` says of each replica whether it may answer reads, `turn`
/// spreads reads over the fit ones. `None` for a command that is not a statement, or too large to be looked through.
pub(crate) fn route(
    statement: Option<&Statement>,
    wrote_before: bool,
    consistency: Consistency,
    fit: &[bool],
    turn: usize,
) -> Target {
    let reads = |statement: &&Statement| statement.replica_safe() || statement.replica_wanted();
    let Some(statement) = statement.filter(reads) else {
        return Target::Primary(Why::NotARead);
    };
    if statement.hint == Some(Hint::Primary) {
        return Target::Primary(Why::Hint);
    }
    if wrote_before && consistency == Consistency::Session && !statement.replica_wanted() {
        return Target::Primary(Why::WroteBefore);
    }
    let count = fit.iter().filter(|fit| **fit).count();
    if count == 0 {
        return Target::Primary(Why::NoReplica);
    }
    let mut fit_ones = fit
        .iter()
        .enumerate()
        .filter(|(_, fit)| **fit)
        .map(|(index, _)| index);
    fit_ones
        .nth(turn % count)
        .map_or(Target::Primary(Why::NoReplica), Target::Replica)
}

#[cfg(test)]
mod tests;
