//! Whose fault something is, and whether trying again may help. Decides metric labels, log levels and what a client is told.
//! Pure; no IO.

use std::error::Error;
use std::fmt;

/// Who has to act for it not to happen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Culprit {
    /// The program that talks to us (PHP, a prober) broke a rule or went away.
    Client,
    /// A server we depend on (MySQL, Redis, Storage) failed or refused.
    Upstream,
    /// This machine: disk, memory, descriptors, network interface.
    Platform,
    /// The configuration or the rights it names.
    Operator,
    /// Ourselves.
    Bug,
}

impl Culprit {
    /// Every value, to initialise metrics with.
    pub const ALL: [Self; 5] = [
        Self::Client,
        Self::Upstream,
        Self::Platform,
        Self::Operator,
        Self::Bug,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Platform => "platform",
            Self::Operator => "operator",
            Self::Bug => "bug",
        }
    }
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once, elsewhere or over a new connection.
    Now,
    /// After a pause.
    Later,
    /// Not before somebody changed something.
    Never,
}

/// An error with its culprit and its retry advice.
pub struct Fault {
    culprit: Culprit,
    retry: Retry,
    source: Box<dyn Error + Send + Sync>,
}

impl Fault {
    /// Wraps `source`.
    pub fn new(
        culprit: Culprit,
        retry: Retry,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            culprit,
            retry,
            source: source.into(),
        }
    }

    /// Something only a change of our code can cure.
    pub fn bug(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Culprit::Bug, Retry::Never, source)
    }

    /// Something the operator has to change.
    pub fn operator(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Culprit::Operator, Retry::Never, source)
    }

    /// Who has to act.
    #[must_use]
    pub const fn culprit(&self) -> Culprit {
        self.culprit
    }

    /// Whether trying again may help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        self.retry
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Fault({}, {:?}: {})",
            self.culprit.label(),
            self.retry,
            chain(&*self.source)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// The error and all its sources on one line, for the one place that logs it.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        // some libraries repeat their source in their own text
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
