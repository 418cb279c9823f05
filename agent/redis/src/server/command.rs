//! A command on its way to a server and the one who waits for its reply. In memory only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamplighter_wire::redis::{Protocol, write};
use tokio::sync::oneshot;

use crate::endpoint::{Data, Merge, Outbox, Tally};

/// Bytes for a server, and what is to be done with what it says to them.
#[derive(Debug)]
pub(crate) struct Command {
    /// Whole requests, or a part of one that is passed on as it comes.
    pub(crate) bytes: Bytes,
    /// How many replies the server gives to them; only the last is passed on.
    pub(crate) replies: u32,
    pub(crate) target: Target,
    /// May be sent twice: it only reads.
    pub(crate) repeatable: bool,
    /// It runs a script or function, which may end in any error it likes after it has done its work.
    pub(crate) scripted: bool,
    /// How often it has been sent again or elsewhere.
    pub(crate) detours: u8,
    /// Its slot in a cluster.
    pub(crate) slot: Option<u16>,
    /// What the client gets when no server can be asked.
    pub(crate) miss: Miss,
    pub(crate) protocol: Protocol,
    /// Whether it goes to the connection for what may take long.
    pub(crate) slow: bool,
    /// How long its reply may take; `None`: as long as the server likes.
    pub(crate) patience: Option<Duration>,
}

/// What stands for a reply when no server can be asked and the configuration says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Miss {
    /// An error.
    #[default]
    Error,
    Null,
    Zero,
    Empty,
    /// An array of so many nulls.
    Nulls(u32),
}

/// Where a reply goes.
#[derive(Debug)]
pub(crate) enum Target {
    /// To a client, in its turn.
    Client {
        outbox: Arc<Outbox>,
        place: u64,
        tally: Option<Tally>,
    },
    /// All that comes from now on goes to a client, as it comes.
    Messages(Arc<Outbox>),
    /// A part of a reply that several servers give together.
    Part { merge: Arc<Merge>, index: usize },
    /// To a task of the endpoint.
    Task(oneshot::Sender<Result<Bytes, Failure>>),
    /// To nobody.
    Nobody,
}

/// Why a command has no reply of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Nothing was sent.
    #[error("Redis is not reachable: {0}")]
    Unreachable(Arc<str>),
    /// It may have been done or not.
    #[error(
        "the connection to Redis was lost before it answered ({0}); the command may have been executed"
    )]
    Lost(&'static str),
    /// Too many ahead of it.
    #[error("too many commands wait for Redis")]
    Overloaded,
}

impl Failure {
    /// The metric label.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Lost(_) => "lost",
            Self::Overloaded => "overloaded",
        }
    }

    pub(crate) const LABELS: [&str; 3] = ["unreachable", "lost", "overloaded"];
}

impl Command {
    /// A question of the endpoint's own, and its answer.
    pub(crate) fn task(
        bytes: Bytes,
        replies: u32,
        patience: Duration,
    ) -> (Self, oneshot::Receiver<Result<Bytes, Failure>>) {
        let (sender, receiver) = oneshot::channel();
        let command = Self {
            replies,
            target: Target::Task(sender),
            patience: Some(patience),
            ..Self::silent(bytes)
        };
        (command, receiver)
    }

    /// A command whose reply nobody wants.
    pub(crate) fn silent(bytes: Bytes) -> Self {
        Self {
            bytes,
            replies: 1,
            target: Target::Nobody,
            repeatable: false,
            scripted: false,
            detours: 0,
            slot: None,
            miss: Miss::Error,
            protocol: Protocol::Resp2,
            slow: false,
            patience: Some(Duration::from_secs(5)),
        }
    }

    /// Ends the command without a server's reply.
    pub(crate) fn fail(self, failure: &Failure, miss_allowed: bool) {
        let stand_in = match self.miss {
            _ if !miss_allowed => None,
            Miss::Error => None,
            Miss::Null => Some(write::null(self.protocol)),
            Miss::Zero => Some(write::integer(0)),
            Miss::Empty => Some(Bytes::from_static(b"*0\r\n")),
            Miss::Nulls(count) => Some(write::nulls(
                self.protocol,
                usize::try_from(count).unwrap_or_default(),
            )),
        };
        let reply =
            stand_in.unwrap_or_else(|| write::error(&format!("ERR lamplighter: {failure}")));
        match self.target {
            Target::Client { outbox, place, .. } => outbox.add(place, Data::Shared(reply), true),
            // nothing can be said to a client that only listens but that it is over
            Target::Messages(outbox) => outbox.close(),
            Target::Part { merge, index } => merge.add(index, reply),
            Target::Task(sender) => {
                // whoever asked has given up
                let _unheard = sender.send(Err(failure.clone()));
            }
            Target::Nobody => {}
        }
    }

    /// Whether somebody still waits for the reply.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.target {
            Target::Client { outbox, .. } | Target::Messages(outbox) => !outbox.is_closed(),
            Target::Part { merge, .. } => merge.is_wanted(),
            Target::Task(sender) => !sender.is_closed(),
            Target::Nobody => true,
        }
    }
}
