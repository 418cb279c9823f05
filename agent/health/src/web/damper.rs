//! From single outcomes to a standing: so many failures in a row down, so many successes in a row up. Pure.

use std::time::Instant;

use super::{Failure, Standing};

/// Damps the outcomes of the web check.
#[derive(Debug)]
pub(crate) struct Damper {
    fall: u32,
    rise: u32,
    standing: Standing,
    /// Outcomes in a row against the standing.
    against: u32,
    /// When the first failure of the row happened.
    first_failure: Option<Instant>,
}

impl Damper {
    pub(crate) const fn new(fall: u32, rise: u32) -> Self {
        Self {
            fall,
            rise,
            standing: Standing::Unknown(None),
            against: 0,
            first_failure: None,
        }
    }

    pub(crate) const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Takes an outcome in; `now` is when the check ended.
    pub(crate) fn note(&mut self, outcome: Result<(), Failure>, now: Instant) {
        match outcome {
            Ok(()) => self.success(),
            Err(failure) => self.failure(failure, now),
        }
    }

    fn success(&mut self) {
        self.first_failure = None;
        match self.standing {
            Standing::Off | Standing::Passing => self.against = 0,
            // nothing speaks against it yet: a restart must not cost the instance two intervals of traffic
            Standing::Unknown(_) => self.turn(Standing::Passing),
            Standing::Failing { .. } => {
                self.against += 1;
                if self.against >= self.rise {
                    self.turn(Standing::Passing);
                }
            }
        }
    }

    fn failure(&mut self, failure: Failure, now: Instant) {
        let first = *self.first_failure.get_or_insert(now);
        match &mut self.standing {
            Standing::Off => {}
            Standing::Failing { failure: last, .. } => {
                *last = failure;
                self.against = 0;
            }
            Standing::Unknown(_) | Standing::Passing => {
                self.against += 1;
                if self.against >= self.fall {
                    self.turn(Standing::Failing {
                        since: first,
                        failure,
                    });
                } else if let Standing::Unknown(last) = &mut self.standing {
                    *last = Some(failure);
                }
            }
        }
    }

    fn turn(&mut self, standing: Standing) {
        self.standing = standing;
        self.against = 0;
    }
}

#[cfg(test)]
mod tests;
