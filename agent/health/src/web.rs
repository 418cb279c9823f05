//! The check of the local web server: what it found, how failures and successes are damped, and the check itself. Only
//! `web/check.rs` opens a connection.

mod check;
mod damper;

pub(crate) use check::{Checker, check_once};
pub(crate) use damper::Damper;

use std::fmt;
use std::time::{Duration, Instant};

/// How the web server stands, after damping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// None is configured.
    Off,
    /// Too few checks yet for a verdict; with the last failure, if there was one.
    Unknown(Option<Failure>),
    /// It answers as it should.
    Passing,
    /// It does not.
    Failing {
        /// When the first of the failures in a row happened.
        since: Instant,
        /// The last of them.
        failure: Failure,
    },
}

impl Standing {
    /// The word used on the status page.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unknown(_) => "unknown",
            Self::Passing => "passing",
            Self::Failing { .. } => "failing",
        }
    }

    /// The last failure, if the standing has one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Unknown(failure) => failure.as_ref(),
            Self::Failing { failure, .. } => Some(failure),
            Self::Off | Self::Passing => None,
        }
    }
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection: nobody listens, or the name does not resolve. Nothing else than this machine can be the cause.
    Refused(String),
    /// A connection, but no whole answer in time.
    Slow(Duration),
    /// The wrong status.
    Status(u16),
    /// The body lacks the text it must hold.
    Body,
    /// Something that is not HTTP, or a connection closed before the answer.
    Garbled(String),
}

impl Failure {
    /// The metric label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Slow(_) => "slow",
            Self::Status(_) => "status",
            Self::Body => "body",
            Self::Garbled(_) => "garbled",
        }
    }

    /// Whether the server was not even there.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => f.write_str(text),
            Self::Slow(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
            Self::Status(status) => write!(f, "answers {status}"),
            Self::Body => f.write_str("the body lacks the expected text"),
            Self::Garbled(text) => write!(f, "broken answer: {text}"),
        }
    }
}
