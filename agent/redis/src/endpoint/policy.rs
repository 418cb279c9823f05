//! What is done with a command, from its class and the state of the client. Pure; no IO; the table in `tests.rs` is the policy.

use lamplighter_wire::redis::command::{Class, Command};

/// What matters about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Situation {
    pub(crate) in_transaction: bool,
    pub(crate) watching: bool,
    pub(crate) subscribed: bool,
}

/// What is done with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Answered by the endpoint.
    Local,
    /// Sent over a shared connection.
    Send {
        slow: bool,
    },
    /// Kept until EXEC.
    Queue {
        slow: bool,
    },
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    /// Sent over a connection of the client's own, for as long as it takes.
    Block,
    /// From here on the client has a connection of its own.
    Subscribe,
    /// There is nothing to unsubscribe from.
    NotSubscribed,
    /// Sent as it is over the connection of a client that listens.
    Pass,
    /// Refused, with the reason; the connection lives on.
    Refuse(Refusal),
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Denied,
    Never,
    NestedMulti,
    WatchInMulti,
    InTransaction,
    WhileSubscribed,
    ExecWithoutMulti,
    DiscardWithoutMulti,
}

impl Refusal {
    /// The error a client sees for the command `name`; Redis' own words where it has some.
    pub(crate) fn text(&self, name: &str) -> String {
        match self {
            Self::Denied => format!(
                "ERR lamplighter: {name} is refused by the endpoint; if this application may use it, add it to allow in [redis.endpoint]"
            ),
            Self::Never if matches!(name, "WAIT" | "WAITAOF") => format!(
                "ERR lamplighter: {name} is about the writes of one connection to the server, and this client's went over those that clients share: how many replicas have them cannot be told"
            ),
            Self::Never => format!(
                "ERR lamplighter: {name} is about one connection to the server, and clients of the endpoint share connections"
            ),
            Self::NestedMulti => "ERR MULTI calls can not be nested".to_owned(),
            Self::WatchInMulti => "ERR WATCH inside MULTI is not allowed".to_owned(),
            Self::InTransaction => format!(
                "ERR lamplighter: {name} cannot be part of a transaction, which runs on a shared connection"
            ),
            Self::WhileSubscribed => format!(
                "ERR lamplighter: {name} is not possible on a connection that has subscribed; use another one"
            ),
            Self::ExecWithoutMulti => "ERR EXEC without MULTI".to_owned(),
            Self::DiscardWithoutMulti => "ERR DISCARD without MULTI".to_owned(),
        }
    }

    /// The metric label.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Never => "never",
            Self::InTransaction | Self::WatchInMulti | Self::NestedMulti => "in_transaction",
            Self::WhileSubscribed => "subscribed",
            Self::ExecWithoutMulti | Self::DiscardWithoutMulti => "no_transaction",
        }
    }

    /// Whether a transaction that it is refused in cannot be executed any more, as with Redis.
    pub(crate) const fn spoils(&self) -> bool {
        !matches!(self, Self::NestedMulti | Self::WatchInMulti)
    }
}

/// Decides. `blocks` says whether XREAD or XREADGROUP has the word BLOCK, `allowed` whether the configuration allows the command.
pub(crate) fn decide(command: &Command, now: Situation, blocks: bool, allowed: bool) -> Decision {
    use Decision::{Block, Local, Queue, Refuse, Send, Subscribe};
    if now.subscribed {
        return subscribed(command, allowed);
    }
    match command.class {
        Class::Denied if !allowed => Refuse(Refusal::Denied),
        Class::Never => Refuse(Refusal::Never),
        Class::Transaction => transaction(command.name, now),
        Class::Watch if command.name == "WATCH" && now.in_transaction => {
            Refuse(Refusal::WatchInMulti)
        }
        // within a transaction it does nothing, and Redis says OK
        Class::Watch if now.in_transaction => Queue { slow: false },
        Class::Watch if command.name == "WATCH" => Decision::Watch,
        Class::Watch => Decision::Unwatch,
        Class::Local if !now.in_transaction || matches!(command.name, "QUIT" | "RESET") => Local,
        Class::Local if matches!(command.name, "PING" | "ECHO") => Queue { slow: false },
        Class::Local | Class::Subscribe if now.in_transaction => Refuse(Refusal::InTransaction),
        Class::Subscribe if command.name.contains("UNSUB") => Decision::NotSubscribed,
        Class::Subscribe if now.watching => Refuse(Refusal::WhileSubscribed),
        Class::Subscribe => Subscribe,
        // in a transaction nothing waits
        Class::Blocking | Class::Streams if now.in_transaction => Queue { slow: false },
        Class::Blocking => Block,
        Class::Streams if blocks => Block,
        Class::Slow | Class::Denied if now.in_transaction => Queue { slow: true },
        Class::Slow | Class::Denied => Send { slow: true },
        Class::Plain if now.in_transaction => Queue { slow: false },
        Class::Plain | Class::Streams => Send { slow: false },
        Class::Local => Local,
    }
}

fn transaction(name: &str, now: Situation) -> Decision {
    match (name, now.in_transaction) {
        ("MULTI", false) => Decision::Multi,
        ("MULTI", true) => Decision::Refuse(Refusal::NestedMulti),
        ("EXEC", true) => Decision::Exec,
        ("EXEC", false) => Decision::Refuse(Refusal::ExecWithoutMulti),
        (_, true) => Decision::Discard,
        (_, false) => Decision::Refuse(Refusal::DiscardWithoutMulti),
    }
}

/// The server knows what may be said on a connection that listens; only what touches others is looked at.
fn subscribed(command: &Command, allowed: bool) -> Decision {
    match command.class {
        Class::Denied if !allowed => Decision::Refuse(Refusal::Denied),
        Class::Never => Decision::Refuse(Refusal::Never),
        Class::Local if matches!(command.name, "QUIT" | "RESET") => Decision::Local,
        Class::Local if command.name == "PING" => Decision::Pass,
        Class::Subscribe | Class::Plain | Class::Slow | Class::Streams | Class::Denied => {
            Decision::Pass
        }
        Class::Local | Class::Transaction | Class::Watch | Class::Blocking => {
            Decision::Refuse(Refusal::WhileSubscribed)
        }
    }
}

#[cfg(test)]
mod tests;
