//! How long a server's answers take, told once for all that are read at once. In memory only.

use std::time::Duration;

use lamplighter_core::metrics::{Histogram, LocalHistogram};

use crate::endpoint::{Lookout, Owing};

/// The answers of one connection.
pub(super) struct Answers {
    /// Added to the metric at the end of a turn.
    seconds: LocalHistogram,
    lookout: Lookout,
    /// There while an answer is awaited that should come soon.
    owing: Option<Owing>,
    /// How long the last one took.
    took: Option<Duration>,
}

impl Answers {
    pub(super) fn new(seconds: &Histogram, lookout: &Lookout) -> Self {
        Self {
            seconds: seconds.local(),
            lookout: lookout.clone(),
            owing: None,
            took: None,
        }
    }

    /// Something has come from the server.
    pub(super) fn heard(&self) {
        self.lookout.note();
    }

    /// A whole answer, so long after its question.
    pub(super) fn came(&mut self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
        self.took = Some(took);
    }

    /// All that was read has been looked at.
    pub(super) fn end_turn(&mut self) {
        if let Some(took) = self.took.take() {
            self.seconds.flush();
            self.lookout.answered(took);
        }
    }

    /// Whether one more is awaited that should come soon.
    pub(super) fn expect(&mut self, soon: bool) {
        if !soon {
            self.owing = None;
        } else if self.owing.is_none() {
            self.owing = Some(self.lookout.owing());
        }
    }
}
