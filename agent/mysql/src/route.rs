//! Which kind of server a statement goes to. A pure function of the statement, the rules and the session.

use lamplighter_wire::sql::{Hint, Kind, Statement};

use crate::config::ReadsFrom;

/// Why a command went where it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// A plain read outside a transaction, and a replica is fit.
    Read,
    /// It writes, locks or is not understood.
    NotARead,
    /// The client holds a connection to the primary.
    Held,
    /// A read that has to see writes which no replica has yet.
    WroteBefore,
    /// What other instances wrote is not known.
    OthersUnknown,
    /// A hint in the statement asks for the primary.
    Hint,
    /// The configuration asks for the primary.
    Rule,
    /// No replica is fit.
    NoReplica,
    /// The chosen replica could not be reached.
    ReplicaFailed,
}

impl Why {
    pub(crate) const ALL: [Self; 9] = [
        Self::Read,
        Self::NotARead,
        Self::Held,
        Self::WroteBefore,
        Self::OthersUnknown,
        Self::Hint,
        Self::Rule,
        Self::NoReplica,
        Self::ReplicaFailed,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::NotARead => "not_a_read",
            Self::Held => "held",
            Self::WroteBefore => "wrote_before",
            Self::OthersUnknown => "others_unknown",
            Self::Hint => "hint",
            Self::Rule => "rule",
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

/// What would suit a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The server that takes writes.
    Primary(Why),
    /// A replica that has what the session has to see.
    Replica,
    /// Any replica: the statement asks for one whatever was written.
    AnyReplica,
}

/// What suits a statement of a client that holds no connection and may read from `reads`. A hint in the statement is stronger than
/// that. A statement with [`Hint::Replica`] may go to a replica although its client wrote before, or although it asks about the
/// server itself. `None` for a command that is not a statement, or too large to be looked through.
pub(crate) fn route(statement: Option<&Statement>, reads: ReadsFrom) -> Wish {
    let suits = |it: &&Statement| it.replica_safe() || it.replica_wanted() || begins_reading(it);
    let Some(statement) = statement.filter(suits) else {
        return Wish::Primary(Why::NotARead);
    };
    match statement.hint {
        Some(Hint::Primary) => Wish::Primary(Why::Hint),
        Some(Hint::Replica) if statement.replica_wanted() => Wish::AnyReplica,
        _ if reads == ReadsFrom::Primary => Wish::Primary(Why::Rule),
        _ => Wish::Replica,
    }
}

/// START TRANSACTION READ ONLY: everything up to its end is read from one server, and nothing can be written.
fn begins_reading(statement: &Statement) -> bool {
    let read_only = matches!(
        statement.kind,
        Kind::Begin {
            read_only: true,
            ..
        }
    );
    read_only && statement.traits.is_empty()
}

#[cfg(test)]
mod tests;
